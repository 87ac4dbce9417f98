//! Multicast snooping in a switch, frame by frame.

use engine::{
    FrameIn, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Unheard, Verdict, Verdicts,
    Vlan,
};
use model::{
    DropReason,
    policy::{
        multicast::{MulticastConfig, Querier},
        vlan::{Promiscuous, Secondary, VlanMode, VlanSet},
    },
};
use proptest::{collection::vec, prelude::*};
use std::{net::IpAddr, sync::Arc};
use wire::{MacAddr, Sum, multicast};

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 1, 0]);
/// By then hosts had the time to answer the switch's first query.
const SETTLED: Millis = Millis(11_000);

fn config() -> MulticastConfig {
    MulticastConfig { snooping: true, querier: Querier::On, ..MulticastConfig::default() }
}

const fn mac(port: u16) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, port as u8])
}

fn vnic(port: u16) -> (PortIndex, PortPolicy) {
    (PortIndex(port), PortPolicy { mac: Some(mac(port)), ..PortPolicy::new(Role::Vnic) })
}

/// A switch with an uplink, which is port 0, and these vNICs, that has just asked.
fn switch(mut ports: Vec<(PortIndex, PortPolicy)>) -> Switch {
    ports.push((PortIndex(0), PortPolicy::new(Role::Uplink)));
    let mut switch = Switch::new(TableConfig::default(), [1, 2]);
    let snapshot = Snapshot::new(ports).with_multicast(config(), OWN);
    switch.install(Arc::new(snapshot), Millis(0));
    while switch.next_question(Millis(0)).is_some() {}
    switch
}

fn group(n: u8) -> IpAddr {
    IpAddr::from([239, 0, 0, n])
}

fn checksum(bytes: &mut [u8], at: usize) {
    let sum = Sum::default().bytes(bytes).checksum();
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn ipv4(from: MacAddr, to: IpAddr, protocol: u8, ttl: u8, body: &[u8]) -> Vec<u8> {
    let IpAddr::V4(destination) = to else { panic!("not IPv4") };
    let [high, low] = (24 + body.len() as u16).to_be_bytes();
    let fixed = [0x46, 0, high, low, 0, 0, 0, 0, ttl, protocol, 0, 0, 192, 0, 2, from.0[5]];
    let mut header = [&fixed[..], &destination.octets(), &[148, 4, 0, 0]].concat();
    checksum(&mut header, 10);
    [&multicast::group_mac(&to).0[..], &from.0, &[8, 0], &header, body].concat()
}

/// A message of IGMPv2.
fn igmp(from: u16, kind: u8, group: IpAddr, to: IpAddr) -> Vec<u8> {
    let IpAddr::V4(about) = group else { panic!("not IPv4") };
    let mut body = [&[kind, 0, 0, 0][..], &about.octets()].concat();
    checksum(&mut body, 2);
    ipv4(mac(from), to, 2, 1, &body)
}

fn report(from: u16, group: IpAddr) -> Vec<u8> {
    igmp(from, 0x16, group, group)
}

fn data(from: u16, group: IpAddr) -> Vec<u8> {
    ipv4(mac(from), group, 17, 8, &[0; 8])
}

fn tagged(mut frame: Vec<u8>, vlan: u8) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0, 0, vlan]);
    frame
}

/// Where a frame goes, in the order of the ports, or why it goes nowhere.
fn goes(switch: &mut Switch, from: u16, frame: &[u8], now: Millis) -> Result<Vec<u16>, DropReason> {
    let mut verdicts = Verdicts::default();
    switch.process(PortIndex(from), [frame_in(frame)], now, &mut verdicts);
    ports(switch.snapshot(), PortIndex(from), &verdicts, verdicts[0])
}

fn frame_in(frame: &[u8]) -> FrameIn<'_> {
    FrameIn { header: &frame[..frame.len().min(128)], len: frame.len() as u32 }
}

fn ports(snapshot: &Snapshot, from: PortIndex, all: &Verdicts, one: Verdict) -> Result<Vec<u16>, DropReason> {
    let mut ports: Vec<_> = match one {
        Verdict::Drop(reason) | Verdict::DropAt(_, reason) => return Err(reason),
        Verdict::Forward(port, _) => vec![port.0],
        Verdict::Flood(which, vlan) => snapshot.flood(from, which, vlan).map(|port| port.0).collect(),
        Verdict::List(list, _) => all.listed(list).iter().map(|port| port.0).collect(),
    };
    ports.sort_unstable();
    Ok(ports)
}

