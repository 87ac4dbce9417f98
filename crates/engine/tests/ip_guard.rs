//! The IP guard in the pipeline, and leases that are heard of.

use engine::{
    Flood, FrameIn, IpGuard, Lease, Millis, PortIndex, PortPolicy, Role, Snapshot, Step, Switch, TableConfig,
    Verdict, Verdicts,
};
use model::DropReason;
use std::sync::Arc;
use wire::MacAddr;

const UPLINK: PortIndex = PortIndex(0);
const VM: PortIndex = PortIndex(1);
const OTHER: PortIndex = PortIndex(2);
const VM_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OTHER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const SERVER: MacAddr = MacAddr([6, 0, 0, 0, 0, 1]);

fn ports(ip_guard: Option<IpGuard>) -> Vec<(PortIndex, PortPolicy)> {
    let vm = PortPolicy { mac: Some(VM_MAC), ip_guard, ..PortPolicy::new(Role::Vnic) };
    let other = PortPolicy { mac: Some(OTHER_MAC), ..PortPolicy::new(Role::Vnic) };
    vec![(UPLINK, PortPolicy::new(Role::Uplink)), (VM, vm), (OTHER, other)]
}

fn install(switch: &mut Switch, ports: Vec<(PortIndex, PortPolicy)>) {
    switch.install(Arc::new(Snapshot::new(ports)), Millis(0));
}

fn switch(ports: Vec<(PortIndex, PortPolicy)>) -> Switch {
    let mut switch = Switch::new(TableConfig::default(), [1, 2]);
    install(&mut switch, ports);
    switch
}

fn listed(addresses: &[&str]) -> Option<IpGuard> {
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Some(IpGuard { addresses, most_leases: 0 })
}

fn leasing(most_leases: u16) -> Option<IpGuard> {
    Some(IpGuard { addresses: vec![], most_leases })
}

fn packet(source: [u8; 4]) -> Vec<u8> {
    [&[8, 0, 0x45, 0, 0, 20, 0, 7, 0, 0, 64, 6, 0, 0][..], &source, &[10, 9, 0, 1]].concat()
}

fn frame(src: MacAddr, packet: &[u8]) -> Vec<u8> {
    [&MacAddr::BROADCAST.0[..], &src.0, packet].concat()
}

/// Whether the guard lets a frame from that address in.
fn passes(switch: &mut Switch, source: [u8; 4], now: u64) -> bool {
    let frame = frame(VM_MAC, &packet(source));
    let mut out = Verdicts::default();
    switch.process(VM, &[FrameIn { header: &frame, len: 60 }], Millis(now), &mut out);
    match out[0] {
        Verdict::Flood(Flood::Group, _) => true,
        Verdict::Drop(DropReason::SpoofedIp) => false,
        other => panic!("{other:?}"),
    }
}

/// A message of DHCP that names 10.9.0.100 for two minutes.
fn dhcp(op: u8, kind: u8, xid: u8, client: MacAddr, seconds: u32) -> Vec<u8> {
    let mut fixed = [0; 236];
    fixed[..8].copy_from_slice(&[op, 1, 6, 0, 0, 0, 0, xid]);
    fixed[12..16].copy_from_slice(&[10, 9, 0, 100]);
    fixed[16..20].copy_from_slice(&[10, 9, 0, 100]);
    fixed[28..34].copy_from_slice(&client.0);
    let message =
        [&fixed[..], &[99, 130, 83, 99, 53, 1, kind, 51, 4], &seconds.to_be_bytes(), &[255]].concat();
    let ports = if op == 1 { [0, 68, 0, 67] } else { [0, 67, 0, 68] };
    let udp = [&ports[..], &(8 + message.len() as u16).to_be_bytes(), &[0, 0], &message].concat();
    let head = [8, 0, 0x45, 0, 0, 0, 0, 7, 0, 0, 64, 17, 0, 0];
    frame(client, &[&head[..], &[10, 9, 0, 1], &[255; 4], &udp].concat())
}

const LEASED: [u8; 4] = [10, 9, 0, 100];

/// The VM asks, and an answer comes from there.
fn lease(switch: &mut Switch, from: PortIndex, now: u64) {
    switch.hear_sent(VM, &dhcp(1, 3, 7, VM_MAC, 0), Millis(now));
    switch.hear_delivered(from, VM, &dhcp(2, 5, 7, VM_MAC, 120), Millis(now));
}

fn leases(switch: &Switch, now: u64) -> Vec<Lease> {
    switch.leases(VM, Millis(now)).collect()
}

#[test]
fn a_listed_address_passes_and_no_other() {
    let mut switch = switch(ports(listed(&["10.9.0.7", "10.8.0.0/16"])));
    assert!(passes(&mut switch, [10, 9, 0, 7], 0) && passes(&mut switch, [10, 8, 1, 2], 0));
    assert!(!passes(&mut switch, [10, 9, 0, 8], 0));
    install(&mut switch, ports(None));
    assert!(passes(&mut switch, [10, 9, 0, 8], 0));
}

#[test]
fn what_is_wrong_with_the_source_mac_and_what_other_guards_refuse_comes_first() {
    let mut guarded = ports(listed(&["10.9.0.7"]));
    (guarded[1].1.dhcp_guard, guarded[1].1.router_guard) = (true, true);
    let mut switch = switch(guarded);
    let mut out = Verdicts::default();
    let server = dhcp(2, 5, 7, VM_MAC, 120);
    let hidden = frame(VM_MAC, &packet([10, 9, 0, 7])[..15]);
    for (frame, reason) in [
        (frame(OTHER_MAC, &packet([10, 9, 0, 8])), DropReason::SpoofedMac),
        (server[..128].to_vec(), DropReason::DhcpGuard),
        (hidden, DropReason::DhcpGuard),
        (frame(VM_MAC, &packet([10, 9, 0, 8])), DropReason::SpoofedIp),
    ] {
        switch.process(VM, &[FrameIn { header: &frame, len: 400 }], Millis(0), &mut out);
        assert_eq!(out[0], Verdict::Drop(reason));
    }
}

