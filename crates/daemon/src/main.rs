//! vmswitchd.
fn main() {}
