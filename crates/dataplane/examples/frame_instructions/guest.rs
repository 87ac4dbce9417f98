//! A guest with one pair of rings, its VMM and its driver. Guest memory is a file that is written with system calls, as
//! nothing here has to be fast, and nobody counts it.

use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    io::{pread, pwrite},
};
use std::{
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};
use vhost::{
    VhostBackend, VhostUserMemoryRegionInfo, VringConfigData,
    vhost_user::{Frontend, VhostUserFrontend, message::VhostUserHeaderFlag},
};
use vmm_sys_util::eventfd::EventFd;
use wire::MacAddr;

/// Descriptors of a ring.
pub const SLOTS: u16 = 1024;
const HEADER: usize = 12;
/// Buffers are so far apart, with the frame at the start of a cache line.
const STRIDE: u64 = 2048 + 128;
const FRAME_AT: u64 = 128;
const USER: u64 = 0x5000_0000_0000;

/// Where things lie: a part of this size for each queue, its rings at the start and buffers behind them.
const QUEUE: u64 = 0x40_0000;
const DRIVER: u64 = 0x1_0000;
const DEVICE: u64 = 0x2_0000;
const BUFFERS: u64 = 0x4_0000;
const RECEIVE: u64 = 0;
const TRANSMIT: u64 = 1;

const MRG_RXBUF: u64 = 1 << 15;
const PROTOCOL_FEATURES: u64 = 1 << 30;
const VERSION_1: u64 = 1 << 32;
const RING_PACKED: u64 = 1 << 34;
const IN_ORDER: u64 = 1 << 35;

const WRITE: u16 = 2;
const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// The format of the rings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rings {
    Split,
    Packed,
}

/// A guest whose VMM is connected.
pub struct Guest {
    memory: OwnedFd,
    rings: Rings,
    /// Buffers that were made available so far, by queue.
    posted: [u64; 2],
    /// Bytes of a frame.
    len: usize,
    _events: Vec<EventFd>,
    /// The connection; a port whose VMM goes away stops.
    _front: Frontend,
}

