//! State files and the bodies of `apply`: whatever is valid survives being written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::DesiredState;

fuzz_target!(|text: &str| {
    let Ok(state) = toml::from_str::<DesiredState>(text) else { return };
    let Ok(valid) = state.validate() else { return };
    let written = toml::to_string(valid.desired()).expect("a valid state can be written");
    let read: DesiredState = toml::from_str(&written).expect("what was written can be read");
    assert_eq!(read.validate(), Ok(valid));
});
