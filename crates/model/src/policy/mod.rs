//! What a port may do beside its MAC, and what a switch does beside its ports: a file for each policy, with its configuration
//! and its rules.

pub mod acl;
mod acl_rules;
mod acl_text;
pub mod guard;
pub mod ip_guard;
pub mod mirror;
pub mod multicast;
pub mod rate;
pub mod reserved;
pub mod vlan;
