//! The policies of all ports of a switch, prepared for the hot path.

use crate::{
    PortIndex, PortPolicy, Retag, Role, Shares, Vlan,
    guard::{Roaming, VRRP_LIMIT},
    ip_guard::OwnAddresses,
    key::{EVERY_VLAN, Key},
    vlan::{Members, Membership},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::iter;
use model::{
    DropReason, MacKind,
    policy::{multicast::MulticastConfig, vlan::VlanMode},
};
use wire::{MacAddr, ethernet, vlan};

/// What a flooded frame is, which decides who gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flood {
    /// Broadcast or multicast: every other port of the VLAN gets it.
    Group,
    /// Unicast to an address that nobody has: the uplink and the ports without guard of the VLAN get it. A guarded port's
    /// addresses are all in the MAC table, so such a frame cannot be for it.
    Unknown,
}

/// The policies of all ports. Immutable; control publishes a new one, a switch [takes](crate::Switch::install) it between
/// two batches.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    sharing: Option<Shares>,
    /// Shared with the snapshots before and behind that have the same port.
    ports: Vec<Option<Arc<Port>>>,
    /// Who gets frames without VLAN. One list for all ingress ports: a list each would take memory in the square of the ports.
    group: Vec<PortIndex>,
    unknown: Vec<PortIndex>,
    /// The same for frames of a VLAN.
    group_members: Members,
    unknown_members: Members,
    /// The primary VLAN of each secondary one.
    primaries: BTreeMap<u16, u16>,
    /// Some IP guard learns addresses from leases.
    learns_leases: bool,
    /// An address is fixed to a trunk.
    has_fixed_on_trunks: bool,
    /// What the switch does with multicast groups, where it snoops, and the address that it asks hosts from.
    snooping: Option<(MulticastConfig, MacAddr)>,
    /// A port is mirrored.
    pub(crate) has_mirrors: bool,
}

/// A policy and what the hot path wants to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) policy: PortPolicy,
    pub(crate) guarded: bool,
    /// The guard decides without the MAC table.
    pub(crate) guarded_alone: bool,
    /// It does not.
    pub(crate) roaming: Option<Roaming>,
    /// What the IP guard goes by.
    pub(crate) own_addresses: Option<OwnAddresses>,
    /// Frames that come in have to be looked into, or get a VLAN though they have no tag.
    pub(crate) inspects: bool,
    pub(crate) vlans: Membership,
    /// The addresses that a guarded port may use, sorted.
    sources: Vec<Key>,
}

impl Port {
    fn new(policy: PortPolicy, roaming: Option<Roaming>) -> Self {
        let vlans = Membership::new(&policy);
        let (guarded, roams) = (policy.is_guarded(), roaming.is_some());
        let inspects = policy.inspects() || policy.remembers() || vlans.untagged != 0 || roams;
        let mut sources: Vec<_> =
            policy.mac.iter().chain(&policy.allow_macs).map(|mac| Key::of(*mac)).collect();
        sources.sort_unstable();
        let team = roaming.iter().flat_map(|roaming| &roaming.team);
        let macs = sources.iter().chain(team).map(|key| key.mac());
        let guard = policy.ip_guard.as_ref().filter(|_| policy.role == Role::Vnic);
        let own_addresses = guard.map(|guard| OwnAddresses::new(&guard.addresses, macs.collect()));
        let guarded_alone = guarded && !roams;
        Self { policy, guarded, guarded_alone, roaming, own_addresses, inspects, vlans, sources }
    }

    /// True where the same addresses follow for the MAC table, and may be there.
    pub(crate) fn fixes_the_same_as(&self, former: &Self) -> bool {
        let fixed = |port: &Self| (port.guarded, port.policy.mac, port.policy.up);
        fixed(self) == fixed(former)
            && self.policy.allow_macs == former.policy.allow_macs
            && self.vlans == former.vlans
            && self.roaming == former.roaming
    }

    /// True where the guard lets `source` pass, whatever its VLAN.
    #[inline]
    pub(crate) fn may_send_from(&self, source: Key) -> bool {
        self.sources.binary_search(&source.in_vlan(0)).is_ok()
    }

