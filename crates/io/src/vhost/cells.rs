//! Parts of a ring in guest memory, as arrays of cells that the guest reads and writes at the same time.
//!
//! An array knows its length and keeps its memory mapped, and an index beyond the end is brought back into it, so that
//! reaching a cell needs neither a panic nor trust in the guest. All access is by atomics, or by plain writes to cells
//! that a well-behaved driver does not look at until an index or a flag is published behind them.

use super::{memory::GuestMemory, ring::RingError};
use std::{
    mem::{align_of, size_of},
    ptr::NonNull,
    sync::Arc,
};

/// `mask + 1` cells of type `T`, which is valid for any bytes.
#[derive(Debug)]
pub(super) struct Cells<T> {
    at: NonNull<T>,
    last: usize,
    _memory: Arc<GuestMemory>,
}

// SAFETY: the memory is shared with another process anyway; cells are reached by atomics or by writes that the ring's
// own order keeps from others' reads.
unsafe impl<T> Send for Cells<T> {}

/// Types for which any bytes are valid.
///
/// # Safety
/// That they are, and that a shared reference allows what others write: an atomic, or never referred to.
pub(super) unsafe trait AnyBytes {}
// SAFETY: integers in atomics.
unsafe impl AnyBytes for std::sync::atomic::AtomicU16 {}
// SAFETY: integers in atomics.
unsafe impl AnyBytes for [std::sync::atomic::AtomicU32; 2] {}
// SAFETY: integers in atomics.
unsafe impl AnyBytes for std::sync::atomic::AtomicU32 {}
// SAFETY: integers in atomics.
unsafe impl AnyBytes for super::descriptor::Cell {}

impl<T: AnyBytes> Cells<T> {
    /// `len` cells at an address of the front end; `part` names them for whom it fails.
    pub fn new(
        memory: &Arc<GuestMemory>,
        address: u64,
        len: usize,
        part: &'static str,
    ) -> Result<Self, RingError> {
        let bytes = len * size_of::<T>();
        let piece = memory.user(address, bytes as u64).ok_or(RingError::PartOutsideMemory {
            part,
            address,
            bytes,
        })?;
        let at = piece.at.cast::<T>();
        if !at.as_ptr().is_aligned() {
            return Err(RingError::Unaligned { part, address, align: align_of::<T>() });
        }
        Ok(Self { at, last: len - 1, _memory: Arc::clone(memory) })
    }

    /// The cell, or the last one where there are not so many.
    #[inline(always)]
    pub fn get(&self, index: usize) -> &T {
        // SAFETY: `new` checked that so many cells are mapped and aligned, and any bytes are valid.
        unsafe { self.at.add(index.min(self.last)).as_ref() }
    }

    /// The cell, counted around a ring whose length is a power of two.
    #[inline(always)]
    pub fn around(&self, index: u16) -> &T {
        // SAFETY: as above; where the length is a power of two, `last` is the mask that brings every index into it, and
        // where it is not, masking makes a number that is not above `last` all the same.
        unsafe { self.at.add(usize::from(index) & self.last).as_ref() }
    }

    /// Where the first cell lies.
    pub fn start(&self) -> NonNull<u8> {
        self.at.cast()
    }
}
