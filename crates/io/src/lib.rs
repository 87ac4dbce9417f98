//! Ports: everything that frames come from and go to, behind one trait.
//!
//! This crate holds raw memory and file descriptors and takes no decision: what it receives it hands up as bytes, what
//! it is given it sends. It is the only crate with `unsafe` blocks, and each says which obligations it meets.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod affinity;
mod arena;
mod batch;
mod choice;
mod epoll;
mod fetch;
mod flow;
mod interface;
mod mmsg;
pub mod netns;
mod offload;
mod packet;
mod parts;
mod piece;
mod port;
mod tap;
pub mod test_ports;
mod unix_dgram;
mod unix_path;
mod unix_stream;
mod vhost;
mod waker;
mod xdp;

pub use affinity::pin_current_thread;
pub use batch::{BATCH_BYTES, BATCH_FRAMES, Batch, HEAD_BYTES, MAX_FRAME, Untaken};
pub use choice::{InterfaceError, OpenInterface, check_choice, may_use_xdp, open_beside, open_interface};
pub use epoll::Epoll;
pub use fetch::fetch;
pub use interface::BadInterfaceName;
pub use packet::{PacketError, PacketSocket};
pub use port::{Link, Port, PortError, Sent};
pub use tap::{Tap, TapConfig, TapError};
pub use unix_dgram::UnixDgram;
pub use unix_path::UnixPathError;
pub use unix_stream::UnixStreamPort;
#[doc(hidden)]
pub use vhost::bare as vhost_rings;
pub use vhost::{VhostConfig, VhostDriver, VhostError, VhostPort, VhostRole, VhostView};
pub use waker::Waker;
pub use xdp::{Refusal, Traits, XdpError, XdpMode, XdpPort, take_vlan_tags_out, takes_vlan_tags_out};
