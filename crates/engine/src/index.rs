//! The hash index: from a hash to slots of the entries.
//!
//! Open addressing with linear probing, at most half full, one 32-bit word for each place:
//!
//! ```text
//!   31                                                       0
//!  ┌──────────┬───────────┬───────────────────────────────────┐
//!  │ tag      │ home      │ slot + 1; 0: the place is free     │
//!  │ the rest │ 8 bits    │ 21 bits, or fewer                  │
//!  └──────────┴───────────┴───────────────────────────────────┘
//! ```
//!
//! *Home* is where the hash says that the word should be, its low bits. They tell how far from home a word is, so
//! removing one can move its followers back without looking at their entries, and no tombstones are needed. They also
//! keep neighbours of another home apart at look-up; the *tag*, more bits of the hash, does so for those of the same home.
//! With 3 bits a look-up reads a wrong entry once in forty times; with 6, where an index is made for few enough slots, once
//! in three hundred.
//!
//! No word is further from home than [`REACH`], which bounds the work of a look-up whatever happens. At half load the chance that
//! an address finds no place within that reach is below 1e-15; such an address is not entered.

use alloc::{vec, vec::Vec};

const HOME_BITS: u32 = 8;

/// How many places, from its home on, a word may be in.
const REACH: usize = 1 << HOME_BITS;
/// Fewer places are not worth it: the last home needs `REACH` places too, so a small index would be fuller than half.
const MIN_PLACES: usize = 1 << 13;

/// The most slots that a word can tell apart.
pub(crate) const MAX_SLOTS: usize = (1 << 21) - 1;

/// The index of one table.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    words: Vec<u32>,
    homes: u64,
    /// How many bits of a word are the slot's.
    slot_bits: u32,
}

impl Index {
    /// An index for up to `slots` entries.
    pub(crate) fn new(slots: usize) -> Self {
        let homes = (2 * slots).max(MIN_PLACES) - REACH + 1;
        // No home has fewer than REACH places before the end, so a probe never wraps around.
        Self::of_words(vec![0; homes + REACH - 1], homes, MAX_SLOTS)
    }

    /// Of slots below so many.
    const fn of_words(words: Vec<u32>, homes: usize, slots: usize) -> Self {
        Self { words, homes: homes as u64, slot_bits: usize::BITS - slots.leading_zeros() }
    }

    #[inline]
    const fn slot_mask(&self) -> u32 {
        (1 << self.slot_bits) - 1
    }

    /// The bytes it takes.
    pub(crate) const fn bytes(&self) -> usize {
        self.words.len() * size_of::<u32>()
    }

    /// Where a hash belongs. The high half of the hash is scaled to the number of homes, which need not be a power of two.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.homes) >> 32) as usize
    }

    /// Tag and home, as they stand in a word.
    #[inline]
    const fn mark(&self, hash: u64, home: usize) -> u32 {
        let tags = !0 << HOME_BITS << self.slot_bits;
        hash as u32 & tags | (home as u32 & (REACH as u32 - 1)) << self.slot_bits
    }

    /// The places in which a word of this home may be.
    #[inline]
    fn reach(&self, home: usize) -> &[u32] {
        &self.words[home..home + REACH]
    }

    /// The slot at the home of this hash. At half load two thirds of the addresses that are entered are at home.
    #[inline]
    pub(crate) fn first_slot(&self, hash: u64) -> Option<u32> {
        (self.first_word(hash) & self.slot_mask()).checked_sub(1)
    }

    /// The word at the home of this hash.
    #[inline]
    pub(crate) fn first_word(&self, hash: u64) -> &u32 {
        &self.words[self.home(hash)]
    }

    /// The first slot that could be of this hash: nearly always it is.
    #[inline]
    pub(crate) fn likely(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// The slot of this hash for which `is_it` is true.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let home = self.home(hash);
        let (mark, slots) = (self.mark(hash, home), self.slot_mask());
        let words = self.reach(home).iter().take_while(|word| **word != 0);
        words.filter(|word| **word & !slots == mark).map(|word| (word & slots) - 1).find(|slot| is_it(*slot))
    }

    /// Enters a slot, and says how far from home; `None` where there is no free place within reach, or the index is not made for that slot.
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) -> Option<usize> {
        let home = self.home(hash);
        if slot >= self.slot_mask() {
            return None;
        }
        let distance = self.reach(home).iter().position(|word| *word == 0)?;
        self.words[home + distance] = self.mark(hash, home) | (slot + 1);
        Some(distance)
    }

    /// Takes a slot out again, and moves what had to make way for it back towards home; false where it is not in.
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) -> bool {
        let home = self.home(hash);
        let word = self.mark(hash, home) | (slot + 1);
        let Some(distance) = self.reach(home).iter().position(|w| *w == word) else { return false };
        let mut hole = home + distance;
        for place in hole + 1..self.words.len() {
            let word = self.words[place];
            if word == 0 {
                break;
            }
            if self.distance_from_home(word, place) >= place - hole {
                self.words[hole] = word;
                hole = place;
            }
        }
        self.words[hole] = 0;
        true
    }

    /// How far behind its home a word at `place` is: less than `REACH`, so the low bits of both tell.
    const fn distance_from_home(&self, word: u32, place: usize) -> usize {
        place.wrapping_sub((word >> self.slot_bits) as usize) & (REACH - 1)
    }
}

