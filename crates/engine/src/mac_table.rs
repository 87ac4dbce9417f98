//! The MAC table: where an address was last seen.
//!
//! # What it is
//!
//! A map from (VLAN, MAC) to a port. Entries are *learned* from the sources of frames and forgotten when they have not
//! been seen for the ageing time; or they are *fixed* (pinned, static), follow from the ports' policies, and stay.
//!
//! # What makes it more than a hash map
//!
//! * **The keys are chosen by attackers.** A guest without guard sends from whatever addresses it likes, as fast as it can.
//!   Colliding ones would make each look-up slow: the hash is keyed (`hash`), and a probe is bounded (`index`).
//!   Random ones would fill the table and push everybody else out: a vNIC may hold so many and no more, and a full table
//!   takes from the port that holds most (`fullest`), so a flood takes from itself first. Fixed entries are never taken.
//! * **It is read twice for each frame**, and written for most new ones. So entries are small, the index smaller still,
//!   and no operation of the frame path depends on how many entries or ports there are, except for the logarithm of the
//!   ports in `fullest`.
//! * **A million entries have to age.** Scanning them takes milliseconds, during which the worker switches nothing. The
//!   entries of one port are therefore in a list by age (`slab`): what expired is at the heads. The same lists give a
//!   full table its victim, a port its count, and flushing a port exactly the entries that it has to touch.
//! * **Some guards let a port use addresses beside its own** (`guarded`): *bound* entries do not age and are nobody else's until they
//!   are let go; the pinned entry of a team's member moves among the ports that may use it.
//! * **Expiry must not depend on when somebody swept.** An entry that is due counts as absent everywhere (look-up, learning,
//!   moves, quota, a full table) from that millisecond on, whether or not its place was reclaimed. Sweeping only frees memory
//!   earlier, in steps as small as the caller wants.
//!
//! # Time
//!
//! A frame of a known source would move its entry to the tail of its list, which touches three entries more. So an entry is
//! stamped anew only when its stamp is a second old, or 1/256 of the ageing time if that is less (`TableConfig::grain`). The lists stay
//! in the exact order of the stamps; an entry that is refreshed all the time can expire up to a grain sooner than the
//! ageing time after its last frame, never later.
//!
//! # The VLAN in the key
//!
//! An address is learned in each VLAN by itself (IVL, IEEE 802.1Q section 8.8), and without a tag in VLAN 0; in the VLANs of a private one it is
//! learned in the primary. What is fixed to a trunk is entered once, under [`EVERY_VLAN`].
//!
//! # Cost
//!
//! | | bytes |
//! | --- | --- |
//! | entry: key and kind 8, stamp and port 8, list links 2 × 4 | 24 |
//! | index: two words of 4 for each entry that fits, so that it is at most half full | 8 |
//! | **each entry of a full table** | **32** |
//!
//! A port adds 24 bytes for its two lists and up to 32 for the tournament; a switch at least 32 KiB for the index, of which only
//! what is used becomes resident.
//!
//! Look-up, learn, refresh, move: O(1). Learn at a full table: O(log ports). Sweep: O(1) for each entry reclaimed, plus a round over
//! the ports for each time that something became due.

mod fullest;
mod guarded;
mod slab;

use crate::{
    Millis, PortIndex,
    hash::{self, Seed},
    index::{Index, MAX_SLOTS},
    key::{EVERY_VLAN, Key},
};
use alloc::{vec, vec::Vec};
use fullest::Fullest;
use model::MacKind;
use slab::{List, Node, Slab, Slot};
use wire::MacAddr;

/// How much a MAC table remembers, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableConfig {
    /// The most entries. Fixed entries count, but always find a place.
    pub capacity: u32,
    /// An entry is forgotten when its address was not seen for so long.
    pub ageing_ms: u64,
}

impl Default for TableConfig {
    fn default() -> Self {
        Self { capacity: model::DEFAULT_MAC_TABLE_SIZE, ageing_ms: 1000 * u64::from(model::DEFAULT_AGEING_S) }
    }
}

impl TableConfig {
    fn expires_at(self, stamp: Stamp) -> Millis {
        Millis(stamp.0.saturating_add(self.ageing_ms))
    }

    /// How old a stamp gets before it is worth a new one.
    fn grain(self) -> u64 {
        (self.ageing_ms / 256).clamp(1, 1000)
    }
}

