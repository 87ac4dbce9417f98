extern crate std;
use super::*;
use alloc::{vec, vec::Vec};

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OTHER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const OWN: [u8; 4] = [10, 9, 0, 7];
const OTHER: [u8; 4] = [10, 9, 0, 1];
const OWN6: [u8; 16] = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const OTHER6: [u8; 16] = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Follows from `MAC`.
const OWN_LINK_LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 1];
const ROUTER: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const NONE: [u8; 4] = [0; 4];
const NONE6: [u8; 16] = [0; 16];

fn own(listed: &[&str]) -> OwnAddresses {
    let listed: Vec<_> = listed.iter().map(|text| text.parse().unwrap()).collect();
    OwnAddresses::new(&listed, vec![MAC])
}

/// Whether a guard with the two own addresses lets the packet in.
fn allows(packet: &[u8]) -> bool {
    allows_with(&own(&["10.9.0.7", "fd00:9::7"]), packet)
}

fn allows_with(own: &OwnAddresses, packet: &[u8]) -> bool {
    let frame = [&[0xff; 6][..], &MAC.0, packet].concat();
    let known = Known { own, leases: None, now: Millis(0) };
    let header = &frame[..frame.len().min(128)];
    let allowed = known.allow(header);
    assert_eq!(allowed, known.look_into(header), "the short way gives the same answer");
    allowed
}

fn v4(source: [u8; 4], protocol: u8, upper: &[u8]) -> Vec<u8> {
    [&[8, 0, 0x45, 0, 0, 99, 0, 7, 0, 0, 64, protocol, 0, 0][..], &source, &OTHER, upper].concat()
}

fn v6(source: [u8; 16], next: u8, upper: &[u8]) -> Vec<u8> {
    [&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 99, next, 255][..], &source, &OTHER6, upper].concat()
}

fn nd(source: [u8; 16], kind: u8, target: [u8; 16]) -> Vec<u8> {
    v6(source, 58, &[&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target].concat())
}

fn arp(kind: u16, mac: MacAddr, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &[0, 1, 8, 0, 6, 4, 0, 2], &mac.0, &sender, &[0; 6], &target].concat()
}

#[test]
fn an_ip_source_has_to_be_own() {
    for protocol in [1, 2, 6, 17, 50] {
        assert!(allows(&v4(OWN, protocol, &[])) && !allows(&v4(OTHER, protocol, &[])));
        assert!(allows(&v6(OWN6, protocol, &[0; 8])) && !allows(&v6(OTHER6, protocol, &[0; 8])));
        assert!(allows(&v6(OWN_LINK_LOCAL, protocol, &[0; 8])) && !allows(&v6(ROUTER, protocol, &[0; 8])));
    }
}

#[test]
fn a_group_and_a_mapped_address_are_nobodys_source() {
    let everything = own(&["0.0.0.0/0", "::/0"]);
    assert!(allows_with(&everything, &v4(OTHER, 6, &[])) && allows_with(&everything, &v6(ROUTER, 6, &[])));
    for source in [[224, 0, 0, 1], [239, 255, 255, 255], [255; 4], NONE] {
        assert!(!allows_with(&everything, &v4(source, 6, &[])), "{source:?}");
    }
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert!(!allows_with(&everything, &v6(group, 6, &[])) && !allows_with(&everything, &v6(NONE6, 6, &[])));
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, OWN[0], OWN[1], OWN[2], OWN[3]];
    assert!(!allows(&v6(mapped, 17, &[0; 8])));
}

#[test]
fn from_no_address_comes_only_what_has_to() {
    assert!(allows(&v4(NONE, 17, &[0, 68, 0, 67, 0, 8, 0, 0])) && allows(&v4(NONE, 2, &[0x16, 0])));
    for packet in [
        v4(NONE, 17, &[0, 67, 0, 68, 0, 8, 0, 0]),
        v4(NONE, 17, &[0, 68, 0, 53, 0, 8, 0, 0]),
        v4(NONE, 1, &[8, 0]),
    ] {
        assert!(!allows(&packet), "{packet:?}");
    }
    for kind in [131, 132, 143, 133] {
        assert!(allows(&v6(NONE6, 58, &[kind, 0])), "{kind}");
    }
    for kind in [128, 129, 130, 134, 137] {
        assert!(!allows(&v6(NONE6, 58, &[kind, 0])), "{kind}");
    }
    assert!(!allows(&v6(NONE6, 17, &[2, 34, 2, 35, 0, 8, 0, 0])), "DHCPv6 has an address of the link");
}

