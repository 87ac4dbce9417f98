//! Segmentation, judged by another implementation of the protocols (etherparse), and what it refuses.

mod common;

use common::{Ip, Spec, Transport, noise, segments, tcp_v4, tcp_v6, udp_v4, udp_v6};
use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice, UdpSlice};
use proptest::{collection::vec, prelude::*};
use wire::{SegmentError, Segments, VnetHdr, segment::largest_segment_len};

fn tag() -> impl Strategy<Value = (u16, u16)> {
    (prop_oneof![Just(0x8100), Just(0x88a8)], any::<u16>())
}

fn ip() -> impl Strategy<Value = Ip> {
    prop_oneof![
        (any::<u16>(), 0usize..=10).prop_map(|(id, words)| Ip::V4 { id, options: vec![1; words * 4] }),
        // Hop-by-hop options come first and once (RFC 8200 section 4.1).
        (any::<bool>(), vec(prop_oneof![Just(43u8), Just(60)], 0..=4)).prop_map(
            |(hop_by_hop, mut extensions)| {
                if hop_by_hop {
                    extensions.insert(0, 0);
                }
                Ip::V6 { extensions }
            }
        ),
    ]
}

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![
        (any::<u32>(), any::<u8>(), 0usize..=10).prop_map(|(seq, flags, words)| Transport::Tcp {
            seq,
            flags,
            options: vec![1; words * 4]
        }),
        Just(Transport::Udp),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    (vec(tag(), 0..=2), ip(), transport(), vec(any::<u8>(), 0..5000))
        .prop_map(|(tags, ip, transport, payload)| Spec { tags, ip, transport, payload })
}

/// Checks one segment's lengths and checksums; returns its transport header.
fn check_segment(segment: &[u8]) -> TransportSlice<'_> {
    let packet = SlicedPacket::from_ethernet(segment).expect("a whole packet");
    let transport = packet.transport.expect("a transport header");
    match packet.net.expect("an IP header") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            assert_eq!(usize::from(header.total_len()), segment.len() - network(segment));
            check_v4(&transport, header.source(), header.destination());
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            assert_eq!(usize::from(header.payload_length()), segment.len() - network(segment) - 40);
            check_v6(&transport, header.source(), header.destination());
        }
        NetSlice::Arp(_) => panic!("a segment became ARP"),
    }
    transport
}

fn network(frame: &[u8]) -> usize {
    let tagged = |at: usize| matches!(frame[at..at + 2], [0x81, 0] | [0x88, 0xa8]);
    14 + if tagged(12) { if tagged(16) { 8 } else { 4 } } else { 0 }
}

fn check_v4(transport: &TransportSlice<'_>, src: [u8; 4], dst: [u8; 4]) {
    let (found, expected) = match transport {
        TransportSlice::Tcp(tcp) => (tcp.checksum(), tcp.calc_checksum_ipv4(src, dst).unwrap()),
        TransportSlice::Udp(udp) => {
            (udp.checksum(), udp.to_header().calc_checksum_ipv4_raw(src, dst, udp.payload()).unwrap())
        }
        _ => panic!("another protocol"),
    };
    assert_eq!(found, expected);
}

fn check_v6(transport: &TransportSlice<'_>, src: [u8; 16], dst: [u8; 16]) {
    let (found, expected) = match transport {
        TransportSlice::Tcp(tcp) => (tcp.checksum(), tcp.calc_checksum_ipv6(src, dst).unwrap()),
        TransportSlice::Udp(udp) => {
            (udp.checksum(), udp.to_header().calc_checksum_ipv6_raw(src, dst, udp.payload()).unwrap())
        }
        _ => panic!("another protocol"),
    };
    assert_eq!(found, expected);
}

fn check_tcp(tcp: &TcpSlice<'_>, spec: &Spec, index: usize, count: usize, offset: usize) {
    let Transport::Tcp { seq, flags, .. } = spec.transport else { panic!("TCP from UDP") };
    assert_eq!(tcp.sequence_number(), seq.wrapping_add(offset as u32));
    let (first, last) = (index == 0, index + 1 == count);
    assert_eq!(tcp.fin(), last && flags & 0x01 != 0);
    assert_eq!(tcp.psh(), last && flags & 0x08 != 0);
    assert_eq!(tcp.cwr(), first && flags & 0x80 != 0);
    assert_eq!(tcp.slice()[13] & 0x76, flags & 0x76);
}

fn check_udp(udp: &UdpSlice<'_>) {
    assert_eq!(usize::from(udp.length()), 8 + udp.payload().len());
    assert_ne!(udp.checksum(), 0);
}

