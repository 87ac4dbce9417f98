//! MLD, and what else over IPv6 tells where multicast routers are.

use super::{Body, Change, Message, Query, Record, Records, float8, float16};
use crate::{
    IpVersion, Ipv6View, checksum,
    ethernet::be16,
    ip::{self, HOP_BY_HOP, V6_HEADER_LEN},
};
use core::net::{IpAddr, Ipv6Addr};

const QUERY: u8 = 130;
const V1_REPORT: u8 = 131;
const V1_DONE: u8 = 132;
const V2_REPORT: u8 = 143;
/// Multicast Router Advertisement (RFC 4286 section 3.1).
const ROUTER: u8 = 151;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ALL_PIM_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xd);
const ALL_V2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
const ALL_SNOOPERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x6a);

/// The Router Alert option (RFC 2711), of which value 0 is MLD.
const ROUTER_ALERT: u8 = 5;
/// Length of a version 1 message; a query that is longer is of version 2 (RFC 3810 section 8.1).
const V1_LEN: usize = 24;
/// PIM version 2, type Hello.
const PIM_HELLO: u8 = 0x20;

pub(super) fn read<'a>(ip: Ipv6View<'_>, packet: &'a [u8], len: usize) -> Option<Message<'a>> {
    let (source, to) = (Ipv6Addr::from(ip.src()), Ipv6Addr::from(ip.dst()));
    let (protocol, at, alerts) = upper_layer(ip.next_header(), packet)?;
    if ip.hop_limit() != 1 || !matches!(protocol, ip::ICMPV6 | ip::PIM) {
        return None;
    }
    let body = Body::of(packet, len, at..V6_HEADER_LEN + usize::from(ip.payload_len()))?;
    let sums = || {
        let pseudo = checksum::pseudo_v6(ip.src(), ip.dst(), protocol, body.bytes.len() as u32);
        pseudo.bytes(body.bytes).checksum() == 0
    };
    // Where a host has no address yet it reports from none (RFC 3590).
    let is_own = |host| source.is_unicast_link_local() || (host && source.is_unspecified());
    if body.whole && !sums() {
        return None;
    }
    let kind = *body.bytes.first()?;
    match protocol {
        ip::PIM => (kind == PIM_HELLO && is_own(false) && to == ALL_PIM_ROUTERS)
            .then_some(Message::Router(IpVersion::V6)),
        _ if !alerts || !is_own(matches!(kind, V1_REPORT | V2_REPORT)) => None,
        _ => message(kind, body, source, to),
    }
}

fn message(kind: u8, body: Body<'_>, source: Ipv6Addr, to: Ipv6Addr) -> Option<Message<'_>> {
    match kind {
        V2_REPORT if to == ALL_V2_ROUTERS => {
            return Records::listed(IpVersion::V6, body, !source.is_unspecified()).map(Message::Report);
        }
        ROUTER => return (to == ALL_SNOOPERS).then_some(Message::Router(IpVersion::V6)),
        _ => {}
    }
    let group: [u8; 16] = *body.bytes.get(8..)?.first_chunk()?;
    let group = Ipv6Addr::from(group);
    let one = |change| Some(Message::Report(Records::one(Record { group: group.into(), change })));
    match kind {
        QUERY if body.whole => query(body, source, group, to).map(Message::Query),
        V1_REPORT if to == group => one(Change::Joins),
        V1_DONE if to == ALL_ROUTERS => one(Change::Leaves),
        _ => None,
    }
}

fn query(body: Body<'_>, source: Ipv6Addr, group: Ipv6Addr, to: Ipv6Addr) -> Option<Query> {
    let is_general = group.is_unspecified();
    if !if is_general { to == ALL_NODES } else { to == group && group.is_multicast() } {
        return None;
    }
    let code = be16(body.bytes, 4)?;
    let v2 = match body.bytes.len() {
        V1_LEN => None,
        // In between is what hosts ignore (RFC 3810 section 8.1).
        _ => Some(body.bytes.get(V1_LEN..V1_LEN + 4)?),
    };
    Some(Query {
        source: IpAddr::V6(source),
        group: (!is_general).then_some(IpAddr::V6(group)),
        max_response_ms: if v2.is_some() { float16(code) } else { u32::from(code) },
        interval_ms: v2.map(|v2| float8(v2[1]) * 1000).filter(|interval| *interval != 0),
        suppressed: v2.is_some_and(|v2| v2[0] & 8 != 0 || v2[2..4] != [0, 0]),
    })
}

/// What lies behind the hop-by-hop options, where it begins, and whether Router Alert for MLD is among them. No other extension
/// is looked behind: MLD has none.
fn upper_layer(next: u8, packet: &[u8]) -> Option<(u8, usize, bool)> {
    if next != HOP_BY_HOP {
        return Some((next, V6_HEADER_LEN, false));
    }
    let header = packet.get(V6_HEADER_LEN..)?;
    let &[after, units, ..] = header else { return None };
    let len = (usize::from(units) + 1) * 8;
    Some((after, V6_HEADER_LEN + len, alerts(header.get(2..len)?)))
}

fn alerts(mut options: &[u8]) -> bool {
    loop {
        options = match *options {
            [ROUTER_ALERT, 2, 0, 0, ..] => return true,
            [0, ref rest @ ..] => rest,
            [_, len, ref rest @ ..] => rest.get(usize::from(len)..).unwrap_or_default(),
            _ => return false,
        };
    }
}
