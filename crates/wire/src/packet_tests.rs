extern crate std;
use super::*;
use std::{vec, vec::Vec};

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const V4: Addresses = Addresses::V4(0x0a00_0001, 0x0a00_0002);

fn frame(parts: &[&[u8]]) -> Vec<u8> {
    [&[2; 12][..], &parts.concat()].concat()
}

fn v4_packet(protocol: u8, fragment: u16, words: u8, upper: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; usize::from(words) * 4];
    let total = (packet.len() + upper.len()) as u16;
    (packet[0], packet[9]) = (0x40 | words, protocol);
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[4..6].copy_from_slice(&[0, 7]);
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[12..16].copy_from_slice(&A);
    packet[16..20].copy_from_slice(&B);
    [&packet[..], upper].concat()
}

fn v6_packet(next: u8, src: u128, parts: &[&[u8]]) -> Vec<u8> {
    let upper = parts.concat();
    let mut packet = vec![0; V6_HEADER_LEN];
    (packet[0], packet[6]) = (0x60, next);
    packet[4..6].copy_from_slice(&(upper.len() as u16).to_be_bytes());
    packet[8..24].copy_from_slice(&src.to_be_bytes());
    packet[24..40].copy_from_slice(&2u128.to_be_bytes());
    [packet, upper].concat()
}

fn tcp(flags: u8, options: &[u8]) -> Vec<u8> {
    let words = ((TCP_MIN_HEADER_LEN + options.len()) / 4) as u8;
    let fixed = [0, 80, 1, 0, 0, 0, 0, 9, 0, 0, 0, 4, words << 4, flags, 0x10, 0, 0, 0, 0, 0];
    [&fixed[..], options].concat()
}

fn ip(bytes: &[u8]) -> Packet<'_> {
    match read(bytes) {
        Network::Ip(packet) => packet,
        other => panic!("{other:?}"),
    }
}

fn v4_frame(protocol: u8, fragment: u16, words: u8, upper: &[u8]) -> Vec<u8> {
    frame(&[&[8, 0], &v4_packet(protocol, fragment, words, upper)])
}

fn v6_frame(next: u8, parts: &[&[u8]]) -> Vec<u8> {
    frame(&[&[0x86, 0xdd], &v6_packet(next, 1, parts)])
}

#[test]
fn a_segment_is_read_behind_tags_and_ipv4_options() {
    let packet = v4_packet(ip::TCP, 0x4000, 8, &[&tcp(TcpView::SYN, &[1, 3, 3, 7])[..], b"abc"].concat());
    for links in [&[][..], &[0x81, 0, 0, 7], &[0x88, 0xa8, 0, 7, 0x81, 0, 0x0f, 0xff]] {
        let bytes = frame(&[links, &[8, 0], &packet]);
        let found = ip(&bytes);
        let Transport::Tcp(segment) = found.transport else { panic!("{found:?}") };
        assert_eq!((found.addresses, found.part), (V4, Part::Whole));
        assert_eq!((segment.ports, segment.seq, segment.ack, segment.window), ((80, 256), 9, 4, 0x1000));
        assert_eq!((segment.flags, segment.payload, segment.whole), (TcpView::SYN, 3, true));
        assert_eq!(segment.window_scale(), Some(7));
    }
}

#[test]
fn window_scales_are_found_among_options_and_never_above_fourteen() {
    let scale = |options: &[u8]| {
        let bytes = v4_frame(ip::TCP, 0, 5, &tcp(TcpView::SYN, options));
        let Transport::Tcp(segment) = ip(&bytes).transport else { panic!() };
        segment.window_scale()
    };
    assert_eq!(scale(&[2, 4, 5, 180, 4, 2, 1, 3, 3, 9, 0, 0]), Some(9));
    assert_eq!(scale(&[3, 3, 200, 0]), Some(14));
    assert_eq!(scale(&[0, 3, 3, 9]), None);
    assert_eq!(
        scale(&[5, 0, 3, 3]),
        None,
        "a length that is none does not stop the walk, nor does it make one"
    );
    assert_eq!(scale(&[1, 1, 1, 8]), None);
}

#[test]
fn udp_and_icmp_are_read_over_both_versions_and_not_over_the_wrong_one() {
    let udp = [0, 53, 4, 0, 0, 8, 0, 0];
    let echo = [8, 0, 0, 0, 0, 5, 0, 1, 0xaa];
    let echo_over = |version| Transport::Icmp(Icmp { version, kind: 8, code: 0, id: 5, body: &[0xaa] });
    assert_eq!(ip(&v4_frame(ip::UDP, 0, 5, &udp)).transport, Transport::Udp(53, 1024));
    assert_eq!(ip(&v6_frame(ip::UDP, &[&udp])).transport, Transport::Udp(53, 1024));
    assert_eq!(ip(&v4_frame(ip::ICMP, 0, 5, &echo)).transport, echo_over(IpVersion::V4));
    assert_eq!(ip(&v6_frame(ip::ICMPV6, &[&echo])).transport, echo_over(IpVersion::V6));
    assert_eq!(ip(&v6_frame(ip::ICMP, &[&echo])).transport, Transport::Other(ip::ICMP));
    assert_eq!(ip(&v4_frame(ip::ICMPV6, 0, 5, &echo)).transport, Transport::Other(ip::ICMPV6));
    assert_eq!(ip(&v4_frame(47, 0, 5, &[])).transport, Transport::Other(47));
}

