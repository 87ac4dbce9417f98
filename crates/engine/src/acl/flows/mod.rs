//! The flows of a port that stateful rules let begin.
//!
//! The first packet that a stateful rule allows makes a flow, and what belongs to that passes in both directions, until nothing came
//! for as long as the rule says:
//!
//! * TCP: a SYN opens a connection, nothing else does. Each segment has to be at its place ([`tcp`]).
//! * UDP, and protocols without ports: what goes between the same two ends.
//! * ICMP: echo requests of who sent the first one, and replies of the other. Other messages pass without making a flow.
//! * ICMP errors that quote a packet of a flow which may be on its way.
//! * Datagrams in fragments: parts that follow a first one which passed. TCP in fragments belongs to no flow, as what follows could
//!   overlap its numbers (RFC 1858, RFC 3128).
//!
//! A flow is there by the rules: where these change, the next packet has them judge anew whether it may be.

mod assurance;
mod flow;
mod key;
mod passage;
mod places;
mod table;
mod tcp;

use super::{Acl, AclFinding, AclFrame, AclWay, Asked, Looked, rules::Section};
use crate::{Fetch, Millis, PortIndex, hash::Seed};
use assurance::Assurance;
pub(super) use assurance::Issuer;
use flow::{Flow, Kind};
use key::{Key, Role};
use model::{AclAction, DropReason};
pub use passage::Passage;
use places::{NIL, Slot};
use table::Table;
use tcp::{Connection, OPENER, Place, RESPONDER};
use wire::{
    FiveTuple,
    packet::{self, Network, Packet, Part, Segment, Transport},
};

/// Bytes of a TCP header that a later fragment may not overlap (RFC 3128): all but its options.
const TCP_HEADER: u16 = 20;

/// Flows that begin with one batch at most: each frame may begin its own, and that of its fragments.
const MOST_NEW: usize = 2 * Asked::MOST;

/// The flows of a port.
#[derive(Debug)]
pub(super) struct Flows {
    table: Table,
    /// Counts the states of the rules.
    generation: u32,
}

/// What a packet is to the flows that are there.
enum Known {
    /// There is no flow that it could be of.
    No,
    /// There is, and it belongs to it.
    Belongs,
    /// There is, and it does not.
    Foreign,
}

/// Which flow a packet could be of by its own ends, and what it would be to it.
#[derive(Clone, Copy)]
pub(super) struct Own {
    key: Key,
    role: Role,
}

/// The flow that a frame could be of by its five-tuple, while it is looked up. Of the key what of IPv4 is all: so that many of these take
/// little of the first cache.
#[derive(Clone, Copy)]
pub(super) struct Sought {
    key: [u64; 2],
    hash: u64,
    /// Where it probably is.
    likely: Slot,
    /// `None` where there is no five-tuple.
    role: Option<Role>,
}

const _: () = assert!(size_of::<Sought>() == 32);

impl Sought {
    pub(super) const NOTHING: Self = Self { key: [0; 2], hash: 0, likely: NIL, role: None };
}

impl Flows {
    pub(super) fn new(seed: Seed, quota: u32) -> Self {
        Self { table: Table::new(seed, |_| (), quota as usize), generation: 0 }
    }

    pub(super) const fn fetch_with(&mut self, fetch: Fetch) {
        self.table.fetch_with(fetch);
    }

    /// Notes that the rules are others now.
    pub(super) const fn follow(&mut self, quota: u32) {
        self.generation = self.generation.wrapping_add(1);
        self.table.set_quota(quota as usize);
    }

