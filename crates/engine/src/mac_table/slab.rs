//! The entries and the lists they are in.
//!
//! A list orders the entries of one port by when they were last stamped: oldest at the head. It runs through the
//! entries themselves, so moving one to the tail, or taking the head off, is a few writes.

use super::Stamp;
use crate::{PortIndex, key::Key};
use alloc::vec::Vec;
use model::MacKind;

/// The number of an entry's place in the slab.
pub(super) type Slot = u32;

/// No slot: the end of a list.
const NIL: Slot = Slot::MAX;

/// An entry: 24 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// Key in the low 62 bits, of which it needs 60, kind in the top two.
    key_and_kind: u64,
    /// Stamp in the high 48 bits (milliseconds: enough for 8900 years), port in the low 16.
    stamp_and_port: u64,
    prev: Slot,
    next: Slot,
}

const _: () = assert!(size_of::<Node>() == 24);

const KIND_SHIFT: u32 = 62;
const KEY_MASK: u64 = (1 << KIND_SHIFT) - 1;
/// Stands in the place of a key where there is no entry: no key has this bit.
const FREE: u64 = 1 << 60;

impl Node {
    pub(super) const fn new(key: Key, kind: MacKind, port: PortIndex, stamp: Stamp) -> Self {
        let kind = match kind {
            MacKind::Learned => 0,
            MacKind::Static => 1,
            MacKind::Pinned => 2,
            MacKind::Bound => 3,
        };
        Self {
            key_and_kind: key.number() | kind << KIND_SHIFT,
            stamp_and_port: stamp.0 << 16 | port.0 as u64,
            prev: NIL,
            next: NIL,
        }
    }

    pub(super) const fn key(&self) -> Key {
        Key::from_number(self.key_and_kind & KEY_MASK)
    }

    pub(super) const fn kind(&self) -> MacKind {
        match self.key_and_kind >> KIND_SHIFT {
            0 => MacKind::Learned,
            1 => MacKind::Static,
            2 => MacKind::Pinned,
            _ => MacKind::Bound,
        }
    }

    pub(super) const fn is_learned(&self) -> bool {
        self.key_and_kind >> KIND_SHIFT == 0
    }

    /// True for the learned entry of `key`. Its kind is 0, so that one compare tells.
    pub(super) const fn is_learned_as(&self, key: Key) -> bool {
        self.key_and_kind == key.number()
    }

    /// True for a pinned and for a static entry.
    pub(super) const fn follows_from_policy(&self) -> bool {
        matches!(self.kind(), MacKind::Static | MacKind::Pinned)
    }

    pub(super) const fn port(&self) -> PortIndex {
        PortIndex(self.stamp_and_port as u16)
    }

    pub(super) const fn stamp(&self) -> Stamp {
        Stamp(self.stamp_and_port >> 16)
    }
}

/// The ends of a list and its length.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: Slot,
    tail: Slot,
    len: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { head: NIL, tail: NIL, len: 0 };

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    pub(super) const fn head(&self) -> Option<Slot> {
        if self.head == NIL { None } else { Some(self.head) }
    }
}

/// All entries of a table. Free places form a list of their own through `next`.
#[derive(Clone, Debug)]
pub(super) struct Slab {
    nodes: Vec<Node>,
    free: Slot,
    used: usize,
}

impl Slab {
    /// A slab that holds `slots` entries without allocating again. Memory that no entry has used yet is not touched.
    pub(super) fn new(slots: usize) -> Self {
        Self { nodes: Vec::with_capacity(slots), free: NIL, used: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.used
    }

    /// The entries that fit without allocating.
    pub(super) const fn slots(&self) -> usize {
        self.nodes.capacity()
    }

    /// The bytes it takes.
    pub(super) const fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
    }

    #[inline]
    pub(super) fn node(&self, slot: Slot) -> &Node {
        &self.nodes[slot as usize]
    }

    /// What is in a slot that need not be one of this slab, nor hold an entry.
    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Option<&Node> {
        self.nodes.get(slot as usize)
    }

    /// True where the entry of `key` is in that slot, which need not be one of this slab.
    #[inline]
    pub(super) fn holds(&self, slot: Slot, key: Key) -> bool {
        self.get(slot).is_some_and(|node| node.key() == key)
    }

    #[inline]
    fn node_mut(&mut self, slot: Slot) -> &mut Node {
        &mut self.nodes[slot as usize]
    }

    /// Where the next entry will go.
    pub(super) const fn next_slot(&self) -> Slot {
        if self.free == NIL { self.nodes.len() as Slot } else { self.free }
    }

    /// Puts an entry at the tail of `list`.
    pub(super) fn insert(&mut self, list: &mut List, node: Node) {
        let slot = self.next_slot();
        if slot == self.free {
            self.free = self.node(slot).next;
            *self.node_mut(slot) = node;
        } else {
            self.nodes.push(node);
        }
        self.used += 1;
        self.append(list, slot);
    }

    /// Takes an entry out of `list`, and frees its place.
    pub(super) fn remove(&mut self, list: &mut List, slot: Slot) {
        self.unlink(list, slot);
        let free = self.free;
        let node = self.node_mut(slot);
        (node.key_and_kind, node.next) = (FREE, free);
        self.free = slot;
        self.used -= 1;
    }

    /// Moves an entry to the tail of its list, with a new stamp.
    pub(super) fn restamp(&mut self, list: &mut List, slot: Slot, stamp: Stamp) {
        self.unlink(list, slot);
        let port = self.node(slot).port();
        self.stamp_and_append(list, slot, port, stamp);
    }

    /// Moves an entry from the list of its port to the tail of another port's.
    pub(super) fn hand_over(&mut self, lists: &mut [List], slot: Slot, to: PortIndex, stamp: Stamp) {
        let from = self.node(slot).port();
        self.unlink(&mut lists[usize::from(from.0)], slot);
        self.stamp_and_append(&mut lists[usize::from(to.0)], slot, to, stamp);
    }

    /// Has an entry say another port, in the list that it is in.
    pub(super) fn point_to(&mut self, slot: Slot, port: PortIndex) {
        let node = self.node_mut(slot);
        node.stamp_and_port = node.stamp_and_port & !0xffff | u64::from(port.0);
    }

    fn stamp_and_append(&mut self, list: &mut List, slot: Slot, port: PortIndex, stamp: Stamp) {
        let node = self.node(slot);
        *self.node_mut(slot) = Node::new(node.key(), node.kind(), port, stamp);
        self.append(list, slot);
    }

    fn append(&mut self, list: &mut List, slot: Slot) {
        let node = self.node_mut(slot);
        (node.prev, node.next) = (list.tail, NIL);
        match list.tail {
            NIL => list.head = slot,
            tail => self.node_mut(tail).next = slot,
        }
        list.tail = slot;
        list.len += 1;
    }

    fn unlink(&mut self, list: &mut List, slot: Slot) {
        let Node { prev, next, .. } = *self.node(slot);
        match prev {
            NIL => list.head = next,
            prev => self.node_mut(prev).next = next,
        }
        match next {
            NIL => list.tail = prev,
            next => self.node_mut(next).prev = prev,
        }
        list.len -= 1;
    }

    /// The entries of `list`, oldest first.
    pub(super) fn iter(&self, list: &List) -> impl Iterator<Item = &Node> + '_ {
        let mut next = list.head();
        core::iter::from_fn(move || {
            let node = self.node(next?);
            next = (node.next != NIL).then_some(node.next);
            Some(node)
        })
    }
}
