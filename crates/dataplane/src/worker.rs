//! A worker: the thread that polls ports while there is work and sleeps when there is none.
//!
//! Ports are of two kinds. Those of the kernel tell by their descriptors that they have frames, and asking costs a system
//! call. Rings in shared memory are looked at for next to nothing, so those that had frames lately are looked at in every
//! round, and the kernel is asked only every [`ASK_INTERVAL`]; a ring that stays empty is armed, and then tells by its
//! descriptor too.

use crate::{
    fabric::{Fabric, Stopped},
    handle::{Command, Notice, SwitchId},
    holds::Holds,
    load::Load,
    patience::Patience,
    rings::Rings,
    share::Share,
};
use engine::{Millis, PortIndex};
use io::{Batch, Epoll, Waker};
use std::{
    collections::HashMap,
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering, mpsc},
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
    load: Load,
    /// Ports that have sent as much as they may: nobody waits for them, nobody looks at them.
    holds: Holds,
    clock: Clock,
    /// Whether it is this one that looks for what ran out.
    ages: bool,
    stopped: Vec<Stopped>,
    last_ageing: Millis,
}

/// What came of a port's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Frames,
    Nothing,
    /// The port has sent as much as it may for now.
    Held,
}

/// The time of a data path: all its workers and its control have the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> Millis {
        self.at(Instant::now())
    }

    /// Reading the clock costs as much as looking at a ring.
    pub fn at(self, now: Instant) -> Millis {
        Millis(now.saturating_duration_since(self.0).as_millis() as u64)
    }
}

impl Worker {
    pub fn new(
        clock: Clock,
        ages: bool,
        waker: Arc<Waker>,
        commands: mpsc::Receiver<Command>,
        notices: mpsc::Sender<Notice>,
    ) -> std::io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(waker.as_fd(), WAKER)?;
        Ok(Self {
            switches: HashMap::new(),
            epoll,
            waker,
            commands,
            notices,
            batch: Batch::default(),
            rings: Rings::default(),
            load: Load::new(Instant::now()),
            holds: Holds::default(),
            clock,
            ages,
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
            self.load.round(now);
            self.release(now);
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
            if !polling {
                self.load.round(Instant::now());
            }
            let wait = if polling { Duration::ZERO } else { self.nap(now) };
            if self.epoll.wait(Some(wait), &mut ready).is_err() {
                return;
            }
            if !polling {
                self.load.round(Instant::now());
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
                if !self.obey() {
                    return false;
                }
            } else {
                let turn = self.turn(*token, now);
                let worked = turn == Turn::Frames;
                if turn == Turn::Held {
                    continue;
                }
                if self.is_polled(*token) {
                    // A guest that kicks for nothing is not looked at in each round for it.
                    if worked || !self.arm(*token) {
                        self.rings.add(*token, Instant::now());
                    }
                } else if worked && !self.is_throttled(*token) {
                    patience.frames(self.batch.bytes(), Instant::now());
                }
            }
        }
        self.age(now);
        true
    }

    fn is_throttled(&self, token: u64) -> bool {
        let (id, port) = place(token);
        self.switches.get(&id).is_some_and(|fabric| fabric.is_throttled(port))
    }

    fn is_polled(&mut self, token: u64) -> bool {
        let (id, port) = place(token);
        self.switches.get_mut(&id).is_some_and(|fabric| fabric.is_polled(port))
    }

