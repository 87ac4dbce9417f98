//! The naive switch: one list of entries, scanned from end to end for everything, written from the design's table of
//! switching semantics and not from the engine. Slow and obviously right; it knows no slots, hashes, lists or stamps.

mod guards;
pub mod lists;
pub mod packets;
mod roaming;
pub mod vlans;

use engine::{
    AclWay, EngineEvent, Entry, Flood, Millis, PortIndex, PortPolicy, Role, TableConfig, Verdict, Vlan,
};
use lists::Lists;
use model::{DropReason, MacKind};
use std::{collections::BTreeMap, sync::Arc};
use wire::MacAddr;

#[derive(Clone, Debug)]
pub struct Frame {
    pub header: Vec<u8>,
    pub len: u32,
    /// What it carries, where ports may have access lists.
    pub described: Option<crate::frames::Frame>,
}

#[derive(Clone, Copy)]
struct Seen {
    /// Under which VLAN it was learned.
    vlan: u16,
    mac: MacAddr,
    port: PortIndex,
    at: u64,
}

#[derive(Clone)]
struct Told {
    event: EngineEvent,
    at: u64,
    taken: bool,
}

#[derive(Clone)]
pub struct NaiveSwitch {
    config: TableConfig,
    ports: BTreeMap<PortIndex, PortPolicy>,
    now: u64,
    /// Each in a VLAN, or in every one.
    fixed: Vec<((Option<u16>, MacAddr), PortIndex, MacKind)>,
    /// In the order in which they were bound.
    bound: Vec<((u16, MacAddr), PortIndex)>,
    /// Least recently stamped first.
    learned: Vec<Seen>,
    told: Vec<Told>,
    lists: BTreeMap<PortIndex, Lists>,
}

impl NaiveSwitch {
    pub fn new(config: TableConfig) -> Self {
        Self {
            config,
            ports: BTreeMap::new(),
            now: 0,
            fixed: vec![],
            bound: vec![],
            learned: vec![],
            told: vec![],
            lists: BTreeMap::new(),
        }
    }

    pub fn advance(&mut self, now: Millis) {
        self.now = self.now.max(now.0);
        self.forget_expired();
    }

    fn forget_expired(&mut self) {
        let (now, ageing) = (self.now, self.config.ageing_ms);
        self.learned.retain(|seen| now - seen.at < ageing);
    }

    pub fn install(&mut self, ports: &[(PortIndex, PortPolicy)], now: Millis) {
        self.advance(now);
        let former = std::mem::replace(&mut self.ports, ports.iter().cloned().collect());
        self.follow_lists(&former);
        for (index, policy) in former {
            let forgets =
                |new: &PortPolicy| vlans::differ(new, &policy) || roaming::starts_with_vrrp(new, &policy);
            if self.ports.get(&index).is_some_and(forgets) {
                self.learned.retain(|seen| seen.port != index);
                self.bound.retain(|(_, port)| *port != index);
            }
        }
        for index in 0..=64 {
            while self.held_by(PortIndex(index)) > self.limit(PortIndex(index)) {
                self.forget_oldest_of(PortIndex(index));
            }
            self.unbind_above(PortIndex(index), self.bind_limit(PortIndex(index)));
        }
        let former = std::mem::take(&mut self.fixed);
        for (index, policy) in self.ports.clone() {
            if is_guarded(&policy) {
                let vlan = (!vlans::is_trunk(&policy)).then(|| self.learns_in(vlans::untagged(&policy)));
                let pinned = policy.mac.iter().map(|mac| (*mac, MacKind::Pinned));
                for (mac, kind) in pinned.chain(policy.allow_macs.iter().map(|mac| (*mac, MacKind::Static))) {
                    let was_at =
                        former.iter().find(|(address, ..)| *address == (vlan, mac)).map(|entry| entry.1);
                    let at = was_at.filter(|at| self.may_have(*at, vlan, mac)).unwrap_or(index);
                    self.fix((vlan, mac), at, kind);
                }
            }
        }
    }

    /// Lists that are the same as before remember what they did.
    fn follow_lists(&mut self, former: &BTreeMap<PortIndex, PortPolicy>) {
        let had = std::mem::take(&mut self.lists);
        for (index, policy) in &self.ports {
            let Some(acl) = policy.acl.as_ref().filter(|_| policy.role == Role::Vnic) else { continue };
            let mut lists = had.get(index).cloned().unwrap_or_default();
            let former = former.get(index).and_then(|policy| policy.acl.as_ref());
            if !had.contains_key(index) || !former.is_some_and(|former| Arc::ptr_eq(former, acl)) {
                lists.follow(acl.rules());
            }
            self.lists.insert(*index, lists);
        }
    }

