//! AF_XDP ports against the real kernel; needs root.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "root_xdp/shares.rs"]
mod shares;
mod support;

use io::{Batch, PacketSocket, Port, PortError, Sent, Tap, TapConfig, Traits, XdpError, XdpMode, XdpPort};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};
use support::{
    Namespace, Observer, PATIENCE, Sender, alone, batch_of, frames_of_every_form, open_descriptors, run,
};
use wire::{VNET_HDR_LEN, VnetHdr};

fn namespace() -> Namespace {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("xdptest-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    run(&format!("ip netns add {name}"));
    let ns = Namespace(name);
    for which in ["all", "default"] {
        ns.exec(&format!("sysctl -q -w net.ipv6.conf.{which}.disable_ipv6=1"));
    }
    ns
}

fn open_in(ns: &Namespace, ifname: &str, mode: XdpMode) -> Result<XdpPort, XdpError> {
    ns.inside(|| XdpPort::open(ifname, &[mode]))
}

fn open(ns: &Namespace, ifname: &str) -> Result<XdpPort, XdpError> {
    ns.inside(|| XdpPort::open(ifname, &XdpMode::ALL))
}

/// Both modes that a veth has.
const MODES: [XdpMode; 2] = [XdpMode::NativeCopy, XdpMode::GenericCopy];

/// Receives `count` frames, and gives their memory back after each batch, as a worker does.
fn receive(port: &mut dyn Port, count: usize) -> Vec<Vec<u8>> {
    let (mut batch, mut frames, started) = (Batch::default(), Vec::new(), Instant::now());
    while frames.len() < count {
        assert!(started.elapsed() < PATIENCE, "{} frames of {count} came", frames.len());
        batch.clear();
        port.receive(&mut batch).unwrap();
        for index in 0..batch.len() as u16 {
            frames.push(batch.whole(index, &mut Vec::new()).to_vec());
        }
        port.complete();
        thread::yield_now();
    }
    frames
}

/// Waits for what the port is to say for itself.
fn stops(port: &mut dyn Port) -> String {
    let (mut batch, started) = (Batch::default(), Instant::now());
    loop {
        batch.clear();
        match port.receive(&mut batch) {
            Err(PortError::Down(why)) => return why,
            Err(other) => panic!("{other:?}"),
            Ok(()) => port.complete(),
        }
        assert!(started.elapsed() < PATIENCE, "the port goes on");
    }
}

/// Waits for the kernel, which detaches in its own time.
fn has_no_program(ns: &Namespace, ifname: &str) {
    let started = Instant::now();
    while ns.ip(&format!("link show {ifname}")).contains("xdp") {
        assert!(started.elapsed() < PATIENCE, "{}", ns.ip(&format!("link show {ifname}")));
    }
}

/// A cable whose ends have so many queues.
fn wide_cable(ns: &Namespace, queues: usize) {
    let queues = format!("numrxqueues {queues} numtxqueues {queues}");
    ns.ip(&format!("link add near {queues} up type veth peer name far {queues}"));
    ns.ip("link set far up");
}

fn udp(source: u8, number: u8) -> Vec<u8> {
    let mut frame = b"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00".to_vec();
    frame.extend([0x45, 0, 0, 46, 0, number, 0, 0, 64, 17, 0, 0, 10, 0, 0, source, 10, 0, 1, 1]);
    frame.extend([source, number, 0, 53, 0, 26, 0, 0]);
    frame.extend([number; 18]);
    frame
}

#[test]
fn root_the_best_mode_is_taken_and_why_not_a_better_one_is_told() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let port = open(&ns, "near").unwrap();
    assert_eq!((port.mode(), port.queues()), (XdpMode::NativeCopy, 1));
    let refused: Vec<_> = port.refused().iter().map(|r| (r.mode, r.why.as_str())).collect();
    assert_eq!(refused, [(XdpMode::ZeroCopy, "its driver has no zero-copy")]);
    assert!(ns.ip("link show near").contains("mtu 1500 xdp "));
    drop(port);
    let port = open_in(&ns, "near", XdpMode::GenericCopy).unwrap();
    assert_eq!((port.mode(), port.refused().len()), (XdpMode::GenericCopy, 0));
    assert!(ns.ip("link show near").contains("xdpgeneric"));
    drop(port);
    has_no_program(&ns, "near");
}

