//! The rings that an AF_XDP socket shares with the kernel: one side writes entries and moves `producer`, the
//! other reads them and moves `consumer`. Both are free-running counters, masked when used.
//!
//! Each side keeps copies of both counters and looks at the other's only where its copy says that there is
//! nothing to do, so that the cache line moves between CPUs once a batch instead of once a frame.

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::{
    io,
    os::fd::BorrowedFd,
    ptr::{NonNull, null_mut},
    sync::atomic::{AtomicU32, Ordering},
};

/// Memory that is shared with the kernel.
#[derive(Debug)]
struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and whoever holds pointers into it holds it too.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), self.len) };
    }
}

/// Which ring of a socket, and how it is laid out (XDP_MMAP_OFFSETS).
pub(super) struct Layout {
    pub page_offset: u64,
    pub offsets: libc::xdp_ring_offset,
    pub entries: u32,
}

/// A mapped ring of entries of type `T`.
#[derive(Debug)]
struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    size: u32,
    _mapping: Mapping,
}

// SAFETY: the pointers name a mapping that the ring owns; nothing in it is tied to a thread.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    fn map(socket: BorrowedFd<'_>, layout: &Layout) -> io::Result<Self> {
        let offsets = &layout.offsets;
        let len = offsets.desc as usize + layout.entries as usize * size_of::<T>();
        let (rw, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::POPULATE);
        // SAFETY: a new mapping, wherever the kernel likes.
        let mapped = unsafe { mmap(null_mut(), len, rw, flags, socket, layout.page_offset) }?;
        let at = NonNull::new(mapped.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = Mapping { at, len };
        // SAFETY: the kernel named these offsets for the ring that was mapped, all before its end, and
        // aligned.
        unsafe {
            Ok(Self {
                producer: at.add(offsets.producer as usize).cast(),
                consumer: at.add(offsets.consumer as usize).cast(),
                flags: at.add(offsets.flags as usize).cast(),
                entries: at.add(offsets.desc as usize).cast(),
                size: layout.entries,
                _mapping: mapping,
            })
        }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: within the mapping, aligned, and only ever used atomically by both sides.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn wants_wakeup(&self) -> bool {
        // SAFETY: as for `producer`.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn entry(&self, number: u32) -> NonNull<T> {
        // SAFETY: the size is a power of two, so the masked number is below it.
        unsafe { self.entries.add((number & (self.size - 1)) as usize) }
    }
}

/// A ring that we write: fill, tx.
#[derive(Debug)]
pub(super) struct Producer<T> {
    ring: Ring<T>,
    /// The next entry to write.
    next: u32,
}

impl<T: Copy> Producer<T> {
    pub(super) fn map(socket: BorrowedFd<'_>, layout: &Layout) -> io::Result<Self> {
        Ok(Self { ring: Ring::map(socket, layout)?, next: 0 })
    }

    /// Writes an entry, which the kernel sees after [`Self::publish`]. The ring has as many entries as there
    /// are chunks that can be in it, so there is always room.
    #[inline]
    pub(super) fn put(&mut self, entry: T) {
        debug_assert!(self.pending() < self.ring.size);
        // SAFETY: the entry is within the mapping; the kernel does not read it before it is published, and
        // has released what was there, as the ring has room for all chunks.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
    }

    /// The entry that was put last.
    pub(super) fn last_put(&self) -> T {
        // SAFETY: as with `last_taken`.
        unsafe { self.ring.entry(self.next.wrapping_sub(1)).read() }
    }

    #[inline]
    pub(super) fn publish(&self) {
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// Entries that the kernel has not taken yet.
    pub(super) fn pending(&self) -> u32 {
        self.next.wrapping_sub(self.ring.consumer().load(Ordering::Acquire))
    }

    /// True where the kernel goes on only after a system call.
    pub(super) fn wants_wakeup(&self) -> bool {
        self.ring.wants_wakeup()
    }

    /// The entry that the kernel has taken last.
    pub(super) fn last_taken(&self) -> T {
        let number = self.ring.consumer().load(Ordering::Acquire).wrapping_sub(1);
        // SAFETY: every entry of the mapping is initialised, by us or with zeroes by the kernel, and the
        // kernel never writes entries of this ring.
        unsafe { self.ring.entry(number).read() }
    }
}

/// A ring that we read: rx, completion.
#[derive(Debug)]
pub(super) struct Consumer<T> {
    ring: Ring<T>,
    /// The next entry to read.
    next: u32,
    /// The kernel's counter, when we looked last.
    seen: u32,
}

impl<T: Copy> Consumer<T> {
    pub(super) fn map(socket: BorrowedFd<'_>, layout: &Layout) -> io::Result<Self> {
        Ok(Self { ring: Ring::map(socket, layout)?, next: 0, seen: 0 })
    }

    /// The entry `ahead` of the next one, where the kernel has written that one already.
    #[inline]
    pub(super) fn peek(&mut self, ahead: u32) -> Option<T> {
        if self.seen.wrapping_sub(self.next) <= ahead {
            self.seen = self.ring.producer().load(Ordering::Acquire);
            if self.seen.wrapping_sub(self.next) <= ahead {
                return None;
            }
        }
        // SAFETY: the kernel wrote the entry before it moved `producer` beyond it, and leaves it alone until
        // we release it.
        Some(unsafe { self.ring.entry(self.next.wrapping_add(ahead)).read() })
    }

    /// Goes beyond `count` entries, all of them peeked at. Until [`Self::release`] they stay as they are.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) {
        self.next = self.next.wrapping_add(count);
    }

    /// Gives the entries before the next one back to the kernel.
    #[inline]
    pub(super) fn release(&self) {
        self.ring.consumer().store(self.next, Ordering::Release);
    }
}