/// Checks the whole of what a frame becomes.
fn check_all(spec: &Spec, frame: &[u8], hdr: &VnetHdr) {
    let all = segments(frame, hdr);
    let gso_size = usize::from(hdr.gso_size);
    let mut payload = Vec::<u8>::new();
    for (index, segment) in all.iter().enumerate() {
        match check_segment(segment) {
            TransportSlice::Tcp(tcp) => check_tcp(&tcp, spec, index, all.len(), payload.len()),
            TransportSlice::Udp(udp) => check_udp(&udp),
            _ => panic!("another protocol"),
        }
        if let Ip::V4 { id, .. } = spec.ip {
            let at = spec.network() + 4;
            assert_eq!(segment[at..at + 2], id.wrapping_add(index as u16).to_be_bytes());
        }
        let piece = &segment[spec.header_len()..];
        assert!(index + 1 == all.len() || piece.len() == gso_size);
        payload.extend(piece);
    }
    assert_eq!(payload, spec.payload);
    assert_eq!(all.len(), spec.payload.len().div_ceil(gso_size).max(1));
    let largest = all.iter().map(Vec::len).max();
    assert_eq!(Some(largest_segment_len(&frame[..spec.header_len()], frame.len(), hdr)), largest);
}

proptest! {
    #[test]
    fn segments_carry_the_same_data_in_valid_packets(spec in spec(), gso_size in 3u16..2000) {
        let frame = spec.frame();
        let hdr = spec.gso_hdr(gso_size);
        check_all(&spec, &frame, &hdr);
        // Without a partial checksum the addresses give the pseudo header.
        check_all(&spec, &frame, &VnetHdr { flags: 0, csum_start: 0, csum_offset: 0, ..hdr });
    }

    #[test]
    fn a_completed_checksum_verifies(spec in spec()) {
        let mut frame = spec.frame();
        let hdr = spec.checksum_hdr();
        wire::checksum::complete(&mut frame, hdr.csum_start, hdr.csum_offset).unwrap();
        let at = usize::from(hdr.csum_start + hdr.csum_offset);
        // Linux writes all ones for zero whatever the protocol; to etherparse TCP's zero is zero.
        if frame[at..at + 2] == [0xff, 0xff] && spec.protocol() == 6 {
            frame[at..at + 2].fill(0);
        }
        check_segment(&frame);
    }

    #[test]
    fn the_transport_is_found_where_the_frame_was_given_it(spec in spec()) {
        let frame = spec.frame();
        let layers = wire::transport::locate(&frame[..spec.csum_start()]).unwrap();
        prop_assert_eq!((layers.network, layers.transport), (spec.network(), spec.csum_start()));
        prop_assert_eq!((layers.protocol, layers.end), (spec.protocol(), frame.len()));
    }
}

#[test]
fn sixty_four_kilobytes_are_cut_whole() {
    for spec in [tcp_v4(65_483), tcp_v6(65_503), udp_v4(65_507), udp_v6(65_527)] {
        check_all(&spec, &spec.frame(), &spec.gso_hdr(1448));
    }
}

fn refusal(spec: &Spec, change: impl FnOnce(&mut Vec<u8>, &mut VnetHdr)) -> SegmentError {
    let (mut frame, mut hdr) = (spec.frame(), spec.gso_hdr(1000));
    change(&mut frame, &mut hdr);
    Segments::new(&frame, &hdr).expect_err("a hostile frame was accepted")
}

#[test]
fn offload_headers_that_do_not_fit_are_refused() {
    let tcp = tcp_v4(3000);
    for gso_type in [0, 2, 3, 0x80, 0xff] {
        assert_eq!(refusal(&tcp, |_, hdr| hdr.gso_type = gso_type), SegmentError::UnknownKind(gso_type));
    }
    assert_eq!(refusal(&tcp, |_, hdr| hdr.gso_size = 0), SegmentError::ZeroSize);
    assert_eq!(refusal(&tcp, |_, hdr| hdr.gso_size = 1), SegmentError::TooManySegments);
    for gso_type in [4, 5] {
        assert_eq!(refusal(&tcp, |_, hdr| hdr.gso_type = gso_type), SegmentError::WrongProtocol);
    }
    for gso_type in [1, 4] {
        assert_eq!(refusal(&udp_v6(3000), |_, hdr| hdr.gso_type = gso_type), SegmentError::WrongProtocol);
    }
    for start in [0, 33, 35, 0xffff] {
        assert_eq!(refusal(&tcp, |_, hdr| hdr.csum_start = start), SegmentError::ChecksumElsewhere);
    }
    for offset in [0, 6, 17, 0xffff] {
        assert_eq!(refusal(&tcp, |_, hdr| hdr.csum_offset = offset), SegmentError::ChecksumElsewhere);
    }
}

