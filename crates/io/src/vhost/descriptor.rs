//! A descriptor: how both ring formats name a buffer (virtio 1.2, 2.7.5 and 2.8.13).
//!
//! A guest can rewrite a descriptor at any time, so each is read once, into this private copy, and only the copy is
//! looked at. The format is 64-bit address, 32-bit length, and two 16-bit fields of which one is the flags: the second
//! in a split ring, the last in a packed one; the other is the next descriptor or the buffer's id.

use super::ring::RingError;
use crate::piece::Piece;
use std::{
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;
/// Bytes of a descriptor.
pub(super) const SIZE: u32 = 16;
/// The most descriptors of an indirect table. Linux uses up to 50 and QEMU takes 1024.
pub(super) const MAX_INDIRECT: u32 = 4096;

/// A descriptor as it lies in memory: the address, and the rest.
pub(super) type Cell = [AtomicU64; 2];

/// A private copy of a descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    pub address: u64,
    pub len: u32,
    pub flags: u16,
    /// Split: the next descriptor; packed: the buffer's id.
    pub link: u16,
}

impl Descriptor {
    /// From a split ring.
    #[inline(always)]
    pub fn split(address: u64, rest: u64) -> Self {
        Self { address, len: rest as u32, flags: (rest >> 32) as u16, link: (rest >> 48) as u16 }
    }

    /// From a packed ring.
    #[inline(always)]
    pub fn packed(address: u64, rest: u64) -> Self {
        Self { address, len: rest as u32, flags: (rest >> 48) as u16, link: (rest >> 32) as u16 }
    }

    /// Reads a cell of a split ring. The order against the index that made it available is the caller's.
    #[inline(always)]
    pub fn read_split(cell: &Cell) -> Self {
        Self::split(cell[0].load(Ordering::Relaxed), cell[1].load(Ordering::Relaxed))
    }

    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub fn is_writable(&self) -> bool {
        self.has(WRITE)
    }
}

/// An indirect table, checked in its size; `at` is guest memory.
pub(super) struct Table {
    at: NonNull<u8>,
    /// Number of descriptors.
    pub len: u32,
}

impl Table {
    /// The table that a descriptor refers to, and which lies in `piece`.
    pub fn of(descriptor: &Descriptor, piece: Option<Piece>) -> Result<Self, RingError> {
        let bytes = descriptor.len;
        if bytes == 0 || !bytes.is_multiple_of(SIZE) || bytes / SIZE > MAX_INDIRECT {
            return Err(RingError::IndirectSize(bytes));
        }
        let outside = RingError::IndirectOutsideMemory { address: descriptor.address, len: bytes };
        Ok(Self { at: piece.ok_or(outside)?.at, len: bytes / SIZE })
    }

    /// The two halves of a descriptor, read once; `None` behind the end.
    pub fn read(&self, index: u32) -> Option<[u64; 2]> {
        // SAFETY: the table's `len` descriptors lie in guest memory, which the ring keeps mapped.
        (index < self.len).then(|| unsafe { read_once(self.at.add((index * SIZE) as usize)) })
    }
}

/// Reads 16 bytes that another process may be writing, each once.
///
/// # Safety
/// They are mapped.
unsafe fn read_once(at: NonNull<u8>) -> [u64; 2] {
    let at = at.as_ptr();
    // SAFETY: the bytes are mapped by the caller's word, and the reads of 8 are aligned where they are done.
    unsafe {
        if at.cast::<u64>().is_aligned() {
            return [at.cast::<u64>().read_volatile(), at.add(8).cast::<u64>().read_volatile()]
                .map(u64::from_le);
        }
        let half =
            |from: usize| u64::from_le_bytes(std::array::from_fn(|i| at.add(from + i).read_volatile()));
        [half(0), half(8)]
    }
}
