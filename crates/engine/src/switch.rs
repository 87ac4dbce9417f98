//! One switch: its MAC table, its snapshot, its events.

use crate::{
    EngineEvent, Entry, Millis, PortIndex, PortPolicy, Snapshot, TableConfig, events::Events,
    mac_table::MacTable, snapshot::Port, state::PortState,
};
use alloc::{sync::Arc, vec::Vec};

/// The tables of one switch and the policies in force.
#[derive(Debug)]
pub struct Switch {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) table: MacTable,
    pub(crate) events: Events,
    /// What the hashes of flows are keyed with.
    seed: [u64; 2],
    /// By port.
    pub(crate) states: Vec<PortState>,
}

impl Switch {
    /// A switch without ports. `seed` has to be random and secret: see `hash.rs`.
    #[must_use]
    pub fn new(config: TableConfig, seed: [u64; 2]) -> Self {
        Self {
            snapshot: Arc::default(),
            table: MacTable::new(config, seed),
            events: Events::default(),
            seed,
            states: Vec::new(),
        }
    }

    /// Takes a new snapshot. Pinned and static entries follow it; what was learned on ports that are gone or guarded now
    /// is forgotten, and so are a port's oldest entries above a limit that was lowered, and all of a port whose VLANs changed.
    pub fn install(&mut self, snapshot: Arc<Snapshot>, now: Millis) {
        self.table.advance(now);
        for (index, former) in self.snapshot.ports() {
            let moves = |port: &Port| port.vlans != former.vlans;
            if snapshot.port(index).is_some_and(moves) {
                self.table.flush(index);
            }
        }
        let limit = |port| snapshot.port(port).map_or(0, Port::learn_limit);
        let fixed: Vec<_> = snapshot.fixed_entries().collect();
        self.table.install(snapshot.port_slots(), limit, &fixed);
        self.states.resize_with(snapshot.port_slots(), PortState::default);
        for (index, state) in self.states.iter_mut().enumerate() {
            let port = snapshot.policy(PortIndex(index as u16));
            if !port.is_some_and(PortPolicy::remembers) {
                *state = PortState::default();
            }
            state.acl.follow(port.and_then(PortPolicy::acl), self.seed);
        }
        self.snapshot = snapshot;
    }

    /// Changes the size or the ageing time of the MAC table. What does not fit goes, the oldest of the port that holds most
    /// first. An entry is as old as it was; one that has expired stays forgotten.
    pub fn set_table(&mut self, config: TableConfig, now: Millis) {
        self.table.advance(now);
        if config != self.table.config() {
            self.table.configure(config);
        }
    }

    /// The policies in force.
    #[must_use]
    pub const fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Reclaims the places of up to `budget` expired entries; says how many it were. Verdicts do not depend on it: an entry
    /// counts as absent from the moment it expires.
    pub fn age(&mut self, now: Millis, budget: usize) -> usize {
        self.table.advance(now);
        for acl in self.states.iter_mut().filter_map(|state| state.acl.get_mut()) {
            acl.sweep(budget, now);
        }
        (0..budget).take_while(|_| self.table.reclaim_one()).count()
    }

    /// Forgets the learned entries of `port`, or of all ports; says how many it were that had not expired.
    pub fn flush(&mut self, port: Option<PortIndex>, now: Millis) -> usize {
        self.table.advance(now);
        match port {
            Some(port) => self.table.flush(port),
            None => self.table.ports().map(|port| self.table.flush(port)).sum(),
        }
    }

    /// The MAC table at `now`, in no particular order.
    pub fn entries(&self, now: Millis) -> impl Iterator<Item = Entry> + '_ {
        self.table.entries(now)
    }

    /// The places taken in the MAC table, by entries that have expired too, until they are reclaimed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// True where no place in the MAC table is taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that the MAC table takes, once it is full.
    #[must_use]
    pub const fn table_bytes(&self) -> usize {
        self.table.bytes()
    }

    /// The events since the last call: at most one of a kind and pair of ports, and at most [`MAX_EVENTS`](crate::MAX_EVENTS),
    /// for each [`EVENT_INTERVAL`](crate::EVENT_INTERVAL).
    pub fn take_events(&mut self) -> impl Iterator<Item = EngineEvent> + '_ {
        self.events.take()
    }
}
