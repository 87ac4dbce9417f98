//! What the REST API takes and answers beside configuration and status.

use crate::{
    ChangeAcl, IfName, IoChoice, Name, SwitchKind, VhostRole,
    policy::{
        guard::ChangeGuardAlso,
        ip_guard::ChangeIpGuard,
        mirror::MirrorConfig,
        multicast::ChangeMulticast,
        rate::{BandwidthMode, RateConfig},
        vlan::VlanMode,
    },
};
use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};
use wire::MacAddr;

/// `POST /v1/switches`: a switch to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct NewSwitch {
    /// Its name.
    pub name: Name,
    /// What it joins.
    pub kind: SwitchKind,
    /// The NIC to take over: exactly one for an external switch, none otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uplinks: Vec<IfName>,
    /// Whether the host gets a vNIC; unset: yes, but on a private switch no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<bool>,
    /// How frames pass the uplink's NIC; unset: `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<IoChoice>,
    /// Name of the host vNIC's interface; unset: the switch's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ifname: Option<IfName>,
    /// The most entries of its MAC table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_table_size: Option<u32>,
    /// Seconds after which an unseen learned entry is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_s: Option<u32>,
    /// What to do with multicast.
    #[serde(default, skip_serializing_if = "ChangeMulticast::is_empty")]
    pub multicast: ChangeMulticast,
    /// What minimum bandwidths of ports are measured in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_mode: Option<BandwidthMode>,
    /// Bits a second that the uplink carries; 0: its NIC's speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink_bandwidth: Option<u64>,
    /// Roll the switch back by itself unless it is confirmed within so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_s: Option<u64>,
}

impl NewSwitch {
    /// What makes a switch with every setting at its default.
    #[must_use]
    pub fn new(name: Name, kind: SwitchKind, uplinks: Vec<IfName>) -> Self {
        Self {
            name,
            kind,
            uplinks,
            host: None,
            io: None,
            host_ifname: None,
            mac_table_size: None,
            ageing_s: None,
            multicast: ChangeMulticast::default(),
            bandwidth_mode: None,
            uplink_bandwidth: None,
            confirm_s: None,
        }
    }
}

/// `PATCH /v1/switches/{switch}`: what to change; what is unset stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ChangeSwitch {
    /// Convert to this kind, in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SwitchKind>,
    /// The NIC to take over where the switch becomes external.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uplinks: Vec<IfName>,
    /// How frames pass the uplink's NIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<IoChoice>,
    /// Whether the host has a vNIC `host`; no removes every host vNIC of the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<bool>,
    /// The most entries of its MAC table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_table_size: Option<u32>,
    /// Seconds after which an unseen learned entry is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ageing_s: Option<u32>,
    /// What to do with multicast.
    #[serde(default, skip_serializing_if = "ChangeMulticast::is_empty")]
    pub multicast: ChangeMulticast,
    /// What minimum bandwidths of ports are measured in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_mode: Option<BandwidthMode>,
    /// Bits a second that the uplink carries; 0: its NIC's speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink_bandwidth: Option<u64>,
    /// Roll the change back by itself unless it is confirmed within so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_s: Option<u64>,
}

/// `PATCH /v1/switches/{switch}/ports/{port}`: what to change; what is unset stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ChangePort {
    /// The vNIC's MAC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub mac: Option<MacAddr>,
    /// MAC spoofing protection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<bool>,
    /// Further source MACs that the guard lets pass; replaces the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Vec<String>>))]
    pub allow_macs: Option<Vec<MacAddr>>,
    /// What the guard lets in besides.
    #[serde(default, skip_serializing_if = "ChangeGuardAlso::is_nothing")]
    pub guard_also: ChangeGuardAlso,
    /// Reserved multicast addresses that may pass from this vNIC; replaces the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Vec<String>>))]
    pub allow_reserved: Option<Vec<MacAddr>>,
    /// Whether a DHCP server's messages from this vNIC are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp_guard: Option<bool>,
    /// Whether router advertisements and redirects from this vNIC are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_guard: Option<bool>,
    /// Which IP addresses the vNIC may use.
    #[serde(default, skip_serializing_if = "ChangeIpGuard::is_nothing")]
    pub ip_guard: ChangeIpGuard,
    /// In which VLANs the port is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanMode>,
    /// Whether the priority in tags is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_priority: Option<bool>,
    /// Access lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<ChangeAcl>,
    /// Copies of the port's frames; replaces what was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorConfig>,
    /// The most addresses that may be learned on the port at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learn_limit: Option<u32>,
    /// Bytes of the largest layer 3 packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Of a vhost-user port: the path of its socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost_socket: Option<String>,
    /// Of a vhost-user port: which side listens on its socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vhost_role: Option<VhostRole>,
    /// Of an uplink or a netdev: how frames pass its interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<IoChoice>,
    /// How fast frames may pass: what of it to change; 0 takes a limit away.
    #[serde(default, skip_serializing_if = "RateConfig::is_default")]
    pub rate: RateConfig,
}

/// `POST /v1/switches/{switch}/macs/flush`: which learned entries to forget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FlushMacs {
    /// Only those of this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Name>,
}

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Flushed {
    /// Learned entries that were forgotten.
    pub flushed: u64,
}

/// `GET /v1/version`: which daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Version {
    /// The daemon's version.
    pub version: String,
    /// The version of the state file that it reads and writes.
    pub state_version: u32,
}

/// What a change does, step by step, in the order of execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Plan {
    /// One sentence a step.
    pub steps: Vec<String>,
}

/// An error of the API: a problem document (RFC 9457, application/problem+json).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A URI that names the kind of problem: `/problems/NAME`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong, why, and what to do.
    pub detail: String,
}
