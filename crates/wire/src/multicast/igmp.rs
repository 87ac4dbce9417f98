//! IGMP, and what else over IPv4 tells where multicast routers are.

use super::{Body, Change, Message, Query, Record, Records, float8};
use crate::{
    IpVersion, Ipv4View, Sum,
    ethernet::be16,
    ip::{self, Fragment},
};
use core::net::{IpAddr, Ipv4Addr};

const QUERY: u8 = 0x11;
const V1_REPORT: u8 = 0x12;
const V2_REPORT: u8 = 0x16;
const V2_LEAVE: u8 = 0x17;
const V3_REPORT: u8 = 0x22;
/// Multicast Router Advertisement (RFC 4286 section 3.1).
const ROUTER: u8 = 0x30;

const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
const ALL_PIM_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 13);
const ALL_V3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
const ALL_SNOOPERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 106);

/// The Router Alert option (RFC 2113).
const ROUTER_ALERT: u8 = 148;
/// IGMPv1 has no response time; what version 2 takes it for (RFC 2236 section 4).
const V1_RESPONSE_MS: u32 = 10_000;
/// PIM version 2, type Hello.
const PIM_HELLO: u8 = 0x20;

pub(super) fn read<'a>(ip: Ipv4View<'_>, packet: &'a [u8], len: usize) -> Option<Message<'a>> {
    if !matches!(ip.protocol(), ip::IGMP | ip::PIM) || ip.fragment() != Fragment::Whole || ip.ttl() != 1 {
        return None;
    }
    let header = packet.get(..ip.header_len())?;
    let body = Body::of(packet, len, ip.header_len()..usize::from(ip.total_len()))?;
    let sums = |bytes| Sum::default().bytes(bytes).checksum() == 0;
    if !sums(header) || (body.whole && !sums(body.bytes)) {
        return None;
    }
    let (source, to) = (Ipv4Addr::from(ip.src()), Ipv4Addr::from(ip.dst()));
    match (ip.protocol(), body.bytes.first()?) {
        (ip::PIM, &PIM_HELLO) => (to == ALL_PIM_ROUTERS).then_some(Message::Router(IpVersion::V4)),
        (ip::IGMP, kind) => message(*kind, body, source, to, alerts(header)),
        _ => None,
    }
}

fn message(kind: u8, body: Body<'_>, source: Ipv4Addr, to: Ipv4Addr, alerts: bool) -> Option<Message<'_>> {
    let bytes: &[u8; 8] = body.bytes.first_chunk()?;
    let group = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
    let one = |change| Some(Message::Report(Records::one(Record { group: group.into(), change })));
    match kind {
        QUERY if body.whole && (alerts || is_v1_query(bytes)) => {
            query(body, source, group, to).map(Message::Query)
        }
        V1_REPORT | V2_REPORT if to == group => one(Change::Joins),
        V2_LEAVE if alerts && (to == ALL_ROUTERS || to == group) => one(Change::Leaves),
        V3_REPORT if to == ALL_V3_ROUTERS => {
            Records::listed(IpVersion::V4, body, alerts).map(Message::Report)
        }
        ROUTER => (alerts && to == ALL_SNOOPERS).then_some(Message::Router(IpVersion::V4)),
        _ => None,
    }
}

/// Version 1 knows no Router Alert.
const fn is_v1_query(bytes: &[u8; 8]) -> bool {
    bytes[1] == 0
}

fn query(body: Body<'_>, source: Ipv4Addr, group: Ipv4Addr, to: Ipv4Addr) -> Option<Query> {
    let is_general = group.is_unspecified();
    let fits = if is_general { to == ALL_SYSTEMS } else { to == group && group.is_multicast() };
    if !fits || source.is_multicast() || source.is_broadcast() || source.is_loopback() {
        return None;
    }
    let code = body.bytes[1];
    let v3 = match body.bytes.len() {
        8 => None,
        // In between is what hosts ignore (RFC 3376 section 7.1).
        _ => Some(body.bytes.get(8..12)?),
    };
    let max_response_ms = match (code, v3) {
        (0, None) => V1_RESPONSE_MS,
        (_, None) => u32::from(code) * 100,
        (_, Some(_)) => float8(code) * 100,
    };
    let sources = be16(body.bytes, 10).unwrap_or(0);
    Some(Query {
        source: IpAddr::V4(source),
        group: (!is_general).then_some(IpAddr::V4(group)),
        max_response_ms,
        interval_ms: v3.map(|v3| float8(v3[1]) * 1000).filter(|interval| *interval != 0),
        suppressed: v3.is_some_and(|v3| v3[0] & 8 != 0) || sources != 0,
    })
}

/// True where the header has the Router Alert option.
fn alerts(header: &[u8]) -> bool {
    let mut options = header.get(20..).unwrap_or_default();
    loop {
        options = match *options {
            [ROUTER_ALERT, 4, ..] => return true,
            [1, ref rest @ ..] => rest,
            [kind, len, ..] if kind > 1 && len > 1 => options.get(usize::from(len)..).unwrap_or_default(),
            _ => return false,
        };
    }
}
