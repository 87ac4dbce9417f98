//! A guest for the tests: memory of three regions, and naive drivers of both ring formats that do what the virtio
//! specification says, one step at a time and without regard to speed.

use super::super::{Direction, RingConfig};
use crate::vhost::{
    features::Features,
    memory::{GuestMemory, RegionInfo},
};
use std::{
    collections::VecDeque,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr::{NonNull, null_mut},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
};

pub const REGION: u64 = 0x400_000;
/// Two regions that adjoin for the guest but not in the file, and one apart.
pub const LOW: u64 = 0x10_000;
pub const HIGH: u64 = LOW + REGION;
pub const APART: u64 = 0x1000_0000;
const USER: u64 = 0x7f00_0000_0000;
const REGIONS: [(u64, u64); 3] = [(LOW, 0), (HIGH, 2 * REGION), (APART, 4 * REGION)];
const FILE: u64 = 5 * REGION;

pub fn memfd(len: u64) -> OwnedFd {
    // SAFETY: the name is a C string, and a descriptor that is not negative is a new one of ours.
    let fd = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"guest".as_ptr(), 0)) };
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), len.cast_signed()) }, 0);
    fd
}

/// The guest's own view of its memory.
pub struct Guest {
    pub fd: OwnedFd,
    at: NonNull<u8>,
}

// SAFETY: a mapping that is reached by volatile accesses and atomics.
unsafe impl Send for Guest {}
// SAFETY: as above.
unsafe impl Sync for Guest {}

impl Default for Guest {
    fn default() -> Self {
        let fd = memfd(FILE);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping.
        let at =
            unsafe { libc::mmap(null_mut(), FILE as usize, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Self { fd, at: NonNull::new(at.cast()).unwrap() }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: mapped by `default`; nothing refers to it any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), FILE as usize) };
    }
}

impl Guest {
    pub fn regions(&self) -> Vec<(RegionInfo, OwnedFd)> {
        let region = |(guest, offset)| {
            let info = RegionInfo { guest, size: REGION, user: guest + USER, offset };
            (info, self.fd.as_fd().try_clone_to_owned().unwrap())
        };
        REGIONS.map(region).into()
    }

    pub fn memory(&self) -> Arc<GuestMemory> {
        Arc::new(GuestMemory::map(self.regions()).unwrap())
    }

    pub fn byte(&self, guest: u64) -> NonNull<u8> {
        let (start, offset) =
            REGIONS.into_iter().find(|(start, _)| (*start..start + REGION).contains(&guest)).unwrap();
        // SAFETY: within the mapped file, as the address is within a region.
        unsafe { self.at.add((guest - start + offset) as usize) }
    }

    pub fn write(&self, guest: u64, bytes: &[u8]) {
        for (at, byte) in (guest..).zip(bytes) {
            // SAFETY: `byte` gives an address of the mapped file.
            unsafe { self.byte(at).write_volatile(*byte) };
        }
    }

    pub fn read(&self, guest: u64, len: usize) -> Vec<u8> {
        // SAFETY: `byte` gives an address of the mapped file.
        (guest..).take(len).map(|at| unsafe { self.byte(at).read_volatile() }).collect()
    }

    pub fn u16(&self, guest: u64) -> &AtomicU16 {
        // SAFETY: an aligned address of the mapped file.
        unsafe { AtomicU16::from_ptr(self.byte(guest).cast().as_ptr()) }
    }

    pub fn u32(&self, guest: u64) -> &AtomicU32 {
        // SAFETY: an aligned address of the mapped file.
        unsafe { AtomicU32::from_ptr(self.byte(guest).cast().as_ptr()) }
    }

    pub fn load(&self, guest: u64) -> u16 {
        self.u16(guest).load(Ordering::Acquire)
    }

    pub fn store(&self, guest: u64, value: u16) {
        self.u16(guest).store(value, Ordering::Release);
    }

    /// Writes a descriptor whose last two fields are the same in no format.
    pub fn descriptor(&self, at: u64, address: u64, len: u32, last: [u16; 2]) {
        self.u32(at).store(address as u32, Ordering::Relaxed);
        self.u32(at + 4).store((address >> 32) as u32, Ordering::Relaxed);
        self.u32(at + 8).store(len, Ordering::Relaxed);
        self.store(at + 12, last[0]);
        // The flags of a packed descriptor come last, and make it available.
        self.store(at + 14, last[1]);
    }
}

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// What is negotiated, and how large the ring is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub packed: bool,
    pub direction: Direction,
    pub size: u16,
    pub event_idx: bool,
    pub in_order: bool,
}

/// Where the ring's parts are; the driver keeps everything in the first region but buffers and tables.
pub const DESCRIPTORS: u64 = LOW;
pub const DRIVER: u64 = LOW + 0x10_000;
pub const DEVICE: u64 = LOW + 0x20_000;
/// Behind the ring's parts; each chain has its own place.
pub const TABLES: u64 = LOW + 0x30_000;
/// Room for a table of 32 descriptors.
const TABLE: u64 = 512;

