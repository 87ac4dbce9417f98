//! The unix socket ports against plain sockets; without root.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use io::{Batch, Epoll, Port, Sent, UnixDgram, UnixPathError, UnixStreamPort};
use std::{
    fs,
    io::{Read, Write},
    os::unix::net::{UnixDatagram, UnixStream},
    path::PathBuf,
    time::Duration,
};
use support::{alone, batch_of, batch_with, frames_of_every_form, open_descriptors, receive};
use wire::VnetHdr;

fn path() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("port.sock");
    (dir, path)
}

fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.iter().flat_map(|frame| [&(frame.len() as u32).to_be_bytes()[..], frame].concat()).collect()
}

/// A port and a peer that is connected to it.
fn connected(path: &PathBuf) -> (UnixStreamPort, UnixStream) {
    let mut port = UnixStreamPort::listen(path).unwrap();
    let peer = UnixStream::connect(path).unwrap();
    peer.set_read_timeout(Some(support::PATIENCE)).unwrap();
    receive_now(&mut port);
    assert!(port.connected());
    (port, peer)
}

fn receive_now(port: &mut impl Port) -> usize {
    let mut batch = Batch::default();
    port.receive(&mut batch).unwrap();
    batch.len()
}

fn is_readable(port: &impl Port) -> bool {
    let (epoll, mut ready) = (Epoll::new().unwrap(), Vec::new());
    epoll.add(port.poll_fds()[0], 1).unwrap();
    epoll.wait(Some(Duration::ZERO), &mut ready).unwrap();
    !ready.is_empty()
}

#[test]
fn stream_frames_keep_their_boundaries_however_the_bytes_come() {
    let _alone = alone();
    let (_dir, path) = path();
    let (mut port, mut peer) = connected(&path);
    let frames = frames_of_every_form(true);
    let bytes = framed(&frames);
    for step in [1, 3, 1000, bytes.len()] {
        let mut came = Vec::new();
        for part in bytes.chunks(step) {
            peer.write_all(part).unwrap();
            let mut batch = Batch::default();
            port.receive(&mut batch).unwrap();
            came.extend((0..batch.len()).map(|i| batch.frame(i as u16).to_vec()));
        }
        assert_eq!(came, frames, "in steps of {step}");
    }
}

#[test]
fn stream_frames_arrive_behind_their_length() {
    let _alone = alone();
    let (_dir, path) = path();
    let (mut port, mut peer) = connected(&path);
    let frames = frames_of_every_form(true);
    let (batch, which) = batch_of(&frames);
    assert_eq!(port.transmit(&batch, &which).unwrap().frames, which.len() as u64);
    let mut came = vec![0; framed(&frames).len()];
    peer.read_exact(&mut came).unwrap();
    assert!(came == framed(&frames));
}

#[test]
fn stream_a_frame_written_in_part_is_finished_before_the_next() {
    /// The kernel takes up to 32 KiB of a stream whole or not at all.
    const LONG: usize = 60_000;
    let _alone = alone();
    let (_dir, path) = path();
    let (mut port, mut peer) = connected(&path);
    let frames: Vec<Vec<u8>> = (0..60).map(|n| vec![n; LONG]).collect();
    let (batch, which) = batch_of(&frames);
    let sent = port.transmit(&batch, &which).unwrap();
    assert!(sent.full > 0 && sent.frames + sent.full == 60, "{sent:?}");
    assert_eq!(port.transmit(&batch, &[0]).unwrap(), Sent { full: 1, ..Sent::default() });
    let delivered = framed(&frames[..sent.frames as usize]);
    let early = delivered.len() - (4 + LONG);
    let mut came = vec![0; early];
    peer.read_exact(&mut came).unwrap();
    assert!(is_readable(&port), "there is room again, and the worker has to finish the frame");
    receive_now(&mut port);
    came.resize(delivered.len(), 0);
    peer.read_exact(&mut came[early..]).unwrap();
    assert!(came == delivered);
    assert!(!is_readable(&port));
    assert_eq!(port.transmit(&batch, &[59]).unwrap().frames, 1);
    let mut last = vec![0; 4 + LONG];
    peer.read_exact(&mut last).unwrap();
    assert!(last == framed(&frames[59..]));
}

