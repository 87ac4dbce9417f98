//! A front end that says anything, and a guest whose memory holds anything: messages, descriptors, rings, frames.
//!
//! The input is a sequence of actions, each with its length: a message with its descriptors, bytes that are no message, bytes
//! for guest memory, a new size of guest memory.

#![no_main]

use io::vhost_rings::Conversation;
use libfuzzer_sys::fuzz_target;
use rustix::{
    cmsg_space,
    event::{EventfdFlags, eventfd},
    fs::{MemfdFlags, ftruncate, memfd_create},
    io::pwrite,
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
        SocketType, recv, sendmsg, socketpair,
    },
};
use std::{
    fs,
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// As the seeds expect it.
const MEMORY: u64 = 1 << 20;
/// More than any message may have.
const MAX_FDS: usize = 40;

const RAW: u8 = 0xfc;
const RESIZE: u8 = 0xfe;
const WRITE: u8 = 0xff;

fuzz_target!(|input: &[u8]| {
    let before = descriptors();
    converse(input);
    assert_eq!(descriptors(), before, "descriptors leak");
});

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("a list of descriptors").count()
}

fn converse(input: &[u8]) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (front, back) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("sockets");
    let front = FrontEnd::new(front);
    let mut conversation = Conversation::new(back).expect("descriptors are left");
    let mut rest = input;
    while let Some(next) = front.act(rest) {
        rest = next;
        if !conversation.step() {
            return;
        }
        front.hear();
    }
}

struct FrontEnd {
    socket: OwnedFd,
    memory: OwnedFd,
    event: OwnedFd,
}

impl FrontEnd {
    fn new(socket: OwnedFd) -> Self {
        let memory = memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a file");
        ftruncate(&memory, MEMORY).expect("a size");
        Self { socket, memory, event: eventfd(0, EventfdFlags::CLOEXEC).expect("an event") }
    }

    /// Does the first action; what follows it.
    fn act<'a>(&self, input: &'a [u8]) -> Option<&'a [u8]> {
        let ([what, flags, fds, low, high], rest) = input.split_first_chunk()?;
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes([*low, *high]))));
        match *what {
            RAW => self.send(payload, *fds),
            RESIZE => ftruncate(&self.memory, u64::from(*flags) << 12).expect("a size"),
            WRITE => {
                let at = u64::from(u16::from_le_bytes([*flags, *fds])) << 4;
                pwrite(&self.memory, payload, at).expect("memory is written");
            }
            request => {
                // The version is 1 unless the input says otherwise; the fourth bit asks for an answer.
                let header =
                    [u32::from(request), u32::from(flags ^ 1), payload.len() as u32].map(u32::to_ne_bytes);
                self.send(&[header.as_flattened(), payload].concat(), *fds);
            }
        }
        Some(rest)
    }

    /// The lower bits count the descriptors; the highest tells of which kind they are.
    fn send(&self, bytes: &[u8], fds: u8) {
        let fd = if fds & 0x80 == 0 { self.event.as_fd() } else { self.memory.as_fd() };
        let fds: Vec<BorrowedFd<'_>> = vec![fd; usize::from(fds & 0x7f).min(MAX_FDS)];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            beside.push(SendAncillaryMessage::ScmRights(&fds));
        }
        // A back end that has gone is no fault of the front end.
        let _ = sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL);
    }

    /// Takes the replies, and lets go of what comes with them.
    fn hear(&self) {
        let mut buffer = [0; 4096];
        while matches!(recv(&self.socket, &mut buffer, RecvFlags::empty()), Ok((1.., _))) {}
    }
}
