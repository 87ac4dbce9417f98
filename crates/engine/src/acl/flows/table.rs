//! The flows of a port: found by their key, forgotten when their time has come, never more than the port may have.
//!
//! Who fills the table harms nobody but the port: at its quota a new flow takes the place of the oldest one that has not been
//! answered, so a flood of SYNs runs against itself; where all have been answered, there is no place.

use super::{flow::Flow, key::Key};
use crate::{Millis, hash::Seed, index::Index};
use alloc::vec::Vec;

/// Flows that the first index is made for.
const FIRST_SIZE: usize = 4096;
/// How much larger the next index is.
const GROWTH: usize = 4;
/// Places that each new flow looks at for one whose time has come.
const SWEEP: usize = 2;
/// The same at the quota.
const SWEEP_AT_QUOTA: usize = 64;

/// The number of a flow's place.
pub(super) type Slot = u32;
/// No place.
const NIL: Slot = Slot::MAX;

/// The flows of one port. Takes no memory before the first one.
#[derive(Clone, Debug)]
pub(super) struct Table {
    seed: Seed,
    quota: usize,
    index: Option<Index>,
    /// How many flows the index is made for.
    size: usize,
    nodes: Vec<Node>,
    /// Places that are free.
    free: Vec<Slot>,
    /// Flows that were not answered yet, oldest first.
    unanswered: Ends,
    /// The place that is swept next.
    hand: usize,
}

/// A flow at its place.
#[derive(Clone, Copy, Debug)]
struct Node {
    key: Key,
    /// `None`: the place is free.
    flow: Option<Flow>,
    /// Neighbours in the list of those that were not answered.
    prev: Slot,
    next: Slot,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    head: Slot,
    tail: Slot,
}

impl Table {
    pub(super) const fn new(seed: Seed, quota: usize) -> Self {
        let unanswered = Ends { head: NIL, tail: NIL };
        Self { seed, quota, index: None, size: 0, nodes: Vec::new(), free: Vec::new(), unanswered, hand: 0 }
    }

    /// Another quota; what is there already stays until its time has come.
    pub(super) const fn set_quota(&mut self, quota: usize) {
        self.quota = quota;
    }

    /// Flows, those whose time has come and that were not found out yet among them.
    pub(super) const fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let index = self.index.as_ref().map_or(0, Index::bytes);
        index + self.nodes.capacity() * size_of::<Node>() + self.free.capacity() * size_of::<Slot>()
    }

    /// Where the flow of this key is.
    #[inline]
    pub(super) fn find(&mut self, key: &Key, now: Millis) -> Option<Slot> {
        let hash = key.hash(self.seed);
        let slot = self
            .index
            .as_ref()?
            .find(hash, |slot| self.nodes.get(slot as usize).is_some_and(|node| node.key == *key))?;
        if self.flow(slot)?.has_expired(now) {
            self.remove(slot);
            return None;
        }
        Some(slot)
    }

    #[inline]
    pub(super) fn flow(&self, slot: Slot) -> Option<&Flow> {
        self.nodes.get(slot as usize)?.flow.as_ref()
    }

    #[inline]
    pub(super) fn flow_mut(&mut self, slot: Slot) -> Option<&mut Flow> {
        self.nodes.get_mut(slot as usize)?.flow.as_mut()
    }

    /// Enters a flow that is not there. `None` where there is no place for it.
    pub(super) fn insert(&mut self, key: Key, flow: Flow, now: Millis) -> Option<Slot> {
        self.sweep(SWEEP, now);
        if self.len() >= self.quota {
            self.sweep(SWEEP_AT_QUOTA, now);
        }
        if self.len() >= self.quota {
            self.remove(Some(self.unanswered.head).filter(|slot| *slot != NIL)?);
        }
        self.make_room();
        let slot = self.free.pop().unwrap_or(self.nodes.len() as Slot);
        if !self.index.as_mut()?.insert(key.hash(self.seed), slot) {
            if (slot as usize) < self.nodes.len() {
                self.free.push(slot);
            }
            return None;
        }
        let node = Node { key, flow: Some(flow), prev: NIL, next: NIL };
        match self.nodes.get_mut(slot as usize) {
            Some(place) => *place = node,
            None => self.nodes.push(node),
        }
        self.append(slot);
        Some(slot)
    }

    /// Grows the index before it is fuller than half.
    fn make_room(&mut self) {
        if self.len() < self.size {
            return;
        }
        self.size = if self.size == 0 { FIRST_SIZE } else { self.size * GROWTH };
        let mut index = Index::new(self.size);
        for (slot, node) in (0..).zip(&mut self.nodes).filter(|(_, node)| node.flow.is_some()) {
            // The chance that there is no place is below 1e-15; such a flow is not found again, and swept.
            index.insert(node.key.hash(self.seed), slot);
        }
        self.index = Some(index);
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.unlink(slot);
        let Some(node) = self.nodes.get_mut(slot as usize).filter(|node| node.flow.is_some()) else { return };
        node.flow = None;
        if let Some(index) = &mut self.index {
            index.remove(node.key.hash(self.seed), slot);
        }
        self.free.push(slot);
    }

    /// Notes that a flow was answered: a new one no longer takes its place.
    pub(super) fn keep(&mut self, slot: Slot) {
        self.unlink(slot);
    }

    fn append(&mut self, slot: Slot) {
        let tail = core::mem::replace(&mut self.unanswered.tail, slot);
        match self.nodes.get_mut(tail as usize) {
            Some(last) => last.next = slot,
            None => self.unanswered.head = slot,
        }
        if let Some(node) = self.nodes.get_mut(slot as usize) {
            (node.prev, node.next) = (tail, NIL);
        }
    }

    /// Takes a flow out of the list of those that were not answered, if it is in it.
    fn unlink(&mut self, slot: Slot) {
        let Some(node) = self.nodes.get_mut(slot as usize) else { return };
        let (prev, next) = (core::mem::replace(&mut node.prev, NIL), core::mem::replace(&mut node.next, NIL));
        if prev == NIL && self.unanswered.head != slot {
            return;
        }
        match self.nodes.get_mut(prev as usize) {
            Some(node) => node.next = next,
            None => self.unanswered.head = next,
        }
        match self.nodes.get_mut(next as usize) {
            Some(node) => node.prev = prev,
            None => self.unanswered.tail = prev,
        }
    }

    /// Looks at so many places in turn, and frees those of flows whose time has come; says how many it were.
    pub(super) fn sweep(&mut self, places: usize, now: Millis) -> usize {
        let mut freed = 0;
        for _ in 0..places.min(self.nodes.len()) {
            self.hand = if self.hand + 1 < self.nodes.len() { self.hand + 1 } else { 0 };
            let slot = self.hand as Slot;
            if self.flow(slot).is_some_and(|flow| flow.has_expired(now)) {
                self.remove(slot);
                freed += 1;
            }
        }
        if self.len() == 0 && !self.nodes.is_empty() {
            *self = Self::new(self.seed, self.quota);
        }
        freed
    }
}
