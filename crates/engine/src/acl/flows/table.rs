//! The flows of a port: found by their key, forgotten when their time has come, never more than the port may have.
//!
//! Who fills the table harms nobody but the port: at its quota a new flow takes the place of the oldest one that has not been
//! answered or is over, so a flood of SYNs runs against itself; where all have been answered and none is over, there is no place.
//!
//! Keys are hashed quickly, until one finds its place so far from home that somebody must have chosen it: then an index is made that is
//! hashed strongly (`crate::hash`), and all move over to it as to a larger one.
//!
//! A flow takes 96 bytes, and 8 to 32 in the index. Nothing here touches all flows at once, which would take tens of milliseconds for a
//! million: when there is a larger index, what is in the one before it moves over in small steps.

use super::{
    flow::Flow,
    key::Key,
    places::{NIL, Places},
};
use crate::{
    Fetch, Millis,
    hash::{Hashing, Seed},
    index::{Index, Unfinished},
};
use alloc::{collections::BTreeSet, vec::Vec};
use core::{iter, ops::Range, ptr};

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
const PLACES_A_CHUNK: usize = 8;

/// How far from home a key is that was chosen to be: of a million that were not, one is with a chance of 1e-5.
const CROWD: usize = 128;

/// An index, and how its keys are hashed.
#[derive(Debug)]
struct Keyed {
    index: Index,
    hashing: Hashing,
    seed: Seed,
}

impl Keyed {
    #[inline]
    fn hash(&self, key: &Key) -> u64 {
        key.hash(self.seed, self.hashing)
    }
}

/// The flows of one port. Takes no memory before the first one.
#[derive(Debug)]
pub(super) struct Table {
    seed: Seed,
    fetch: Fetch,
    /// How the next index will be hashed.
    hashing: Hashing,
    quota: usize,
    index: Option<Keyed>,
    /// How many flows the index is made for.
    size: usize,
    /// The next one, while it is made.
    next: Option<Unfinished>,
    /// The index before it, with those that are still to be moved: they are at these places.
    former: Option<Keyed>,
    to_move: Range<Slot>,
    places: Places,
    /// Flows whose places new ones may take, in the order in which they came to be so.
    dispensable: Ends,
    /// The place that is swept next.
    hand: usize,
    /// Another one begins whenever a flow goes before its time.
    epoch: u64,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    head: Slot,
    tail: Slot,
}

impl Table {
    pub(super) const fn new(seed: Seed, fetch: Fetch, quota: usize) -> Self {
        let dispensable = Ends { head: NIL, tail: NIL };
        let places = Places::new();
        Self {
            seed,
            fetch,
            hashing: Hashing::Quick,
            quota,
            index: None,
            size: 0,
            next: None,
            former: None,
            to_move: 0..0,
            places,
            dispensable,
            hand: 0,
            epoch: 0,
        }
    }

    /// A copy of the flows of these keys. A new one finds a place there where it would find one here.
    pub(super) fn excerpt(&self, keys: impl Iterator<Item = Key>, now: Millis) -> Self {
        let (mut excerpt, mut copied) = (Self::new(self.seed, |_| (), usize::MAX), Vec::new());
        for (key, slot) in keys.filter_map(|key| Some((key, self.place(&key)?))) {
            let Some(flow) = self.flow(slot).filter(|_| !copied.contains(&slot)) else { continue };
            if excerpt.insert(&key, flow.clone(), Millis(0)) && !flow.is_dispensable() {
                excerpt.place(&key).into_iter().for_each(|slot| excerpt.keep(slot));
            }
            copied.push(slot);
        }
        if let Some(places) = self.places_beside(&copied, now) {
            excerpt.quota = places;
        }
        excerpt
    }

    /// How many places [`Table::insert`] would find if it were not for the flows at `copied`; `None` where one of others would make room.
    fn places_beside(&self, copied: &[Slot], now: Millis) -> Option<usize> {
        let slots = self.places.slots();
        let swept = 1..=SWEEP.min(slots) + SWEEP_AT_QUOTA.min(slots);
        let swept = swept.map(|step| ((self.hand + step) % slots) as Slot);
        let expired = |slot: &Slot| self.flow(*slot).is_some_and(|flow| flow.has_expired(now));
        let freed: BTreeSet<_> = swept.filter(|slot| !copied.contains(slot) && expired(slot)).collect();
        let next = |slot: &Slot| self.places.cold(*slot).map(|place| place.next);
        let mut dispensable =
            iter::successors(Some(self.dispensable.head), next).take_while(|slot| *slot != NIL);
        if dispensable.any(|slot| !copied.contains(&slot) && !freed.contains(&slot)) {
            return None;
        }
        Some(self.quota.saturating_sub(self.len() - copied.len() - freed.len()))
    }

