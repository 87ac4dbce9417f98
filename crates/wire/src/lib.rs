//! Typed headers to and from bytes: Ethernet, IP, TCP, UDP, checksums, offload headers.
//!
//! Nothing here allocates, reads a clock or touches the outside; every function works on slices that the
//! caller owns. A view checks its length once and cannot fail afterwards.
#![no_std]

pub mod checksum;
pub mod ethernet;
mod mac;
pub mod vlan;
mod vnet;

pub use ethernet::{EthernetHeader, Truncated};
pub use mac::{MacAddr, ParseMacError};
pub use vlan::VlanTag;
pub use vnet::{GsoKind, VNET_HDR_LEN, VnetHdr};
