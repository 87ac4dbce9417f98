//! Routes of an interface, in every table.

use crate::attribute::{
    AF_INET, AF_INET6, Attributes, Message, af, again, attribute, emitted, family_of, ip_bytes, u16_at,
    u32_at,
};
use crate::error::{NetlinkError, errno, unless};
use crate::link::LinkTable;
use crate::socket::Netlink;
use control::facts::{Family, Hop, Prefix, Route};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, parse_ip};
use std::net::IpAddr;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_IIF: u16 = 3;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_EXPIRES: u16 = 23;
/// Attributes that have a field of their own.
const KNOWN: [u16; 12] = [
    RTA_DST,
    RTA_SRC,
    RTA_IIF,
    RTA_OIF,
    RTA_GATEWAY,
    RTA_PRIORITY,
    RTA_PREFSRC,
    RTA_MULTIPATH,
    RTA_CACHEINFO,
    RTA_TABLE,
    RTA_VIA,
    RTA_EXPIRES,
];
const RTMSG_LEN: usize = 12;
const RTNEXTHOP_LEN: usize = 8;
const RTN_UNICAST: u8 = 1;
const RTPROT_KERNEL: u8 = 2;
const RTM_F_CLONED: u32 = 0x200;
const RTNH_F_ONLINK: u32 = 4;
/// What the one byte for the table says when its number does not fit (`RT_TABLE_COMPAT`).
const TABLE_ELSEWHERE: u8 = 252;
/// The kernel tells lifetimes of routes in hundredths of a second (`USER_HZ`).
const USER_HZ: u32 = 100;
/// What the kernel says of a router that it cannot reach: no such network, no such host, not valid. The last is what it says of a
/// source that is no address of the host, too.
const UNREACHABLE: [i32; 3] = [101, 113, errno::EINVAL];

impl Netlink {
    /// All routes that name the interface and that somebody, or the kernel for a prefix, has set; not those that the kernel
    /// keeps for its own addresses (local, broadcast, multicast, anycast), which come and go with them.
    pub(crate) fn routes(&mut self, index: u32, links: &LinkTable) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        for af in [AF_INET, AF_INET6] {
            let mut fixed = [0; RTMSG_LEN];
            fixed[0] = af;
            for message in self.dump("list the routes", &Message::new(RTM_GETROUTE, &fixed))? {
                routes.extend(read_routes(&message, links, index));
            }
        }
        Ok(routes)
    }

    /// Sets a route, in front of equal ones on other interfaces; it is no error if it is there.
    ///
    /// `NLM_F_REPLACE` would be wrong: it replaces the first route of the same network and metric, whoever's it is.
    ///
    /// The kernel checks that a router can be reached when a route is added, but not later: a route may outlive the
    /// address that made its router reachable. Such a route is added with `onlink`, which leaves the check out. Likewise it may outlive
    /// the address that it suggests for a source, where it is in another table; it is added without then, as nothing can be sent
    /// from there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn add_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let Err(error) = self.add_route_once(route) else { return Ok(()) };
        let is_stale = error.errno().is_some_and(|n| UNREACHABLE.contains(&n));
        let mut forms = forms_of_stale(route).filter(|_| is_stale);
        if forms.any(|form| self.add_route_once(&form).is_ok()) { Ok(()) } else { Err(error) }
    }

    fn add_route_once(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let message = route_message(RTM_NEWROUTE, route, &self.links()?)?;
        let result = self.request(&format!("add the route {route}"), message, NLM_F_CREATE);
        unless(result, &[errno::EEXIST])
    }

    /// Removes a route; it is no error if it is not there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let links = self.links()?;
        if !self.may_remove(route, &links)? {
            return Ok(());
        }
        let message = route_message(RTM_DELROUTE, route, &links)?;
        unless(self.request(&format!("remove the route {route}"), message, 0), &[errno::ESRCH, errno::ENOENT])
    }

    /// For removal, metric 0 means "any" to the kernel, so such a route must be seen first.
    fn may_remove(&mut self, route: &Route, links: &LinkTable) -> Result<bool, NetlinkError> {
        let (0, Some(hop)) = (route.metric, route.hops.first()) else { return Ok(true) };
        let index = links.index(&hop.dev)?;
        Ok(self.routes(index, links)?.iter().any(|r| r.same_place(route)))
    }
}

