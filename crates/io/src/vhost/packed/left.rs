//! A packed ring that another process left: what that had noted, and what the ring itself tells.
//!
//! The chains that a process put last are either all shown or none is, as the first one's flags are written last. In a put
//! that was cut short the others may be marked as used already, with lengths of their own: so all of it is given back again,
//! with no byte written, which a driver takes for buffers without a frame.

use super::{AVAILABLE, ENABLE, Packed, Position, RUNS, USED};
use crate::vhost::{
    chains::Chain,
    descriptor::{Descriptor, NEXT},
    places::{Left, Place},
    ring::RingConfig,
};
use std::sync::atomic::Ordering;

impl Position {
    /// How many slots it is to `end`; `None` where that is more than there are.
    fn distance(self, end: Self, size: u16) -> Option<u16> {
        let laps = if self.wrap == end.wrap { 0 } else { size };
        let slots = (end.slot + laps).checked_sub(self.slot)?;
        (slots <= size && end.slot < size).then_some(slots)
    }
}

impl Packed {
    /// Goes on where it was noted that the ring stands. What was taken and may have been passed on is given back.
    pub(super) fn go_on(&mut self, config: &RingConfig, place: &Place) {
        let (start, size) = (self.used, self.common.size);
        let is_new = self.device_event.get(0).load(Ordering::Relaxed) == 0;
        let left = place.left(config).filter(|_| config.recalls && !is_new);
        let [begin, end] = left.map_or([start; 2], |left| self.unfinished(left, start));
        let (chains, begin) = self.chains(begin, end).map_or((Vec::new(), start), |chains| (chains, begin));
        let slots = chains.iter().map(|chain| chain.slots).sum();
        (self.used, self.next, self.taken) = (begin, begin.plus(slots, size), slots);
        let (told, used, to) = (place.told, begin.bits(), self.next.bits());
        self.common.notes = Some(place.begin(config, Left { told, used, to, taken: to }));
        // Who starts a ring calls the guest.
        let _ = self.put_all(&chains);
        if is_new {
            self.wish(ENABLE << 16 | RUNS);
        }
    }

    /// From where to where chains are to be given back of a ring that was left so, and that the front end starts at `start`.
    ///
    /// It starts at the same base again where it was told of none since. Another one is its own doing: QEMU (7.2) drops what a
    /// guest sends without a back end, from the base on, which it takes for where the ring is. What it dropped is marked as
    /// used already; what lies before that was available as long, and is given back with it. As few as one frame may have been
    /// there to be dropped: so what was taken may lie on both sides of it.
    fn unfinished(&self, left: Left, start: Position) -> [Position; 2] {
        let [used, to, taken] = [left.used, left.to, left.taken].map(Position::from_bits);
        let shown = left.used != left.to && !self.is_available(used);
        let begin = if shown { to } else { used };
        let [dropped, sent] = [start, taken].map(|end| begin.distance(end, self.common.size));
        match (left.told == start.bits(), self.common.writable) {
            (true, true) => [begin, to],
            (true, false) => [begin, taken],
            (false, true) => [start; 2],
            (false, false) if dropped.is_none() => [start; 2],
            (false, false) => {
                let begin = if self.is_available(begin) { begin } else { start };
                [begin, if sent > dropped { taken } else { start }]
            }
        }
    }

    fn descriptor(&self, slot: u16) -> Descriptor {
        let cell = self.descriptors.get(usize::from(slot));
        let rest = cell[1].load(Ordering::Acquire);
        Descriptor::packed(cell[0].load(Ordering::Relaxed), rest)
    }

    fn is_available(&self, at: Position) -> bool {
        self.descriptor(at.slot).flags & (AVAILABLE | USED) == at.available()
    }

    /// The chains of these slots, some of which may be marked as used already; `None` where they are not whole.
    fn chains(&self, begin: Position, end: Position) -> Option<Vec<Chain>> {
        let (mut chains, mut at, size) = (Vec::new(), begin, self.common.size);
        if begin.slot >= size {
            return None;
        }
        while at != end {
            let (id, slots) = self.chain_at(at, at.distance(end, size)?)?;
            chains.push(Chain::returned(id, at.slot, slots));
            at = at.plus(slots, size);
        }
        Some(chains)
    }

    /// Id and slots of a chain of `most` slots at most. Of a used one the first slot tells the id only; the others are as the
    /// driver made them, and the last of a chain has its id (2.8.6).
    fn chain_at(&self, begin: Position, most: u16) -> Option<(u16, u16)> {
        let first = self.descriptor(begin.slot);
        let is_used = first.flags & (AVAILABLE | USED) == begin.used();
        let unread = u16::from(is_used);
        let rest = (unread..most).map(|slots| begin.plus(slots, self.common.size));
        let rest = rest.take_while(|at| self.is_available(*at)).map(|at| self.descriptor(at.slot));
        let ends = (unread + 1..).zip(rest).find(|(_, descriptor)| !descriptor.has(NEXT));
        let chain = ends.map(|(slots, last)| (last.link, slots));
        match is_used {
            true => chain.filter(|(id, _)| *id == first.link).or(Some((first.link, 1))),
            false => chain,
        }
    }
}