    pub(super) const fn fetch_with(&mut self, fetch: Fetch) {
        self.fetch = fetch;
    }

    /// Another quota; what is there already stays until its time has come.
    pub(super) const fn set_quota(&mut self, quota: usize) {
        self.quota = quota;
    }

    /// True where so many flows may begin and none has to go for that.
    pub(super) const fn has_room_for(&self, flows: usize) -> bool {
        self.places.len() + flows <= self.quota
    }

    /// In which flows go only when their time has come.
    #[inline]
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Begins one, later than any before.
    pub(super) const fn begin_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// Flows, those whose time has come and that were not found out yet among them.
    pub(super) const fn len(&self) -> usize {
        self.places.len()
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let indexes = self.index.iter().chain(&self.former);
        let next = self.next.as_ref().map_or(0, Unfinished::bytes);
        indexes.map(|keyed| keyed.index.bytes()).sum::<usize>() + next + self.places.bytes()
    }

    /// The hash of a key in the index.
    #[inline(always)]
    pub(super) fn hash(&self, key: &Key) -> u64 {
        self.index.as_ref().map_or(0, |keyed| keyed.hash(key))
    }

    /// Fetches where the look-up of this hash begins.
    #[inline(always)]
    pub(super) fn begin(&self, hash: u64) {
        if let Some(keyed) = &self.index {
            (self.fetch)(ptr::from_ref(keyed.index.first_word(hash)).cast());
        }
    }

    /// The place that a look-up will probably end at of this hash, of a key of these words. It is fetched.
    #[inline(always)]
    pub(super) fn likely(&self, hash: u64, key: [u64; 2]) -> Slot {
        let found = self.index.as_ref().and_then(|keyed| keyed.index.likely(hash));
        let slot = found.or_else(|| self.likely_in_former(key)).unwrap_or(NIL);
        self.fetch(slot);
        slot
    }

    /// Fetches a place.
    #[inline(always)]
    pub(super) fn fetch(&self, slot: Slot) {
        if let Some(at) = self.places.at(slot) {
            (self.fetch)(at);
        }
    }

    /// While flows move; of IPv6 they are looked up the long way meanwhile.
    fn likely_in_former(&self, key: [u64; 2]) -> Option<Slot> {
        let keyed = self.former.as_ref()?;
        keyed.index.likely(keyed.hash(&Key::of_parts(key, [0; 3])))
    }

    /// The flow at a place, if its key has these words: of IPv4 all.
    #[inline]
    pub(super) fn flow_at(&self, slot: Slot, key: [u64; 2]) -> Option<&Flow> {
        self.places.flow_at(slot, key)
    }

    /// The flow of IPv4 whose key has these words, and its place. Not inlined: hardly ever is another flow at the place that the index said
    /// first, or at which the flow was last time.
    #[inline(never)]
    pub(super) fn flow_of(&self, key: [u64; 2]) -> Option<(Slot, &Flow)> {
        let keyed = self.index.as_ref()?;
        let hash = keyed.hash(&Key::of_parts(key, [0; 3]));
        let slot = keyed.index.find(hash, |slot| self.places.flow_at(slot, key).is_some())?;
        Some((slot, self.places.flow_at(slot, key)?))
    }

    /// True where the flow at a place has this key.
    pub(super) fn is_of(&self, slot: Slot, key: &Key) -> bool {
        self.places.is_of(slot, key)
    }

    /// Where the flow of this key is, though its time may have come.
    #[inline]
    pub(super) fn place(&self, key: &Key) -> Option<Slot> {
        let is_it = |slot| self.places.is_of(slot, key);
        let find = |keyed: &Keyed| keyed.index.find(keyed.hash(key), is_it);
        self.index.as_ref().and_then(find).or_else(|| self.former.as_ref().and_then(find))
    }

