//! Desired state: what the state file, `apply` and `export` hold.

use crate::{
    AclConfig, IfName, Name,
    policy::{
        guard::GuardAlso,
        ip_guard::IpGuardConfig,
        mirror::MirrorConfig,
        multicast::MulticastConfig,
        rate::{BandwidthConfig, RateConfig},
        vlan::{Trunk, VlanMode},
    },
};
use alloc::{string::String, sync::Arc, vec::Vec};
use core::ops::Range;
use serde::{Deserialize, Serialize};
use wire::MacAddr;

/// The format of the state file that this program reads and writes.
pub const STATE_VERSION: u32 = 1;
/// Entries of a MAC table unless told otherwise.
pub const DEFAULT_MAC_TABLE_SIZE: u32 = 65_536;
/// The most entries a MAC table can be given.
pub const MAX_MAC_TABLE_SIZE: u32 = 1_048_576;
/// Seconds after which an entry that was not seen is forgotten (Hyper-V's and IEEE 802.1Q's default).
pub const DEFAULT_AGEING_S: u32 = 300;
/// Addresses that a port without guard may have learned at once.
pub const DEFAULT_LEARN_LIMIT: u32 = 4096;
/// The most ports of one switch.
pub const MAX_PORTS: usize = 4096;
/// The most queues of a port.
pub const MAX_QUEUES: u16 = 16;

/// All switches of a host as they should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DesiredState {
    /// Format version: 1.
    pub version: u32,
    /// The switches.
    #[serde(default, rename = "switch", skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<SwitchConfig>,
}

impl Default for DesiredState {
    fn default() -> Self {
        Self { version: STATE_VERSION, switches: Vec::new() }
    }
}

/// What a switch joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum SwitchKind {
    /// VMs, host and the network outside, through an uplink.
    External,
    /// VMs and host.
    Internal,
    /// VMs only.
    Private,
}

impl SwitchKind {
    /// The word used in the API, the state file and the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Internal => "internal",
            Self::Private => "private",
        }
    }
}

/// One switch as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SwitchConfig {
    /// Its name.
    pub name: Name,
    /// What it joins.
    pub kind: SwitchKind,
    /// The most entries of its MAC table.
    #[serde(default = "default_mac_table_size")]
    pub mac_table_size: u32,
    /// Seconds after which an unseen learned entry is forgotten.
    #[serde(default = "default_ageing_s")]
    pub ageing_s: u32,
    /// What it does with multicast.
    #[serde(default, skip_serializing_if = "MulticastConfig::is_default")]
    pub multicast: MulticastConfig,
    /// How a congested uplink is shared.
    #[serde(default, skip_serializing_if = "BandwidthConfig::is_default")]
    pub bandwidth: BandwidthConfig,
    /// Its ports; an external switch has exactly one uplink among them. Copies share them: a state is copied and compared with the
    /// former one some times for each change.
    #[serde(default, rename = "port", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<PortConfig>))]
    pub ports: Vec<Arc<PortConfig>>,
}

impl SwitchConfig {
    /// A switch without ports and with every setting at its default.
    #[must_use]
    pub fn new(name: Name, kind: SwitchKind) -> Self {
        Self {
            name,
            kind,
            mac_table_size: DEFAULT_MAC_TABLE_SIZE,
            ageing_s: DEFAULT_AGEING_S,
            multicast: MulticastConfig::default(),
            bandwidth: BandwidthConfig::default(),
            ports: Vec::new(),
        }
    }

    /// The port of that name.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<&PortConfig> {
        self.ports.iter().find(|p| p.name.as_str() == name).map(Arc::as_ref)
    }

    /// The NIC of the uplink. Only an external switch has one: others are not looked through for it.
    #[must_use]
    pub fn uplink(&self) -> Option<&IfName> {
        if self.kind == SwitchKind::External { self.ports.iter().find_map(|p| p.attach.nic()) } else { None }
    }
}

/// Where two lists of ports differ: what is before and what is behind is the same in both. Of a thousand, most requests change
/// one.
#[must_use]
pub fn where_they_differ(one: &[Arc<PortConfig>], other: &[Arc<PortConfig>]) -> (Range<usize>, Range<usize>) {
    let before = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let (rest, other_rest) = (one[before..].iter().rev(), other[before..].iter().rev());
    let behind = rest.zip(other_rest).take_while(|(one, other)| one == other).count();
    (before..one.len() - behind, before..other.len() - behind)
}

