//! What a port may do beside its MAC: a file for each policy, with its configuration and its rules.

pub mod guard;
pub mod ip_guard;
pub mod rate;
pub mod vlan;
