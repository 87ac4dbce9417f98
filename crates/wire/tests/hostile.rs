//! Whatever bytes come in through whichever door: a result, never a panic.

mod common;

use common::{tcp_v4, tcp_v6, udp_v4, udp_v6};
use proptest::{collection::vec, prelude::*};
use wire::{
    Cargo, EthernetHeader, Fragment, Ipv4View, Ipv6View, MacAddr, Segments, TcpView, UdpView, VnetHdr,
    checksum, ethernet, inspect, ip,
    multicast::{self, Cast},
    segment::{MAX_HEADER_LEN, MAX_SEGMENTS, largest_segment_len},
    transport, vlan,
};

/// Frames that get far: whole ones with a few bytes changed, and a cut.
fn nearly_valid() -> impl Strategy<Value = (Vec<u8>, VnetHdr)> {
    let spec = (0usize..4, 0usize..3, 0usize..4000).prop_map(|(kind, tags, payload)| {
        let spec = [tcp_v4, tcp_v6, udp_v4, udp_v6][kind](payload);
        (0..tags).fold(spec, |spec, _| spec.tagged(0x8100, 5))
    });
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (spec, changes, any::<prop::sample::Index>(), any::<u16>(), any::<bool>()).prop_map(
        |(spec, changes, cut, gso_size, whole)| {
            let mut bytes = spec.frame();
            let headers = spec.header_len();
            for (at, value) in changes {
                bytes[at.index(headers)] = value;
            }
            if !whole {
                bytes.truncate(cut.index(bytes.len()));
            }
            (bytes, spec.gso_hdr(gso_size))
        },
    )
}

fn arbitrary() -> impl Strategy<Value = (Vec<u8>, VnetHdr)> {
    (vec(any::<u8>(), 0..400), any::<[u8; 10]>()).prop_map(|(bytes, hdr)| (bytes, VnetHdr::from_bytes(&hdr)))
}

/// A report ends, and names nothing that is never filtered.
fn snooping(bytes: &[u8]) {
    let cast = multicast::read(bytes, bytes.len());
    if let Cast::Message(multicast::Message::Report(mut records), _) = cast {
        assert!(records.by_ref().all(|record| !multicast::is_local(&record.group)));
        assert!(!records.is_cut(), "a report that is there as a whole was cut");
    }
}

fn every_door(bytes: &[u8], hdr: &VnetHdr) {
    let _ = (MacAddr::from_prefix(bytes), ethernet::addresses(bytes), EthernetHeader::parse(bytes));
    let _ = (transport::payload_type(bytes), transport::locate(bytes));
    if let Ok(ip) = Ipv4View::parse(bytes) {
        assert!(ip.header_len() <= bytes.len());
        let _ = (ip.total_len(), ip.id(), ip.fragment(), ip.protocol(), ip.src(), ip.dst());
    }
    if let Ok(ip) = Ipv6View::parse(bytes) {
        let _ = (ip.payload_len(), ip.src(), ip.dst());
        assert!(ip.upper_layer().is_err() || ip.upper_layer().is_ok_and(|upper| upper.offset <= bytes.len()));
    }
    if let Some(tcp) = TcpView::parse(bytes) {
        assert!(tcp.header_len() <= bytes.len());
        let _ = (tcp.ports(), tcp.seq(), tcp.flags());
    }
    let _ = UdpView::parse(bytes).map(|udp| (udp.ports(), udp.datagram_len()));
    let _ = vlan::insert(&mut bytes.to_vec(), 0x8100, hdr.csum_start);
    snooping(bytes);
    inspection(bytes);
    completion(bytes, hdr);
    segmentation(bytes, hdr);
}

/// What the first bytes of a frame tell is so whatever follows; and what `locate` finds is found.
fn inspection(bytes: &[u8]) {
    let whole = inspect(bytes);
    for len in 0..bytes.len().min(200) {
        match (inspect(&bytes[..len]), whole) {
            (Cargo::Hidden, _) => {}
            (Cargo::Udp { ports, message: None, .. }, Cargo::Udp { ports: all, .. }) => {
                assert_eq!(ports, all)
            }
            (part, whole) => assert_eq!(part, whole, "{len} bytes"),
        }
    }
    let Ok(layers) = transport::locate(bytes) else { return };
    if layers.protocol == ip::UDP && layers.fragment == Fragment::Whole {
        let ports = UdpView::parse(&bytes[layers.transport..]).map(|udp| udp.ports());
        let found = match whole {
            Cargo::Udp { ports, .. } => Some(ports),
            _ => None,
        };
        assert_eq!(found, ports);
    }
}

/// However it is called, completion leaves the addresses, the type and the length of the frame alone.
fn completion(bytes: &[u8], hdr: &VnetHdr) {
    let mut completed = bytes.to_vec();
    let result = checksum::complete(&mut completed, hdr.csum_start, hdr.csum_offset);
    let headers = 14.min(bytes.len());
    assert_eq!(completed[..headers], bytes[..headers]);
    assert_eq!(transport::locate(&completed), transport::locate(bytes));
    assert!(result.is_ok() || completed == bytes);
}

fn segmentation(bytes: &[u8], hdr: &VnetHdr) {
    let largest = largest_segment_len(bytes, bytes.len(), hdr);
    assert!(largest <= bytes.len());
    let Ok(mut segments) = Segments::new(bytes, hdr) else { return };
    let mut buffer = [0; MAX_HEADER_LEN];
    let (count, mut next, mut seen) = (segments.segment_count(), segments.header_len(), 0);
    while let Some(segment) = segments.next_into(&mut buffer) {
        assert_eq!(segment.payload.start, next);
        assert!(segment.header_len + segment.payload.len() <= largest);
        (next, seen) = (segment.payload.end, seen + 1);
    }
    assert_eq!((next, seen), (bytes.len(), count));
    assert!(count <= MAX_SEGMENTS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8 * ProptestConfig::default().cases))]

    #[test]
    fn arbitrary_bytes_are_survived((bytes, hdr) in arbitrary()) {
        every_door(&bytes, &hdr);
    }

    #[test]
    fn nearly_valid_frames_are_survived((bytes, hdr) in nearly_valid()) {
        every_door(&bytes, &hdr);
        every_door(&bytes, &VnetHdr { gso_type: 0, ..hdr });
    }

    #[test]
    fn arbitrary_offload_headers_are_survived((bytes, _) in nearly_valid(), hdr in any::<[u8; 10]>()) {
        every_door(&bytes, &VnetHdr::from_bytes(&hdr));
    }
}
