//! What control holds of the data path: it sends commands to workers and hears from them.

use crate::{fabric::SwitchReport, worker::Worker};
use engine::{EngineEvent, Entry, PortIndex, Snapshot, TableConfig};
use io::{Epoll, Link, Port, PortError, Waker};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

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
    AddSwitch(SwitchId, TableConfig, [u64; 2]),
    RemoveSwitch(SwitchId, mpsc::Sender<Vec<Box<dyn Port>>>),
    Install(SwitchId, Arc<Snapshot>),
    SetTable(SwitchId, TableConfig),
    Attach(SwitchId, PortIndex, Box<dyn Port>, mpsc::Sender<std::io::Result<()>>),
    Detach(SwitchId, PortIndex, mpsc::Sender<Option<Box<dyn Port>>>),
    Report(SwitchId, mpsc::Sender<SwitchReport>),
    Macs(SwitchId, mpsc::Sender<Vec<Entry>>),
    Flush(SwitchId, Option<PortIndex>, mpsc::Sender<usize>),
}

/// The data path: all workers.
#[derive(Debug)]
pub struct Dataplane {
    workers: Vec<Handle>,
    homes: Mutex<Homes>,
}

#[derive(Debug)]
struct Handle {
    commands: Option<mpsc::Sender<Command>>,
    waker: Arc<Waker>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Which worker each switch lives on.
#[derive(Debug, Default)]
struct Homes {
    next: u32,
    workers: HashMap<SwitchId, usize>,
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
        let workers =
            places.iter().map(|cpu| Handle::start(*cpu, notices.clone())).collect::<Result<_, _>>()?;
        Ok(Self { workers, homes: Mutex::default() })
    }

    /// Adds a switch without ports on the worker that has the fewest.
    pub fn add_switch(&self, table: TableConfig, seed: [u64; 2]) -> SwitchId {
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        let load = |worker: &usize| homes.workers.values().filter(|home| *home == worker).count();
        let home = (0..self.workers.len()).min_by_key(load).unwrap_or_default();
        let id = SwitchId(homes.next);
        homes.next += 1;
        homes.workers.insert(id, home);
        self.workers[home].send(Command::AddSwitch(id, table, seed));
        id
    }

    /// Removes a switch and gives back its ports.
    pub fn remove_switch(&self, id: SwitchId) -> Vec<Box<dyn Port>> {
        let ports = self.ask(id, |reply| Command::RemoveSwitch(id, reply)).unwrap_or_default();
        self.homes.lock().unwrap_or_else(PoisonError::into_inner).workers.remove(&id);
        ports
    }

    /// Lets the switch go by `snapshot` from its next batch on; ports that are not in it are gone.
    pub fn install(&self, id: SwitchId, snapshot: Arc<Snapshot>) {
        self.tell(id, Command::Install(id, snapshot));
    }

    /// Changes size and ageing of the MAC table.
    pub fn set_table(&self, id: SwitchId, table: TableConfig) {
        self.tell(id, Command::SetTable(id, table));
    }

    /// Lets frames pass `io` as the port `port` of the installed snapshot.
    ///
    /// # Errors
    /// The switch is gone, or the port cannot be polled.
    pub fn attach(&self, id: SwitchId, port: PortIndex, io: Box<dyn Port>) -> std::io::Result<()> {
        self.ask(id, |reply| Command::Attach(id, port, io, reply)).map_err(std::io::Error::other)?
    }

    /// Takes the port out of the data path and gives it back; its place and counters stay.
    pub fn detach(&self, id: SwitchId, port: PortIndex) -> Option<Box<dyn Port>> {
        self.ask(id, |reply| Command::Detach(id, port, reply)).ok()?
    }

    /// What passed the switch so far: exact, as read between two batches.
    ///
    /// # Errors
    /// The switch is gone.
    pub fn report(&self, id: SwitchId) -> Result<SwitchReport, Gone> {
        self.ask(id, |reply| Command::Report(id, reply))
    }

    /// The MAC table.
    ///
    /// # Errors
    /// The switch is gone.
    pub fn macs(&self, id: SwitchId) -> Result<Vec<Entry>, Gone> {
        self.ask(id, |reply| Command::Macs(id, reply))
    }

    /// Forgets learned entries, of one port or of all, and says how many.
    ///
    /// # Errors
    /// The switch is gone.
    pub fn flush(&self, id: SwitchId, port: Option<PortIndex>) -> Result<usize, Gone> {
        self.ask(id, |reply| Command::Flush(id, port, reply))
    }

    fn tell(&self, id: SwitchId, command: Command) {
        let home = self.homes.lock().unwrap_or_else(PoisonError::into_inner).workers.get(&id).copied();
        if let Some(home) = home {
            self.workers[home].send(command);
        }
    }

    fn ask<T>(&self, id: SwitchId, command: impl FnOnce(mpsc::Sender<T>) -> Command) -> Result<T, Gone> {
        let (reply, answer) = mpsc::channel();
        self.tell(id, command(reply));
        answer.recv().map_err(|_| Gone)
    }
}

impl Handle {
    fn start(cpu: Option<usize>, notices: mpsc::Sender<Notice>) -> Result<Self, StartError> {
        let (commands, inbox) = mpsc::channel();
        let waker = Arc::new(Waker::new()?);
        let worker = Worker::new(Epoll::new()?, Arc::clone(&waker), inbox, notices)?;
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
        Ok(Self { commands: Some(commands), waker, thread: Some(thread) })
    }

    fn send(&self, command: Command) {
        if self.commands.as_ref().is_some_and(|commands| commands.send(command).is_ok()) {
            self.waker.wake();
        }
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
