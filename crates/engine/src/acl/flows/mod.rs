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

mod flow;
mod key;
mod table;
mod tcp;

use super::{Acl, AclFinding, AclWay, Looked, rules::Section};
use crate::{Millis, hash::Seed};
use flow::{Flow, Kind};
use key::{Key, Role};
use model::{AclAction, DropReason};
use table::{Slot, Table};
use tcp::{Connection, OPENER, Phase, Place, RESPONDER};
use wire::packet::{Network, Packet, Part, Transport};

/// Bytes of a TCP header that a later fragment may not overlap (RFC 3128): all but its options.
const TCP_HEADER: u16 = 20;

/// The flows of a port.
#[derive(Clone, Debug)]
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

impl Flows {
    pub(super) const fn new(seed: Seed, quota: u32) -> Self {
        Self { table: Table::new(seed, quota as usize), generation: 0 }
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
        self.table.sweep(places, now)
    }

    /// What the extended rules and the flows that they made say of a frame.
    #[inline]
    pub(super) fn judge(
        &mut self,
        acl: &Acl,
        way: AclWay,
        looked: &Looked<'_>,
        vlan: u16,
        now: Millis,
    ) -> AclFinding {
        let Network::Ip(packet) = looked.network else { return looked.by_extended_rules() };
        let known = self.known(acl, way, packet, vlan, now);
        let finding = match known {
            Known::Belongs => AclFinding { of_flow: true, ..AclFinding::passed(None) },
            Known::No | Known::Foreign => self.by_rules(way, looked, packet, vlan, &known, now),
        };
        if let (None, Part::First { .. }) = (finding.refused, packet.part) {
            self.expect_fragments(packet, way, vlan, now);
        }
        finding
    }

    #[inline]
    fn known(&mut self, acl: &Acl, way: AclWay, packet: &Packet<'_>, vlan: u16, now: Millis) -> Known {
        if let Part::Later { offset, .. } = packet.part {
            return self.known_fragment(packet, offset, way, vlan, now);
        }
        let Some((key, role)) = Key::of_packet(packet, way, vlan) else {
            return self.known_error(acl, way, packet, vlan, now);
        };
        let Some(slot) = self.find(acl, &key, now) else { return Known::No };
        self.take(slot, way, role, packet, now)
    }

