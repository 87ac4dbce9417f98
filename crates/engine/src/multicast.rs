//! Multicast snooping (RFC 4541): groups go to the ports where somebody wants them.
//!
//! Filtering what somebody wants does more harm than sending it to who does not, so whatever is not known for certain is flooded:
//!
//! * groups of the link itself, with all of neighbour discovery, are never filtered ([`wire::multicast::is_local`]);
//! * nothing is filtered in a VLAN, by IP version, where nobody asks hosts for their groups, or where they had no time yet to
//!   answer ([`segment`]);
//! * a port gets everything for a while where it is not known what it wants: when it has just come up, when not all of a report of
//!   it was at hand, when there was no place left for what it wants ([`memberships`]).
//!
//! Who wants a group from some sources gets it from all. Where routers are is learned from queries, PIM hellos and advertisements
//! (RFC 4286), unless the port has a router guard; they get all groups. Reports go to routers only: hosts of IGMPv2 and MLDv1 that
//! hear each other's keep still.

mod memberships;
mod segment;

use crate::{Millis, PortIndex, Role, Snapshot};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use memberships::{Membership, Memberships};
use model::policy::multicast::{GroupProtocol, MulticastConfig, QueryVersion};
use segment::{Other, Segment};
use wire::{
    IpVersion, MacAddr,
    multicast::{Ask, Cast, Change, Message, Query, Records, Version, version_of},
};

/// The most pairs of VLAN and IP version in which groups are known. In others nothing is filtered.
const MAX_SEGMENTS: usize = 512;
/// The most groups whose members are being asked whether any is left. Where more are left at once, their members run out by time.
const MAX_LEFT: usize = 16;
/// How often members are asked whether any is left, and how many seconds apart (RFC 3376 sections 8.8 and 8.9).
const LAST_QUERIES: u8 = segment::ROBUSTNESS;
const LAST_INTERVAL_MS: u64 = 1000;
/// A member that does not answer has left: after all queries, the wait for the first one, and the way of the answer.
const LEAVE_MS: u64 = (LAST_QUERIES as u64 + 2) * LAST_INTERVAL_MS;

/// Who gets a frame of those that a flood would reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All.
    Everybody,
    /// The members of the group, and routers.
    Members(IpAddr),
    /// Routers only.
    Routers(IpVersion),
}

/// A query that the switch sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// In which VLAN.
    pub vlan: u16,
    /// To which port; `None` for all.
    pub to: Option<PortIndex>,
    /// What is asked.
    pub ask: Ask,
}

/// What a switch knows of who wants what.
#[derive(Clone, Debug)]
pub(crate) struct Multicast {
    config: MulticastConfig,
    /// The switch's own address, which it asks from.
    mac: MacAddr,
    memberships: Memberships,
    /// By [`Segment::key`].
    segments: Vec<Segment>,
    ports: Vec<Place>,
    left: [Option<Left>; MAX_LEFT],
}

/// What is known of a port besides its groups.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    up: bool,
    is_uplink: bool,
    /// Who is behind it is not believed to be a router.
    router_guard: bool,
    /// It gets everything until then.
    all_until: Millis,
}

/// A group that somebody at a port has left, and whose members there are asked whether any is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    vlan: u16,
    group: IpAddr,
    port: PortIndex,
    next: Millis,
    queries: u8,
}

impl Multicast {
    /// Knows nothing yet. Ports that are up have been for long.
    pub(crate) fn new(config: MulticastConfig, mac: MacAddr, snapshot: &Snapshot, now: Millis) -> Self {
        let mut new = Self {
            config,
            mac,
            memberships: Memberships::new(now),
            segments: Vec::with_capacity(MAX_SEGMENTS),
            ports: Vec::new(),
            left: [None; MAX_LEFT],
        };
        new.follow(snapshot, snapshot, now);
        new.ports.iter_mut().for_each(|place| place.all_until = Millis(0));
        new
    }

    /// Takes over other settings. Where they are about how hosts are asked, who asks is found out anew, and nothing is filtered
    /// meanwhile.
    pub(crate) fn configure(&mut self, config: MulticastConfig, mac: MacAddr) {
        let asking =
            |c: &MulticastConfig| (c.querier, c.query_version, c.query_interval_s, c.query_response_s);
        if (asking(&config), mac) != (asking(&self.config), self.mac) {
            self.segments.clear();
            self.left = [None; MAX_LEFT];
        }
        (self.config, self.mac) = (config, mac);
    }

