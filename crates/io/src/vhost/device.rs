//! What the worker and the control thread of a port have in common: the queues, the doorbell and the port's state.
//!
//! The control thread starts, stops and changes rings, the worker moves frames; a queue's lock is what keeps them apart,
//! so once a ring is stopped no worker touches it any more. The lock order is: the guest's transmit queues (odd) before
//! its receive queues (even); who holds an even one waits for none. Whatever takes long (mapping memory, closing
//! descriptors) is done without a lock held.
//!
//! A worker learns of a change by [`Device::generation`], which it compares once a turn, and is woken for it by the
//! doorbell. What it may read without any lock is the state and the generation.

mod doorbell;
mod event;
mod session;

pub(super) use doorbell::Doorbell;
pub(super) use event::{NotAnEvent, PeerEvent};
pub(super) use session::{Outcome, Reply, Session};

use super::{features::Features, log::DirtyLog, memory::GuestMemory, ring::Ring};
use crate::Waker;
use parking_lot::{Mutex, MutexGuard};
use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering},
    },
};
use wire::MacAddr;

/// Most queue pairs of a port.
pub(crate) const QUEUE_PAIRS_MAX: u16 = 16;

/// One virtqueue, locked by the worker for a batch, by the control thread for a change.
///
/// Those with an even index are the guest's receive queues: we write. The odd ones are its transmit queues: we read.
#[derive(Default)]
pub(super) struct Queue {
    /// The ring while it runs.
    pub(super) ring: Option<Ring>,
    /// Whether it may have side effects: of a running ring that is not enabled nothing is sent on and nothing is put
    /// into it, but what the guest sends is taken and dropped.
    pub(super) enabled: bool,
    /// The memory its addresses are in; always there while it runs.
    pub(super) memory: Option<Arc<GuestMemory>>,
    /// Where writes to guest memory are marked, while that is wanted.
    pub(super) log: Option<Arc<DirtyLog>>,
    /// How the guest is told of used buffers; without, it polls.
    pub(super) call: Option<PeerEvent>,
    /// What was negotiated.
    pub(super) features: Features,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (running, enabled) = (self.ring.is_some(), self.enabled);
        f.debug_struct("Queue").field("running", &running).field("enabled", &enabled).finish_non_exhaustive()
    }
}

/// How far the port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// No front end is connected.
    Waiting,
    /// A front end is connected, but its driver has no pair of rings running and enabled.
    NotReady,
    /// Frames can pass.
    Up,
    /// The guest or its front end broke the rules; [`Device::fault_reason`] says how. So until it is up again on a new
    /// connection.
    Faulted,
}

/// The state behind [`State`].
#[derive(Debug)]
struct Condition {
    connection: State,
    fault: Option<String>,
    /// The control thread has not acted upon the fault yet.
    pending: bool,
}

/// What worker and control thread share.
#[derive(Debug)]
pub(super) struct Device {
    queues: Vec<Arc<Mutex<Queue>>>,
    /// One for each share of the port that has queues to receive from.
    doorbells: Vec<Doorbell>,
    generation: AtomicU64,
    state: AtomicU8,
    condition: Mutex<Condition>,
    /// Wakes the control thread.
    control: Waker,
    /// A MAC address plus one, to be announced; 0 for none.
    rarp: AtomicU64,
    mtu_max: AtomicU16,
}

