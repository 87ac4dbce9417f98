//! A virtqueue from the device's side, in either format.
//!
//! ```text
//! take ─▶ chains of guest memory ─▶ (copy) ─▶ put ─▶ call the guest?
//!            └─ untake: the last ones were not needed
//! ```
//!
//! A batch takes chains and puts them back, all at once and in the order in which it took them. As completion is always
//! in order, IN_ORDER costs nothing and saves the used elements of frames that a guest sent.
//!
//! Where the time goes is not instructions (67 for a frame of a split ring and 92 of a packed one, take and put together,
//! of which 10 are the caller's) but cache lines that the driver on another core wrote: the index, descriptors (4 to a
//! line), buffers. So the index is read only when all that it promised was taken, used elements are written in one go,
//! and what the driver wants to be told is read once a batch.
//!
//! Tried, with `examples/ring_speed` on two cores that share a cache, medians of 11 rounds in Mpps, frames through both
//! rings (or sent only), split and packed. At times the two cores are far from each other: then it is 15 to 20 whatever is
//! done here, and no row below differs by more than two from the first:
//!
//! | what | split | packed |
//! | --- | --- | --- |
//! | as it is | 35 to 43 (sent 71) | 40 (67) |
//! | pushing to vectors, state read from the ring for each frame | 24 to 38 (64) | 26 (58) |
//! | no prefetch | 42 (70) | 36 (75) |
//! | prefetch of the first line only | 39 (71) | 34 (70) |
//! | all descriptors of a batch copied, then looked at | 38 (78) | 40 (66) |
//! | the index read whenever fewer than a batch are left | 42 (56) | |
//! | packed: taking nothing until 32 slots ahead are available, at most 8 times | | 41 (69; far 20 instead of 14) |
//!
//! The guest is hostile: each descriptor is read once, and what is wrong with it makes the ring unusable, for good, with
//! the reason.

use super::{
    chains::Chains,
    features::Features,
    log::DirtyLog,
    memory::{GuestMemory, Window},
    packed::Packed,
    places::{Notes, Place},
    split::Split,
};
use crate::fetch::fetch_line;
use std::{ops::Range, sync::Arc};

/// Largest ring of either format (virtio 1.2, 2.7 and 2.8).
pub const MAX_SIZE: u16 = 32768;

/// What is done with the ring's buffers: the guest sends, or receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The guest's transmit queue: we read.
    Readable,
    /// The guest's receive queue: we write.
    Writable,
}

/// Where the writes to the ring itself are logged.
#[derive(Clone, Debug)]
pub struct RingLog {
    /// The log.
    pub log: Arc<DirtyLog>,
    /// Guest address of the device area: split: the used ring (VHOST_VRING_F_LOG).
    pub device: u64,
}

/// All that a ring needs to be known to run. Addresses are the front end's.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// What is done with its buffers.
    pub direction: Direction,
    /// Number of descriptors: split: a power of two.
    pub size: u16,
    /// Descriptor table, or packed ring.
    pub descriptors: u64,
    /// Available ring, or packed: driver event suppression.
    pub driver: u64,
    /// Used ring, or packed: device event suppression.
    pub device: u64,
    /// Where to go on, as SET_VRING_BASE tells it and [`Ring::base`] does.
    pub base: u32,
    /// Negotiated: RING_PACKED, EVENT_IDX, IN_ORDER and INDIRECT_DESC count here.
    pub(crate) features: Features,
    /// During live migration.
    pub log: Option<RingLog>,
    /// Where it is noted how far the ring is.
    pub(crate) place: Option<Place>,
    /// What was noted counts: nobody was told of the base since.
    pub(crate) recalls: bool,
}

impl RingConfig {
    /// A ring that starts anew, with the addresses of its three parts in the order of the fields, and virtio's feature
    /// bits.
    #[must_use]
    pub fn new(direction: Direction, size: u16, parts: [u64; 3], features: u64) -> Self {
        let [descriptors, driver, device] = parts;
        let features = Features::from_bits(features);
        let base = if features.has(Features::RING_PACKED) { 0x8000_8000 } else { 0 };
        let (log, place, recalls) = (None, None, false);
        Self { direction, size, descriptors, driver, device, base, features, log, place, recalls }
    }

    pub(super) const fn is_packed(&self) -> bool {
        self.features.has(Features::RING_PACKED)
    }
}

