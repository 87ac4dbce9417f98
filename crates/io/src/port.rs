//! The one interface of everything that frames come from and go to.

use crate::Batch;
use model::DropReason;
use std::{fmt, os::fd::BorrowedFd, sync::Arc};

/// Why a port stopped. It stays its own trouble: the worker takes the port out and says so.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// What the port is attached to went away or down; it can be opened again later.
    #[error("{0}")]
    Down(String),
    /// The peer broke the rules of the interface.
    #[error("{0}")]
    Faulted(String),
}

/// Whether frames can pass a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// They can.
    #[default]
    Up,
    /// They cannot until this has come about.
    Waits(&'static str),
    /// They cannot, since the peer broke the rules like this; a new one may do better.
    Faulted(Arc<str>),
}

/// What became of the frames that a port was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames delivered, the segments of one that was cut counted each.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames beyond those given: a frame cut into n segments adds n - 1.
    pub copies: u64,
    /// Frames given that were not delivered: the receiver did not take them.
    pub full: u64,
    /// Frames given that were not delivered: the vNIC is switched off inside the VM or namespace.
    pub down: u64,
    /// Frames given that were not delivered: their offload header does not fit them.
    pub bad_offload: u64,
    /// Frames given that were not delivered: they are longer than the interface's MTU allows.
    pub oversize: u64,
}

impl Sent {
    /// Counts a frame of `len` bytes that was delivered as it is.
    pub(crate) const fn delivered(&mut self, len: usize) {
        self.frames += 1;
        self.bytes += len as u64;
    }

    /// Frames not delivered, by reason.
    #[must_use]
    pub const fn drops(&self) -> [(DropReason, u64); 4] {
        [
            (DropReason::ReceiverFull, self.full),
            (DropReason::PortDown, self.down),
            (DropReason::BadOffload, self.bad_offload),
            (DropReason::Oversize, self.oversize),
        ]
    }
}

/// Something that frames come from and go to.
///
/// No call blocks. A port belongs to one worker at a time, or is [dealt](Port::deal) to several.
pub trait Port: Send + fmt::Debug {
    /// Makes `others` further shares of this port, each for a worker of its own; this one stays a share, too. The queues to
    /// receive from are dealt to them in turn, beginning with this one; each share can send. `None` where the port
    /// has but one queue of frames to receive, or its sending is in one hand.
    fn deal(&mut self, others: usize) -> Option<Vec<Box<dyn Port>>> {
        let _ = others;
        None
    }

    /// Appends received frames to `batch` until it is full or nothing is left. Received bytes stay where they are until
    /// they were sent on, which [`Port::complete`] tells.
    ///
    /// # Errors
    /// The port cannot go on; frames appended before that are good.
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortError>;

    /// What was received was sent on: memory that frames lay in goes back to whom it belongs to. Called once after each
    /// [`Port::receive`] that brought frames.
    fn complete(&mut self) {}

    /// Sends the frames of `batch` that `which` names, in that order, and counts what became of them; those that are not taken
    /// it notes in the batch, while that is [watched](Batch::watch). A frame above the
    /// MTU passes whole where the receiver takes it so, else it is cut here; likewise for partial checksums. Frames may lie
    /// in pieces, in memory that may be gone: that is the trouble of the port that they came from.
    ///
    /// # Errors
    /// The port cannot go on. Frames that were not counted in the result are the caller's to count.
    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> Result<Sent, PortError>;

    /// Whether frames can pass at the moment; a port that waits for its peer goes on nevertheless.
    fn link(&self) -> Link {
        Link::Up
    }

    /// True where looking for frames costs no system call: then the worker looks, as long as frames come often, and the
    /// descriptors stay silent until the port was [armed](Port::arm).
    fn is_polled(&self) -> bool {
        false
    }

    /// Has the descriptors tell of the next frame, until the next [`Port::receive`]. False where there is one already.
    fn arm(&mut self) -> bool {
        true
    }

    /// The descriptors that become readable when there is something to receive; they stay the same while the port lives.
    fn poll_fds(&self) -> Vec<BorrowedFd<'_>>;

    /// Frames that were lost since the last call before they could be received: the kernel had no room to keep them.
    fn kernel_drops(&mut self) -> u64 {
        0
    }
}