#[test]
fn stream_frames_that_no_batch_had_room_for_keep_the_port_readable() {
    let _alone = alone();
    let (_dir, path) = path();
    let (mut port, mut peer) = connected(&path);
    peer.write_all(&framed(&vec![vec![7; 60]; 100])).unwrap();
    assert_eq!(receive_now(&mut port), 64);
    assert!(is_readable(&port));
    assert_eq!(receive_now(&mut port), 36);
    assert!(!is_readable(&port));
}

#[test]
fn stream_the_next_peer_is_taken_when_the_first_has_gone() {
    let _alone = alone();
    let (_dir, path) = path();
    let (mut port, first) = connected(&path);
    let mut second = UnixStream::connect(&path).unwrap();
    second.write_all(&framed(&[vec![2; 60]])).unwrap();
    assert_eq!(receive_now(&mut port), 0);
    assert!(!is_readable(&port), "one that waits must not keep the worker awake");
    drop(first);
    assert!(is_readable(&port));
    receive_now(&mut port);
    assert_eq!((port.connected(), port.gone_because()), (false, Some("the peer closed the connection")));
    assert_eq!(receive(&mut port, 1), [vec![2; 60]]);
    let (batch, which) = batch_of(&frames_of_every_form(false));
    drop(second);
    let all = which.len() as u64;
    assert_eq!(port.transmit(&batch, &which).unwrap(), Sent { down: all, ..Sent::default() });
    assert!(!port.connected());
}

#[test]
fn stream_a_length_that_no_frame_has_ends_the_connection() {
    let _alone = alone();
    for len in [0_u32, 65_558, u32::MAX] {
        let (_dir, path) = path();
        let (mut port, mut peer) = connected(&path);
        peer.write_all(&framed(&[vec![1; 60]])).unwrap();
        peer.write_all(&len.to_be_bytes()).unwrap();
        assert_eq!(receive_now(&mut port), 1, "what came before is good");
        assert!(!port.connected());
        let why = port.gone_because().unwrap();
        assert!(why.starts_with(&format!("the peer sent a frame of {len} bytes")), "{why}");
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }
}

/// A UDP frame of two segments with a partial checksum, and what it is cut into.
fn segmented() -> (Batch, [usize; 2]) {
    let payload = 1500_u16;
    let mut frame = [&[2; 12][..], b"\x08\x00\x45\x00"].concat();
    frame.extend((28 + payload).to_be_bytes());
    frame.extend(b"\x00\x01\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x35\x00\x36");
    frame.extend((8 + payload).to_be_bytes());
    frame.extend([0; 2]);
    frame.resize(42 + usize::from(payload), 9);
    let vnet = VnetHdr { flags: 1, gso_type: 5, hdr_len: 42, gso_size: 1000, csum_start: 34, csum_offset: 6 };
    (batch_with(&[vec![5; 60], frame, vec![6; 60]], 1, vnet).0, [1042, 542])
}

#[test]
fn stream_and_dgram_peers_get_segments_in_order() {
    let _alone = alone();
    let (dir, path) = path();
    let (mut port, mut peer) = connected(&path);
    let (batch, lengths) = segmented();
    let expected = Sent { frames: 4, bytes: 60 + 1042 + 542 + 60, copies: 1, ..Sent::default() };
    assert_eq!(port.transmit(&batch, &[0, 1, 2]).unwrap(), expected);
    for len in [60, lengths[0], lengths[1], 60] {
        let mut length = [0; 4];
        peer.read_exact(&mut length).unwrap();
        assert_eq!(u32::from_be_bytes(length) as usize, len);
        peer.read_exact(&mut vec![0; len]).unwrap();
    }
    let (mut port, peer) = dgram(&dir.path().join("dgram"), &dir.path().join("peer"));
    assert_eq!(port.transmit(&batch, &[0, 1, 2]).unwrap(), expected);
    for len in [60, lengths[0], lengths[1], 60] {
        assert_eq!(peer.recv(&mut [0; 2000]).unwrap(), len);
    }
}

/// A port and a peer that has sent it a frame.
fn dgram(path: &PathBuf, peer_path: &PathBuf) -> (UnixDgram, UnixDatagram) {
    let mut port = UnixDgram::bind(path).unwrap();
    let peer = UnixDatagram::bind(peer_path).unwrap();
    peer.set_read_timeout(Some(support::PATIENCE)).unwrap();
    peer.send_to(&[1; 60], path).unwrap();
    assert!(is_readable(&port));
    assert_eq!(receive(&mut port, 1), [[1; 60]]);
    (port, peer)
}

