//! The places of flows: memory that grows in pieces, so that no flow is moved for another one.

use super::{
    flow::{Flow, Kind},
    key::Key,
};
use crate::{Millis, acl::AclWay, index::MAX_SLOTS};
use alloc::{boxed::Box, vec::Vec};
use core::{iter, mem, ptr};

/// The number of a flow's place.
pub(super) type Slot = u32;
/// The bits of such a number.
pub(super) const SLOT_BITS: u32 = 21;
/// No place.
pub(super) const NIL: Slot = (1 << SLOT_BITS) - 1;
const _: () = assert!(NIL as usize >= MAX_SLOTS);

/// Places of a chunk, as a power of two: 24 KiB.
const CHUNK_BITS: u32 = 8;
const CHUNK: usize = 1 << CHUNK_BITS;

/// What each frame of a flow reads: of IPv4 all, in one cache line.
#[derive(Debug)]
#[repr(align(64))]
struct Hot {
    /// [`FREE`] in the second word: the place is free.
    key: [u64; 2],
    flow: Flow,
}

const _: () = assert!(size_of::<Hot>() == 64);

/// No flow's.
const FREE: u64 = u64::MAX;

impl Hot {
    fn free() -> Self {
        Self { key: [0, FREE], flow: Flow::new(Kind::Unanswered, AclWay::In, 0, 0, Millis(0)) }
    }
}

/// What it takes to begin a flow, and to tell flows of IPv6 apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cold {
    /// The rest of the key.
    key: [u64; 3],
    /// Neighbours in the list of those whose places new flows may take; of a free place, the next one.
    pub(super) prev: Slot,
    pub(super) next: Slot,
}

impl Cold {
    const NONE: Self = Self { key: [0; 3], prev: NIL, next: NIL };
}

/// As arrays, so that of a place's number only the chunk's is checked.
type HotChunk = Box<[Hot; CHUNK]>;
type ColdChunk = Box<[Cold; CHUNK]>;

fn chunk<T>(free: impl FnMut() -> T) -> Box<[T; CHUNK]> {
    let places: Vec<T> = iter::repeat_with(free).take(CHUNK).collect();
    places.into_boxed_slice().try_into().unwrap_or_else(|_| unreachable!("as many as a chunk has"))
}

/// All places of a table.
#[derive(Debug)]
pub(super) struct Places {
    hot: Vec<HotChunk>,
    cold: Vec<ColdChunk>,
    /// Chunks of an emptied table, to be used again or let go of.
    spare: (Vec<HotChunk>, Vec<ColdChunk>),
    /// Places that have been used since the table was empty.
    slots: usize,
    /// The first of those that are free again.
    free: Slot,
    used: usize,
}

const fn parts(slot: Slot) -> (usize, usize) {
    ((slot >> CHUNK_BITS) as usize, slot as usize % CHUNK)
}

impl Places {
    pub(super) const fn new() -> Self {
        let spare = (Vec::new(), Vec::new());
        Self { hot: Vec::new(), cold: Vec::new(), spare, slots: 0, free: NIL, used: 0 }
    }

    /// Flows.
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    /// Places that have been used.
    pub(super) const fn slots(&self) -> usize {
        self.slots
    }

    pub(super) fn bytes(&self) -> usize {
        (self.hot.len() + self.spare.0.len()) * CHUNK * (size_of::<Hot>() + size_of::<Cold>())
    }

    #[inline]
    fn hot(&self, slot: Slot) -> Option<&Hot> {
        let (chunk, at) = parts(slot);
        Some(&self.hot.get(chunk)?[at])
    }

    fn hot_mut(&mut self, slot: Slot) -> Option<&mut Hot> {
        let (chunk, at) = parts(slot);
        Some(&mut self.hot.get_mut(chunk)?[at])
    }

    #[inline]
    pub(super) fn cold(&self, slot: Slot) -> Option<&Cold> {
        let (chunk, at) = parts(slot);
        Some(&self.cold.get(chunk)?[at])
    }

