//! What a port may do beside its MAC: a file for each policy, with its configuration and its rules.

pub mod acl;
mod acl_text;
pub mod vlan;