    /// One batch of each ring that had frames lately; true where one had some. Those that had none for long are armed and
    /// looked at no more.
    fn poll_rings(&mut self, now: Instant) -> bool {
        let (millis, mut busy, mut at) = (self.clock.at(now), false, 0);
        while let Some(token) = self.rings.get(at) {
            match self.turn(token, millis) {
                Turn::Frames => {
                    self.rings.had_frames(at, now);
                    busy = true;
                }
                Turn::Held => continue,
                Turn::Nothing if self.rings.is_stale(at, now) && self.arm(token) => {
                    self.rings.remove(token);
                    continue;
                }
                Turn::Nothing => {}
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
    fn nap(&self, now: Instant) -> Duration {
        let is_awaited = |fabric: &Fabric| fabric.ages() || fabric.may_originate();
        let awaited = self.ages && self.switches.values().any(is_awaited);
        let nap = if awaited { AGEING_INTERVAL } else { Duration::from_secs(3600) };
        self.holds.next().map_or(nap, |due| nap.min(due.saturating_duration_since(now)))
    }

    fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Has nothing tell of the port's frames, and nobody look for them, until then.
    fn hold(&mut self, token: u64, until: Instant) {
        let (id, port) = place(token);
        if let Some(share) = self.switches.get(&id).and_then(|fabric| fabric.share(port)) {
            forget(&self.epoll, share);
        }
        self.rings.remove(token);
        self.holds.add(token, until);
    }

    /// Gives each port that was held for long enough a turn, and listens to it again.
    fn release(&mut self, now: Instant) {
        while self.holds.next().is_some_and(|due| due <= now) {
            let Some(token) = self.holds.take_due(now) else { return };
            if self.turn(token, self.now()) != Turn::Held {
                self.listen(token, now);
            }
        }
    }

    fn listen(&mut self, token: u64, now: Instant) {
        let (id, port) = place(token);
        let Some(share) = self.switches.get(&id).and_then(|fabric| fabric.share(port)) else { return };
        for fd in share.io.poll_fds() {
            // It can be waited for, as it was before.
            let _ = self.epoll.add(fd, token);
        }
        if self.is_polled(token) {
            self.rings.add(token, now);
        }
    }

    /// One batch of one port.
    fn turn(&mut self, token: u64, now: Millis) -> Turn {
        let (id, port) = place(token);
        let Some(fabric) = self.switches.get_mut(&id) else { return Turn::Nothing };
        let worked = fabric.turn(port, &mut self.batch, now, &mut self.stopped);
        if worked {
            self.load.batch(self.batch.len());
        }
        let held = fabric.take_hold();
        self.tell(id);
        match held {
            Some(until) => {
                self.hold(token, until);
                Turn::Held
            }
            None if worked => Turn::Frames,
            None => Turn::Nothing,
        }
    }

    /// Tells control what a switch has seen, and takes out ports of it that stopped.
    fn tell(&mut self, id: SwitchId) {
        let Some(fabric) = self.switches.get_mut(&id) else { return };
        for event in fabric.events() {
            let _ = self.notices.send(Notice::Seen(id, event));
        }
        for (port, link) in fabric.link_changes() {
            let _ = self.notices.send(Notice::Link(id, port, link));
        }
        for (port, error) in self.stopped.drain(..) {
            let Some(share) = fabric.detach(port) else { continue };
            forget(&self.epoll, &share);
            if !share.stopped.swap(true, Ordering::Relaxed) {
                let _ = self.notices.send(Notice::Stopped(id, port, error));
            }
        }
    }

    fn age(&mut self, now: Millis) {
        if !self.ages || now.0 < self.last_ageing.0 + AGEING_INTERVAL.as_millis() as u64 {
            return;
        }
        self.last_ageing = now;
        for fabric in self.switches.values() {
            fabric.age(now, AGEING_BUDGET);
        }
        self.originate(now);
    }

    /// Has switches send what they have to say themselves.
    fn originate(&mut self, now: Millis) {
        let switches = self.switches.iter().filter(|(_, fabric)| fabric.may_originate());
        let ids: Vec<_> = switches.map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(fabric) = self.switches.get_mut(&id) {
                fabric.originate(&mut self.batch, now, &mut self.stopped);
            }
            self.tell(id);
        }
    }

    /// Does what control asked for; false where control is gone.
    fn obey(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.execute(command),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Answers may find nobody waiting: the asker has given up, and nothing is owed to it.
    fn execute(&mut self, command: Command) {
        match command {
            Command::AddSwitch(id, tables) => drop(self.switches.insert(id, Fabric::new(tables))),
            Command::RemoveSwitch(id, reply) => drop(reply.send(self.remove_switch(id))),
            Command::Follow(id, reply) => self.with(id, |fabric| {
                fabric.follow();
                let _ = reply.send(());
            }),
            Command::Attach(id, port, share, reply) => drop(reply.send(self.attach(id, port, share))),
            Command::Detach(id, port, reply) => drop(reply.send(self.detach(id, port))),
            Command::Listen(id, tap, reply) => self.with(id, |fabric| {
                fabric.listen(tap);
                let _ = reply.send(());
            }),
            Command::Load(reply) => drop(reply.send(self.load.report(Instant::now()))),
            Command::Report(id, reply) => self.with(id, |fabric| drop(reply.send(fabric.report()))),
        }
    }

    fn with(&mut self, id: SwitchId, work: impl FnOnce(&mut Fabric)) {
        if let Some(fabric) = self.switches.get_mut(&id) {
            work(fabric);
        }
    }

    fn attach(&mut self, id: SwitchId, port: PortIndex, share: Share) -> std::io::Result<()> {
        let Some(fabric) = self.switches.get_mut(&id) else {
            return Err(std::io::Error::other("the switch is gone"));
        };
        for fd in share.io.poll_fds() {
            self.epoll.add(fd, token(id, port))?;
        }
        if let Some(former) = fabric.attach_share(port, share) {
            forget(&self.epoll, &former);
        }
        self.holds.forget(token(id, port));
        for (port, link) in fabric.link_changes() {
            let _ = self.notices.send(Notice::Link(id, port, link));
        }
        Ok(())
    }

    /// The last batch may be of this port, also where its share stopped and is gone: until it is cleared it keeps the guest's
    /// memory mapped, and a worker without work clears it with its next frames only.
    fn detach(&mut self, id: SwitchId, port: PortIndex) -> Option<Share> {
        self.batch.clear();
        let share = self.switches.get_mut(&id)?.detach(port)?;
        forget(&self.epoll, &share);
        Some(share)
    }

    /// The last batch may be of one of its ports, as when a single one is taken out.
    fn remove_switch(&mut self, id: SwitchId) -> Vec<Share> {
        self.batch.clear();
        let Some(mut fabric) = self.switches.remove(&id) else { return Vec::new() };
        let shares = fabric.detach_all();
        shares.iter().for_each(|share| forget(&self.epoll, share));
        shares
    }
}

/// Takes a share's descriptors out of the set. One that the kernel took out already is no error.
fn forget(epoll: &Epoll, share: &Share) {
    for fd in share.io.poll_fds() {
        let _ = epoll.remove(fd);
    }
}

const fn token(id: SwitchId, port: PortIndex) -> u64 {
    ((id.0 as u64) << 16) | port.0 as u64
}

const fn place(token: u64) -> (SwitchId, PortIndex) {
    (SwitchId((token >> 16) as u32), PortIndex(token as u16))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{models::alone, share, tables::Tables};
    use engine::{PortPolicy, Role, Snapshot, TableConfig};
    use io::{Port, test_ports::LoopPort};

    const ID: SwitchId = SwitchId(0);
    const PORT: PortIndex = PortIndex(0);

    /// A worker whose last batch came from the only port of a switch.
    fn after_a_batch() -> Worker {
        let (waker, notices) = (Arc::new(Waker::new().unwrap()), mpsc::channel().0);
        let mut worker = Worker::new(Clock::start(), true, waker, mpsc::channel().1, notices).unwrap();
        let tables = Arc::new(Tables::new(TableConfig::default(), [1, 2]));
        let snapshot = Snapshot::new(vec![(PORT, PortPolicy::new(Role::Vnic))]);
        tables.install(Arc::new(snapshot), Millis(0));
        worker.execute(Command::AddSwitch(ID, tables));
        let (port, mut peer) = LoopPort::pair().unwrap();
        let share = share::deal(Box::new(port), 1).unwrap().remove(0);
        worker.attach(ID, PORT, share).unwrap();
        let mut sent = Batch::default();
        sent.push_bytes(&[0xff; 60]);
        peer.transmit(&sent, &[0]).unwrap();
        assert_eq!(worker.turn(token(ID, PORT), Millis(0)), Turn::Frames);
        assert!(!worker.batch.is_empty());
        worker
    }

    #[test]
    fn a_worker_keeps_nothing_of_the_frames_of_a_port_that_was_taken_out() {
        alone(|| {
            let mut worker = after_a_batch();
            assert!(worker.detach(ID, PORT).is_some() && worker.batch.is_empty());
            let mut worker = after_a_batch();
            assert!(worker.remove_switch(ID).len() == 1 && worker.batch.is_empty());
        });
    }
}
