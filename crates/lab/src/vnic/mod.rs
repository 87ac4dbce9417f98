//! A vNIC without a guest: its front end and its driver in this process, with one pair of split rings.
//!
//! Its memory is a file that is written with system calls, four for as many frames as a ring holds; so it costs next to
//! nothing, and what limits it is the switch. It is not told of used buffers, it looks.

pub mod front;

use anyhow::{Result, ensure};
use front::{FrontEnd, numbers, request, words};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The guest's physical address of its memory.
pub const GUEST: u64 = 0x1000_0000;
/// Where the front end believes it to be.
pub const USER: u64 = 0x7f00_0000_0000;
/// A part of the memory for each queue: the rings at the start, with room for 32768 descriptors, and buffers behind them.
const PART: u64 = 0x20_0000;
const AVAILABLE: u64 = 0x8_0000;
const USED: u64 = 0xc_0000;
const BUFFERS: u64 = 0x14_0000;
const STRIDE: u64 = 2048 + 128;
/// Bytes of the guest's memory.
pub const MEMORY: u64 = 2 * PART;
/// Buffers of each queue. Many descriptors name the same one.
pub const SLOTS: u16 = 64;
/// Bytes of the header in front of a frame.
pub const HEADER: usize = 12;

/// A descriptor is followed by another.
pub const NEXT: u16 = 1;
/// The device writes to it.
pub const WRITE: u16 = 2;
/// It names a table of descriptors.
pub const INDIRECT: u16 = 4;

/// CSUM, HOST_TSO4, MRG_RXBUF, INDIRECT_DESC, PROTOCOL_FEATURES, VERSION_1, IN_ORDER.
const FEATURES: u64 = 1 | 1 << 11 | 1 << 15 | 1 << 28 | 1 << 30 | 1 << 32 | 1 << 35;
const REPLY_ACK: u64 = 1 << 3;

/// One of the two rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// The guest receives.
    Receive = 0,
    /// The guest sends.
    Transmit = 1,
}

/// Both.
pub const QUEUES: [Queue; 2] = [Queue::Receive, Queue::Transmit];

/// A descriptor: address, length, flags, and the next one.
pub type Descriptor = (u64, u32, u16, u16);

/// A vNIC whose rings run.
#[derive(Debug)]
pub struct Vnic {
    /// The connection.
    pub front: FrontEnd,
    /// The guest's memory.
    pub memory: OwnedFd,
    size: u16,
    events: [OwnedFd; 2],
    /// Buffers made available so far, by queue.
    posted: [u16; 2],
}

impl Vnic {
    /// Connects to a port and starts rings of `size` descriptors.
    pub fn connect(socket: &Path, size: u16) -> Result<Vnic> {
        ensure!(size.is_power_of_two() && size >= SLOTS, "a ring of {size} descriptors");
        let memory = memfd_create("vnic", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, MEMORY)?;
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let events = [event()?, event()?];
        let mut vnic = Vnic { front: FrontEnd::connect(socket)?, memory, size, events, posted: [0; 2] };
        vnic.negotiate()?;
        for queue in QUEUES {
            vnic.lay_out(queue)?;
            vnic.start(queue)?;
        }
        Ok(vnic)
    }

    fn negotiate(&mut self) -> Result<()> {
        let Vnic { front, memory, .. } = self;
        ensure!(front.request(request::SET_OWNER, front::PLAIN, &[], &[]), "closed at once");
        front.request(request::SET_PROTOCOL_FEATURES, front::PLAIN, &numbers(&[REPLY_ACK]), &[]);
        front.done(request::SET_FEATURES, &numbers(&[FEATURES]), &[])?;
        front.done(request::SET_MEM_TABLE, &table(&[region(0, MEMORY)]), &[memory.as_fd()])
    }

    fn start(&mut self, queue: Queue) -> Result<()> {
        let (index, size) = (queue as u32, self.size.into());
        let addresses = self.addresses(queue, 0);
        let Vnic { front, events, .. } = self;
        front.done(request::SET_VRING_NUM, &words(&[index, size]), &[])?;
        front.done(request::SET_VRING_BASE, &words(&[index, 0]), &[])?;
        front.done(request::SET_VRING_ADDR, &addresses, &[])?;
        front.done(request::SET_VRING_KICK, &numbers(&[index.into()]), &[events[queue as usize].as_fd()])?;
        front.done(request::SET_VRING_ENABLE, &words(&[index, 1]), &[])
    }

    /// The payload of SET_VRING_ADDR, with the used ring moved by so many bytes.
    pub fn addresses(&self, queue: Queue, moved: u64) -> Vec<u8> {
        let at = USER + part(queue);
        let places = [at, at + USED + moved, at + AVAILABLE, 0];
        [words(&[queue as u32, 0]), numbers(&places)].concat()
    }

