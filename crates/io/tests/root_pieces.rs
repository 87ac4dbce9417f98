//! Frames in pieces of a guest's memory through ports of the real kernel; needs root.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use io::{PacketSocket, Port, Tap, TapConfig, XdpMode, XdpPort};
use support::{
    Namespace, alone,
    guest::{Guest, memory_vanishes, pieces_arrive, tcp_segment},
    receive,
};
use wire::VnetHdr;

/// As long as an interface's MTU allows.
const LONGEST: usize = 65_535 + 14;

fn tap(ns: &Namespace) -> Tap {
    ns.inside(|| Tap::open(&TapConfig { mtu: Some(65_521), ..TapConfig::new("t0") })).unwrap()
}

fn packet(ns: &Namespace, ifname: &str) -> PacketSocket {
    ns.inside(|| PacketSocket::open(ifname)).unwrap()
}

fn xdp(ns: &Namespace) -> XdpPort {
    ns.cable("near", "far", 1500);
    ns.inside(|| XdpPort::open("near", &XdpMode::ALL)).unwrap()
}

#[test]
fn root_pieces_arrive_byte_for_byte_at_a_tap() {
    let _alone = alone();
    let ns = Namespace::default();
    let (mut port, mut far) = (tap(&ns), packet(&ns, "t0"));
    pieces_arrive(&mut port, io::MAX_FRAME, |count| receive(&mut far, count));
}

#[test]
fn root_pieces_arrive_byte_for_byte_through_a_packet_socket() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 65_535);
    let (mut port, mut far) = (packet(&ns, "near"), packet(&ns, "far"));
    pieces_arrive(&mut port, LONGEST, |count| receive(&mut far, count));
}

#[test]
fn root_pieces_arrive_byte_for_byte_through_af_xdp() {
    let _alone = alone();
    let ns = Namespace::default();
    let mut port = xdp(&ns);
    let mut far = packet(&ns, "far");
    pieces_arrive(&mut port, 1514, |count| receive(&mut far, count));
}

#[test]
fn root_memory_that_vanishes_while_a_frame_is_sent_faults_its_guest_only() {
    let _alone = alone();
    let ns = Namespace::default();
    let (mut port, mut far) = (tap(&ns), packet(&ns, "t0"));
    // A short frame is put together in any case, a long one only then.
    for len in [1500, 20_000] {
        memory_vanishes(&mut port, len, |count| receive(&mut far, count));
    }
    let mut port = xdp(&ns);
    let mut far = packet(&ns, "far");
    memory_vanishes(&mut port, 1500, |count| receive(&mut far, count));
    drop(port);
    let mut port = packet(&ns, "near");
    memory_vanishes(&mut port, 1500, |count| receive(&mut far, count));
}

/// A segment of 64 KiB goes whole to those who take it, with the offload it came with.
#[test]
fn root_segments_in_pieces_arrive_whole_with_their_vnet_header() {
    const PAYLOAD: usize = 65_000;
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 1500);
    let vnet =
        VnetHdr { flags: 1, gso_type: 1, hdr_len: 54, gso_size: 1400, csum_start: 34, csum_offset: 16 };
    let frame = tcp_segment(PAYLOAD);
    let mut guest = Guest::new();
    let ports: [(Box<dyn Port>, PacketSocket); 2] = {
        let (tap, near) = (tap(&ns), packet(&ns, "near"));
        [(Box::new(tap), packet(&ns, "t0")), (Box::new(near), packet(&ns, "far"))]
    };
    for (mut port, mut far) in ports {
        for lengths in [vec![12, 66], vec![78], vec![4096; 16], vec![999; 60]] {
            guest.send(vnet, &frame, &lengths);
            assert_eq!(guest.carry(&mut *port).frames, 1);
            let mut batch = io::Batch::default();
            while batch.is_empty() {
                far.receive(&mut batch).unwrap();
            }
            assert!(batch.frame(0) == frame);
            let came = batch.vnet(0);
            assert_eq!((came.gso_type, came.gso_size, came.csum_start), (1, 1400, 34));
        }
    }
}

/// A tag makes the longest frame longer still, and in so many pieces it is put together first.
#[test]
fn root_the_longest_segment_in_many_pieces_leaves_with_a_tag_more() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 1500);
    let vnet =
        VnetHdr { flags: 1, gso_type: 1, hdr_len: 54, gso_size: 1448, csum_start: 34, csum_offset: 16 };
    let mut frame = tcp_segment(65_490);
    frame.resize(io::MAX_FRAME, b'x');
    let (mut port, mut far, mut guest) = (packet(&ns, "near"), packet(&ns, "far"), Guest::new());
    guest.send(vnet, &frame, &[999; 60]);
    // Elsewhere, so that a call that never returns is met by the time limit.
    let (done, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut batch = io::Batch::default();
        guest.port.receive(&mut batch).unwrap();
        let tagged = batch.retag(0, Some(7)).unwrap();
        done.send(port.transmit(&batch, &[tagged]).unwrap()).unwrap();
    });
    let sent = outcome.recv_timeout(support::PATIENCE).unwrap();
    assert_eq!((sent.frames, sent.bytes), (1, io::MAX_FRAME as u64 + 4));
    // The kernel cuts what is above 64 KiB, also for one who takes segments.
    let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..16]].concat();
    assert!(receive(&mut far, 1)[0].starts_with(&tagged));
}
