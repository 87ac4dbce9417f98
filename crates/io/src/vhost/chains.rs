//! Descriptor chains that were taken from a ring, translated to pieces of our memory.
//!
//! All pieces lie in one array and each chain has a record that tells its part of it. Both are reused from batch to
//! batch, so that nothing is allocated for a frame. Nearly every chain is one piece.

use super::{
    descriptor::Descriptor,
    memory::{GuestMemory, Window},
    ring::RingError,
};
use crate::piece::Piece;
use std::ops::Range;

/// No further chain is taken once so many pieces are in a batch. A frame of 64 KiB takes 17 pages and a header; a guest
/// that hands out its bytes one by one is served, but takes no more of a turn than others.
pub(super) const PIECES: usize = 1024;

/// One chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain {
    /// The first of its pieces.
    first: u32,
    pieces: u32,
    bytes: u32,
    /// Bytes that were written into it.
    pub written: u32,
    /// What the driver knows it by: split: the head's number, packed: the buffer id.
    pub id: u16,
    /// Packed: the slot of the ring where the chain begins.
    pub slot: u16,
    /// Packed: how many slots it takes.
    pub slots: u16,
}

/// Chains in the order in which they were taken.
#[derive(Debug, Default)]
pub struct Chains {
    chains: Vec<Chain>,
    pieces: Vec<Piece>,
}

// SAFETY: pieces are addresses, and only who answers for the memory follows them.
unsafe impl Send for Chains {}

impl Chains {
    /// Number of chains.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.chains.len()
    }

    /// True without chains.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// Forgets all chains.
    #[inline]
    pub fn clear(&mut self) {
        self.chains.clear();
        self.pieces.clear();
    }

    /// The memory of the chain, in order; one piece at least, none of them empty. Nothing for a chain that is not there.
    #[must_use]
    #[inline]
    pub fn pieces(&self, chain: usize) -> &[Piece] {
        let Some(chain) = self.chains.get(chain) else { return &[] };
        self.pieces.get(chain.first as usize..(chain.first + chain.pieces) as usize).unwrap_or_default()
    }

    /// Bytes of all pieces of the chain together.
    #[must_use]
    #[inline]
    pub fn bytes(&self, chain: usize) -> usize {
        self.chains.get(chain).map_or(0, |chain| chain.bytes as usize)
    }

    /// Notes how many bytes were written into the chain, which the guest is told when the chain is put back.
    #[inline]
    pub fn set_written(&mut self, chain: usize, bytes: u32) {
        if let Some(chain) = self.chains.get_mut(chain) {
            chain.written = bytes;
        }
    }

    /// The chains' records; none where the range is not there as a whole.
    #[inline]
    pub(super) fn range(&self, range: Range<usize>) -> &[Chain] {
        self.chains.get(range).unwrap_or_default()
    }

    /// True where a batch has enough pieces.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.pieces.len() >= PIECES
    }

    /// Makes room for chains of one piece each.
    #[inline]
    pub(super) fn reserve(&mut self, chains: usize) {
        self.chains.reserve(chains);
        self.pieces.reserve(chains);
    }

    /// Takes in a chain of one piece.
    #[inline(always)]
    pub(super) fn push(&mut self, piece: Piece, id: u16, slot: u16) {
        let first = self.pieces.len() as u32;
        self.pieces.push(piece);
        self.chains.push(Chain { first, pieces: 1, bytes: piece.len as u32, written: 0, id, slot, slots: 1 });
    }

    /// Begins a chain of several pieces, which [`Builder::end`] takes in.
    pub(super) fn begin<'a>(
        &'a mut self,
        memory: &'a GuestMemory,
        window: &'a mut Window,
        writable: bool,
    ) -> Builder<'a> {
        let first = self.pieces.len();
        Builder { chains: self, memory, window, writable, first, bytes: 0 }
    }

    /// Forgets the last chains; how many slots of the ring they took.
    pub(super) fn pop(&mut self, chains: usize) -> u16 {
        let keep = self.chains.len().saturating_sub(chains);
        let slots = self.chains.iter().skip(keep).map(|chain| chain.slots).fold(0, u16::wrapping_add);
        if let Some(chain) = self.chains.get(keep) {
            self.pieces.truncate(chain.first as usize);
        }
        self.chains.truncate(keep);
        slots
    }
}

/// A chain that descriptors are being added to. Its pieces are forgotten when it is dropped before its end.
pub(super) struct Builder<'a> {
    chains: &'a mut Chains,
    memory: &'a GuestMemory,
    window: &'a mut Window,
    writable: bool,
    first: usize,
    bytes: u64,
}

impl Builder<'_> {
    /// The memory that the descriptors point into.
    pub fn memory(&self) -> &GuestMemory {
        self.memory
    }

    /// Adds what a descriptor describes.
    pub fn add(&mut self, descriptor: Descriptor) -> Result<(), RingError> {
        let (guest, len) = (descriptor.address, descriptor.len);
        if descriptor.is_writable() != self.writable {
            return Err(if self.writable { RingError::NotWritable } else { RingError::NotReadable });
        }
        if len == 0 {
            return Err(RingError::Empty);
        }
        self.bytes += u64::from(len);
        if self.bytes > u64::from(u32::MAX) {
            return Err(RingError::TooLong);
        }
        self.translate(guest, len)
    }

    fn translate(&mut self, guest: u64, len: u32) -> Result<(), RingError> {
        if let Some(window) = self.memory.window(guest) {
            *self.window = window;
        }
        if let Some(piece) = self.window.piece(guest, len) {
            self.chains.pieces.push(piece);
            return Ok(());
        }
        let inside = self.memory.pieces(guest, len, &mut |piece| self.chains.pieces.push(piece));
        if inside { Ok(()) } else { Err(RingError::OutsideMemory { address: guest, len }) }
    }

    /// Takes the chain in.
    pub fn end(mut self, id: u16, slot: u16, slots: u16) {
        let (first, pieces) = (self.first as u32, (self.chains.pieces.len() - self.first) as u32);
        let chain = Chain { first, pieces, bytes: self.bytes as u32, written: 0, id, slot, slots };
        self.chains.chains.push(chain);
        self.first = self.chains.pieces.len();
    }
}

impl Drop for Builder<'_> {
    fn drop(&mut self) {
        self.chains.pieces.truncate(self.first);
    }
}
