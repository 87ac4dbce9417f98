//! DHCP guard and router guard, message by message. How frames hide what they carry is tested in `wire::inspect`.

use engine::{
    Flood, FrameIn, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Verdict, Verdicts,
    Vlan,
};
use model::DropReason;
use std::sync::Arc;
use wire::MacAddr;

const UPLINK: PortIndex = PortIndex(0);
const VM: PortIndex = PortIndex(1);
const OTHER: PortIndex = PortIndex(2);
const VM_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// Which guards are on.
const NONE: [bool; 2] = [false; 2];
const DHCP: [bool; 2] = [true, false];
const ROUTER: [bool; 2] = [false, true];
const BOTH: [bool; 2] = [true; 2];

fn switch(port: PortPolicy, other: PortPolicy, uplink: PortPolicy) -> Switch {
    let mut switch = Switch::new(TableConfig::default(), [1, 2]);
    let ports = vec![(UPLINK, uplink), (VM, port), (OTHER, other)];
    switch.install(Arc::new(Snapshot::new(ports)), Millis(0));
    switch
}

fn policy(role: Role, [dhcp_guard, router_guard]: [bool; 2]) -> PortPolicy {
    PortPolicy { dhcp_guard, router_guard, ..PortPolicy::new(role) }
}

fn send(switch: &mut Switch, from: PortIndex, src: MacAddr, packet: &[u8]) -> Verdict {
    let frame = [&MacAddr::BROADCAST.0[..], &src.0, packet].concat();
    let header = &frame[..frame.len().min(128)];
    let mut out = Verdicts::default();
    switch.process(from, &[FrameIn { header, len: frame.len() as u32 }], Millis(0), &mut out);
    out[0]
}

/// Why these guards drop the packet, if they do.
fn verdict(guards: [bool; 2], packet: &[u8]) -> Option<DropReason> {
    let vm = PortPolicy { mac: Some(VM_MAC), ..policy(Role::Vnic, guards) };
    let mut switch = switch(vm, policy(Role::Vnic, NONE), policy(Role::Uplink, NONE));
    match send(&mut switch, VM, VM_MAC, packet) {
        Verdict::Drop(reason) => Some(reason),
        Verdict::Flood(Flood::Group, Vlan::NONE) => None,
        other => panic!("{other:?}"),
    }
}

fn udp(from: u16, to: u16, message: &[u8]) -> Vec<u8> {
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0, 99, 0, 0], message].concat()
}

fn v4(protocol: u8, fragment: u16, upper: &[u8]) -> Vec<u8> {
    let fragment = fragment.to_be_bytes();
    let header = [0x08, 0, 0x45, 0, 0, 99, 0, 7, fragment[0], fragment[1], 64, protocol, 0, 0];
    [&header[..], &[10; 8], upper].concat()
}

fn v6(next: u8, upper: &[u8]) -> Vec<u8> {
    [&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 99, next, 255][..], &[0xfe; 32], upper].concat()
}

fn dhcp(from: u16, to: u16, op: u8) -> Vec<u8> {
    v4(17, 0, &udp(from, to, &[op, 1, 6, 0]))
}

fn dhcpv6(from: u16, to: u16, message: u8) -> Vec<u8> {
    v6(17, &udp(from, to, &[message, 0, 0, 1]))
}

#[test]
fn guards_are_off_unless_set() {
    for packet in [dhcp(67, 68, 2), dhcpv6(547, 546, 7), v6(58, &[134, 0]), v4(1, 0, &[5, 1])] {
        assert_eq!(verdict(NONE, &packet), None);
    }
    assert!(!PortPolicy::new(Role::Vnic).inspects());
}

#[test]
fn dhcp_servers_messages_are_dropped_and_clients_pass() {
    for (from, to, op) in [(67, 68, 2), (67, 67, 2), (67, 1067, 2), (1067, 67, 2)] {
        assert_eq!(verdict(DHCP, &dhcp(from, to, op)), Some(DropReason::DhcpGuard), "{from} to {to}: {op}");
    }
    for (from, to, op) in [(68, 67, 1), (67, 67, 1), (53, 1068, 2)] {
        assert_eq!(verdict(BOTH, &dhcp(from, to, op)), None, "{from} to {to}: {op}");
    }
}

#[test]
fn what_is_for_a_dhcp_client_is_dropped_whatever_its_source_port_and_kind() {
    for packet in [dhcp(4000, 68, 2), dhcp(67, 68, 1), dhcpv6(4000, 546, 2), dhcpv6(547, 546, 1)] {
        assert_eq!(verdict(DHCP, &packet), Some(DropReason::DhcpGuard));
    }
}

#[test]
fn dhcpv6_servers_messages_are_dropped_and_clients_and_relays_pass() {
    for message in [2, 7, 10, 13] {
        for (from, to) in [(547, 547), (547, 1547), (1547, 547)] {
            assert_eq!(verdict(DHCP, &dhcpv6(from, to, message)), Some(DropReason::DhcpGuard), "{message}");
        }
    }
    for message in [1, 3, 4, 5, 6, 8, 9, 11, 12] {
        assert_eq!(verdict(BOTH, &dhcpv6(546, 547, message)), None, "{message}");
    }
    assert_eq!(verdict(BOTH, &dhcpv6(547, 547, 12)), None, "RELAY-FORW");
}

