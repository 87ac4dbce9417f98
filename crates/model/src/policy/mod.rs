//! What a port may do beside its MAC: a file for each policy, with its configuration and its rules.

pub mod rate;
pub mod vlan;