    /// True where `destination` is reserved for the link itself (IEEE 802.1Q, table 8-1) and may not be sent to.
    pub(crate) fn is_reserved(&self, destination: MacAddr) -> bool {
        destination.is_bridge_reserved()
            && self.policy.role == Role::Vnic
            && self.policy.allow_reserved >> (destination.to_u64() & 0xf) & 1 == 0
    }

    /// The most addresses that may be learned here.
    pub(crate) const fn learn_limit(&self) -> u32 {
        match (self.guarded, self.policy.role) {
            (true, _) if self.policy.guard_also.vrrp => VRRP_LIMIT,
            (true, _) => 0,
            (false, Role::Uplink) => u32::MAX,
            (false, Role::Vnic) => self.policy.learn_limit,
        }
    }

    /// The most addresses that may be bound to the port.
    pub(crate) const fn bind_limit(&self) -> u32 {
        if self.guarded && self.policy.up { self.policy.guard_also.learn } else { 0 }
    }

    /// True where what was learned under the `former` policies does not stay: in other VLANs, and with a guard that lets only
    /// virtual routers' addresses be learned.
    pub(crate) fn forgets(&self, former: &Self) -> bool {
        let learns_routers = |port: &Self| port.guarded && port.policy.guard_also.vrrp;
        self.vlans != former.vlans || (learns_routers(self) && !learns_routers(former))
    }

    /// True where the guard has an address come here that is fixed to another port, whatever its VLAN.
    fn takes_over(&self, fixed: Key) -> bool {
        let uses = |roaming: &Roaming| roaming.may_use(fixed) || self.may_send_from(fixed);
        self.policy.up && self.roaming.as_ref().is_some_and(uses)
    }

    /// True where a frame of `len` bytes is no longer than the MTU allows: a VLAN tag does not count, nor does a
    /// second one.
    #[inline]
    pub(crate) fn fits(&self, len: u32, header: &[u8]) -> bool {
        let untagged = self.policy.mtu.saturating_add(ethernet::HEADER_LEN as u32);
        len <= untagged || len <= untagged.saturating_add(tags_len(header))
    }
}

/// Bytes of the up to two tags behind the addresses.
fn tags_len(header: &[u8]) -> u32 {
    let ends = [ethernet::TYPE_OFFSET, ethernet::TYPE_OFFSET + vlan::TAG_LEN];
    let tags = ends.iter().take_while(|at| {
        let tpid = header.get(**at..).and_then(<[u8]>::first_chunk);
        tpid.is_some_and(|b| vlan::is_tpid(u16::from_be_bytes(*b)))
    });
    (tags.count() * vlan::TAG_LEN) as u32
}

impl Snapshot {
    /// Prepares `ports`. Of two policies for one port the later counts.
    #[must_use]
    pub fn new(ports: Vec<(PortIndex, PortPolicy)>) -> Self {
        Self::default().next(ports)
    }

    /// The same, sharing those ports with this snapshot that have not changed.
    #[must_use]
    pub fn next(&self, ports: Vec<(PortIndex, PortPolicy)>) -> Self {
        let mut snapshot = Self { ports: self.prepare(by_index(ports)), ..Self::default() };
        (snapshot.group, snapshot.group_members) = snapshot.up_ports(|_| true);
        (snapshot.unknown, snapshot.unknown_members) = snapshot.up_ports(|port| !port.guarded);
        snapshot.primaries = snapshot.ports().flat_map(|(_, port)| secondaries(&port.policy.vlan)).collect();
        let on_trunk = snapshot.ports().any(|(_, port)| port.guarded && port.vlans.is_trunk());
        snapshot.has_fixed_on_trunks = on_trunk;
        let has_mirrors = snapshot.ports().any(|(_, port)| port.policy.mirror.is_some());
        snapshot.has_mirrors = has_mirrors;
        let learns = snapshot.ports().any(|(_, port)| port.policy.most_leases() != 0);
        snapshot.learns_leases = learns;
        snapshot
    }

