//! Asking to be shown the frames that pass: captures and traces.

use crate::{DropReason, Name};
use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};
use wire::MacAddr;

/// The longest filter.
pub const MAX_FILTER_LEN: usize = 4096;

/// `POST /v1/switches/{switch}/capture`: which frames, and how much of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CaptureRequest {
    /// Only at this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Name>,
    /// Only frames that this filter lets pass (pcap-filter(7)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// As many bytes of each; unset: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<u32>,
    /// Only frames that are dropped, where they are.
    #[serde(default)]
    pub dropped: bool,
}

/// `POST /v1/switches/{switch}/trace`: which frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TraceRequest {
    /// Only frames that come from this port, or are for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Name>,
    /// Only frames that this filter lets pass (pcap-filter(7)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// One of so many of these; unset: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<u32>,
    /// Only frames that are dropped somewhere.
    #[serde(default)]
    pub dropped: bool,
}

/// A line of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum TraceLine {
    /// A frame that passed.
    Frame(TracedFrame),
    /// Frames were not traced, as the reader did not read fast enough.
    Missed {
        /// So many, since the line of this kind before.
        missed: u64,
    },
}

/// A frame, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TracedFrame {
    /// When its batch passed, in nanoseconds since 1970.
    pub time_ns: u64,
    /// The port that it came from; absent where the switch itself sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Name>,
    /// Where it is from; a frame that is too short for an Ethernet header has no addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub source: Option<MacAddr>,
    /// Where it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub destination: Option<MacAddr>,
    /// The VLANs of its tags, the outer one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<u16>,
    /// What it carries, in a few words.
    pub carries: String,
    /// How long it is, in bytes.
    pub length: u32,
    /// The ports that it left on.
    pub leaves: Vec<Name>,
    /// Where it, or a copy of it, was dropped.
    pub drops: Vec<TracedDrop>,
}

/// A drop as it was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TracedDrop {
    /// On this port.
    pub port: Name,
    /// For this reason.
    pub reason: DropReason,
    /// True where it was cut into segments there, some of which were dropped.
    #[serde(default, skip_serializing_if = "is_false")]
    pub partly: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_false(value: &bool) -> bool {
    !*value
}
