//! The flows of a port: found by their key, forgotten when their time has come, never more than the port may have.
//!
//! Who fills the table harms nobody but the port: at its quota a new flow takes the place of the oldest one that has not been
//! answered, so a flood of SYNs runs against itself; where all have been answered, there is no place.
//!
//! A flow takes 96 bytes, and 8 to 32 in the index. Nothing here touches all flows at once, which would take tens of milliseconds for a
//! million: when there is a larger index, what is in the one before it moves over in small steps.

use super::{
    flow::Flow,
    key::Key,
    places::{NIL, Places},
};
use crate::{
    Millis,
    hash::Seed,
    index::{Index, Unfinished},
};
use core::ops::Range;

pub(super) use super::places::Slot;

/// Flows that the first index is made for: most ports have no more.
const FIRST_SIZE: usize = 512;
/// How much larger the next index is.
const GROWTH: usize = 4;
/// Flows that each new one moves to the larger index: enough to be done before that one is half full.
const MOVES: usize = 1;
/// Words of the next index that each new flow makes ready, once there are half of what this one is for: enough to have all when it is.
const WORDS: usize = 4 * GROWTH + 4;
/// Places that each new flow looks at for one whose time has come.
const SWEEP: usize = 2;
/// The same at the quota.
const SWEEP_AT_QUOTA: usize = 64;

/// Once there are no flows: places to be looked at for each chunk of memory that is let go of. A new flow lets go of none.
const PLACES_A_CHUNK: usize = 16;

/// A key and its hash in this table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed {
    pub(super) key: Key,
    hash: u64,
}

/// The flows of one port. Takes no memory before the first one.
#[derive(Clone, Debug)]
pub(super) struct Table {
    seed: Seed,
    quota: usize,
    index: Option<Index>,
    /// How many flows the index is made for.
    size: usize,
    /// The next one, while it is made.
    next: Option<Unfinished>,
    /// The index before it, with those that are still to be moved: they are at these places.
    former: Option<Index>,
    to_move: Range<Slot>,
    places: Places,
    /// Flows that were not answered yet, oldest first.
    unanswered: Ends,
    /// The place that is swept next.
    hand: usize,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    head: Slot,
    tail: Slot,
}

impl Table {
    pub(super) const fn new(seed: Seed, quota: usize) -> Self {
        let unanswered = Ends { head: NIL, tail: NIL };
        let places = Places::new();
        Self {
            seed,
            quota,
            index: None,
            size: 0,
            next: None,
            former: None,
            to_move: 0..0,
            places,
            unanswered,
            hand: 0,
        }
    }

    /// Another quota; what is there already stays until its time has come.
    pub(super) const fn set_quota(&mut self, quota: usize) {
        self.quota = quota;
    }

    /// Flows, those whose time has come and that were not found out yet among them.
    pub(super) const fn len(&self) -> usize {
        self.places.len()
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let indexes = self.index.iter().chain(&self.former);
        let next = self.next.as_ref().map_or(0, Unfinished::bytes);
        indexes.map(Index::bytes).sum::<usize>() + next + self.places.bytes()
    }

    #[inline]
    pub(super) fn hashed(&self, key: Key) -> Hashed {
        Hashed { hash: key.hash(self.seed), key }
    }

    /// The place that a look-up will probably end at. To ask for several before the first look-up has the processor wait for their
    /// memory at once.
    #[inline]
    pub(super) fn likely(&self, key: &Hashed) -> Slot {
        self.index.as_ref().and_then(|index| index.first_slot(key.hash)).unwrap_or(NIL)
    }

    /// A number that depends on what a look-up reads there.
    #[inline]
    pub(super) fn touch(&self, slot: Slot) -> u64 {
        self.places.touch(slot)
    }

    /// Where the flow of this key is, though its time may have come.
    #[inline]
    pub(super) fn place(&self, key: &Hashed) -> Option<Slot> {
        let is_it = |slot| self.places.is_of(slot, &key.key);
        let found = self.index.as_ref()?.find(key.hash, is_it);
        found.or_else(|| self.former.as_ref()?.find(key.hash, is_it))
    }

    /// Where the flow of this key is.
    pub(super) fn find(&mut self, key: &Hashed, now: Millis) -> Option<Slot> {
        let slot = self.place(key)?;
        if self.flow(slot)?.has_expired(now) {
            self.remove(slot);
            return None;
        }
        Some(slot)
    }

    #[inline]
    pub(super) fn flow(&self, slot: Slot) -> Option<&Flow> {
        self.places.flow(slot)
    }

    pub(super) fn flow_mut(&mut self, slot: Slot) -> Option<&mut Flow> {
        self.places.flow_mut(slot)
    }

    /// Enters a flow that is not there; false where there is no place for it.
    pub(super) fn insert(&mut self, key: &Hashed, flow: Flow, now: Millis) -> bool {
        self.sweep(SWEEP, now);
        if self.len() >= self.quota {
            self.sweep(SWEEP_AT_QUOTA, now);
        }
        if self.len() >= self.quota {
            match self.unanswered.head {
                NIL => return false,
                oldest => self.remove(oldest),
            }
        }
        self.make_room();
        let slot = self.places.next();
        if !self.index.as_mut().is_some_and(|index| index.insert(key.hash, slot)) {
            return false;
        }
        self.places.put(&key.key, flow);
        self.append(slot);
        true
    }

