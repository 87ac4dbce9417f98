extern crate std;
use super::*;
use std::{vec, vec::Vec};

const ECHO: u8 = 128;
const ADVERTISEMENT: u8 = 134;
const ROUTER: Cargo = Cargo::Icmp { version: IpVersion::V6, kind: ADVERTISEMENT };

/// A frame: addresses, then these parts.
fn frame(parts: &[&[u8]]) -> Vec<u8> {
    [&[2; 12][..], &parts.concat()].concat()
}

/// IPv6 with this first next header and what follows.
fn v6(next: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![0; V6_HEADER_LEN];
    (packet[0], packet[6]) = (0x60, next);
    [packet, parts.concat()].concat()
}

/// IPv4 with this protocol and fragment field, a header of `words` and what follows.
fn v4(words: u8, protocol: u8, fragment: u16, parts: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![0; usize::from(words) * 4];
    (packet[0], packet[9]) = (0x40 | words, protocol);
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    [packet, parts.concat()].concat()
}

fn carried_by_v6(next: u8, parts: &[&[u8]]) -> Cargo {
    inspect(&frame(&[&[0x86, 0xdd], &v6(next, parts)]))
}

fn carried_by_v4(packet: &[u8]) -> Cargo {
    inspect(&frame(&[&[8, 0], packet]))
}

const fn icmp(kind: u8) -> [u8; 8] {
    [kind, 0, 0, 0, 0, 0, 0, 0]
}

/// An extension header of eight bytes.
const fn extension(next: u8) -> [u8; 8] {
    [next, 0, 1, 4, 0, 0, 0, 0]
}

const fn fragment(next: u8, offset: u16, more: bool) -> [u8; 8] {
    let [high, low] = (offset << 3 | more as u16).to_be_bytes();
    [next, 0, high, low, 0, 0, 0, 7]
}

const UDP_HEADER: [u8; 9] = [0, 67, 0, 68, 0, 9, 0, 0, 2];

const fn udp(version: IpVersion, message: Option<u8>) -> Cargo {
    Cargo::Udp { version, ports: (67, 68), message }
}

#[test]
fn tags_of_any_kind_and_number_are_looked_behind() {
    let packet = [&[0x86, 0xdd][..], &v6(ip::ICMPV6, &[&icmp(ADVERTISEMENT)])].concat();
    let tags = [[0x81, 0, 0, 0], [0x88, 0xa8, 0, 7], [0x91, 0, 0xe0, 0], [0x81, 0, 0x0f, 0xff]];
    for count in 0..=tags.len() {
        assert_eq!(inspect(&frame(&[tags[..count].as_flattened(), &packet])), ROUTER, "{count} tags");
    }
    let many = [[0x81, 0, 0, 0]; 26];
    let head = &frame(&[many.as_flattened(), &packet])[..128];
    assert_eq!(inspect(head), Cargo::Hidden);
}

#[test]
fn ip_in_llc_snap_is_found_whatever_the_length_field_says() {
    let packet = v6(ip::ICMPV6, &[&icmp(ADVERTISEMENT)]);
    for (length, oui) in [([0, 56], [0, 0, 0]), ([0, 0], [0, 0, 0xf8]), ([5, 0xff], [0, 0, 0])] {
        let snap = [&length[..], &[0xaa, 0xaa, 3], &oui].concat();
        assert_eq!(inspect(&frame(&[&snap, &[0x86, 0xdd], &packet])), ROUTER, "{snap:?}");
        let tag = [0x81, 0, 0, 0];
        assert_eq!(inspect(&frame(&[&tag, &snap, &tag, &[0x86, 0xdd], &packet])), ROUTER, "tags around SNAP");
        assert_eq!(inspect(&frame(&[&snap, &snap[2..4]])), Cargo::Other);
    }
}

#[test]
fn what_is_no_ip_is_something_else() {
    let cisco = [0, 20, 0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0, 1, 2];
    let spanning_tree = [0, 38, 0x42, 0x42, 3, 0, 0];
    for parts in [&[0x08, 0x06, 0, 1][..], &[0x88, 0x47, 0x86, 0xdd], &cisco, &spanning_tree] {
        assert_eq!(inspect(&frame(&[parts])), Cargo::Other, "{parts:?}");
    }
}

#[test]
fn the_transport_is_found_behind_ipv4_options() {
    for words in 5..=15 {
        let packet = v4(words, ip::UDP, 0, &[&UDP_HEADER]);
        assert_eq!(carried_by_v4(&packet), udp(IpVersion::V4, Some(2)), "{words} words");
        let short = &packet[..packet.len() - 2];
        assert_eq!(carried_by_v4(short), Cargo::Hidden, "{words} words, cut");
    }
    let redirect = v4(6, ip::ICMP, 0x4000, &[&icmp(5)]);
    assert_eq!(carried_by_v4(&redirect), Cargo::Icmp { version: IpVersion::V4, kind: 5 });
}

#[test]
fn an_ipv4_header_that_contradicts_itself_hides() {
    for first in [0x44, 0x65, 0x4f, 0] {
        let mut packet = v4(5, ip::UDP, 0, &[&UDP_HEADER]);
        packet[0] = first;
        assert_eq!(carried_by_v4(&packet), Cargo::Hidden, "{first:#x}");
    }
}

