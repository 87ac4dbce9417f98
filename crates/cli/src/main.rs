//! vmswitch.
fn main() {}