#[test]
fn a_group_goes_to_who_joined_it_and_the_report_to_routers() {
    let mut switch = switch((1..5).map(vnic).collect());
    assert_eq!(
        goes(&mut switch, 2, &report(2, group(1)), Millis(100)),
        Ok(vec![0, 1, 3, 4]),
        "nothing is known"
    );
    assert_eq!(goes(&mut switch, 1, &data(1, group(1)), Millis(100)), Ok(vec![0, 2, 3, 4]));
    assert_eq!(goes(&mut switch, 1, &data(1, group(1)), SETTLED), Ok(vec![0, 2]));
    assert_eq!(goes(&mut switch, 2, &data(2, group(1)), SETTLED), Ok(vec![0]));
    assert_eq!(goes(&mut switch, 0, &data(9, group(2)), SETTLED), Err(DropReason::NoListener));
    assert_eq!(goes(&mut switch, 3, &report(3, group(2)), SETTLED), Ok(vec![0]));
    assert_eq!(goes(&mut switch, 0, &data(9, group(2)), SETTLED), Ok(vec![3]));
}

#[test]
fn what_everybody_has_to_hear_is_never_filtered() {
    let mut switch = switch((1..4).map(vnic).collect());
    let local = data(1, IpAddr::from([224, 0, 0, 251]));
    let broadcast = [&[0xff; 6][..], &mac(1).0, &[8, 6], &[0; 46]].concat();
    let query = igmp(1, 0x11, IpAddr::from([0, 0, 0, 0]), IpAddr::from([224, 0, 0, 1]));
    for frame in [&local, &broadcast, &query] {
        assert_eq!(goes(&mut switch, 1, frame, SETTLED), Ok(vec![0, 2, 3]));
    }
}

#[test]
fn vlans_have_their_own_groups() {
    let access = |port, vlan| {
        let (index, policy) = vnic(port);
        (index, PortPolicy { vlan: VlanMode::Access(vlan), ..policy })
    };
    let mut switch = switch(vec![access(1, 7), access(2, 7), access(3, 7), access(4, 8)]);
    goes(&mut switch, 2, &report(2, group(1)), Millis(0)).unwrap();
    assert_eq!(goes(&mut switch, 0, &tagged(data(9, group(1)), 7), SETTLED), Ok(vec![2]));
    assert_eq!(goes(&mut switch, 1, &data(1, group(1)), SETTLED), Ok(vec![0, 2]));
    assert_eq!(goes(&mut switch, 0, &tagged(data(9, group(1)), 8), SETTLED), Err(DropReason::NoListener));
}

#[test]
fn a_private_vlan_has_its_groups_together() {
    let of = |port, vlan| (PortIndex(port), PortPolicy { vlan, ..vnic(port).1 });
    let isolated = VlanMode::Isolated(Secondary { primary: 10, secondary: 11 });
    let secondaries: VlanSet = [11].into_iter().collect();
    let promiscuous = VlanMode::Promiscuous(Promiscuous { primary: 10, secondaries });
    let mut switch = switch(vec![of(1, isolated.clone()), of(2, isolated), of(3, promiscuous)]);
    goes(&mut switch, 1, &report(1, group(1)), Millis(0)).unwrap();
    assert_eq!(goes(&mut switch, 3, &data(3, group(1)), SETTLED), Ok(vec![0, 1]));
}

#[test]
fn what_a_guard_refuses_is_not_heard() {
    let mut switch = switch((1..4).map(vnic).collect());
    let spoofed = report(3, group(1));
    assert_eq!(goes(&mut switch, 2, &spoofed, Millis(0)), Err(DropReason::SpoofedMac));
    assert_eq!(switch.multicast(SETTLED).unwrap().members, []);
}

#[test]
fn a_host_that_is_alone_is_heard() {
    let mut switch = Switch::new(TableConfig::default(), [1, 2]);
    let alone = Snapshot::new(vec![vnic(1)]).with_multicast(config(), OWN);
    switch.install(Arc::new(alone), Millis(0));
    assert_eq!(goes(&mut switch, 1, &report(1, group(1)), Millis(0)), Err(DropReason::NoDestination));
    assert_eq!(switch.multicast(Millis(0)).unwrap().members.len(), 1);
}

#[test]
fn a_switch_that_stops_to_snoop_forgets_all() {
    let mut switch = switch((1..4).map(vnic).collect());
    goes(&mut switch, 2, &report(2, group(1)), Millis(0)).unwrap();
    let vnics = || (1..4).map(vnic).collect();
    switch.install(Arc::new(Snapshot::new(vnics())), SETTLED);
    assert_eq!((switch.multicast(SETTLED), switch.next_question(Millis(1_000_000))), (None, None));
    assert_eq!(goes(&mut switch, 1, &data(1, group(1)), SETTLED), Ok(vec![2, 3]));
}