#[test]
fn the_sender_of_arp_has_to_be_own_in_requests_answers_and_announcements() {
    for target in [OTHER, OWN, NONE] {
        assert!(allows(&arp(0x0806, MAC, OWN, target)) && !allows(&arp(0x0806, MAC, OTHER, target)));
    }
    assert!(!allows(&arp(0x0806, OTHER_MAC, OWN, OTHER)), "another's hardware address");
}

#[test]
fn a_probe_asks_for_own_addresses_only() {
    assert!(allows(&arp(0x0806, MAC, NONE, OWN)) && !allows(&arp(0x0806, MAC, NONE, OTHER)));
    assert!(!allows(&arp(0x0806, MAC, NONE, NONE)));
}

#[test]
fn in_rarp_addresses_are_own_or_none() {
    for (sender, target, passes) in
        [(NONE, NONE, true), (OWN, NONE, true), (NONE, OWN, true), (OTHER, NONE, false), (OWN, OTHER, false)]
    {
        assert_eq!(allows(&arp(0x8035, MAC, sender, target)), passes, "{sender:?} {target:?}");
    }
}

#[test]
fn a_neighbour_is_advertised_and_probed_for_by_who_owns_it_and_asked_for_by_anybody() {
    for own in [OWN6, OWN_LINK_LOCAL] {
        assert!(allows(&nd(OWN6, 136, own)) && allows(&nd(NONE6, 135, own)) && allows(&nd(own, 135, ROUTER)));
        assert!(
            !allows(&nd(own, 136, ROUTER)) && !allows(&nd(own, 136, OTHER6)) && !allows(&nd(NONE6, 136, own))
        );
    }
    for other in [OTHER6, ROUTER] {
        assert!(
            !allows(&nd(NONE6, 135, other))
                && !allows(&nd(other, 135, OWN6))
                && !allows(&nd(other, 136, OWN6))
        );
        assert!(
            !allows(&nd(other, 133, OWN6))
                && !allows(&nd(other, 134, OWN6))
                && !allows(&nd(other, 137, OWN6))
        );
    }
}

#[test]
fn what_hides_its_claim_does_not_pass_and_what_makes_none_does() {
    for packet in [
        &v4(OWN, 6, &[])[..21],
        &arp(0x0806, MAC, OWN, OTHER)[..29],
        &nd(OWN6, 136, OWN6)[..60],
        &v6(OWN6, 60, &[58]),
    ] {
        assert!(!allows(packet), "{packet:02x?}");
    }
    for packet in [&[0x88, 0xcc, 2, 7][..], &[0, 38, 0x42, 0x42, 3], &[0x88, 0x47, 0, 1]] {
        assert!(allows(packet), "{packet:02x?}");
    }
}

#[test]
fn prefixes_are_own_as_a_whole() {
    let own = own(&["10.9.0.0/24", "fe80::/10"]);
    assert!(allows_with(&own, &v4(OTHER, 6, &[])) && !allows_with(&own, &v4([10, 9, 1, 1], 6, &[])));
    assert!(allows_with(&own, &nd(ROUTER, 136, ROUTER)) && !allows_with(&own, &v6(OWN6, 6, &[])));
}

#[test]
fn without_a_list_the_link_local_address_of_each_mac_is_own() {
    let own = OwnAddresses::new(&[], vec![MAC, OTHER_MAC]);
    let mut other = OWN_LINK_LOCAL;
    other[15] = 9;
    assert!(allows_with(&own, &nd(other, 136, OWN_LINK_LOCAL)) && !allows_with(&own, &v4(OWN, 6, &[])));
}
