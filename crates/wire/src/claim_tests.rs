extern crate std;
use super::*;
use std::vec::Vec;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OWN: [u8; 4] = [10, 9, 0, 7];
const TARGET: [u8; 4] = [10, 9, 0, 1];
const OWN6: [u8; 16] = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const TARGET6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn of(packet: &[u8]) -> Claim {
    claim(&[&[0xff; 6][..], &MAC, packet].concat())
}

fn arp(kind: u16, head: [u8; 8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &head, &MAC, &OWN, &[0; 6], &TARGET].concat()
}

const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];

fn v4(protocol: u8, fragment: u16, upper: &[u8]) -> Vec<u8> {
    let fragment = fragment.to_be_bytes();
    let head = [8, 0, 0x45, 0, 0, 99, 0, 7, fragment[0], fragment[1], 64, protocol, 0, 0];
    [&head[..], &OWN, &TARGET, upper].concat()
}

fn v6(next: u8, upper: &[u8]) -> Vec<u8> {
    [&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 99, next, 255][..], &OWN6, &TARGET6, upper].concat()
}

fn nd(kind: u8) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &TARGET6].concat()
}

fn v4_claim(purpose: Purpose) -> Claim {
    Claim::V4 { source: OWN, purpose }
}

fn v6_claim(purpose: Purpose) -> Claim {
    Claim::V6 { source: OWN6, purpose }
}

#[test]
fn arp_and_rarp_name_their_sender_wherever_they_stand() {
    let claimed = |reverse| Claim::Arp { reverse, sender_mac: MacAddr(MAC), sender: OWN, target: TARGET };
    assert_eq!(of(&arp(0x0806, REQUEST)), claimed(false));
    assert_eq!(of(&arp(0x8035, [0, 6, 8, 0, 6, 4, 0, 3])), claimed(true));
    let snap = [0, 36, 0xaa, 0xaa, 3, 0, 0, 0];
    let tags = [0x88, 0xa8, 0, 7, 0x81, 0, 0, 8];
    for before in [&tags[..], &snap, &[&tags[4..], &snap].concat(), &[&snap[..], &tags].concat()] {
        assert_eq!(of(&[before, &arp(0x0806, REQUEST)].concat()), claimed(false), "{before:02x?}");
    }
}

#[test]
fn arp_of_another_form_hides_what_it_says() {
    for head in [
        [0, 1, 8, 0, 6, 16, 0, 1],
        [0, 1, 8, 0, 8, 4, 0, 1],
        [0, 1, 0x86, 0xdd, 6, 4, 0, 1],
        [0, 15, 8, 0, 6, 4, 0, 1],
    ] {
        assert_eq!(of(&arp(0x0806, head)), Claim::Hidden, "{head:?}");
    }
    let whole = arp(0x0806, REQUEST);
    for len in 0..whole.len() {
        assert_eq!(of(&whole[..len]), Claim::Hidden, "{len}");
    }
}

#[test]
fn an_ipv4_packet_claims_its_source_in_every_fragment_and_behind_options() {
    for fragment in [0, 0x4000, 0x2000, 1, 0x1fff] {
        assert_eq!(of(&v4(6, fragment, &[])), v4_claim(Purpose::Other));
    }
    let mut options = v4(17, 0, &[1; 4]);
    options[2] = 0x46;
    options.extend([0, 68, 0, 67, 0, 8, 0, 0]);
    assert_eq!(of(&options), v4_claim(Purpose::DhcpRequest));
}

