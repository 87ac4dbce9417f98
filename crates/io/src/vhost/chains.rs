//! Descriptor chains that were taken from a ring, translated to pieces of our memory.
//!
//! All pieces lie in one array and each chain has a record that tells its part of it. Both are reused from batch to
//! batch, so that nothing is allocated for a frame. Nearly every chain is one piece.

use super::{
    descriptor::Descriptor,
    memory::{GuestMemory, Window},
    ring::RingError,
};
use crate::{BATCH_FRAMES, piece::Piece};
use std::{iter::Zip, ops::Range, ptr::NonNull, slice::IterMut};

/// No further chain is taken once so many pieces are in a batch. A frame of 64 KiB takes 17 pages and a header, and Linux
/// that does not merge buffers provides 19 for each frame: a batch of those has to fit, as what does not is lost. A guest
/// that hands out its bytes one by one is served, but takes no more of a turn than others.
const PIECES: usize = 32 * BATCH_FRAMES;

/// One chain; 16 bytes, so that a line holds four.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chain {
    /// The first of its pieces.
    first: u32,
    /// Bytes that were written into it.
    pub written: u32,
    /// What the driver knows it by: split: the head's number, packed: the buffer id.
    pub id: u16,
    /// Packed: the slot of the ring where the chain begins.
    pub slot: u16,
    /// Packed: how many slots it takes.
    pub slots: u16,
    pieces: u16,
}

impl Chain {
    /// One of which nothing is known but that it goes back, without a byte written.
    pub const fn returned(id: u16, slot: u16, slots: u16) -> Self {
        Self { first: 0, written: 0, id, slot, slots, pieces: 0 }
    }
}

const NOTHING: Piece = Piece { at: NonNull::dangling(), len: 0 };

/// Chains in the order in which they were taken.
#[derive(Debug, Default)]
pub struct Chains {
    /// The first `len` count; those behind are room that is initialised already.
    chains: Vec<Chain>,
    len: usize,
    /// In the same way.
    pieces: Vec<Piece>,
    used: usize,
}

// SAFETY: pieces are addresses, and only who answers for the memory follows them.
unsafe impl Send for Chains {}

impl Chains {
    /// Number of chains.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without chains.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all chains.
    #[inline]
    pub fn clear(&mut self) {
        (self.len, self.used) = (0, 0);
    }

    /// The memory of the chain, in order; one piece at least, none of them empty. Nothing for a chain that is not there.
    #[must_use]
    #[inline]
    pub fn pieces(&self, chain: usize) -> &[Piece] {
        let Some(chain) = self.chains.get(chain).filter(|_| chain < self.len) else { return &[] };
        let (first, pieces) = (chain.first as usize, usize::from(chain.pieces));
        self.pieces.get(first..first + pieces).unwrap_or_default()
    }

    /// The chains' pieces where each chain is a single one.
    #[must_use]
    #[inline]
    pub fn singles(&self) -> Option<&[Piece]> {
        // No chain is without a piece.
        (self.used == self.len).then(|| self.pieces.get(..self.len).unwrap_or_default())
    }

    /// From chain `first` on the memory of each and where to note the bytes that were written into it, as far as all chains
    /// are of one piece.
    #[inline]
    pub(super) fn fill_singles(&mut self, first: usize) -> (&[Piece], impl Iterator<Item = &mut u32>) {
        let end = if self.used == self.len { self.len.max(first) } else { first };
        let pieces = self.pieces.get(first..end).unwrap_or_default();
        let chains = self.chains.get_mut(first..end).unwrap_or_default();
        (pieces, chains.iter_mut().map(|chain| &mut chain.written))
    }

    /// The chain's only piece; `None` for a chain of several.
    #[must_use]
    #[inline]
    pub fn single(&self, chain: usize) -> Option<Piece> {
        match self.pieces(chain) {
            _ if self.used == self.len && chain < self.len => self.pieces.get(chain).copied(),
            &[piece] => Some(piece),
            _ => None,
        }
    }

    /// Bytes of all pieces of the chain together.
    #[must_use]
    #[inline]
    pub fn bytes(&self, chain: usize) -> usize {
        self.pieces(chain).iter().map(|piece| piece.len).sum()
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
        self.chains.get(..self.len).and_then(|chains| chains.get(range)).unwrap_or_default()
    }

