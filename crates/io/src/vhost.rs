//! vhost-user ports: the device side of virtio-net, for VMMs that share their guest's memory and rings.
//!
//! A *control thread* for each port speaks the vhost-user protocol (`link`, `socket`, `message`) and keeps a `Session` for
//! each connection, which starts, stops and changes rings. The *worker* moves frames between rings. What they share is
//! `device::Device`, each queue behind a lock of its own.

mod allowance;
mod cells;
mod chains;
mod descriptor;
mod device;
mod fault;
mod features;
mod header;
mod inflight;
mod link;
mod log;
mod memory;
mod message;
mod packed;
mod places;
mod port;
mod ring;
mod socket;
mod split;
mod view;

pub use link::{VhostConfig, VhostError, VhostRole};
pub use port::VhostPort;
pub use view::{VhostDriver, VhostView};

/// Rings and messages without what is around them, for examples, measurements and fuzz targets.
#[doc(hidden)]
pub mod bare {
    pub use super::{
        chains::Chains,
        log::DirtyLog,
        memory::{GuestMemory, MemoryError, RegionInfo},
        port::Conversation,
        ring::{Direction, Ring, RingConfig, RingError, RingLog},
    };
    pub use crate::piece::Piece;
}
