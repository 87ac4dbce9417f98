//! Ports: everything that frames come from and go to, behind one trait.
//!
//! This crate holds raw memory and file descriptors and takes no decision: what it receives it hands up as bytes, what
//! it is given it sends. It is the only crate with `unsafe` blocks, and each says which obligations it meets.

mod batch;
mod port;

pub use batch::{BATCH_BYTES, BATCH_FRAMES, Batch, MAX_FRAME};
pub use port::{Port, PortError, Sent};