    fn prepare(&self, policies: Vec<Option<PortPolicy>>) -> Vec<Option<Arc<Port>>> {
        let roaming = form_teams(&policies);
        let former = self.ports.iter().map(Option::as_ref).chain(iter::repeat(None));
        let ports = policies.into_iter().zip(roaming).zip(former);
        let port = |((policy, roaming), former): ((Option<_>, _), Option<&Arc<Port>>)| {
            let policy = policy?;
            let same = former.filter(|former| former.policy == policy && former.roaming == roaming);
            Some(same.map_or_else(|| Arc::new(Port::new(policy, roaming)), Arc::clone))
        };
        ports.map(port).collect()
    }

    /// True where some port's IP guard learns addresses from leases.
    #[inline]
    #[must_use]
    pub const fn learns_leases(&self) -> bool {
        self.learns_leases
    }

    /// True where the port's IP guard does.
    #[must_use]
    pub fn learns_leases_of(&self, port: PortIndex) -> bool {
        self.policy(port).is_some_and(|policy| policy.most_leases() != 0)
    }

    /// True where what servers say from that port is believed: it may claim any address for itself.
    #[must_use]
    pub fn tells_leases(&self, port: PortIndex) -> bool {
        let has_no_guard = |policy: &PortPolicy| !policy.dhcp_guard && policy.ip_guard.is_none();
        self.policy(port).is_some_and(|policy| policy.role == Role::Uplink || has_no_guard(policy))
    }

    /// Has the switch do with multicast as `config` says, and ask hosts from `mac`.
    #[must_use]
    pub fn with_multicast(mut self, config: MulticastConfig, mac: MacAddr) -> Self {
        self.snooping = config.snooping.then_some((config, mac));
        self
    }

    pub(crate) const fn snooping(&self) -> Option<(MulticastConfig, MacAddr)> {
        self.snooping
    }

    /// True where the switch listens to what hosts say of multicast groups, and may have to ask them.
    #[must_use]
    pub const fn snoops(&self) -> bool {
        self.snooping.is_some()
    }

    /// The ports that are up: those that get frames without VLAN, and those that get frames of one.
    fn up_ports(&self, wanted: impl Fn(&Port) -> bool) -> (Vec<PortIndex>, Members) {
        let (mut without, mut members) = (Vec::new(), Members::default());
        for (index, port) in self.ports().filter(|(_, port)| port.policy.up && wanted(port)) {
            if port.vlans.has(0) {
                without.push(index);
            }
            members.add(index, &port.vlans);
        }
        (without, members)
    }

    pub(crate) fn ports(&self) -> impl Iterator<Item = (PortIndex, &Port)> {
        (0..=u16::MAX).map(PortIndex).zip(&self.ports).filter_map(|(i, port)| Some((i, &**port.as_ref()?)))
    }

    pub(crate) fn port(&self, index: PortIndex) -> Option<&Port> {
        self.ports.get(usize::from(index.0))?.as_deref()
    }

    /// The ports that are not the same as in a former snapshot, those that are gone among them.
    pub(crate) fn changed(&self, former: &Self) -> Vec<PortIndex> {
        let at = |snapshot: &Self, index: u16| {
            snapshot.ports.get(usize::from(index)).and_then(Option::as_ref).map(Arc::as_ptr)
        };
        let slots = self.ports.len().max(former.ports.len());
        let indices = (0..=u16::MAX).take(slots);
        indices.filter(|index| at(self, *index) != at(former, *index)).map(PortIndex).collect()
    }

    /// True where the same fixed entries follow as from a former snapshot, of which these ports have changed.
    pub(crate) fn fixes_the_same_as(&self, former: &Self, changed: &[PortIndex]) -> bool {
        self.ports.len() == former.ports.len()
            && self.primaries == former.primaries
            && changed.iter().all(|index| match (self.port(*index), former.port(*index)) {
                (Some(port), Some(former)) => port.fixes_the_same_as(former),
                _ => false,
            })
    }

