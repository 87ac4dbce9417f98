//! What control holds of the data path: it sends commands to workers and hears from them.

use crate::{
    fabric::SwitchReport,
    load::WorkerReport,
    share::{self, Share},
    sync::Mutex,
    tables::{Explained, Tables},
    tap::Tap,
    worker::{Clock, Worker},
};
use engine::{EngineEvent, Entry, Lease, Meter, Millis, MulticastReport, PortIndex, Snapshot, TableConfig};
use io::{Link, Port, PortError, Waker};
use model::AclRule;
use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use wire::IpPrefix;

/// A switch in the data path; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SwitchId(pub u32);

/// What a worker has to tell.
#[derive(Debug)]
pub enum Notice {
    /// A port stopped and was taken out; the others go on.
    Stopped(SwitchId, PortIndex, PortError),
    /// A port that stays in the data path has lost its peer, or got it back.
    Link(SwitchId, PortIndex, Link),
    /// The engine saw something worth telling.
    Seen(SwitchId, EngineEvent),
}

/// Why the data path could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A worker's thread, event descriptor or poll set could not be made
    #[error("a worker cannot be started: {0}")]
    Worker(#[from] std::io::Error),
    /// A CPU of the list cannot be used
    #[error("worker cannot be pinned to CPU {cpu}: {error}; name CPUs that this process may run on")]
    Pin {
        /// The CPU.
        cpu: usize,
        /// What the kernel said.
        error: std::io::Error,
    },
}

/// The switch is not there, or the data path has stopped
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data path does not have this switch")]
pub struct Gone;

pub(crate) enum Command {
    AddSwitch(SwitchId, Arc<Tables>),
    RemoveSwitch(SwitchId, mpsc::Sender<Vec<Share>>),
    Follow(SwitchId, mpsc::Sender<()>),
    Attach(SwitchId, PortIndex, Share, mpsc::Sender<std::io::Result<()>>),
    Detach(SwitchId, PortIndex, mpsc::Sender<Option<Share>>),
    Load(mpsc::Sender<WorkerReport>),
    Report(SwitchId, mpsc::Sender<SwitchReport>),
    Listen(SwitchId, Arc<Tap>, mpsc::Sender<()>),
}

/// The data path: all workers.
///
/// A switch is on every worker. Its ports are dealt to them: the n-th share of a port to the n-th worker, counted from one
/// that is another for each port. What changes for all workers (a snapshot, the MAC table) is in [`Tables`] and needs none of
/// them; what a worker owns (its shares, its counters) is asked of each in turn.
#[derive(Debug)]
pub struct Dataplane {
    workers: Vec<Handle>,
    clock: Clock,
    switches: Mutex<Switches>,
}