    /// Takes over the ports of a snapshot. What hosts behind one that has come up, or come into another VLAN, want is not known
    /// until they were asked.
    pub(crate) fn follow(&mut self, former: &Snapshot, snapshot: &Snapshot, now: Millis) {
        for version in [IpVersion::V4, IpVersion::V6] {
            for (_, port) in snapshot.ports() {
                self.begin(snapshot.learns_in(port.vlans.untagged), version, now);
            }
        }
        let lasting = self.segments.iter().map(|segment| segment.believed_until(now));
        let unknown_until = lasting.max().unwrap_or(now);
        self.ports.resize_with(snapshot.port_slots(), Place::default);
        for (index, place) in (0..).map(PortIndex).zip(&mut self.ports) {
            let (was, port) = (former.port(index), snapshot.port(index));
            let up = port.is_some_and(|port| port.policy.up);
            let moved = was.is_some_and(|was| port.is_some_and(|port| port.vlans != was.vlans));
            *place = Place {
                up,
                is_uplink: port.is_some_and(|port| port.policy.role == Role::Uplink),
                router_guard: port.is_some_and(|port| port.policy.router_guard),
                all_until: if up && (moved || !place.up) { unknown_until } else { place.all_until },
            };
        }
        self.memberships.keep(|port| snapshot.policy(port).is_some());
    }

    /// Follows what happens in a VLAN from now on.
    fn begin(&mut self, vlan: u16, version: IpVersion, now: Millis) -> Option<usize> {
        match self.segments.binary_search_by_key(&segment::key(vlan, version), Segment::key) {
            Ok(at) => Some(at),
            Err(_) if self.segments.len() == MAX_SEGMENTS => None,
            Err(at) => {
                self.segments.insert(at, Segment::new(vlan, version, &self.config, now));
                Some(at)
            }
        }
    }

    fn segment(&self, vlan: u16, version: IpVersion) -> Option<&Segment> {
        let found = self.segments.binary_search_by_key(&segment::key(vlan, version), Segment::key);
        self.segments.get(found.ok()?)
    }

    fn segment_or_new(&self, vlan: u16, version: IpVersion, now: Millis) -> Segment {
        let new = || Segment::new(vlan, version, &self.config, now);
        self.segment(vlan, version).copied().unwrap_or_else(new)
    }

    /// Who gets a frame.
    pub(crate) fn audience(&self, vlan: u16, cast: &Cast<'_>, now: Millis) -> Audience {
        let filters = |version| self.segment(vlan, version).is_some_and(|segment| segment.filters(now));
        match cast {
            Cast::Group(group) if filters(version_of(group)) && !self.is_unwanted(vlan, *group, now) => {
                Audience::Members(*group)
            }
            Cast::Message(Message::Report(records), _) if filters(records.version()) => {
                Audience::Routers(records.version())
            }
            _ => Audience::Everybody,
        }
    }

    /// True for a group that goes to all since nobody wants it, where that is what is asked for.
    fn is_unwanted(&self, vlan: u16, group: IpAddr, now: Millis) -> bool {
        self.config.flood_unregistered && self.memberships.ports(vlan, group, now).next().is_none()
    }

    /// True where `port` belongs to the audience.
    pub(crate) fn attends(&self, vlan: u16, audience: Audience, port: PortIndex, now: Millis) -> bool {
        let wants = |group| self.memberships.has(vlan, group, port, now);
        let gets_all = || self.ports.get(usize::from(port.0)).is_some_and(|place| self.gets_all(place, now));
        match audience {
            Audience::Everybody => true,
            Audience::Members(group) => {
                wants(group) || wants(Segment::every_group(version_of(&group))) || gets_all()
            }
            Audience::Routers(version) => wants(Segment::every_group(version)) || gets_all(),
        }
    }

    fn gets_all(&self, place: &Place, now: Millis) -> bool {
        place.all_until > now || (place.is_uplink && self.config.uplink_router)
    }

    /// Takes note of a message that came in on `port`.
    pub(crate) fn hear(&mut self, vlan: u16, port: PortIndex, message: Message<'_>, now: Millis) {
        let believed = self.ports.get(usize::from(port.0)).is_some_and(|place| !place.router_guard);
        match message {
            Message::Report(records) => self.hear_report(vlan, port, records, now),
            Message::Query(query) if believed => self.hear_query(vlan, port, &query, now),
            Message::Router(version) if believed => {
                self.begin(vlan, version, now);
                let until = self.segment_or_new(vlan, version, now).believed_until(now);
                self.note(vlan, Segment::every_group(version), port, until, now);
            }
            Message::Query(_) | Message::Router(_) => {}
        }
    }