    /// Makes a larger index before the one that there is is fuller than half, and moves some flows to it.
    fn make_room(&mut self) {
        let larger = if self.size == 0 { FIRST_SIZE } else { self.size * GROWTH };
        if self.len() >= self.size {
            self.move_some(usize::MAX);
            let next = self.next.take().unwrap_or_else(|| Unfinished::new(larger));
            self.former = self.index.replace(next.finish());
            (self.size, self.to_move) = (larger, 0..self.places.slots() as Slot);
        } else if self.len() >= self.size / 2 && self.size < self.quota {
            self.next.get_or_insert_with(|| Unfinished::new(larger)).prepare(WORDS);
        }
        self.move_some(MOVES);
    }

    fn move_some(&mut self, most: usize) {
        let (Some(former), Some(index)) = (&mut self.former, &mut self.index) else { return };
        for slot in self.to_move.by_ref().take(most) {
            let hash = self.places.key(slot).map(|key| key.hash(self.seed));
            if let Some(hash) = hash.filter(|hash| former.remove(*hash, slot)) {
                // The chance that there is no place is below 1e-15; such a flow is not found again, and swept.
                index.insert(hash, slot);
            }
        }
        if self.to_move.is_empty() {
            self.former = None;
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.unlink(slot);
        let Some(key) = self.places.key(slot) else { return };
        let hash = key.hash(self.seed);
        let mut indexes = self.index.iter_mut().chain(&mut self.former);
        indexes.any(|index| index.remove(hash, slot));
        self.places.free(slot);
    }

    /// Notes that a flow was answered: a new one no longer takes its place.
    pub(super) fn keep(&mut self, slot: Slot) {
        self.unlink(slot);
    }

    fn append(&mut self, slot: Slot) {
        let tail = core::mem::replace(&mut self.unanswered.tail, slot);
        match self.places.cold_mut(tail) {
            Some(last) => last.next = slot,
            None => self.unanswered.head = slot,
        }
        if let Some(place) = self.places.cold_mut(slot) {
            (place.prev, place.next) = (tail, NIL);
        }
    }

    /// Takes a flow out of the list of those that were not answered, if it is in it.
    fn unlink(&mut self, slot: Slot) {
        let Some(place) = self.places.cold_mut(slot) else { return };
        let (prev, next) =
            (core::mem::replace(&mut place.prev, NIL), core::mem::replace(&mut place.next, NIL));
        if prev == NIL && self.unanswered.head != slot {
            return;
        }
        match self.places.cold_mut(prev) {
            Some(place) => place.next = next,
            None => self.unanswered.head = next,
        }
        match self.places.cold_mut(next) {
            Some(place) => place.prev = prev,
            None => self.unanswered.tail = prev,
        }
    }

    /// Looks at so many places in turn, and frees those of flows whose time has come; says how many it were.
    pub(super) fn sweep(&mut self, places: usize, now: Millis) -> usize {
        let (slots, mut freed) = (self.places.slots(), 0);
        for _ in 0..places.min(slots) {
            self.hand = if self.hand + 1 < slots { self.hand + 1 } else { 0 };
            let slot = self.hand as Slot;
            if self.flow(slot).is_some_and(|flow| flow.has_expired(now)) {
                self.remove(slot);
                freed += 1;
            }
        }
        if self.len() == 0 && self.index.is_some() && self.places.let_go(places / PLACES_A_CHUNK) {
            *self = Self::new(self.seed, self.quota);
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::acl::{AclWay, flows::flow::Kind};
    use proptest::{collection::vec, prelude::*};
    use std::{collections::BTreeMap, vec::Vec};

    fn key(n: u32) -> Key {
        Key::of_parts([u64::from(n), 0], [0; 3])
    }

    fn flow() -> Flow {
        Flow::new(Kind::Unanswered, AclWay::Out, 9, 0, Millis(0))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        /// Flows come and go in crowds, so that the index becomes larger, and larger again before all were moved.
        #[test]
        fn every_flow_is_found_at_its_place_while_the_index_grows(
            crowds in vec((0..8u32, any::<bool>(), 1..900u32), 1..16),
        ) {
            let mut table = Table::new([1, 2], 1 << 20);
            let mut model = BTreeMap::new();
            for (crowd, comes, size) in crowds {
                for n in (0..size).map(|n| crowd * 10_000 + n) {
                    let hashed = table.hashed(key(n));
                    if comes && !model.contains_key(&n) {
                        prop_assert!(table.insert(&hashed, flow(), Millis(0)));
                        model.insert(n, table.place(&hashed));
                    } else if !comes && let Some(place) = model.remove(&n) {
                        prop_assert_eq!(table.place(&hashed), place);
                        table.remove(place.unwrap());
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                for n in (0..8).flat_map(|crowd| (0..900).map(move |n| crowd * 10_000 + n)) {
                    let expected = model.get(&n).copied().flatten();
                    prop_assert_eq!(table.place(&table.hashed(key(n))), expected);
                }
            }
        }
    }

    #[test]
    fn places_are_used_again_and_memory_of_an_emptied_table_goes_in_steps() {
        let mut table = Table::new([1, 2], 1 << 20);
        let fill = |table: &mut Table| {
            (0..20_000).for_each(|n| assert!(table.insert(&table.hashed(key(n)), flow(), Millis(0))));
        };
        fill(&mut table);
        let full = table.bytes();
        let mut steps = Vec::new();
        assert_eq!(table.sweep(20_000 - 1, Millis(9000)), 20_000 - 1);
        assert_eq!(table.sweep(16, Millis(9000)), 1);
        fill(&mut table);
        assert!(table.bytes() <= full);
        table.sweep(20_000 - 1, Millis(9000));
        while table.bytes() != 0 {
            steps.push(table.bytes());
            table.sweep(256, Millis(9000));
        }
        assert_eq!(steps.len(), 3, "40 chunks, 16 at a time: {steps:?}");
    }
}
