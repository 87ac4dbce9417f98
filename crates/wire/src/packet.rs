//! What an access list judges a frame by: addresses, protocol, ports, and where these are hidden.
//!
//! Walks like [`inspect`](crate::inspect()): behind every tag and LLC/SNAP header, over IPv4 options and IPv6 extension headers,
//! without believing lengths that the frame states. What is not told by the bytes at hand, or could be replaced by a fragment
//! that follows, is said to be hidden; so who decides can let no rule that needs it say yes.

use crate::{
    IpVersion, TcpView, UdpView,
    ethernet::{self, be16},
    inspect::network,
    ip::{self, DESTINATION, FRAGMENT, HOP_BY_HOP, Ipv4View, Ipv6View, ROUTING, V6_HEADER_LEN},
    transport::{ICMP_HEADER_LEN, TCP_MIN_HEADER_LEN},
};

/// Extension headers, fragment headers and offsets count in this.
const UNIT: usize = 8;
/// The first twelve bytes of an IPv4 address in an IPv6 address (RFC 4291 section 2.5.5.2).
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// What a frame carries at layer 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network<'a> {
    /// ARP, in whatever it is wrapped.
    Arp,
    /// Neither IP nor ARP.
    Other,
    /// The frame ends before this is told.
    Hidden,
    /// IP.
    Ip(Packet<'a>),
}

/// Source and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Of IPv4.
    V4(u32, u32),
    /// Of IPv6.
    V6(u128, u128),
    /// Not at hand, or none that may be on a link: an IPv4 address in an IPv6 header, which receivers may take for that of an
    /// IPv4 packet (RFC 4942 section 2.2).
    Hidden(IpVersion),
}

/// An IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Whose it is.
    pub addresses: Addresses,
    /// Which part of a datagram it is.
    pub part: Part,
    /// Where it ends by its own account, from the frame's first byte on: there is more of a frame that will be cut to segments.
    pub end: u32,
    /// What it carries.
    pub transport: Transport<'a>,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The part with the transport header, of which a later part may overlap all but the first eight bytes.
    First {
        /// What its parts have in common.
        id: u32,
    },
    /// A part without transport header.
    Later {
        /// What its parts have in common.
        id: u32,
        /// Where in the datagram it begins.
        offset: u16,
    },
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// A UDP datagram with its ports, source first.
    Udp(u16, u16),
    /// An ICMP message over IPv4, or an ICMPv6 message over IPv6.
    Icmp(Icmp<'a>),
    /// A protocol without ports that are looked at.
    Other(u8),
    /// What ports or type it has is not told, and without a number not even the protocol.
    Hidden(Option<u8>),
}

/// A TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Source and destination.
    pub ports: (u16, u16),
    /// The number of the first byte.
    pub seq: u32,
    /// The byte that is expected next.
    pub ack: u32,
    /// Flags: the lower eight bits, see [`TcpView`].
    pub flags: u8,
    /// The window as it stands there.
    pub window: u16,
    /// Bytes behind the header, as the IP header states them.
    pub payload: u32,
    /// The options, as far as they are at hand.
    pub options: &'a [u8],
    /// The header is at hand as a whole.
    pub whole: bool,
}

/// An ICMP or ICMPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp<'a> {
    /// Over which IP.
    pub version: IpVersion,
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The identifier, where it is an echo.
    pub id: u16,
    /// What follows the eight bytes of header: in an error the packet that it is about.
    pub body: &'a [u8],
}

impl Icmp<'_> {
    /// The protocol number of its kind of ICMP.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        match self.version {
            IpVersion::V4 => ip::ICMP,
            IpVersion::V6 => ip::ICMPV6,
        }
    }
}

impl Segment<'_> {
    /// A segment of which no more is known.
    #[must_use]
    pub const fn of_ports(ports: (u16, u16)) -> Self {
        Self { ports, seq: 0, ack: 0, flags: 0, window: 0, payload: 0, options: &[], whole: false }
    }

    /// The window scale option (RFC 7323 section 2.2), no more than 14. `None` where there is none.
    #[must_use]
    pub fn window_scale(&self) -> Option<u8> {
        let mut rest = self.options;
        loop {
            match rest {
                [0, ..] | [] => return None,
                [1, tail @ ..] => rest = tail,
                [3, 3, shift, ..] => return Some((*shift).min(14)),
                [_, len, ..] => rest = rest.get(usize::from(*len).max(2)..)?,
                [_] => return None,
            }
        }
    }
}