    fn hear_report(&mut self, vlan: u16, port: PortIndex, mut records: Records<'_>, now: Millis) {
        self.begin(vlan, records.version(), now);
        let segment = self.segment_or_new(vlan, records.version(), now);
        let until = segment.believed_until(now);
        for record in records.by_ref() {
            match record.change {
                Change::Joins => self.note(vlan, record.group, port, until, now),
                Change::Leaves => self.leave(vlan, record.group, port, segment.is_own(now), now),
            }
        }
        if records.is_cut() {
            self.give_all(port, until);
        }
    }

    /// Notes what a port wants; where there is no place for it, it gets everything.
    fn note(&mut self, vlan: u16, group: IpAddr, port: PortIndex, until: Millis, now: Millis) {
        if !self.memberships.join(vlan, group, port, until, now) {
            self.give_all(port, until);
        }
        self.left
            .iter_mut()
            .filter(|left| left.is_some_and(|left| left.is_at(vlan, group, port)))
            .for_each(|left| *left = None);
    }

    fn give_all(&mut self, port: PortIndex, until: Millis) {
        if let Some(place) = self.ports.get_mut(usize::from(port.0)) {
            place.all_until = place.all_until.max(until);
        }
    }

    /// Somebody at `port` has left; there may be others. Who asks finds out; where nobody does now, time will tell.
    fn leave(&mut self, vlan: u16, group: IpAddr, port: PortIndex, asks: bool, now: Millis) {
        if self.config.fast_leave {
            self.memberships.shorten(vlan, group, port, now, now);
            return;
        }
        let is_asked = self.left.iter().flatten().any(|left| left.is_at(vlan, group, port));
        let free = self.left.iter_mut().find(|left| left.is_none());
        let (true, false, Some(free)) = (asks, is_asked, free) else { return };
        if self.memberships.shorten(vlan, group, port, Millis(now.0 + LEAVE_MS), now) {
            *free = Some(Left { vlan, group, port, next: now, queries: LAST_QUERIES });
        }
    }

    fn hear_query(&mut self, vlan: u16, port: PortIndex, query: &Query, now: Millis) {
        let own = self.source(query.version());
        let Some(at) = self.begin(vlan, query.version(), now) else { return };
        let segment = &mut self.segments[at];
        match query.group {
            // A switch in a router's stead: hosts answer, but nobody is there to hear them.
            _ if query.source.is_unspecified() => {}
            None => {
                let (until, longer) = segment.hear(query, port, own, &self.config, now);
                self.believe_longer(vlan, query.version(), longer, now);
                self.note(vlan, Segment::every_group(query.version()), port, until, now);
            }
            // Only who was elected asks whether members are left (RFC 3376 section 6.6.3).
            Some(group)
                if !query.suppressed && segment.other(now).is_some_and(|other| other.port == port) =>
            {
                let answers_in = u64::from(query.max_response_ms).max(LAST_INTERVAL_MS);
                let until = now.0 + answers_in * u64::from(LAST_QUERIES) + LAST_INTERVAL_MS;
                self.memberships.shorten_all(vlan, group, Millis(until));
            }
            Some(_) => {}
        }
    }

    /// What was believed is so for longer, as hosts may take longer to answer. Happens as often as a query is slower than all
    /// before it.
    fn believe_longer(&mut self, vlan: u16, version: IpVersion, longer: u64, now: Millis) {
        if longer != 0 {
            self.memberships.prolong(vlan, version, longer, now);
            let unknown = self.ports.iter_mut().filter(|place| place.all_until > now);
            unknown.for_each(|place| place.all_until.0 += longer);
        }
    }

    /// The next query that the switch has to send now.
    pub(crate) fn next_question(&mut self, now: Millis) -> Option<Question> {
        let config = self.config;
        if let Some(segment) =
            self.segments.iter_mut().find_map(|segment| segment.is_due(&config, now).then_some(*segment))
        {
            let ask = self.ask(segment.version, None, u64::from(config.query_response_s) * 1000);
            return Some(Question { vlan: segment.vlan, to: None, ask });
        }
        let due = self.left.iter_mut().find(|left| left.is_some_and(|left| left.next <= now))?;
        let left = (*due)?;
        let again = Left { next: Millis(now.0 + LAST_INTERVAL_MS), queries: left.queries - 1, ..left };
        *due = (again.queries > 0).then_some(again);
        let ask = self.ask(version_of(&left.group), Some(left.group), LAST_INTERVAL_MS);
        Some(Question { vlan: left.vlan, to: Some(left.port), ask })
    }

