//! Typed headers to and from bytes: Ethernet, IP, TCP, UDP, checksums, offload headers.
//!
//! Nothing here allocates, reads a clock or touches the outside; every function works on slices that the
//! caller owns. A view checks its length once and cannot fail afterwards.
#![no_std]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod checksum;
pub mod claim;
pub mod dhcp;
pub mod ethernet;
mod five_tuple;
pub mod inspect;
pub mod ip;
mod mac;
pub mod multicast;
pub mod packet;
mod partial;
mod prefix;
pub mod segment;
pub mod transport;
pub mod vlan;
mod vnet;

pub use checksum::{CompleteError, Sum};
pub use claim::{Claim, claim};
pub use ethernet::{EthernetHeader, Truncated};
pub use five_tuple::FiveTuple;
pub use inspect::{Cargo, inspect};
pub use ip::{Fragment, IpError, Ipv4View, Ipv6View};
pub use mac::{MacAddr, ParseMacError};
pub use prefix::{IpPrefix, ParsePrefixError};
pub use segment::{HeaderBuffer, Segment, SegmentError, Segments};
pub use transport::{IpVersion, Layers, LocateError, TcpView, UdpView};
pub use vlan::VlanTag;
pub use vnet::{GsoKind, VNET_HDR_LEN, VnetHdr};
