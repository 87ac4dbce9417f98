//! Packet sockets against the real kernel; needs root.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use io::{Batch, PacketError, PacketSocket, Port, PortError, Sent, Tap, TapConfig};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};
use support::{
    Namespace, Observer, Sender, alone, batch_of, batch_with, frames_of_every_form, open_descriptors, receive,
};
use wire::VnetHdr;

fn open(ns: &Namespace, ifname: &str) -> Result<PacketSocket, PacketError> {
    ns.inside(|| PacketSocket::open(ifname))
}

#[test]
fn root_frames_from_the_cable_arrive_byte_for_byte() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 9000);
    let mut port = open(&ns, "near").unwrap();
    let sender = Sender::new(&ns, "far");
    let frames = frames_of_every_form(true);
    frames.iter().for_each(|frame| sender.send(frame));
    assert_eq!(receive(&mut port, frames.len()), frames);
}

#[test]
fn root_frames_to_the_cable_arrive_byte_for_byte() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 9000);
    let mut port = open(&ns, "near").unwrap();
    let mut observer = Observer::new(&ns, "far");
    let frames = frames_of_every_form(true);
    let (batch, which) = batch_of(&frames);
    let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
    let sent = port.transmit(&batch, &which).unwrap();
    assert_eq!(sent, Sent { frames: frames.len() as u64, bytes, ..Sent::default() });
    for frame in frames {
        assert_eq!(observer.next(), frame);
    }
}

#[test]
fn root_only_what_comes_in_is_received() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 1500);
    ns.cable("other", "end", 1500);
    let mut port = open(&ns, "near").unwrap();
    let frames = frames_of_every_form(false);
    let (batch, which) = batch_of(&frames);
    port.transmit(&batch, &which).unwrap();
    Sender::new(&ns, "near").send(&frames[0]);
    Sender::new(&ns, "end").send(&frames[0]);
    Sender::new(&ns, "far").send(&frames[1]);
    assert_eq!(receive(&mut port, 1), frames[1..2]);
    thread::sleep(Duration::from_millis(50));
    let mut batch = Batch::default();
    port.receive(&mut batch).unwrap();
    assert!(batch.is_empty());
}

#[test]
fn root_frames_the_kernel_refuses_are_counted_and_the_rest_goes_on() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 1500);
    let mut port = open(&ns, "near").unwrap();
    let unknown = VnetHdr { gso_type: 77, ..VnetHdr::default() };
    let (batch, which) = batch_with(&frames_of_every_form(true), 2, unknown);
    let all = which.len() as u64;
    let sent = port.transmit(&batch, &which).unwrap();
    assert_eq!((sent.frames, sent.oversize, sent.bad_offload), (all - 2, 1, 1));
    let drops: u64 = sent.drops().iter().map(|(_, n)| n).sum();
    assert_eq!(sent.frames + drops, all);
}

#[test]
fn root_an_interface_that_goes_down_is_down_until_opened_again() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 1500);
    let mut port = open(&ns, "near").unwrap();
    let frames = frames_of_every_form(false);
    let (batch, which) = batch_of(&frames);
    ns.ip("link set near down");
    assert!(
        matches!(port.receive(&mut Batch::default()), Err(PortError::Down(why)) if why == "interface is down")
    );
    assert!(matches!(port.transmit(&batch, &which), Err(PortError::Down(why)) if why == "interface is down"));
    assert!(matches!(open(&ns, "near"), Err(PacketError::Down(name)) if name == "near"));
    ns.ip("link set near up");
    let mut port = open(&ns, "near").unwrap();
    assert_eq!(port.transmit(&batch, &which).unwrap().frames, which.len() as u64);
    Sender::new(&ns, "far").send(&frames[0]);
    assert_eq!(receive(&mut port, 1), frames[..1]);
}

#[test]
fn root_a_removed_interface_is_down() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 1500);
    let mut port = open(&ns, "near").unwrap();
    ns.ip("link del near");
    let (batch, which) = batch_of(&frames_of_every_form(false));
    for _ in 0..2 {
        assert!(matches!(port.receive(&mut Batch::default()), Err(PortError::Down(_))));
        assert!(matches!(port.transmit(&batch, &which), Err(PortError::Down(_))));
    }
    assert_eq!(port.kernel_drops(), 0);
    assert!(matches!(open(&ns, "near"), Err(PacketError::NotFound(name)) if name == "near"));
    assert!(matches!(open(&ns, "a-name-much-too-long"), Err(PacketError::Name(..))));
}