    fn ask(&self, version: IpVersion, group: Option<IpAddr>, max_response_ms: u64) -> Ask {
        Ask {
            version: match self.config.query_version {
                QueryVersion::Two => Version::Single,
                QueryVersion::Three => Version::Listed,
            },
            mac: self.mac,
            source: self.source(version),
            group,
            max_response_ms: max_response_ms as u32,
            interval_s: self.config.query_interval_s,
            robustness: segment::ROBUSTNESS,
        }
    }

    /// What the switch asks from: no IPv4 address, which it has not (RFC 4541 section 2.1.1), and the link-local one that follows
    /// from its MAC (RFC 4291 appendix A), as hosts ignore queries of MLD from none.
    const fn source(&self, version: IpVersion) -> IpAddr {
        match version {
            IpVersion::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpVersion::V6 => {
                let [a, b, c, d, e, f] = self.mac.0;
                IpAddr::V6(Ipv6Addr::from_octets([
                    0xfe,
                    0x80,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    a ^ 2,
                    b,
                    c,
                    0xff,
                    0xfe,
                    d,
                    e,
                    f,
                ]))
            }
        }
    }

    /// What is known now.
    pub(crate) fn report(&self, now: Millis) -> MulticastReport {
        let left_ms = |until: Millis| until.0.saturating_sub(now.0);
        let segment = |segment: &Segment| MulticastSegment {
            vlan: segment.vlan,
            protocol: protocol(segment.version),
            filters: segment.filters(now),
            asker: match segment.other(now) {
                Some(Other { address, port, until }) => {
                    Some(Asker::Other { address, port, left_ms: left_ms(until) })
                }
                None if segment.is_own(now) => Some(Asker::Own(self.source(segment.version))),
                None => None,
            },
        };
        let member = |member: &Membership| MulticastMember {
            vlan: member.vlan,
            group: Some(member.group).filter(|group| !group.is_unspecified()),
            protocol: protocol(version_of(&member.group)),
            port: member.port,
            age_ms: now.0.saturating_sub(member.since.0),
            left_ms: left_ms(member.until),
        };
        let ports = (0..).map(PortIndex).zip(&self.ports);
        let unknown = ports.filter(|(_, place)| place.all_until > now);
        MulticastReport {
            segments: self.segments.iter().map(segment).collect(),
            members: self.memberships.iter(now).map(member).collect(),
            gets_all: unknown.map(|(port, place)| (port, left_ms(place.all_until))).collect(),
        }
    }
}

/// What a switch knows of multicast groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MulticastReport {
    /// The VLANs that something is known of, by IP version.
    pub segments: Vec<MulticastSegment>,
    /// Who wants what, by VLAN and group.
    pub members: Vec<MulticastMember>,
    /// Ports that get everything, as it is not known what they want, and for how many milliseconds yet.
    pub gets_all: Vec<(PortIndex, u64)>,
}

/// A VLAN, by IGMP or MLD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MulticastSegment {
    /// Its number; 0 is none.
    pub vlan: u16,
    /// By which protocol hosts tell.
    pub protocol: GroupProtocol,
    /// Who asks hosts for their groups.
    pub asker: Option<Asker>,
    /// Whether groups go only to who wants them.
    pub filters: bool,
}

/// Who asks hosts for their groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The switch, from this address.
    Own(IpAddr),
    /// Somebody else.
    Other {
        /// Who.
        address: IpAddr,
        /// Where.
        port: PortIndex,
        /// Milliseconds until that one counts as gone, unless heard again.
        left_ms: u64,
    },
}

/// A port that wants a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MulticastMember {
    /// In which VLAN.
    pub vlan: u16,
    /// Which one; `None` for all, as a router is behind the port.
    pub group: Option<IpAddr>,
    /// By which protocol it was heard.
    pub protocol: GroupProtocol,
    /// Which port.
    pub port: PortIndex,
    /// Since so many milliseconds.
    pub age_ms: u64,
    /// For so many milliseconds yet, unless heard again.
    pub left_ms: u64,
}

const fn protocol(version: IpVersion) -> GroupProtocol {
    match version {
        IpVersion::V4 => GroupProtocol::Igmp,
        IpVersion::V6 => GroupProtocol::Mld,
    }
}

impl Left {
    fn is_at(&self, vlan: u16, group: IpAddr, port: PortIndex) -> bool {
        (self.vlan, self.group, self.port) == (vlan, group, port)
    }
}

#[cfg(test)]
#[path = "multicast/tests.rs"]
mod tests;
