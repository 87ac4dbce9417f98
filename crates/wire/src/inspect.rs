//! What a frame carries, found behind whatever its sender put before it.
//!
//! [`transport::locate`](crate::transport::locate) serves senders that want work done on a frame, and gives up early. This
//! serves who judges a sender that hides something: whatever a receiver might look behind is looked behind (CERT VU#855201,
//! RFC 7113, RFC 7112), lengths that the frame states are not believed, and where the bytes at hand do not tell, that is said.
//!
//! Not looked into are tunnels and IPsec (IP in IP, GRE, PPPoE, MPLS, AH, ESP, …): a receiver takes what comes by one only
//! after it was set up there.

use crate::{
    IpVersion, UdpView,
    ethernet::{self, be16},
    ip::{self, DESTINATION, FRAGMENT, Fragment, HOP_BY_HOP, Ipv4View, ROUTING, V6_HEADER_LEN},
    transport::UDP_HEADER_LEN,
    vlan,
};

/// The LLC address of SNAP (IEEE 802, clause 9.5) without its group bit.
const SNAP: u8 = 0xaa;
/// LLC header and organisation of a SNAP frame, before the EtherType.
const SNAP_LEN: usize = 6;
/// Organisations whose SNAP protocols are EtherTypes: RFC 1042's, and IEEE 802.1H's of bridges.
const ETHERTYPE_OUIS: [[u8; 3]; 2] = [[0, 0, 0], [0, 0, 0xf8]];
/// Extension headers are this long and a multiple of it more (RFC 8200 section 4); so is a fragment header.
const EXTENSION_UNIT: usize = 8;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cargo {
    /// A UDP datagram, or the first fragment of one.
    Udp {
        /// Over which IP.
        version: IpVersion,
        /// Source and destination port.
        ports: (u16, u16),
        /// The first byte behind the UDP header. `None` where it is not at hand, or where a later fragment may
        /// overlap it (RFC 5722): that one begins eight bytes behind the first one or later.
        message: Option<u8>,
    },
    /// An ICMP message over IPv4 or an ICMPv6 message over IPv6, or the first fragment of one.
    Icmp {
        /// Which of the two.
        version: IpVersion,
        /// Its type.
        kind: u8,
    },
    /// Something else. Also a later fragment: receivers take the transport header from the first one only.
    Other,
    /// By the bytes at hand it may be anything: they end before the transport header, or contradict themselves, or
    /// extension headers lie where a later fragment may overlap them.
    Hidden,
}

/// Tells what a frame carries by its first bytes.
#[must_use]
pub fn inspect(head: &[u8]) -> Cargo {
    cargo(head).unwrap_or(Cargo::Hidden)
}

/// `None` where it is hidden.
#[inline]
fn cargo(head: &[u8]) -> Option<Cargo> {
    match network(head)? {
        (ethernet::IPV4, packet) => over_v4(packet),
        (ethernet::IPV6, packet) => over_v6(packet),
        _ => Some(Cargo::Other),
    }
}

/// The EtherType behind all tags and LLC/SNAP headers, and what follows it. Receivers peel off as many tags of VLAN 0 as
/// there are (Linux, `__netif_receive_skb_core`), and some take IP in LLC/SNAP whatever the length field says.
#[inline]
pub(crate) fn network(head: &[u8]) -> Option<(u16, &[u8])> {
    let mut rest = head.get(ethernet::TYPE_OFFSET..)?;
    loop {
        let (kind, behind) = (be16(rest, 0)?, &rest[2..]);
        rest = if vlan::was_tpid(kind) {
            behind.get(2..)?
        } else if kind < ethernet::FIRST_ETHERTYPE && behind.first()? & !1 == SNAP {
            let (snap, protocol) = behind.split_first_chunk::<SNAP_LEN>()?;
            if !ETHERTYPE_OUIS.contains(&[snap[3], snap[4], snap[5]]) {
                return Some((kind, behind));
            }
            protocol
        } else {
            return Some((kind, behind));
        };
    }
}

#[inline]
fn over_v4(packet: &[u8]) -> Option<Cargo> {
    let ip = Ipv4View::parse(packet).ok()?;
    let upper = &packet[ip.header_len()..];
    match ip.fragment() {
        Fragment::Later => Some(Cargo::Other),
        fragment => upper_layer(IpVersion::V4, ip.protocol(), upper, fragment == Fragment::Whole),
    }
}

#[inline]
fn over_v6(packet: &[u8]) -> Option<Cargo> {
    match upper_of_v6(packet)? {
        Upper::Later => Some(Cargo::Other),
        Upper::Of { protocol, bytes, whole } => upper_layer(IpVersion::V6, protocol, bytes, whole),
    }
}

/// What lies behind the extension headers of an IPv6 packet.
pub(crate) enum Upper<'a> {
    /// It is a later fragment.
    Later,
    /// This protocol, in an unfragmented packet or in a first fragment.
    Of { protocol: u8, bytes: &'a [u8], whole: bool },
}

/// Walks over extension headers; there cannot be more of them than bytes are at hand.
#[inline]
pub(crate) fn upper_of_v6(packet: &[u8]) -> Option<Upper<'_>> {
    let (fixed, mut rest) = packet.split_first_chunk::<V6_HEADER_LEN>()?;
    if fixed[0] >> 4 != 6 {
        return None;
    }
    let mut next = fixed[6];
    while matches!(next, HOP_BY_HOP | ROUTING | DESTINATION) {
        let &[after, units, ..] = rest else { return None };
        (next, rest) = (after, rest.get((usize::from(units) + 1) * EXTENSION_UNIT..)?);
    }
    if next == FRAGMENT {
        in_fragment(rest)
    } else {
        Some(Upper::Of { protocol: next, bytes: rest, whole: true })
    }
}

/// What a fragment carries. Only its first eight bytes are safe from being overlapped by a later one, so an extension there
/// hides what follows. A datagram in one fragment is none to receivers that know RFC 6946, but to older ones it is.
fn in_fragment(bytes: &[u8]) -> Option<Upper<'_>> {
    let (header, rest) = bytes.split_first_chunk::<EXTENSION_UNIT>()?;
    let is_later = be16(header, 2)? >> 3 != 0;
    match header[0] {
        _ if is_later => Some(Upper::Later),
        HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT => None,
        protocol => Some(Upper::Of { protocol, bytes: rest, whole: false }),
    }
}

#[inline]
fn upper_layer(version: IpVersion, protocol: u8, bytes: &[u8], whole: bool) -> Option<Cargo> {
    match (version, protocol) {
        (_, ip::UDP) => {
            let ports = UdpView::parse(bytes)?.ports();
            let message = bytes.get(UDP_HEADER_LEN).copied().filter(|_| whole);
            Some(Cargo::Udp { version, ports, message })
        }
        (IpVersion::V4, ip::ICMP) | (IpVersion::V6, ip::ICMPV6) => {
            Some(Cargo::Icmp { version, kind: *bytes.first()? })
        }
        _ => Some(Cargo::Other),
    }
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