/// A route that outlived an address, as the kernel may take it: with as much of it as possible first.
fn forms_of_stale(route: &Route) -> impl Iterator<Item = Route> {
    let gateway = route.has_gateway();
    let sourceless = route.prefsrc.is_some().then(|| Route { prefsrc: None, ..route.clone() });
    let as_it_is = gateway.then(|| unchecked(route));
    let both = sourceless.as_ref().filter(|_| gateway).map(unchecked);
    [as_it_is, sourceless, both].into_iter().flatten()
}

fn unchecked(route: &Route) -> Route {
    let hops = route.hops.iter().map(|hop| Hop { onlink: true, ..hop.clone() });
    Route { hops: hops.collect(), ..route.clone() }
}

fn read_routes(message: &Message, links: &LinkTable, index: u32) -> Vec<Route> {
    let Some(route) = read_route(message, links) else { return vec![] };
    let Some(dev) = links.name(index) else { return vec![] };
    if !route.hops.iter().any(|h| &h.dev == dev) {
        return vec![];
    }
    // The kernel keeps the hops of an IPv6 multipath route as routes of their own, added and removed one by one.
    if route.family == Family::Ipv6 && route.hops.len() > 1 {
        let own = route.hops.iter().filter(|h| &h.dev == dev);
        return own.map(|hop| Route { hops: vec![hop.clone()], ..route.clone() }).collect();
    }
    vec![route]
}

fn read_route(message: &Message, links: &LinkTable) -> Option<Route> {
    let body = &message.body;
    let [af, dst_len, src_len, tos, table, protocol, scope, kind] = *body.first_chunk::<8>()?;
    let flags = u32_at(body, 8)?;
    if flags & RTM_F_CLONED != 0 || (protocol == RTPROT_KERNEL && kind != RTN_UNICAST) {
        return None;
    }
    let family = family_of(af)?;
    let attributes = Attributes::read(body, RTMSG_LEN);
    let prefix = |kind, len| attributes.ip(kind).map(|ip| Prefix { ip, len });
    Some(Route {
        family,
        dst: prefix(RTA_DST, dst_len),
        from: prefix(RTA_SRC, src_len),
        table: attributes.u32(RTA_TABLE).unwrap_or_else(|| u32::from(table)),
        kind,
        scope,
        protocol,
        tos,
        metric: attributes.u32(RTA_PRIORITY).unwrap_or_default(),
        prefsrc: attributes.ip(RTA_PREFSRC),
        expires_s: attributes.get(RTA_CACHEINFO).and_then(read_expiry),
        hops: read_hops(&attributes, flags, links),
        other: attributes.without(&KNOWN),
    })
}

/// `struct rta_cacheinfo`: the third word is what is left; 0 for a route without an end.
fn read_expiry(info: &[u8]) -> Option<u32> {
    let left = u32_at(info, 8)?;
    (left != 0 && left <= i32::MAX as u32).then_some(left.div_ceil(USER_HZ))
}

fn read_hops(attributes: &Attributes, flags: u32, links: &LinkTable) -> Vec<Hop> {
    if let Some(bytes) = attributes.get(RTA_MULTIPATH) {
        return read_multipath(bytes, links);
    }
    let dev = attributes.u32(RTA_OIF).and_then(|index| links.name(index));
    let hop = |dev: &model::IfName| Hop {
        dev: dev.clone(),
        gateway: read_gateway(attributes),
        weight: 0,
        onlink: flags & RTNH_F_ONLINK != 0,
        other: vec![],
    };
    dev.map(hop).into_iter().collect()
}

