//! What multicast frames tell a switch that snoops (RFC 4541): who wants which group, where routers are.
//!
//! IGMPv1 to v3 (RFC 1112, RFC 2236, RFC 3376), MLDv1 and v2 (RFC 2710, RFC 3810), hellos of PIM (RFC 7761 section 4.9.2) and
//! advertisements of multicast routers (RFC 4286).
//!
//! What a switch believes it may later filter by, so what is wrong in any way is no message: a TTL or hop limit other than 1,
//! which has passed a router or will; a wrong checksum, where the message is at hand as a whole; a fragment; an IPv6 source that is
//! not link-local; a destination that the message is not sent to; a query that is not at hand as a whole. Else a switch would take a
//! querier for present whom hosts do not answer, and filter what they want. The Router Alert option has to be there with whatever takes
//! something from somebody (queries, leaves, all of MLD). IGMP reports are believed without: they only make a port get more, and
//! old hosts send them so.

mod igmp;
mod mld;
mod query;
mod records;

pub use query::{Ask, MAX_QUERY_LEN, Version};
pub use records::{Change, Record, Records};

use crate::{IpVersion, Ipv4View, Ipv6View, MacAddr, ethernet, vlan};
use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

/// Where the message lies in a packet, and whether all of it is there.
#[derive(Clone, Copy)]
struct Body<'a> {
    bytes: &'a [u8],
    whole: bool,
}

impl<'a> Body<'a> {
    /// Where it lies by the packet's own account; what follows is padding. `None` where the packet, of which the first bytes are
    /// at hand, is `len` bytes long and so ends before.
    fn of(packet: &'a [u8], len: usize, at: Range<usize>) -> Option<Self> {
        if at.end > len {
            return None;
        }
        let whole = at.end <= packet.len();
        Some(Self { bytes: packet.get(at.start..at.end.min(packet.len()))?, whole })
    }
}

/// What a multicast frame is to a switch that snoops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cast<'a> {
    /// Something that is never filtered: not IP, not to the MAC of its group, or to a group that nobody has to join, those of
    /// the link itself (224.0.0.0/24; IPv6 scopes 0 to 2, with all of neighbour discovery).
    Local,
    /// A packet to a group that hosts have to join.
    Group(IpAddr),
    /// A message about groups. The packet is to this group.
    Message(Message<'a>, IpAddr),
}

/// A message about groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A router, or a switch in its stead, asks who is there.
    Query(Query),
    /// A host tells what it wants.
    Report(Records<'a>),
    /// A multicast router makes itself known.
    Router(IpVersion),
}

/// A query of IGMP or MLD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Who asks. 0.0.0.0: a switch, which is no router and takes no part in the election (RFC 4541 section 2.1.1).
    pub source: IpAddr,
    /// What is asked for; `None` for all groups.
    pub group: Option<IpAddr>,
    /// In so many milliseconds answers have come.
    pub max_response_ms: u32,
    /// Milliseconds between general queries, where the version says.
    pub interval_ms: Option<u32>,
    /// True where who does not answer stays a member: the S flag is set, or only some sources are asked for.
    pub suppressed: bool,
}

impl Query {
    /// Which IP it is about.
    #[must_use]
    pub const fn version(&self) -> IpVersion {
        version_of(&self.source)
    }
}

/// Which IP an address is of.
#[must_use]
pub const fn version_of(address: &IpAddr) -> IpVersion {
    match address {
        IpAddr::V4(_) => IpVersion::V4,
        IpAddr::V6(_) => IpVersion::V6,
    }
}

/// Reads a frame of `len` bytes by its first ones. A second VLAN tag, or a service tag, is of
/// somebody else's network, which only passes through: [`Cast::Local`].
#[must_use]
pub fn read(head: &[u8], len: usize) -> Cast<'_> {
    cast(head, len).unwrap_or(Cast::Local)
}

#[inline]
fn cast(head: &[u8], len: usize) -> Option<Cast<'_>> {
    let header = ethernet::EthernetHeader::parse(head).ok()?;
    if header.vlan.is_some_and(|tag| tag.tpid != vlan::TPID_8021Q) {
        return None;
    }
    let packet = head.get(header.header_len..)?;
    let len = len.checked_sub(header.header_len)?;
    match header.ethertype()? {
        ethernet::IPV4 => over_v4(header.dst, packet, len),
        ethernet::IPV6 => over_v6(header.dst, packet, len),
        _ => None,
    }
}

fn over_v4(mac: MacAddr, packet: &[u8], len: usize) -> Option<Cast<'_>> {
    let ip = Ipv4View::parse(packet).ok()?;
    let group = Ipv4Addr::from(ip.dst());
    if !group.is_multicast() || group_mac(&group.into()) != mac {
        return None;
    }
    if let Some(message) = igmp::read(ip, packet, len) {
        return Some(Cast::Message(message, group.into()));
    }
    (!is_local(&group.into())).then_some(Cast::Group(group.into()))
}

fn over_v6(mac: MacAddr, packet: &[u8], len: usize) -> Option<Cast<'_>> {
    let ip = Ipv6View::parse(packet).ok()?;
    let group = Ipv6Addr::from(ip.dst());
    if !group.is_multicast() || group_mac(&group.into()) != mac {
        return None;
    }
    if let Some(message) = mld::read(ip, packet, len) {
        return Some(Cast::Message(message, group.into()));
    }
    (!is_local(&group.into())).then_some(Cast::Group(group.into()))
}

/// True for a group that nobody has to join, so that it is never filtered: of the link (RFC 4541 section 2.1.2; IPv6 scope
/// 2, where RFC 4541 would have solicited-node groups snooped: who filters those breaks neighbour discovery) or of less.
#[must_use]
pub const fn is_local(group: &IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => matches!(group.octets(), [224, 0, 0, _]),
        IpAddr::V6(group) => group.octets()[1] & 0xf <= 2,
    }
}

/// The MAC that frames to a group have (RFC 1112 section 6.4, RFC 2464 section 7).
#[must_use]
pub const fn group_mac(group: &IpAddr) -> MacAddr {
    match group {
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            MacAddr([0x33, 0x33, a, b, c, d])
        }
    }
}

/// A group that a host may ask for: multicast, and not one that is never filtered anyhow.
fn is_joinable(group: &IpAddr) -> bool {
    group.is_multicast() && !is_local(group)
}

/// The value of a code of IGMPv3 or a QQIC (RFC 3376 section 4.1.1): from 128 up a small floating-point number.
const fn float8(code: u8) -> u32 {
    match code {
        0..=127 => code as u32,
        _ => ((code & 0xf) as u32 | 0x10) << ((code >> 4 & 7) + 3),
    }
}

/// The code of the largest such number that is not above `value`.
const fn to_float8(value: u32) -> u8 {
    if value < 128 {
        return value as u8;
    }
    let mut exponent = 0;
    while exponent < 7 && value >> (exponent + 3) > 0x1f {
        exponent += 1;
    }
    let mantissa = value >> (exponent + 3);
    let mantissa = if mantissa > 0x1f { 0x1f } else { mantissa };
    0x80 | (exponent as u8) << 4 | (mantissa & 0xf) as u8
}

/// The value of a response code of MLDv2 (RFC 3810 section 5.1.3).
const fn float16(code: u16) -> u32 {
    match code {
        0..=0x7fff => code as u32,
        _ => ((code & 0xfff) as u32 | 0x1000) << ((code >> 12 & 7) + 3),
    }
}

#[cfg(test)]
mod tests;