    /// True where frames can be delivered to the port.
    #[inline]
    pub(crate) fn is_up(&self, index: PortIndex) -> bool {
        self.port(index).is_some_and(|port| port.policy.up)
    }

    /// One more than the highest index.
    #[must_use]
    pub const fn port_slots(&self) -> usize {
        self.ports.len()
    }

    /// Has the uplink be shared by what ports can count on.
    #[must_use]
    pub const fn with_sharing(mut self, shares: Option<Shares>) -> Self {
        self.sharing = shares;
        self
    }

    /// What is to be shared of the uplink, where ports can count on a part of it.
    #[must_use]
    pub const fn sharing(&self) -> Option<Shares> {
        self.sharing
    }

    /// The policy of a port, if there is such a port.
    #[must_use]
    pub fn policy(&self, port: PortIndex) -> Option<&PortPolicy> {
        self.port(port).map(|p| &p.policy)
    }

    /// The ports that get a flooded frame of a VLAN from `ingress`: only ports that are up and in the VLAN, never the
    /// ingress. Of frames without VLAN, in the order of their numbers.
    #[inline]
    pub fn flood(
        &self,
        ingress: PortIndex,
        which: Flood,
        vlan: Vlan,
    ) -> impl Iterator<Item = PortIndex> + '_ {
        let (listed, wide) = self.flood_lists(which, vlan.id());
        let wide = wide.iter().filter(move |port| self.is_in(**port, vlan.id()));
        listed.iter().chain(wide).copied().filter(move |port| *port != ingress)
    }

    /// The ports that get a frame of a VLAN that the switch sends by itself.
    pub fn flood_from_switch(&self, vlan: Vlan) -> impl Iterator<Item = PortIndex> + '_ {
        self.flood(PortIndex(u16::MAX), Flood::Group, vlan)
    }

    /// Those that surely get it, and those that do if they are in the VLAN.
    fn flood_lists(&self, which: Flood, vlan: u16) -> (&[PortIndex], &[PortIndex]) {
        match (which, vlan) {
            (Flood::Group, 0) => (&self.group, &[]),
            (Flood::Unknown, 0) => (&self.unknown, &[]),
            (Flood::Group, vlan) => self.group_members.of(vlan),
            (Flood::Unknown, vlan) => self.unknown_members.of(vlan),
        }
    }

    /// True where frames of that VLAN leave on the port.
    #[inline]
    pub(crate) fn is_in(&self, port: PortIndex, vlan: u16) -> bool {
        self.port(port).is_some_and(|port| port.vlans.has(vlan))
    }

    /// The VLAN under which is learned what is seen in `vlan`: the primary one of a private VLAN.
    #[inline]
    pub(crate) fn learns_in(&self, vlan: u16) -> u16 {
        if self.primaries.is_empty() { vlan } else { *self.primaries.get(&vlan).unwrap_or(&vlan) }
    }

    /// True where an address that is fixed to another port may be on this one: as long as it could move here.
    pub(crate) fn may_have(&self, index: PortIndex, fixed: Key) -> bool {
        self.port(index).is_some_and(|port| port.takes_over(fixed) && self.learns_from(port, fixed.vlan()))
    }

    /// True where what a port sends can be learned in `vlan`. What is fixed in every VLAN is looked for on ports that are in
    /// the frame's only.
    fn learns_from(&self, port: &Port, vlan: u16) -> bool {
        let secondaries = self.primaries.iter().filter(|(_, primary)| **primary == vlan);
        let mut all = iter::once(&vlan).chain(secondaries.map(|(secondary, _)| secondary));
        vlan == EVERY_VLAN || all.any(|vlan| port.vlans.has(*vlan))
    }

    /// True where an address may be in the MAC table for every VLAN.
    #[inline]
    pub(crate) const fn has_fixed_on_trunks(&self) -> bool {
        self.has_fixed_on_trunks
    }

    /// True where frames of that VLAN leave on the port as they came, without tag: [`Snapshot::retag`] would say so of each.
    #[inline]
    #[must_use]
    pub fn keeps(&self, port: PortIndex, vlan: Vlan) -> bool {
        self.port(port).is_none_or(|port| port.vlans.keeps(vlan))
    }

    /// What becomes of the tag of a frame in `vlan` that came from `ingress`, begins with `header` and leaves on `port`.
    ///
    /// # Errors
    /// Without its tag it would get into another VLAN.
    pub fn retag(
        &self,
        ingress: PortIndex,
        port: PortIndex,
        vlan: Vlan,
        header: &[u8],
    ) -> Result<Retag, DropReason> {
        match (self.port(ingress), self.port(port)) {
            (Some(from), Some(to)) if !vlan.is_none() => to.vlans.retag(&from.vlans, vlan, header),
            _ => Ok(Retag::Keep),
        }
    }

    /// True where a frame of `len` bytes that begins with `header` may leave on `port`. The bytes count without up to
    /// two VLAN tags, as at ingress.
    #[inline]
    #[must_use]
    pub fn fits(&self, port: PortIndex, len: u32, header: &[u8]) -> bool {
        self.port(port).is_some_and(|p| p.fits(len, header))
    }

    /// The entries of the MAC table that follow from the policies: a guarded port's MAC is pinned to it, its allow
    /// list is static. Those of a trunk are so in every VLAN.
    pub(crate) fn fixed_entries(&self) -> impl Iterator<Item = (Key, PortIndex, MacKind)> + '_ {
        self.ports().filter(|(_, port)| port.guarded).flat_map(|(index, port)| {
            let vlan = match port.vlans.is_trunk() {
                true => EVERY_VLAN,
                false => self.learns_in(port.vlans.untagged),
            };
            let pinned = port.policy.mac.iter().map(|mac| (*mac, MacKind::Pinned));
            let allowed = port.policy.allow_macs.iter().map(|mac| (*mac, MacKind::Static));
            let valid = pinned.chain(allowed).filter(|(mac, _)| mac.is_valid_source());
            valid.map(move |(mac, kind)| (Key::of(mac).in_vlan(vlan), index, kind))
        })
    }
}

