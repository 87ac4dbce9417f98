//! What is refused: each refusal says what, why and what to do, and leaves everything as it was.
//!
//! Two kinds of NIC cannot be made everywhere, since the kernel that runs the tests may lack them: a wireless NIC and the
//! member of a bond. Their refusals are tests of `control` (`bad_input_is_refused`); here a bridge stands for every
//! master, and a macvlan for every interface that stands on a NIC.

#[path = "bad_input/daemons.rs"]
mod daemons;
#[path = "bad_input/names.rs"]
mod names;
#[path = "bad_input/nics.rs"]
mod nics;
#[path = "bad_input/places.rs"]
mod places;
#[path = "bad_input/requests.rs"]
mod requests;
#[path = "bad_input/stage.rs"]
mod stage;
#[path = "bad_input/states.rs"]
mod states;