    /// Bytes into the guest's memory.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        ensure!(pwrite(&self.memory, bytes, at)? == bytes.len(), "guest memory ends");
        Ok(())
    }

    fn read<const LEN: usize>(&self, at: u64) -> Result<[u8; LEN]> {
        let mut bytes = [0; LEN];
        ensure!(pread(&self.memory, &mut bytes, at)? == LEN, "guest memory ends");
        Ok(bytes)
    }

    /// What stays as it is: no notifications, entry n names descriptor n, which names buffer n of [`SLOTS`].
    fn lay_out(&self, queue: Queue) -> Result<()> {
        let no_interrupt = [1, 0, 0, 0];
        let entries: Vec<u8> = (0..self.size).flat_map(u16::to_ne_bytes).collect();
        self.write(part(queue) + AVAILABLE, &[&no_interrupt[..], &entries].concat())?;
        let (flags, len) = match queue {
            Queue::Receive => (WRITE, STRIDE as u32),
            Queue::Transmit => (0, HEADER as u32 + 60),
        };
        let all = (0..self.size).map(|slot| (GUEST + buffer(queue, slot), len, flags, 0));
        self.describe(queue, 0, &all.collect::<Vec<_>>())
    }

    /// Descriptors, from the one with number `first` on.
    pub fn describe(&self, queue: Queue, first: u16, descriptors: &[Descriptor]) -> Result<()> {
        let bytes: Vec<u8> = descriptors.iter().flat_map(descriptor).collect();
        self.write(part(queue) + 16 * u64::from(first), &bytes)
    }

    /// Where descriptor `number` lies for the guest.
    pub fn descriptor_address(queue: Queue, number: u16) -> u64 {
        GUEST + part(queue) + 16 * u64::from(number)
    }

    /// The frames that are sent in turn, of 60 bytes each.
    pub fn load(&self, frame: impl Fn(u16) -> [u8; 60]) -> Result<()> {
        (0..SLOTS).try_for_each(|slot| self.write(frame_at(slot), &frame(slot)))
    }

    /// The beginning of the frame that the device wrote to a receive buffer.
    pub fn received<const LEN: usize>(&self, slot: u16) -> Result<[u8; LEN]> {
        self.read(buffer(Queue::Receive, slot) + HEADER as u64)
    }

    /// Shows buffers as available, up to this index.
    pub fn publish(&mut self, queue: Queue, index: u16) -> Result<()> {
        self.posted[queue as usize] = index;
        self.write(part(queue) + AVAILABLE + 2, &index.to_ne_bytes())
    }

    /// Makes so many more available.
    pub fn post(&mut self, queue: Queue, count: u16) -> Result<()> {
        self.publish(queue, self.posted[queue as usize].wrapping_add(count))
    }

    /// Makes all available that the device has used, and says how many. It is kicked where it wants that.
    pub fn refill(&mut self, queue: Queue) -> Result<u16> {
        let (used, wants_kick) = self.used(queue)?;
        let before = self.posted[queue as usize];
        let free = used.wrapping_add(self.size).wrapping_sub(before);
        self.publish(queue, before.wrapping_add(free))?;
        if wants_kick && queue == Queue::Transmit {
            self.kick(queue);
        }
        Ok(free)
    }

    /// The index of used buffers, and whether the device wants to be told of available ones.
    pub fn used(&self, queue: Queue) -> Result<(u16, bool)> {
        let [flags, _, low, high] = self.read(part(queue) + USED)?;
        Ok((u16::from_ne_bytes([low, high]), flags & 1 == 0))
    }

    /// Buffers that are available and not used yet.
    pub fn waiting(&self, queue: Queue) -> Result<u16> {
        Ok(self.posted[queue as usize].wrapping_sub(self.used(queue)?.0))
    }

    /// Tells the device to look.
    pub fn kick(&self, queue: Queue) {
        // A full counter has been heard.
        let _ = rustix::io::write(&self.events[queue as usize], &1_u64.to_ne_bytes());
    }
}

const fn part(queue: Queue) -> u64 {
    queue as u64 * PART
}

fn buffer(queue: Queue, slot: u16) -> u64 {
    part(queue) + BUFFERS + u64::from(slot % SLOTS) * STRIDE
}

/// Where in the memory the header of a frame to be sent lies.
pub fn header_at(slot: u16) -> u64 {
    buffer(Queue::Transmit, slot)
}

/// Where the frame itself does.
pub fn frame_at(slot: u16) -> u64 {
    header_at(slot) + HEADER as u64
}

fn descriptor(&(address, len, flags, next): &Descriptor) -> Vec<u8> {
    [&address.to_ne_bytes()[..], &len.to_ne_bytes(), &flags.to_ne_bytes(), &next.to_ne_bytes()].concat()
}

/// A region of the memory table: a part of the memory, and of its file.
pub const fn region(from: u64, bytes: u64) -> [u64; 4] {
    [GUEST + from, bytes, USER + from, from]
}

/// The payload of SET_MEM_TABLE.
pub fn table(regions: &[[u64; 4]]) -> Vec<u8> {
    [words(&[regions.len() as u32, 0]), numbers(regions.as_flattened())].concat()
}