    pub(super) const fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.table.bytes()
    }

    pub(super) fn sweep(&mut self, places: usize, now: Millis) -> usize {
        self.table.age(places, now)
    }

    /// A copy of those that a frame could be of, or that could make room for one.
    pub(super) fn excerpt(&self, frame: &AclFrame<'_>, way: AclWay, now: Millis) -> Self {
        let network = packet::read(frame.header);
        let own = Self::own(&network, way, frame.vlan).map(|own| own.key);
        let (mut fragment, mut quoted) = (None, None);
        if let Network::Ip(packet) = &network {
            fragment = Key::of_fragment(packet, way, frame.vlan);
            if let Transport::Icmp(icmp) = &packet.transport {
                quoted = Key::quoted(packet, icmp, way, frame.vlan).map(|(key, _)| key);
            }
        }
        let keys = own.into_iter().chain(fragment).chain(quoted);
        Self { table: self.table.excerpt(keys, now), generation: self.generation }
    }

    /// The flow that a frame could be of.
    pub(super) fn own(network: &Network<'_>, way: AclWay, vlan: u16) -> Option<Own> {
        let Network::Ip(packet) = network else { return None };
        if matches!(packet.part, Part::Later { .. }) {
            return None;
        }
        let (key, role) = Key::of_packet(packet, way, vlan)?;
        Some(Own { key, role })
    }

    /// What the flow of a frame is looked up by.
    #[inline(always)]
    pub(super) fn seek(&self, frame: &AclFrame<'_>, way: AclWay) -> Sought {
        let Some(tuple) = FiveTuple::of(frame.header) else { return Sought::NOTHING };
        let (key, role) = Key::of_tuple(&tuple, way, frame.vlan);
        let hash = self.table.hash(&key);
        Sought { key: key.parts().0, hash, likely: NIL, role: Some(role) }
    }

    /// The same of a frame that passed the port it came in on by such a flow; `None` where that says too little. Where the flow was last
    /// time is fetched.
    #[inline(always)]
    pub(super) fn seek_behind(&self, passage: &Passage, vlan: u16) -> Option<Sought> {
        if passage.own == NIL || key::is_v6(passage.key) {
            return None;
        }
        let key = key::turned(passage.key, vlan);
        let mut sought = Sought { key, hash: 0, likely: passage.peer, role: Some(key::role(key)) };
        match sought.likely {
            NIL => sought.hash = self.table.hash(&Key::of_parts(key, [0; 3])),
            slot => self.table.fetch(slot),
        }
        Some(sought)
    }

    /// Fetches what the look-up will read first, where it is not known where it ends.
    #[inline(always)]
    pub(super) fn begin(&self, sought: &Sought) {
        if sought.role.is_some() && sought.likely == NIL {
            self.table.begin(sought.hash);
        }
    }

    /// Notes where the look-up will probably end, and fetches that.
    #[inline(always)]
    pub(super) fn approach(&self, sought: &mut Sought) {
        if sought.role.is_some() && sought.likely == NIL {
            sought.likely = self.table.likely(sought.hash, sought.key);
        }
    }

    /// Begins another epoch, in which no assurance of one before holds.
    pub(super) const fn begin_epoch(&mut self, epoch: u64) {
        self.table.begin_epoch(epoch);
    }

    pub(super) const fn epoch(&self) -> u64 {
        self.table.epoch()
    }

    /// Who assures that datagrams may leave, where these are the flows of `port`: nobody where a flow could have to go before its time
    /// within a batch.
    pub(super) const fn issuer(&self, port: PortIndex) -> Option<Issuer> {
        if self.table.has_room_for(MOST_NEW) { Some(Issuer::new(port, self.epoch())) } else { None }
    }

    /// Has the flow of a passage remember where the flow is by which the frame left.
    pub(super) fn note_peer(&self, passage: &Passage, left_by: &Passage) {
        if let Some(flow) = self.table.flow_at(passage.own, passage.key) {
            flow.note_peer(left_by.own);
        }
    }

    /// Has it remember that others of a flow may leave, as one did among the flows `left`.
    pub(super) fn note_assured(
        &self,
        passage: &Passage,
        (issuer, left): (Issuer, &Self),
        left_by: &Passage,
        now: Millis,
    ) {
        let flow = self.table.flow_at(passage.own, passage.key);
        if let (Some(flow), Some(left_by)) = (flow, left.table.flow_at(left_by.own, left_by.key)) {
            left_by.prolong_for_assurance(now);
            flow.note_assurance(Assurance::new(issuer, now));
        }
    }

    /// The short way of what passes most: for a frame of a flow that is where it was expected, and of which its rules need not be asked,
    /// how it passes. Otherwise nothing was done.
    #[inline(always)]
    pub(super) fn let_pass(
        &self,
        sought: &Sought,
        frame: &AclFrame<'_>,
        way: AclWay,
        now: Millis,
    ) -> Option<Passage> {
        let (key, role) = (sought.key, sought.role?);
        let (slot, flow) = match self.table.flow_at(sought.likely, key) {
            Some(flow) => (sought.likely, flow),
            None => self.table.flow_of(key)?,
        };
        let is_current = flow.generation == self.generation && !flow.has_expired(now);
        if !is_current || (key::is_v6(key) && !self.is_of(slot, frame, way)) {
            return None;
        }
        let assured = match role {
            Role::Tcp => {
                let segment = FiveTuple::segment(frame.header)?;
                flow.takes_segment(way, &segment).then_some(Assurance::NONE)
            }
            _ => flow.takes_plain(way).then(|| flow.assurance(now)),
        }?;
        flow.prolong(now);
        Some(Passage { key, own: slot, peer: flow.peer(), assured })
    }

    /// True where the flow at a place is that of a frame, all of the key compared.
    #[inline(never)]
    fn is_of(&self, slot: Slot, frame: &AclFrame<'_>, way: AclWay) -> bool {
        let key = FiveTuple::of(frame.header).map(|tuple| Key::of_tuple(&tuple, way, frame.vlan).0);
        key.is_some_and(|key| self.table.is_of(slot, &key))
    }

    /// What the extended rules and the flows that they made say of a frame, where no more changes by it than a flow's time and bounds.
    /// Otherwise `None`, with nothing done.
    #[inline]
    pub(super) fn judge_known(
        &self,
        looked: &Looked<'_>,
        own: Option<&Own>,
        now: Millis,
    ) -> Option<AclFinding> {
        let Network::Ip(packet) = looked.network else { return Some(looked.by_extended_rules()) };
        if packet.part != Part::Whole {
            return None;
        }
        let Own { key, role } = own?;
        let Some(slot) = self.table.place(key) else { return self.by_rules_known(looked, &Known::No) };
        let flow = self.table.flow(slot)?;
        if flow.generation != self.generation || flow.has_expired(now) {
            return None;
        }
        let segment = if let Transport::Tcp(segment) = &packet.transport { Some(segment) } else { None };
        let known = take_known(flow, looked.way, *role, segment)?;
        if !matches!(known, Known::Belongs) {
            return self.by_rules_known(looked, &known);
        }
        flow.refresh(now);
        Some(AclFinding::OF_FLOW)
    }

    /// What the rules say of a packet that no flow lets pass, unless it may begin one.
    fn by_rules_known(&self, looked: &Looked<'_>, known: &Known) -> Option<AclFinding> {
        let done = looked.first(Section::Extended);
        match (done.map(|done| done.action), known) {
            (Some(AclAction::Stateful(_)), _) => None,
            (Some(AclAction::Deny), Known::Foreign) => {
                Some(AclFinding::refused(DropReason::OutOfState, done))
            }
            (Some(AclAction::Deny), _) => Some(AclFinding::refused(DropReason::ExtAclDenied, done)),
            _ => Some(AclFinding::passed(done)),
        }
    }

    /// The same whatever changes by it.
    pub(super) fn judge(
        &mut self,
        acl: &Acl,
        looked: &Looked<'_>,
        own: Option<&Own>,
        now: Millis,
    ) -> AclFinding {
        let Network::Ip(packet) = looked.network else { return looked.by_extended_rules() };
        let known = self.known(acl, looked, own, packet, now);
        let finding = match known {
            Known::Belongs => AclFinding::OF_FLOW,
            Known::No | Known::Foreign => self
                .by_rules_known(looked, &known)
                .unwrap_or_else(|| self.by_stateful_rule(looked, own, packet, now)),
        };
        if let (None, Part::First { .. }) = (finding.refused, packet.part) {
            self.expect_fragments(looked, packet, now);
        }
        finding
    }

    fn known(
        &mut self,
        acl: &Acl,
        looked: &Looked<'_>,
        own: Option<&Own>,
        packet: &Packet<'_>,
        now: Millis,
    ) -> Known {
        if let Part::Later { offset, .. } = packet.part {
            return self.known_fragment(looked, packet, offset, now);
        }
        let Some(Own { key, role }) = own else { return self.known_error(acl, looked, packet, now) };
        let Some(slot) = self.find(acl, key, now) else { return Known::No };
        self.take(slot, looked.way, *role, packet, now)
    }

    /// The flow of this key, if it may still be there by the rules.
    fn find(&mut self, acl: &Acl, key: &Key, now: Millis) -> Option<Slot> {
        let slot = self.table.find(key, now)?;
        let generation = self.generation;
        let flow = self.table.flow_mut(slot)?;
        if flow.generation == generation {
            return Some(slot);
        }
        let idle = acl.lets_open(&Network::Ip(key.opening(flow.opened())), flow.opened());
        match idle.filter(|_| !key.is_fragment()) {
            Some(idle) => (flow.idle, flow.generation) = (idle, generation),
            None => {
                self.table.remove(slot);
                return None;
            }
        }
        Some(slot)
    }

    /// Judges a packet by the flow it could be of.
    fn take(&mut self, slot: Slot, way: AclWay, role: Role, packet: &Packet<'_>, now: Millis) -> Known {
        let Some(flow) = self.table.flow_mut(slot) else { return Known::No };
        let from = if flow.opened() == way { OPENER } else { RESPONDER };
        let (was_dispensable, mut kind) = (flow.is_dispensable(), flow.kind());
        let place = match (&mut kind, role, &packet.transport) {
            (Kind::Tcp(connection), Role::Tcp, Transport::Tcp(segment)) => connection.take(from, segment),
            (kind @ (Kind::Unanswered | Kind::Answered), role, _) if may_send(role, from) => {
                if from == RESPONDER {
                    *kind = Kind::Answered;
                }
                Place::Within
            }
            _ => Place::Foreign,
        };
        match place {
            Place::Foreign => return Known::Foreign,
            Place::Last => self.table.remove(slot),
            Place::Beside => {}
            Place::Within => {
                flow.set_kind(&kind);
                flow.refresh(now);
                match (was_dispensable, flow.is_dispensable()) {
                    (true, false) => self.table.keep(slot),
                    (false, true) => self.table.offer(slot),
                    _ => {}
                }
            }
        }
        Known::Belongs
    }

    /// What becomes of a packet that a stateful rule allows.
    fn by_stateful_rule(
        &mut self,
        looked: &Looked<'_>,
        own: Option<&Own>,
        packet: &Packet<'_>,
        now: Millis,
    ) -> AclFinding {
        let done = looked.first(Section::Extended);
        let Some(AclAction::Stateful(idle)) = done.map(|done| done.action) else {
            return AclFinding::passed(done);
        };
        match self.open(looked.way, own, packet, idle, now) {
            Err(reason) => AclFinding::refused(reason, done),
            Ok(()) => AclFinding::passed(done),
        }
    }

    /// Makes a flow of a packet that a stateful rule allows.
    fn open(
        &mut self,
        way: AclWay,
        own: Option<&Own>,
        packet: &Packet<'_>,
        idle: u16,
        now: Millis,
    ) -> Result<(), DropReason> {
        let Some(Own { key, role }) = own else {
            // A message that is no echo needs no state; what is hidden could be anything.
            return if matches!(packet.transport, Transport::Icmp(_)) {
                Ok(())
            } else {
                Err(DropReason::OutOfState)
            };
        };
        let kind = match (role, &packet.transport) {
            (Role::Tcp, Transport::Tcp(segment)) => Connection::opened_by(segment).map(Kind::Tcp),
            (Role::Responders, _) => None,
            _ => Some(Kind::Unanswered),
        };
        let kind = kind.ok_or(DropReason::OutOfState)?;
        if let Some(former) = self.table.find(key, now) {
            if !self.table.flow(former).is_some_and(Flow::is_over) {
                return Err(DropReason::OutOfState);
            }
            self.table.remove(former);
        }
        let flow = Flow::new(kind, way, idle, self.generation, now);
        if self.table.insert(key, flow, now) { Ok(()) } else { Err(DropReason::FlowTableFull) }
    }

    /// Has the parts of a datagram pass whose first one did. Without a place for it they do not.
    fn expect_fragments(&mut self, looked: &Looked<'_>, packet: &Packet<'_>, now: Millis) {
        let Some(key) = Key::of_fragment(packet, looked.way, looked.frame.vlan) else { return };
        // Of one that hides what it carries, nothing that follows is expected.
        if matches!(packet.transport, Transport::Hidden(_)) {
            return;
        }
        let of_tcp = matches!(packet.transport, Transport::Tcp(_));
        let flow = Flow::new(Kind::Fragments { of_tcp }, looked.way, u16::MAX, self.generation, now);
        if let Some(former) = self.table.find(&key, now) {
            self.table.remove(former);
        }
        self.table.insert(&key, flow, now);
    }

    fn known_fragment(
        &mut self,
        looked: &Looked<'_>,
        packet: &Packet<'_>,
        offset: u16,
        now: Millis,
    ) -> Known {
        let key = Key::of_fragment(packet, looked.way, looked.frame.vlan);
        let found = key.and_then(|key| self.table.find(&key, now));
        let flow = found.and_then(|slot| self.table.flow(slot));
        match flow.filter(|flow| flow.generation == self.generation).map(Flow::kind) {
            Some(Kind::Fragments { of_tcp: true }) if offset < TCP_HEADER => Known::Foreign,
            Some(Kind::Fragments { .. }) => Known::Belongs,
            _ => Known::No,
        }
    }

    /// Whether an ICMP error quotes a packet that a flow has on its way. It neither prolongs the flow nor ends it.
    fn known_error(&mut self, acl: &Acl, looked: &Looked<'_>, packet: &Packet<'_>, now: Millis) -> Known {
        let Transport::Icmp(icmp) = &packet.transport else { return Known::No };
        let quoted = Key::quoted(packet, icmp, looked.way, looked.frame.vlan);
        let Some((key, number)) = quoted else { return Known::No };
        let Some(flow) = self.find(acl, &key, now).and_then(|slot| self.table.flow(slot)) else {
            return Known::No;
        };
        // The error goes against the packet that it is about.
        let from = if flow.opened() == looked.way { RESPONDER } else { OPENER };
        let is_on_its_way = match (flow.kind(), number) {
            (Kind::Tcp(connection), Some(number)) => connection.is_on_its_way(from, number),
            (Kind::Tcp(_), None) => false,
            _ => true,
        };
        if is_on_its_way { Known::Belongs } else { Known::Foreign }
    }
}