/// An entry as listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// The address.
    pub mac: MacAddr,
    /// Its VLAN; 0 is none. `None` where it is fixed to a trunk, in every VLAN.
    pub vlan: Option<u16>,
    /// Where it is.
    pub port: PortIndex,
    /// How it got there.
    pub kind: MacKind,
    /// Milliseconds since it was stamped; 0 for entries that do not age.
    pub age_ms: u64,
}

/// An address, and where a look-up of it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sought {
    pub(crate) key: Key,
    begin: Begin,
}

/// Where a look-up begins.
#[derive(Clone, Copy, Debug)]
enum Begin {
    /// In the slot where the address was a moment ago.
    Slot(Slot),
    /// In the index, where its hash says.
    Hash(u64),
}

impl Sought {
    /// No address. No table holds the address zero, so it does not matter that the hash is not its own.
    pub(crate) const NONE: Self = Self::not(Key::from_number(0));

    /// An address that is not looked up.
    pub(crate) const fn not(key: Key) -> Self {
        Self { key, begin: Begin::Hash(0) }
    }
}

/// When an entry was last seen, to within a grain: milliseconds, 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp(u64);

/// The end of time: what 48 bits can hold.
const LAST: Millis = Millis((1 << 48) - 1);

/// What the table knows of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nothing.
    Unknown,
    /// It was learned on `port`.
    Learned { slot: Slot, port: PortIndex },
    /// It belongs to that port.
    Fixed(PortIndex),
}

impl Source {
    /// Where it is known to be.
    pub(crate) const fn port(self) -> Option<PortIndex> {
        match self {
            Self::Unknown => None,
            Self::Learned { port, .. } | Self::Fixed(port) => Some(port),
        }
    }
}

/// What learning did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The source is in the table, on this port.
    Yes,
    /// It is now; before it was on that one.
    MovedFrom(PortIndex),
    /// It is not: the port is at its limit, or the table is full of fixed entries.
    No,
}

/// The MAC table of one switch.
#[derive(Clone, Debug)]
pub(crate) struct MacTable {
    config: TableConfig,
    /// [`TableConfig::grain`].
    grain: u64,
    seed: Seed,
    index: Index,
    slab: Slab,
    /// The learned entries of each port.
    learned: Vec<List>,
    /// The bound entries of each port.
    bound: Vec<List>,
    fixed: List,
    fullest: Fullest,
    now: Millis,
    /// Nothing expires before then.
    next_expiry: Millis,
    /// Where the search for expired entries goes on.
    cursor: usize,
}

impl MacTable {
    pub(crate) fn new(config: TableConfig, seed: Seed) -> Self {
        Self::sized(config, seed, 0, 0, Millis(0))
    }

    fn sized(config: TableConfig, seed: Seed, ports: usize, fixed: usize, now: Millis) -> Self {
        let slots = (config.capacity as usize).max(fixed).min(MAX_SLOTS);
        Self {
            config,
            grain: config.grain(),
            seed,
            index: Index::new(slots),
            slab: Slab::new(slots),
            learned: vec![List::EMPTY; ports],
            bound: vec![List::EMPTY; ports],
            fixed: List::EMPTY,
            fullest: Fullest::new(ports),
            now,
            next_expiry: Millis(0),
            cursor: 0,
        }
    }

    /// Lets time pass. It never goes back: the lists are in the order of the stamps.
    pub(crate) fn advance(&mut self, now: Millis) {
        self.now = self.now.max(now).min(LAST);
    }

    pub(crate) const fn now(&self) -> Millis {
        self.now
    }

    pub(crate) const fn config(&self) -> TableConfig {
        self.config
    }

    /// The entries that take a place, whether or not they have expired.
    pub(crate) const fn len(&self) -> usize {
        self.slab.len()
    }

    /// The bytes of the index and of the entries.
    pub(crate) const fn bytes(&self) -> usize {
        self.index.bytes() + self.slab.bytes()
    }

    /// An address that is looked up once.
    #[inline]
    pub(crate) fn sought(&self, key: Key) -> Sought {
        Sought { key, begin: Begin::Hash(self.hash(key)) }
    }

    /// An address that is to be looked up soon, and was not long ago, perhaps in another table: `hint` is where it probably is, and
    /// is made so. Reads what the look-up will begin with, and the entry that it will probably end with; adds something that depends on
    /// them to `touched`, or the compiler would leave it out.
    #[inline(always)]
    pub(crate) fn seek(&self, key: Key, hint: &mut u32, touched: &mut u64) -> Sought {
        match self.slab.holds(*hint, key) {
            true => Sought { key, begin: Begin::Slot(*hint) },
            false => self.seek_by_hash(key, hint, touched),
        }
    }