/// Reads what a frame carries by its first bytes.
#[inline]
#[must_use]
pub fn read(head: &[u8]) -> Network<'_> {
    match network(head) {
        Some((ethernet::IPV4, packet)) => Network::Ip(v4(packet).behind(head.len() - packet.len())),
        Some((ethernet::IPV6, packet)) => Network::Ip(v6(packet).behind(head.len() - packet.len())),
        Some((ethernet::ARP, _)) => Network::Arp,
        Some(_) => Network::Other,
        None => Network::Hidden,
    }
}

/// The packet that an ICMP error quotes: of its transport header eight bytes are enough. `None` where it tells no ports, or the
/// addresses are hidden.
#[must_use]
pub fn quoted(version: IpVersion, body: &[u8]) -> Option<(Addresses, u8, Quoted)> {
    let (addresses, protocol, upper) = match version {
        IpVersion::V4 => {
            let ip = Ipv4View::parse(body).ok()?;
            (v4_addresses(ip), ip.protocol(), body.get(ip.header_len()..)?)
        }
        IpVersion::V6 => {
            let ip = Ipv6View::parse(body).ok()?;
            let upper = ip.upper_layer().ok()?;
            (v6_addresses(body.first_chunk()?), upper.protocol, body.get(upper.offset..)?)
        }
    };
    let is_hidden = matches!(addresses, Addresses::Hidden(_));
    let head: &[u8; 8] = upper.first_chunk().filter(|_| !is_hidden)?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let number = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    Some((addresses, protocol, Quoted { words: (word(0), word(2)), number, third: word(4) }))
}

/// The first eight bytes of a quoted transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Ports of TCP and UDP; type and code, and checksum, of ICMP.
    pub words: (u16, u16),
    /// TCP's sequence number.
    pub number: u32,
    /// The identifier of an ICMP echo.
    pub third: u16,
}

impl Packet<'_> {
    /// The packet behind headers of so many bytes.
    #[inline]
    const fn behind(self, link: usize) -> Self {
        Self { end: self.end + link as u32, ..self }
    }
}

const fn hidden(version: IpVersion) -> Packet<'static> {
    Packet {
        addresses: Addresses::Hidden(version),
        part: Part::Whole,
        end: 0,
        transport: Transport::Hidden(None),
    }
}

#[inline]
const fn v4_addresses(ip: Ipv4View<'_>) -> Addresses {
    Addresses::V4(u32::from_be_bytes(ip.src()), u32::from_be_bytes(ip.dst()))
}

#[inline]
fn v4(packet: &[u8]) -> Packet<'_> {
    let Ok(ip) = Ipv4View::parse(packet) else { return hidden(IpVersion::V4) };
    let addresses = v4_addresses(ip);
    // Flags and offset.
    let word = be16(packet, 6).unwrap_or_default();
    let (part, id) = (word & 0x3fff, u32::from(ip.id()));
    let (offset, protocol) = (part & 0x1fff, ip.protocol());
    if offset != 0 {
        let part = Part::Later { id, offset: offset * UNIT as u16 };
        return Packet {
            addresses,
            part,
            end: ip.total_len() as u32,
            transport: Transport::Hidden(Some(protocol)),
        };
    }
    let len = ip.header_len();
    let stated = usize::from(ip.total_len()).saturating_sub(len);
    let transport = transport(IpVersion::V4, protocol, packet.get(len..).unwrap_or_default(), stated);
    let part = if part == 0 { Part::Whole } else { Part::First { id } };
    Packet { addresses, part, end: ip.total_len().into(), transport }
}

#[inline]
fn v6_addresses(fixed: &[u8; V6_HEADER_LEN]) -> Addresses {
    let address =
        |at: usize| fixed.get(at..).and_then(<[u8]>::first_chunk::<16>).copied().unwrap_or_default();
    let (src, dst) = (address(8), address(24));
    if src.starts_with(&MAPPED) || dst.starts_with(&MAPPED) {
        return Addresses::Hidden(IpVersion::V6);
    }
    Addresses::V6(u128::from_be_bytes(src), u128::from_be_bytes(dst))
}

