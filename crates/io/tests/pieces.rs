//! Frames in pieces of a guest's memory through ports that need no root.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use io::{
    Port, UnixDgram, UnixStreamPort,
    test_ports::{LoopPort, PcapPort},
};
use std::{
    io::{Read, Write},
    os::unix::net::{UnixDatagram, UnixStream},
    sync::{Arc, Mutex},
};
use support::guest::{Guest, memory_vanishes, pieces_arrive};
use wire::VnetHdr;

/// Datagrams are no longer than this on their way into the socket's buffer, and a peer of QEMU's takes no segments.
const LONGEST: usize = 9018;

/// A port, the peer that is connected to it, and the directory of the socket.
fn stream() -> (UnixStreamPort, UnixStream, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut port = UnixStreamPort::listen(&dir.path().join("port")).unwrap();
    let peer = UnixStream::connect(dir.path().join("port")).unwrap();
    peer.set_read_timeout(Some(support::PATIENCE)).unwrap();
    port.receive(&mut io::Batch::default()).unwrap();
    (port, peer, dir)
}

fn read_frames(peer: &mut UnixStream, count: usize) -> Vec<Vec<u8>> {
    let frame = |_| {
        let mut length = [0; 4];
        peer.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        peer.read_exact(&mut frame).unwrap();
        frame
    };
    (0..count).map(frame).collect()
}

/// Likewise with datagrams.
fn dgram() -> (UnixDgram, UnixDatagram, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut port = UnixDgram::bind(&dir.path().join("port")).unwrap();
    let peer = UnixDatagram::bind(dir.path().join("peer")).unwrap();
    peer.set_read_timeout(Some(support::PATIENCE)).unwrap();
    peer.send_to(&[0; 60], dir.path().join("port")).unwrap();
    port.receive(&mut io::Batch::default()).unwrap();
    (port, peer, dir)
}

fn receive_frames(peer: &UnixDatagram, count: usize) -> Vec<Vec<u8>> {
    let frame = |_| {
        let mut frame = vec![0; 70_000];
        let len = peer.recv(&mut frame).unwrap();
        frame.truncate(len);
        frame
    };
    (0..count).map(frame).collect()
}

#[test]
fn pieces_arrive_byte_for_byte_at_a_stream_peer() {
    let (mut port, mut peer, _dir) = stream();
    pieces_arrive(&mut port, LONGEST, |count| read_frames(&mut peer, count));
}

#[test]
fn pieces_arrive_byte_for_byte_at_a_dgram_peer() {
    let (mut port, peer, _dir) = dgram();
    pieces_arrive(&mut port, LONGEST, |count| receive_frames(&peer, count));
}

#[test]
fn pieces_arrive_byte_for_byte_at_a_loop() {
    let (mut port, mut far) = LoopPort::pair().unwrap();
    pieces_arrive(&mut port, io::MAX_FRAME, |count| support::receive(&mut far, count));
}

#[test]
fn pieces_are_captured_byte_for_byte() {
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let out = Shared::default();
    let header = [&0xa1b2_c3d4_u32.to_le_bytes()[..], &[0; 16], &1_u32.to_le_bytes()].concat();
    let mut port = PcapPort::new(&header, out.clone()).unwrap();
    let mut from = header.len();
    pieces_arrive(&mut port, io::MAX_FRAME, |count| {
        let capture = out.0.lock().unwrap();
        let frame = |_| {
            let len = u32::from_le_bytes(capture[from + 8..][..4].try_into().unwrap()) as usize;
            from += 16 + len;
            capture[from - len..from].to_vec()
        };
        (0..count).map(frame).collect()
    });
}

/// What the socket did not take is taken out of the guest's memory before the guest gets it back.
#[test]
fn a_frame_in_pieces_that_a_stream_took_in_part_is_finished_first() {
    let (mut port, mut peer, _dir) = stream();
    let mut guest = Guest::new();
    let frame = |salt: usize| (0..60_000).map(|at| (at * 7 + at / 256 + salt) as u8 | 2).collect::<Vec<_>>();
    let mut sent = 0;
    let mut batch = io::Batch::default();
    // Until one does not fit any more; the one before it did in part.
    loop {
        guest.send(VnetHdr::default(), &frame(sent), &[1000, 2000, 30_000]);
        batch.clear();
        guest.port.receive(&mut batch).unwrap();
        let outcome = port.transmit(&batch, &[0]).unwrap();
        guest.port.complete();
        sent += outcome.frames as usize;
        if outcome.full == 1 {
            break;
        }
    }
    // The guest uses its memory again.
    for _ in 0..250 {
        guest.send(VnetHdr::default(), &vec![0; 60_000], &[]);
    }
    let mut came = read_frames(&mut peer, sent - 1);
    let reader = std::thread::spawn(move || (read_frames(&mut peer, 1), peer));
    while !reader.is_finished() {
        port.receive(&mut batch).unwrap();
    }
    came.extend(reader.join().unwrap().0);
    assert!(came.iter().enumerate().all(|(number, came)| *came == frame(number)));
}

#[test]
fn memory_that_vanishes_while_a_frame_is_sent_faults_its_guest_only() {
    let (mut port, mut peer, _dir) = stream();
    memory_vanishes(&mut port, 1500, |count| read_frames(&mut peer, count));
    let (mut port, peer, _dir) = dgram();
    memory_vanishes(&mut port, 1500, |count| receive_frames(&peer, count));
}