#[test]
fn root_the_interface_is_promiscuous_while_the_port_is_open() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 1500);
    let promiscuous = || ns.ip("-d link show near").contains("promiscuity 1");
    let port = open(&ns, "near").unwrap();
    assert!(promiscuous());
    drop(port);
    assert!(!promiscuous());
}

#[test]
fn root_frames_the_kernel_had_no_room_for_are_counted() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 1500);
    let mut port = open(&ns, "near").unwrap();
    let sender = Sender::new(&ns, "far");
    let sent = 80_000;
    (0..sent).for_each(|_| sender.send(&[2; 60]));
    let (mut batch, mut received) = (Batch::default(), 0);
    loop {
        batch.clear();
        port.receive(&mut batch).unwrap();
        received += batch.len() as u64;
        if batch.is_empty() {
            break;
        }
    }
    let lost = port.kernel_drops();
    assert!(lost > 0 && received + lost == sent, "{received} + {lost}");
    assert_eq!(port.kernel_drops(), 0);
}

#[test]
fn root_two_hundred_ports_leave_no_descriptor() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 1500);
    let before = open_descriptors();
    for _ in 0..200 {
        drop(open(&ns, "near").unwrap());
        drop(open(&ns, "nothing").unwrap_err());
    }
    assert_eq!(open_descriptors(), before);
}

/// Carries frames between two ports until told to stop; notes the longest of each direction.
fn carry(mut ports: [Box<dyn Port>; 2], stop: &AtomicBool, longest: &[AtomicUsize; 2]) {
    let mut batch = Batch::default();
    while !stop.load(Ordering::Relaxed) {
        for from in [0, 1] {
            batch.clear();
            ports[from].receive(&mut batch).unwrap();
            let which: Vec<u16> = (0..batch.len() as u16).collect();
            for &index in &which {
                longest[from].fetch_max(batch.frame(index).len(), Ordering::Relaxed);
            }
            let sent = ports[1 - from].transmit(&batch, &which).unwrap();
            assert_eq!(sent.frames, which.len() as u64, "{sent:?}");
        }
    }
}

/// Sends 4 MB and compares what comes out.
fn exchange(mut from: TcpStream, mut to: TcpStream) {
    let data: Vec<u8> = (0..4_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut received = vec![0; data.len()];
    thread::scope(|scope| {
        from.set_write_timeout(Some(support::PATIENCE)).unwrap();
        scope.spawn(|| from.write_all(&data).unwrap());
        to.set_read_timeout(Some(support::PATIENCE)).unwrap();
        to.read_exact(&mut received).unwrap();
    });
    assert!(received == data);
}

/// Sets the flag also where a test fails, so that nobody waits for it forever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn segments_pass_whole_between(vm: &Namespace, world: &Namespace, ports: [Box<dyn Port>; 2]) {
    let (stop, longest) = (AtomicBool::new(false), [const { AtomicUsize::new(0) }; 2]);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| carry(ports, &stop, &longest));
        let listener = world.inside(|| TcpListener::bind("10.1.2.2:80")).unwrap();
        let near =
            vm.inside(|| TcpStream::connect_timeout(&"10.1.2.2:80".parse().unwrap(), support::PATIENCE));
        let (near, far) = (near.unwrap(), listener.accept().unwrap().0);
        exchange(near.try_clone().unwrap(), far.try_clone().unwrap());
        exchange(far, near);
    });
    let longest = longest.map(AtomicUsize::into_inner);
    assert!(longest.iter().all(|&len| len > 30_000), "{longest:?}");
}

#[test]
fn root_segments_above_the_mtu_pass_whole_between_tap_and_cable() {
    let _alone = alone();
    let (vm, world) = (Namespace::default(), Namespace::default());
    let tap = vm.inside(|| Tap::open(&TapConfig::new("t0"))).unwrap();
    vm.ip("addr add 10.1.2.1/24 dev t0");
    world.cable("near", "far", 1500);
    world.ip("addr add 10.1.2.2/24 dev far");
    let port = open(&world, "near").unwrap();
    segments_pass_whole_between(&vm, &world, [Box::new(tap), Box::new(port)]);
}

