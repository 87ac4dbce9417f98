//! A driver that is fast enough to measure a device with: single descriptors, in order, no notifications. Buffers are laid
//! out as DPDK's virtio-user does it: 2 KiB apart, the header in the 12 bytes before the second cache line pair.

#![allow(clippy::unwrap_used, dead_code, reason = "an example; each uses a part of it")]

use io::vhost_rings::{Direction, GuestMemory, RegionInfo, Ring, RingConfig};
use std::{
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence},
    },
};

const BUFFERS: u64 = 0x100_000;
const STRIDE: u64 = 2048 + 128;
const HEADER: u64 = 12;
const USER: u64 = 0x5000_0000_0000;
pub const FRAME: u64 = 64;

/// Feature bits.
pub const PACKED: u64 = 1 << 34 | 1 << 32;
pub const SPLIT: u64 = 1 << 32;
pub const IN_ORDER: u64 = 1 << 35;

const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// A guest with one ring.
pub struct Driver {
    base: *mut u8,
    memory: Arc<GuestMemory>,
    config: RingConfig,
    size: u16,
    packed: bool,
    skips: bool,
    write: bool,
    next: u16,
    used: u16,
    /// Packed: slots used so far, to tell the lap.
    laps: [bool; 2],
    free: u16,
}

// SAFETY: memory that is reached by atomics and copies only; the driver runs in one thread.
unsafe impl Send for Driver {}

impl Driver {
    pub fn new(direction: Direction, size: u16, features: u64) -> Self {
        let bytes = BUFFERS + u64::from(size) * STRIDE;
        // SAFETY: a new file and a new mapping of it, as long as the file.
        let (fd, base) = unsafe {
            let fd = OwnedFd::from_raw_fd(libc::memfd_create(c"guest".as_ptr(), 0));
            assert_eq!(libc::ftruncate(fd.as_raw_fd(), bytes as i64), 0);
            let both = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
            let base = libc::mmap(null_mut(), bytes as usize, both, flags, fd.as_raw_fd(), 0);
            assert_ne!(base, libc::MAP_FAILED);
            (fd, base.cast::<u8>())
        };
        let info = RegionInfo { guest: 0, size: bytes, user: USER, offset: 0 };
        let memory = Arc::new(GuestMemory::map(vec![(info, fd)]).unwrap());
        let packed = features & PACKED == PACKED;
        let parts = [0, 0x80_000, 0xc0_000].map(|guest| guest + USER);
        let config = RingConfig::new(direction, size, parts, features);
        let write = direction == Direction::Writable;
        let skips = features & IN_ORDER != 0 && !write;
        Self {
            base,
            memory,
            config,
            size,
            packed,
            skips,
            write,
            next: 0,
            used: 0,
            laps: [true; 2],
            free: size,
        }
    }

    /// The device's side.
    pub fn device(&self) -> Ring {
        Ring::new(&self.config, &self.memory).unwrap()
    }

    fn u16(&self, at: u64) -> &AtomicU16 {
        // SAFETY: all addresses are multiples of 2 in the mapping.
        unsafe { AtomicU16::from_ptr(self.base.add(at as usize).cast()) }
    }

    fn u32(&self, at: u64) -> &AtomicU32 {
        // SAFETY: all addresses are multiples of 4 in the mapping.
        unsafe { AtomicU32::from_ptr(self.base.add(at as usize).cast()) }
    }

    fn u64(&self, at: u64) -> &AtomicU64 {
        // SAFETY: all addresses are multiples of 8 in the mapping.
        unsafe { AtomicU64::from_ptr(self.base.add(at as usize).cast()) }
    }

    /// Tells the device not to notify.
    pub fn be_quiet(&self) {
        if self.packed {
            self.u32(0x80_000).store(1 << 16, Ordering::Relaxed);
        } else {
            self.u16(0x80_000).store(1, Ordering::Relaxed);
        }
    }