    /// The flow of this key, if it may still be there by the rules.
    #[inline]
    fn find(&mut self, acl: &Acl, key: &Key, now: Millis) -> Option<Slot> {
        let slot = self.table.find(key, now)?;
        let generation = self.generation;
        let flow = self.table.flow_mut(slot)?;
        if flow.generation == generation {
            return Some(slot);
        }
        let idle = acl.lets_open(&Network::Ip(key.opening(flow.opened)), flow.opened);
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
    #[inline]
    fn take(&mut self, slot: Slot, way: AclWay, role: Role, packet: &Packet<'_>, now: Millis) -> Known {
        let Some(flow) = self.table.flow_mut(slot) else { return Known::No };
        let from = if flow.opened == way { OPENER } else { RESPONDER };
        let was_unanswered = is_unanswered(&flow.kind);
        let place = match (&mut flow.kind, role, &packet.transport) {
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
            Place::Within => {
                flow.refresh(now);
                if was_unanswered && !is_unanswered(&flow.kind) {
                    self.table.keep(slot);
                }
            }
        }
        Known::Belongs
    }

    /// What the rules say of a packet that no flow lets pass.
    fn by_rules(
        &mut self,
        way: AclWay,
        looked: &Looked<'_>,
        packet: &Packet<'_>,
        vlan: u16,
        known: &Known,
        now: Millis,
    ) -> AclFinding {
        let done = looked.first(Section::Extended);
        let refused = match (done.map(|done| done.action), known) {
            (Some(AclAction::Deny), Known::Foreign) => Some(DropReason::OutOfState),
            (Some(AclAction::Deny), _) => Some(DropReason::ExtAclDenied),
            (Some(AclAction::Stateful(idle)), _) => self.open(way, packet, vlan, idle, now).err(),
            _ => None,
        };
        match refused {
            Some(reason) => AclFinding::refused(reason, done),
            None => AclFinding::passed(done),
        }
    }

    /// Makes a flow of a packet that a stateful rule allows.
    fn open(
        &mut self,
        way: AclWay,
        packet: &Packet<'_>,
        vlan: u16,
        idle: u16,
        now: Millis,
    ) -> Result<(), DropReason> {
        let Some((key, role)) = Key::of_packet(packet, way, vlan) else {
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
        if let Some(former) = self.table.find(&key, now) {
            if !self.table.flow(former).is_some_and(|flow| is_over(&flow.kind)) {
                return Err(DropReason::OutOfState);
            }
            self.table.remove(former);
        }
        let flow = Flow::new(kind, way, idle, self.generation, now);
        self.table.insert(key, flow, now).map(drop).ok_or(DropReason::FlowTableFull)
    }

    /// Has the parts of a datagram pass whose first one did. Without a place for it they do not.
    fn expect_fragments(&mut self, packet: &Packet<'_>, way: AclWay, vlan: u16, now: Millis) {
        let Some(key) = Key::of_fragment(packet, way, vlan) else { return };
        // Of one that hides what it carries, nothing that follows is expected.
        if matches!(packet.transport, Transport::Hidden(_)) {
            return;
        }
        let of_tcp = matches!(packet.transport, Transport::Tcp(_));
        let flow = Flow::new(Kind::Fragments { of_tcp }, way, u16::MAX, self.generation, now);
        if let Some(former) = self.table.find(&key, now) {
            self.table.remove(former);
        }
        self.table.insert(key, flow, now);
    }

    fn known_fragment(
        &mut self,
        packet: &Packet<'_>,
        offset: u16,
        way: AclWay,
        vlan: u16,
        now: Millis,
    ) -> Known {
        let found = Key::of_fragment(packet, way, vlan).and_then(|key| self.table.find(&key, now));
        let flow = found.and_then(|slot| self.table.flow(slot));
        match flow.filter(|flow| flow.generation == self.generation).map(|flow| flow.kind) {
            Some(Kind::Fragments { of_tcp: true }) if offset < TCP_HEADER => Known::Foreign,
            Some(Kind::Fragments { .. }) => Known::Belongs,
            _ => Known::No,
        }
    }

    /// Whether an ICMP error quotes a packet that a flow has on its way. It neither prolongs the flow nor ends it.
    fn known_error(&mut self, acl: &Acl, way: AclWay, packet: &Packet<'_>, vlan: u16, now: Millis) -> Known {
        let Transport::Icmp(icmp) = &packet.transport else { return Known::No };
        let Some((key, number)) = Key::quoted(packet, icmp, way, vlan) else { return Known::No };
        let Some(flow) = self.find(acl, &key, now).and_then(|slot| self.table.flow(slot)) else {
            return Known::No;
        };
        // The error goes against the packet that it is about.
        let from = if flow.opened == way { RESPONDER } else { OPENER };
        let is_on_its_way = match (flow.kind, number) {
            (Kind::Tcp(connection), Some(number)) => connection.is_on_its_way(from, number),
            (Kind::Tcp(_), None) => false,
            _ => true,
        };
        if is_on_its_way { Known::Belongs } else { Known::Foreign }
    }
}

/// True while a new flow may take its place.
const fn is_unanswered(kind: &Kind) -> bool {
    match kind {
        Kind::Tcp(connection) => matches!(connection.phase(), Phase::SynSent | Phase::SynReceived),
        Kind::Unanswered | Kind::Fragments { .. } => true,
        Kind::Answered => false,
    }
}

/// True where a new flow of the same ends may begin.
const fn is_over(kind: &Kind) -> bool {
    matches!(kind, Kind::Tcp(connection) if matches!(connection.phase(), Phase::Closing))
}

const fn may_send(role: Role, from: usize) -> bool {
    match role {
        Role::Plain => true,
        Role::Openers => from == OPENER,
        Role::Responders => from == RESPONDER,
        Role::Tcp => false,
    }
}
