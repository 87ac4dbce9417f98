//! What of a switch lives in the data path, and the snapshot that follows from it.

use super::{retry::Retry, sharing};
use crate::mirror::Session;
use dataplane::{SwitchId, tap::Tap};
use engine::{Acl, AclWay, IpGuard, Limits, Mirror, PortIndex, PortPolicy, Rate, Role, Snapshot};
use io::{Port, VhostView};
use model::{
    AclConfig, Attachment, IfName, IoStatus, MacAddr, Name, PortConfig, PortState, SwitchConfig,
    policy::{
        guard::GuardAlso, ip_guard::IpGuardMode, mirror::MirrorConfig, multicast::MulticastConfig,
        rate::BandwidthMode,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
    sync::Arc,
};

/// A switch at work.
#[derive(Debug)]
pub struct LiveSwitch {
    pub id: SwitchId,
    pub ports: BTreeMap<Name, LivePort>,
    pub multicast: MulticastConfig,
    /// The switch's own address, which it asks hosts for their multicast groups from.
    mac: MacAddr,
    /// The policies that are in force.
    snapshot: Arc<Snapshot>,
    /// Those who listen to the frames that pass.
    taps: Vec<Arc<Tap>>,
    /// The ports that are mirrored to collectors.
    pub sessions: BTreeMap<Name, Session>,
}

/// A port at work, or waiting for what it is attached to.
#[derive(Debug)]
pub struct LivePort {
    pub index: PortIndex,
    pub config: Arc<PortConfig>,
    /// The vNIC's MAC, the NIC's where the port is an uplink or stands in for it.
    pub mac: Option<MacAddr>,
    pub mtu: u32,
    pub state: PortState,
    pub reason: Option<String>,
    /// The data path has the port.
    pub attached: bool,
    /// Which namespace a vNIC was made in: the name may come to mean another one.
    pub namespace: Option<(u64, u64)>,
    /// The number of the interface that the port was opened on last.
    pub link: Option<u32>,
    /// What can be seen of a vhost-user port that the data path has.
    pub vhost: Option<VhostView>,
    /// How frames pass the port's interface, since it was opened last.
    pub io: Option<IoStatus>,
    /// An interface that was opened before its take-over began, to see whether it can be.
    pub opened: Option<Box<dyn Port>>,
    /// When the port is tried again that could not be opened.
    pub retry: Retry,
    /// Its access lists, prepared once for all snapshots until they change.
    acl: Option<Arc<Acl>>,
}

impl LiveSwitch {
    pub fn new(id: SwitchId, multicast: MulticastConfig, mac: MacAddr) -> Self {
        let (ports, sessions) = (BTreeMap::new(), BTreeMap::new());
        Self { id, ports, multicast, mac, snapshot: Arc::default(), taps: Vec::new(), sessions }
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.taps.iter().filter(|tap| !tap.is_closed()).count()
    }

    /// Tells somebody who listens how the ports are named, now and from now on.
    pub fn add_tap(&mut self, tap: Arc<Tap>) {
        for (name, port) in &self.ports {
            tap.name(port.index, name.as_str().into());
        }
        self.taps.retain(|tap| !tap.is_closed());
        self.taps.push(tap);
    }

    /// Tells those who listen that nothing comes any more.
    pub fn end_taps(&mut self) {
        self.taps.drain(..).for_each(|tap| tap.end());
    }

    /// Makes a place for a port that waits to be attached.
    pub fn place(&mut self, config: &Arc<PortConfig>, mac: Option<MacAddr>, mtu: u32) -> &mut LivePort {
        let used: BTreeSet<_> = self.ports.values().map(|p| p.index.0).collect();
        let index = PortIndex((0..).find(|i| !used.contains(i)).unwrap_or_default());
        let port = LivePort {
            index,
            config: config.clone(),
            mac,
            mtu,
            state: PortState::Down,
            reason: Some("not attached yet".into()),
            attached: false,
            namespace: None,
            link: None,
            vhost: None,
            io: None,
            opened: None,
            retry: Retry::default(),
            acl: prepared(&config.acl),
        };
        // Before frames pass it.
        for tap in self.taps.iter().filter(|tap| !tap.is_closed()) {
            tap.name(index, config.name.as_str().into());
        }
        self.ports.entry(config.name.clone()).insert_entry(port).into_mut()
    }

    pub fn name_of(&self, index: PortIndex) -> Option<Name> {
        self.ports.iter().find(|(_, port)| port.index == index).map(|(name, _)| name.clone())
    }

    /// The policies of all ports as they are now, to be put into force; one that is being removed has no configuration any more.
    pub fn next_snapshot(&mut self, config: Option<&SwitchConfig>) -> Arc<Snapshot> {
        self.fetch_lists();
        let mode = config.map_or(BandwidthMode::None, |config| config.bandwidth.mode);
        let ports = self.ports.values().map(|port| (port.index, self.policy(port, mode)));
        let snapshot = self.snapshot.next(ports.collect()).with_multicast(self.multicast, self.mac);
        self.snapshot = Arc::new(snapshot.with_sharing(config.and_then(sharing::shares)));
        Arc::clone(&self.snapshot)
    }

    /// Looks at the lists of all ports. They lie anywhere in memory, and whoever takes a share of one waits for it; so these waits
    /// overlap, which of a thousand ports saves 0.2 of 0.8 ms.
    fn fetch_lists(&self) {
        let seen = |acl: &Arc<Acl>| {
            Arc::strong_count(acl) + usize::from(acl.keeps_state()) + usize::from(acl.judges(AclWay::Out))
        };
        black_box(self.ports.values().filter_map(|port| port.acl.as_ref()).map(seen).sum::<usize>());
    }

    /// Copies of the port's frames to another port. None while that has no place yet.
    fn mirror_of(&self, port: &LivePort) -> Option<Mirror> {
        let MirrorConfig { to, direction, .. } = &port.config.mirror;
        let to = self.ports.get(to.as_ref()?)?.index;
        Some(Mirror { to, inbound: direction.has_in(), outbound: direction.has_out() })
    }

    /// The uplink's port.
    pub fn uplink(&self) -> Option<&LivePort> {
        self.ports.values().find(|p| p.is_uplink())
    }

    /// The MTU of the uplink.
    pub fn uplink_mtu(&self) -> Option<u32> {
        self.uplink().map(|p| p.mtu)
    }
}

/// Access lists for the data path, where there are rules.
fn prepared(acl: &AclConfig) -> Option<Arc<Acl>> {
    (!acl.rules.is_empty()).then(|| Arc::new(Acl::new(&acl.rules, acl.flows)))
}

impl LiveSwitch {
    /// The policy of a port, with the ports that it names.
    fn policy(&self, port: &LivePort, mode: BandwidthMode) -> PortPolicy {
        let GuardAlso { vrrp, learn, ref team_with } = port.config.guard_also;
        let team_with = team_with.iter().filter_map(|name| Some(self.ports.get(name)?.index)).collect();
        let guard_also = engine::GuardAlso { vrrp, learn: u32::from(learn), team_with };
        PortPolicy { guard_also, mirror: self.mirror_of(port), ..port.policy(mode) }
    }
}

impl LivePort {
    pub fn is_uplink(&self) -> bool {
        matches!(self.config.attach, Attachment::Uplink(_))
    }

    /// Has the port be as `config` says.
    pub fn configure(&mut self, config: Arc<PortConfig>) {
        if config.acl != self.config.acl {
            self.acl = prepared(&config.acl);
        }
        self.config = config;
    }

    /// How frames pass the port's interface, while the data path has it.
    pub fn io_status(&self) -> Option<IoStatus> {
        self.io.clone().filter(|_| self.attached)
    }

    /// The interface, where AF_XDP changed its settings.
    pub fn xdp_interface(&self) -> Option<&IfName> {
        self.io.as_ref().filter(|io| io.mode.is_xdp()).and(self.config.attach.host_interface())
    }

    fn limits(&self, mode: BandwidthMode) -> Limits {
        let rate = &self.config.rate;
        let maximum = rate.maximum().map(|(bits, burst)| Rate { bits, burst });
        Limits { maximum, storm: rate.storm_limit.unwrap_or_default(), minimum: rate.minimum(mode) }
    }

    fn policy(&self, mode: BandwidthMode) -> PortPolicy {
        let role = if self.is_uplink() { Role::Uplink } else { Role::Vnic };
        let bit = |mac: &MacAddr| 1 << (mac.to_u64() & 0xf);
        PortPolicy {
            role,
            mac: self.mac.filter(|_| role == Role::Vnic),
            guard: self.config.guard,
            allow_macs: self.config.allow_macs.clone(),
            allow_reserved: self.config.allow_reserved.iter().map(bit).fold(0, |all, one| all | one),
            dhcp_guard: self.config.dhcp_guard,
            router_guard: self.config.router_guard,
            acl: self.acl.clone(),
            ip_guard: self.ip_guard(),
            vlan: self.config.vlan(),
            trust_priority: self.config.trust_priority,
            mirror: None,
            learn_limit: self.config.learn_limit,
            mtu: self.mtu,
            limits: self.limits(mode),
            up: self.state == PortState::Up,
            ..PortPolicy::new(role)
        }
    }

    fn ip_guard(&self) -> Option<IpGuard> {
        let guard = &self.config.ip_guard;
        let most_leases = match guard.mode {
            IpGuardMode::Off => return None,
            IpGuardMode::On => 0,
            IpGuardMode::Dhcp => guard.dhcp_limit,
        };
        Some(IpGuard { addresses: guard.addresses.clone(), most_leases })
    }
}