/// An index whose memory is made ready in steps, as the kernel takes some microseconds for each page that is used for the first time.
#[derive(Debug)]
pub(crate) struct Unfinished {
    words: Vec<u32>,
    homes: usize,
}

impl Unfinished {
    /// For up to `slots` entries, whose slots are below that.
    pub(crate) fn new(slots: usize) -> Self {
        let homes = 2 * slots;
        Self { words: Vec::with_capacity(homes + REACH - 1), homes }
    }

    /// How many entries it is for.
    pub(crate) const fn slots(&self) -> usize {
        self.homes / 2
    }

    /// True once all of its memory is ready.
    pub(crate) const fn is_ready(&self) -> bool {
        self.words.len() >= self.homes + REACH - 1
    }

    /// Makes so many words ready.
    pub(crate) fn prepare(&mut self, words: usize) {
        let ready = self.words.len().saturating_add(words).min(self.homes + REACH - 1);
        self.words.resize(ready, 0);
    }

    pub(crate) fn finish(mut self) -> Index {
        self.prepare(usize::MAX);
        let slots = self.slots();
        Index::of_words(self.words, self.homes, slots)
    }

    /// The bytes it takes.
    pub(crate) const fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::{collection::vec, prelude::*, sample::select};
    use std::vec::Vec;

    /// A hash that belongs at about the `home`-th place of the smallest index.
    fn hash_at(home: u64, tag: u64) -> u64 {
        ((home << 32 | 0xffff_ffff) / (MIN_PLACES - REACH + 1) as u64) << 32 | tag << 30
    }

    proptest! {
        /// Crowded homes: at the beginning, at the end, and next to each other.
        #[test]
        fn crowded_homes_lose_nothing_and_find_nothing_else(
            ops in vec((any::<bool>(), select(vec![0, 1, 2, 5, 7934, 7935, 7936]), 0..4u64), 1..400)
        ) {
            let mut index = Index::new(16);
            let mut model: Vec<(u64, u32)> = Vec::new();
            for (slot, (insert, home, tag)) in (0u32..).zip(ops) {
                let hash = hash_at(home, tag);
                if insert {
                    prop_assert!(index.insert(hash, slot).is_some());
                    model.push((hash, slot));
                } else if let Some(at) = model.iter().position(|(h, _)| *h == hash) {
                    prop_assert!(index.remove(hash, model.swap_remove(at).1));
                    prop_assert_eq!(index.find(hash, |found| found == slot), None);
                }
                for (hash, slot) in &model {
                    prop_assert_eq!(index.find(*hash, |found| found == *slot), Some(*slot));
                }
                prop_assert_eq!(index.words.iter().filter(|word| **word != 0).count(), model.len());
            }
        }
    }

    #[test]
    fn the_work_of_a_look_up_is_bounded() {
        let mut index = Index::new(1000);
        let hash = hash_at(7936, 0);
        assert!((0..REACH).all(|slot| index.insert(hash, slot as u32) == Some(slot)));
        assert_eq!(index.insert(hash, 1000), None);
        let looked_at = std::cell::Cell::new(0);
        let look = |_| {
            looked_at.set(looked_at.get() + 1);
            false
        };
        assert_eq!(index.find(hash, look), None);
        assert_eq!(looked_at.get(), REACH);
    }

    #[test]
    fn a_word_far_from_home_finds_its_way_back() {
        let mut index = Index::new(1000);
        let hash = hash_at(3, 0);
        assert!((0..REACH as u32).all(|slot| index.insert(hash, slot).is_some()));
        for removed in 0..REACH as u32 {
            assert!(index.remove(hash, removed) && !index.remove(hash, removed));
            let missing = (removed + 1..REACH as u32).find(|slot| index.find(hash, |s| s == *slot).is_none());
            assert_eq!(missing, None, "after {removed} was removed");
        }
    }

    #[test]
    fn it_takes_eight_bytes_for_each_entry_that_fits() {
        for slots in [4096, 65_536, 100_000, 1 << 20] {
            assert_eq!(Index::new(slots).bytes(), 8 * slots);
        }
    }

    /// Of a thousand look-ups, how many wrong entries are read.
    fn wrong_reads(mut index: Index, slots: u32) -> u32 {
        let hash = |slot: u32| crate::hash::hash([1, 2], slot.into());
        assert!((0..slots).all(|slot| index.insert(hash(slot), slot).is_some()));
        let wrong = std::cell::Cell::new(0);
        for slot in 0..slots {
            let is_it = |found| {
                wrong.set(wrong.get() + u32::from(found != slot));
                found == slot
            };
            assert_eq!(index.find(hash(slot), is_it), Some(slot));
        }
        1000 * wrong.get() / slots
    }

    #[test]
    fn an_index_for_fewer_slots_reads_fewer_wrong_entries_and_takes_no_other_slots() {
        assert!((10..40).contains(&wrong_reads(Index::new(100_000), 100_000)));
        let mut few = Unfinished::new(131_072).finish();
        assert_eq!(few.insert(7, 1 << 18), None);
        assert!(wrong_reads(few, 100_000) < 5);
    }
}
