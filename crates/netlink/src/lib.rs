//! The host's network settings over rtnetlink: facts, changes, notifications.
//!
//! Blocking, and of the network namespace in which [`Netlink::open`] was called. Messages are built and read as attributes
//! (`attribute.rs`), not through typed message crates: a route that is moved must arrive with every attribute it had,
//! those included that no crate knows yet.

mod address;
mod apply;
mod attribute;
mod error;
mod facts;
mod ingress;
mod link;
mod monitor;
mod neighbour;
mod route;
mod rule;
mod socket;
pub mod sysctl;

pub use apply::{Applied, ApplyError, apply};
pub use error::NetlinkError;
pub use link::LinkTable;
pub use monitor::{LinkChange, LinkMonitor};
pub use socket::Netlink;
