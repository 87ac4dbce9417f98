//! Ports: everything that frames come from and go to, behind one trait.
//!
//! This crate holds raw memory and file descriptors and takes no decision: what it receives it hands up as bytes, what
//! it is given it sends. It is the only crate with `unsafe` blocks, and each says which obligations it meets.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod batch;
mod interface;
mod mmsg;
pub mod netns;
mod packet;
mod port;
mod tap;

pub use batch::{BATCH_BYTES, BATCH_FRAMES, Batch, MAX_FRAME};
pub use interface::BadInterfaceName;
pub use packet::{PacketError, PacketSocket};
pub use port::{Port, PortError, Sent};
pub use tap::{Tap, TapConfig, TapError};