#[test]
fn root_frames_from_the_cable_arrive_byte_for_byte() {
    let _alone = alone();
    for (mode, mtu) in MODES.into_iter().flat_map(|mode| [(mode, 1500), (mode, 9000)]) {
        let ns = namespace();
        ns.cable("near", "far", mtu);
        let mut port = open_in(&ns, "near", mode).unwrap();
        let sender = Sender::new(&ns, "far");
        let frames = frames_of_every_form(mtu == 9000);
        frames.iter().for_each(|frame| sender.send(frame));
        assert!(receive(&mut port, frames.len()) == frames, "{mode} {mtu}");
        assert_eq!(port.kernel_drops(), 0);
    }
}

#[test]
fn root_frames_to_the_cable_arrive_byte_for_byte() {
    let _alone = alone();
    for (mode, mtu) in MODES.into_iter().flat_map(|mode| [(mode, 1500), (mode, 9000)]) {
        let ns = namespace();
        ns.cable("near", "far", mtu);
        let mut port = open_in(&ns, "near", mode).unwrap();
        let mut observer = Observer::new(&ns, "far");
        let frames = frames_of_every_form(mtu == 9000);
        let (batch, which) = batch_of(&frames);
        let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
        let sent = port.transmit(&batch, &which).unwrap();
        assert_eq!(sent, Sent { frames: frames.len() as u64, bytes, ..Sent::default() });
        for frame in frames {
            assert!(observer.next() == frame, "{mode} {mtu}");
        }
    }
}

#[test]
fn root_every_chunk_comes_back_and_order_is_kept() {
    let _alone = alone();
    for mode in MODES {
        let ns = namespace();
        ns.cable("near", "far", 1500);
        let mut port = open_in(&ns, "near", mode).unwrap();
        let mut back = ns.inside(|| PacketSocket::open("far")).unwrap();
        let sender = Sender::new(&ns, "far");
        let mut seen = Batch::default();
        for round in 0..250_u8 {
            let frames: Vec<_> = (0..64).map(|number| udp(round, number)).collect();
            frames.iter().for_each(|frame| sender.send(frame));
            assert!(receive(&mut port, 64) == frames, "{mode}, round {round}");
            let (batch, which) = batch_of(&frames);
            assert_eq!(port.transmit(&batch, &which).unwrap().frames, 64);
            seen.clear();
            back.receive(&mut seen).unwrap();
            let came: Vec<_> = (0..seen.len() as u16).map(|index| seen.frame(index).to_vec()).collect();
            assert!(came == frames, "{mode}, round {round}: {}", came.len());
        }
        assert_eq!(port.kernel_drops(), 0);
    }
}

#[test]
fn root_frames_of_every_queue_arrive() {
    let _alone = alone();
    let ns = namespace();
    wide_cable(&ns, 4);
    let mut port = open(&ns, "near").unwrap();
    assert_eq!(port.queues(), 4);
    let sender = Sender::new(&ns, "far");
    let mut frames: Vec<_> = (0..200).map(|source| udp(source, 1)).collect();
    frames.iter().for_each(|frame| sender.send(frame));
    let mut came = receive(&mut port, frames.len());
    frames.sort();
    came.sort();
    assert!(came == frames);
    let counters = ns.exec("ethtool -S near");
    for queue in 0..4 {
        let name = format!("rx_queue_{queue}_xdp_packets: ");
        let count = counters.lines().find_map(|line| line.trim().strip_prefix(&name)).unwrap();
        assert!(count.parse::<u32>().unwrap() > 0, "{counters}");
    }
}

#[test]
fn root_the_hosts_stack_sees_nothing() {
    let _alone = alone();
    for mode in MODES {
        let ns = namespace();
        ns.cable("near", "far", 1500);
        let mut port = open_in(&ns, "near", mode).unwrap();
        let mut tap = ns.inside(|| PacketSocket::open("near")).unwrap();
        let sender = Sender::new(&ns, "far");
        let frames = frames_of_every_form(false);
        frames.iter().for_each(|frame| sender.send(frame));
        receive(&mut port, frames.len());
        let mut batch = Batch::default();
        tap.receive(&mut batch).unwrap();
        assert!(batch.is_empty(), "{mode}");
        drop(port);
        has_no_program(&ns, "near");
        sender.send(&frames[0]);
        assert_eq!(support::receive(&mut tap, 1), frames[..1]);
    }
}