fn by_index(ports: Vec<(PortIndex, PortPolicy)>) -> Vec<Option<PortPolicy>> {
    let slots = ports.iter().map(|(index, _)| usize::from(index.0) + 1).max().unwrap_or_default();
    let mut by_index: Vec<_> = iter::repeat_with(|| None).take(slots).collect();
    for (index, policy) in ports {
        by_index[usize::from(index.0)] = Some(policy);
    }
    by_index
}

/// What the guards of these ports let in besides, with the MACs of their teams, and whether others have them in theirs.
fn form_teams(policies: &[Option<PortPolicy>]) -> Vec<Option<Roaming>> {
    let guarded = |policy: &&PortPolicy| policy.is_guarded();
    let of = |index: PortIndex| policies.get(usize::from(index.0))?.as_ref().filter(guarded);
    let teams = policies.iter().flatten().filter(guarded).flat_map(|policy| &policy.guard_also.team_with);
    let named: BTreeSet<_> = teams.copied().collect();
    let roaming = |(index, policy): (u16, &Option<PortPolicy>)| {
        let policy = policy.as_ref()?;
        let mates = policy.guard_also.team_with.iter();
        let team = mates.filter_map(|mate| Some(Key::of(of(*mate)?.mac?))).collect();
        Roaming::new(policy, team, named.contains(&PortIndex(index)))
    };
    (0..).zip(policies).map(roaming).collect()
}

/// The secondary VLANs that a port names, each with its primary.
fn secondaries(mode: &VlanMode) -> Vec<(u16, u16)> {
    match mode {
        VlanMode::Isolated(vlan) | VlanMode::Community(vlan) => [(vlan.secondary, vlan.primary)].into(),
        VlanMode::Promiscuous(vlan) => vlan.secondaries.iter().map(|id| (id, vlan.primary)).collect(),
        VlanMode::Untagged | VlanMode::Access(_) | VlanMode::Trunk(_) => Vec::new(),
    }
}
