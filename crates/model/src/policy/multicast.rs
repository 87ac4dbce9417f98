//! Multicast snooping of a switch.

use crate::Name;
use alloc::vec::Vec;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

/// What a switch does with multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MulticastConfig {
    /// Whether groups go only to the ports where somebody wants them (IGMP and MLD are listened to).
    pub snooping: bool,
    /// Whether the switch asks hosts for their groups where no router does.
    pub querier: Querier,
    /// The version of its queries.
    pub query_version: QueryVersion,
    /// Seconds between its queries, and how often those of others come whose version does not tell.
    pub query_interval_s: u32,
    /// In so many seconds hosts answer its queries.
    pub query_response_s: u32,
    /// Whether a port has left a group at its first leave: right where no port has two hosts.
    pub fast_leave: bool,
    /// Whether groups that nobody wants go to all ports instead of to those of routers.
    pub flood_unregistered: bool,
    /// Whether multicast routers are taken to be behind the uplink, heard of or not.
    pub uplink_router: bool,
}

impl MulticastConfig {
    /// Seconds between queries unless told otherwise (RFC 3376 section 8.2, RFC 3810 section 9.2).
    pub const DEFAULT_INTERVAL_S: u32 = 125;
    /// Seconds in which hosts answer unless told otherwise (RFC 3376 section 8.3, RFC 3810 section 9.3).
    pub const DEFAULT_RESPONSE_S: u32 = 10;
    /// The most seconds between queries.
    pub const MAX_INTERVAL_S: u32 = 3600;
    /// The most seconds in which hosts answer: what a query of IGMPv2 can say.
    pub const MAX_RESPONSE_S: u32 = 25;

    /// True where nothing was asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// True where hosts have the time to answer a query before the next one, and a query can say so.
    #[must_use]
    pub const fn has_valid_times(&self) -> bool {
        let (interval, response) = (self.query_interval_s, self.query_response_s);
        0 < response
            && response < interval
            && response <= Self::MAX_RESPONSE_S
            && interval <= Self::MAX_INTERVAL_S
    }
}

impl Default for MulticastConfig {
    fn default() -> Self {
        Self {
            snooping: false,
            querier: Querier::Auto,
            query_version: QueryVersion::Two,
            query_interval_s: Self::DEFAULT_INTERVAL_S,
            query_response_s: Self::DEFAULT_RESPONSE_S,
            fast_leave: false,
            flood_unregistered: false,
            uplink_router: true,
        }
    }
}

/// Whether a switch that snoops asks hosts for their groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Querier {
    /// It never does. Nothing is filtered then where no router asks.
    Off,
    /// It does unless somebody asks who goes before it: any router for IGMP, one with a lower address for MLD.
    On,
    /// It does once nobody else was heard to ask for as long as it takes to say that nobody does (255 s).
    #[default]
    Auto,
}

/// The version of a switch's queries; hosts answer in the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum QueryVersion {
    /// IGMPv2 and MLDv1: hosts tell of each group in a report of its own, which a switch reads as a whole.
    #[default]
    #[serde(rename = "2")]
    Two,
    /// IGMPv3 and MLDv2.
    #[serde(rename = "3")]
    Three,
}

/// What is to be changed of [`MulticastConfig`]; what is left out stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ChangeMulticast {
    /// Whether it snoops.
    pub snooping: Option<bool>,
    /// Whether it asks.
    pub querier: Option<Querier>,
    /// The version of its queries.
    pub query_version: Option<QueryVersion>,
    /// Seconds between queries.
    pub query_interval_s: Option<u32>,
    /// Seconds in which hosts answer.
    pub query_response_s: Option<u32>,
    /// Whether the first leave counts.
    pub fast_leave: Option<bool>,
    /// Whether groups that nobody wants go to all ports.
    pub flood_unregistered: Option<bool>,
    /// Whether routers are behind the uplink in any case.
    pub uplink_router: Option<bool>,
}

impl ChangeMulticast {
    /// True where nothing is to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Makes the change.
    pub fn apply(self, config: &mut MulticastConfig) {
        let former = *config;
        *config = MulticastConfig {
            snooping: self.snooping.unwrap_or(former.snooping),
            querier: self.querier.unwrap_or(former.querier),
            query_version: self.query_version.unwrap_or(former.query_version),
            query_interval_s: self.query_interval_s.unwrap_or(former.query_interval_s),
            query_response_s: self.query_response_s.unwrap_or(former.query_response_s),
            fast_leave: self.fast_leave.unwrap_or(former.fast_leave),
            flood_unregistered: self.flood_unregistered.unwrap_or(former.flood_unregistered),
            uplink_router: self.uplink_router.unwrap_or(former.uplink_router),
        };
    }
}

/// What a switch knows of multicast groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MulticastStatus {
    /// What the switch is to do.
    pub config: MulticastConfig,
    /// Each VLAN, by IGMP and by MLD.
    pub vlans: Vec<MulticastVlan>,
    /// Which port wants which group.
    pub groups: Vec<MulticastGroup>,
    /// Which ports lead to routers, and so get all groups.
    pub routers: Vec<MulticastRouter>,
    /// Ports that get everything for a while, as it is not known what they want.
    pub unknown: Vec<UnknownWants>,
}

/// The protocol by which hosts tell what they want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum GroupProtocol {
    /// Of IPv4.
    Igmp,
    /// Of IPv6.
    Mld,
}

impl GroupProtocol {
    /// The word in the API and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Igmp => "igmp",
            Self::Mld => "mld",
        }
    }
}

/// One VLAN, by IGMP or MLD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MulticastVlan {
    /// Its number; 0 is none.
    pub vlan: u16,
    /// By which protocol.
    pub protocol: GroupProtocol,
    /// Who asks hosts for their groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub querier: Option<IpAddr>,
    /// Where that is; absent where it is the switch itself, or nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub querier_port: Option<Name>,
    /// Whether groups go only to who wants them. Not while nobody asks, or hosts had no time to answer.
    pub filters: bool,
}

/// A port that wants a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MulticastGroup {
    /// In which VLAN; 0 is none.
    pub vlan: u16,
    /// Which group.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub group: IpAddr,
    /// Which port.
    pub port: Name,
    /// Since so many seconds.
    pub age_s: u64,
    /// For so many seconds yet, unless it is heard again.
    pub left_s: u64,
}

/// A port that leads to a multicast router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MulticastRouter {
    /// In which VLAN; 0 is none. Absent: in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// By which protocol it was heard. Absent where it was not: an uplink is taken to lead to routers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<GroupProtocol>,
    /// Which port.
    pub port: Name,
    /// For so many seconds yet, unless it is heard again. Absent: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
}

/// A port of which it is not known what it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UnknownWants {
    /// Which port.
    pub port: Name,
    /// It gets everything for so many seconds yet.
    pub left_s: u64,
}
