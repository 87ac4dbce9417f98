//! The places of flows: memory that grows in pieces, so that no flow is moved for another one.

use super::{flow::Flow, key::Key};
use alloc::vec::Vec;
use core::ptr;

/// The number of a flow's place.
pub(super) type Slot = u32;
/// No place.
pub(super) const NIL: Slot = Slot::MAX;

/// Places of a chunk, as a power of two: 48 KiB.
const CHUNK_BITS: u32 = 9;
const CHUNK: usize = 1 << CHUNK_BITS;

/// What each frame of a flow reads: of IPv4 all, in one cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Hot {
    /// [`FREE`] in the second word: the place is free.
    key: [u64; 2],
    flow: Flow,
}

const _: () = assert!(size_of::<Hot>() == 64);

/// No flow's.
const FREE: u64 = u64::MAX;

/// What it takes to begin a flow, and to tell flows of IPv6 apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cold {
    /// The rest of the key.
    key: [u64; 3],
    /// Neighbours in the list of those that were not answered; of a free place, the next one.
    pub(super) prev: Slot,
    pub(super) next: Slot,
}

#[derive(Clone, Debug)]
struct Chunk {
    hot: Vec<Hot>,
    cold: Vec<Cold>,
}

impl Chunk {
    fn new() -> Self {
        Self { hot: Vec::with_capacity(CHUNK), cold: Vec::with_capacity(CHUNK) }
    }

    fn emptied(mut self) -> Self {
        self.hot.clear();
        self.cold.clear();
        self
    }
}

/// All places of a table.
#[derive(Clone, Debug)]
pub(super) struct Places {
    chunks: Vec<Chunk>,
    /// Chunks of an emptied table, to be used again or let go of.
    spare: Vec<Chunk>,
    /// The first of those that are free again.
    free: Slot,
    used: usize,
}

const fn parts(slot: Slot) -> (usize, usize) {
    ((slot >> CHUNK_BITS) as usize, slot as usize % CHUNK)
}

impl Places {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), spare: Vec::new(), free: NIL, used: 0 }
    }

    /// Flows.
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    /// Places that have been used.
    pub(super) fn slots(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.hot.len())
    }

    pub(super) fn bytes(&self) -> usize {
        (self.chunks.len() + self.spare.len()) * CHUNK * (size_of::<Hot>() + size_of::<Cold>())
    }

    #[inline]
    fn hot(&self, slot: Slot) -> Option<&Hot> {
        let (chunk, at) = parts(slot);
        self.chunks.get(chunk)?.hot.get(at)
    }

    fn hot_mut(&mut self, slot: Slot) -> Option<&mut Hot> {
        let (chunk, at) = parts(slot);
        self.chunks.get_mut(chunk)?.hot.get_mut(at)
    }

    #[inline]
    pub(super) fn cold(&self, slot: Slot) -> Option<&Cold> {
        let (chunk, at) = parts(slot);
        self.chunks.get(chunk)?.cold.get(at)
    }

    pub(super) fn cold_mut(&mut self, slot: Slot) -> Option<&mut Cold> {
        let (chunk, at) = parts(slot);
        self.chunks.get_mut(chunk)?.cold.get_mut(at)
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
        let (first, rest) = key.parts();
        let (hot, cold) = (Hot { key: first, flow }, Cold { key: rest, prev: NIL, next: NIL });
        self.used += 1;
        let slot = self.free;
        if let (Some(free), Some(next)) = (self.cold(slot).copied(), self.hot_mut(slot)) {
            *next = hot;
            self.free = free.next;
            self.cold_mut(slot).into_iter().for_each(|place| *place = cold);
            return;
        }
        if self.chunks.last().is_none_or(|last| last.hot.len() == CHUNK) {
            self.chunks.push(self.spare.pop().map_or_else(Chunk::new, Chunk::emptied));
        }
        if let Some(last) = self.chunks.last_mut() {
            last.hot.push(hot);
            last.cold.push(cold);
        }
    }

    /// Frees a place that has a flow.
    pub(super) fn free(&mut self, slot: Slot) {
        let Some(hot) = self.hot_mut(slot) else { return };
        hot.key[1] = FREE;
        let next = core::mem::replace(&mut self.free, slot);
        self.cold_mut(slot).into_iter().for_each(|cold| cold.next = next);
        self.used -= 1;
    }

    /// Where there are no flows: lets go of so many chunks, since to let go of all of a million flows at once takes milliseconds; says whether none
    /// are left.
    pub(super) fn let_go(&mut self, chunks: usize) -> bool {
        if !self.chunks.is_empty() {
            (self.spare, self.free) = (core::mem::take(&mut self.chunks), NIL);
        }
        self.spare.truncate(self.spare.len().saturating_sub(chunks));
        self.spare.is_empty()
    }
}