    /// Where the flow of this key is.
    pub(super) fn find(&mut self, key: &Key, now: Millis) -> Option<Slot> {
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
    pub(super) fn insert(&mut self, key: &Key, flow: Flow, now: Millis) -> bool {
        self.sweep(SWEEP, now);
        if self.len() >= self.quota {
            self.sweep(SWEEP_AT_QUOTA, now);
        }
        if self.len() >= self.quota {
            match self.dispensable.head {
                NIL => return false,
                oldest => {
                    self.epoch += 1;
                    self.remove(oldest);
                }
            }
        }
        self.make_room();
        let slot = self.places.next();
        let Some(index) = &mut self.index else { return false };
        let distance = index.index.insert(index.hash(key), slot);
        if distance.is_none_or(|distance| distance >= CROWD) {
            self.hashing = Hashing::Strong;
        }
        if distance.is_some() {
            self.places.put(key, flow);
            self.append(slot);
        }
        distance.is_some()
    }

    /// Makes another index before the one that there is is fuller than half, or where keys crowd in it, and moves some flows to it.
    fn make_room(&mut self) {
        let is_crowded = self.index.as_ref().is_some_and(|index| index.hashing != self.hashing);
        let rehash = is_crowded && self.former.is_none();
        let size = match self.size {
            0 => FIRST_SIZE,
            size if rehash => size,
            size => size * GROWTH,
        };
        let is_ready = self.next.as_ref().is_some_and(Unfinished::is_ready);
        if self.len() >= self.size || (rehash && is_ready) {
            self.change_index(size);
        } else if rehash || (self.len() >= self.size / 2 && self.size < self.quota) {
            self.next.get_or_insert_with(|| Unfinished::new(size)).prepare(WORDS);
        }
        self.move_some(MOVES);
    }

    fn change_index(&mut self, size: usize) {
        self.move_some(usize::MAX);
        let next = self.next.take().unwrap_or_else(|| Unfinished::new(size));
        self.size = next.slots();
        let (hashing, seed) = (self.hashing, self.seed);
        self.former = self.index.replace(Keyed { index: next.finish(), hashing, seed });
        self.to_move = 0..self.places.slots() as Slot;
    }

    fn move_some(&mut self, most: usize) {
        let (Some(former), Some(index)) = (&mut self.former, &mut self.index) else { return };
        for slot in self.to_move.by_ref().take(most) {
            let Some(key) = self.places.key(slot) else { continue };
            if former.index.remove(former.hash(&key), slot) {
                // The chance that there is no place is below 1e-15; such a flow is not found again, and swept.
                index.index.insert(index.hash(&key), slot);
            }
        }
        if self.to_move.is_empty() {
            self.former = None;
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.unlink(slot);
        let Some(key) = self.places.key(slot) else { return };
        let mut indexes = self.index.iter_mut().chain(&mut self.former);
        indexes.any(|keyed| keyed.index.remove(keyed.hash(&key), slot));
        self.places.free(slot);
    }

    /// Notes that a flow was answered: a new one no longer takes its place.
    pub(super) fn keep(&mut self, slot: Slot) {
        self.unlink(slot);
    }

    /// Notes that a flow is over, which was kept: a new one may take its place again, after those of which that is known for longer.
    pub(super) fn offer(&mut self, slot: Slot) {
        self.append(slot);
    }

    fn append(&mut self, slot: Slot) {
        let tail = core::mem::replace(&mut self.dispensable.tail, slot);
        match self.places.cold_mut(tail) {
            Some(last) => last.next = slot,
            None => self.dispensable.head = slot,
        }
        if let Some(place) = self.places.cold_mut(slot) {
            (place.prev, place.next) = (tail, NIL);
        }
    }

    /// Takes a flow out of the list of those whose places new ones may take, if it is in it.
    fn unlink(&mut self, slot: Slot) {
        let Some(place) = self.places.cold_mut(slot) else { return };
        let (prev, next) =
            (core::mem::replace(&mut place.prev, NIL), core::mem::replace(&mut place.next, NIL));
        if prev == NIL && self.dispensable.head != slot {
            return;
        }
        match self.places.cold_mut(prev) {
            Some(place) => place.next = next,
            None => self.dispensable.head = next,
        }
        match self.places.cold_mut(next) {
            Some(place) => place.prev = prev,
            None => self.dispensable.tail = prev,
        }
    }

    /// Sweeps so many places, and moves as many flows to the larger index, where one is half done: no new flow need come for that.
    pub(super) fn age(&mut self, places: usize, now: Millis) -> usize {
        self.move_some(places);
        self.sweep(places, now)
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
            // What was assured in an epoch before this one must not hold again.
            *self = Self { epoch: self.epoch, ..Self::new(self.seed, self.fetch, self.quota) };
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
        #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 5))]

        /// Flows come and go in crowds, so that the index becomes larger, and larger again before all were moved.
        #[test]
        fn every_flow_is_found_at_its_place_while_the_index_grows(
            crowds in vec((0..8u32, any::<bool>(), 1..900u32), 1..16),
        ) {
            let mut table = Table::new([1, 2], |_| (), 1 << 20);
            let mut model = BTreeMap::new();
            for (crowd, comes, size) in crowds {
                for n in (0..size).map(|n| crowd * 10_000 + n) {
                    let key = key(n);
                    if comes && !model.contains_key(&n) {
                        prop_assert!(table.insert(&key, flow(), Millis(0)));
                        model.insert(n, table.place(&key));
                    } else if !comes && let Some(place) = model.remove(&n) {
                        prop_assert_eq!(table.place(&key), place);
                        table.remove(place.unwrap());
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                for n in (0..8).flat_map(|crowd| (0..900).map(move |n| crowd * 10_000 + n)) {
                    let expected = model.get(&n).copied().flatten();
                    prop_assert_eq!(table.place(&key(n)), expected);
                }
            }
        }
    }

    /// As many flows as there may be, or some too many. All were answered but some, and one has expired.
    #[test]
    fn a_new_flow_finds_a_place_in_an_excerpt_where_it_finds_one() {
        const FLOWS: u32 = 80;
        let unanswered: [&[u32]; 4] = [&[], &[7], &[9], &[7, 9]];
        let cases = unanswered.iter().flat_map(|some| (0..=FLOWS).map(move |expired| (some, expired)));
        for ((some, expired), more) in cases.flat_map(|case| [0, 1].map(|more| (case, more))) {
            let (mut table, now) = (Table::new([1, 2], |_| (), 1000), Millis(1000));
            for n in 0..FLOWS {
                let kind = if some.contains(&n) { Kind::Unanswered } else { Kind::Answered };
                let idle = if n == expired { 1 } else { 9 };
                table.insert(&key(n), Flow::new(kind, AclWay::Out, idle, 0, Millis(0)), Millis(0));
                if !some.contains(&n) {
                    table.keep(n);
                }
            }
            table.set_quota((FLOWS - more) as usize);
            let keys = [key(7), key(500)];
            let mut excerpt = table.excerpt(keys.into_iter(), now);
            assert_eq!(excerpt.len(), 1);
            assert!(
                keys.iter().all(|key| excerpt.find(key, now).is_some() == table.find(key, now).is_some())
            );
            let finds = [&mut excerpt, &mut table].map(|table| table.insert(&key(500), flow(), now));
            assert_eq!(finds[0], finds[1], "{some:?} unanswered, {expired} expired, {more} too many");
        }
    }

    /// Keys that a table of this seed hashes to neighbours, as somebody would choose them who knows it.
    fn crowd(seed: Seed, homes: u64) -> impl Iterator<Item = Key> {
        (0..).map(key).filter(move |key| key.hash(seed, Hashing::Quick) < u64::MAX / homes)
    }

    #[test]
    fn keys_that_were_chosen_to_crowd_are_spread_by_the_strong_hash() {
        let seed = [1, 2];
        let mut table = Table::new(seed, |_| (), 1 << 20);
        let keys: Vec<_> = crowd(seed, 512).take(20_000).collect();
        let mut entered = Vec::new();
        for key in &keys {
            if table.insert(key, flow(), Millis(0)) {
                entered.push(*key);
            }
            assert_eq!(table.len(), entered.len());
        }
        let hashing = table.index.as_ref().map(|keyed| keyed.hashing);
        assert_eq!(hashing, Some(Hashing::Strong));
        assert!(entered.len() > keys.len() * 9 / 10, "{} found a place", entered.len());
        assert!(entered.iter().all(|key| table.place(key).is_some()));
    }

    #[test]
    fn keys_that_nobody_chose_are_hashed_quickly() {
        for seed in [[1, 2], [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]] {
            let mut table = Table::new(seed, |_| (), 1 << 20);
            for n in 0..200_000u64 {
                let key = Key::of_parts(
                    [0x0a00_0001_0a00_0002 + n / 60_000, ((n % 60_000) << 48) | 80 << 32 | 0x0411],
                    [0; 3],
                );
                assert!(table.insert(&key, flow(), Millis(0)));
            }
            assert_eq!(table.hashing, Hashing::Quick);
        }
    }

    #[test]
    fn places_are_used_again_and_memory_of_an_emptied_table_goes_in_steps() {
        let mut table = Table::new([1, 2], |_| (), 1 << 20);
        let fill = |table: &mut Table| {
            (0..20_000).for_each(|n| assert!(table.insert(&key(n), flow(), Millis(0))));
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
        assert_eq!(steps.len(), 3, "79 chunks, 32 at a time: {steps:?}");
    }

    #[test]
    fn flows_move_to_a_larger_index_though_no_new_one_comes() {
        let mut table = Table::new([1, 2], |_| (), 1 << 20);
        (0..600).for_each(|n| assert!(table.insert(&key(n), flow(), Millis(0))));
        assert!(table.former.is_some());
        table.age(600, Millis(0));
        assert!(table.former.is_none());
        assert!((0..600).all(|n| table.place(&key(n)) == Some(n)));
    }
}