    pub(super) fn cold_mut(&mut self, slot: Slot) -> Option<&mut Cold> {
        let (chunk, at) = parts(slot);
        Some(&mut self.cold.get_mut(chunk)?[at])
    }

    /// Where what a look-up reads of a place lies.
    #[inline]
    pub(super) fn at(&self, slot: Slot) -> Option<*const u8> {
        self.hot(slot).map(|hot| ptr::from_ref(hot).cast())
    }

    #[inline]
    pub(super) fn flow(&self, slot: Slot) -> Option<&Flow> {
        self.hot(slot).filter(|hot| hot.key[1] != FREE).map(|hot| &hot.flow)
    }

    pub(super) fn flow_mut(&mut self, slot: Slot) -> Option<&mut Flow> {
        self.hot_mut(slot).filter(|hot| hot.key[1] != FREE).map(|hot| &mut hot.flow)
    }

    /// True where the flow at a place has this key.
    #[inline]
    pub(super) fn is_of(&self, slot: Slot, key: &Key) -> bool {
        let (first, rest) = key.parts();
        self.hot(slot).is_some_and(|hot| hot.key == first)
            && (!key.is_v6() || self.cold(slot).is_some_and(|cold| cold.key == rest))
    }

    /// The flow at a place, if its key has these first words.
    #[inline]
    pub(super) fn flow_at(&self, slot: Slot, key: [u64; 2]) -> Option<&Flow> {
        self.hot(slot).filter(|hot| hot.key == key).map(|hot| &hot.flow)
    }

    /// The key of the flow at a place.
    pub(super) fn key(&self, slot: Slot) -> Option<Key> {
        let hot = self.hot(slot).filter(|hot| hot.key[1] != FREE)?;
        Some(Key::of_parts(hot.key, self.cold(slot)?.key))
    }

    /// The place that the next flow gets.
    pub(super) fn next(&self) -> Slot {
        if self.free == NIL { self.slots() as Slot } else { self.free }
    }

    /// Puts a flow into that place.
    pub(super) fn put(&mut self, key: &Key, flow: Flow) {
        let ((first, rest), slot) = (key.parts(), self.next());
        if self.free == NIL {
            self.make_room();
            self.slots += 1;
        } else if let Some(cold) = self.cold(slot) {
            self.free = cold.next;
        }
        self.used += 1;
        if let Some(place) = self.hot_mut(slot) {
            *place = Hot { key: first, flow };
        }
        if let Some(place) = self.cold_mut(slot) {
            *place = Cold { key: rest, prev: NIL, next: NIL };
        }
    }

    fn make_room(&mut self) {
        if self.slots == self.hot.len() * CHUNK {
            let (hot, cold) = &mut self.spare;
            self.hot.push(hot.pop().unwrap_or_else(|| chunk(Hot::free)));
            self.cold.push(cold.pop().unwrap_or_else(|| chunk(|| Cold::NONE)));
        }
    }

    /// Frees a place that has a flow.
    pub(super) fn free(&mut self, slot: Slot) {
        let Some(hot) = self.hot_mut(slot) else { return };
        hot.key[1] = FREE;
        let next = mem::replace(&mut self.free, slot);
        self.cold_mut(slot).into_iter().for_each(|cold| cold.next = next);
        self.used -= 1;
    }

    /// Where there are no flows: lets go of so many chunks, since to let go of all of a million flows at once takes milliseconds; says whether none
    /// are left.
    pub(super) fn let_go(&mut self, chunks: usize) -> bool {
        if !self.hot.is_empty() {
            self.spare = (mem::take(&mut self.hot), mem::take(&mut self.cold));
            (self.free, self.slots) = (NIL, 0);
        }
        let (hot, cold) = &mut self.spare;
        let kept = hot.len().saturating_sub(chunks);
        hot.truncate(kept);
        cold.truncate(kept);
        kept == 0
    }
}
