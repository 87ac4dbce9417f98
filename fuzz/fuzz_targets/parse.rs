//! Every view of a frame.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Cargo, EthernetHeader, Fragment, TcpView, UdpView, ethernet, inspect, ip, transport, vlan};

fuzz_target!(|frame: &[u8]| {
    let header = EthernetHeader::parse(frame);
    assert_eq!(header.is_ok(), frame.len() >= 14 && transport_type_fits(frame));
    if let Ok(header) = header {
        assert_eq!(ethernet::addresses(frame), Some((header.dst, header.src)));
        tag_round_trip(frame, header);
    }
    inspection(frame);
    if let Ok(layers) = transport::locate(frame) {
        assert!(layers.network < layers.transport && layers.transport <= frame.len());
        if layers.fragment != Fragment::Later {
            transport_header(layers.protocol, &frame[layers.transport..]);
        }
    }
});

/// A tag needs four bytes more than the header without.
fn transport_type_fits(frame: &[u8]) -> bool {
    !vlan::is_tpid(u16::from_be_bytes([frame[12], frame[13]])) || frame.len() >= 18
}

fn tag_round_trip(frame: &[u8], header: EthernetHeader) {
    let mut tagged = [&[0; vlan::TAG_LEN], frame].concat();
    vlan::insert(&mut tagged, vlan::TPID_8021Q, 0x2005).expect("room for a tag");
    let outer = EthernetHeader::parse(&tagged).expect("a tagged frame");
    assert_eq!((outer.dst, outer.src), (header.dst, header.src));
    assert_eq!(outer.vlan, Some(wire::VlanTag { tpid: vlan::TPID_8021Q, tci: 0x2005 }));
    assert_eq!(tagged[16..], frame[12..]);
}

/// What the first bytes tell is so whatever follows.
fn inspection(frame: &[u8]) {
    let whole = inspect(frame);
    for end in 0..frame.len().min(128) {
        match (inspect(&frame[..end]), whole) {
            (Cargo::Hidden, _) => {}
            (Cargo::Udp { ports, message: None, .. }, Cargo::Udp { ports: all, .. }) => assert_eq!(ports, all),
            (part, whole) => assert_eq!(part, whole),
        }
    }
}

fn transport_header(protocol: u8, packet: &[u8]) {
    match protocol {
        ip::TCP => {
            if let Some(tcp) = TcpView::parse(packet) {
                assert!((20..=60.min(packet.len())).contains(&tcp.header_len()));
            }
        }
        ip::UDP => assert_eq!(UdpView::parse(packet).is_some(), packet.len() >= 8),
        _ => {}
    }
}