    /// Not inlined, nor is the probe: that would spill what the short way has in registers.
    #[inline(never)]
    fn seek_by_hash(&self, key: Key, hint: &mut u32, touched: &mut u64) -> Sought {
        let hash = self.hash(key);
        if let Some(slot) = self.index.first_slot(hash) {
            *hint = slot;
            *touched ^= self.slab.node(slot).key().number();
        }
        Sought { key, begin: Begin::Hash(hash) }
    }

    #[inline]
    fn hash(&self, key: Key) -> u64 {
        hash::hash(self.seed, key.number())
    }

    #[inline]
    fn hash_of(&self, address: Sought) -> u64 {
        match address.begin {
            Begin::Hash(hash) => hash,
            Begin::Slot(_) => self.hash(address.key),
        }
    }

    #[inline(always)]
    fn find(&self, address: Sought) -> Option<Slot> {
        match address.begin {
            Begin::Slot(slot) if self.slab.holds(slot, address.key) => Some(slot),
            // It has lost its slot since the look-up began; it may have another one.
            Begin::Slot(_) => self.probe(self.hash(address.key), address.key),
            Begin::Hash(hash) => self.probe(hash, address.key),
        }
    }

    #[inline(never)]
    fn probe(&self, hash: u64, key: Key) -> Option<Slot> {
        self.index.find(hash, |slot| self.slab.node(slot).key() == key)
    }

    #[inline]
    fn is_expired(&self, node: &Node) -> bool {
        self.is_expired_at(node, self.now)
    }

    #[inline]
    fn is_expired_at(&self, node: &Node, now: Millis) -> bool {
        node.is_learned() && self.config.expires_at(node.stamp()) <= now
    }

    /// The port that frames to `address` go to at `now`.
    #[inline(always)]
    pub(crate) fn look_up(&self, address: Sought, now: Millis) -> Option<PortIndex> {
        let node = self.slab.node(self.find(address)?);
        (!self.is_expired_at(node, now)).then(|| node.port())
    }

    /// What is known of a source at `now`, for those who may only read.
    #[inline(always)]
    pub(crate) fn source_at(&self, address: Sought, now: Millis) -> Source {
        let Some(slot) = self.find(address) else { return Source::Unknown };
        let node = self.slab.node(slot);
        match (node.is_learned(), self.is_expired_at(node, now)) {
            (false, _) => Source::Fixed(node.port()),
            (true, true) => Source::Unknown,
            (true, false) => Source::Learned { slot, port: node.port() },
        }
    }

    /// What [`MacTable::learn`] would say at `now`, where it would not write anything; `None` where it would.
    #[inline(always)]
    pub(crate) fn learned_at(
        &self,
        source: Source,
        port: PortIndex,
        limit: u32,
        now: Millis,
    ) -> Option<Learned> {
        match source {
            Source::Learned { slot, port: at } if at == port => {
                let is_fresh = now.0 - self.slab.node(slot).stamp().0 < self.grain;
                is_fresh.then_some(Learned::Yes)
            }
            Source::Learned { .. } | Source::Unknown => {
                (!self.may_learn(port, limit, now)).then_some(Learned::No)
            }
            Source::Fixed(_) => Some(Learned::Yes),
        }
    }

    /// True where the entry of `key` is in `slot`, was learned on `port`, and is not stamped anew at `now`.
    #[inline(always)]
    pub(crate) fn is_settled(&self, key: Key, slot: u32, port: PortIndex, now: Millis) -> bool {
        self.slab.get(slot).is_some_and(|node| {
            node.is_learned_as(key) && node.port() == port && now.0 - node.stamp().0 < self.grain
        })
    }

    /// True where `port` may hold one more at `now`.
    #[inline(never)]
    fn may_learn(&self, port: PortIndex, limit: u32, now: Millis) -> bool {
        let is_due = |slot| self.is_expired_at(self.slab.node(slot), now);
        self.count(port) < limit || self.oldest(port).is_some_and(is_due)
    }

    /// What is known of a source. Forgets it first, where it has expired.
    #[inline]
    pub(crate) fn source(&mut self, address: Sought) -> Source {
        let Some(slot) = self.find(address) else { return Source::Unknown };
        let node = self.slab.node(slot);
        if !node.is_learned() {
            return Source::Fixed(node.port());
        }
        if self.is_expired(node) {
            self.remove(slot);
            return Source::Unknown;
        }
        Source::Learned { slot, port: node.port() }
    }