impl Guest {
    pub fn connect(path: &Path, rings: Rings) -> Self {
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, 2 * QUEUE).unwrap();
        let mut front = Frontend::connect(path, 2).unwrap();
        let events: Vec<_> = (0..4).map(|_| EventFd::new(0).unwrap()).collect();
        let packed = if rings == Rings::Packed { RING_PACKED } else { 0 };
        front.set_owner().unwrap();
        front.get_features().unwrap();
        let protocol = front.get_protocol_features().unwrap();
        front.set_protocol_features(protocol).unwrap();
        // Each call returns when the device has done it.
        front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        front.set_features(VERSION_1 | MRG_RXBUF | IN_ORDER | PROTOCOL_FEATURES | packed).unwrap();
        front.set_mem_table(&[region(&memory)]).unwrap();
        let mut guest = Self { memory, rings, posted: [0; 2], len: 0, _events: events, _front: front };
        for queue in [RECEIVE, TRANSMIT] {
            guest.lay_out(queue);
            guest.start(queue);
        }
        guest
    }

    fn start(&mut self, queue: u64) {
        let (front, index) = (&mut self._front, queue as usize);
        let base = if self.rings == Rings::Packed { 0x8000 } else { 0 };
        front.set_vring_num(index, SLOTS).unwrap();
        front.set_vring_base(index, base).unwrap();
        front.set_vring_addr(index, &addresses(queue)).unwrap();
        front.set_vring_call(index, &self._events[index]).unwrap();
        front.set_vring_kick(index, &self._events[2 + index]).unwrap();
        front.set_vring_enable(index, true).unwrap();
    }

    fn write(&self, bytes: &[u8], at: u64) {
        assert_eq!(pwrite(&self.memory, bytes, at).unwrap(), bytes.len());
    }

    /// What stays as it is: no notifications, and in split rings descriptor n in entry n.
    fn lay_out(&self, queue: u64) {
        let at = queue * QUEUE;
        if self.rings == Rings::Packed {
            return self.write(&1u32.to_ne_bytes(), at + DRIVER + 2);
        }
        let entries: Vec<_> = (0..SLOTS).flat_map(u16::to_ne_bytes).collect();
        self.write(&[&1u32.to_ne_bytes()[..], &entries].concat(), at + DRIVER);
    }

    /// Has every transmit buffer hold a frame, to and from the addresses that `of` gives, with the packet that it gives.
    pub fn write_frames(&mut self, len: usize, of: impl Fn(u16) -> (MacAddr, MacAddr, Vec<u8>)) {
        self.len = len;
        for slot in 0..SLOTS {
            let (to, from, packet) = of(slot);
            let header = [0; HEADER];
            let mut frame = [&header[..], &to.0, &from.0, &[8, 0], &packet].concat();
            frame.resize(HEADER + len, slot as u8);
            self.write(&frame, buffer(TRANSMIT, u64::from(slot)));
        }
        if self.rings == Rings::Split {
            for queue in [RECEIVE, TRANSMIT] {
                let all: Vec<_> = (0..u64::from(SLOTS)).flat_map(|n| self.descriptor(queue, n)).collect();
                self.write(&all, queue * QUEUE);
            }
        }
    }

    /// The descriptor for the `n`th buffer that is made available.
    fn descriptor(&self, queue: u64, n: u64) -> [u8; 16] {
        let (slot, lap) = (n % u64::from(SLOTS), n / u64::from(SLOTS));
        let len = if queue == RECEIVE { 2048 } else { HEADER + self.len };
        let direction = if queue == RECEIVE { WRITE } else { 0 };
        let mark = if lap.is_multiple_of(2) { AVAILABLE } else { USED };
        let tail = match self.rings {
            Rings::Split => [direction, 0],
            Rings::Packed => [slot as u16, direction | mark],
        };
        let mut out = [0; 16];
        out[..8].copy_from_slice(&buffer(queue, slot).to_ne_bytes());
        out[8..12].copy_from_slice(&(len as u32).to_ne_bytes());
        out[12..].copy_from_slice(tail.map(u16::to_ne_bytes).as_flattened());
        out
    }

    /// Makes receive buffers available; `count` is a part of [`SLOTS`], as it is for `send`.
    pub fn post_receive(&mut self, count: u16) {
        self.post(RECEIVE, count);
    }

    /// Sends the next `count` frames.
    pub fn send(&mut self, count: u16) {
        self.post(TRANSMIT, count);
    }

    fn post(&mut self, queue: u64, count: u16) {
        let first = self.posted[queue as usize];
        let posted = first + u64::from(count);
        if self.rings == Rings::Packed {
            let some: Vec<_> = (first..posted).flat_map(|n| self.descriptor(queue, n)).collect();
            self.write(&some, queue * QUEUE + 16 * (first % u64::from(SLOTS)));
        } else {
            self.write(&(posted as u16).to_ne_bytes(), queue * QUEUE + DRIVER + 2);
        }
        self.posted[queue as usize] = posted;
    }

    /// True where the device has used every buffer.
    pub fn has_all_back(&self) -> bool {
        [RECEIVE, TRANSMIT].into_iter().all(|queue| {
            let posted = self.posted[queue as usize];
            posted == 0 || self.is_used(queue, posted)
        })
    }

    fn is_used(&self, queue: u64, posted: u64) -> bool {
        let mut index = [0; 2];
        if self.rings == Rings::Split {
            pread(&self.memory, &mut index, queue * QUEUE + DEVICE + 2).unwrap();
            return u16::from_ne_bytes(index) == posted as u16;
        }
        // With IN_ORDER the first descriptor of a batch is marked; all batches are of 32 or 64.
        let first = (posted - 32) / 64 * 64;
        let [slot, lap] = [first % u64::from(SLOTS), first / u64::from(SLOTS)];
        pread(&self.memory, &mut index, queue * QUEUE + 16 * slot + 14).unwrap();
        let mark = if lap.is_multiple_of(2) { AVAILABLE | USED } else { 0 };
        u16::from_ne_bytes(index) & (AVAILABLE | USED) == mark
    }
}

fn buffer(queue: u64, slot: u64) -> u64 {
    queue * QUEUE + BUFFERS + slot * STRIDE + FRAME_AT - HEADER as u64
}

fn region(memory: &OwnedFd) -> VhostUserMemoryRegionInfo {
    VhostUserMemoryRegionInfo {
        guest_phys_addr: 0,
        memory_size: 2 * QUEUE,
        userspace_addr: USER,
        mmap_offset: 0,
        mmap_handle: memory.as_raw_fd(),
    }
}

fn addresses(queue: u64) -> VringConfigData {
    let at = USER + queue * QUEUE;
    VringConfigData {
        queue_max_size: SLOTS,
        queue_size: SLOTS,
        flags: 0,
        desc_table_addr: at,
        avail_ring_addr: at + DRIVER,
        used_ring_addr: at + DEVICE,
        log_addr: None,
    }
}
