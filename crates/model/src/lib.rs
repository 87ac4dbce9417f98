//! What a switch is: names, configuration, status, events, drop reasons, and their validation.
//!
//! The words of the API, the state file and the engine. Input is checked once: [`DesiredState::validate`] makes a
//! [`ValidState`], and only that can be installed.
#![cfg_attr(not(feature = "schema"), no_std)]

extern crate alloc;

mod api;
mod config;
mod counters;
mod event;
mod explain;
mod name;
mod observe;
pub mod policy;
mod status;
mod validate;

pub use api::{ChangePort, ChangeSwitch, FlushMacs, Flushed, NewSwitch, Plan, Problem, Version};
pub use config::{
    Attachment, DEFAULT_AGEING_S, DEFAULT_LEARN_LIMIT, DEFAULT_MAC_TABLE_SIZE, DesiredState, IoChoice,
    MAX_MAC_TABLE_SIZE, MAX_PORTS, MAX_QUEUES, PortConfig, STATE_VERSION, SwitchConfig, SwitchKind,
    VhostRole, VhostUser, where_they_differ,
};
pub use counters::{DropCounts, DropReason, PortCounters, SwitchCounters};
pub use event::{Event, EventKind};
pub use explain::{ExplainFrame, ExplainedDrop, ExplainedStep, Explanation, FrameBytes, FrameBytesError};
pub use name::{IfName, Name, NameError};
pub use observe::{CaptureRequest, MAX_FILTER_LEN, TraceLine, TraceRequest, TracedDrop, TracedFrame};
pub use policy::acl::{
    AclAction, AclAddress, AclConfig, AclDirection, AclMatch, AclRule, AclRuleError, AclRules, AclTraffic,
    ChangeAcl, DEFAULT_FLOWS, DEFAULT_IDLE_S, MAX_ACL_RULES, MAX_FLOWS, NoSuchRule, PrefixError,
};
pub use status::{
    AclStatus, IoMode, IoStatus, MacEntry, MacKind, MeterStatus, MirrorStatus, PortState, PortStatus,
    RefusedMode, SharingStatus, SwitchStatus, VhostStatus, WorkerStatus,
};
pub use validate::{Invalid, ValidState};
pub use wire::{IpPrefix, MacAddr};
