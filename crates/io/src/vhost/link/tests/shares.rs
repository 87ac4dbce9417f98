//! A port that is dealt to several workers.

use super::stage::*;
use crate::{Batch, Link, Port, VhostConfig, VhostPort, vhost::link::VhostRole};
use ::vhost::VhostBackend;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{pread, pwrite},
};
use std::os::unix::net::UnixStream;

/// Where the buffer of a queue's first descriptor is, behind the rings of four queues.
const fn buffer_at(queue: u64) -> u64 {
    0x80000 + queue * 0x1000
}

const HEADER: usize = 12;
const FRAME: usize = 60;
/// VRING_DESC_F_WRITE
const WRITE: u16 = 2;

/// Makes one descriptor available: a frame whose bytes are all the queue's number, or a buffer for one.
fn make_available(guest: &Guest, queue: u64) {
    let is_buffer = queue.is_multiple_of(2);
    let bytes = [&[0; HEADER][..], &[queue as u8; FRAME]].concat();
    pwrite(&guest.memory, &bytes, buffer_at(queue)).unwrap();
    let flags = if is_buffer { WRITE } else { 0 };
    let descriptor = [
        &(GUEST + buffer_at(queue)).to_le_bytes()[..],
        &((HEADER + FRAME) as u32).to_le_bytes(),
        &flags.to_le_bytes(),
        &[0; 2],
    ];
    pwrite(&guest.memory, &descriptor.concat(), ring_at(queue)).unwrap();
    // Available ring: flags, index, entries.
    pwrite(&guest.memory, &[0, 0, 1, 0, 0, 0], ring_at(queue) + 0x1000).unwrap();
    guest.kicks[queue as usize].write(1).unwrap();
}

fn used_index(guest: &Guest, queue: u64) -> u16 {
    let mut index = [0; 2];
    pread(&guest.memory, &mut index, ring_at(queue) + 0x2002).unwrap();
    u16::from_le_bytes(index)
}

fn is_told(port: &dyn Port) -> bool {
    let mut fds: Vec<_> =
        port.poll_fds().into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() != 0
}

/// A port of two pairs of rings, dealt to so many workers, and its guest.
struct Dealt {
    shares: Vec<Box<dyn Port>>,
    guest: Guest,
    _front: ::vhost::vhost_user::Frontend,
    _directory: tempfile::TempDir,
}

impl Dealt {
    fn to(workers: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("port");
        let config = VhostConfig { workers, ..config(&path, VhostRole::Server) };
        let mut first: Box<dyn Port> = Box::new(VhostPort::open(&config).unwrap());
        let others = first.deal(workers - 1).unwrap();
        let guest = Guest::new();
        let mut front = negotiate(UnixStream::connect(&path).unwrap(), modern());
        front.set_mem_table(&[guest.region()]).unwrap();
        (0..4).for_each(|queue| set_up_ring(&mut front, &guest, queue));
        let shares: Vec<_> = std::iter::once(first).chain(others).collect();
        Self { shares, guest, _front: front, _directory: directory }
    }

    /// What a share takes from the guest: the first byte of each frame.
    fn receive(&mut self, share: usize) -> Vec<u8> {
        let mut batch = Batch::default();
        self.shares[share].receive(&mut batch).unwrap();
        let bytes = (0..batch.len() as u16).map(|index| batch.head(index)[0]).collect();
        self.shares[share].complete();
        bytes
    }
}

#[test]
fn each_share_receives_from_its_own_pairs_of_queues() {
    for (workers, expected) in [(2, vec![vec![1], vec![3]]), (3, vec![vec![1_u8], vec![3], vec![]])] {
        let mut dealt = Dealt::to(workers);
        [1, 3].into_iter().for_each(|queue| make_available(&dealt.guest, queue));
        let received: Vec<_> = (0..workers).map(|share| dealt.receive(share)).collect();
        assert_eq!(received, expected);
        assert_eq!((used_index(&dealt.guest, 1), used_index(&dealt.guest, 3)), (1, 1));
    }
}

