//! The policies of all ports of a switch, prepared for the hot path.

use crate::{PortIndex, PortPolicy, Role, key::Key};
use alloc::vec::Vec;
use model::MacKind;
use wire::{MacAddr, ethernet, vlan};

/// What a flooded frame is, which decides who gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flood {
    /// Broadcast or multicast: every other port gets it.
    Group,
    /// Unicast to an address that nobody has: the uplink and the ports without guard get it. A guarded port's
    /// addresses are all in the MAC table, so such a frame cannot be for it.
    Unknown,
}

/// The policies of all ports. Immutable; control publishes a new one, a switch [takes](crate::Switch::install) it between
/// two batches.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    ports: Vec<Option<Port>>,
    /// One list for all ingress ports: a list each would take memory in the square of the ports.
    group: Vec<PortIndex>,
    unknown: Vec<PortIndex>,
}

/// A policy and what the hot path wants to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) policy: PortPolicy,
    pub(crate) guarded: bool,
    /// Frames that come in have to be looked into.
    pub(crate) inspects: bool,
    /// The addresses that a guarded port may use, sorted.
    sources: Vec<Key>,
}

impl Port {
    fn new(policy: PortPolicy) -> Self {
        let (guarded, inspects) = (policy.is_guarded(), policy.inspects());
        let mut sources: Vec<_> =
            policy.mac.iter().chain(&policy.allow_macs).map(|mac| Key::of(*mac)).collect();
        sources.sort_unstable();
        Self { policy, guarded, inspects, sources }
    }

    /// True where the guard lets `source` pass.
    #[inline]
    pub(crate) fn may_send_from(&self, source: Key) -> bool {
        self.sources.binary_search(&source).is_ok()
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
            (true, _) => 0,
            (false, Role::Uplink) => u32::MAX,
            (false, Role::Vnic) => self.policy.learn_limit,
        }
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
        let mut by_index = Vec::new();
        for (index, policy) in ports {
            let at = usize::from(index.0);
            if by_index.len() <= at {
                by_index.resize(at + 1, None);
            }
            by_index[at] = Some(Port::new(policy));
        }
        let mut snapshot = Self { ports: by_index, ..Self::default() };
        snapshot.group = snapshot.up_ports(|_| true);
        snapshot.unknown = snapshot.up_ports(|port| !port.guarded);
        snapshot
    }

    fn up_ports(&self, wanted: impl Fn(&Port) -> bool) -> Vec<PortIndex> {
        self.ports().filter(|(_, port)| port.policy.up && wanted(port)).map(|(index, _)| index).collect()
    }

    pub(crate) fn ports(&self) -> impl Iterator<Item = (PortIndex, &Port)> {
        (0..=u16::MAX).map(PortIndex).zip(&self.ports).filter_map(|(i, port)| Some((i, port.as_ref()?)))
    }

    pub(crate) fn port(&self, index: PortIndex) -> Option<&Port> {
        self.ports.get(usize::from(index.0))?.as_ref()
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

    /// The policy of a port, if there is such a port.
    #[must_use]
    pub fn policy(&self, port: PortIndex) -> Option<&PortPolicy> {
        self.port(port).map(|p| &p.policy)
    }

    /// The ports that get a flooded frame from `ingress`, in the order of their numbers: only ports that are up, never
    /// the ingress.
    #[inline]
    pub fn flood(&self, ingress: PortIndex, which: Flood) -> impl Iterator<Item = PortIndex> + '_ {
        self.flood_list(which).iter().copied().filter(move |port| *port != ingress)
    }

    /// True where a flooded frame from `ingress` would reach somebody.
    pub(crate) fn floods_to_any(&self, ingress: PortIndex, which: Flood) -> bool {
        match self.flood_list(which) {
            [] => false,
            [only] => *only != ingress,
            _ => true,
        }
    }

    fn flood_list(&self, which: Flood) -> &[PortIndex] {
        match which {
            Flood::Group => &self.group,
            Flood::Unknown => &self.unknown,
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
    /// list is static.
    pub(crate) fn fixed_entries(&self) -> impl Iterator<Item = (MacAddr, PortIndex, MacKind)> + '_ {
        self.ports().filter(|(_, port)| port.guarded).flat_map(|(index, port)| {
            let pinned = port.policy.mac.iter().map(|mac| (*mac, MacKind::Pinned));
            let allowed = port.policy.allow_macs.iter().map(|mac| (*mac, MacKind::Static));
            let valid = pinned.chain(allowed).filter(|(mac, _)| mac.is_valid_source());
            valid.map(move |(mac, kind)| (mac, index, kind))
        })
    }
}
