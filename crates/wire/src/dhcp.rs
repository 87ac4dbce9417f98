//! Messages of DHCP (RFC 2131, RFC 2132) and DHCPv6 (RFC 8415), as far as who leases what is concerned.
//!
//! Read from the whole frame, and strictly: what a client might read in two ways is no message here. So a message in fragments
//! is none, nor one that is longer than the datagram it is in.

use crate::{
    Fragment, Ipv4View, Ipv6View, MacAddr, UdpView, ethernet,
    ethernet::be16,
    inspect::{Upper, network, upper_of_v6},
    ip,
    transport::UDP_HEADER_LEN,
};

/// Port of servers and relays.
const SERVER: u16 = 67;
/// Port of clients.
const CLIENT: u16 = 68;
/// The same of DHCPv6.
const SERVER6: u16 = 547;
const CLIENT6: u16 = 546;

/// Says whether something is a message of DHCP or DHCPv6 by its first bytes; some that it says so of are none.
///
/// For who wants to know without reading each frame whole: it is so of whatever [`parse`] takes.
#[must_use]
pub fn is_likely(head: &[u8]) -> bool {
    datagram(head).is_some_and(|(is_v4, udp, _)| direction(is_v4, udp.ports().1).is_some())
}

/// True where a datagram between these ports may be of DHCP or DHCPv6.
pub(crate) fn is_between(ports: (u16, u16)) -> bool {
    [SERVER, CLIENT, SERVER6, CLIENT6].iter().any(|port| *port == ports.0 || *port == ports.1)
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dhcp<'a> {
    /// Of DHCP.
    V4(Dhcp4),
    /// Of DHCPv6.
    V6(Dhcp6<'a>),
}

/// A message of DHCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcp4 {
    /// It is from a server.
    pub is_reply: bool,
    /// DISCOVER, OFFER and so on (RFC 2132 section 9.6).
    pub kind: u8,
    /// The transaction.
    pub xid: u32,
    /// The client's hardware address.
    pub client: MacAddr,
    /// The address that the client says it has.
    pub has: [u8; 4],
    /// The address that the client gets.
    pub yours: [u8; 4],
    /// The address that the client names beside.
    pub requested: Option<[u8; 4]>,
    /// For how many seconds; all ones for ever.
    pub lease_s: Option<u32>,
}

/// Kinds of [`Dhcp4`].
pub mod kind4 {
    #![allow(missing_docs, reason = "the names are RFC 2131's")]
    pub const DECLINE: u8 = 4;
    pub const ACK: u8 = 5;
    pub const RELEASE: u8 = 7;
}

/// Kinds of [`Dhcp6`].
pub mod kind6 {
    #![allow(missing_docs, reason = "the names are RFC 8415's")]
    pub const REPLY: u8 = 7;
    pub const RELEASE: u8 = 8;
    pub const DECLINE: u8 = 9;
}

/// A message of DHCPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcp6<'a> {
    /// It is from a server to a client.
    pub is_reply: bool,
    /// SOLICIT, ADVERTISE and so on (RFC 8415 section 7.3).
    pub kind: u8,
    /// The transaction: 24 bits.
    pub xid: u32,
    options: &'a [u8],
}

/// An address, or a prefix, in a message of DHCPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease6 {
    /// The address, or the prefix's first.
    pub address: [u8; 16],
    /// Bits of the prefix; 128 for an address.
    pub prefix_len: u8,
    /// For how many seconds it is valid; all ones for ever, zero for no longer.
    pub valid_s: u32,
}

/// The message in a whole frame.
#[must_use]
pub fn parse(frame: &[u8]) -> Option<Dhcp<'_>> {
    let (is_v4, udp, bytes) = datagram(frame)?;
    let is_reply = direction(is_v4, udp.ports().1)?;
    let stated = be16(bytes, 4).map(usize::from)?;
    let message = bytes.get(UDP_HEADER_LEN..stated)?;
    if is_v4 { v4(message, is_reply).map(Dhcp::V4) } else { v6(message, is_reply).map(Dhcp::V6) }
}

