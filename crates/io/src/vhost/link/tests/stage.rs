//! Front ends and what they share, for tests.

use crate::vhost::{
    device::{Device, State},
    features::Features,
    link::{ControlThread, VhostConfig, VhostRole},
};
use ::vhost::{
    VhostBackend, VhostUserMemoryRegionInfo, VringConfigData,
    vhost_user::{
        Frontend, VhostUserFrontend, VhostUserProtocolFeatures,
        message::{VhostUserHeaderFlag, VhostUserVirtioFeatures},
    },
};
use rustix::{
    cmsg_space,
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fs::{MemfdFlags, ftruncate, memfd_create},
    io::pwrite,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use std::{
    io::{ErrorKind, IoSlice, Read},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use vmm_sys_util::eventfd::EventFd;

/// What a test waits for at most.
pub(super) const LONG: Duration = Duration::from_secs(100);
/// Where the front end believes its memory to be.
pub(super) const USER: u64 = 0x7f00_0000_0000;
pub(super) const GUEST: u64 = 0x1000_0000;
pub(super) const MEMORY: u64 = 1 << 20;
pub(super) const SIZE: u16 = 256;

/// A port with its socket, in a directory that goes with it.
pub(super) struct Stage {
    pub directory: TempDir,
    pub link: ControlThread,
}

impl Stage {
    pub fn new(role: VhostRole) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let link = ControlThread::open(&config(&directory.path().join("port"), role)).unwrap();
        Self { directory, link }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("port")
    }

    pub fn device(&self) -> &Device {
        self.link.device()
    }

    pub fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).unwrap()
    }

    /// Waits until the port is in a state; fails after a long time.
    pub fn until(&self, state: State) {
        self.until_so(|device| device.state() == state);
    }

    pub fn until_so(&self, so: impl Fn(&Device) -> bool) {
        let (device, until) = (self.device(), Instant::now() + LONG);
        while !so(device) {
            let left = until.checked_duration_since(Instant::now()).expect("it did not come so");
            let fd = PollFd::from_borrowed_fd(device.doorbells()[0].as_fd(), PollFlags::IN);
            poll(&mut [fd], Some(&Timespec::try_from(left).unwrap())).unwrap();
            device.doorbells()[0].quiet();
        }
    }

    pub fn runs(&self, queue: usize) -> bool {
        self.device().queues()[queue].lock().ring.is_some()
    }
}

pub(super) fn config(path: &Path, role: VhostRole) -> VhostConfig {
    let places = Some(path.with_extension("rings"));
    VhostConfig {
        name: "test".to_owned(),
        path: path.to_owned(),
        role,
        mtu: 9000,
        queue_pairs_max: 2,
        workers: 1,
        places,
    }
}

/// Memory that the front end shares, with room for a few rings.
pub(super) struct Guest {
    pub memory: OwnedFd,
    pub kicks: Vec<EventFd>,
    pub calls: Vec<EventFd>,
}

impl Guest {
    pub fn new() -> Self {
        let events = || (0..4).map(|_| EventFd::new(0).unwrap()).collect();
        Self { memory: memory("vhost-guest"), kicks: events(), calls: events() }
    }

    pub fn region(&self) -> VhostUserMemoryRegionInfo {
        region(&self.memory, 0)
    }

    /// The index that the device has shown as used so far in a split ring.
    pub fn set_used_index(&self, queue: u64, index: u16) {
        pwrite(&self.memory, &index.to_ne_bytes(), ring_at(queue) + 0x2002).unwrap();
    }
}

pub(super) fn memory(name: &str) -> OwnedFd {
    let memory = memfd_create(name, MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, MEMORY).unwrap();
    memory
}

/// A region behind `number` others.
pub(super) fn region(memory: &OwnedFd, number: u64) -> VhostUserMemoryRegionInfo {
    VhostUserMemoryRegionInfo {
        guest_phys_addr: GUEST + number * MEMORY,
        memory_size: MEMORY,
        userspace_addr: USER + number * MEMORY,
        mmap_offset: 0,
        mmap_handle: memory.as_raw_fd(),
    }
}

pub(super) const fn ring_at(queue: u64) -> u64 {
    queue * 0x4000
}

pub(super) fn addresses(queue: u64) -> VringConfigData {
    let at = USER + ring_at(queue);
    VringConfigData {
        queue_max_size: SIZE,
        queue_size: SIZE,
        flags: 0,
        desc_table_addr: at,
        avail_ring_addr: at + 0x1000,
        used_ring_addr: at + 0x2000,
        log_addr: None,
    }
}

/// What front ends of today take.
pub(super) fn modern() -> Features {
    Features::VERSION_1.with(Features::MRG_RXBUF).with(Features::EVENT_IDX).with(Features::PROTOCOL_FEATURES)
}

