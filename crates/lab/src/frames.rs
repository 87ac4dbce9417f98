//! Frames for tests, built byte by byte and apart from the code under test.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A MAC address as it stands in a frame.
pub type Mac = [u8; 6];

/// Everybody.
pub const BROADCAST: Mac = [0xff; 6];
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType for experiments (IEEE 802, clause 9.2.3): no stack answers it.
pub const EXPERIMENT: u16 = 0x88b5;

const UDP: u8 = 17;

/// Parses `02:00:00:00:00:01`.
///
/// # Panics
///
/// If `text` is no MAC address: it stands in the test.
pub fn mac(text: &str) -> Mac {
    let bytes: Option<Vec<u8>> = text.split(':').map(|b| u8::from_str_radix(b, 16).ok()).collect();
    match bytes.and_then(|b| Mac::try_from(b).ok()) {
        Some(mac) => mac,
        None => panic!("{text:?} is no MAC address"),
    }
}

/// An Ethernet II frame, as short as its payload makes it.
pub fn ethernet(to: Mac, from: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), payload].concat()
}

/// An Ethernet II frame of exactly `length` bytes whose payload is a pattern that differs at every place.
pub fn of_length(to: Mac, from: Mac, ethertype: u16, length: usize) -> Vec<u8> {
    let payload: Vec<u8> = (14..length).map(|i| (i ^ (i >> 8)) as u8).collect();
    ethernet(to, from, ethertype, &payload)
}

/// An IEEE 802.3 frame with a length field and an LLC header (here: SNAP's 0xAA 0xAA 0x03), padded to 60 bytes.
pub fn llc(to: Mac, from: Mac, payload: &[u8]) -> Vec<u8> {
    let body = [&[0xaa, 0xaa, 0x03][..], payload].concat();
    padded(ethernet(to, from, body.len() as u16, &body))
}

/// The frame with zeros up to the 60 bytes that Ethernet asks for.
pub fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The frame with an 802.1Q tag of this priority and VLAN behind its addresses.
pub fn tagged(frame: &[u8], priority: u8, vlan: u16) -> Vec<u8> {
    tagged_as(0x8100, frame, priority, vlan)
}

/// The frame with a tag of the given type, for example 0x88a8 for a service tag.
pub fn tagged_as(tag_type: u16, frame: &[u8], priority: u8, vlan: u16) -> Vec<u8> {
    let control = u16::from(priority) << 13 | vlan;
    [&frame[..12], &tag_type.to_be_bytes(), &control.to_be_bytes(), &frame[12..]].concat()
}

/// An ARP request: who has `wanted`? Padded to 60 bytes.
pub fn arp_request(from: Mac, from_ip: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    arp(1, BROADCAST, from, from_ip, [0; 6], wanted)
}

/// An ARP answer: `from_ip` is at `from`. Padded to 60 bytes.
pub fn arp_reply(to: Mac, to_ip: Ipv4Addr, from: Mac, from_ip: Ipv4Addr) -> Vec<u8> {
    arp(2, to, from, from_ip, to, to_ip)
}

fn arp(operation: u8, to: Mac, from: Mac, from_ip: Ipv4Addr, target: Mac, target_ip: Ipv4Addr) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, operation];
    let body = [&fixed[..], &from, &from_ip.octets(), &target, &target_ip.octets()].concat();
    padded(ethernet(to, from, ARP, &body))
}

/// Where a UDP datagram comes from or goes to.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<Ip> {
    /// MAC address.
    pub mac: Mac,
    /// IP address.
    pub ip: Ip,
    /// UDP port.
    pub port: u16,
}

/// A UDP datagram over IPv4 with both checksums right.
pub fn udp4(to: Endpoint<Ipv4Addr>, from: Endpoint<Ipv4Addr>, payload: &[u8]) -> Vec<u8> {
    let pseudo = [&from.ip.octets()[..], &to.ip.octets()].concat();
    let udp = udp(to.port, from.port, &pseudo, payload);
    let total = (20 + udp.len()) as u16;
    let mut header =
        [&[0x45, 0][..], &total.to_be_bytes(), &[0, 0, 0x40, 0, 64, UDP, 0, 0], &pseudo].concat();
    let sum = checksum(&[&header]).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    ethernet(to.mac, from.mac, IPV4, &[header, udp].concat())
}

/// A UDP datagram over IPv6 with its checksum right.
pub fn udp6(to: Endpoint<Ipv6Addr>, from: Endpoint<Ipv6Addr>, payload: &[u8]) -> Vec<u8> {
    let pseudo = [from.ip.octets(), to.ip.octets()].concat();
    let udp = udp(to.port, from.port, &pseudo, payload);
    let length = (udp.len() as u16).to_be_bytes();
    let header = [&[0x60, 0, 0, 0][..], &length, &[UDP, 64], &pseudo].concat();
    ethernet(to.mac, from.mac, IPV6, &[header, udp].concat())
}

