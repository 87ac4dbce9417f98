//! Status: what is, as `show` and `list` print it.

use crate::{
    Name, PortConfig, PortCounters, SwitchCounters, SwitchKind, VhostRole,
    policy::{ip_guard::LeasedAddress, multicast::MulticastConfig, rate::BandwidthMode},
};
use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};
use wire::MacAddr;

/// A switch as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SwitchStatus {
    /// Its name.
    pub name: Name,
    /// What it joins.
    pub kind: SwitchKind,
    /// The NICs of its uplinks.
    pub uplinks: Vec<String>,
    /// How frames pass the uplink, while its NIC is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<IoStatus>,
    /// Names of all its ports, the uplink's and the host vNICs' among them.
    pub ports: Vec<Name>,
    /// The most entries of its MAC table.
    pub mac_table_size: u32,
    /// Entries in its MAC table now.
    pub mac_entries: u32,
    /// Seconds after which an unseen learned entry is forgotten.
    pub ageing_s: u32,
    /// What it does with multicast; absent where nothing else was asked for.
    #[serde(default, skip_serializing_if = "MulticastConfig::is_default")]
    pub multicast: MulticastConfig,
    /// How its uplink is shared while it is congested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharing: Option<SharingStatus>,
    /// Seconds left to confirm the switch before it is rolled back; absent where nothing waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_s: Option<u64>,
    /// What passed it.
    pub stats: SwitchCounters,
}

/// How the uplink of a switch is shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SharingStatus {
    /// What minimum bandwidths of ports are measured in.
    pub mode: BandwidthMode,
    /// Bits a second that the uplink is taken to carry; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Where that is from.
    pub source: String,
}

/// Whether frames can pass a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum PortState {
    /// Frames pass.
    Up,
    /// What the port is attached to is away or down; it comes back by itself.
    Down,
    /// The vNIC broke the rules of its interface; it stays stopped until it is attached anew. A vhost-user port comes back
    /// by itself when its VMM has connected anew and obeys.
    Faulted,
}

impl PortState {
    /// The word in the API and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Faulted => "faulted",
        }
    }
}

/// A port as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PortStatus {
    /// Its name.
    pub name: Name,
    /// The switch's name.
    pub switch: Name,
    /// What kind of thing it is attached to: uplink, host, tap, netdev, netns, unix-stream, unix-dgram,
    /// vhost-user.
    pub kind: String,
    /// The vNIC's MAC; the NIC's for an uplink. Absent while it is not known.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub mac: Option<MacAddr>,
    /// Whether frames can pass.
    pub state: PortState,
    /// Why not, where they cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes of the largest layer 3 packet.
    pub mtu: u32,
    /// Of a vhost-user port: its socket, and what the driver in the VM uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost: Option<VhostStatus>,
    /// Of an uplink, a netdev or a TAP, while its interface is open: how frames pass it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<IoStatus>,
    /// Of a port whose access lists count or remember something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<AclStatus>,
    /// The addresses that the vNIC leases, as far as its IP guard has learned them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<LeasedAddress>,
    /// Of a port that is mirrored to a collector: what became of the copies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorStatus>,
    /// The port as it should be.
    pub config: PortConfig,
    /// What passed it.
    pub stats: PortCounters,
}

/// What the access lists of a port have counted and remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AclStatus {
    /// Its meters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<MeterStatus>,
    /// Flows that stateful rules remember.
    pub flows: u32,
}

/// What a meter has counted: frames that the access lists let pass. It stays while the meter does, whatever becomes of other rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MeterStatus {
    /// Name of its rule.
    pub rule: Name,
    /// Frames; one that will be cut to segments counts as one.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What became of copies for a collector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MirrorStatus {
    /// Those sent.
    pub sent: u64,
    /// Of these, those that were cut to fit the path.
    pub truncated: u64,
    /// Those that the host's network did not take.
    pub unsent: u64,
    /// Frames that were mirrored slower than they came: there are no copies of them.
    pub lost: u64,
    /// Why the last one was not sent, if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A vhost-user port as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VhostStatus {
    /// Path of its socket.
    pub socket: String,
    /// What vmswitch is at the socket.
    pub role: VhostRole,
    /// Queue pairs in which the guest's driver lets frames pass at the moment.
    pub queue_pairs: u16,
    /// Features of virtio that the guest's driver took, by their names in the specification without `VIRTIO_NET_F_` and
    /// the like; none while no ring runs.
    pub features: Vec<String>,
}

/// How frames pass an interface, and why so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct IoStatus {
    /// How.
    pub mode: IoMode,
    /// Why so: it was asked for, or what `auto` went by.
    pub why: String,
    /// Better modes that were tried, best first, and why each could not be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedMode>,
}

/// A way for frames to pass an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum IoMode {
    /// AF_XDP: the NIC itself reads and writes the switch's memory.
    AfXdpZeroCopy,
    /// AF_XDP: the driver hands frames over, and the kernel copies.
    AfXdpNativeCopy,
    /// AF_XDP: the kernel makes its own buffers for frames, and copies.
    AfXdpGenericCopy,
    /// A packet socket.
    AfPacket,
}

impl IoMode {
    /// As people are told.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::AfXdpZeroCopy => "AF_XDP, zero-copy",
            Self::AfXdpNativeCopy => "AF_XDP, native copy",
            Self::AfXdpGenericCopy => "AF_XDP, generic copy",
            Self::AfPacket => "AF_PACKET",
        }
    }

    /// True for every mode of AF_XDP.
    #[must_use]
    pub const fn is_xdp(self) -> bool {
        !matches!(self, Self::AfPacket)
    }
}

/// A mode that an interface could not be opened in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RefusedMode {
    /// The mode.
    pub mode: IoMode,
    /// Why not, as the kernel said it.
    pub why: String,
}

/// A worker: a thread that moves frames. Counts begin when `vmswitchd` starts; shares and rates are differences of two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WorkerStatus {
    /// Its number, from 0.
    pub worker: u32,
    /// The CPU that it is pinned to (`--workers`); absent where the kernel places it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Nanoseconds since it was started.
    pub uptime_ns: u64,
    /// Of these, nanoseconds in which it moved frames. The rest it slept, or looked for frames that were not there.
    pub busy_ns: u64,
    /// Frames that it received.
    pub frames: u64,
    /// Batches in which they came; at most 64 frames are one.
    pub batches: u64,
}

/// How an entry came into the MAC table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum MacKind {
    /// A guarded port's own MAC: it never moves.
    Pinned,
    /// Put in by hand (a guarded port's allow list).
    Static,
    /// Seen as a source.
    Learned,
    /// Seen as a source on a port whose guard takes the first few: it is that port's until it is let go.
    Bound,
}

impl MacKind {
    /// The word in the API and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Static => "static",
            Self::Learned => "learned",
            Self::Bound => "bound",
        }
    }
}

/// An entry of the MAC table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MacEntry {
    /// The address.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub mac: MacAddr,
    /// The VLAN; 0 is none. Null for the address of a guarded trunk port, which has it in every one.
    pub vlan: Option<u16>,
    /// Where frames to the address go.
    pub port: Name,
    /// How it came here.
    pub kind: MacKind,
    /// Seconds since the address was last seen as a source; 0 for entries that do not age.
    pub age_s: u64,
}
