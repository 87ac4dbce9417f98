//! The dirty log of live migration: which pages of guest memory were written (vhost-user, "Migration").
//!
//! One bit for each 4 KiB of guest address space, in memory shared with the VMM, which reads and clears it while we
//! write. So bits are set with an atomic OR, and always *after* the write they tell of: a bit set before could be
//! cleared, and the page copied, before the write came. For the same reason a bit that is set already is not left
//! alone: it might be cleared after we looked, by somebody who does not see our write yet.

use super::memory::{GuestMemory, Mapping};
use std::{
    io,
    os::fd::BorrowedFd,
    ptr::NonNull,
    sync::atomic::{AtomicU8, Ordering},
};

/// Bytes of guest memory for each bit of the log.
const PAGE: u64 = 4096;

/// A log that the VMM shares.
#[derive(Debug)]
pub struct DirtyLog {
    mapping: Mapping,
    size: u64,
}

impl DirtyLog {
    /// Maps `size` bytes of the file from `offset` on.
    pub fn map(fd: BorrowedFd<'_>, offset: u64, size: u64) -> io::Result<Self> {
        let end = offset.checked_add(size).filter(|end| *end <= i64::MAX as u64 && size > 0);
        end.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        Ok(Self { mapping: Mapping::new(fd, offset, size)?, size })
    }

    /// True where the log has a bit for each page of the memory.
    #[must_use]
    pub fn covers(&self, memory: &GuestMemory) -> bool {
        memory
            .regions()
            .all(|region| region.guest.saturating_add(region.size).div_ceil(PAGE).div_ceil(8) <= self.size)
    }

    /// Marks the pages of `len` bytes that were written from the guest's address on. What the log has no bit for is
    /// left out.
    pub fn mark(&self, guest: u64, len: u64) {
        let Some(last) = len.checked_sub(1).map(|more| guest.saturating_add(more) / PAGE) else { return };
        for page in guest / PAGE..=last.min(self.size.saturating_mul(8).saturating_sub(1)) {
            // SAFETY: the byte is one of the mapping's first `size` bytes, as the page was bounded by them. It is shared
            // with another process, which is what atomics are for.
            let byte = unsafe { AtomicU8::from_ptr(self.mapping.start().add((page / 8) as usize).as_ptr()) };
            // Release: who sees the bit sees the bytes that were written before.
            byte.fetch_or(1 << (page % 8), Ordering::Release);
        }
    }

    /// Marks the pages of `len` bytes that were written at `at`, a place in the memory.
    pub fn mark_written(&self, memory: &GuestMemory, at: NonNull<u8>, len: usize) {
        if let Some(guest) = memory.guest_address(at) {
            self.mark(guest, len as u64);
        }
    }

    /// True once a page of the log itself was missing.
    #[must_use]
    pub fn faulted(&self) -> bool {
        self.mapping.faulted()
    }
}