#[test]
fn a_reader_decides_on_data_and_leaves_messages_to_a_writer() {
    let mut switch = switch((1..4).map(vnic).collect());
    let mut out = Verdicts::default();
    let known = |switch: &Switch, frame: &[u8], out: &mut Verdicts| {
        switch.process_known(PortIndex(1), [frame_in(frame)], SETTLED, out)
    };
    assert_eq!(known(&switch, &report(1, group(1)), &mut out), None);
    assert_eq!(known(&switch, &data(1, group(1)), &mut out), Some(0));
    let by_reader = ports(switch.snapshot(), PortIndex(1), &out, out[0]);
    assert_eq!(by_reader, goes(&mut switch, 1, &data(1, group(1)), SETTLED));
    let (_, explained) = switch.explain(PortIndex(1), frame_in(&data(1, group(1))), SETTLED);
    assert_eq!(ports(switch.snapshot(), PortIndex(1), &explained, explained[0]), by_reader);
}

#[test]
fn frames_without_vlan_are_listed_without() {
    let mut switch = switch((1..4).map(vnic).collect());
    let mut out = Verdicts::default();
    switch.process(PortIndex(1), [frame_in(&data(1, group(1)))], SETTLED, &mut out);
    assert!(matches!(out[0], Verdict::List(_, vlan) if vlan == Vlan::NONE));
}

/// IGMPv3, with a record for each of so many groups.
fn long_report(from: u16, groups: u16) -> Vec<u8> {
    let [high, low] = groups.to_be_bytes();
    let mut body = vec![0x22, 0, 0, 0, 0, 0, high, low];
    (0..groups).for_each(|n| body.extend([4, 0, 0, 0, 239, 1, n.to_be_bytes()[0], n.to_be_bytes()[1]]));
    checksum(&mut body, 2);
    ipv4(mac(from), IpAddr::from([224, 0, 0, 22]), 2, 1, &body)
}

#[test]
fn a_report_that_is_longer_than_the_header_is_heard_when_the_rest_of_it_is_shown() {
    let long = long_report(2, 150);
    let unheard = |switch: &mut Switch| {
        let mut out = Verdicts::default();
        switch.process(PortIndex(2), [frame_in(&report(2, group(9))), frame_in(&long)], SETTLED, &mut out);
        assert_eq!(ports(switch.snapshot(), PortIndex(2), &out, out[1]), Ok(vec![0]));
        out.unheard().to_vec()
    };
    let known = |switch: &Switch| {
        let known = switch.multicast(SETTLED).unwrap();
        (known.members.len(), known.gets_all.len())
    };
    let heard = |shown: &[u8]| {
        let mut switch = switch((1..4).map(vnic).collect());
        assert_eq!(unheard(&mut switch), [Unheard { frame: 1, vlan: 0 }]);
        assert_eq!(known(&switch), (1, 0));
        let frame = FrameIn { header: shown, len: long.len() as u32 };
        switch.hear_report(PortIndex(2), 0, frame, SETTLED);
        known(&switch)
    };
    assert_eq!(heard(&long), (151, 0));
    assert_eq!(heard(&long[..128]), (11, 1), "the port gets everything, where not all of it is shown");
    let mut damaged = long.clone();
    damaged[1000] ^= 1;
    assert_eq!(heard(&damaged), (1, 0));
}

#[test]
fn a_long_report_takes_no_writer_to_be_decided_on() {
    let switch = switch((1..4).map(vnic).collect());
    let mut out = Verdicts::default();
    let decided = switch.process_known(PortIndex(1), [frame_in(&long_report(1, 150))], SETTLED, &mut out);
    assert_eq!((decided, out.unheard().len()), (Some(0), 1));
}

fn any_frame() -> impl Strategy<Value = (u16, Vec<u8>)> {
    (1..4u16, 0..3u8, 0..5usize).prop_map(|(from, n, kind)| {
        let leave = || igmp(from, 0x17, group(n), IpAddr::from([224, 0, 0, 2]));
        let query = || igmp(from, 0x11, IpAddr::from([0, 0, 0, 0]), IpAddr::from([224, 0, 0, 1]));
        let frame = match kind {
            0 => report(from, group(n)),
            1 => leave(),
            2 => query(),
            _ => data(from, group(n)),
        };
        (from, frame)
    })
}

proptest! {
    #[test]
    fn results_do_not_depend_on_how_frames_are_cut_into_batches(
        rounds in vec((1..4u16, vec(any_frame(), 1..20), 0..9000u64), 1..10),
    ) {
        let vnics = || (1..4).map(vnic).collect();
        let (mut whole, mut single) = (switch(vnics()), switch(vnics()));
        let mut now = SETTLED;
        for (from, frames, later) in rounds {
            now.0 += later;
            let frames: Vec<_> = frames.into_iter().filter(|(of, _)| *of == from).map(|(_, frame)| frame).collect();
            let mut out = Verdicts::default();
            whole.process(PortIndex(from), frames.iter().map(|frame| frame_in(frame)), now, &mut out);
            for (frame, verdict) in frames.iter().zip(&*out) {
                let together = ports(whole.snapshot(), PortIndex(from), &out, *verdict);
                prop_assert_eq!(together, goes(&mut single, from, frame, now));
            }
            prop_assert_eq!(whole.multicast(now), single.multicast(now));
        }
    }
}