    /// What the meters of each port have counted.
    pub fn meters(&self, port: PortIndex) -> Vec<(u64, u64)> {
        self.lists.get(&port).map(Lists::meters).unwrap_or_default()
    }

    /// What becomes of a frame at each port that it was to leave on.
    pub fn deliver(
        &mut self,
        ingress: PortIndex,
        frame: &Frame,
        verdict: Verdict,
    ) -> Vec<(PortIndex, Option<DropReason>)> {
        let (to, vlan) = match verdict {
            Verdict::Drop(reason) => return vec![(ingress, Some(reason))],
            Verdict::DropAt(port, reason) => return vec![(port, Some(reason))],
            Verdict::Forward(to, vlan) => (vec![to], vlan),
            Verdict::Flood(which, vlan) => (self.flood(ingress, which, vlan.id()), vlan),
            Verdict::List(..) => unreachable!("nobody snoops"),
        };
        to.into_iter().map(|to| (to, self.refused_at(ingress, to, vlan, frame))).collect()
    }

    fn refused_at(
        &mut self,
        ingress: PortIndex,
        to: PortIndex,
        vlan: Vlan,
        frame: &Frame,
    ) -> Option<DropReason> {
        let (from, policy) = (&self.ports[&ingress], &self.ports[&to]);
        if !fits(policy, frame) {
            return Some(DropReason::Oversize);
        }
        if vlan != Vlan::NONE
            && let Err(reason) = vlans::retag(from, policy, vlan, &frame.header)
        {
            return Some(reason);
        }
        let (lists, described) = (self.lists.get_mut(&to)?, frame.described.as_ref()?);
        lists.judge(AclWay::In, described, frame.len, vlan.id(), self.now).err()
    }

    fn learns_in(&self, vlan: u16) -> u16 {
        vlans::primary_of(self.ports.values(), vlan).unwrap_or(vlan)
    }

    fn fix(&mut self, address: (Option<u16>, MacAddr), port: PortIndex, kind: MacKind) {
        let mac = address.1;
        if mac == MacAddr::default() || mac.0[0] & 1 == 1 || self.fixed.iter().any(|(a, ..)| *a == address) {
            return;
        }
        self.learned.retain(|seen| (Some(seen.vlan), seen.mac) != address);
        self.bound.retain(|((vlan, mac), _)| (Some(*vlan), *mac) != address);
        if self.is_full() {
            self.evict();
        }
        self.fixed.push((address, port, kind));
    }

    /// The port that an address is fixed to, in a VLAN or on a trunk that has it.
    fn fixed_at(&self, mac: MacAddr, vlan: u16, trunks_first: bool) -> Option<PortIndex> {
        let of =
            |vlan| self.fixed.iter().find(move |(address, ..)| *address == (vlan, mac)).map(|(_, at, _)| *at);
        let here = of(Some(self.learns_in(vlan))).or_else(|| {
            let bound = self.bound.iter().find(|(address, _)| *address == (self.learns_in(vlan), mac));
            bound.map(|(_, at)| *at)
        });
        let on_trunk = of(None).filter(|port| vlans::has(&self.ports[port], vlan));
        if trunks_first { on_trunk.or(here) } else { here.or(on_trunk) }
    }

    pub fn set_table(&mut self, config: TableConfig, now: Millis) {
        self.advance(now);
        self.config = config;
        self.forget_expired();
        while self.len() > config.capacity as usize && self.evict() {}
    }

    pub fn flush(&mut self, port: Option<PortIndex>, now: Millis) -> usize {
        self.advance(now);
        let before = self.learned.len() + self.bound.len();
        self.learned.retain(|seen| port.is_some_and(|port| port != seen.port));
        self.bound.retain(|(_, at)| port.is_some_and(|port| port != *at));
        before - self.learned.len() - self.bound.len()
    }