#[test]
fn an_ip_guard_alone_drops_what_hides_as_its_own() {
    let mut switch = switch(ports(listed(&["10.9.0.7"])));
    let (mut out, hidden) = (Verdicts::default(), frame(VM_MAC, &packet([10, 9, 0, 7])[..15]));
    switch.process(VM, &[FrameIn { header: &hidden, len: 60 }], Millis(0), &mut out);
    assert_eq!(out[0], Verdict::Drop(DropReason::SpoofedIp));
}

#[test]
fn a_lease_that_an_uplink_or_an_open_port_tells_passes_until_it_ends() {
    for from in [UPLINK, OTHER] {
        let mut switch = switch(ports(leasing(4)));
        assert!(!passes(&mut switch, LEASED, 0));
        lease(&mut switch, from, 1000);
        assert!(passes(&mut switch, LEASED, 120_999) && !passes(&mut switch, LEASED, 121_000));
    }
}

#[test]
fn a_port_that_may_not_serve_or_has_an_ip_guard_itself_is_not_believed() {
    let dhcp_guard = |policy: &mut PortPolicy| policy.dhcp_guard = true;
    let ip_guard = |policy: &mut PortPolicy| policy.ip_guard = listed(&[]);
    for change in [dhcp_guard as fn(&mut PortPolicy), ip_guard] {
        let mut guarded = ports(leasing(4));
        change(&mut guarded[2].1);
        let mut switch = switch(guarded);
        lease(&mut switch, OTHER, 0);
        lease(&mut switch, VM, 0);
        assert_eq!(leases(&switch, 0), []);
        lease(&mut switch, UPLINK, 0);
        assert_eq!(leases(&switch, 0).len(), 1);
    }
}

#[test]
fn an_answer_to_nobody_or_to_another_is_not_believed() {
    let mut switch = switch(ports(leasing(4)));
    switch.hear_delivered(UPLINK, VM, &dhcp(2, 5, 7, VM_MAC, 120), Millis(0));
    switch.hear_sent(VM, &dhcp(1, 3, 7, VM_MAC, 0), Millis(0));
    switch.hear_delivered(UPLINK, VM, &dhcp(2, 5, 8, VM_MAC, 120), Millis(0));
    switch.hear_delivered(UPLINK, VM, &dhcp(2, 5, 7, OTHER_MAC, 120), Millis(0));
    switch.hear_delivered(UPLINK, OTHER, &dhcp(2, 5, 7, VM_MAC, 120), Millis(0));
    assert_eq!((leases(&switch, 0), switch.leases(OTHER, Millis(0)).count()), (vec![], 0));
}

#[test]
fn a_released_address_passes_no_longer() {
    let mut switch = switch(ports(leasing(4)));
    lease(&mut switch, UPLINK, 0);
    switch.hear_sent(VM, &dhcp(1, 7, 9, VM_MAC, 0), Millis(0));
    assert!(!passes(&mut switch, LEASED, 0));
}

#[test]
fn leases_stay_over_snapshots_and_go_with_the_guard_or_the_mac() {
    let mut switch = switch(ports(leasing(4)));
    lease(&mut switch, UPLINK, 0);
    let mut down = ports(leasing(4));
    down[1].1.up = false;
    install(&mut switch, down);
    install(&mut switch, ports(leasing(2)));
    assert_eq!(leases(&switch, 0).len(), 1);
    let mut renamed = ports(leasing(2));
    renamed[1].1.mac = Some(MacAddr([2, 0, 0, 0, 0, 9]));
    install(&mut switch, renamed);
    assert_eq!(leases(&switch, 0), []);
    install(&mut switch, ports(leasing(2)));
    lease(&mut switch, UPLINK, 0);
    install(&mut switch, ports(listed(&[])));
    install(&mut switch, ports(leasing(2)));
    assert_eq!(leases(&switch, 0), []);
}

#[test]
fn a_lease_can_be_entered_again() {
    let mut switch = switch(ports(leasing(1)));
    let lease = Lease { address: LEASED.into(), until: Some(Millis(5000)) };
    switch.remember_lease(VM, lease, Millis(0));
    switch.remember_lease(OTHER, lease, Millis(0));
    assert_eq!(
        (leases(&switch, 4999), leases(&switch, 5000), switch.leases(OTHER, Millis(0)).count()),
        (vec![lease], vec![], 0)
    );
}

#[test]
fn explain_says_what_the_ip_guard_finds() {
    let mut switch = switch(ports(leasing(4)));
    lease(&mut switch, UPLINK, 0);
    for (source, passes) in [(LEASED, true), ([10, 9, 0, 8], false)] {
        let frame = frame(VM_MAC, &packet(source));
        let (steps, _) = switch.explain(VM, FrameIn { header: &frame, len: 60 }, Millis(0));
        assert_eq!(steps[2], Step::IpGuard { passes });
    }
}

#[test]
fn an_uplink_has_no_ip_guard() {
    let mut with_guard = ports(None);
    with_guard[0].1.ip_guard = listed(&[]);
    let mut switch = switch(with_guard);
    let (mut out, frame) = (Verdicts::default(), frame(SERVER, &packet([10, 9, 0, 8])));
    switch.process(UPLINK, &[FrameIn { header: &frame, len: 60 }], Millis(0), &mut out);
    assert!(matches!(out[0], Verdict::Flood(Flood::Group, _)));
}
