//! The way of a batch through the switch.
//!
//! # Tiers
//!
//! | frame | costs |
//! | --- | --- |
//! | same two addresses as the frame before it, in the same batch | a compare of 12 bytes |
//! | from a guarded port | a compare with the port's MAC, one look-up |
//! | from a port that learns, both addresses known | two look-ups |
//! | a new source | and an entry written; at a full table, another one taken out |
//! | a move, a conflict with a pinned entry | and, once per interval, an event |
//!
//! # What batching changes
//!
//! Nothing. Frames are decided one by one in the order of the batch: each is learned from before it is looked up, and the
//! next one sees it. All frames of a batch happen at one moment, `now`.
//!
//! # Who owns what
//!
//! One worker owns the switch, so nothing here is shared or locked. The snapshot is immutable; the MAC table and the events
//! are written.

use crate::{
    EngineEvent, Flood, Millis, PortIndex, Snapshot, Switch,
    events::Events,
    key::Key,
    mac_table::{Learned, MacTable, Source},
    snapshot::Port,
};
use alloc::vec::Vec;
use model::DropReason;
use wire::ethernet;

/// A frame as the engine sees it.
#[derive(Clone, Copy, Debug)]
pub struct FrameIn<'a> {
    /// Its first bytes, up to 128: a private copy, which the sender cannot change any more.
    pub header: &'a [u8],
    /// How long it is; where it will be segmented, how long the largest segment will be.
    pub len: u32,
}

/// What happens to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Dropped; counted on the port that it came from.
    Drop(DropReason),
    /// Dropped; counted on that port, which it was to leave on.
    DropAt(PortIndex, DropReason),
    /// Goes to that port.
    Forward(PortIndex),
    /// Goes to each port of [`Snapshot::flood`], of which there is at least one.
    Flood(Flood),
}

/// A verdict, and whether the frame passed without its source being learned.
#[derive(Clone, Copy)]
struct Decision {
    verdict: Verdict,
    not_learned: bool,
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, not_learned: false }
    }
}

impl Switch {
    /// Decides a batch of frames that came in on `ingress`: clears `out` and puts one verdict for each frame into it.
    /// Returns how many frames passed without their source being learned, because the port or the table was at its limit.
    ///
    /// Frames of a port that is not in the snapshot are dropped as `port_down`.
    pub fn process(
        &mut self,
        ingress: PortIndex,
        frames: &[FrameIn<'_>],
        now: Millis,
        out: &mut Vec<Verdict>,
    ) -> u32 {
        self.table.advance(now);
        out.clear();
        let Self { snapshot, table, events } = self;
        let Some(port) = snapshot.port(ingress) else {
            out.resize(frames.len(), Verdict::Drop(DropReason::PortDown));
            return 0;
        };
        let mut way = Way { ingress, port, snapshot, table, events, last: None };
        let mut not_learned = 0;
        out.extend(frames.iter().map(|frame| {
            let decision = way.decide(frame);
            not_learned += u32::from(decision.not_learned);
            decision.verdict
        }));
        not_learned
    }
}

/// What is the same for all frames of a batch, and what they write.
struct Way<'a> {
    ingress: PortIndex,
    port: &'a Port,
    snapshot: &'a Snapshot,
    table: &'a mut MacTable,
    events: &'a mut Events,
    /// The addresses of the frame before, and what was decided. The next frame with the same addresses gets the same:
    /// deciding is idempotent as long as time stands still, as what the first one had to learn or to tell is done.
    last: Option<(Key, Key, Decision)>,
}

impl Way<'_> {
    #[inline]
    fn decide(&mut self, frame: &FrameIn<'_>) -> Decision {
        let Some((dst, src)) = addresses(frame) else { return Verdict::Drop(DropReason::Runt).into() };
        if !self.port.fits(frame.len, frame.header) {
            return Verdict::Drop(DropReason::Oversize).into();
        }
        match self.last {
            Some((last_dst, last_src, decision)) if (last_dst, last_src) == (dst, src) => decision,
            _ => {
                let decision = self.switch(dst, src);
                self.last = Some((dst, src, decision));
                decision
            }
        }
    }

    fn switch(&mut self, dst: Key, src: Key) -> Decision {
        if !src.is_valid_source() {
            return Verdict::Drop(DropReason::InvalidSource).into();
        }
        if self.port.guarded && !self.port.may_send_from(src) {
            return Verdict::Drop(DropReason::SpoofedMac).into();
        }
        let source = if self.port.guarded { None } else { Some(self.table.source(src)) };
        if let Some(Source::Fixed(pinned_to)) = source {
            self.tell(EngineEvent::PinConflict { mac: src.mac(), pinned_to, claimed_by: self.ingress });
            return Verdict::Drop(DropReason::MacPinnedElsewhere).into();
        }
        if dst.is_group() && self.port.is_reserved(dst.mac()) {
            return Verdict::Drop(DropReason::ReservedMulticast).into();
        }
        let not_learned = source.is_some_and(|source| !self.learn(src, source));
        Decision { verdict: self.way_to(dst), not_learned }
    }

    /// Learns where `src` is; false where the port or the table has no room for it.
    #[inline]
    fn learn(&mut self, src: Key, source: Source) -> bool {
        match self.table.learn(src, source, self.ingress, self.port.learn_limit()) {
            Learned::Yes => true,
            Learned::No => false,
            Learned::MovedFrom(from) => {
                self.tell(EngineEvent::Moved { mac: src.mac(), from, to: self.ingress });
                true
            }
        }
    }

    #[inline]
    fn way_to(&self, dst: Key) -> Verdict {
        if dst.is_group() {
            return self.flood(Flood::Group);
        }
        match self.table.look_up(dst) {
            None => self.flood(Flood::Unknown),
            Some(port) if port == self.ingress => Verdict::Drop(DropReason::Hairpin),
            Some(port) if self.snapshot.is_up(port) => Verdict::Forward(port),
            Some(port) => Verdict::DropAt(port, DropReason::PortDown),
        }
    }

    fn flood(&self, which: Flood) -> Verdict {
        if self.snapshot.floods_to_any(self.ingress, which) {
            Verdict::Flood(which)
        } else {
            Verdict::Drop(DropReason::NoDestination)
        }
    }

    fn tell(&mut self, event: EngineEvent) {
        self.events.tell(event, self.table.now());
    }
}

/// Destination and source of a frame that is not a runt.
#[inline]
fn addresses(frame: &FrameIn<'_>) -> Option<(Key, Key)> {
    let header = frame.header.first_chunk::<{ ethernet::HEADER_LEN }>()?;
    (frame.len >= ethernet::HEADER_LEN as u32).then(|| Key::pair(header))
}