#[test]
fn in_a_first_fragment_only_what_cannot_be_overlapped_counts() {
    let first = v4(5, ip::UDP, 0x2000, &[&UDP_HEADER]);
    assert_eq!(carried_by_v4(&first), udp(IpVersion::V4, None));
    let first = [&fragment(ip::UDP, 0, true)[..], &UDP_HEADER].concat();
    assert_eq!(carried_by_v6(FRAGMENT, &[&first]), udp(IpVersion::V6, None));
    for more in [true, false] {
        let direct = [fragment(ip::ICMPV6, 0, more), icmp(ADVERTISEMENT)];
        assert_eq!(carried_by_v6(FRAGMENT, &[direct.as_flattened()]), ROUTER);
        for next in [HOP_BY_HOP, ROUTING, DESTINATION] {
            let chain = [fragment(next, 0, more), extension(ip::ICMPV6), icmp(ECHO)];
            assert_eq!(carried_by_v6(FRAGMENT, &[chain.as_flattened()]), Cargo::Hidden, "{next}");
        }
        let nested = [fragment(FRAGMENT, 0, more), fragment(ip::ICMPV6, 1, false), icmp(ECHO)];
        assert_eq!(carried_by_v6(FRAGMENT, &[nested.as_flattened()]), Cargo::Hidden);
    }
}

#[test]
fn a_first_fragment_without_its_transport_header_hides() {
    for bytes in 0..8 {
        let first = v4(5, ip::UDP, 0x2000, &[&UDP_HEADER[..bytes]]);
        assert_eq!(carried_by_v4(&first), Cargo::Hidden, "{bytes} bytes");
        let first = [&fragment(ip::UDP, 0, true)[..], &UDP_HEADER[..bytes]].concat();
        assert_eq!(carried_by_v6(FRAGMENT, &[&first]), Cargo::Hidden, "{bytes} bytes");
    }
    assert_eq!(carried_by_v6(FRAGMENT, &[&fragment(ip::ICMPV6, 0, true)]), Cargo::Hidden);
    assert_eq!(carried_by_v6(DESTINATION, &[&extension(FRAGMENT)]), Cargo::Hidden);
}

#[test]
fn a_later_fragment_is_something_else() {
    for word in [1, 0x2001, 0x1fff] {
        assert_eq!(carried_by_v4(&v4(5, ip::UDP, word, &[&UDP_HEADER])), Cargo::Other);
    }
    for offset in [1, 0x1fff] {
        let later = [fragment(ip::ICMPV6, offset, false), icmp(ADVERTISEMENT)];
        assert_eq!(carried_by_v6(FRAGMENT, &[later.as_flattened()]), Cargo::Other);
        assert_eq!(carried_by_v6(DESTINATION, &[&extension(FRAGMENT), later.as_flattened()]), Cargo::Other);
    }
}

#[test]
fn chains_of_ipv6_extensions_are_walked_as_far_as_bytes_are_at_hand() {
    for count in 1..=8 {
        let mut chain = vec![extension(DESTINATION); count];
        chain[count - 1][0] = ip::ICMPV6;
        for first in [HOP_BY_HOP, ROUTING, DESTINATION] {
            let bytes = [chain.as_flattened(), &icmp(ADVERTISEMENT)].concat();
            let whole = frame(&[&[0x86, 0xdd], &v6(first, &[&bytes])]);
            let head = &whole[..whole.len().min(128)];
            assert_eq!(inspect(head), ROUTER, "{count} of {first}");
        }
    }
    let mut long = [0; 256];
    (long[0], long[1]) = (ip::ICMPV6, 31);
    let whole = frame(&[&[0x86, 0xdd], &v6(DESTINATION, &[&long, &icmp(ADVERTISEMENT)])]);
    assert_eq!((inspect(&whole), inspect(&whole[..128])), (ROUTER, Cargo::Hidden));
}

#[test]
fn lengths_that_the_frame_states_are_not_believed() {
    // A jumbogram (RFC 2675): no payload length, and a hop-by-hop option instead.
    let jumbo = [ip::ICMPV6, 0, 0xc2, 4, 0, 1, 0, 0];
    assert_eq!(carried_by_v6(HOP_BY_HOP, &[&jumbo, &icmp(ADVERTISEMENT)]), ROUTER);
    let mut packet = v4(5, ip::UDP, 0, &[&UDP_HEADER]);
    packet[2..4].copy_from_slice(&20u16.to_be_bytes());
    assert_eq!(carried_by_v4(&packet), udp(IpVersion::V4, Some(2)));
}

#[test]
fn protocols_that_end_the_chain_are_something_else() {
    // No next header, IPv6 in IPv6, GRE, ESP, AH, UDP-Lite, ICMP of the other IP.
    for protocol in [59, 41, 47, 50, 51, 136, ip::ICMP] {
        assert_eq!(carried_by_v6(protocol, &[&icmp(ADVERTISEMENT)]), Cargo::Other, "{protocol}");
    }
    for protocol in [4, 41, 50, 51, 136, ip::ICMPV6] {
        assert_eq!(carried_by_v4(&v4(5, protocol, 0, &[&icmp(5)])), Cargo::Other, "{protocol}");
    }
}