impl Shape {
    pub fn config(&self) -> RingConfig {
        let bits = [
            (true, Features::VERSION_1),
            (true, Features::INDIRECT_DESC),
            (self.packed, Features::RING_PACKED),
            (self.event_idx, Features::EVENT_IDX),
            (self.in_order, Features::IN_ORDER),
        ];
        let negotiated =
            bits.into_iter().filter(|bit| bit.0).fold(Features::default(), |set, bit| set.with(bit.1));
        let parts = [DESCRIPTORS, DRIVER, DEVICE].map(|guest| guest + USER);
        RingConfig::new(self.direction, self.size, parts, negotiated.bits())
    }

    fn write_flag(&self) -> u16 {
        if self.direction == Direction::Writable { WRITE } else { 0 }
    }
}

/// A buffer of the guest: where and how long.
pub type Buffer = (u64, u32);

/// How the driver wishes to be notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Always,
    Never,
    /// When so many more chains or slots were used; only with EVENT_IDX.
    After(u16),
}

/// A chain that was made available.
#[derive(Clone, Debug)]
pub struct Posted {
    pub id: u16,
    pub buffers: Vec<Buffer>,
    slots: u16,
    table: Option<u16>,
    taken: Vec<u16>,
}

#[derive(Clone)]
pub struct Driver {
    pub guest: Arc<Guest>,
    pub shape: Shape,
    /// In the order they were made available; completion is in order.
    pub posted: VecDeque<Posted>,
    /// Split: free descriptors; packed: free ids.
    free: VecDeque<u16>,
    tables: Vec<u16>,
    next: u16,
    wrap: bool,
    used: u16,
    used_wrap: bool,
    /// Split: the available index. Packed: slots in use.
    index: u16,
}

pub const AVAILABLE: u16 = 1 << 7;
pub const USED: u16 = 1 << 15;

impl Driver {
    pub fn new(guest: &Arc<Guest>, shape: Shape) -> Self {
        Self {
            guest: Arc::clone(guest),
            shape,
            posted: VecDeque::new(),
            free: (0..shape.size).collect(),
            tables: (0..64).collect(),
            next: 0,
            wrap: true,
            used: 0,
            used_wrap: true,
            index: 0,
        }
    }

    /// Split: as if the ring had been running for long, so that 16-bit indices wrap soon.
    pub fn start_at(&mut self, index: u16) {
        (self.index, self.used) = (index, index);
        self.guest.store(DRIVER + 2, index);
        self.guest.store(DEVICE + 2, index);
    }

    /// Makes a chain available. False where there is no room.
    pub fn post(&mut self, buffers: &[Buffer], indirect: bool) -> bool {
        let slots = if indirect { 1 } else { buffers.len() as u16 };
        let room = if self.shape.packed { self.shape.size - self.index } else { self.free.len() as u16 };
        if slots > room || self.free.is_empty() || (indirect && self.tables.is_empty()) {
            return false;
        }
        let table = indirect.then(|| self.write_table(buffers));
        let direct = match table {
            Some(table) => vec![(TABLES + u64::from(table) * TABLE, 16 * buffers.len() as u32)],
            None => buffers.to_vec(),
        };
        let flags = if indirect { INDIRECT } else { self.shape.write_flag() };
        let (id, taken) = if self.shape.packed {
            self.post_packed(&direct, flags)
        } else {
            self.post_split(&direct, flags)
        };
        self.posted.push_back(Posted { id, buffers: buffers.to_vec(), slots, table, taken });
        true
    }

    fn write_table(&mut self, buffers: &[Buffer]) -> u16 {
        let table = self.tables.pop().unwrap();
        for (at, (address, len)) in buffers.iter().enumerate() {
            let next = if at + 1 < buffers.len() && !self.shape.packed { NEXT } else { 0 };
            let flags = self.shape.write_flag() | next;
            let last = if self.shape.packed { [0, flags] } else { [flags, at as u16 + 1] };
            self.guest.descriptor(TABLES + u64::from(table) * TABLE + 16 * at as u64, *address, *len, last);
        }
        table
    }

    fn post_split(&mut self, chain: &[Buffer], flags: u16) -> (u16, Vec<u16>) {
        let taken: Vec<u16> = self.free.drain(..chain.len()).collect();
        for (at, (address, len)) in chain.iter().enumerate() {
            let next = taken.get(at + 1).map_or([flags, 0xffff], |next| [flags | NEXT, *next]);
            self.guest.descriptor(DESCRIPTORS + 16 * u64::from(taken[at]), *address, *len, next);
        }
        self.guest.store(DRIVER + 4 + 2 * u64::from(self.index % self.shape.size), taken[0]);
        self.index = self.index.wrapping_add(1);
        self.guest.store(DRIVER + 2, self.index);
        (taken[0], taken)
    }