#[test]
fn root_an_offload_is_finished_in_software_and_what_is_too_long_is_counted() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let mut port = open(&ns, "near").unwrap();
    let mut observer = Observer::new(&ns, "far");
    let (payload, mut frame) = (4000_u16, [2; 12].to_vec());
    frame.extend(b"\x08\x00");
    let ip_len = (40 + payload).to_be_bytes();
    frame.extend([0x45, 0, ip_len[0], ip_len[1], 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend(b"\x00\x50\x00\x51\x00\x00\x00\x01\x00\x00\x00\x01\x50\x10\x10\x00\x12\x34\x00\x00");
    frame.extend((0..payload).map(|at| at as u8));
    let long = vec![2; 1519];
    let mut partial = udp(1, 1);
    partial[40..42].copy_from_slice(&[0x12, 0x34]);
    let tcp = VnetHdr { flags: 1, gso_type: 1, hdr_len: 54, gso_size: 1448, csum_start: 34, csum_offset: 16 };
    let sum = VnetHdr { flags: 1, csum_start: 34, csum_offset: 6, ..VnetHdr::default() };
    let bad = VnetHdr { csum_start: 2000, ..sum };
    let mut batch = Batch::default();
    for (vnet, frame) in [(tcp, &frame), (VnetHdr::default(), &long), (sum, &partial), (bad, &partial)] {
        let slot = batch.vacant().next().unwrap();
        slot[..VNET_HDR_LEN].copy_from_slice(&vnet.to_bytes());
        slot[VNET_HDR_LEN..][..frame.len()].copy_from_slice(frame);
        batch.push(VNET_HDR_LEN + frame.len());
    }
    let which = [0, 1, 2, 3];
    let sent = port.transmit(&batch, &which).unwrap();
    assert_eq!((sent.frames, sent.copies, sent.oversize, sent.bad_offload, sent.full), (4, 2, 1, 1, 0));
    let segments: Vec<_> = (0..3).map(|_| observer.next()).collect();
    assert_eq!(segments.iter().map(Vec::len).collect::<Vec<_>>(), [1502, 1502, 1158]);
    assert!(segments.iter().flat_map(|segment| &segment[54..]).eq(&frame[54..]));
    wire::checksum::complete(&mut partial, 34, 6).unwrap();
    assert_eq!(observer.next(), partial);
}

/// The far end leaves checksums to a NIC that is none; nobody would find one wrong but a receiver.
#[test]
fn root_partial_checksums_from_a_veth_are_found_and_tcp_passes() {
    let _alone = alone();
    let [left, middle, right] = [namespace(), namespace(), namespace()];
    let ports = [(&left, "one", 1), (&right, "two", 2)].map(|(end, name, address)| {
        middle.ip(&format!("link add {name} up type veth peer name eth0 netns {}", end.0));
        end.ip(&format!("addr add 10.1.2.{address}/24 dev eth0"));
        end.ip("link set eth0 up");
        open(&middle, name).unwrap()
    });
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| carry(ports, &stop));
        let listener = right.inside(|| TcpListener::bind("10.1.2.2:80")).unwrap();
        let near = left.inside(|| TcpStream::connect_timeout(&"10.1.2.2:80".parse().unwrap(), PATIENCE));
        exchange(near.unwrap(), listener.accept().unwrap().0);
    });
}

/// Sets the flag also where a test fails, so that nobody waits for it forever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn carry(mut ports: [XdpPort; 2], stop: &AtomicBool) {
    let mut batch = Batch::default();
    while !stop.load(Ordering::Relaxed) {
        for from in [0, 1] {
            batch.clear();
            ports[from].receive(&mut batch).unwrap();
            let which: Vec<u16> = (0..batch.len() as u16).collect();
            ports[1 - from].transmit(&batch, &which).unwrap();
            ports[from].complete();
        }
        thread::yield_now();
    }
}

