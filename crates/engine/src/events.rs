//! Events: what an operator wants to hear of, and no more often than is of use.
//!
//! A guest can cause an event with each frame it sends, so telling is limited here, before anything is allocated,
//! logged or sent. An event of one kind between the same two ports is told once per interval, whatever the address: the
//! ports name the culprit, and a guest cannot invent ports. One small array holds both what waits to be taken and what was
//! told lately, so the two limits are one.

use crate::{Millis, PortIndex};
use wire::MacAddr;

/// For so long after an event its like is not told again.
pub const EVENT_INTERVAL: Millis = Millis(10_000);
/// The most events that are told in one interval, and the most that wait to be taken.
pub const MAX_EVENTS: usize = 16;

/// Something that an operator wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineEvent {
    /// A frame came from `claimed_by` with a source that belongs to the guarded port `pinned_to`.
    PinConflict {
        /// The address.
        mac: MacAddr,
        /// The port it belongs to.
        pinned_to: PortIndex,
        /// The port it was seen on.
        claimed_by: PortIndex,
    },
    /// A learned address was seen on another port.
    Moved {
        /// The address.
        mac: MacAddr,
        /// The port it was on.
        from: PortIndex,
        /// The port it is on.
        to: PortIndex,
    },
}

impl EngineEvent {
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::PinConflict { pinned_to: a, claimed_by: b, .. },
                Self::PinConflict { pinned_to: c, claimed_by: d, .. },
            )
            | (Self::Moved { from: a, to: b, .. }, Self::Moved { from: c, to: d, .. }) => (a, b) == (c, d),
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Told {
    event: EngineEvent,
    at: Millis,
    taken: bool,
}

impl Told {
    fn is_over(&self, now: Millis) -> bool {
        self.taken && now.0.saturating_sub(self.at.0) >= EVENT_INTERVAL.0
    }
}

/// The events of one switch.
#[derive(Debug, Default)]
pub(crate) struct Events {
    told: [Option<Told>; MAX_EVENTS],
    waiting: usize,
}

impl Events {
    /// Tells `event`, unless its like was told within the interval or too much was.
    #[cold]
    pub(crate) fn tell(&mut self, event: EngineEvent, now: Millis) {
        if let Some(free) = self.place_for(event, now) {
            self.told[free] = Some(Told { event, at: now, taken: false });
            self.waiting += 1;
        }
    }

    /// Where `event` would be told; nowhere, if its like was told within the interval or too much was.
    pub(crate) fn place_for(&self, event: EngineEvent, now: Millis) -> Option<usize> {
        let lasting = |told: &Option<Told>| told.is_some_and(|t| !t.is_over(now));
        let is_told = |told: &Option<Told>| lasting(told) && told.is_some_and(|t| t.event.is_like(&event));
        if self.told.iter().any(is_told) {
            return None;
        }
        self.told.iter().position(|told| !lasting(told))
    }

    /// The events that were not taken yet.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = EngineEvent> + '_ {
        let Self { told, waiting } = self;
        let scanned = if *waiting == 0 { 0 } else { MAX_EVENTS };
        told[..scanned].iter_mut().flatten().filter(|told| !told.taken).map(|told| {
            told.taken = true;
            *waiting -= 1;
            told.event
        })
    }
}