#[test]
fn a_kick_wakes_the_share_whose_queue_it_is_and_no_other() {
    let mut dealt = Dealt::to(3);
    (0..3).for_each(|share| drop(dealt.receive(share)));
    assert!(dealt.shares.iter_mut().all(|share| share.arm()), "there was nothing to receive");
    assert!(dealt.shares.iter().all(|share| !is_told(share.as_ref())));
    make_available(&dealt.guest, 3);
    let told: Vec<_> = dealt.shares.iter().map(|share| is_told(share.as_ref())).collect();
    assert_eq!(told, [false, true, false]);
    assert!(dealt.shares[2].poll_fds().is_empty(), "it has no queue to receive from");
}

#[test]
fn every_share_sends_also_one_that_receives_nothing() {
    let mut dealt = Dealt::to(3);
    [0, 2].into_iter().for_each(|queue| make_available(&dealt.guest, queue));
    make_available(&dealt.guest, 1);
    let mut batch = Batch::default();
    dealt.shares[0].receive(&mut batch).unwrap();
    let sent: Vec<_> =
        [2, 1].into_iter().map(|share| dealt.shares[share].transmit(&batch, &[0]).unwrap()).collect();
    // The same flow goes to the same queue, which has one buffer.
    assert_eq!((sent[0].frames, sent[0].full), (1, 0));
    assert_eq!((sent[1].frames, sent[1].full), (0, 1));
    assert_eq!(used_index(&dealt.guest, 0) + used_index(&dealt.guest, 2), 1);
}

#[test]
fn a_frame_has_its_own_header_whatever_lay_in_the_buffer() {
    const PLAIN: [u8; HEADER] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    for left_there in [[0; HEADER], PLAIN, [0xff; HEADER]] {
        let mut dealt = Dealt::to(1);
        for queue in [0, 2] {
            make_available(&dealt.guest, queue);
            pwrite(&dealt.guest.memory, &left_there, buffer_at(queue)).unwrap();
        }
        make_available(&dealt.guest, 1);
        let mut batch = Batch::default();
        dealt.shares[0].receive(&mut batch).unwrap();
        assert_eq!(dealt.shares[0].transmit(&batch, &[0]).unwrap().frames, 1);
        let queue = if used_index(&dealt.guest, 0) == 1 { 0 } else { 2 };
        let mut got = [0; HEADER + FRAME];
        pread(&dealt.guest.memory, &mut got, buffer_at(queue)).unwrap();
        assert_eq!(got[..], [&PLAIN[..], &[1; FRAME]].concat());
    }
}

#[test]
fn a_fault_that_one_share_finds_stops_all_of_them() {
    let mut dealt = Dealt::to(2);
    // A descriptor far beyond the guest's memory.
    pwrite(&dealt.guest.memory, &u64::MAX.to_le_bytes(), ring_at(3)).unwrap();
    pwrite(&dealt.guest.memory, &[0, 0, 1, 0, 0, 0], ring_at(3) + 0x1000).unwrap();
    pwrite(&dealt.guest.memory, &64_u32.to_le_bytes(), ring_at(3) + 8).unwrap();
    assert!(dealt.receive(1).is_empty());
    assert!(matches!(dealt.shares[1].link(), Link::Faulted(_)), "{:?}", dealt.shares[1].link());
    dealt.receive(0);
    assert!(matches!(dealt.shares[0].link(), Link::Faulted(_)), "{:?}", dealt.shares[0].link());
}

/// A packet between two ends of which one has this number.
fn between(number: u8) -> Vec<u8> {
    let mut frame = [&[2; 12][..], &[8, 0, 0x45, 0, 0, 46], &[0; FRAME - 18]].concat();
    frame[33] = number;
    frame
}

#[test]
fn every_frame_is_counted_where_one_of_two_queues_is_broken() {
    let mut dealt = Dealt::to(1);
    // A descriptor far beyond the guest's memory.
    make_available(&dealt.guest, 0);
    pwrite(&dealt.guest.memory, &u64::MAX.to_le_bytes(), ring_at(0)).unwrap();
    let mut batch = Batch::default();
    (0..32).for_each(|number| batch.push_copy(&[&[0; wire::VNET_HDR_LEN][..], &between(number)].concat()));
    let all: Vec<u16> = (0..32).collect();
    let sent = dealt.shares[0].transmit(&batch, &all).unwrap();
    let lost: u64 = sent.drops().iter().map(|(_, frames)| frames).sum();
    assert_eq!(sent.frames + lost, 32, "{sent:?}");
    assert!(matches!(dealt.shares[0].link(), Link::Faulted(_)), "{:?}", dealt.shares[0].link());
}
