//! A guest that sends frames in pieces: its VMM is the `vhost` crate, its memory a file that is written with system calls.

use super::PATIENCE;
use io::{Batch, Link, Port, Sent, VhostConfig, VhostPort, VhostRole};
use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    io::pwrite,
};
use std::{
    os::fd::{AsRawFd, OwnedFd},
    time::Instant,
};
use vhost::{
    VhostBackend, VhostUserMemoryRegionInfo, VringConfigData,
    vhost_user::{Frontend, VhostUserFrontend, message::VhostUserHeaderFlag},
};
use vmm_sys_util::eventfd::EventFd;
use wire::{VnetHdr, checksum};

/// Descriptors of the ring.
const SLOTS: u16 = 1024;
const MEMORY: u64 = 16 << 20;
const USER: u64 = 0x5000_0000_0000;
/// Where the parts of a ring lie, behind the start of its queue.
const QUEUE: u64 = 0x1_0000;
const DRIVER: u64 = 0x4000;
const DEVICE: u64 = 0x8000;
/// Where buffers begin, behind both rings.
const BUFFERS: u64 = 0x4_0000;
const TRANSMIT: u64 = 1;
const HEADER: usize = 12;

const CSUM: u64 = 1;
const HOST_TSO4: u64 = 1 << 11;
const MRG_RXBUF: u64 = 1 << 15;
const PROTOCOL_FEATURES: u64 = 1 << 30;
const VERSION_1: u64 = 1 << 32;
const HOST_USO: u64 = 1 << 56;

/// A vhost-user port and the guest behind it.
pub struct Guest {
    pub port: VhostPort,
    memory: OwnedFd,
    /// Descriptors and frames that were made available so far.
    descriptors: u16,
    frames: u16,
    /// Where the next buffer goes.
    next: u64,
    _events: Vec<EventFd>,
    _front: Frontend,
    _directory: tempfile::TempDir,
}

impl Guest {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("port");
        let (name, role) = ("test".to_owned(), VhostRole::Server);
        let config = VhostConfig {
            name,
            path: path.clone(),
            role,
            mtu: 9000,
            queue_pairs_max: 1,
            workers: 1,
            places: None,
        };
        let mut port = VhostPort::open(&config).unwrap();
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, MEMORY).unwrap();
        let events: Vec<_> = (0..4).map(|_| EventFd::new(0).unwrap()).collect();
        let front = set_up(&path, &memory, &events);
        port.receive(&mut Batch::default()).unwrap();
        let (descriptors, frames, next) = (0, 0, BUFFERS);
        Self {
            port,
            memory,
            descriptors,
            frames,
            next,
            _events: events,
            _front: front,
            _directory: directory,
        }
    }

    fn write(&self, bytes: &[u8], at: u64) {
        assert_eq!(pwrite(&self.memory, bytes, at).unwrap(), bytes.len());
    }

    /// Sends a frame behind its header in pieces of these lengths, the last of which takes what is left. Pieces do not
    /// adjoin.
    pub fn send(&mut self, vnet: VnetHdr, frame: &[u8], lengths: &[usize]) {
        let bytes = [&vnet.to_bytes()[..], &[0; HEADER - wire::VNET_HDR_LEN], frame].concat();
        let (first, mut rest) = (self.descriptors, &bytes[..]);
        for len in lengths.iter().copied().chain([usize::MAX]) {
            let (piece, behind) = rest.split_at(len.min(rest.len()));
            if !piece.is_empty() {
                self.describe(piece, !behind.is_empty());
            }
            rest = behind;
        }
        let at = TRANSMIT * QUEUE + DRIVER;
        self.write(&(first % SLOTS).to_ne_bytes(), at + 4 + 2 * u64::from(self.frames % SLOTS));
        self.frames = self.frames.wrapping_add(1);
        self.write(&self.frames.to_ne_bytes(), at + 2);
    }

    /// Has the ring hold frames that are all alike, as many as there are descriptors and 4 MiB for, which [`Guest::offer`]
    /// sends in turn. How many those are.
    pub fn fill_ring(&mut self, vnet: VnetHdr, frame: &[u8], lengths: &[usize]) -> u16 {
        self.send(vnet, frame, lengths);
        let (each, takes) = (self.descriptors, (self.next - BUFFERS).next_multiple_of(4096));
        let frames = 1 << u16::min(SLOTS / each, ((4 << 20) / takes) as u16).ilog2();
        for _ in 1..frames {
            self.next = self.next.next_multiple_of(4096);
            self.send(vnet, frame, lengths);
        }
        for entry in frames..SLOTS {
            let at = TRANSMIT * QUEUE + DRIVER + 4 + 2 * u64::from(entry);
            self.write(&(entry % frames * each).to_ne_bytes(), at);
        }
        frames
    }

    /// Sends the next `count` of the frames that were laid out.
    pub fn offer(&mut self, count: u16) {
        self.frames = self.frames.wrapping_add(count);
        self.write(&self.frames.to_ne_bytes(), TRANSMIT * QUEUE + DRIVER + 2);
    }

    fn describe(&mut self, piece: &[u8], more: bool) {
        if self.next + piece.len() as u64 > MEMORY {
            self.next = BUFFERS;
        }
        self.write(piece, self.next);
        let slot = self.descriptors % SLOTS;
        let mut descriptor = [0; 16];
        descriptor[..8].copy_from_slice(&self.next.to_ne_bytes());
        descriptor[8..12].copy_from_slice(&(piece.len() as u32).to_ne_bytes());
        let tail = [u16::from(more), if more { (slot + 1) % SLOTS } else { 0 }];
        descriptor[12..].copy_from_slice(tail.map(u16::to_ne_bytes).as_flattened());
        self.write(&descriptor, TRANSMIT * QUEUE + 16 * u64::from(slot));
        self.descriptors = self.descriptors.wrapping_add(1);
        self.next += piece.len() as u64 + 61;
    }

    /// Has the next buffer begin a page; says at which byte of memory.
    fn skip_to_page(&mut self) -> u64 {
        self.next = self.next.next_multiple_of(4096);
        self.next
    }

    /// Cuts memory short: nothing is left behind the first `len` bytes.
    fn truncate(&self, len: u64) {
        ftruncate(&self.memory, len).unwrap();
    }

    /// Has `to` send what the guest sent, as the switch does.
    pub fn carry(&mut self, to: &mut dyn Port) -> Sent {
        let (mut batch, mut sum) = (Batch::default(), Sent::default());
        loop {
            batch.clear();
            self.port.receive(&mut batch).unwrap();
            assert_eq!(self.port.link(), Link::Up);
            let all: Vec<_> = (0..batch.len() as u16).collect();
            if all.is_empty() {
                return sum;
            }
            let sent = to.transmit(&batch, &all).unwrap();
            self.port.complete();
            sum.frames += sent.frames;
            sum.bytes += sent.bytes;
            sum.copies += sent.copies;
            assert_eq!(sent.drops().map(|(_, frames)| frames), [0; 4], "{sent:?}");
        }
    }
}