#[test]
fn headers_that_are_cut_off_hide_what_they_would_have_told() {
    let whole = v4_frame(ip::TCP, 0, 5, &tcp(TcpView::ACK, &[1, 1, 1, 0]));
    for len in 14..34 {
        let found = ip(&whole[..len]);
        assert_eq!(
            (found.addresses, found.transport),
            (Addresses::Hidden(IpVersion::V4), Transport::Hidden(None))
        );
    }
    for len in 34..54 {
        let found = ip(&whole[..len]);
        assert_eq!((found.addresses, found.transport), (V4, Transport::Hidden(Some(ip::TCP))), "{len}");
    }
    let Transport::Tcp(segment) = ip(&whole[..55]).transport else { panic!() };
    assert!(!segment.whole, "its options are cut off");
    assert_eq!(read(&whole[..13]), Network::Hidden);
}

#[test]
fn extension_chains_are_walked_and_what_lies_beyond_the_bytes_is_hidden() {
    let udp = [0, 53, 4, 0, 0, 8, 0, 0];
    let chain = [[60, 0, 1, 4, 0, 0, 0, 0], [43, 0, 1, 4, 0, 0, 0, 0], [17, 0, 1, 4, 0, 0, 0, 0]].concat();
    let bytes = v6_frame(HOP_BY_HOP, &[&chain, &udp]);
    assert_eq!(ip(&bytes).transport, Transport::Udp(53, 1024));
    let long = v6_frame(HOP_BY_HOP, &[&[17, 200, 1, 4, 0, 0, 0, 0], &udp]);
    let found = ip(&long);
    assert_eq!((found.addresses, found.transport), (Addresses::V6(1, 2), Transport::Hidden(None)));
}

#[test]
fn the_payload_of_a_segment_does_not_count_extensions() {
    let extension = [ip::TCP, 0, 1, 4, 0, 0, 0, 0];
    let bytes = v6_frame(DESTINATION, &[&extension, &tcp(TcpView::ACK, &[]), b"hello"]);
    let Transport::Tcp(segment) = ip(&bytes).transport else { panic!() };
    assert_eq!(segment.payload, 5);
}

#[test]
fn first_fragments_tell_their_ports_and_later_ones_only_what_their_header_says() {
    let udp = [0, 53, 4, 0, 0, 99, 0, 0, 1];
    let first = v4_frame(ip::UDP, 0x2000, 5, &udp);
    assert_eq!((ip(&first).part, ip(&first).transport), (Part::First { id: 7 }, Transport::Udp(53, 1024)));
    let later = v4_frame(ip::UDP, 0x2001, 5, &udp);
    let expected = (Part::Later { id: 7, offset: 8 }, Transport::Hidden(Some(ip::UDP)));
    assert_eq!((ip(&later).part, ip(&later).transport), expected);
    let header = |next: u8, low: u8| [next, 0, 0, low, 0, 0, 0, 9];
    let first = v6_frame(FRAGMENT, &[&header(ip::UDP, 1), &udp]);
    assert_eq!((ip(&first).part, ip(&first).transport), (Part::First { id: 9 }, Transport::Udp(53, 1024)));
    let later = v6_frame(FRAGMENT, &[&header(ip::UDP, 16), &udp]);
    let expected = (Part::Later { id: 9, offset: 16 }, Transport::Hidden(None));
    assert_eq!((ip(&later).part, ip(&later).transport), expected, "its next header is not believed");
    let evading = v6_frame(FRAGMENT, &[&header(DESTINATION, 1), &[ip::UDP, 0, 1, 4, 0, 0, 0, 0], &udp]);
    assert_eq!(ip(&evading).transport, Transport::Hidden(None));
}

#[test]
fn ipv4_mapped_addresses_are_hidden() {
    let mapped = u128::from_be_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]);
    let bytes = frame(&[&[0x86, 0xdd], &v6_packet(59, mapped, &[])]);
    assert_eq!(ip(&bytes).addresses, Addresses::Hidden(IpVersion::V6));
}

#[test]
fn arp_is_arp_also_in_snap_and_other_types_are_others() {
    assert_eq!(read(&frame(&[&[8, 6, 0, 1]])), Network::Arp);
    assert_eq!(read(&frame(&[&[0, 40, 0xaa, 0xaa, 3, 0, 0, 0, 8, 6, 0, 1]])), Network::Arp);
    assert_eq!(read(&frame(&[&[0, 40, 0x42, 0x42, 3]])), Network::Other);
    assert_eq!(read(&frame(&[&[0x88, 0xcc, 1]])), Network::Other);
}

#[test]
fn an_icmp_error_quotes_addresses_ports_and_a_number() {
    let inner = v4_packet(ip::TCP, 0, 5, &tcp(0, &[])[..8]);
    let found = quoted(IpVersion::V4, &inner).unwrap();
    assert_eq!((found.0, found.1, found.2.words, found.2.number), (V4, ip::TCP, (80, 256), 9));
    assert_eq!(quoted(IpVersion::V4, &inner[..27]), None);
    let inner = v6_packet(ip::UDP, 1, &[&[0, 53, 4, 0, 0, 8, 0, 0]]);
    let found = quoted(IpVersion::V6, &inner).unwrap();
    assert_eq!((found.0, found.1, found.2.words), (Addresses::V6(1, 2), ip::UDP, (53, 1024)));
}