#[test]
fn router_advertisements_and_redirects_of_both_kinds_are_dropped_and_other_icmp_passes() {
    for packet in [v6(58, &[134, 0]), v6(58, &[137, 0]), v4(1, 0, &[9, 0]), v4(1, 0, &[5, 1])] {
        assert_eq!(verdict(ROUTER, &packet), Some(DropReason::RouterGuard));
    }
    for kind in [1, 2, 3, 4, 128, 129, 130, 131, 132, 133, 135, 136, 143] {
        assert_eq!(verdict(BOTH, &v6(58, &[kind, 0])), None, "ICMPv6 {kind}");
    }
    for kind in [0, 3, 8, 10, 11, 12] {
        assert_eq!(verdict(BOTH, &v4(1, 0, &[kind, 0])), None, "ICMP {kind}");
    }
}

#[test]
fn each_guard_leaves_alone_what_the_other_drops() {
    assert_eq!(verdict(ROUTER, &dhcp(67, 68, 2)), None);
    assert_eq!(verdict(DHCP, &v6(58, &[134, 0])), None);
}

#[test]
fn what_hides_its_cargo_is_dropped_by_each_guard() {
    let tiny_fragment = v6(44, &[58, 0, 0, 1, 0, 0, 0, 7]);
    assert_eq!(verdict(DHCP, &tiny_fragment), Some(DropReason::DhcpGuard));
    assert_eq!(verdict(ROUTER, &tiny_fragment), Some(DropReason::RouterGuard));
    assert_eq!(verdict(BOTH, &tiny_fragment), Some(DropReason::DhcpGuard));
}

#[test]
fn headers_that_are_cut_off_hide_wherever_they_are() {
    for packet in [v4(17, 0, &udp(53, 53, &[])), v6(17, &udp(53, 53, &[])), v6(58, &[128])] {
        assert_eq!(verdict(BOTH, &packet), None, "whole");
        for len in 2..packet.len() {
            assert_eq!(verdict(BOTH, &packet[..len]), Some(DropReason::DhcpGuard), "{len} of {packet:?}");
        }
    }
}

#[test]
fn a_first_fragment_of_a_clients_message_may_be_overlapped_to_a_servers() {
    let request = udp(67, 67, &[1, 1, 6, 0]);
    assert_eq!(verdict(DHCP, &v4(17, 0x2000, &request)), Some(DropReason::DhcpGuard));
    assert_eq!(verdict(ROUTER, &v4(17, 0x2000, &request)), None);
    // The overlapping one alone is nothing.
    assert_eq!(verdict(BOTH, &v4(17, 1, &[2, 1, 6, 0])), None);
}

#[test]
fn an_uplink_has_no_guards() {
    let mut switch = switch(policy(Role::Vnic, NONE), policy(Role::Vnic, NONE), policy(Role::Uplink, BOTH));
    let server = MacAddr([6, 0, 0, 0, 0, 1]);
    for packet in [dhcp(67, 68, 2), v6(58, &[134, 0])] {
        assert_eq!(send(&mut switch, UPLINK, server, &packet), Verdict::Flood(Flood::Group, Vlan::NONE));
    }
}

#[test]
fn what_is_wrong_with_the_source_comes_before_the_guards() {
    let (own, other) = (VM_MAC, MacAddr([2, 0, 0, 0, 0, 2]));
    let vm = PortPolicy { mac: Some(own), ..policy(Role::Vnic, BOTH) };
    let open = PortPolicy { guard: false, ..policy(Role::Vnic, BOTH) };
    let mut switch = switch(vm, open, policy(Role::Uplink, NONE));
    let packet = dhcp(67, 68, 2);
    for (from, src, reason) in [
        (VM, other, DropReason::SpoofedMac),
        (OTHER, own, DropReason::MacPinnedElsewhere),
        (OTHER, MacAddr::default(), DropReason::InvalidSource),
        (OTHER, other, DropReason::DhcpGuard),
    ] {
        assert_eq!(send(&mut switch, from, src, &packet), Verdict::Drop(reason));
    }
    assert_eq!(switch.entries(Millis(0)).filter(|entry| entry.mac == other).count(), 0, "learned from it");
}

#[test]
fn a_guard_that_is_set_applies_from_the_next_batch_on() {
    let mut changing = switch(policy(Role::Vnic, NONE), policy(Role::Vnic, NONE), policy(Role::Uplink, NONE));
    let (packet, mac) = (v6(58, &[134, 0]), MacAddr([2, 0, 0, 0, 0, 9]));
    for (guards, expected) in
        [(NONE, Verdict::Flood(Flood::Group, Vlan::NONE)), (ROUTER, Verdict::Drop(DropReason::RouterGuard))]
    {
        let open = |role, guards| PortPolicy { guard: false, ..policy(role, guards) };
        let ports = vec![(VM, open(Role::Vnic, guards)), (OTHER, open(Role::Vnic, NONE))];
        changing.install(Arc::new(Snapshot::new(ports)), Millis(0));
        assert_eq!(send(&mut changing, VM, mac, &packet), expected);
    }
}
