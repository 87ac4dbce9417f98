//! A fixed stream of frames, for counting instructions:
//!
//! ```text
//! cargo build --release --example instructions -p vmswitch-engine
//! valgrind --tool=callgrind --toggle-collect='*decide_all*' target/release/examples/instructions guarded
//! ```
//!
//! The count divided by 100,000 is the instructions for each frame, in batches of 64. The argument picks the stream:
//!
//! * `flow`: one flow, from a guarded vNIC to another
//! * `datagrams`, `datagrams6`: the same as UDP over IPv4 and IPv6
//! * `inspected`, `inspected6`: those from a vNIC whose DHCP guard and router guard are on
//! * `guarded`: from a guarded vNIC to 1024 known addresses in turn
//! * `known`: from 1024 known addresses behind the uplink, in turn, to one vNIC
//! * `both`: the same, each to another one of 1024 addresses behind another port without guard
//! * `new`: from addresses never seen, to one vNIC, at a full table

use engine::{FrameIn, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Verdicts};
use std::{env, error::Error, hint::black_box, sync::Arc};
use wire::MacAddr;

const FRAMES: u32 = 100_000;
const UPLINK: PortIndex = PortIndex(0);
const VNIC: PortIndex = PortIndex(1);
const OPEN: PortIndex = PortIndex(2);
const VNIC_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0xff, 1]);
const CAPACITY: u32 = 4096;

fn outside(n: u32) -> MacAddr {
    let [a, b, c, d] = n.to_be_bytes();
    MacAddr([6, 0, a, b, c, d])
}

/// As many bytes as the engine looks at; an EtherType that no policy knows.
type Header = [u8; 128];

fn header(dst: MacAddr, src: MacAddr) -> Header {
    let mut header = [0x08; _];
    header[..6].copy_from_slice(&dst.0);
    header[6..12].copy_from_slice(&src.0);
    header
}

/// From the vNIC to one address outside, as UDP.
fn datagram(ip: &[u8]) -> Header {
    let mut header = header(outside(1), VNIC_MAC);
    header[12..12 + ip.len()].copy_from_slice(ip);
    header
}

fn datagram4() -> Header {
    let mut ip = [0; 30];
    (ip[0], ip[2], ip[11]) = (0x08, 0x45, 17);
    datagram(&ip)
}

fn datagram6() -> Header {
    let mut ip = [0; 50];
    (ip[0], ip[1], ip[2], ip[8]) = (0x86, 0xdd, 0x60, 17);
    datagram(&ip)
}

fn frames(headers: &[Header]) -> Vec<FrameIn<'_>> {
    headers.iter().map(|header| FrameIn { header, len: 60 }).collect()
}

/// A switch with an uplink, a guarded vNIC, and one without guard, which learns all that it likes.
fn switch(guards: bool) -> Switch {
    let open = PortPolicy { guard: false, learn_limit: CAPACITY, ..PortPolicy::new(Role::Vnic) };
    let (dhcp_guard, router_guard) = (guards, guards);
    let vnic = PortPolicy { mac: Some(VNIC_MAC), dhcp_guard, router_guard, ..PortPolicy::new(Role::Vnic) };
    let snapshot = Snapshot::new(vec![(UPLINK, PortPolicy::new(Role::Uplink)), (VNIC, vnic), (OPEN, open)]);
    let mut switch = Switch::new(TableConfig { capacity: CAPACITY, ageing_ms: 300_000 }, [1, 2]);
    switch.install(Arc::new(snapshot), Millis(0));
    switch
}

/// The whole stream in batches, as workers decide them. Not inlined: its name is what callgrind counts under.
#[inline(never)]
fn decide_all(switch: &mut Switch, ingress: PortIndex, frames: &[FrameIn<'_>], verdicts: &mut Verdicts) {
    for batch in frames.chunks(64) {
        let known = switch.process_known(ingress, batch, Millis(0), verdicts);
        black_box(known.unwrap_or_else(|| switch.process(ingress, batch, Millis(0), verdicts)));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let stream =
        env::args().nth(1).ok_or("name a stream: flow, datagrams, inspected, guarded, known, both or new")?;
    let mut switch = switch(stream.starts_with("inspected"));
    let learned: Vec<_> = (0..CAPACITY - 1).map(|n| header(MacAddr::BROADCAST, outside(n))).collect();
    switch.process(UPLINK, &frames(&learned), Millis(0), &mut Verdicts::default());
    let (ingress, header_of): (_, fn(u32) -> Header) = match stream.as_str() {
        "flow" => (VNIC, |_| header(outside(1), VNIC_MAC)),
        "datagrams" | "inspected" => (VNIC, |_| datagram4()),
        "datagrams6" | "inspected6" => (VNIC, |_| datagram6()),
        "guarded" => (VNIC, |n| header(outside(n % 1024), VNIC_MAC)),
        "known" => (UPLINK, |n| header(VNIC_MAC, outside(n % 1024))),
        "both" => (OPEN, |n| header(outside(n % 1024), outside(2048 + n * 7 % 1024))),
        "new" => (UPLINK, |n| header(VNIC_MAC, outside(CAPACITY + n))),
        _ => return Err(format!("no stream is called '{stream}'").into()),
    };
    let headers: Vec<_> = (0..FRAMES).map(header_of).collect();
    let mut verdicts = Verdicts::default();
    decide_all(&mut switch, ingress, &frames(&headers), &mut verdicts);
    println!("{FRAMES} frames; the last one: {:?}", verdicts.last());
    Ok(())
}
