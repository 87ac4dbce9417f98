//! Which addresses a frame says are its sender's: what a guard of IP addresses judges.
//!
//! As in [`inspect`](crate::inspect()), whatever a receiver might look behind is looked behind, lengths that the frame states are
//! not believed, and where the bytes at hand do not tell, that is said.
//!
//! Who sends may speak of addresses in four ways: as the source of an IP packet, as the sender of an ARP message (RFC 826), as
//! the target of a neighbour advertisement, or of a solicitation from nowhere, which asks whether an address is free (RFC 4861,
//! RFC 4862). Neighbour discovery in fragments is none since RFC 6980, and older receivers put it together with what could
//! be overlapped: it counts as hidden.

use crate::{
    Fragment, Ipv4View, Ipv6View, MacAddr, UdpView, ethernet,
    inspect::{Upper, network, upper_of_v6},
    ip,
};

/// Ports of DHCP: of servers, of clients.
const DHCP_PORTS: (u16, u16) = (68, 67);
/// Hardware types that receivers on Ethernet take (Linux, `arp_process`): Ethernet, and IEEE 802.
const ARP_HARDWARE: [u16; 2] = [1, 6];
/// Messages of multicast listeners: reports and leaves of both versions (RFC 2710, RFC 3810).
const LISTENER_MESSAGES: [u8; 3] = [131, 132, 143];
const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

/// What a frame says of its sender's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: it is neither IP nor ARP.
    Nothing,
    /// An ARP message, or one of RARP.
    Arp {
        /// RARP (RFC 903).
        reverse: bool,
        /// The sender's hardware address.
        sender_mac: MacAddr,
        /// The sender's address.
        sender: [u8; 4],
        /// The target's address.
        target: [u8; 4],
    },
    /// An IPv4 packet.
    V4 {
        /// Its source.
        source: [u8; 4],
        /// What of it may come from no address at all.
        purpose: Purpose,
    },
    /// An IPv6 packet.
    V6 {
        /// Its source.
        source: [u8; 16],
        /// What of it may come from no address at all, or claims a second one.
        purpose: Purpose,
    },
    /// By the bytes at hand it may be anything.
    Hidden,
}

/// Whether a packet is of the kinds that matter to who owns an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A datagram from a DHCP client's port to a server's (RFC 2131), whole.
    DhcpRequest,
    /// IGMP, or a listener's message of MLD, whole.
    Membership,
    /// A router is asked for (RFC 4861).
    RouterSolicitation,
    /// Who has the target is asked for; from nowhere: whether anybody has (RFC 4862).
    NeighbourSolicitation([u8; 16]),
    /// The target is said to be the sender's.
    NeighbourAdvertisement([u8; 16]),
    /// Something else.
    Other,
}

/// Tells what a frame claims by its first bytes.
#[must_use]
pub fn claim(head: &[u8]) -> Claim {
    read(head).unwrap_or(Claim::Hidden)
}

/// `None` where it is hidden.
fn read(head: &[u8]) -> Option<Claim> {
    match network(head)? {
        (ethernet::ARP, message) => arp(message, false),
        (ethernet::RARP, message) => arp(message, true),
        (ethernet::IPV4, packet) => over_v4(packet),
        (ethernet::IPV6, packet) => over_v6(packet),
        _ => Some(Claim::Nothing),
    }
}

/// A message for other hardware or protocols than Ethernet and IPv4 hides what it says: there are receivers that do not check.
fn arp(message: &[u8], reverse: bool) -> Option<Claim> {
    let [h0, h1, 0x08, 0x00, 6, 4, _, _, rest @ ..] = message.first_chunk::<28>()? else { return None };
    let [m0, m1, m2, m3, m4, m5, s0, s1, s2, s3, _, _, _, _, _, _, t0, t1, t2, t3] = *rest;
    ARP_HARDWARE.contains(&u16::from_be_bytes([*h0, *h1])).then_some(Claim::Arp {
        reverse,
        sender_mac: MacAddr([m0, m1, m2, m3, m4, m5]),
        sender: [s0, s1, s2, s3],
        target: [t0, t1, t2, t3],
    })
}

fn over_v4(packet: &[u8]) -> Option<Claim> {
    let ip = Ipv4View::parse(packet).ok()?;
    let whole = ip.fragment() == Fragment::Whole;
    let purpose = match ip.protocol() {
        ip::IGMP if whole => Purpose::Membership,
        ip::UDP if whole => of_datagram(&packet[ip.header_len()..]),
        _ => Purpose::Other,
    };
    Some(Claim::V4 { source: ip.src(), purpose })
}

fn of_datagram(datagram: &[u8]) -> Purpose {
    let is_request = UdpView::parse(datagram).is_some_and(|udp| udp.ports() == DHCP_PORTS);
    if is_request { Purpose::DhcpRequest } else { Purpose::Other }
}

fn over_v6(packet: &[u8]) -> Option<Claim> {
    let source = Ipv6View::parse(packet).ok()?.src();
    let purpose = match upper_of_v6(packet)? {
        Upper::Of { protocol: ip::ICMPV6, bytes, whole } => of_message(bytes, whole)?,
        Upper::Of { .. } | Upper::Later => Purpose::Other,
    };
    Some(Claim::V6 { source, purpose })
}

/// What an ICMPv6 message is. All of neighbour discovery lies between two types.
fn of_message(message: &[u8], whole: bool) -> Option<Purpose> {
    let kind = *message.first()?;
    let is_discovery = (ROUTER_SOLICITATION..=REDIRECT).contains(&kind);
    match kind {
        _ if is_discovery && !whole => None,
        ROUTER_SOLICITATION => Some(Purpose::RouterSolicitation),
        NEIGHBOUR_SOLICITATION => Some(Purpose::NeighbourSolicitation(target(message)?)),
        NEIGHBOUR_ADVERTISEMENT => Some(Purpose::NeighbourAdvertisement(target(message)?)),
        _ if whole && LISTENER_MESSAGES.contains(&kind) => Some(Purpose::Membership),
        _ => Some(Purpose::Other),
    }
}

/// The target of a solicitation or advertisement: behind type, code, checksum and four bytes of flags.
fn target(message: &[u8]) -> Option<[u8; 16]> {
    message.get(8..)?.first_chunk().copied()
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