/// A port that was taken out of the data path. Dropping it closes the port, which can take its driver some time.
#[derive(Debug)]
#[must_use]
pub struct Detached(#[allow(dead_code, reason = "held to be dropped")] Vec<Share>);

#[derive(Debug)]
struct Handle {
    cpu: Option<usize>,
    commands: Option<mpsc::Sender<Command>>,
    waker: Arc<Waker>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Switches {
    next: u32,
    tables: HashMap<SwitchId, Arc<Tables>>,
}

impl Dataplane {
    /// Starts one worker for each CPU of the list, pinned to it; with an empty list a single one that the kernel places.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start(cpus: &[usize], notices: &mpsc::Sender<Notice>) -> Result<Self, StartError> {
        let unpinned = [None];
        let pinned: Vec<_> = cpus.iter().copied().map(Some).collect();
        let places = if pinned.is_empty() { &unpinned[..] } else { &pinned };
        let clock = Clock::start();
        let start =
            |(number, cpu): (usize, &Option<usize>)| Handle::start(clock, number == 0, *cpu, notices.clone());
        let workers = places.iter().enumerate().map(start).collect::<Result<_, _>>()?;
        Ok(Self { workers, clock, switches: Mutex::default() })
    }

    /// How many workers a port is dealt to.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Adds a switch without ports.
    pub fn add_switch(&self, table: TableConfig, seed: [u64; 2]) -> SwitchId {
        let tables = Arc::new(Tables::new(table, seed));
        let mut switches = self.switches.lock();
        let id = SwitchId(switches.next);
        switches.next += 1;
        switches.tables.insert(id, Arc::clone(&tables));
        self.workers.iter().for_each(|worker| worker.send(Command::AddSwitch(id, Arc::clone(&tables))));
        id
    }

    /// Removes a switch and closes its ports.
    pub fn remove_switch(&self, id: SwitchId) {
        self.ask_all(|reply| Command::RemoveSwitch(id, reply)).for_each(drop);
        self.switches.lock().tables.remove(&id);
    }

    /// Puts `snapshot` into force for all batches from now on; ports that are not in it are gone.
    pub fn install(&self, id: SwitchId, snapshot: Arc<Snapshot>) {
        let Ok(tables) = self.tables(id) else { return };
        // Of a thousand ports it takes a while to drop, which is not to be a worker's time: all have let go of it at the end.
        let _former = tables.install(snapshot, self.clock.now());
        self.ask_all(|reply| Command::Follow(id, reply)).for_each(drop);
    }

    /// Changes size and ageing of the MAC table.
    pub fn set_table(&self, id: SwitchId, table: TableConfig) {
        if let Ok(tables) = self.tables(id) {
            tables.set_table(table, self.clock.now());
        }
    }

    /// Lets frames pass `io` as the port `port` of the installed snapshot.
    ///
    /// # Errors
    /// The switch is gone, or the port cannot be polled; no worker has a share of it then.
    pub fn attach(&self, id: SwitchId, port: PortIndex, io: Box<dyn Port>) -> std::io::Result<()> {
        let shares = share::deal(io, self.workers.len())?;
        let first = id.0 as usize + usize::from(port.0);
        let attached = shares.into_iter().enumerate().try_for_each(|(number, share)| {
            let worker = &self.workers[(first + number) % self.workers.len()];
            worker.ask(|reply| Command::Attach(id, port, share, reply)).map_err(std::io::Error::other)?
        });
        if attached.is_err() {
            drop(self.detach(id, port));
        }
        attached
    }

    /// Takes the port out of the data path; its place and counters stay.
    pub fn detach(&self, id: SwitchId, port: PortIndex) -> Detached {
        let shares = self.ask_all(|reply| Command::Detach(id, port, reply));
        Detached(shares.filter_map(|share| share.ok().flatten()).collect())
    }

    /// What the meters of a port have counted, and how many flows its stateful rules remember.
    pub fn access_lists(
        &self,
        id: SwitchId,
        port: PortIndex,
    ) -> Result<(Vec<(AclRule, Meter)>, usize), Gone> {
        Ok(self.tables(id)?.access_lists(port))
    }

    /// What passed the switch so far: exact, as each worker is asked between two batches.
    ///
    /// # Errors
    /// The switch is gone.
    pub fn report(&self, id: SwitchId) -> Result<SwitchReport, Gone> {
        let mut report = SwitchReport { mac_entries: self.tables(id)?.len(), ..SwitchReport::default() };
        self.ask_all(|reply| Command::Report(id, reply)).try_for_each(|part| {
            report.add(&part?);
            Ok(())
        })?;
        Ok(report)
    }

    /// What each worker has done since it was started.
    ///
    /// # Errors
    /// A worker has stopped.
    pub fn loads(&self) -> Result<Vec<WorkerReport>, Gone> {
        let load = |worker: &Handle| Ok(WorkerReport { cpu: worker.cpu, ..worker.ask(Command::Load)? });
        self.workers.iter().map(load).collect()
    }

    /// The MAC table.
    ///
    /// # Errors
    /// The switch is gone.
    pub fn macs(&self, id: SwitchId) -> Result<Vec<Entry>, Gone> {
        Ok(self.tables(id)?.entries(self.clock.now()))
    }

    /// The addresses that the ports lease, as far as their IP guards have learned them, each with what is left of its time.
    ///
    /// # Errors
    /// The switch is gone.
    pub fn leases(&self, id: SwitchId) -> Result<Vec<(PortIndex, IpPrefix, Option<Duration>)>, Gone> {
        let now = self.clock.now();
        let left = |until: Millis| Duration::from_millis(until.0.saturating_sub(now.0));
        let leases = self.tables(id)?.leases(now).into_iter();
        Ok(leases.map(|(port, lease)| (port, lease.address, lease.until.map(left))).collect())
    }

    /// Enters a lease that was known before, with what is left of its time.
    pub fn remember_lease(&self, id: SwitchId, port: PortIndex, address: IpPrefix, left: Option<Duration>) {
        let now = self.clock.now();
        let until = left.map(|left| Millis(now.0.saturating_add(left.as_millis() as u64)));
        if let Ok(tables) = self.tables(id) {
            tables.remember_lease(port, Lease { address, until }, now);
        }
    }

    /// What is known of multicast groups; `None` where the switch does not snoop.
    ///
    /// # Errors
    /// The switch is gone.
    pub fn multicast(&self, id: SwitchId) -> Result<Option<MulticastReport>, Gone> {
        Ok(self.tables(id)?.multicast(self.clock.now()))
    }

    /// What would become of a frame of `len` bytes that begins with `header`, if it came in on `port` now. Nothing is learned,
    /// counted or sent.
    ///
    /// # Errors
    /// The switch is gone.
    pub fn explain(&self, id: SwitchId, port: PortIndex, header: &[u8], len: u32) -> Result<Explained, Gone> {
        Ok(self.tables(id)?.explain(port, header, len, self.clock.now()))
    }

    /// Shows `tap` every frame from now on, until its reader is dropped.
    ///
    /// # Errors
    /// The switch is gone.
    pub fn listen(&self, id: SwitchId, tap: &Arc<Tap>) -> Result<(), Gone> {
        self.tables(id)?;
        self.ask_all(|reply| Command::Listen(id, Arc::clone(tap), reply)).collect()
    }

    /// Forgets learned entries, of one port or of all, and says how many.
    ///
    /// # Errors
    /// The switch is gone.
    pub fn flush(&self, id: SwitchId, port: Option<PortIndex>) -> Result<usize, Gone> {
        Ok(self.tables(id)?.flush(port, self.clock.now()))
    }

    fn tables(&self, id: SwitchId) -> Result<Arc<Tables>, Gone> {
        self.switches.lock().tables.get(&id).cloned().ok_or(Gone)
    }

    /// Asks every worker, one after the other.
    fn ask_all<T>(
        &self,
        command: impl Fn(mpsc::Sender<T>) -> Command,
    ) -> impl Iterator<Item = Result<T, Gone>> {
        self.workers.iter().map(move |worker| worker.ask(&command))
    }
}

impl Handle {
    fn start(
        clock: Clock,
        ages: bool,
        cpu: Option<usize>,
        notices: mpsc::Sender<Notice>,
    ) -> Result<Self, StartError> {
        let (commands, inbox) = mpsc::channel();
        let waker = Arc::new(Waker::new()?);
        let worker = Worker::new(clock, ages, Arc::clone(&waker), inbox, notices)?;
        let (pinned, outcome) = mpsc::channel();
        let name = cpu.map_or_else(|| "worker".into(), |cpu| format!("worker-{cpu}"));
        let thread = thread::Builder::new().name(name).spawn(move || {
            let result = cpu.map_or(Ok(()), io::pin_current_thread);
            let good = result.is_ok();
            let _ = pinned.send(result);
            if good {
                worker.run();
            }
        })?;
        let result = outcome.recv().unwrap_or_else(|_| Err(std::io::Error::other("it ended at once")));
        result.map_err(|error| StartError::Pin { cpu: cpu.unwrap_or_default(), error })?;
        Ok(Self { cpu, commands: Some(commands), waker, thread: Some(thread) })
    }

    fn send(&self, command: Command) {
        if self.commands.as_ref().is_some_and(|commands| commands.send(command).is_ok()) {
            self.waker.wake();
        }
    }

    fn ask<T>(&self, command: impl FnOnce(mpsc::Sender<T>) -> Command) -> Result<T, Gone> {
        let (reply, answer) = mpsc::channel();
        self.send(command(reply));
        answer.recv().map_err(|_| Gone)
    }
}

impl Drop for Handle {
    /// Lets the worker end its batch and waits for it.
    fn drop(&mut self) {
        drop(self.commands.take());
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