    pub fn entries(&self, now: Millis) -> Vec<Entry> {
        let now = self.now.max(now.0);
        let fixed = self.fixed.iter().map(|(address, port, kind)| (*address, *port, *kind, 0));
        let lasting = self.learned.iter().filter(|seen| now - seen.at < self.config.ageing_ms);
        let learned =
            lasting.map(|seen| ((Some(seen.vlan), seen.mac), seen.port, MacKind::Learned, now - seen.at));
        let mut all: Vec<_> = fixed
            .chain(learned)
            .chain(
                self.bound.iter().map(|((vlan, mac), port)| ((Some(*vlan), *mac), *port, MacKind::Bound, 0)),
            )
            .map(|((vlan, mac), port, kind, age_ms)| Entry { mac, vlan, port, kind, age_ms })
            .collect();
        all.sort();
        all
    }

    pub fn take_events(&mut self) -> Vec<EngineEvent> {
        let waiting = self.told.iter_mut().filter(|told| !told.taken);
        waiting
            .map(|told| {
                told.taken = true;
                told.event
            })
            .collect()
    }

    pub fn flood(&self, ingress: PortIndex, which: Flood, vlan: u16) -> Vec<PortIndex> {
        let gets_it = |policy: &PortPolicy| which == Flood::Group || !is_guarded(policy);
        let others = self.ports.iter().filter(|(index, _)| **index != ingress);
        let gets_it = |policy: &PortPolicy| policy.up && gets_it(policy) && vlans::has(policy, vlan);
        others.filter(|(_, policy)| gets_it(policy)).map(|(index, _)| *index).collect()
    }

    /// The verdict, and whether the frame passed without being learned from.
    pub fn decide(&mut self, ingress: PortIndex, frame: &Frame) -> (Verdict, bool) {
        let dropped = |reason| (Verdict::Drop(reason), false);
        let Some(policy) = self.ports.get(&ingress).cloned() else { return dropped(DropReason::PortDown) };
        if frame.len < 14 || frame.header.len() < 14 {
            return dropped(DropReason::Runt);
        }
        if !fits(&policy, frame) {
            return dropped(DropReason::Oversize);
        }
        let vlan = vlans::classify(&policy, &frame.header);
        if vlan == Err(DropReason::Runt) {
            return dropped(DropReason::Runt);
        }
        let dst = MacAddr::from_prefix(&frame.header).unwrap();
        let src = MacAddr::from_prefix(&frame.header[6..]).unwrap();
        if src.0[0] & 1 == 1 || src == MacAddr::default() {
            return dropped(DropReason::InvalidSource);
        }
        let id = vlan.map_or(0, Vlan::id);
        let guarded = is_guarded(&policy);
        let passes = self.guard_lets(ingress, &policy, src, id).filter(|_| guarded);
        if guarded && passes.is_none() {
            return dropped(DropReason::SpoofedMac);
        }
        if let Some(pinned_to) = self.fixed_at(src, id, false).filter(|_| !guarded) {
            self.tell(EngineEvent::PinConflict { mac: src, pinned_to, claimed_by: ingress });
            return dropped(DropReason::MacPinnedElsewhere);
        }
        let vlan = match vlan {
            Ok(vlan) => vlan,
            Err(reason) => return dropped(reason),
        };
        let reserved = dst.0[..5] == [0x01, 0x80, 0xc2, 0, 0] && dst.0[5] < 16;
        if reserved && policy.role == Role::Vnic && policy.allow_reserved & (1 << dst.0[5]) == 0 {
            return dropped(DropReason::ReservedMulticast);
        }
        // Lists that remember something do not see what there is no room for.
        let has_room = passes.is_none_or(|passes| self.clone().take_in(passes, ingress, src, id).is_ok());
        let now = self.now;
        if let (Some(lists), Some(described)) = (self.lists.get_mut(&ingress), &frame.described)
            && (has_room || !lists.remember())
            && let Err(reason) = lists.judge(AclWay::Out, described, frame.len, id, now)
        {
            return dropped(reason);
        }
        if policy.role == Role::Vnic && policy.dhcp_guard && guards::dhcp_guard_drops(&frame.header) {
            return dropped(DropReason::DhcpGuard);
        }
        if policy.role == Role::Vnic && policy.router_guard && guards::router_guard_drops(&frame.header) {
            return dropped(DropReason::RouterGuard);
        }
        if let Some(Err(reason)) = passes.map(|passes| self.take_in(passes, ingress, src, id)) {
            return dropped(reason);
        }
        let not_learned = !guarded && !self.learn(src, self.learns_in(id), ingress);
        (self.way_to(dst, vlan, ingress), not_learned)
    }