/// Sends 2 MB and compares what comes out.
fn exchange(mut from: TcpStream, mut to: TcpStream) {
    let data: Vec<u8> = (0..2_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut received = vec![0; data.len()];
    thread::scope(|scope| {
        from.set_write_timeout(Some(PATIENCE)).unwrap();
        scope.spawn(|| from.write_all(&data).unwrap());
        to.set_read_timeout(Some(PATIENCE)).unwrap();
        to.read_exact(&mut received).unwrap();
    });
    assert!(received == data);
}

#[test]
fn root_what_decides_between_af_xdp_and_af_packet_can_be_asked() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let traits = || ns.inside(|| Traits::of("near")).unwrap();
    assert_eq!(traits(), Traits { local_peer: true, segments: true, stray_headers: false });
    ns.exec("ethtool -K near tso off");
    assert_eq!(traits(), Traits { local_peer: true, segments: false, stray_headers: false });
    assert!(!ns.inside(|| Traits::of("lo")).unwrap().local_peer);
    ns.inside(|| Traits::of("nothing")).unwrap_err();
}

#[test]
fn root_a_mode_that_cannot_be_had_is_an_error_that_says_why() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let error = open_in(&ns, "near", XdpMode::ZeroCopy).unwrap_err().to_string();
    assert_eq!(
        error,
        "interface near takes no AF_XDP sockets (zero-copy: its driver has no zero-copy); use AF_PACKET"
    );
    has_no_program(&ns, "near");
}

#[test]
fn root_vlan_tags_stay_in_frames_while_the_port_is_open() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let takes_out = || ns.exec("ethtool -k near").contains("rx-vlan-offload: on");
    assert!(takes_out());
    let port = open(&ns, "near").unwrap();
    assert!(!takes_out());
    drop(port);
    assert!(takes_out());
}

#[test]
fn root_another_program_on_the_interface_is_told_of() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let first = open(&ns, "near").unwrap();
    let error = open(&ns, "near").unwrap_err();
    assert!(matches!(&error, XdpError::OtherProgram(name) if name == "near"), "{error}");
    drop(first);
    let object = concat!(env!("OUT_DIR"), "/to_switch.bpf.o");
    ns.ip(&format!("link set near xdp object {object} section xdp"));
    for mode in MODES {
        let error = open_in(&ns, "near", mode).unwrap_err();
        assert!(matches!(&error, XdpError::OtherProgram(name) if name == "near"), "{error}");
    }
    ns.ip("link set near xdp off");
    open(&ns, "near").unwrap();
}

#[test]
fn root_an_interface_that_goes_down_is_down_until_opened_again() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let frames = frames_of_every_form(false);
    let (batch, which) = batch_of(&frames);
    for round in 0..3 {
        let mut port = open(&ns, "near").unwrap();
        Sender::new(&ns, "far").send(&frames[0]);
        assert_eq!(receive(&mut port, 1), frames[..1], "{round}");
        ns.ip("link set near down");
        assert!(
            matches!(port.transmit(&batch, &which), Err(PortError::Down(why)) if why == "interface is down")
        );
        assert_eq!(stops(&mut port), "interface is down");
        assert!(matches!(open(&ns, "near"), Err(XdpError::Down(name)) if name == "near"));
        ns.ip("link set near up");
    }
    let mut port = open(&ns, "near").unwrap();
    ns.ip("link set near down");
    assert_eq!(stops(&mut port), "interface is down");
}

#[test]
fn root_a_link_that_flaps_at_the_far_end_goes_on_by_itself() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let mut port = open(&ns, "near").unwrap();
    let frames = frames_of_every_form(false);
    let (batch, which) = batch_of(&frames);
    ns.ip("link set far down");
    let sent = port.transmit(&batch, &which).unwrap();
    assert_eq!((sent.frames, sent.full), (0, which.len() as u64));
    ns.ip("link set far up");
    let sent = port.transmit(&batch, &which).unwrap();
    assert_eq!((sent.frames, sent.full), (which.len() as u64, 0));
    Sender::new(&ns, "far").send(&frames[0]);
    assert_eq!(receive(&mut port, 1), frames[..1]);
}

#[test]
fn root_a_removed_interface_is_down() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let mut port = open(&ns, "near").unwrap();
    ns.ip("link del near");
    let (batch, which) = batch_of(&frames_of_every_form(false));
    assert_eq!(stops(&mut port), "interface removed");
    assert!(matches!(port.transmit(&batch, &which), Err(PortError::Down(_))));
    assert_eq!(port.kernel_drops(), 0);
    assert!(matches!(open(&ns, "near"), Err(XdpError::NotFound(name)) if name == "near"));
    assert!(matches!(open(&ns, "a-name-much-too-long"), Err(XdpError::Name(..))));
}

