//! One switch: its MAC table, its snapshot, its events.

use crate::{
    EngineEvent, Entry, Fetch, Millis, MulticastReport, PortIndex, PortPolicy, Question, Snapshot,
    TableConfig, events::Events, key::Key, mac_table::MacTable, multicast::Multicast, snapshot::Port,
    state::PortState, storm::Storm,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use model::MacKind;

/// The tables of one switch and the policies in force.
#[derive(Debug)]
pub struct Switch {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) table: MacTable,
    pub(crate) events: Events,
    /// What the hashes of flows are keyed with.
    seed: [u64; 2],
    fetch: Fetch,
    /// By port.
    pub(crate) states: Vec<PortState>,
    /// Later than any in which a port's flows were before.
    epoch: u64,
    /// Set while the switch snoops.
    pub(crate) multicast: Option<Box<Multicast>>,
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
            fetch: |_| (),
            states: Vec::new(),
            epoch: 0,
            multicast: None,
        }
    }

    /// The same, with a way to fetch what will be read soon.
    #[must_use]
    pub fn fetching_with(self, fetch: Fetch) -> Self {
        Self { fetch, ..self }
    }

    /// The moment at which what comes at `now` is judged: the clock does not go backwards.
    #[inline]
    #[must_use]
    pub fn moment(&self, now: Millis) -> Millis {
        now.max(self.table.now())
    }

    /// Takes a new snapshot. Pinned and static entries follow it; what was learned on ports that are gone or guarded now
    /// is forgotten, and so are a port's oldest entries above a limit that was lowered, and all of a port whose VLANs changed.
    ///
    /// Workers wait meanwhile, so nothing is looked at of ports that have not changed, unless addresses go from one to another.
    pub fn install(&mut self, snapshot: Arc<Snapshot>, now: Millis) {
        self.table.advance(now);
        let changed = snapshot.changed(&self.snapshot);
        for index in &changed {
            self.forget(*index, &snapshot);
        }
        if !snapshot.fixes_the_same_as(&self.snapshot, &changed) {
            let fixed = self.fixed_entries(&snapshot);
            self.table.install(snapshot.port_slots(), &fixed);
        }
        self.follow(&changed, &snapshot);
        self.snoop(&snapshot);
        self.snapshot = snapshot;
    }

    /// Forgets what was learned on a port and does not stay under its new policies.
    fn forget(&mut self, index: PortIndex, snapshot: &Snapshot) {
        let (former, port) = (self.snapshot.port(index), snapshot.port(index));
        if former.zip(port).is_some_and(|(former, port)| port.forgets(former)) {
            self.table.flush(index);
        }
        self.table.unbind(index, port.map_or(0, Port::bind_limit));
        self.table.trim(index, port.map_or(0, Port::learn_limit));
    }

    /// Has what ports remember follow their policies, and ends what was assured of any.
    fn follow(&mut self, changed: &[PortIndex], snapshot: &Snapshot) {
        let epochs = self.states.iter().map(|state| state.acl.epoch());
        self.epoch = epochs.fold(self.epoch, u64::max) + 1;
        self.states.resize_with(snapshot.port_slots(), PortState::default);
        for index in changed {
            let Some(state) = self.states.get_mut(usize::from(index.0)) else { continue };
            let port = snapshot.policy(*index);
            state.acl.follow(port.and_then(PortPolicy::acl), self.seed, self.fetch);
            state.leases.follow(self.snapshot.policy(*index), port);
            if port.and_then(PortPolicy::storm_limit).is_none() {
                state.storm = Storm::default();
            }
        }
        self.states.iter_mut().for_each(|state| state.acl.begin_epoch(self.epoch));
    }

    /// The pinned and static entries of a new snapshot, those of teams where they are now.
    fn fixed_entries(&self, snapshot: &Snapshot) -> Vec<(Key, PortIndex, MacKind)> {
        let stays = |key, at: &PortIndex| snapshot.may_have(*at, key);
        let place = |key, owner| self.table.fixed_at(key).filter(|at| stays(key, at)).unwrap_or(owner);
        snapshot.fixed_entries().map(|(key, owner, kind)| (key, place(key, owner), kind)).collect()
    }

    fn snoop(&mut self, snapshot: &Snapshot) {
        let now = self.table.now();
        match (snapshot.snooping(), &mut self.multicast) {
            (None, multicast) => *multicast = None,
            (Some((config, mac)), None) => {
                self.multicast = Some(Box::new(Multicast::new(config, mac, snapshot, now)));
            }
            (Some((config, mac)), Some(multicast)) => {
                multicast.configure(config, mac);
                multicast.follow(&self.snapshot, snapshot, now);
            }
        }
    }

    /// The next query of hosts for their multicast groups that the switch has to send now; to be called until there is none.
    pub fn next_question(&mut self, now: Millis) -> Option<Question> {
        self.table.advance(now);
        self.multicast.as_mut()?.next_question(self.table.now())
    }

    /// What is known of multicast groups, where the switch snoops.
    #[must_use]
    pub fn multicast(&self, now: Millis) -> Option<MulticastReport> {
        Some(self.multicast.as_ref()?.report(self.moment(now)))
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