#[test]
fn what_may_come_from_no_address_is_told_apart_where_it_is_whole() {
    let request = [0, 68, 0, 67, 0, 8, 0, 0];
    for (fragment, purpose) in [
        (0, Purpose::DhcpRequest),
        (0x4000, Purpose::DhcpRequest),
        (0x2000, Purpose::Other),
        (1, Purpose::Other),
    ] {
        assert_eq!(of(&v4(17, fragment, &request)), v4_claim(purpose));
    }
    assert_eq!(of(&v4(17, 0, &[0, 67, 0, 68, 0, 8, 0, 0])), v4_claim(Purpose::Other));
    assert_eq!(of(&v4(17, 0, &request[..7])), v4_claim(Purpose::Other));
    assert_eq!(
        (of(&v4(2, 0, &[])), of(&v4(2, 1, &[]))),
        (v4_claim(Purpose::Membership), v4_claim(Purpose::Other))
    );
    for kind in [131, 132, 143] {
        assert_eq!(
            of(&v6(0, &[&[58, 0, 5, 2, 0, 0, 1, 0], &nd(kind)[..]].concat())),
            v6_claim(Purpose::Membership)
        );
    }
    assert_eq!(of(&v6(58, &nd(133))), v6_claim(Purpose::RouterSolicitation));
}

#[test]
fn an_ipv4_header_that_contradicts_itself_or_is_cut_off_hides_its_source() {
    let whole = v4(6, 0, &[]);
    for first in [0x35, 0x65, 0x44, 0x4f] {
        let mut packet = whole.clone();
        packet[2] = first;
        assert_eq!(of(&packet), Claim::Hidden, "{first:02x}");
    }
    for len in 0..whole.len() {
        assert_eq!(of(&whole[..len]), Claim::Hidden, "{len}");
    }
}

#[test]
fn neighbour_discovery_names_its_target_behind_extensions() {
    let extensions = [[58, 0, 1, 4, 0, 0, 0, 0]];
    for (kind, purpose) in
        [(135, Purpose::NeighbourSolicitation(TARGET6)), (136, Purpose::NeighbourAdvertisement(TARGET6))]
    {
        assert_eq!(of(&v6(58, &nd(kind))), v6_claim(purpose));
        for next in [0, 43, 60] {
            assert_eq!(of(&v6(next, &[&extensions.concat(), &nd(kind)[..]].concat())), v6_claim(purpose));
        }
    }
    for kind in [1, 128, 129, 130, 134, 137, 151] {
        assert_eq!(of(&v6(58, &nd(kind))), v6_claim(Purpose::Other), "{kind}");
    }
}

#[test]
fn neighbour_discovery_in_fragments_is_hidden_and_other_fragments_are_not() {
    let fragment = |offset: u8, kind| v6(44, &[&[58, 0, 0, offset, 0, 0, 0, 7], &nd(kind)[..]].concat());
    for kind in 133..=137 {
        assert_eq!((of(&fragment(1, kind)), of(&fragment(0, kind))), (Claim::Hidden, Claim::Hidden));
    }
    for kind in [128, 143] {
        assert_eq!(of(&fragment(1, kind)), v6_claim(Purpose::Other));
    }
    assert_eq!(of(&fragment(9, 136)), v6_claim(Purpose::Other), "a later one");
    let extension_in_fragment =
        v6(44, &[&[60, 0, 0, 1, 0, 0, 0, 7, 58, 0, 1, 4, 0, 0, 0, 0], &nd(136)[..]].concat());
    assert_eq!(of(&extension_in_fragment), Claim::Hidden);
}

#[test]
fn a_target_that_is_cut_off_is_hidden() {
    let whole = v6(58, &nd(136));
    for len in 0..whole.len() {
        assert_eq!(of(&whole[..len]), Claim::Hidden, "{len}");
    }
    let far = [&v6(60, &[58, 7])[..], &[0; 62], &nd(136)].concat();
    assert_eq!(claim(&[&[0; 12][..], &far].concat()[..128]), Claim::Hidden);
}

#[test]
fn other_frames_claim_nothing() {
    for packet in [&[0x88, 0xcc, 2, 7][..], &[0, 38, 0x42, 0x42, 3], &[0x86, 0xdc], &[0x88, 0xb5]] {
        assert_eq!(of(packet), Claim::Nothing);
    }
}