/// Negotiates, and asks for an answer to each request from then on: so when a call returns, the device has done it.
pub(super) fn negotiate(stream: UnixStream, features: Features) -> Frontend {
    let mut front = Frontend::from_stream(stream, 8);
    front.set_owner().unwrap();
    assert!(Features::from_bits(front.get_features().unwrap()).has(features));
    let offered = front.get_protocol_features().unwrap();
    assert!(offered.contains(VhostUserProtocolFeatures::REPLY_ACK));
    front.set_protocol_features(offered).unwrap();
    front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    front.set_features(features.bits() | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()).unwrap();
    front
}

pub(super) fn set_up_ring(front: &mut Frontend, guest: &Guest, queue: usize) {
    front.set_vring_num(queue, SIZE).unwrap();
    front.set_vring_base(queue, 0).unwrap();
    front.set_vring_addr(queue, &addresses(queue as u64)).unwrap();
    front.set_vring_call(queue, &guest.calls[queue]).unwrap();
    front.set_vring_kick(queue, &guest.kicks[queue]).unwrap();
    front.set_vring_enable(queue, true).unwrap();
}

/// All that a driver with one pair of rings does.
pub(super) fn set_up(stream: UnixStream, guest: &Guest) -> Frontend {
    let mut front = negotiate(stream, modern());
    front.set_mem_table(&[guest.region()]).unwrap();
    for queue in 0..2 {
        set_up_ring(&mut front, guest, queue);
    }
    front
}

/// A front end that says what it is told to.
pub(super) struct Raw(pub UnixStream);

impl Raw {
    pub fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self(stream)
    }

    /// Bytes as they are, and descriptors. False where the other end is closed.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(64))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(beside.push(SendAncillaryMessage::ScmRights(fds)));
        }
        sendmsg(&self.0, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL).is_ok()
    }

    pub fn request(&self, request: u32, flags: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        self.send(&message(request, flags, payload), fds)
    }

    /// A request whose answer is waited for: its payload.
    pub fn ask(&mut self, request: u32, flags: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Vec<u8> {
        assert!(self.request(request, flags, payload, fds));
        self.reply(request)
    }

    pub fn reply(&mut self, request: u32) -> Vec<u8> {
        let mut header = [0; 12];
        self.0.read_exact(&mut header).unwrap();
        let words: Vec<_> =
            header.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words[..2], [request, 5]);
        let mut payload = vec![0; words[2] as usize];
        self.0.read_exact(&mut payload).unwrap();
        payload
    }

    /// Owner and protocol features, REPLY_ACK with them.
    pub fn negotiate(&self) {
        assert!(self.request(3, 1, &[], &[]));
        assert!(self.request(16, 1, &(1_u64 << 3).to_ne_bytes(), &[]));
    }

    /// Waits until the other end is closed; what it has sent before is not looked at.
    pub fn until_closed(&mut self) {
        loop {
            match self.0.read(&mut [0; 4096]) {
                Ok(0) => return,
                Ok(_) => {}
                // Closed with something unread.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

pub(super) fn message(request: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    let header = [request, flags, payload.len() as u32].map(u32::to_ne_bytes);
    [header.as_flattened(), payload].concat()
}

pub(super) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub(super) fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

pub(super) fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

/// Waits until it is so: the kernel closes what lies unread in a socket after it has told the other end.
pub(super) fn until_so(so: impl Fn() -> bool) -> bool {
    let until = Instant::now() + LONG;
    while !so() && Instant::now() < until {
        std::thread::yield_now();
    }
    so()
}

/// How many descriptors of this process refer to the same eventfd.
pub(super) fn copies_of_event(event: &OwnedFd) -> usize {
    let id = |path: PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().find(|line| line.starts_with("eventfd-id")).map(str::to_owned)
    };
    let wanted = id(format!("/proc/self/fdinfo/{}", event.as_raw_fd()).into()).unwrap();
    let all = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    all.filter(|entry| id(entry.as_ref().unwrap().path()).as_ref() == Some(&wanted)).count()
}

/// How many descriptors and mappings of this process refer to a memfd of that name.
pub(super) fn copies_of_memory(name: &str) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let fds = links.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let fds = fds.filter(|link| link.to_string_lossy().contains(name)).count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    fds + maps.lines().filter(|line| line.contains(name)).count()
}

/// The same eventfd as the `vhost` crate takes it.
pub(super) fn as_event(fd: &OwnedFd) -> EventFd {
    // SAFETY: the descriptor was just made and belongs to nobody else.
    unsafe { EventFd::from_raw_fd(fd.as_fd().try_clone_to_owned().unwrap().into_raw_fd()) }
}