fn set_up(path: &std::path::Path, memory: &OwnedFd, events: &[EventFd]) -> Frontend {
    let mut front = Frontend::connect(path, 2).unwrap();
    front.set_owner().unwrap();
    front.get_features().unwrap();
    let protocol = front.get_protocol_features().unwrap();
    front.set_protocol_features(protocol).unwrap();
    // Each call returns when the device has done it.
    front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    let offloads = CSUM | HOST_TSO4 | HOST_USO;
    front.set_features(VERSION_1 | MRG_RXBUF | PROTOCOL_FEATURES | offloads).unwrap();
    let region = VhostUserMemoryRegionInfo {
        guest_phys_addr: 0,
        memory_size: MEMORY,
        userspace_addr: USER,
        mmap_offset: 0,
        mmap_handle: memory.as_raw_fd(),
    };
    front.set_mem_table(&[region]).unwrap();
    for index in 0..2 {
        front.set_vring_num(index, SLOTS).unwrap();
        front.set_vring_base(index, 0).unwrap();
        front.set_vring_addr(index, &addresses(index as u64)).unwrap();
        front.set_vring_call(index, &events[index]).unwrap();
        front.set_vring_kick(index, &events[2 + index]).unwrap();
        front.set_vring_enable(index, true).unwrap();
    }
    front
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

/// Frames and how they are cut, the same with every run.
pub struct Cuts(u64);

impl Default for Cuts {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Cuts {
    /// A number below `end` (xorshift64).
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    /// A frame of up to `longest` bytes, more often a short one, and lengths of its pieces: one, a few, or very many.
    pub fn frame(&mut self, longest: usize) -> (Vec<u8>, Vec<usize>) {
        let range = [80, 300, 1515, longest][self.below(4)].min(longest) - 60;
        let len = 61 + self.below(range);
        let salt = self.below(256);
        let mut frame = b"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x88\xb5".to_vec();
        frame.extend((frame.len()..len).map(|at| (at * 7 + at / 256 * 13 + salt) as u8));
        let pieces = [0, 1, 2, 17, 31, 32, 33, 100][self.below(8)];
        let most = 1 + 2 * len / (pieces + 1);
        (frame, (0..pieces).map(|_| 1 + self.below(most)).collect())
    }
}

/// Has a guest send some hundred frames in pieces, a few at a time, and compares what `arrives`.
pub fn pieces_arrive(port: &mut dyn Port, longest: usize, mut arrive: impl FnMut(usize) -> Vec<Vec<u8>>) {
    let (mut guest, mut cuts, started) = (Guest::new(), Cuts::default(), Instant::now());
    for round in 0..60 {
        let frames: Vec<_> = (0..=cuts.below(8)).map(|_| cuts.frame(longest)).collect();
        frames.iter().for_each(|(frame, lengths)| guest.send(VnetHdr::default(), frame, lengths));
        let bytes = frames.iter().map(|(frame, _)| frame.len() as u64).sum();
        let expected = Sent { frames: frames.len() as u64, bytes, ..Sent::default() };
        assert_eq!(guest.carry(port), expected, "round {round}");
        let came = arrive(frames.len());
        assert!(came.len() == frames.len() && started.elapsed() < PATIENCE);
        for ((frame, lengths), came) in frames.iter().zip(&came) {
            assert!(
                frame == came,
                "round {round}: {} bytes in {lengths:?} came as {}",
                frame.len(),
                came.len()
            );
        }
    }
}

/// A guest cuts its memory short while its frame of `len` bytes is on the way: the port that sends goes on, the frame comes whole as to
/// its length with zeros for what is gone, and the guest's port faults.
pub fn memory_vanishes(port: &mut dyn Port, len: usize, mut arrive: impl FnMut(usize) -> Vec<Vec<u8>>) {
    let (mut guest, mut other) = (Guest::new(), Guest::new());
    let frame: Vec<u8> = (0..len).map(|at| (at % 251) as u8 | 2).collect();
    let frame = [b"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x88\xb5", &frame[14..]].concat();
    let plain = VnetHdr::default();
    guest.send(plain, &frame, &[]);
    guest.skip_to_page();
    guest.send(plain, &frame, &[HEADER + 900]);
    // All but the first 1000 bytes of the third frame lie behind the cut.
    let stays = guest.skip_to_page() + 4096;
    guest.next = stays - (HEADER + 1000) as u64;
    guest.send(plain, &frame, &[]);
    let mut batch = Batch::default();
    guest.port.receive(&mut batch).unwrap();
    assert_eq!((batch.len(), guest.port.link()), (3, Link::Up));
    guest.truncate(stays);
    assert_eq!(port.transmit(&batch, &[0, 1, 2]).unwrap().frames, 3);
    guest.port.complete();
    let came = arrive(3);
    assert!(came[..2] == vec![frame.clone(); 2][..], "what was there came otherwise");
    assert!(came[2] == [&frame[..1000], &vec![0; len - 1000]].concat(), "zeros stand for what is gone");

    other.send(plain, &frame, &[HEADER + 200, 700]);
    assert_eq!(other.carry(port).frames, 1, "the port that sent it has no part in it");
    assert!(arrive(1) == vec![frame.clone()]);
    guest.next = BUFFERS;
    guest.send(plain, &frame, &[]);
    batch.clear();
    guest.port.receive(&mut batch).unwrap();
    let faulted = matches!(guest.port.link(), Link::Faulted(why) if why.contains("truncate"));
    assert!(faulted && batch.is_empty(), "{:?}", guest.port.link());
}

/// A TCP segment without checksum, which its vnet header has to ask for.
pub fn tcp_segment(payload: usize) -> Vec<u8> {
    let len = 40 + payload as u16;
    let mut frame = b"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x45\x00".to_vec();
    frame.extend(len.to_be_bytes());
    frame.extend(b"\x00\x01\x40\x00\x40\x06\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02\x12\x34\x56\x78");
    let sum = checksum::Sum::default().bytes(&frame[14..34]).checksum();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend(b"\x00\x00\x00\x01\x00\x00\x00\x01\x50\x10\xff\xff");
    let pseudo = checksum::pseudo_v4([10, 0, 0, 1], [10, 0, 0, 2], 6, 20 + payload as u16);
    frame.extend((!pseudo.checksum()).to_be_bytes());
    frame.extend([0; 2]);
    frame.extend((0..payload).map(|at| (at * 7 + at / 256) as u8));
    frame
}