    /// True where a batch has enough pieces.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.used >= PIECES
    }

    /// Room for so many chains of one piece each, to be taken in with [`Chains::grow`].
    #[inline]
    pub(super) fn room(&mut self, chains: usize) -> Room<'_> {
        if self.chains.len() < self.len + chains {
            self.chains.resize(self.len + chains, Chain::default());
        }
        if self.pieces.len() < self.used + chains {
            self.pieces.resize(self.used + chains, NOTHING);
        }
        let first = self.used as u32;
        let (pieces, chains) = (&mut self.pieces[self.used..], &mut self.chains[self.len..][..chains]);
        Room { first, places: pieces.iter_mut().zip(chains) }
    }

    /// Takes in the first `chains` for which there was room.
    #[inline]
    pub(super) fn grow(&mut self, chains: usize) {
        (self.len, self.used) = (self.len + chains, self.used + chains);
    }

    /// Begins a chain of several pieces, which [`Builder::end`] takes in.
    pub(super) fn begin<'a>(
        &'a mut self,
        memory: &'a GuestMemory,
        window: &'a mut Window,
        writable: bool,
    ) -> Builder<'a> {
        let end = self.used;
        Builder { chains: self, memory, window, writable, end, bytes: 0 }
    }

    /// Forgets the last chains; how many slots of the ring they took.
    pub(super) fn pop(&mut self, chains: usize) -> u16 {
        let keep = self.len.saturating_sub(chains);
        let popped = self.range(keep..self.len);
        let slots = popped.iter().map(|chain| chain.slots).fold(0, u16::wrapping_add);
        self.used = popped.first().map_or(self.used, |chain| chain.first as usize);
        self.len = keep;
        slots
    }
}

/// Where chains of one piece go.
pub(super) struct Room<'a> {
    first: u32,
    places: Zip<IterMut<'a, Piece>, IterMut<'a, Chain>>,
}

/// The place of one chain.
pub(super) struct Place<'a> {
    first: u32,
    piece: &'a mut Piece,
    chain: &'a mut Chain,
}

impl<'a> Iterator for Room<'a> {
    type Item = Place<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Place<'a>> {
        let (piece, chain) = self.places.next()?;
        let first = self.first;
        self.first += 1;
        Some(Place { first, piece, chain })
    }
}

impl Place<'_> {
    /// Fills it.
    #[inline(always)]
    pub fn fill(self, piece: Piece, id: u16, slot: u16) {
        *self.piece = piece;
        *self.chain = Chain { first: self.first, written: 0, id, slot, slots: 1, pieces: 1 };
    }
}

/// A chain that descriptors are being added to. Its pieces do not count when it is dropped before its end.
pub(super) struct Builder<'a> {
    chains: &'a mut Chains,
    memory: &'a GuestMemory,
    window: &'a mut Window,
    writable: bool,
    /// Behind the last of its pieces.
    end: usize,
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
        let Self { memory, window, chains, end, .. } = self;
        let mut push = |piece| {
            set(&mut chains.pieces, *end, piece);
            *end += 1;
        };
        if let Some(piece) = window.piece(guest, len).or_else(|| memory.move_window(window, guest, len)) {
            push(piece);
            return Ok(());
        }
        let inside = memory.pieces(guest, len, &mut push);
        if inside { Ok(()) } else { Err(RingError::OutsideMemory { address: guest, len }) }
    }

    /// Takes the chain in.
    pub fn end(self, id: u16, slot: u16, slots: u16) -> Result<(), RingError> {
        let Chains { chains, len, used, .. } = self.chains;
        let pieces =
            u16::try_from(self.end - *used).map_err(|_| RingError::ChainTooLong(u32::from(u16::MAX)))?;
        set(chains, *len, Chain { first: *used as u32, written: 0, id, slot, slots, pieces });
        (*len, *used) = (*len + 1, self.end);
        Ok(())
    }
}

/// Sets an element, which may be the one behind the last.
fn set<T>(all: &mut Vec<T>, at: usize, value: T) {
    match all.get_mut(at) {
        Some(place) => *place = value,
        None => all.push(value),
    }
}
