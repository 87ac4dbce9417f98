//! A worker: the thread that polls ports while there is work and sleeps when there is none.
//!
//! Ports are of two kinds. Those of the kernel tell by their descriptors that they have frames, and asking costs a system
//! call. Rings in shared memory are looked at for next to nothing, so those that had frames lately are looked at in every
//! round, and the kernel is asked only every [`ASK_INTERVAL`]; a ring that stays empty is armed, and then tells by its
//! descriptor too.

use crate::{
    fabric::{Fabric, Stopped},
    handle::{Command, Notice, SwitchId},
    patience::Patience,
    rings::Rings,
};
use engine::{Millis, PortIndex};
use io::{Batch, Epoll, Port, Waker};
use std::{
    collections::HashMap,
    os::fd::AsFd,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// How often a worker without work looks for entries that ran out. An entry that ran out is not used in any case.
const AGEING_INTERVAL: Duration = Duration::from_secs(1);
/// Entries reclaimed in one go: a few microseconds of work.
const AGEING_BUDGET: usize = 256;
/// How often the kernel is asked for ready ports while rings keep the worker busy: what comes from the kernel waits so long at
/// most, and asking takes one or two per cent of the time.
const ASK_INTERVAL: Duration = Duration::from_micros(20);
/// The token of the waker; those of ports are below.
const WAKER: u64 = u64::MAX;

/// Everything that a worker owns.
pub(crate) struct Worker {
    switches: HashMap<SwitchId, Fabric>,
    epoll: Epoll,
    waker: Arc<Waker>,
    commands: mpsc::Receiver<Command>,
    notices: mpsc::Sender<Notice>,
    batch: Batch,
    rings: Rings,
    started: Instant,
    stopped: Vec<Stopped>,
    last_ageing: Millis,
}

impl Worker {
    pub fn new(
        epoll: Epoll,
        waker: Arc<Waker>,
        commands: mpsc::Receiver<Command>,
        notices: mpsc::Sender<Notice>,
    ) -> std::io::Result<Self> {
        epoll.add(waker.as_fd(), WAKER)?;
        Ok(Self {
            switches: HashMap::new(),
            epoll,
            waker,
            commands,
            notices,
            batch: Batch::default(),
            rings: Rings::default(),
            started: Instant::now(),
            stopped: Vec::new(),
            last_ageing: Millis(0),
        })
    }

    /// Runs until control lets go of the command channel.
    pub fn run(mut self) {
        let mut ready = Vec::new();
        let mut patience = Patience::new(Instant::now());
        let mut asked = Instant::now();
        loop {
            let now = Instant::now();
            let busy = self.poll_rings(now);
            if !self.rings.is_empty() && now.duration_since(asked) < ASK_INTERVAL {
                if !busy {
                    // Leaves the core to the guest's CPU where that is the other thread of it.
                    std::hint::spin_loop();
                }
                continue;
            }
            asked = now;
            let polling = !self.rings.is_empty() || patience.lasts(now);
            if self.epoll.wait(Some(if polling { Duration::ZERO } else { self.nap() }), &mut ready).is_err() {
                return;
            }
            if polling && ready.is_empty() && !busy {
                // Whoever is to send the next frame may be waiting for this very CPU.
                thread::yield_now();
            }
            if !self.serve(&ready, &mut patience) {
                return;
            }
        }
    }

    /// One batch of each port that has told of frames, and what control wants; false where control is gone.
    fn serve(&mut self, ready: &[u64], patience: &mut Patience) -> bool {
        let now = self.now();
        for token in ready {
            if *token == WAKER {
                self.waker.drain();
                if !self.obey(now) {
                    return false;
                }
            } else {
                let worked = self.turn(*token, now);
                if self.is_polled(*token) {
                    self.rings.add(*token, Instant::now());
                } else if worked {
                    patience.frames(self.batch.bytes(), Instant::now());
                }
            }
        }
        self.age(now);
        true
    }

    fn is_polled(&mut self, token: u64) -> bool {
        let (id, port) = place(token);
        self.switches.get_mut(&id).is_some_and(|fabric| fabric.is_polled(port))
    }

    /// One batch of each ring that had frames lately; true where one had some. Those that had none for long are armed and
    /// looked at no more.
    fn poll_rings(&mut self, now: Instant) -> bool {
        let (millis, mut busy, mut at) = (self.now(), false, 0);
        while let Some(token) = self.rings.get(at) {
            if self.turn(token, millis) {
                self.rings.had_frames(at, now);
                busy = true;
            } else if self.rings.is_stale(at, now) && self.arm(token) {
                self.rings.remove(token);
                continue;
            }
            at += 1;
        }
        busy
    }

    /// False where the port has a frame already.
    fn arm(&mut self, token: u64) -> bool {
        let (id, port) = place(token);
        self.switches.get_mut(&id).is_none_or(|fabric| fabric.arm(port))
    }

    /// How long to sleep: for good where nothing can run out.
    fn nap(&self) -> Duration {
        let learned = self.switches.values().any(|fabric| fabric.ages());
        if learned { AGEING_INTERVAL } else { Duration::from_secs(3600) }
    }

    fn now(&self) -> Millis {
        Millis(self.started.elapsed().as_millis() as u64)
    }

    /// One batch of one port.
    fn turn(&mut self, token: u64, now: Millis) -> bool {
        let (id, port) = place(token);
        let Some(fabric) = self.switches.get_mut(&id) else { return false };
        let worked = fabric.turn(port, &mut self.batch, now, &mut self.stopped);
        for event in fabric.events() {
            let _ = self.notices.send(Notice::Seen(id, event));
        }
        for (port, link) in fabric.link_changes() {
            let _ = self.notices.send(Notice::Link(id, port, link));
        }
        for (port, error) in self.stopped.drain(..) {
            if let Some(io) = fabric.detach(port) {
                forget(&self.epoll, io.as_ref());
                let _ = self.notices.send(Notice::Stopped(id, port, error));
            }
        }
        worked
    }

    fn age(&mut self, now: Millis) {
        if now.0 < self.last_ageing.0 + AGEING_INTERVAL.as_millis() as u64 {
            return;
        }
        self.last_ageing = now;
        for fabric in self.switches.values_mut() {
            fabric.age(now, AGEING_BUDGET);
        }
    }

    /// Does what control asked for; false where control is gone.
    fn obey(&mut self, now: Millis) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.execute(command, now),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Answers may find nobody waiting: the asker has given up, and nothing is owed to it.
    fn execute(&mut self, command: Command, now: Millis) {
        match command {
            Command::AddSwitch(id, table, seed) => drop(self.switches.insert(id, Fabric::new(table, seed))),
            Command::RemoveSwitch(id, reply) => drop(reply.send(self.remove_switch(id))),
            Command::Install(id, snapshot) => self.with(id, |fabric| fabric.install(snapshot, now)),
            Command::SetTable(id, table) => self.with(id, |fabric| fabric.set_table(table)),
            Command::Attach(id, port, io, reply) => drop(reply.send(self.attach(id, port, io))),
            Command::Detach(id, port, reply) => drop(reply.send(self.detach(id, port))),
            Command::Report(id, reply) => self.with(id, |fabric| drop(reply.send(fabric.report()))),
            Command::Macs(id, reply) => self.with(id, |fabric| drop(reply.send(fabric.entries(now)))),
            Command::Flush(id, port, reply) => self.with(id, |fabric| {
                let _ = reply.send(fabric.flush(port));
            }),
        }
    }

    fn with(&mut self, id: SwitchId, work: impl FnOnce(&mut Fabric)) {
        if let Some(fabric) = self.switches.get_mut(&id) {
            work(fabric);
        }
    }

    fn attach(&mut self, id: SwitchId, port: PortIndex, io: Box<dyn Port>) -> std::io::Result<()> {
        let Some(fabric) = self.switches.get_mut(&id) else {
            return Err(std::io::Error::other("the switch is gone"));
        };
        for fd in io.poll_fds() {
            self.epoll.add(fd, token(id, port))?;
        }
        if let Some(former) = fabric.attach(port, io) {
            forget(&self.epoll, former.as_ref());
        }
        for (port, link) in fabric.link_changes() {
            let _ = self.notices.send(Notice::Link(id, port, link));
        }
        Ok(())
    }

    fn detach(&mut self, id: SwitchId, port: PortIndex) -> Option<Box<dyn Port>> {
        let io = self.switches.get_mut(&id)?.detach(port)?;
        forget(&self.epoll, io.as_ref());
        Some(io)
    }

    fn remove_switch(&mut self, id: SwitchId) -> Vec<Box<dyn Port>> {
        let Some(mut fabric) = self.switches.remove(&id) else { return Vec::new() };
        let ports = fabric.detach_all();
        ports.iter().for_each(|io| forget(&self.epoll, io.as_ref()));
        ports
    }
}

/// Takes a port's descriptors out of the set. One that the kernel took out already is no error.
fn forget(epoll: &Epoll, io: &dyn Port) {
    for fd in io.poll_fds() {
        let _ = epoll.remove(fd);
    }
}

const fn token(id: SwitchId, port: PortIndex) -> u64 {
    ((id.0 as u64) << 16) | port.0 as u64
}

const fn place(token: u64) -> (SwitchId, PortIndex) {
    (SwitchId((token >> 16) as u32), PortIndex(token as u16))
}