    /// Learns that `address`, of which `source` is known, is on `port`, which may hold `limit` entries.
    #[inline]
    pub(crate) fn learn(&mut self, address: Sought, source: Source, port: PortIndex, limit: u32) -> Learned {
        match source {
            Source::Learned { slot, port: at } if at == port => self.refresh(slot, port),
            Source::Learned { slot, port: from } => self.move_from(slot, from, port, limit),
            Source::Unknown => self.learn_new(address, port, limit),
            Source::Fixed(_) => Learned::Yes,
        }
    }

    #[inline]
    fn refresh(&mut self, slot: Slot, port: PortIndex) -> Learned {
        if self.now.0 - self.slab.node(slot).stamp().0 >= self.grain {
            self.slab.restamp(&mut self.learned[usize::from(port.0)], slot, Stamp(self.now.0));
        }
        Learned::Yes
    }

    fn move_from(&mut self, slot: Slot, from: PortIndex, to: PortIndex, limit: u32) -> Learned {
        if !self.has_quota(to, limit) {
            return Learned::No;
        }
        self.slab.hand_over(&mut self.learned, slot, to, Stamp(self.now.0));
        self.count_changed(from);
        self.count_changed(to);
        Learned::MovedFrom(from)
    }

    fn learn_new(&mut self, address: Sought, port: PortIndex, limit: u32) -> Learned {
        let learned = self.has_quota(port, limit)
            && self.has_place()
            && self.insert(
                self.hash_of(address),
                Node::new(address.key, MacKind::Learned, port, Stamp(self.now.0)),
            );
        if learned { Learned::Yes } else { Learned::No }
    }

    /// True where `port` may hold one more. It never holds more than its limit, so at the limit it is enough that the
    /// oldest of its entries has expired.
    fn has_quota(&mut self, port: PortIndex, limit: u32) -> bool {
        self.count(port) < limit || self.reclaim_head(port)
    }

    /// Makes room for one entry: an expired one goes, or else the oldest of the port that holds most.
    fn has_place(&mut self) -> bool {
        self.len() < self.config.capacity as usize || self.reclaim_one() || self.evict_one()
    }

    fn evict_one(&mut self) -> bool {
        self.fullest.port().and_then(|port| self.oldest(port)).map(|slot| self.remove(slot)).is_some()
    }

    /// Takes the oldest entry of `port` out where it has expired.
    fn reclaim_head(&mut self, port: PortIndex) -> bool {
        let expired = self.oldest(port).filter(|slot| self.is_expired(self.slab.node(*slot)));
        expired.map(|slot| self.remove(slot)).is_some()
    }

    /// Takes one expired entry out; false where there is none.
    ///
    /// A port's entries are tried until none is due, then the next port's. A whole round without success tells when the
    /// next entry is due, and until then the answer costs nothing. So a caller that asks again and again pays for the
    /// entries that it gets, and a round over the ports for each time that something became due.
    pub(crate) fn reclaim_one(&mut self) -> bool {
        if self.now < self.next_expiry {
            return false;
        }
        let mut next_expiry = self.config.expires_at(Stamp(self.now.0));
        for _ in 0..self.learned.len() {
            if let Some(head) = self.learned[self.cursor].head() {
                let node = self.slab.node(head);
                if self.is_expired(node) {
                    self.remove(head);
                    return true;
                }
                next_expiry = next_expiry.min(self.config.expires_at(node.stamp()));
            }
            self.cursor = (self.cursor + 1) % self.learned.len();
        }
        self.next_expiry = next_expiry;
        false
    }

    /// Follows a new snapshot of `ports` ports, and the fixed entries are `fixed`. An address that is in there twice belongs to
    /// the first.
    pub(crate) fn install(&mut self, ports: usize, fixed: &[(Key, PortIndex, MacKind)]) {
        while self.reclaim_one() {}
        while let Some(slot) = self.fixed.head() {
            self.remove(slot);
        }
        let lasting = fixed.len() + self.bound_len();
        if ports != self.learned.len() || lasting > self.slab.slots() {
            self.rebuild(ports, lasting);
        }
        for (key, port, kind) in fixed {
            self.fix(Node::new(*key, *kind, *port, Stamp(0)));
        }
    }

