//! Packets that are only asked about: as the shortest frames of their kind would be on the wire.

use model::MacAddr;
use std::{net::IpAddr, net::SocketAddr, str::FromStr};
use wire::{
    MacAddr as Mac,
    checksum::{Sum, pseudo_v4, pseudo_v6},
    ethernet, ip, vlan,
};

/// RFC 1340 and most stacks have it so.
const TTL: u8 = 64;
/// The first packet of a connection.
const SYN: u8 = 0x02;
/// Whoever asks by ARP asks all.
const BROADCAST: Mac = MacAddr([0xff; 6]);

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// The first segment of a connection.
    Tcp(SocketAddr, SocketAddr),
    /// A datagram without payload.
    Udp(SocketAddr, SocketAddr),
    /// An echo request.
    Echo(IpAddr, IpAddr),
    /// A request for the second address.
    Arp(std::net::Ipv4Addr, std::net::Ipv4Addr),
}

/// Why a text is no end of a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPacket {
    #[error("'{0}' is no address with a port: write it like 10.0.0.1:80 or [fd00::1]:80")]
    Socket(String),
    #[error("'{0}' is no IP address: write it like 10.0.0.1 or fd00::1")]
    Address(String),
    #[error("{0} and {1} are of two versions of IP: a packet is of one")]
    Versions(IpAddr, IpAddr),
    #[error("'{0}' is no IPv4 address: ARP asks for those only, for IPv6 ask with --icmp")]
    NotV4(String),
}

impl Packet {
    pub fn tcp(from: &str, to: &str) -> Result<Self, BadPacket> {
        sockets(from, to).map(|(from, to)| Self::Tcp(from, to))
    }

    pub fn udp(from: &str, to: &str) -> Result<Self, BadPacket> {
        sockets(from, to).map(|(from, to)| Self::Udp(from, to))
    }

    pub fn icmp(from: &str, to: &str) -> Result<Self, BadPacket> {
        let address = |text: &str| read(text, BadPacket::Address);
        let (from, to) = (address(from)?, address(to)?);
        same_version(from, to).map(|()| Self::Echo(from, to))
    }

    pub fn arp(from: &str, to: &str) -> Result<Self, BadPacket> {
        Ok(Self::Arp(read(from, BadPacket::NotV4)?, read(to, BadPacket::NotV4)?))
    }

    /// Whom it is for where that does not depend on who has an address.
    pub const fn destination(&self) -> Option<Mac> {
        match self {
            Self::Arp(..) => Some(BROADCAST),
            _ => None,
        }
    }

    /// The frame, in a VLAN with a tag where one is given.
    pub fn frame(&self, to: Mac, from: Mac, vlan: Option<u16>) -> Vec<u8> {
        let mut frame = [to.0, from.0].concat();
        if let Some(id) = vlan {
            frame.extend(vlan::TPID_8021Q.to_be_bytes());
            frame.extend(id.to_be_bytes());
        }
        let (kind, packet) = match *self {
            Self::Tcp(from, to) => in_ip(from.ip(), to.ip(), ip::TCP, tcp(from.port(), to.port())),
            Self::Udp(from, to) => in_ip(from.ip(), to.ip(), ip::UDP, udp(from.port(), to.port())),
            Self::Echo(from, to) if from.is_ipv4() => in_ip(from, to, ip::ICMP, echo(8)),
            Self::Echo(from, to) => in_ip(from, to, ip::ICMPV6, echo(128)),
            Self::Arp(sender, target) => (ethernet::ARP, arp(from, sender.octets(), target.octets())),
        };
        frame.extend(kind.to_be_bytes());
        frame.extend(packet);
        frame.resize(frame.len().max(ethernet::MIN_FRAME_LEN), 0);
        frame
    }
}

fn sockets(from: &str, to: &str) -> Result<(SocketAddr, SocketAddr), BadPacket> {
    let (from, to): (SocketAddr, SocketAddr) = (read(from, BadPacket::Socket)?, read(to, BadPacket::Socket)?);
    same_version(from.ip(), to.ip()).map(|()| (from, to))
}

fn read<T: FromStr>(text: &str, bad: fn(String) -> BadPacket) -> Result<T, BadPacket> {
    text.parse().map_err(|_| bad(text.into()))
}

fn same_version(from: IpAddr, to: IpAddr) -> Result<(), BadPacket> {
    if from.is_ipv4() == to.is_ipv4() { Ok(()) } else { Err(BadPacket::Versions(from, to)) }
}

/// A header and where in it the checksum goes.
type Upper = (Vec<u8>, usize);