#[test]
fn lengths_that_are_not_the_frames_are_refused() {
    for spec in [tcp_v4(3000), tcp_v6(3000), udp_v4(3000), udp_v6(3000)] {
        assert_eq!(refusal(&spec, |frame, _| frame.push(0)), SegmentError::InconsistentLen);
        assert_eq!(refusal(&spec, |frame, _| frame.truncate(1500)), SegmentError::InconsistentLen);
        for len in 14..spec.header_len() {
            let error = refusal(&spec, |frame, _| frame.truncate(len));
            assert!(
                matches!(error, SegmentError::Headers(_) | SegmentError::HeaderLen),
                "{len} bytes: {error}"
            );
        }
    }
    let udp_len = udp_v4(0).csum_start() + 5;
    assert_eq!(refusal(&udp_v4(3000), |frame, _| frame[udp_len] ^= 1), SegmentError::InconsistentLen);
}

#[test]
fn headers_that_end_nowhere_are_refused() {
    let tcp = tcp_v4(3000);
    assert_eq!(refusal(&tcp, |frame, _| frame[34 + 12] = 0x40), SegmentError::HeaderLen);
    let mut far = tcp_v6(3000);
    far.ip = Ip::V6 { extensions: vec![60] };
    // A whole extension of 256 bytes: the transport header is there, but too far back.
    let mut long = far.frame();
    long.splice(62..62, noise(248));
    long[14 + 41] = 31;
    let payload_len = (long.len() - 54) as u16;
    long[18..20].copy_from_slice(&payload_len.to_be_bytes());
    let hdr = VnetHdr { csum_start: 310, ..far.gso_hdr(1000) };
    assert_eq!(Segments::new(&long, &hdr).unwrap_err(), SegmentError::HeaderLen);
}

#[test]
fn fragments_are_refused() {
    assert_eq!(refusal(&tcp_v4(3000), |frame, _| frame[20] |= 0x20), SegmentError::Fragment);
    assert_eq!(refusal(&tcp_v4(3000), |frame, _| frame[21] = 1), SegmentError::Fragment);
    let mut v6 = udp_v6(3000);
    v6.ip = Ip::V6 { extensions: vec![44] };
    assert_eq!(refusal(&v6, |_, _| ()), SegmentError::Fragment);
}

#[test]
fn a_header_buffer_is_filled_only_with_the_headers_it_is_told_of() {
    let spec = tcp_v4(2500);
    let (frame, hdr) = (spec.frame(), spec.gso_hdr(1000));
    let mut segments = Segments::new(&frame, &hdr).unwrap();
    let mut buffer = [0xee; wire::segment::MAX_HEADER_LEN];
    let mut counts = vec![segments.segment_count()];
    let mut ranges = Vec::new();
    while let Some(segment) = segments.next_into(&mut buffer) {
        assert_eq!(segment.header_len, segments.header_len());
        ranges.push(segment.payload);
        counts.push(segments.segment_count());
    }
    assert_eq!(counts, [3, 2, 1, 0]);
    assert_eq!(ranges, [66..1066, 1066..2066, 2066..2566]);
    assert_eq!(segments.next_into(&mut buffer), None);
}

#[test]
fn the_largest_segment_is_known_without_cutting() {
    let spec = tcp_v4(3000);
    let (frame, hdr) = (spec.frame(), spec.gso_hdr(1448));
    assert_eq!(largest_segment_len(&frame[..66], frame.len(), &hdr), 66 + 1448);
    assert_eq!(largest_segment_len(&frame[..66], 1000, &hdr), 1000);
    assert_eq!(largest_segment_len(&frame[..40], frame.len(), &hdr), 34 + 60 + 1448);
    assert_eq!(largest_segment_len(&frame[..66], frame.len(), &spec.checksum_hdr()), frame.len());
    let unmarked = VnetHdr { flags: 0, csum_start: 0, ..hdr };
    assert_eq!(largest_segment_len(&frame[..66], frame.len(), &unmarked), 66 + 1448);
    let hostile = VnetHdr { csum_start: u16::MAX, gso_size: u16::MAX, ..hdr };
    assert_eq!(largest_segment_len(&frame, frame.len(), &hostile), frame.len());
}
