//! What the workers of one switch share: its MAC table, its snapshot, its events.
//!
//! Behind one lock, taken once for a batch. Nearly every batch is decided by reading, with others that read: all of a guarded
//! port, and those whose sources are known. A batch that has something to learn (a new source, a source that is to be
//! stamped anew, which is due once a second) is decided again by a writer, from its first frame on, so each batch
//! is judged by one snapshot and one state of the table. What that costs is measured in docs/performance.md.
//!
//! A snapshot is put into force for all workers at once, and they find it with their next batch.

use crate::{
    limiter::{Limiter, Maximum},
    sync::{Mutex, ReadGuard, RwLock, WriteGuard},
    uplink::SharedUplink,
};
use engine::{
    AclFrame, AclWay, EngineEvent, Entry, FrameIn, Lease, List, Meter, Millis, MulticastReport, PortIndex,
    Question, Snapshot, Step, Switch, TableConfig, Verdict, Verdicts, Vlan,
};
use io::HEAD_BYTES;
use model::{AclRule, DropReason};
use std::sync::Arc;

/// The tables of one switch.
#[derive(Debug)]
pub struct Tables {
    switch: RwLock<Switch>,
    /// Workers keep what they need of it.
    rates: Mutex<Rates>,
}

/// What limits how fast frames pass.
#[derive(Debug, Default)]
struct Rates {
    /// By the port's number, of those that have one.
    maximums: Vec<Option<Arc<Maximum>>>,
    uplink: Option<Arc<SharedUplink>>,
}

impl Rates {
    fn follow(&mut self, snapshot: &Snapshot) {
        self.maximums.resize_with(snapshot.port_slots(), || None);
        for (maximum, index) in self.maximums.iter_mut().zip(0..) {
            let rate = snapshot.policy(PortIndex(index)).and_then(|policy| policy.limits.maximum);
            *maximum = Maximum::follow(maximum.take(), rate);
        }
        self.uplink = SharedUplink::follow(self.uplink.take(), snapshot);
    }
}

/// What one worker decides with: the verdicts on its last batch, and what they were by.
#[derive(Debug, Default)]
pub struct Desk {
    verdicts: Verdicts,
    snapshot: Arc<Snapshot>,
    events: Vec<EngineEvent>,
}

/// What would become of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What the stages that it would come to would find.
    pub steps: Vec<Step>,
    /// Each port that it, or a copy of it, would leave on, or where it would be dropped and why.
    pub outcomes: Vec<Result<PortIndex, (PortIndex, DropReason)>>,
}

impl Desk {
    /// One for each frame of the last batch.
    pub(crate) fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// The ports that one of them lists.
    pub(crate) fn listed(&self, list: List) -> &[PortIndex] {
        self.verdicts.listed(list)
    }

    /// The snapshot that they are by.
    pub(crate) const fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What this worker's batches have seen since the last call.
    pub(crate) fn events(&mut self) -> impl Iterator<Item = EngineEvent> + '_ {
        self.events.drain(..)
    }

    fn take_over(&mut self, snapshot: &Arc<Snapshot>) {
        if !Arc::ptr_eq(&self.snapshot, snapshot) {
            self.snapshot = Arc::clone(snapshot);
        }
    }
}

impl Tables {
    /// Tables that hold nothing, and a snapshot without ports. `seed` has to be random and secret.
    #[must_use]
    pub fn new(config: TableConfig, seed: [u64; 2]) -> Self {
        Self {
            switch: RwLock::new(Switch::new(config, seed).fetching_with(io::fetch)),
            rates: Mutex::default(),
        }
    }

    /// Puts `snapshot` into force for every batch from now on, of whichever worker. Returns the one before.
    pub fn install(&self, snapshot: Arc<Snapshot>, now: Millis) -> Arc<Snapshot> {
        self.rates.lock().follow(&snapshot);
        let mut switch = self.switch.write();
        let former = Arc::clone(switch.snapshot());
        switch.install(snapshot, now);
        former
    }

    /// The limits of a port, where it has any. The uplink has none.
    pub(crate) fn limiter(&self, port: PortIndex) -> Option<Limiter> {
        let rates = self.rates.lock();
        let maximum = rates.maximums.get(usize::from(port.0)).cloned().flatten();
        Limiter::new(port, maximum, rates.uplink.clone().filter(|uplink| uplink.port() != port))
    }

    /// The uplink, where its ports share it by what they can count on.
    pub(crate) fn uplink(&self) -> Option<Arc<SharedUplink>> {
        self.rates.lock().uplink.clone()
    }