#[test]
fn root_more_queues_are_noticed_and_served_after_opening_again() {
    let _alone = alone();
    let ns = namespace();
    wide_cable(&ns, 4);
    ns.exec("ethtool -L far rx 1 tx 1");
    ns.exec("ethtool -L near rx 1 tx 1");
    let mut port = open(&ns, "near").unwrap();
    assert_eq!(port.queues(), 1);
    ns.exec("ethtool -L near rx 3 tx 1");
    assert_eq!(stops(&mut port), "it has 3 receive queues now, and had 1; each needs its socket");
    drop(port);
    assert_eq!(open(&ns, "near").unwrap().queues(), 3);
}

#[test]
fn root_an_mtu_whose_frames_do_not_fit_is_noticed() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let mut port = open(&ns, "near").unwrap();
    ns.ip("link set far mtu 2000");
    ns.ip("link set near mtu 2000");
    let frame = [2; 2014].to_vec();
    Sender::new(&ns, "far").send(&frame);
    assert_eq!(receive(&mut port, 1), [frame]);
    ns.ip("link set near mtu 9000");
    assert_eq!(stops(&mut port), "its MTU is 9000 now; its frames take larger buffers");
}

#[test]
fn root_the_descriptors_tell_of_frames_and_only_of_those() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    // The kernel tells of a carrier a little after it is there, and that would be news.
    while !ns.ip("link show near").contains("state UP") {
        std::thread::yield_now();
    }
    let mut port = open(&ns, "near").unwrap();
    let epoll = io::Epoll::new().unwrap();
    let mut ready = Vec::new();
    for (token, fd) in (0..).zip(port.poll_fds()) {
        epoll.add(fd, token).unwrap();
    }
    epoll.wait(Some(Duration::ZERO), &mut ready).unwrap();
    assert!(ready.is_empty() && port.arm(), "{ready:?}");
    Sender::new(&ns, "far").send(&[2; 60]);
    epoll.wait(Some(PATIENCE), &mut ready).unwrap();
    assert_eq!((ready.as_slice(), port.arm()), (&[0][..], false));
    receive(&mut port, 1);
    epoll.wait(Some(Duration::ZERO), &mut ready).unwrap();
    assert!(ready.is_empty() && port.arm(), "{ready:?}");
}

#[test]
fn root_the_interface_is_promiscuous_while_the_port_is_open() {
    let _alone = alone();
    let ns = namespace();
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
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let mut port = open(&ns, "near").unwrap();
    let sender = Sender::new(&ns, "far");
    let sent = 8000;
    (0..sent).for_each(|_| sender.send(&[2; 60]));
    let (mut batch, mut received) = (Batch::default(), 0);
    loop {
        batch.clear();
        port.receive(&mut batch).unwrap();
        received += batch.len() as u64;
        port.complete();
        if batch.is_empty() {
            break;
        }
    }
    let lost = port.kernel_drops();
    assert!(lost > 0 && received + lost == sent, "{received} + {lost}");
    assert_eq!(port.kernel_drops(), 0);
}

#[test]
fn root_a_tap_is_served_too() {
    let _alone = alone();
    let ns = namespace();
    let mut guest = ns.inside(|| Tap::open(&TapConfig::new("tap"))).unwrap();
    let mut port = open(&ns, "tap").unwrap();
    let frames = frames_of_every_form(false);
    let (batch, which) = batch_of(&frames);
    guest.transmit(&batch, &which).unwrap();
    assert!(receive(&mut port, frames.len()) == frames);
    port.transmit(&batch, &which).unwrap();
    assert!(support::receive(&mut guest, frames.len()) == frames);
}

#[test]
fn root_fifty_ports_leave_no_descriptor() {
    let _alone = alone();
    let ns = namespace();
    ns.cable("near", "far", 1500);
    let before = open_descriptors();
    for _ in 0..50 {
        drop(open(&ns, "near").unwrap());
        drop(open(&ns, "nothing").unwrap_err());
    }
    assert_eq!(open_descriptors(), before);
    has_no_program(&ns, "near");
}