/// The datagram of a frame, with whether it is of IPv4.
fn datagram(frame: &[u8]) -> Option<(bool, UdpView<'_>, &[u8])> {
    match network(frame)? {
        (ethernet::IPV4, packet) => {
            let ip = Ipv4View::parse(packet).ok()?;
            let is_whole_udp = ip.fragment() == Fragment::Whole && ip.protocol() == ip::UDP;
            let bytes = is_whole_udp.then(|| &packet[ip.header_len()..])?;
            Some((true, UdpView::parse(bytes)?, bytes))
        }
        (ethernet::IPV6, packet) => match upper_of_v6(packet)? {
            Upper::Of { protocol: ip::UDP, bytes, whole: true } => {
                let udp = UdpView::parse(bytes)?;
                Ipv6View::parse(packet).ok()?;
                Some((false, udp, bytes))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether who listens on a port is a client; `None` where it is neither client nor server.
const fn direction(is_v4: bool, to: u16) -> Option<bool> {
    match (is_v4, to) {
        (true, CLIENT) | (false, CLIENT6) => Some(true),
        (true, SERVER) | (false, SERVER6) => Some(false),
        _ => None,
    }
}

/// Length of what precedes the options, and the four bytes that begin them (RFC 2131 section 3).
const FIXED_LEN: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where the server's name and the boot file's stand, which may hold more options (RFC 2132 section 9.3).
const SNAME: core::ops::Range<usize> = 44..108;
const FILE: core::ops::Range<usize> = 108..236;

const PAD: u8 = 0;
const END: u8 = 255;
const REQUESTED: u8 = 50;
const LEASE: u8 = 51;
const OVERLOAD: u8 = 52;
const KIND: u8 = 53;

fn v4(message: &[u8], is_reply: bool) -> Option<Dhcp4> {
    let (fixed, rest) = message.split_first_chunk::<FIXED_LEN>()?;
    let options = rest.strip_prefix(&COOKIE)?;
    let [op, 1, 6, _, x0, x1, x2, x3, ..] = *fixed else { return None };
    if op != if is_reply { 2 } else { 1 } {
        return None;
    }
    let overload = option4(options, OVERLOAD).and_then(|value| value.first().copied()).unwrap_or(0);
    let more = [(1, FILE), (2, SNAME)].map(|(bit, at)| if overload & bit != 0 { &fixed[at] } else { &[] });
    let find = |code| [options, more[0], more[1]].iter().find_map(|options| option4(options, code));
    let address = |at: usize| fixed.get(at..)?.first_chunk::<4>().copied();
    Some(Dhcp4 {
        is_reply,
        kind: *find(KIND)?.first()?,
        xid: u32::from_be_bytes([x0, x1, x2, x3]),
        client: MacAddr::from_prefix(&fixed[28..])?,
        has: address(12)?,
        yours: address(16)?,
        requested: find(REQUESTED).and_then(|value| value.try_into().ok()),
        lease_s: find(LEASE).and_then(|value| value.try_into().ok()).map(u32::from_be_bytes),
    })
}

/// The first option of that code; nothing behind one that does not fit.
fn option4(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        options = match options {
            [PAD, rest @ ..] => rest,
            [END, ..] | [] | [_] => return None,
            [code, len, rest @ ..] => {
                let (value, behind) = rest.split_at_checked(usize::from(*len))?;
                if *code == wanted {
                    return Some(value);
                }
                behind
            }
        };
    }
}

/// Addresses, temporary addresses and prefixes of a client, and the option within each (RFC 8415 sections 21.4 to 21.6, 21.21, 21.22).
const IA_NA: u16 = 3;
const IA_TA: u16 = 4;
const IA_ADDRESS: u16 = 5;
const IA_PD: u16 = 25;
const IA_PREFIX: u16 = 26;
/// Where the options within begin: behind a number, and two times.
const IA_HEAD: usize = 12;
const IA_TA_HEAD: usize = 4;

fn v6(message: &[u8], is_reply: bool) -> Option<Dhcp6<'_>> {
    let ([kind, x0, x1, x2], options) = message.split_first_chunk()?;
    Some(Dhcp6 { is_reply, kind: *kind, xid: u32::from_be_bytes([0, *x0, *x1, *x2]), options })
}

impl<'a> Dhcp6<'a> {
    /// The addresses and prefixes that it names.
    pub fn leases(&self) -> impl Iterator<Item = Lease6> + use<'a> {
        Options(self.options).flat_map(|(code, value)| {
            let (inner, wanted) = match code {
                IA_NA => (value.get(IA_HEAD..), IA_ADDRESS),
                IA_TA => (value.get(IA_TA_HEAD..), IA_ADDRESS),
                IA_PD => (value.get(IA_HEAD..), IA_PREFIX),
                _ => (None, 0),
            };
            let named = Options(inner.unwrap_or_default()).filter(move |(code, _)| *code == wanted);
            named.filter_map(|(code, value)| lease6(code == IA_PREFIX, value))
        })
    }
}

/// An address, then two times; or two times, a length, then an address.
fn lease6(is_prefix: bool, value: &[u8]) -> Option<Lease6> {
    let number = |at: usize| value.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b));
    let address = |at: usize| value.get(at..)?.first_chunk().copied();
    match is_prefix {
        false => Some(Lease6 { address: address(0)?, prefix_len: 128, valid_s: number(20)? }),
        true => Some(Lease6 { address: address(9)?, prefix_len: *value.get(8)?, valid_s: number(4)? }),
    }
}

/// Options of DHCPv6; they end before one that does not fit.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let ([c0, c1, l0, l1], rest) = self.0.split_first_chunk()?;
        let (value, behind) = rest.split_at_checked(usize::from(u16::from_be_bytes([*l0, *l1])))?;
        self.0 = behind;
        Some((u16::from_be_bytes([*c0, *c1]), value))
    }
}

#[cfg(test)]
#[path = "dhcp_tests.rs"]
mod tests;