/// Every kind of frame that fits an MTU of 1500.
pub fn of_every_kind(to: &str, from: &str) -> Vec<Vec<u8>> {
    let (to, from) = (mac(to), mac(from));
    let plain = |length| of_length(to, from, EXPERIMENT, length);
    vec![
        plain(60),
        plain(1514),
        plain(20),
        tagged(&plain(60), 5, 100),
        tagged(&plain(1514), 0, 4094),
        tagged(&plain(60), 7, 0),
        // The kernel allows four bytes more than the MTU for an 802.1Q tag only.
        tagged_as(0x88a8, &plain(1510), 1, 200),
        tagged_as(0x88a8, &tagged(&plain(60), 3, 7), 1, 200),
        llc(to, from, &[0, 0, 0x0c, 0x20, 0, 1, 2]),
        of_length(to, from, 0xfffe, 100),
        greeting4(to, from),
        greeting6(to, from),
    ]
}

fn greeting4(to: Mac, from: Mac) -> Vec<u8> {
    let at = |mac, n| Endpoint { mac, ip: Ipv4Addr::new(10, 77, 0, n), port: 7 };
    udp4(at(to, 2), at(from, 1), b"over IPv4")
}

fn greeting6(to: Mac, from: Mac) -> Vec<u8> {
    let at = |mac, n| Endpoint { mac, ip: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, n), port: 7 };
    udp6(at(to, 2), at(from, 1), b"over IPv6")
}

fn udp(to: u16, from: u16, addresses: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = ((8 + payload.len()) as u16).to_be_bytes();
    let mut udp = [&from.to_be_bytes()[..], &to.to_be_bytes(), &length, &[0, 0], payload].concat();
    // RFC 768: a computed zero is sent as all ones, for zero means that there is none.
    let sum = match checksum(&[addresses, &[0, UDP], &length, &udp]) {
        0 => 0xffff,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    udp
}

/// The Internet checksum (RFC 1071) over parts that all have an even length, except perhaps the last.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|p| p.chunks(2));
    let mut sum: u32 = words.map(|w| u32::from(w[0]) << 8 | u32::from(w.get(1).copied().unwrap_or(0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    const A: Mac = [2, 0, 0, 0, 0, 1];
    const B: Mac = [2, 0, 0, 0, 0, 2];

    #[test]
    fn udp_over_ipv4_is_what_another_parser_expects() {
        let ip = |n| Ipv4Addr::new(10, 9, 0, n);
        let frame =
            udp4(Endpoint { mac: B, ip: ip(2), port: 7 }, Endpoint { mac: A, ip: ip(1), port: 9 }, b"odd");
        let parsed = SlicedPacket::from_ethernet(&frame).unwrap();
        let (Some(NetSlice::Ipv4(net)), Some(TransportSlice::Udp(udp))) = (parsed.net, parsed.transport)
        else {
            panic!("not UDP over IPv4");
        };
        let header = net.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        let sum = udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap();
        assert_eq!((udp.checksum(), udp.payload(), udp.destination_port()), (sum, &b"odd"[..], 7));
    }

    #[test]
    fn udp_over_ipv6_is_what_another_parser_expects() {
        let ip = |n| Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, n);
        let frame =
            udp6(Endpoint { mac: B, ip: ip(2), port: 7 }, Endpoint { mac: A, ip: ip(1), port: 9 }, b"even");
        let parsed = SlicedPacket::from_ethernet(&frame).unwrap();
        let (Some(NetSlice::Ipv6(net)), Some(TransportSlice::Udp(udp))) = (parsed.net, parsed.transport)
        else {
            panic!("not UDP over IPv6");
        };
        let sum = udp.to_header().calc_checksum_ipv6(&net.header().to_header(), udp.payload()).unwrap();
        assert_eq!((udp.checksum(), udp.source_port()), (sum, 9));
    }

    #[test]
    fn a_tag_stands_behind_the_addresses() {
        let plain = of_length(B, A, EXPERIMENT, 60);
        let tagged = tagged(&plain, 5, 100);
        assert_eq!(tagged.len(), 64);
        assert_eq!(
            (&tagged[..12], &tagged[12..16], &tagged[16..]),
            (&plain[..12], &[0x81, 0, 0xa0, 100][..], &plain[12..])
        );
    }

    #[test]
    fn an_llc_frame_carries_its_length() {
        let frame = llc(B, A, &[1, 2, 3]);
        assert_eq!((frame.len(), &frame[12..20]), (60, &[0, 6, 0xaa, 0xaa, 3, 1, 2, 3][..]));
    }

    #[test]
    fn an_arp_request_asks_everybody() {
        let frame = arp_request(A, Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 3));
        assert_eq!((&frame[..6], frame.len()), (&BROADCAST[..], 60));
        assert_eq!(frame[20..42], [0, 1, 2, 0, 0, 0, 0, 1, 10, 9, 0, 1, 0, 0, 0, 0, 0, 0, 10, 9, 0, 3]);
    }
}
