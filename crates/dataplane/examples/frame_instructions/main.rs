//! A fixed stream of frames from one vhost-user guest to another, for counting instructions:
//!
//! ```text
//! cargo build --release --example frame_instructions -p vmswitch-dataplane
//! valgrind --tool=callgrind --toggle-collect='*counted_turn*' target/release/examples/frame_instructions split-64
//! ```
//!
//! The count divided by [`FRAMES`] is the figure. Counted is what the worker does for a frame: take it from the sender's ring,
//! decide, copy it into the receiver's memory, give both guests their buffers back. Not counted is what the worker does for a
//! round without frames, nor what the guests do. `cargo xtask instructions` counts all streams and compares.
//!
//! Ports, sockets and rings are the real ones; the VMM's part is done by the `vhost` crate, which shares no code with them.
//! The driver's part (`guest`) writes descriptors in the order of DPDK's virtio-user and wants no notifications.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "an example")]

mod guest;

use dataplane::{Fabric, Tables};
use engine::{Acl, Millis, PortIndex, PortPolicy, Role, Snapshot, TableConfig};
use guest::{Guest, Rings, SLOTS};
use io::{Batch, VhostConfig, VhostPort, VhostRole};
use model::{AclRule, policy::vlan::VlanMode};
use std::{env, sync::Arc};
use wire::MacAddr;

/// Frames that are counted: eight laps of a ring.
const FRAMES: u32 = 8 * SLOTS as u32;
const SENDER: PortIndex = PortIndex(0);
const RECEIVER: PortIndex = PortIndex(1);

/// What passes, and how.
#[derive(Clone, Copy)]
struct Stream {
    name: &'static str,
    rings: Rings,
    /// Bytes of a frame.
    len: usize,
    /// Frames that the sender makes available at once.
    batch: u16,
    /// Source addresses, in turn.
    sources: u16,
    guard: bool,
    policies: Policies,
}

/// What the ports have besides the guard.
#[derive(Clone, Copy)]
enum Policies {
    None,
    /// VLAN 10, DHCP guard and router guard.
    Guards,
    /// A thousand basic rules and as many extended ones, for both directions, of which the last of each match so many flows.
    Lists {
        flows: u16,
    },
    /// A stateful rule for both directions, and so many flows.
    Stateful {
        flows: u16,
    },
}

impl Policies {
    const fn flows(self) -> u16 {
        match self {
            Self::None | Self::Guards => 1,
            Self::Lists { flows } | Self::Stateful { flows } => flows,
        }
    }
}

const PLAIN: Stream = Stream {
    name: "split-64",
    rings: Rings::Split,
    len: 64,
    batch: 64,
    sources: 1,
    guard: true,
    policies: Policies::None,
};

const STREAMS: [Stream; 11] = [
    PLAIN,
    Stream { name: "split-64-batches-of-32", batch: 32, ..PLAIN },
    Stream { name: "split-64-no-guard", guard: false, ..PLAIN },
    Stream { name: "split-64-1024-sources", guard: false, sources: 1024, ..PLAIN },
    Stream { name: "split-64-guards", policies: Policies::Guards, ..PLAIN },
    Stream { name: "split-64-lists", policies: Policies::Lists { flows: 1 }, ..PLAIN },
    Stream { name: "split-64-lists-128-flows", policies: Policies::Lists { flows: 128 }, ..PLAIN },
    Stream { name: "split-64-128-flows", policies: Policies::Stateful { flows: 128 }, ..PLAIN },
    Stream { name: "split-1518", len: 1518, ..PLAIN },
    Stream { name: "packed-64", rings: Rings::Packed, ..PLAIN },
    Stream { name: "packed-64-batches-of-32", rings: Rings::Packed, batch: 32, ..PLAIN },
];

fn mac(port: PortIndex) -> MacAddr {
    MacAddr([2, 0, 0, 0, port.0 as u8 + 1, 0])
}

fn source(number: u16) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1 + (number >> 8) as u8 * 16, number as u8])
}

