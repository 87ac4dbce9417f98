//! Policies of ports.

#[path = "policies/at_once.rs"]
mod at_once;
#[path = "policies/evasions.rs"]
mod evasions;
#[path = "policies/ip_guard.rs"]
mod ip_guard;
#[allow(dead_code, reason = "the tests of frames use more of it")]
#[path = "frames/lan.rs"]
mod lan;
#[path = "policies/listeners.rs"]
mod listeners;
#[path = "policies/lists.rs"]
mod lists;
#[path = "policies/partial.rs"]
mod partial;
#[path = "policies/private_vlans.rs"]
mod private_vlans;
#[path = "policies/rate.rs"]
mod rate;
#[path = "policies/reserved.rs"]
mod reserved;
#[path = "policies/roaming.rs"]
mod roaming;
#[allow(dead_code, reason = "the tests of frames use more of it")]
#[path = "frames/round.rs"]
mod round;
#[path = "policies/routers.rs"]
mod routers;
#[path = "policies/servers.rs"]
mod servers;
#[path = "policies/snooping.rs"]
mod snooping;
#[path = "policies/vlans.rs"]
mod vlans;