    fn way_to(&self, dst: MacAddr, vlan: Vlan, ingress: PortIndex) -> Verdict {
        let group = dst.0[0] & 1 == 1;
        let learned_in = self.learns_in(vlan.id());
        let learned = self.learned.iter().find(|seen| (seen.vlan, seen.mac) == (learned_in, dst));
        let known = self.fixed_at(dst, vlan.id(), true).or(learned.map(|seen| seen.port));
        match known {
            Some(port) if !group && port == ingress => Verdict::Drop(DropReason::Hairpin),
            Some(port) if !group && !vlans::has(&self.ports[&port], vlan.id()) => {
                Verdict::DropAt(port, DropReason::VlanFiltered)
            }
            Some(port) if !group && !self.ports[&port].up => Verdict::DropAt(port, DropReason::PortDown),
            Some(port) if !group => Verdict::Forward(port, vlan),
            _ => {
                let which = if group { Flood::Group } else { Flood::Unknown };
                let nobody = self.flood(ingress, which, vlan.id()).is_empty();
                if nobody { Verdict::Drop(DropReason::NoDestination) } else { Verdict::Flood(which, vlan) }
            }
        }
    }

    fn learn(&mut self, mac: MacAddr, vlan: u16, port: PortIndex) -> bool {
        let is_it = |seen: &Seen| (seen.vlan, seen.mac) == (vlan, mac);
        let known = self.learned.iter().position(is_it);
        let fresh = Seen { vlan, mac, port, at: self.now };
        match known.map(|at| self.learned[at]) {
            Some(seen) if seen.port == port => {
                let grain = (self.config.ageing_ms / 256).clamp(1, 1000);
                if self.now - seen.at >= grain {
                    self.learned.retain(|seen| !is_it(seen));
                    self.learned.push(fresh);
                }
                true
            }
            _ if self.held_by(port) >= self.limit(port) => false,
            Some(seen) => {
                self.learned.retain(|seen| !is_it(seen));
                self.learned.push(fresh);
                self.tell(EngineEvent::Moved { mac, from: seen.port, to: port });
                true
            }
            None if self.is_full() && !self.evict() => false,
            None => {
                self.learned.push(fresh);
                true
            }
        }
    }

    fn is_full(&self) -> bool {
        self.len() >= self.config.capacity as usize
    }

    fn len(&self) -> usize {
        self.learned.len() + self.fixed.len() + self.bound.len()
    }

    fn evict(&mut self) -> bool {
        let holders = self.learned.iter().map(|seen| (self.held_by(seen.port), std::cmp::Reverse(seen.port)));
        match holders.max() {
            Some((_, std::cmp::Reverse(port))) => {
                self.forget_oldest_of(port);
                true
            }
            None => false,
        }
    }

    fn forget_oldest_of(&mut self, port: PortIndex) {
        let oldest = self.learned.iter().position(|seen| seen.port == port).unwrap();
        self.learned.remove(oldest);
    }

    fn held_by(&self, port: PortIndex) -> usize {
        self.learned.iter().filter(|seen| seen.port == port).count()
    }

    fn limit(&self, port: PortIndex) -> usize {
        match self.ports.get(&port) {
            None => 0,
            Some(policy) if is_guarded(policy) && policy.guard_also.vrrp => 512,
            Some(policy) if is_guarded(policy) => 0,
            Some(policy) if policy.role == Role::Uplink => usize::MAX,
            Some(policy) => policy.learn_limit as usize,
        }
    }

    fn tell(&mut self, event: EngineEvent) {
        let now = self.now;
        self.told.retain(|told| !told.taken || now - told.at < 10_000);
        let kind_and_ports = |event| match event {
            EngineEvent::PinConflict { pinned_to, claimed_by, .. } => ("conflict", pinned_to, claimed_by),
            EngineEvent::Moved { from, to, .. } => ("moved", from, to),
        };
        let told_lately = self.told.iter().any(|t| kind_and_ports(t.event) == kind_and_ports(event));
        if !told_lately && self.told.len() < 16 {
            self.told.push(Told { event, at: now, taken: false });
        }
    }
}

fn is_guarded(policy: &PortPolicy) -> bool {
    policy.guard && policy.role == Role::Vnic
}

pub fn fits(policy: &PortPolicy, frame: &Frame) -> bool {
    let is_tag = |at: usize| matches!(frame.header.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xa8]));
    let tags = match (is_tag(12), is_tag(16)) {
        (false, _) => 0,
        (true, false) => 4,
        (true, true) => 8,
    };
    frame.len <= policy.mtu + 14 + tags
}
