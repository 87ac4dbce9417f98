//! The way of a batch through the switch.
//!
//! # Tiers
//!
//! Instructions for each frame, counted by `examples/instructions.rs` on x86-64:
//!
//! | frame | costs | instructions |
//! | --- | --- | --- |
//! | same two addresses as the frame before it, in the same batch | a compare | 110 |
//! | from a guarded port | a compare with the port's MAC, one look-up | 340 |
//! | from a port that learns, both addresses known | two look-ups | 430 |
//! | a new source, at a full table | an entry taken out and one written | 900 |
//! | a move, a conflict with a pinned entry | once per interval, an event | |
//!
//! A hash is about 90 of these instructions.
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
    mac_table::{Hashed, Learned, MacTable, Source},
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
        let Self { snapshot, table, events, addresses } = self;
        let Some(port) = snapshot.port(ingress) else {
            out.resize(frames.len(), Verdict::Drop(DropReason::PortDown));
            return 0;
        };
        let mut way = Way { ingress, port, snapshot, table, events, last: None };
        let mut not_learned = 0;
        for frames in frames.chunks(addresses.len()) {
            way.read_ahead(frames, addresses);
            out.extend(frames.iter().zip(&*addresses).map(|(frame, addresses)| {
                let decision = way.decide(frame, addresses);
                not_learned += u32::from(decision.not_learned);
                decision.verdict
            }));
        }
        not_learned
    }
}

/// How many frames are read ahead: as many as the data path's batches have.
const READ_AHEAD: usize = 64;

/// Where a frame goes to and comes from. The hash of a guarded port's source is not needed, and not there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    dst: Hashed,
    src: Hashed,
}

/// The addresses of the frames that are read ahead. Kept with the switch, as it need not be cleared for each batch.
pub(crate) type AddressBuffer = [Addresses; READ_AHEAD];

impl Addresses {
    pub(crate) const NONE: Self = Self { dst: Hashed::NONE, src: Hashed::NONE };
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
    /// Hashes all addresses, then reads what the look-ups will read, so that the processor waits for many of these reads at once
    /// and not for each in turn: half as many look-ups again per second with 65,536 destinations in random order.
    #[inline]
    fn read_ahead(&self, frames: &[FrameIn<'_>], addresses: &mut AddressBuffer) {
        let mut last = Addresses::NONE;
        for (frame, addresses) in frames.iter().zip(&mut *addresses) {
            let Some(header) = frame.header.first_chunk() else { continue };
            let (dst, src) = Key::pair(header);
            if dst != last.dst.key {
                last.dst = self.table.hashed(dst);
            }
            if src != last.src.key {
                last.src = if self.port.guarded { Hashed::without_hash(src) } else { self.table.hashed(src) };
            }
            *addresses = last;
        }
        self.touch(&addresses[..frames.len()]);
    }

    /// Reads for the sake of the cache, for each address that differs from the one before.
    #[inline]
    fn touch(&self, addresses: &[Addresses]) {
        let mut last = Addresses::NONE;
        let mut touched = 0;
        for addresses in addresses {
            if addresses.dst.key != last.dst.key {
                touched ^= self.table.touch(addresses.dst);
            }
            if addresses.src.key != last.src.key && !self.port.guarded {
                touched ^= self.table.touch(addresses.src);
            }
            last = *addresses;
        }
        core::hint::black_box(touched);
    }

    #[inline]
    fn decide(&mut self, frame: &FrameIn<'_>, addresses: &Addresses) -> Decision {
        if frame.len.min(frame.header.len() as u32) < ethernet::HEADER_LEN as u32 {
            return Verdict::Drop(DropReason::Runt).into();
        }
        if !self.port.fits(frame.len, frame.header) {
            return Verdict::Drop(DropReason::Oversize).into();
        }
        let Addresses { dst, src } = *addresses;
        match self.last {
            Some((last_dst, last_src, decision)) if (last_dst, last_src) == (dst.key, src.key) => decision,
            _ => {
                let decision = self.switch(dst, src);
                self.last = Some((dst.key, src.key, decision));
                decision
            }
        }
    }

    #[inline]
    fn switch(&mut self, dst: Hashed, src: Hashed) -> Decision {
        if !src.key.is_valid_source() {
            return Verdict::Drop(DropReason::InvalidSource).into();
        }
        if self.port.guarded {
            return self.switch_guarded(dst, src);
        }
        let source = self.table.source(src);
        if let Source::Fixed(pinned_to) = source {
            self.tell(EngineEvent::PinConflict { mac: src.key.mac(), pinned_to, claimed_by: self.ingress });
            return Verdict::Drop(DropReason::MacPinnedElsewhere).into();
        }
        if self.is_reserved(dst) {
            return Verdict::Drop(DropReason::ReservedMulticast).into();
        }
        let not_learned = !self.learn(src, source);
        Decision { verdict: self.way_to(dst), not_learned }
    }

    /// The same for a guarded port, which does not learn.
    #[inline]
    fn switch_guarded(&mut self, dst: Hashed, src: Hashed) -> Decision {
        if !self.port.may_send_from(src.key) {
            return Verdict::Drop(DropReason::SpoofedMac).into();
        }
        if self.is_reserved(dst) {
            return Verdict::Drop(DropReason::ReservedMulticast).into();
        }
        self.way_to(dst).into()
    }

    #[inline]
    fn is_reserved(&self, dst: Hashed) -> bool {
        dst.key.is_group() && self.port.is_reserved(dst.key.mac())
    }

    /// Learns where `src` is; false where the port or the table has no room for it.
    #[inline]
    fn learn(&mut self, src: Hashed, source: Source) -> bool {
        match self.table.learn(src, source, self.ingress, self.port.learn_limit()) {
            Learned::Yes => true,
            Learned::No => false,
            Learned::MovedFrom(from) => {
                self.tell(EngineEvent::Moved { mac: src.key.mac(), from, to: self.ingress });
                true
            }
        }
    }

    #[inline]
    fn way_to(&self, dst: Hashed) -> Verdict {
        if dst.key.is_group() {
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