    /// Decides a batch; returns how many frames passed without their source being learned.
    pub fn decide<'f>(
        &self,
        ingress: PortIndex,
        frames: impl Iterator<Item = FrameIn<'f>> + Clone,
        now: Millis,
        desk: &mut Desk,
    ) -> u32 {
        {
            let switch = self.switch.read();
            if let Some(not_learned) = switch.process_known(ingress, frames.clone(), now, &mut desk.verdicts)
            {
                desk.take_over(switch.snapshot());
                return not_learned;
            }
        }
        self.decide_and_write(ingress, frames, now, desk)
    }

    /// Not cold: ports whose policies remember something come here with each batch.
    #[inline(never)]
    fn decide_and_write<'f>(
        &self,
        ingress: PortIndex,
        frames: impl Iterator<Item = FrameIn<'f>> + Clone,
        now: Millis,
        desk: &mut Desk,
    ) -> u32 {
        let mut switch = self.switch.write();
        let not_learned = switch.process(ingress, frames, now, &mut desk.verdicts);
        desk.take_over(switch.snapshot());
        desk.events.extend(switch.take_events());
        not_learned
    }

    /// The switch, with others that read.
    pub(crate) fn read(&self) -> ReadGuard<'_, Switch> {
        self.switch.read()
    }

    /// The switch, to oneself.
    pub(crate) fn write(&self) -> WriteGuard<'_, Switch> {
        self.switch.write()
    }

    /// What the meters of a port have counted, and how many flows it remembers.
    pub(crate) fn access_lists(&self, port: PortIndex) -> (Vec<(AclRule, Meter)>, usize) {
        let switch = self.switch.read();
        let meters = switch.meters(port).map(|(rule, meter)| (rule.clone(), meter)).collect();
        (meters, switch.flows(port))
    }

    /// Hears a frame that came from `port` and passes, for its leases.
    pub(crate) fn hear_sent(&self, port: PortIndex, frame: &[u8], now: Millis) {
        self.switch.write().hear_sent(port, frame, now);
    }

    /// Hears a frame from `from` that is about to be delivered to `port`, for its leases.
    pub(crate) fn hear_delivered(&self, from: PortIndex, port: PortIndex, frame: &[u8], now: Millis) {
        self.switch.write().hear_delivered(from, port, frame, now);
    }

    /// Hears a report of multicast groups, of which `frame` is all that there is.
    pub(crate) fn hear_report(&self, port: PortIndex, vlan: u16, frame: FrameIn<'_>, now: Millis) {
        self.switch.write().hear_report(port, vlan, frame, now);
    }

    /// The addresses that each port leases.
    pub(crate) fn leases(&self, now: Millis) -> Vec<(PortIndex, Lease)> {
        let switch = self.switch.read();
        let ports = (0..switch.snapshot().port_slots() as u16).map(PortIndex);
        ports.flat_map(|port| switch.leases(port, now).map(move |lease| (port, lease))).collect()
    }

    /// Enters a lease that was known before.
    pub(crate) fn remember_lease(&self, port: PortIndex, lease: Lease, now: Millis) {
        self.switch.write().remember_lease(port, lease, now);
    }

    /// True where the switch listens to what hosts say of multicast groups, and may have to ask them.
    pub(crate) fn snoops(&self) -> bool {
        self.switch.read().snapshot().snoops()
    }

    /// The next query that the switch has to send now; `desk` has the snapshot to send it by.
    pub(crate) fn next_question(&self, now: Millis, desk: &mut Desk) -> Option<Question> {
        if !self.snoops() {
            return None;
        }
        let mut switch = self.switch.write();
        desk.take_over(switch.snapshot());
        switch.next_question(now)
    }

    /// What is known of multicast groups, where the switch snoops.
    pub(crate) fn multicast(&self, now: Millis) -> Option<MulticastReport> {
        self.switch.read().multicast(now)
    }

    /// Lets `desk` have the snapshot that is in force.
    pub(crate) fn show(&self, desk: &mut Desk) {
        desk.take_over(self.switch.read().snapshot());
    }

    /// What would become of a frame of `len` bytes that begins with `header`.
    pub(crate) fn explain(&self, ingress: PortIndex, header: &[u8], len: u32, now: Millis) -> Explained {
        let header = &header[..header.len().min(HEAD_BYTES)];
        let switch = self.switch.read();
        let (mut steps, verdicts) = switch.explain(ingress, FrameIn { header, len }, now);
        let verdict = verdicts.first().copied().unwrap_or(Verdict::Drop(DropReason::PortDown));
        let snapshot = switch.snapshot();
        let mut outcome = |to: PortIndex, vlan: Vlan| {
            if !snapshot.fits(to, len, header) {
                return Err((to, DropReason::Oversize));
            }
            snapshot.retag(ingress, to, vlan, header).map_err(|reason| (to, reason))?;
            let frame = AclFrame { header, len, vlan: vlan.id() };
            let Some(finding) = switch.explain_leaving(to, &frame, now) else { return Ok(to) };
            steps.push(Step::AccessLists { port: to, way: AclWay::In, finding });
            finding.refused.map_or(Ok(to), |reason| Err((to, reason)))
        };
        let mut outcomes = match verdict {
            Verdict::Drop(reason) => vec![Err((ingress, reason))],
            Verdict::DropAt(port, reason) => vec![Err((port, reason))],
            Verdict::Forward(to, vlan) => vec![outcome(to, vlan)],
            Verdict::List(list, vlan) => verdicts.listed(list).iter().map(|to| outcome(*to, vlan)).collect(),
            Verdict::Flood(which, vlan) => {
                snapshot.flood(ingress, which, vlan).map(|to| outcome(to, vlan)).collect()
            }
        };
        let (left_on, mut copies): (Vec<_>, _) = (outcomes.iter().flatten().copied().collect(), Vec::new());
        snapshot.copies(ingress, &left_on, &mut copies);
        steps.extend(copies.iter().copied().map(Step::Mirrored));
        let fits = |to: PortIndex| match snapshot.fits(to, len, header) {
            true => Ok(to),
            false => Err((to, DropReason::Oversize)),
        };
        outcomes.extend(copies.into_iter().map(fits));
        Explained { steps, outcomes }
    }

    pub(crate) fn set_table(&self, table: TableConfig, now: Millis) {
        self.switch.write().set_table(table, now);
    }

    pub(crate) fn entries(&self, now: Millis) -> Vec<Entry> {
        self.switch.read().entries(now).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.switch.read().len()
    }

    pub(crate) fn flush(&self, port: Option<PortIndex>, now: Millis) -> usize {
        self.switch.write().flush(port, now)
    }

    pub(crate) fn age(&self, now: Millis, budget: usize) -> usize {
        self.switch.write().age(now, budget)
    }
}