    /// Enters a fixed entry in place of a learned one of that address, or of the one that a full table can spare.
    fn fix(&mut self, node: Node) {
        let address = self.sought(node.key());
        match self.find(address) {
            Some(slot) if self.slab.node(slot).follows_from_policy() => return,
            Some(slot) => self.remove(slot),
            None => {}
        }
        self.has_place();
        self.insert(self.hash_of(address), node);
    }

    /// Changes size and ageing. What does not fit goes, as from a full table.
    pub(crate) fn configure(&mut self, config: TableConfig) {
        while self.reclaim_one() {}
        self.config = config;
        self.next_expiry = Millis(0);
        while self.len() > config.capacity as usize && (self.reclaim_one() || self.evict_one()) {}
        self.rebuild(self.learned.len(), self.fixed.len() as usize + self.bound_len());
    }

    /// Moves all entries to new memory, in the order of their lists.
    fn rebuild(&mut self, ports: usize, fixed: usize) {
        let new = Self::sized(self.config, self.seed, ports, fixed, self.now);
        let old = core::mem::replace(self, new);
        for node in
            old.learned.iter().chain(&old.bound).chain([&old.fixed]).flat_map(|list| old.slab.iter(list))
        {
            self.insert(self.hash(node.key()), *node);
        }
    }

    /// Forgets what was learned on `port`; says how many of the entries had not expired.
    pub(crate) fn flush(&mut self, port: PortIndex) -> usize {
        while self.reclaim_head(port) {}
        let mut flushed = 0;
        while let Some(oldest) = self.oldest(port) {
            self.remove(oldest);
            flushed += 1;
        }
        flushed + self.unbind(port, 0)
    }

    /// The ports that can have learned entries.
    pub(crate) fn ports(&self) -> impl Iterator<Item = PortIndex> + use<> {
        (0..=u16::MAX).take(self.learned.len()).map(PortIndex)
    }

    /// Forgets the oldest entries of `port` above `limit`.
    pub(crate) fn trim(&mut self, port: PortIndex, limit: u32) {
        while let Some(oldest) = self.oldest(port).filter(|_| self.count(port) > limit) {
            self.remove(oldest);
        }
    }

    /// The learned entry of `port` with the oldest stamp.
    fn oldest(&self, port: PortIndex) -> Option<Slot> {
        self.learned.get(usize::from(port.0))?.head()
    }

    fn count(&self, port: PortIndex) -> u32 {
        self.learned[usize::from(port.0)].len()
    }

    fn insert(&mut self, hash: u64, node: Node) -> bool {
        if self.slab.len() >= MAX_SLOTS || self.index.insert(hash, self.slab.next_slot()).is_none() {
            return false;
        }
        let port = usize::from(node.port().0);
        match node.kind() {
            MacKind::Learned => {
                self.slab.insert(&mut self.learned[port], node);
                self.count_changed(node.port());
            }
            MacKind::Bound => self.slab.insert(&mut self.bound[port], node),
            MacKind::Static | MacKind::Pinned => self.slab.insert(&mut self.fixed, node),
        }
        true
    }

    fn remove(&mut self, slot: Slot) {
        let node = *self.slab.node(slot);
        self.index.remove(self.hash(node.key()), slot);
        let port = usize::from(node.port().0);
        match node.kind() {
            MacKind::Learned => {
                self.slab.remove(&mut self.learned[port], slot);
                self.count_changed(node.port());
            }
            MacKind::Bound => self.slab.remove(&mut self.bound[port], slot),
            MacKind::Static | MacKind::Pinned => self.slab.remove(&mut self.fixed, slot),
        }
    }

    fn count_changed(&mut self, port: PortIndex) {
        self.fullest.set(port, self.count(port));
    }

    /// The entries that have not expired at `now`.
    pub(crate) fn entries(&self, now: Millis) -> impl Iterator<Item = Entry> + '_ {
        let now = self.now.max(now);
        let nodes =
            self.learned.iter().chain(&self.bound).chain([&self.fixed]).flat_map(|list| self.slab.iter(list));
        let listed = nodes.map(move |node| Entry {
            mac: node.key().mac(),
            vlan: Some(node.key().vlan()).filter(|vlan| *vlan != EVERY_VLAN),
            port: node.port(),
            kind: node.kind(),
            age_ms: if node.is_learned() { now.0 - node.stamp().0 } else { 0 },
        });
        let ageing = self.config.ageing_ms;
        listed.filter(move |entry| entry.kind != MacKind::Learned || entry.age_ms < ageing)
    }
}