#[test]
fn dgram_frames_pass_byte_for_byte() {
    let _alone = alone();
    let (dir, path) = path();
    let (mut port, peer) = dgram(&path, &dir.path().join("peer"));
    let frames = frames_of_every_form(true);
    let (batch, which) = batch_of(&frames);
    assert_eq!(port.transmit(&batch, &which).unwrap().frames, which.len() as u64);
    for frame in &frames {
        let mut came = [0; 10_000];
        let len = peer.recv(&mut came).unwrap();
        assert!(came[..len] == **frame);
        peer.send_to(frame, &path).unwrap();
    }
    assert_eq!(receive(&mut port, frames.len()), frames);
}

#[test]
fn dgram_without_a_peer_is_down() {
    let _alone = alone();
    let (dir, path) = path();
    let mut port = UnixDgram::bind(&path).unwrap();
    let (batch, which) = batch_of(&frames_of_every_form(false));
    let down = Sent { down: which.len() as u64, ..Sent::default() };
    assert_eq!(port.transmit(&batch, &which).unwrap(), down);
    UnixDatagram::unbound().unwrap().send_to(&[1; 60], &path).unwrap();
    assert_eq!((receive_now(&mut port), port.connected()), (1, false));
    drop(port);
    let (mut port, peer) = dgram(&path, &dir.path().join("peer"));
    drop(peer);
    assert_eq!(port.transmit(&batch, &which).unwrap(), down);
    assert!(!port.connected());
}

#[test]
fn dgram_a_peer_that_does_not_read_is_full() {
    let _alone = alone();
    let (dir, path) = path();
    let (mut port, peer) = dgram(&path, &dir.path().join("peer"));
    let (batch, which) = batch_of(&vec![vec![3; 9014]; 60]);
    let mut delivered = 0;
    let mut full = 0;
    while full == 0 {
        let sent = port.transmit(&batch, &which).unwrap();
        assert_eq!(sent.frames + sent.full, 60, "{sent:?}");
        (delivered, full) = (delivered + sent.frames, sent.full);
    }
    for _ in 0..delivered {
        assert_eq!(peer.recv(&mut [0; 10_000]).unwrap(), 9014);
    }
    assert_eq!(port.transmit(&batch, &[0]).unwrap().frames, 1);
}

#[test]
fn a_datagram_longer_than_any_frame_comes_as_an_empty_one() {
    let _alone = alone();
    let (dir, path) = path();
    let (mut port, peer) = dgram(&path, &dir.path().join("peer"));
    peer.send_to(&[1; 70_000], &path).unwrap();
    peer.send_to(&[2; 60], &path).unwrap();
    assert_eq!(receive(&mut port, 2), [vec![], vec![2; 60]]);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let _alone = alone();
    let (_dir, path) = path();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let live = UnixStreamPort::listen(&path).unwrap();
    assert!(matches!(UnixStreamPort::listen(&path), Err(UnixPathError::InUse(at)) if at == path));
    assert!(matches!(UnixDgram::bind(&path), Err(UnixPathError::InUse(at)) if at == path));
    drop(live);
    assert!(!path.exists());
    drop(UnixDatagram::bind(&path).unwrap());
    let live = UnixDgram::bind(&path).unwrap();
    assert!(matches!(UnixDgram::bind(&path), Err(UnixPathError::InUse(_))));
    fs::remove_file(&path).unwrap();
    let other = UnixDgram::bind(&path).unwrap();
    drop(live);
    assert!(path.exists(), "the file belongs to the other port");
    drop(other);
    assert!(!path.exists());
}

#[test]
fn paths_that_cannot_be_a_socket_are_said_clearly() {
    let _alone = alone();
    let (dir, path) = path();
    fs::write(&path, "precious").unwrap();
    assert!(matches!(UnixStreamPort::listen(&path), Err(UnixPathError::NotASocket(_))));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let long = dir.path().join("x".repeat(120));
    assert!(matches!(UnixDgram::bind(&long), Err(UnixPathError::TooLong(_))));
    let nowhere = dir.path().join("no/such");
    assert!(matches!(UnixStreamPort::listen(&nowhere), Err(UnixPathError::Open(..))));
}

#[test]
fn two_hundred_sockets_leave_no_descriptor() {
    let _alone = alone();
    let (_dir, path) = path();
    let before = open_descriptors();
    for _ in 0..200 {
        drop(connected(&path));
        drop(UnixDgram::bind(&path).unwrap());
    }
    assert_eq!(open_descriptors(), before);
}