fn policy(port: PortIndex, stream: Stream) -> (PortIndex, PortPolicy) {
    let plain = PortPolicy::new(Role::Vnic);
    let vnic = PortPolicy { mac: Some(mac(port)), guard: stream.guard, mtu: 9000, ..plain };
    let with_policies = match stream.policies {
        Policies::None => vnic,
        Policies::Guards => {
            PortPolicy { vlan: VlanMode::Access(10), dhcp_guard: true, router_guard: true, ..vnic }
        }
        Policies::Stateful { .. } => PortPolicy { acl: Some(Arc::new(Acl::new(&stateful(), 1000))), ..vnic },
        Policies::Lists { .. } => PortPolicy { acl: Some(Arc::new(Acl::new(&rules(), 0))), ..vnic },
    };
    (port, with_policies)
}

fn rules() -> Vec<AclRule> {
    let basic = (0..999).map(|n| format!("both allow remote 192.168.{}.{}", n / 8, n % 251));
    let extended = (0..999).map(|n| {
        format!("both deny tcp remote 172.16.{}.{} local any port {n} weight {}", n % 9, n % 99, 60_000 - n)
    });
    let last = ["both allow remote 10.0.0.0/8", "both allow udp weight 1"].map(str::to_owned);
    basic.chain(extended).chain(last).map(|rule| rule.parse().unwrap()).collect()
}

fn stateful() -> Vec<AclRule> {
    ["both allow ip weight 9 stateful", "both deny ip weight 1"].map(|rule| rule.parse().unwrap()).into()
}

/// A datagram over IPv4, of one of so many flows.
fn datagram(flow: u16) -> Vec<u8> {
    let ip = [0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    [&ip[..], &(1000 + flow).to_be_bytes(), &[0x13, 0x88, 0, 26, 0, 0]].concat()
}

fn main() {
    let name = env::args().nth(1);
    let Some(stream) = STREAMS.into_iter().find(|stream| Some(stream.name) == name.as_deref()) else {
        // For who runs them all.
        return STREAMS.iter().for_each(|stream| println!("{} {FRAMES}", stream.name));
    };
    let directory = tempfile::tempdir().unwrap();
    let tables = Arc::new(Tables::new(TableConfig::default(), [1, 2]));
    let snapshot = Snapshot::new([SENDER, RECEIVER].map(|port| policy(port, stream)).into());
    tables.install(Arc::new(snapshot), Millis(0));
    let mut fabric = Fabric::new(tables);
    let mut guests = [SENDER, RECEIVER].map(|port| {
        let path = directory.path().join(port.0.to_string());
        let (name, role) = (port.0.to_string(), VhostRole::Server);
        let (at, places) = (path.clone(), Some(path.with_extension("rings")));
        let config = VhostConfig { name, path: at, role, mtu: 9000, queue_pairs_max: 1, workers: 1, places };
        let opened = VhostPort::open(&config).unwrap();
        assert!(fabric.attach(port, Box::new(opened)).is_none());
        Guest::connect(&path, stream.rings)
    });
    let [sender, receiver] = &mut guests;
    let flows = stream.policies.flows();
    sender.write_frames(stream.len, |slot| {
        (mac(RECEIVER), source(slot % stream.sources), datagram(slot % flows))
    });
    receiver.write_frames(stream.len, |_| (MacAddr::BROADCAST, mac(RECEIVER), datagram(0)));

    let (mut batch, mut stopped) = (Batch::default(), Vec::new());
    // Ports look at what was set up in a round of their own, for which a worker is woken.
    for port in [SENDER, RECEIVER] {
        assert!(!fabric.turn(port, &mut batch, Millis(0), &mut stopped));
    }
    // The receiver becomes known, and buffers have their size.
    sender.post_receive(64);
    receiver.send(64);
    fabric.turn(RECEIVER, &mut batch, Millis(0), &mut stopped);
    let turns = |frames: u32| 0..frames / u32::from(stream.batch);
    for _ in turns(u32::from(SLOTS)) {
        receiver.post_receive(stream.batch);
        sender.send(stream.batch);
        fabric.turn(SENDER, &mut batch, Millis(0), &mut stopped);
    }
    for _ in turns(FRAMES) {
        receiver.post_receive(stream.batch);
        sender.send(stream.batch);
        counted_turn(&mut fabric, &mut batch);
    }
    assert!(stopped.is_empty(), "{stopped:?}");
    assert!(sender.has_all_back() && receiver.has_all_back(), "frames were lost");
    println!("{} {FRAMES}", stream.name);
}

/// Not inlined: its name is what callgrind counts under.
#[inline(never)]
fn counted_turn(fabric: &mut Fabric, batch: &mut Batch) {
    fabric.turn(SENDER, batch, Millis(0), &mut Vec::new());
}