impl Device {
    /// A device without a front end, to be dealt to so many workers.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new(queue_pairs: u16, mtu_max: u16, workers: usize) -> io::Result<Self> {
        let pairs = queue_pairs.clamp(1, QUEUE_PAIRS_MAX);
        let shares = workers.clamp(1, pairs.into());
        Ok(Self {
            queues: (0..2 * pairs).map(|_| Arc::default()).collect(),
            doorbells: (0..shares).map(|_| Doorbell::new()).collect::<io::Result<_>>()?,
            generation: AtomicU64::new(0),
            state: AtomicU8::new(State::Waiting as u8),
            condition: Mutex::new(Condition { connection: State::Waiting, fault: None, pending: false }),
            control: Waker::new()?,
            rarp: AtomicU64::new(0),
            mtu_max: AtomicU16::new(mtu_max),
        })
    }

    /// The queues, two for each pair; see [`Queue`].
    pub(super) fn queues(&self) -> &[Arc<Mutex<Queue>>] {
        &self.queues
    }

    /// Changes whenever the state or a ring's did.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The shares of the port that have queues to receive from, each a doorbell: readable when the guest kicks one of them
    /// and when the generation changes.
    pub(super) fn doorbells(&self) -> &[Doorbell] {
        &self.doorbells
    }

    /// The share that receives from queue `index`: pairs are dealt in turn.
    pub(super) fn share_of(&self, index: usize) -> usize {
        index / 2 % self.doorbells.len()
    }

    fn doorbell_of(&self, index: u32) -> &Doorbell {
        &self.doorbells[self.share_of(index as usize)]
    }

    /// How far the port is.
    pub(super) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Waiting,
            1 => State::NotReady,
            2 => State::Up,
            _ => State::Faulted,
        }
    }

    /// What broke the rules, while the state is [`State::Faulted`].
    pub(super) fn fault_reason(&self) -> Option<String> {
        self.condition.lock().fault.clone()
    }

    /// Stops the port because of what its guest did: the control thread stops the rings and closes the connection. The
    /// caller must hold no ring that it goes on to use. A fault that is reported while another waits is not kept.
    pub(super) fn fault(&self, reason: &dyn fmt::Display) {
        let mut condition = self.condition.lock();
        if !condition.pending {
            condition.fault = Some(reason.to_string());
            condition.pending = true;
            self.settle(&condition);
            self.control.wake();
        }
    }

    /// The guest's MAC address, where a front end has asked since the last call for it to be announced: the guest has
    /// moved here and cannot do that itself.
    pub(super) fn take_rarp(&self) -> Option<MacAddr> {
        self.rarp.swap(0, Ordering::Relaxed).checked_sub(1).map(MacAddr::from_u64)
    }

    /// The largest MTU that a front end may give its guest from now on.
    pub(super) fn limit_mtu(&self, most: u16) {
        self.mtu_max.store(most, Ordering::Relaxed);
    }

    fn mtu_max(&self) -> u16 {
        self.mtu_max.load(Ordering::Relaxed)
    }

    /// What the control thread sleeps on.
    pub(super) fn control_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Wakes the control thread, which looks whether it is to end or a fault is to be acted upon.
    pub(super) fn wake_control(&self) {
        self.control.wake();
    }

    /// Makes the control thread's descriptor quiet; to be done before looking for what it was woken for.
    pub(super) fn drain_control(&self) {
        self.control.drain();
    }

    /// True where a fault was reported since the last call.
    pub(super) fn take_fault(&self) -> bool {
        std::mem::take(&mut self.condition.lock().pending)
    }

    /// Sets how far the connection is. Being up on it ends a fault of the one before.
    pub(super) fn set_connection(&self, connection: State) {
        let mut condition = self.condition.lock();
        condition.connection = connection;
        if connection == State::Up && !condition.pending {
            condition.fault = None;
        }
        self.settle(&condition);
    }

    fn settle(&self, condition: &Condition) {
        let state = if condition.fault.is_some() { State::Faulted } else { condition.connection };
        if self.state.swap(state as u8, Ordering::AcqRel) != state as u8 {
            self.tell_worker();
        }
    }

    /// Shows why a request was refused that the front end needed to get the port up.
    pub(super) fn refused(&self, reason: &dyn fmt::Display) {
        let mut condition = self.condition.lock();
        if condition.connection != State::Up && condition.fault.is_none() {
            condition.fault = Some(reason.to_string());
            self.settle(&condition);
        }
    }

    fn announce(&self, mac: MacAddr) {
        self.rarp.store(mac.to_u64() + 1, Ordering::Relaxed);
        self.tell_worker();
    }

    /// Changes queue `index` under its lock, then tells the worker.
    fn change<T>(&self, index: usize, change: impl FnOnce(&mut MutexGuard<'_, Queue>) -> T) -> Option<T> {
        let done = change(&mut self.queues.get(index)?.lock());
        self.tell_worker();
        Some(done)
    }

    fn tell_worker(&self) {
        self.generation.fetch_add(1, Ordering::Release);
        self.doorbells.iter().for_each(Doorbell::ring);
    }
}
