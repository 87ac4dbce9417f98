//! Data for tests of what is printed.

use model::{
    Attachment, DropReason, IfName, IoMode, IoStatus, Name, PortConfig, PortCounters, PortState, PortStatus,
    RefusedMode, SwitchCounters, SwitchKind, SwitchStatus, VhostRole, VhostStatus, VhostUser,
};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn ifname(text: &str) -> IfName {
    text.parse().unwrap()
}

fn port(port: &str, attach: Attachment, mac: &str, stats: PortCounters) -> PortStatus {
    let config = PortConfig::new(name(port), attach);
    PortStatus {
        name: name(port),
        switch: name("lan"),
        kind: config.attach.kind().into(),
        mac: Some(mac.parse().unwrap()),
        state: PortState::Up,
        reason: None,
        mtu: 1500,
        vhost: None,
        io: None,
        acl: None,
        leases: Vec::new(),
        mirror: None,
        config,
        stats,
    }
}

/// A VM's port, which dropped something.
pub fn vm1() -> PortStatus {
    let mut stats =
        PortCounters { rx_frames: 12, rx_bytes: 1200, tx_frames: 3, tx_bytes: 300, ..Default::default() };
    stats.drops.add(DropReason::SpoofedMac, 2);
    port("vm1", Attachment::Tap(ifname("tap1")), "02:00:00:00:00:01", stats)
}

/// A VM's port, by whose socket the driver in the VM has set up two queue pairs.
pub fn vm3() -> PortStatus {
    let attach = Attachment::VhostUser(VhostUser::default());
    let vhost = VhostStatus {
        socket: "/run/vmswitch/vhost/lan/vm3.sock".into(),
        role: VhostRole::Server,
        queue_pairs: 2,
        features: vec!["CSUM".into(), "VERSION_1".into()],
    };
    let port = port("vm3", attach, "02:00:00:00:00:03", PortCounters::default());
    PortStatus { vhost: Some(vhost), ..port }
}

/// The uplink's port.
pub fn eth0() -> PortStatus {
    let stats =
        PortCounters { rx_frames: 3, rx_bytes: 300, tx_frames: 10, tx_bytes: 1000, ..Default::default() };
    port("eth0", Attachment::Uplink(ifname("eth0")), "52:54:00:00:00:01", stats)
}

/// The uplink's port, by AF_XDP.
pub fn eth0_by_xdp() -> PortStatus {
    let refused = RefusedMode { mode: IoMode::AfXdpZeroCopy, why: "its driver has no zero-copy".into() };
    let io = IoStatus { mode: IoMode::AfXdpNativeCopy, why: "asked for".into(), refused: vec![refused] };
    PortStatus { io: Some(io), ..eth0() }
}

/// The host vNIC's port, which is down.
pub fn host() -> PortStatus {
    let port = port("host", Attachment::Host(ifname("lan")), "52:54:00:00:00:01", PortCounters::default());
    PortStatus { state: PortState::Down, reason: Some("set down".into()), ..port }
}

/// The switch of these ports.
pub fn lan() -> SwitchStatus {
    let mut stats = SwitchCounters::default();
    [eth0(), host(), vm1()].iter().for_each(|port| stats.add_port(&port.stats));
    SwitchStatus {
        name: name("lan"),
        kind: SwitchKind::External,
        uplinks: vec!["eth0".into()],
        io: None,
        ports: vec![name("eth0"), name("host"), name("vm1")],
        mac_table_size: 65_536,
        mac_entries: 2,
        ageing_s: 300,
        multicast: model::policy::multicast::MulticastConfig::default(),
        confirm_within_s: None,
        sharing: None,
        stats,
    }
}
