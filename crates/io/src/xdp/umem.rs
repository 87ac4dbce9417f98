//! The memory that frames lie in (UMEM): chunks of [`CHUNK`] bytes, which belong to the kernel while their
//! address is in the fill or tx ring and to us from the rx or completion ring on.
//!
//! It is divided once: the first [`RX_CHUNKS`] are received into, the rest sent from, so that neither
//! direction can take the other's. Each queue has its own, so that queues can be served by different workers
//! without a lock.

use crate::piece::Piece;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use std::{
    io,
    ptr::{NonNull, null_mut},
};

/// A page: larger chunks take huge pages, smaller ones hold no frame of MTU 1500 with a NIC's own headroom.
pub(super) const CHUNK: usize = 4096;
/// What the kernel keeps free in front of a received frame (XDP_PACKET_HEADROOM).
pub(super) const HEADROOM: usize = 256;
/// Room for what arrives while the worker is elsewhere: 2048 frames are 1 ms at 2 Mpps.
pub(super) const RX_CHUNKS: u32 = 2048;
/// Room for 15 segments of 64 KiB, cut for an MTU of 1500.
pub(super) const TX_CHUNKS: u32 = 1024;

const LEN: usize = (RX_CHUNKS + TX_CHUNKS) as usize * CHUNK;
const HUGE_PAGE: usize = 2 << 20;

/// The chunks of one socket.
#[derive(Debug)]
pub(super) struct Umem {
    at: NonNull<u8>,
    mapping: NonNull<u8>,
}

// SAFETY: the pointers name a mapping that this owns; it is only used through copies and the kernel's rings.
unsafe impl Send for Umem {}
// SAFETY: as for `Send`; a shared reference gives pointers only.
unsafe impl Sync for Umem {}

impl Umem {
    pub(super) fn new() -> io::Result<Self> {
        let (rw, private) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new anonymous mapping, wherever the kernel likes.
        let mapped = unsafe { mmap_anonymous(null_mut(), LEN + HUGE_PAGE, rw, private) }?;
        let mapping = NonNull::new(mapped.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let skip = mapping.as_ptr().align_offset(HUGE_PAGE);
        // SAFETY: `skip` is less than the huge page by which the mapping is longer than `LEN`.
        let at = unsafe { mapping.add(skip) };
        // SAFETY: the range lies within the mapping; the advice does not change what is in it. Where it is
        // refused, nothing is lost.
        let _ = unsafe { madvise(at.as_ptr().cast(), LEN, Advice::LinuxHugepage) };
        Ok(Self { at, mapping })
    }

    /// How the kernel is told of it.
    pub(super) fn registration(&self) -> libc::xdp_umem_reg {
        libc::xdp_umem_reg {
            addr: self.at.as_ptr() as u64,
            len: LEN as u64,
            chunk_size: CHUNK as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        }
    }

    /// The addresses of all chunks to receive into.
    pub(super) fn rx_chunks() -> impl Iterator<Item = u64> {
        (0..u64::from(RX_CHUNKS)).map(|chunk| chunk * CHUNK as u64)
    }

    /// The addresses of all chunks to send from.
    pub(super) fn tx_chunks() -> impl Iterator<Item = u64> {
        (u64::from(RX_CHUNKS)..u64::from(RX_CHUNKS + TX_CHUNKS)).map(|chunk| chunk * CHUNK as u64)
    }

    /// The first byte of the chunk that an address lies in.
    #[inline]
    pub(super) const fn chunk_of(address: u64) -> u64 {
        address & !(CHUNK as u64 - 1)
    }

    /// `len` bytes from `address` on; `None` where they would not lie in one chunk.
    #[inline]
    pub(super) fn piece(&self, address: u64, len: usize) -> Option<Piece> {
        let offset = (address % CHUNK as u64) as usize;
        if address >= LEN as u64 || offset + len > CHUNK {
            return None;
        }
        // SAFETY: checked to lie within the mapping.
        Some(Piece { at: unsafe { self.at.add(address as usize) }, len })
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and pieces of it are kept by those who hold this. The kernel has
        // pinned the pages for as long as a socket uses them.
        let _ = unsafe { munmap(self.mapping.as_ptr().cast(), LEN + HUGE_PAGE) };
    }
}