fn read_multipath(mut bytes: &[u8], links: &LinkTable) -> Vec<Hop> {
    let mut hops = Vec::new();
    while let Some(len) =
        u16_at(bytes, 0).map(usize::from).filter(|l| (RTNEXTHOP_LEN..=bytes.len()).contains(l))
    {
        let attributes = Attributes::read(&bytes[..len], RTNEXTHOP_LEN);
        if let Some(dev) = u32_at(bytes, 4).and_then(|index| links.name(index)) {
            hops.push(Hop {
                dev: dev.clone(),
                gateway: read_gateway(&attributes),
                weight: bytes[3],
                onlink: u32::from(bytes[2]) & RTNH_F_ONLINK != 0,
                other: attributes.without(&KNOWN),
            });
        }
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

/// `RTA_VIA` is the family (two bytes) and the address: a router of the other family.
fn read_gateway(attributes: &Attributes) -> Option<IpAddr> {
    attributes.ip(RTA_GATEWAY).or_else(|| parse_ip(attributes.get(RTA_VIA)?.get(2..)?).ok())
}

fn route_message(kind: u16, route: &Route, links: &LinkTable) -> Result<Message, NetlinkError> {
    let len = |prefix: Option<Prefix>| prefix.map_or(0, |p| p.len);
    let table = u8::try_from(route.table).unwrap_or(TABLE_ELSEWHERE);
    let fixed = [
        af(route.family),
        len(route.dst),
        len(route.from),
        route.tos,
        table,
        route.protocol,
        route.scope,
        route.kind,
    ];
    let flags = single(route).map_or(0, |hop| if hop.onlink { RTNH_F_ONLINK } else { 0 });
    let mut message = Message::new(kind, &[fixed.as_slice(), &flags.to_ne_bytes()].concat())
        .put_u32(RTA_TABLE, route.table);
    let prefixes = [(RTA_DST, route.dst), (RTA_SRC, route.from)];
    let ips = prefixes.into_iter().filter_map(|(kind, p)| Some((kind, p?.ip)));
    for (kind, ip) in ips.chain(route.prefsrc.map(|ip| (RTA_PREFSRC, ip))) {
        message = message.put_ip(kind, ip);
    }
    let numbers = [(RTA_PRIORITY, Some(route.metric).filter(|m| *m != 0)), (RTA_EXPIRES, route.expires_s)];
    for (kind, number) in numbers.into_iter().filter_map(|(kind, n)| Some((kind, n?))) {
        message = message.put_u32(kind, number);
    }
    Ok(message.put_all(hops(route, links)?).put_all(again(&route.other)))
}

/// The only hop, if the form without `RTA_MULTIPATH` can say all of it.
fn single(route: &Route) -> Option<&Hop> {
    match route.hops.as_slice() {
        [hop] if hop.weight == 0 && hop.other.is_empty() => Some(hop),
        _ => None,
    }
}

fn hops(route: &Route, links: &LinkTable) -> Result<Vec<DefaultNla>, NetlinkError> {
    if let Some(hop) = single(route) {
        let device = attribute(RTA_OIF, &links.index(&hop.dev)?.to_ne_bytes());
        return Ok([Some(device), gateway(route.family, hop)].into_iter().flatten().collect());
    }
    let mut list = Vec::new();
    for hop in &route.hops {
        list.extend(hop_bytes(route.family, hop, links.index(&hop.dev)?));
    }
    Ok(if list.is_empty() { vec![] } else { vec![attribute(RTA_MULTIPATH, &list)] })
}

/// `struct rtnexthop` and its attributes.
fn hop_bytes(family: Family, hop: &Hop, index: u32) -> Vec<u8> {
    let attributes: Vec<_> = gateway(family, hop).into_iter().chain(again(&hop.other)).collect();
    let attributes = emitted(&attributes);
    let len = u16::try_from(RTNEXTHOP_LEN + attributes.len()).unwrap_or(u16::MAX);
    let flags = if hop.onlink { RTNH_F_ONLINK as u8 } else { 0 };
    [&len.to_ne_bytes()[..], &[flags, hop.weight], &index.to_ne_bytes(), &attributes].concat()
}

fn gateway(family: Family, hop: &Hop) -> Option<DefaultNla> {
    let (ip, its_family) = (ip_bytes(hop.gateway?), Family::of(&hop.gateway?));
    if its_family == family {
        return Some(attribute(RTA_GATEWAY, &ip));
    }
    let via = [u16::from(af(its_family)).to_ne_bytes().as_slice(), &ip].concat();
    Some(attribute(RTA_VIA, &via))
}