#[inline]
fn v6(packet: &[u8]) -> Packet<'_> {
    let Some((fixed, rest)) = packet.split_first_chunk::<V6_HEADER_LEN>() else {
        return hidden(IpVersion::V6);
    };
    if fixed[0] >> 4 != 6 {
        return hidden(IpVersion::V6);
    }
    let stated = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    let (part, transport) =
        behind_v6(fixed[6], rest, stated).unwrap_or((Part::Whole, Transport::Hidden(None)));
    Packet { addresses: v6_addresses(fixed), part, end: (V6_HEADER_LEN + stated) as u32, transport }
}

/// Walks over extension headers. `None` where the bytes at hand end before the transport header.
#[inline]
fn behind_v6(first: u8, bytes: &[u8], stated: usize) -> Option<(Part, Transport<'_>)> {
    let (mut next, mut rest) = (first, bytes);
    while matches!(next, HOP_BY_HOP | ROUTING | DESTINATION) {
        let &[after, units, ..] = rest else { return None };
        (next, rest) = (after, rest.get((usize::from(units) + 1) * UNIT..)?);
    }
    if next == FRAGMENT {
        return in_fragment(rest, stated.saturating_sub(bytes.len() - rest.len() + UNIT));
    }
    let stated = stated.saturating_sub(bytes.len() - rest.len());
    Some((Part::Whole, transport(IpVersion::V6, next, rest, stated)))
}

/// What a fragment carries. An extension behind the fragment header hides what follows, as does a later fragment, whose own
/// word on its protocol receivers do not take (RFC 8200 section 4.5).
fn in_fragment(bytes: &[u8], stated: usize) -> Option<(Part, Transport<'_>)> {
    let (header, rest) = bytes.split_first_chunk::<UNIT>()?;
    let offset = u16::from_be_bytes([header[2], header[3]]) & !7;
    let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    Some(match header[0] {
        _ if offset != 0 => (Part::Later { id, offset }, Transport::Hidden(None)),
        HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT => (Part::First { id }, Transport::Hidden(None)),
        protocol => (Part::First { id }, transport(IpVersion::V6, protocol, rest, stated)),
    })
}

/// `stated`: bytes from the transport header on, by the IP header's account.
#[inline]
fn transport(version: IpVersion, protocol: u8, bytes: &[u8], stated: usize) -> Transport<'_> {
    match (version, protocol) {
        (_, ip::TCP) => segment(bytes, stated).map_or(Transport::Hidden(Some(protocol)), Transport::Tcp),
        (_, ip::UDP) => match UdpView::parse(bytes) {
            Some(udp) => Transport::Udp(udp.ports().0, udp.ports().1),
            None => Transport::Hidden(Some(protocol)),
        },
        (IpVersion::V4, ip::ICMP) | (IpVersion::V6, ip::ICMPV6) => {
            icmp(version, bytes).map_or(Transport::Hidden(Some(protocol)), Transport::Icmp)
        }
        _ => Transport::Other(protocol),
    }
}

fn icmp(version: IpVersion, bytes: &[u8]) -> Option<Icmp<'_>> {
    let (header, body) = bytes.split_first_chunk::<ICMP_HEADER_LEN>()?;
    Some(Icmp {
        version,
        kind: header[0],
        code: header[1],
        id: u16::from_be_bytes([header[4], header[5]]),
        body,
    })
}

#[inline]
pub(crate) fn segment(bytes: &[u8], stated: usize) -> Option<Segment<'_>> {
    let fixed: &[u8; TCP_MIN_HEADER_LEN] = bytes.first_chunk()?;
    let long = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let len = usize::from(fixed[12] >> 4) * 4;
    if len < TCP_MIN_HEADER_LEN {
        return None;
    }
    let end = len.min(bytes.len());
    Some(Segment {
        ports: (word(0), word(2)),
        seq: long(4),
        ack: long(8),
        flags: fixed[13],
        window: word(14),
        payload: stated.saturating_sub(len) as u32,
        options: bytes.get(TCP_MIN_HEADER_LEN..end).unwrap_or_default(),
        whole: TcpView::parse(bytes).is_some(),
    })
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