    /// Makes up to `count` buffers available; how many.
    pub fn post(&mut self, count: u16) -> u16 {
        let count = count.min(self.free);
        for _ in 0..count {
            let slot = self.next % self.size;
            let buffer = BUFFERS + u64::from(slot) * STRIDE + 128 - HEADER;
            let len = if self.write { 2048 } else { HEADER + FRAME };
            if !self.write {
                self.fill(buffer);
            }
            self.descriptor(slot, buffer, len);
            self.advance(slot);
        }
        if !self.packed && count > 0 {
            self.u16(0x80_002).store(self.next, Ordering::Release);
        }
        self.free -= count;
        count
    }

    fn fill(&self, buffer: u64) {
        // SAFETY: within the mapping; a frame's bytes, of which the device reads after they were made available.
        unsafe {
            self.base.add(buffer as usize).cast::<[u8; 12]>().write([0; 12]);
            self.base.add((buffer + HEADER) as usize).cast::<[u64; 4]>().write([7; 4]);
        }
    }

    #[inline(always)]
    fn descriptor(&self, slot: u16, buffer: u64, len: u64) {
        let at = 16 * u64::from(slot);
        let flags = if self.write { 2u16 } else { 0 };
        self.u64(at).store(buffer, Ordering::Relaxed);
        if self.packed {
            let lap = if self.laps[0] { AVAILABLE } else { USED };
            let rest = len | u64::from(slot) << 32 | u64::from(flags | lap) << 48;
            self.u64(at + 8).store(rest, Ordering::Release);
        } else {
            self.u64(at + 8).store(len | u64::from(flags) << 32, Ordering::Relaxed);
            self.u16(0x80_004 + 2 * u64::from(slot)).store(slot, Ordering::Relaxed);
        }
    }

    fn advance(&mut self, _slot: u16) {
        self.next = self.next.wrapping_add(1);
        if self.packed && self.next == self.size {
            (self.next, self.laps[0]) = (0, !self.laps[0]);
        }
    }

    /// Takes back what the device used, up to `count`; reads what it received. How many, and a sum of what was read.
    pub fn reap(&mut self, count: u16) -> (u16, u64) {
        if self.packed { self.reap_packed(count) } else { self.reap_split(count) }
    }

    fn look(&self, slot: u16) -> u64 {
        let at = BUFFERS + u64::from(slot) * STRIDE + 128;
        // SAFETY: within the mapping; the device wrote it before it said so.
        if self.write { unsafe { self.base.add(at as usize).cast::<u64>().read() } } else { 0 }
    }

    fn reap_split(&mut self, count: u16) -> (u16, u64) {
        let there = self.u16(0xc0_002).load(Ordering::Acquire).wrapping_sub(self.used).min(count);
        let mut sum = 0;
        for at in 0..there {
            let slot = self.used.wrapping_add(at) % self.size;
            let element = self.u32(0xc0_004 + 8 * u64::from(slot));
            if !self.skips {
                sum += u64::from(element.load(Ordering::Relaxed)) + self.look(slot);
            }
        }
        self.used = self.used.wrapping_add(there);
        self.free += there;
        (there, sum)
    }

    fn reap_packed(&mut self, count: u16) -> (u16, u64) {
        let (mut reaped, mut sum) = (0, 0);
        while reaped < count && self.free < self.size {
            let rest = self.u64(16 * u64::from(self.used) + 8).load(Ordering::Acquire);
            let flags = (rest >> 48) as u16;
            let lap = if self.laps[1] { AVAILABLE | USED } else { 0 };
            if flags & (AVAILABLE | USED) != lap {
                break;
            }
            let id = (rest >> 32) as u16;
            loop {
                let slot = self.used;
                sum += self.look(slot);
                self.used += 1;
                if self.used == self.size {
                    (self.used, self.laps[1]) = (0, !self.laps[1]);
                }
                (reaped, self.free) = (reaped + 1, self.free + 1);
                if slot == id {
                    break;
                }
            }
        }
        fence(Ordering::Acquire);
        (reaped, sum)
    }
}