/// What the guest did that made its ring unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message tells it")]
pub enum RingError {
    #[error(
        "a ring of {0} descriptors cannot be: split rings have a power of two, packed rings 1 to {MAX_SIZE}"
    )]
    Size(u16),
    #[error(
        "the ring's {part} is to be at {address:#x}, where its {bytes} bytes are not all in the guest's memory"
    )]
    PartOutsideMemory { part: &'static str, address: u64, bytes: usize },
    #[error("the ring's {part} is to be at {address:#x}, which is not a multiple of {align}")]
    Unaligned { part: &'static str, address: u64, align: usize },
    #[error("the ring is to go on at descriptor {position} of {size}")]
    Base { position: u16, size: u16 },
    #[error("the guest made {available} descriptors available in a ring of {size}")]
    TooManyAvailable { available: u16, size: u16 },
    #[error("the guest made descriptor {head} available in a ring of {size}")]
    Head { head: u16, size: u16 },
    #[error("the guest chained a descriptor to number {next} of {size}")]
    NextOutside { next: u16, size: u32 },
    #[error("the guest made a chain of more than {0} descriptors: it is a loop, or longer than its ring")]
    ChainTooLong(u32),
    #[error("the guest made a chain available of which not all descriptors are")]
    ChainIncomplete,
    #[error("the guest made a chain of 4 GiB or more")]
    TooLong,
    #[error("the guest made a buffer of no bytes available")]
    Empty,
    #[error(
        "the guest made a buffer of {len} bytes at {address:#x} available, which is not all in its memory"
    )]
    OutsideMemory { address: u64, len: u32 },
    #[error("the guest sent a buffer that is to be written to")]
    NotReadable,
    #[error("the guest made a buffer available for receiving that is not to be written to")]
    NotWritable,
    #[error("the guest made an indirect descriptor available, which was not negotiated")]
    IndirectNotNegotiated,
    #[error("the guest chained an indirect descriptor where none may be")]
    IndirectInChain,
    #[error("the guest put an indirect descriptor into an indirect table")]
    IndirectNested,
    #[error("the guest made an indirect table of {0} bytes: 16 to 65536 in steps of 16 are possible")]
    IndirectSize(u32),
    #[error(
        "the guest's indirect table of {len} bytes at {address:#x} is not all in one region of its memory"
    )]
    IndirectOutsideMemory { address: u64, len: u32 },
}

/// What both formats keep beside their positions.
#[derive(Debug)]
pub(super) struct Common {
    pub memory: Arc<GuestMemory>,
    pub window: Window,
    pub size: u16,
    pub writable: bool,
    pub indirect: bool,
    pub event_idx: bool,
    /// One used element tells of all that were put together. Only where we read: a buffer that is passed over counts as
    /// written in full (virtio 1.2, 2.7.9), and received frames have lengths of their own.
    pub skips: bool,
    pub log: Option<RingLog>,
    /// Where it is noted how far the ring is.
    pub notes: Option<Notes>,
    /// Why the ring is unusable.
    pub broken: Option<RingError>,
}

impl Common {
    pub fn new(config: &RingConfig, memory: &Arc<GuestMemory>) -> Self {
        let (writable, features) = (config.direction == Direction::Writable, config.features);
        Self {
            memory: Arc::clone(memory),
            window: Window::EMPTY,
            size: config.size,
            writable,
            indirect: features.has(Features::INDIRECT_DESC),
            event_idx: features.has(Features::EVENT_IDX),
            skips: !writable && features.has(Features::IN_ORDER),
            log: config.log.clone(),
            notes: None,
            broken: None,
        }
    }
}

/// A running ring.
#[derive(Debug)]
pub enum Ring {
    /// Three parts, of which each side writes its own.
    Split(Split),
    /// One part, which both sides write.
    Packed(Packed),
}

macro_rules! either {
    ($ring:expr, $each:ident => $then:expr) => {
        match $ring {
            Ring::Split($each) => $then,
            Ring::Packed($each) => $then,
        }
    };
}

impl Ring {
    /// Starts the ring where it was left.
    ///
    /// # Errors
    /// A size that cannot be, or parts that do not lie in the memory.
    pub fn new(config: &RingConfig, memory: &Arc<GuestMemory>) -> Result<Self, RingError> {
        if config.is_packed() {
            return Packed::new(config, memory).map(Self::Packed);
        }
        Split::new(config, memory).map(Self::Split)
    }

    /// True where [`Ring::take`] would find something: one load at most.
    #[must_use]
    #[inline]
    pub fn pending(&self) -> bool {
        either!(self, ring => ring.pending())
    }

    /// Takes up to `max` chains and adds them to `chains`.
    ///
    /// # Errors
    /// What the guest did; from then on the ring is unusable and each call fails.
    #[inline]
    pub fn take(&mut self, max: usize, chains: &mut Chains) -> Result<(), RingError> {
        either!(self, ring => ring.take(max, chains))
    }

    /// Gives the last `count` chains back as if they had not been taken.
    pub fn untake(&mut self, count: usize, chains: &mut Chains) {
        either!(self, ring => ring.untake(count, chains));
    }

    /// Marks chains as used and shows that to the guest, with one store: those that were taken first and not put yet.
    /// True where it wants to be notified.
    #[must_use = "a guest that wants to be notified waits"]
    #[inline]
    pub fn put(&mut self, chains: &Chains, range: Range<usize>) -> bool {
        either!(self, ring => ring.put(chains, range))
    }

    /// Asks to be notified of the next chain. True where there is one already, and nobody might tell of it.
    #[must_use = "what is there already is not told of"]
    pub fn arm(&mut self) -> bool {
        either!(self, ring => ring.arm())
    }

    /// Asks not to be notified.
    pub fn disarm(&mut self) {
        either!(self, ring => ring.disarm());
    }

    /// Where the ring is to go on, for GET_VRING_BASE: at the first chain that was not put back.
    #[must_use]
    pub fn base(&self) -> u32 {
        either!(self, ring => ring.base())
    }
}

/// Fetches the first bytes of a buffer ahead of their use, header and frame's headers: the two lines that they take where
/// a driver puts the frame at the start of a line and the header before it. Asking whether it does costs as much. The header's
/// is not fetched to be written: mostly it is right already (`port/send`), and then it stays in the caches of both sides.
#[inline(always)]
pub(super) fn prefetch(piece: crate::piece::Piece, writable: bool) {
    let at = piece.at.as_ptr().cast_const();
    fetch_line(at, false);
    fetch_line(at.wrapping_add(64), writable);
}

#[cfg(test)]
pub(super) mod tests;