/// RFC 9293, 3.1.
fn tcp(from: u16, to: u16) -> Upper {
    let mut header = [from.to_be_bytes(), to.to_be_bytes()].concat();
    header.extend([0; 8]);
    header.extend([5 << 4, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    (header, 16)
}

/// RFC 768.
fn udp(from: u16, to: u16) -> Upper {
    (([from, to, 8, 0].map(u16::to_be_bytes)).concat(), 6)
}

/// RFC 792, RFC 4443 4.1.
fn echo(kind: u8) -> Upper {
    (vec![kind, 0, 0, 0, 0, 1, 0, 1], 2)
}

/// RFC 826.
fn arp(mac: Mac, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    [&[0, 1, 8, 0, 6, 4, 0, 1][..], &mac.0, &sender, &[0; 6], &target].concat()
}

/// The packet with its EtherType.
fn in_ip(from: IpAddr, to: IpAddr, protocol: u8, (mut upper, checksum_at): Upper) -> (u16, Vec<u8>) {
    let len = upper.len() as u16;
    let (kind, mut packet, pseudo) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let pseudo = pseudo_v4(from.octets(), to.octets(), protocol, len);
            (ethernet::IPV4, v4(from.octets(), to.octets(), protocol, len), pseudo)
        }
        (from, to) => {
            let (from, to) = (v6_octets(from), v6_octets(to));
            (ethernet::IPV6, v6(from, to, protocol, len), pseudo_v6(from, to, protocol, len.into()))
        }
    };
    // ICMP alone has no pseudo header (RFC 792).
    let pseudo = if protocol == ip::ICMP { Sum::default() } else { pseudo };
    let sum = pseudo.bytes(&upper).checksum();
    upper[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
    packet.extend(upper);
    (kind, packet)
}

fn v6_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// RFC 791, 3.1.
fn v4(from: [u8; 4], to: [u8; 4], protocol: u8, len: u16) -> Vec<u8> {
    let total = (len + 20).to_be_bytes();
    let mut header = [&[0x45, 0][..], &total, &[0; 4], &[TTL, protocol, 0, 0], &from, &to].concat();
    let sum = Sum::default().bytes(&header).checksum();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// RFC 8200, 3.
fn v6(from: [u8; 16], to: [u8; 16], protocol: u8, len: u16) -> Vec<u8> {
    [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[protocol, TTL], &from, &to].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{Ipv4View, transport};

    const A: Mac = MacAddr([2, 0, 0, 0, 0, 1]);
    const B: Mac = MacAddr([2, 0, 0, 0, 0, 2]);

    #[test]
    fn what_is_built_is_read_as_what_was_asked_for() {
        let frame = Packet::tcp("10.0.0.1:1000", "10.0.0.2:80").unwrap().frame(B, A, Some(7));
        let layers = transport::locate(&frame).unwrap();
        let ip = Ipv4View::parse(&frame[layers.network..]).unwrap();
        assert_eq!((ip.src(), ip.dst(), ip.protocol()), ([10, 0, 0, 1], [10, 0, 0, 2], 6));
        let tcp = wire::TcpView::parse(&frame[layers.transport..]).unwrap();
        assert_eq!((tcp.ports(), tcp.flags(), frame.len()), ((1000, 80), SYN, 60));
        let pseudo = pseudo_v4(ip.src(), ip.dst(), 6, 20);
        assert_eq!(pseudo.bytes(&frame[layers.transport..layers.end]).checksum(), 0);
        assert_eq!(Sum::default().bytes(&frame[layers.network..layers.transport]).checksum(), 0);
        assert_eq!(&frame[..18], [&B.0[..], &A.0, &[0x81, 0, 0, 7, 8, 0]].concat());
    }

    #[test]
    fn both_versions_of_ip_and_all_kinds_have_right_checksums() {
        let echo = Packet::icmp("fd00::1", "fd00::2").unwrap().frame(B, A, None);
        let layers = transport::locate(&echo).unwrap();
        let (mut from, mut to) = ([0; 16], [0; 16]);
        (from[0], from[15], to[0], to[15]) = (0xfd, 1, 0xfd, 2);
        assert_eq!(pseudo_v6(from, to, 58, 8).bytes(&echo[layers.transport..layers.end]).checksum(), 0);
        let ping = Packet::icmp("10.0.0.1", "10.0.0.2").unwrap().frame(B, A, None);
        let layers = transport::locate(&ping).unwrap();
        assert_eq!(Sum::default().bytes(&ping[layers.transport..layers.end]).checksum(), 0);
        let udp = Packet::udp("[fd00::1]:68", "[fd00::2]:67").unwrap().frame(B, A, None);
        let layers = transport::locate(&udp).unwrap();
        assert_eq!(pseudo_v6(from, to, 17, 8).bytes(&udp[layers.transport..layers.end]).checksum(), 0);
    }

    #[test]
    fn arp_asks_all() {
        let packet = Packet::arp("10.0.0.1", "10.0.0.2").unwrap();
        assert_eq!(packet.destination(), Some(BROADCAST));
        let frame = packet.frame(BROADCAST, A, None);
        assert_eq!(frame[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(
            (&frame[22..28], &frame[28..32], &frame[38..42]),
            (&A.0[..], &[10, 0, 0, 1][..], &[10, 0, 0, 2][..])
        );
    }

    #[test]
    fn what_is_no_packet_is_told_so() {
        let message = |packet: Result<Packet, BadPacket>| packet.unwrap_err().to_string();
        assert!(
            message(Packet::tcp("10.0.0.1", "10.0.0.2:80"))
                .starts_with("'10.0.0.1' is no address with a port")
        );
        assert!(message(Packet::udp("10.0.0.1:1", "[::1]:2")).contains("two versions of IP"));
        assert!(message(Packet::arp("::1", "10.0.0.2")).contains("IPv4"));
        assert!(message(Packet::icmp("here", "10.0.0.2")).contains("no IP address"));
    }
}