    fn post_packed(&mut self, chain: &[Buffer], flags: u16) -> (u16, Vec<u16>) {
        let id = self.free.pop_front().unwrap();
        let mut writes = vec![];
        for (at, buffer) in chain.iter().enumerate() {
            let next = if at + 1 < chain.len() { NEXT } else { 0 };
            let lap = if self.wrap { AVAILABLE } else { USED };
            writes.push((self.next, *buffer, [id, flags | next | lap]));
            self.index += 1;
            self.next += 1;
            if self.next == self.shape.size {
                (self.next, self.wrap) = (0, !self.wrap);
            }
        }
        for (slot, (address, len), last) in writes.into_iter().rev() {
            self.guest.descriptor(DESCRIPTORS + 16 * u64::from(slot), address, len, last);
        }
        (id, vec![id])
    }

    /// What was used since the last call: the chains and the lengths that the device tells; no length for a chain that it
    /// passed over.
    pub fn collect(&mut self) -> Vec<(Posted, Option<u32>)> {
        let mut collected = vec![];
        while let Some((id, len)) = self.read_used() {
            loop {
                let posted =
                    self.posted.pop_front().expect("the device used more chains than were available");
                let last = posted.id == id;
                assert!(last || self.shape.in_order, "chain {id} was used, but {} comes first", posted.id);
                self.recycle(&posted);
                collected.push((posted, last.then_some(len)));
                if last {
                    break;
                }
            }
        }
        collected
    }

    fn recycle(&mut self, posted: &Posted) {
        self.free.extend(&posted.taken);
        self.tables.extend(posted.table);
        if self.shape.packed {
            self.index -= posted.slots;
            self.used += posted.slots;
            if self.used >= self.shape.size {
                (self.used, self.used_wrap) = (self.used - self.shape.size, !self.used_wrap);
            }
        } else {
            self.used = self.used.wrapping_add(1);
        }
    }

    fn read_used(&self) -> Option<(u16, u32)> {
        if self.shape.packed {
            let at = DESCRIPTORS + 16 * u64::from(self.used);
            let flags = self.guest.load(at + 14);
            let is = |flag| (flags & flag != 0) == self.used_wrap;
            (is(AVAILABLE) && is(USED))
                .then(|| (self.guest.load(at + 12), self.guest.u32(at + 8).load(Ordering::Relaxed)))
        } else {
            let at = DEVICE + 4 + 8 * u64::from(self.used % self.shape.size);
            (self.guest.load(DEVICE + 2) != self.used).then(|| {
                let id = self.guest.u32(at).load(Ordering::Relaxed);
                (u16::try_from(id).unwrap(), self.guest.u32(at + 4).load(Ordering::Relaxed))
            })
        }
    }

    pub fn wish(&self, wish: Wish) {
        if !self.shape.packed {
            match wish {
                Wish::After(chains) => {
                    let size = u64::from(self.shape.size);
                    self.guest.store(DRIVER + 4 + 2 * size, self.used.wrapping_add(chains));
                }
                Wish::Always => self.guest.store(DRIVER, 0),
                Wish::Never => self.guest.store(DRIVER, 1),
            }
            return;
        }
        let event = match wish {
            Wish::Always => 0,
            Wish::Never => 1 << 16,
            Wish::After(slots) => {
                let slot = self.used + slots % self.shape.size;
                let wrapped = slot >= self.shape.size;
                let lap = u32::from(self.used_wrap != wrapped) << 15;
                2 << 16 | lap | u32::from(slot % self.shape.size)
            }
        };
        self.guest.u32(DRIVER).store(event, Ordering::Relaxed);
    }

    /// Whether the device, by the specification, is to be notified of the chain that was made available last.
    pub fn kicks(&self) -> bool {
        let last = self.posted.back().unwrap();
        if !self.shape.packed {
            let event = DEVICE + 4 + 8 * u64::from(self.shape.size);
            return match self.shape.event_idx {
                true => self.guest.load(event) == self.index.wrapping_sub(1),
                false => self.guest.load(DEVICE) & 1 == 0,
            };
        }
        let event = self.guest.u32(DEVICE).load(Ordering::Relaxed);
        match event >> 16 {
            0 => true,
            1 => false,
            2 => {
                assert!(self.shape.event_idx, "asks for a descriptor, which was not negotiated");
                let behind = |back: u16| {
                    let wrapped = back > self.next;
                    let slot = if wrapped { self.next + self.shape.size - back } else { self.next - back };
                    u32::from(slot) | u32::from(self.wrap != wrapped) << 15
                };
                (1..=last.slots).any(|back| behind(back) == event & 0xffff)
            }
            flags => panic!("flags {flags} are reserved"),
        }
    }
}

impl Posted {
    /// Slots of the ring that it takes.
    pub fn slots(&self) -> u16 {
        self.slots
    }
}
