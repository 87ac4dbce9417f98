//! The pure switching logic: frames in, verdicts out.
//!
//! A [`Switch`] turns (batch of headers, [`Snapshot`], tables, now) into [`Verdict`]s and [`EngineEvent`]s. It does no
//! I/O, reads no clock, allocates nothing per frame and knows no randomness but its seed: the same calls give the same
//! answers, however a stream of frames is cut into batches.
//!
//! ```
//! use engine::{
//!     FrameIn, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Verdict, Verdicts, Vlan,
//! };
//! # extern crate alloc;
//! # use alloc::{sync::Arc, vec::Vec};
//!
//! let guarded = |mac| PortPolicy { mac: Some(mac), ..PortPolicy::new(Role::Vnic) };
//! let (a, b) = (wire::MacAddr([2, 0, 0, 0, 0, 1]), wire::MacAddr([2, 0, 0, 0, 0, 2]));
//! let snapshot = Snapshot::new(vec![(PortIndex(0), guarded(a)), (PortIndex(1), guarded(b))]);
//! let mut switch = Switch::new(TableConfig::default(), [1, 2]);
//! switch.install(Arc::new(snapshot), Millis(0));
//!
//! let header = [b.0, a.0, [0x08, 0, 0, 0, 0, 0]].concat();
//! let mut verdicts = Verdicts::default();
//! switch.process(PortIndex(0), &[FrameIn { header: &header, len: 60 }], Millis(0), &mut verdicts);
//! assert_eq!(*verdicts, [Verdict::Forward(PortIndex(1), Vlan::NONE)]);
//! ```
#![no_std]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

extern crate alloc;

mod acl;
mod events;
mod guard;
mod guards;
mod hash;
mod index;
mod ip_guard;
mod key;
mod mac_table;
mod mirror;
mod multicast;
mod pipeline;
mod policy;
mod rate;
mod snapshot;
mod state;
mod step;
mod storm;
mod switch;
mod vlan;

pub use acl::{Acl, AclFinding, AclFrame, AclState, AclWay, Asked, Findings, Leaving, Meter, Passage};
pub use events::{EVENT_INTERVAL, EngineEvent, MAX_EVENTS};
pub use guard::GuardAlso;
pub use ip_guard::{IpGuard, Lease};
pub use mac_table::{Entry, Learned, TableConfig};
pub use mirror::Mirror;
pub use multicast::{Asker, Audience, MulticastMember, MulticastReport, MulticastSegment, Question};
pub use pipeline::{FrameIn, List, Unheard, Verdict, Verdicts};
pub use policy::{PortIndex, PortPolicy, Role};
pub use rate::{Bucket, LATEST, Limits, MAX_BURST, Nanos, Rate, Share, Shares, Uplink};
pub use snapshot::{Flood, Snapshot};
pub use step::{Roamed, Step};
pub use switch::Switch;
pub use vlan::{Retag, Vlan};

/// Asks the processor to bring memory at an address nearer, which will be read soon: without waiting, and without effect otherwise. Pure
/// code has no way to do so, so it is told how.
pub type Fetch = fn(*const u8);

/// A moment or a span, in milliseconds. The caller's clock may start anywhere; time that goes backwards is taken to
/// stand still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);