/// One port as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PortConfig {
    /// Its name, unique on its switch.
    pub name: Name,
    /// What it is attached to.
    pub attach: Attachment,
    /// The vNIC's MAC. Unset, one is handed out and written down; the host vNIC `host` of an external switch takes
    /// the NIC's. An uplink has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "0a:76:73:00:00:01"))]
    pub mac: Option<MacAddr>,
    /// MAC spoofing protection. An uplink has none.
    #[serde(default = "default_guard")]
    pub guard: bool,
    /// Further source MACs that the guard lets pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub allow_macs: Vec<MacAddr>,
    /// What the guard lets in besides: addresses of virtual routers, the first few that are seen, those of a team.
    #[serde(default, skip_serializing_if = "GuardAlso::is_nothing")]
    pub guard_also: GuardAlso,
    /// Reserved multicast addresses (01-80-C2-00-00-00 to -0F) that may pass from this vNIC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub allow_reserved: Vec<MacAddr>,
    /// Drops what only DHCP servers say (DHCP, DHCPv6) where it comes from this vNIC. An uplink has no such guard.
    #[serde(default)]
    pub dhcp_guard: bool,
    /// Drops what only routers say (router advertisements and redirects) where it comes from this vNIC. An uplink has no such
    /// guard.
    #[serde(default)]
    pub router_guard: bool,
    /// Which IP addresses the vNIC may use. An uplink has no such guard.
    #[serde(default, skip_serializing_if = "IpGuardConfig::is_default")]
    pub ip_guard: IpGuardConfig,
    /// In which VLANs the port is. Unset: untagged, and an uplink is a trunk of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanMode>,
    /// Keeps the priority in the tags of frames from and to this vNIC, which is reset to 0 otherwise. That of an uplink is
    /// always kept.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub trust_priority: bool,
    /// Who may talk to the vNIC, and whom it may talk to. An uplink has no such lists.
    #[serde(default, skip_serializing_if = "AclConfig::is_default")]
    pub acl: AclConfig,
    /// Copies of the port's frames.
    #[serde(default, skip_serializing_if = "MirrorConfig::is_off")]
    pub mirror: MirrorConfig,
    /// The most addresses that may be learned on the port at once while its guard is off.
    #[serde(default = "default_learn_limit")]
    pub learn_limit: u32,
    /// Bytes of the largest layer 3 packet. Unset: the uplink's, or 1500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Queues of a vNIC that vmswitch makes (TAP), or the most queue pairs that a vhost-user port offers its VMM. Unset:
    /// 1, and 16 for vhost-user, of which the VMM takes what it wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
    /// How frames pass the interface of an uplink or a netdev.
    #[serde(default, skip_serializing_if = "IoChoice::is_auto")]
    pub io: IoChoice,
    /// How fast frames may pass. An uplink has no limits.
    #[serde(default, skip_serializing_if = "RateConfig::is_default")]
    pub rate: RateConfig,
}

impl PortConfig {
    /// A port with every setting at its default.
    #[must_use]
    pub fn new(name: Name, attach: Attachment) -> Self {
        Self {
            name,
            guard: !matches!(attach, Attachment::Uplink(_)),
            attach,
            mac: None,
            allow_macs: Vec::new(),
            guard_also: GuardAlso::default(),
            allow_reserved: Vec::new(),
            dhcp_guard: false,
            router_guard: false,
            ip_guard: IpGuardConfig::default(),
            vlan: None,
            mirror: MirrorConfig::default(),
            trust_priority: false,
            acl: AclConfig::default(),
            learn_limit: DEFAULT_LEARN_LIMIT,
            mtu: None,
            queues: None,
            io: IoChoice::Auto,
            rate: RateConfig::default(),
        }
    }

    /// In which VLANs the port is.
    #[must_use]
    pub fn vlan(&self) -> VlanMode {
        self.vlan.clone().unwrap_or_else(|| match self.attach {
            Attachment::Uplink(_) => VlanMode::Trunk(Trunk::all()),
            _ => VlanMode::Untagged,
        })
    }