/// Judges a packet by the flow it could be of, where no more changes by it than the bounds of a connection. Otherwise `None`, with nothing
/// done.
#[inline]
fn take_known(flow: &Flow, way: AclWay, role: Role, segment: Option<&Segment<'_>>) -> Option<Known> {
    let from = if flow.opened() == way { OPENER } else { RESPONDER };
    let is_part = match (flow.kind(), role, segment) {
        (Kind::Tcp(mut connection), Role::Tcp, Some(segment)) => {
            if !connection.is_in_the_midst(segment) {
                return None;
            }
            let is_part = connection.take(from, segment) == Place::Within;
            if is_part {
                flow.note_said(from, &connection);
            }
            is_part
        }
        (Kind::Unanswered, ..) if from == RESPONDER => return None,
        (Kind::Unanswered | Kind::Answered, ..) => may_send(role, from),
        _ => false,
    };
    Some(if is_part { Known::Belongs } else { Known::Foreign })
}

const fn may_send(role: Role, from: usize) -> bool {
    match role {
        Role::Plain => true,
        Role::Openers => from == OPENER,
        Role::Responders => from == RESPONDER,
        Role::Tcp => false,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    const NOW: Millis = Millis(5);

    /// A datagram between two hosts that differ in the last byte of one of their addresses, and in all that is in front of it only by version.
    fn datagram(v6: bool, last: u8) -> Vec<u8> {
        let udp = [3, 232, 0, 53, 0, 8, 0, 0];
        match v6 {
            true => {
                let (src, dst) = ([0x20; 16], [[0x20; 15].as_slice(), &[last]].concat());
                [&[2; 12], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64][..], &src, &dst, &udp].concat()
            }
            false => {
                let ip = [8, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, last];
                [&[2; 12], &ip[..], &udp].concat()
            }
        }
    }

    fn sought(flows: &Flows, header: &[u8], likely: Slot) -> bool {
        let frame = AclFrame { header, len: 60, vlan: 0 };
        let sought = Sought { likely, ..flows.seek(&frame, AclWay::Out) };
        flows.let_pass(&sought, &frame, AclWay::Out, NOW).is_some()
    }

    #[test]
    fn the_short_way_lets_nothing_pass_but_a_frame_of_the_flow_at_that_place_while_its_rules_stay() {
        for v6 in [false, true] {
            let mut flows = Flows::new([1, 2], 10);
            let (own, other) = (datagram(v6, 2), datagram(v6, 3));
            let (key, _) = Key::of_tuple(&FiveTuple::of(&own).unwrap(), AclWay::Out, 0);
            flows.table.insert(&key, Flow::new(Kind::Unanswered, AclWay::Out, 9, 0, NOW), NOW);
            let place = flows.table.place(&key).unwrap();
            assert!(sought(&flows, &own, place));
            assert!(!sought(&flows, &other, place), "of another key, IPv6: {v6}");
            // Of IPv4 it is looked for again.
            assert!([place + 1, NIL].iter().all(|place| sought(&flows, &own, *place) != v6));
            flows.follow(10);
            assert!(!sought(&flows, &own, place), "the rules are others now");
        }
    }

    fn flows_with(header: &[u8], way: AclWay, vlan: u16) -> Flows {
        let mut flows = Flows::new([1, 2], 10);
        let (key, _) = Key::of_tuple(&FiveTuple::of(header).unwrap(), way, vlan);
        flows.table.insert(&key, Flow::new(Kind::Answered, way, 9, 0, NOW), NOW);
        flows
    }

    #[test]
    fn a_flow_is_looked_for_where_its_peer_says_and_is_no_other_one() {
        let (own, other) = (datagram(false, 2), datagram(false, 3));
        let (from, mut to) = (flows_with(&own, AclWay::Out, 7), flows_with(&own, AclWay::In, 9));
        let frame = AclFrame { header: &own, len: 60, vlan: 7 };
        let passes = || {
            let mut sought = from.seek(&frame, AclWay::Out);
            from.approach(&mut sought);
            from.let_pass(&sought, &frame, AclWay::Out, NOW).unwrap()
        };
        let leaves = |to: &Flows, passage: &Passage, vlan| {
            let mut sought = to.seek_behind(passage, vlan).unwrap();
            to.approach(&mut sought);
            to.let_pass(&sought, &AclFrame { vlan, ..frame }, AclWay::In, NOW)
        };
        let passage = passes();
        assert_eq!(passage.peer, NIL);
        let left_by = leaves(&to, &passage, 9).unwrap();
        assert!(passage.misses(&left_by));
        from.note_peer(&passage, &left_by);
        let passage = passes();
        assert_eq!(passage.peer, left_by.own);
        assert!(leaves(&to, &passage, 9).is_some_and(|left_by| !passage.misses(&left_by)));
        assert!(leaves(&to, &passage, 8).is_none(), "another VLAN");
        to = flows_with(&other, AclWay::In, 9);
        assert!(leaves(&to, &passage, 9).is_none(), "another flow is there now");
    }
}
