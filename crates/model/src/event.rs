//! Events: what happened, as `/v1/events` streams it and the log prints it.

use crate::{Name, PortState};
use alloc::string::String;
use serde::{Deserialize, Serialize};
use wire::MacAddr;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Event {
    /// Rising by one for each event since the daemon's start.
    pub id: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum EventKind {
    /// A switch was added.
    SwitchAdded {
        /// The switch.
        switch: Name,
    },
    /// A switch was changed.
    SwitchChanged {
        /// The switch.
        switch: Name,
    },
    /// A switch was removed.
    SwitchRemoved {
        /// The switch.
        switch: Name,
    },
    /// Nobody confirmed the switch in time: what it had changed was put back.
    SwitchRolledBack {
        /// The switch.
        switch: Name,
    },
    /// A port was added.
    PortAdded {
        /// The switch.
        switch: Name,
        /// The port.
        port: Name,
    },
    /// A port was changed.
    PortChanged {
        /// The switch.
        switch: Name,
        /// The port.
        port: Name,
    },
    /// A port was removed.
    PortRemoved {
        /// The switch.
        switch: Name,
        /// The port.
        port: Name,
    },
    /// A port went up, down or faulted.
    PortState {
        /// The switch.
        switch: Name,
        /// The port.
        port: Name,
        /// Its new state.
        state: PortState,
        /// Why, where it is not up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Frames came from `claimed_by` with a source that is pinned to `pinned_to`; told once per interval.
    MacConflict {
        /// The switch.
        switch: Name,
        /// The address.
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        mac: MacAddr,
        /// The port it belongs to.
        pinned_to: Name,
        /// The port that it was seen on.
        claimed_by: Name,
    },
    /// A learned address was seen on another port; told once per interval.
    MacMoved {
        /// The switch.
        switch: Name,
        /// The address.
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        mac: MacAddr,
        /// The port it was on.
        from: Name,
        /// The port it is on.
        to: Name,
    },
}