    /// Queues, each for both directions.
    #[must_use]
    pub fn queues(&self) -> u16 {
        self.queues.unwrap_or(match self.attach {
            Attachment::VhostUser(_) => MAX_QUEUES,
            _ => 1,
        })
    }
}

/// How frames pass an interface that vmswitch did not make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum IoChoice {
    /// By AF_XDP where that was measured to be faster, else by AF_PACKET.
    #[default]
    Auto,
    /// By AF_XDP in the best mode that can be had, or not at all.
    AfXdp,
    /// By AF_PACKET.
    AfPacket,
}

impl IoChoice {
    /// The word used in the API, the state file and the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::AfXdp => "af-xdp",
            Self::AfPacket => "af-packet",
        }
    }

    /// True where nothing was asked for.
    #[must_use]
    pub const fn is_auto(&self) -> bool {
        matches!(self, Self::Auto)
    }
}

/// What a port is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Attachment {
    /// A physical NIC, taken over from the host.
    Uplink(IfName),
    /// A host vNIC: an interface that vmswitch makes on the host.
    Host(IfName),
    /// A TAP that a VMM opens.
    Tap(IfName),
    /// Any existing interface.
    Netdev(IfName),
    /// A vNIC that vmswitch makes inside a network namespace.
    Netns {
        /// Name of the namespace, as `ip netns` shows it.
        netns: Name,
        /// Name of the vNIC in it.
        ifname: IfName,
    },
    /// A unix stream socket on which vmswitch listens (QEMU `-netdev stream`).
    UnixStream(String),
    /// A unix datagram socket that vmswitch binds (QEMU `-netdev dgram`).
    UnixDgram(String),
    /// A vhost-user socket: the VMM shares the memory and the rings of its guest.
    VhostUser(VhostUser),
}

/// The socket of a vhost-user port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VhostUser {
    /// Its path. Unset: `RUN_DIR/vhost/SWITCH/PORT.sock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// Which side listens on it.
    #[serde(default)]
    pub role: VhostRole,
}

/// What vmswitch is at a vhost-user socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum VhostRole {
    /// It listens, the VMM connects.
    #[default]
    Server,
    /// The VMM listens, vmswitch connects, and again whenever the VMM or itself was started anew.
    Client,
}

impl VhostRole {
    /// The word used in the API, the state file and the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

impl Attachment {
    /// The word for the port's kind in the API and on the command line.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Uplink(_) => "uplink",
            Self::Host(_) => "host",
            Self::Tap(_) => "tap",
            Self::Netdev(_) => "netdev",
            Self::Netns { .. } => "netns",
            Self::UnixStream(_) => "unix-stream",
            Self::UnixDgram(_) => "unix-dgram",
            Self::VhostUser(_) => "vhost-user",
        }
    }

    /// The NIC of an uplink.
    #[must_use]
    pub const fn nic(&self) -> Option<&IfName> {
        match self {
            Self::Uplink(nic) => Some(nic),
            _ => None,
        }
    }

    /// True where AF_XDP and AF_PACKET are there to choose from. Not on a TAP: AF_XDP has no place for what a VMM says of
    /// its frames beside them, so that its guest's segments would be lost.
    #[must_use]
    pub const fn has_io_choice(&self) -> bool {
        matches!(self, Self::Uplink(_) | Self::Netdev(_))
    }

    /// The interface in the host's own namespace that the port is attached to.
    #[must_use]
    pub const fn host_interface(&self) -> Option<&IfName> {
        match self {
            Self::Uplink(name) | Self::Host(name) | Self::Tap(name) | Self::Netdev(name) => Some(name),
            Self::Netns { .. } | Self::UnixStream(_) | Self::UnixDgram(_) | Self::VhostUser(_) => None,
        }
    }
}

const fn default_mac_table_size() -> u32 {
    DEFAULT_MAC_TABLE_SIZE
}
const fn default_ageing_s() -> u32 {
    DEFAULT_AGEING_S
}
const fn default_learn_limit() -> u32 {
    DEFAULT_LEARN_LIMIT
}
const fn default_guard() -> bool {
    true
}
