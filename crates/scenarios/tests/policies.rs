//! Policies of ports: DHCP guard and router guard, access lists.

#[path = "policies/evasions.rs"]
mod evasions;
#[allow(dead_code, reason = "the tests of frames use more of it")]
#[path = "frames/lan.rs"]
mod lan;
#[path = "policies/lists.rs"]
mod lists;
#[path = "policies/partial.rs"]
mod partial;
#[allow(dead_code, reason = "the tests of frames use more of it")]
#[path = "frames/round.rs"]
mod round;
#[path = "policies/servers.rs"]
mod servers;