#[test]
fn root_a_segment_above_the_mtu_passes_whole_with_its_vlan_tag() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 1500);
    let (mut near, mut far) = (open(&ns, "near").unwrap(), open(&ns, "far").unwrap());
    let (payload, mut frame) = (30_000_u16, [2; 12].to_vec());
    frame.extend(b"\x81\x00\x60\x07\x08\x00");
    let ip_len = (40 + payload).to_be_bytes();
    frame.extend([0x45, 0, ip_len[0], ip_len[1], 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(b"\x00\x50\x00\x51\x00\x00\x00\x01\x00\x00\x00\x01\x50\x10\x10\x00\x12\x34\x00\x00");
    frame.extend((0..payload).map(|at| at as u8));
    let offload =
        VnetHdr { flags: 1, gso_type: 1, hdr_len: 58, gso_size: 1448, csum_start: 38, csum_offset: 16 };
    let (mut batch, which) = batch_with(std::slice::from_ref(&frame), 0, offload);
    assert_eq!(near.transmit(&batch, &which).unwrap().frames, 1);
    batch.clear();
    far.receive(&mut batch).unwrap();
    assert_eq!((batch.len(), batch.vnet(0)), (1, offload));
    assert!(batch.frame(0) == frame);
}

/// UDP from `port` to a port that nobody has.
fn datagram(port: u16, number: u16) -> Vec<u8> {
    let mut frame = b"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00".to_vec();
    frame.extend(b"\x45\x00\x00\x2e\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02");
    frame.extend([port, 9, 26, 0].iter().flat_map(|field| field.to_be_bytes()));
    frame.extend(number.to_be_bytes());
    frame.resize(60, 0);
    frame
}

#[test]
fn root_a_socket_dealt_to_workers_gives_each_flow_to_one_of_them_and_no_frame_to_two() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 1500);
    let (mut first, others) = ns.inside(|| {
        let mut first = PacketSocket::open("near").unwrap();
        let others = first.deal(2).unwrap();
        (first, others)
    });
    let sender = Sender::new(&ns, "far");
    let (flows, each) = (40, 25);
    for number in 0..each {
        (0..flows).for_each(|flow| sender.send(&datagram(1000 + flow, number)));
    }
    let mut shares: Vec<&mut dyn Port> = vec![&mut first];
    let mut others = others;
    shares.extend(others.iter_mut().map(|share| share.as_mut() as &mut dyn Port));
    let mut seen = std::collections::BTreeMap::<Vec<u8>, Vec<(usize, u16)>>::new();
    let mut batch = Batch::default();
    for (number, share) in shares.iter_mut().enumerate() {
        loop {
            batch.clear();
            share.receive(&mut batch).unwrap();
            for frame in (0..batch.len() as u16).map(|index| batch.frame(index)) {
                let sequence = u16::from_be_bytes([frame[42], frame[43]]);
                seen.entry(frame[34..36].to_vec()).or_default().push((number, sequence));
            }
            if batch.is_empty() {
                break;
            }
        }
    }
    assert_eq!(seen.len(), usize::from(flows));
    for came in seen.values() {
        let expected: Vec<_> = (0..each).map(|sequence| (came[0].0, sequence)).collect();
        assert_eq!(*came, expected, "all of a flow, in order, once, to one share");
    }
    let shares_used: std::collections::BTreeSet<_> = seen.values().map(|came| came[0].0).collect();
    assert_eq!(shares_used.len(), 3, "a share got nothing");
}

#[test]
fn root_each_share_of_a_socket_sends() {
    let _alone = alone();
    let ns = Namespace::default();
    ns.cable("near", "far", 1500);
    let mut observer = Observer::new(&ns, "far");
    let mut shares = ns.inside(|| {
        let mut first = PacketSocket::open("near").unwrap();
        let others = first.deal(1).unwrap();
        std::iter::once(Box::new(first) as Box<dyn Port>).chain(others).collect::<Vec<_>>()
    });
    for (share, number) in shares.iter_mut().zip(0..) {
        let (batch, which) = batch_of(&[datagram(7, number)]);
        assert_eq!(share.transmit(&batch, &which).unwrap().frames, 1);
        assert_eq!(observer.next(), datagram(7, number));
    }
}
