//! The worker's side of a vhost-user port: frames out of and into the guest's memory.
//!
//! # The way of a frame from one guest to another
//!
//! 1. `receive` takes chains of the sender's transmit queues. Of each frame the header and the first 128 bytes are copied;
//!    the rest stays in the sender's memory. The queue's lock is held on to, so that the rings cannot be changed.
//! 2. The switch decides on the copies.
//! 3. `transmit` takes chains of the receiver's receive queue, writes header and head, copies the rest from the one
//!    guest's memory to the other's, and publishes all of it with one store (`send`).
//! 4. `complete` gives the sender its chains back, with one store, and lets go of the lock.
//!
//! # Costs
//!
//! No system call as long as both guests poll; one `write` to an eventfd for a batch where a guest wants to be told. Two
//! locks taken for a batch, which nobody contends for but when a ring is changed. Nothing is allocated for a frame.
//!
//! # Trust
//!
//! None in the guest: rings check what they take, the header is checked here. Whoever breaks the rules has the port
//! faulted, with a reason; the control thread then closes the connection.

mod announce;
mod conversation;
mod send;

pub use conversation::Conversation;

use super::{
    chains::Chains,
    device::{Device, Doorbell, PeerEvent, Queue, State},
    features::Features,
    header::{self, HeaderError},
    link::{ControlThread, VhostConfig, VhostError, VhostRole},
    ring::{Ring, RingError},
    view::VhostView,
};
use crate::{BATCH_FRAMES, Batch, Link, MAX_FRAME, Port, PortError, Sent, piece::Piece};
use parking_lot::{ArcMutexGuard, Mutex, RawMutex};
use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};
use wire::VNET_HDR_LEN;

type Locked = ArcMutexGuard<RawMutex, Queue>;

/// A vNIC whose VMM shares the guest's memory and rings, or one worker's share of it.
pub struct VhostPort {
    device: Arc<Device>,
    waits_for: &'static str,
    /// Which share it is: a number of the device's, or one beyond that receives from no queue.
    share: usize,
    link: Link,
    /// The device's generation that link and sources were read at.
    generation: Option<u64>,
    /// The guest's transmit queues that run and are this share's, by index.
    sources: Vec<usize>,
    /// The guest's receive queues that run.
    targets: Targets,
    /// Which source is next.
    turn: usize,
    /// What lies in the batch at hand.
    held: Vec<Held>,
    /// Chains for the use of the next queues.
    spare: Vec<Chains>,
    sender: send::Sender,
    armed: bool,
    /// Ends the control thread when the last share is dropped, so it comes last.
    control: Arc<ControlThread>,
}

/// Queues to send on, and the device's generation that they were read at.
#[derive(Debug, Default)]
struct Targets {
    generation: Option<u64>,
    queues: Vec<usize>,
}

impl Targets {
    /// Looks at the queues again where something was changed. Takes locks of receive queues only, one at a time: whoever sends
    /// may hold those of another port's transmit queues.
    fn refresh(&mut self, device: &Device) {
        let generation = device.generation();
        if self.generation == Some(generation) {
            return;
        }
        self.generation = Some(generation);
        self.queues.clear();
        for (index, queue) in device.queues().iter().enumerate().step_by(2) {
            let mut queue = queue.lock();
            let Queue { ring: Some(ring), enabled: true, .. } = &mut *queue else { continue };
            // Buffers are looked at when there is a frame for them. A driver without EVENT_IDX that may tell of each batch of
            // new ones does: that cost DPDK's a fifth of its time at 64 bytes, and a quarter of the frames.
            ring.disarm();
            self.queues.push(index);
        }
    }
}

/// A queue whose chains lie in the batch at hand.
struct Held {
    queue: Locked,
    chains: Chains,
}

impl fmt::Debug for VhostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VhostPort")
            .field("device", &self.device)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// What a guest did wrong.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(
        "the VMM took memory away that the guest's rings or buffers lie in: did something truncate its file?"
    )]
    MemoryGone,
}

impl VhostPort {
    /// Starts listening or connecting, as the role has it.
    ///
    /// # Errors
    /// See [`VhostError`].
    pub fn open(config: &VhostConfig) -> Result<Self, VhostError> {
        let waits_for = match config.role {
            VhostRole::Server => "no VMM is connected to its socket",
            VhostRole::Client => "no VMM listens on its socket",
        };
        Ok(Self::new(Arc::new(ControlThread::open(config)?), waits_for, 0))
    }

    fn new(control: Arc<ControlThread>, waits_for: &'static str, share: usize) -> Self {
        Self {
            device: Arc::clone(control.device()),
            waits_for,
            share,
            link: Link::Waits(waits_for),
            generation: None,
            sources: Vec::new(),
            targets: Targets::default(),
            turn: 0,
            held: Vec::new(),
            spare: Vec::new(),
            sender: send::Sender::default(),
            armed: false,
            control,
        }
    }

    /// Lets others see what its driver uses, while the worker has it.
    #[must_use]
    pub fn view(&self) -> VhostView {
        VhostView(Arc::clone(&self.device))
    }

    fn doorbell(&self) -> Option<&Doorbell> {
        self.device.doorbells().get(self.share)
    }

    /// Looks at the queues again where something was changed. No queue may be held: their locks are taken.
    fn refresh(&mut self) {
        let generation = self.device.generation();
        if self.generation == Some(generation) {
            return;
        }
        self.generation = Some(generation);
        let queues = self.device.queues().iter().enumerate().skip(1).step_by(2);
        let own = queues.filter(|(index, _)| self.device.share_of(*index) == self.share);
        // What is sent on a ring that is not enabled is taken too, and dropped.
        self.sources = own.filter(|(_, queue)| queue.lock().ring.is_some()).map(|(index, _)| index).collect();
        self.link = match self.device.state() {
            State::Up => Link::Up,
            State::Waiting => Link::Waits(self.waits_for),
            State::NotReady => Link::Waits("the driver in the VM has not set it up"),
            State::Faulted => Link::Faulted(self.device.fault_reason().unwrap_or_default().into()),
        };
    }

    fn fault(&mut self, fault: &Fault) {
        self.device.fault(fault);
        (self.generation, self.targets.generation) = (None, None);
        self.link = Link::Faulted(fault.to_string().into());
    }

    /// True where any of the queues that the guest sends on says so.
    fn each_source(&self, mut ask: impl FnMut(&mut Ring) -> bool) -> bool {
        let mut any = false;
        for &index in &self.sources {
            any |= self.device.queues()[index].lock().ring.as_mut().is_some_and(&mut ask);
        }
        any
    }

    /// Takes what one queue has, as far as there is room. A queue that is being changed has nothing at the moment.
    fn receive_from(&mut self, index: usize, batch: &mut Batch) -> Result<(), Fault> {
        let Some(mut queue) = Mutex::try_lock_arc(&self.device.queues()[index]) else { return Ok(()) };
        let Queue { ring: Some(ring), memory: Some(memory), .. } = &mut *queue else { return Ok(()) };
        if !ring.pending() {
            return Ok(());
        }
        let memory = Arc::clone(memory);
        let mut chains = self.spare.pop().unwrap_or_default();
        chains.clear();
        let room = BATCH_FRAMES - batch.len();
        let taken = match batch.allowance() {
            None => ring.take(room, &mut chains),
            Some(bytes) => take_limited(ring, room, bytes, &mut chains),
        };
        let (before, enabled, features) = (batch.len(), queue.enabled, queue.features);
        let frames = if enabled { take_in(&chains, features, batch) } else { Ok(()) };
        // After the copies, and told first: what is missing was read as zeros, which make a ring look broken.
        let there = if memory.faulted() { Err(Fault::MemoryGone) } else { Ok(()) };
        batch.keep(memory);
        self.held.push(Held { queue, chains });
        let outcome = there.and(taken.map_err(Fault::from)).and(frames);
        if outcome.is_err() {
            batch.truncate(before);
        }
        outcome
    }
}

/// Takes chains one by one, and no further one once they hold so many bytes.
#[cold]
fn take_limited(
    ring: &mut Ring,
    room: usize,
    mut bytes: usize,
    chains: &mut Chains,
) -> Result<(), RingError> {
    while chains.len() < room && bytes != 0 {
        let before = chains.len();
        ring.take(1, chains)?;
        if chains.len() == before {
            break;
        }
        bytes = bytes.saturating_sub(chains.bytes(before));
    }
    Ok(())
}

/// Puts frames into the batch: one for each chain.
fn take_in(chains: &Chains, features: Features, batch: &mut Batch) -> Result<(), Fault> {
    if let Some(pieces) = chains.singles() {
        return take_in_singles(pieces, features, batch);
    }
    (0..chains.len()).try_for_each(|chain| match chains.single(chain) {
        Some(whole) => take_in_singles(&[whole], features, batch),
        None => take_in_scattered(chains.pieces(chain), features, batch),
    })
}

/// How long the frame is that comes with its header in `bytes` bytes. None that is too long for any port is passed on, but
/// one of no bytes, which is dropped and counted.
#[inline]
const fn frame_len(bytes: usize, header_len: usize) -> usize {
    let len = bytes.saturating_sub(header_len);
    if len <= MAX_FRAME { len } else { 0 }
}

/// The fast way: header and frame in one buffer.
fn take_in_singles(pieces: &[Piece], features: Features, batch: &mut Batch) -> Result<(), Fault> {
    let header_len = features.header_len();
    for whole in pieces {
        let (head, frame) = whole.split(header_len);
        let (len, mut header) = (frame_len(whole.len, header_len), [0; VNET_HDR_LEN]);
        if head.len >= VNET_HDR_LEN {
            // SAFETY: the ring keeps the memory of its chains mapped, and is held; it is as long as that.
            header = unsafe { head.at.cast::<[u8; VNET_HDR_LEN]>().read() };
        }
        if header != [0; VNET_HDR_LEN] {
            header = header::check(header, features, len)?;
        }
        // SAFETY: the memory stays mapped, as the caller gives the batch its memory to keep; the batch has room for as many
        // frames as chains were asked for, and `len` is no longer than a frame may be.
        unsafe { batch.push_piece(header, frame.split(len).0) };
    }
    Ok(())
}

/// The general case: the header may end within any of the pieces.
#[cold]
fn take_in_scattered(pieces: &[Piece], features: Features, batch: &mut Batch) -> Result<(), Fault> {
    let len = frame_len(pieces.iter().map(|piece| piece.len).sum(), features.header_len());
    let (mut header, mut filled) = ([0; VNET_HDR_LEN], 0);
    let (mut skip, mut left) = (features.header_len(), len);
    let mut frame = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let (head, rest) = piece.split(skip);
        skip -= head.len;
        // SAFETY: the ring keeps the memory of its chains mapped, and is held.
        filled += unsafe { head.read(&mut header[filled..]) };
        let part = rest.split(left).0;
        left -= part.len;
        frame.extend((part.len != 0).then_some(part));
    }
    let header = header::check(header, features, len)?;
    // SAFETY: as in `take_in_one`.
    unsafe { batch.push_pieces(header, &frame, len) };
    Ok(())
}

impl Port for VhostPort {
    fn deal(&mut self, others: usize) -> Option<Vec<Box<dyn Port>>> {
        let share = |number| Self::new(Arc::clone(&self.control), self.waits_for, number);
        Some((1..=others).map(|number| Box::new(share(number)) as Box<dyn Port>).collect())
    }

    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortError> {
        self.refresh();
        if std::mem::take(&mut self.armed) {
            self.each_source(|ring| {
                ring.disarm();
                false
            });
        }
        if let Some(mac) = (self.share == 0).then(|| self.device.take_rarp()).flatten() {
            batch.push_copy(&announce::frame(mac));
        }
        let count = self.sources.len();
        for turn in 0..count {
            if batch.is_full() {
                break;
            }
            let index = self.sources[(self.turn + turn) % count];
            if let Err(fault) = self.receive_from(index, batch) {
                self.fault(&fault);
                break;
            }
        }
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
        if batch.is_empty() && !self.held.is_empty() {
            self.complete();
        }
        Ok(())
    }

    fn complete(&mut self) {
        for Held { mut queue, chains } in self.held.drain(..) {
            if queue.ring.as_mut().is_some_and(|ring| ring.put(&chains, 0..chains.len())) {
                queue.call.iter().for_each(PeerEvent::signal);
            }
            self.spare.push(chains);
        }
    }

    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> Result<Sent, PortError> {
        let mut sent = Sent::default();
        self.targets.refresh(&self.device);
        if let Err(fault) = self.sender.send(&self.device, &self.targets.queues, batch, which, &mut sent) {
            self.fault(&fault);
        }
        Ok(sent)
    }

    fn link(&self) -> Link {
        self.link.clone()
    }

    fn is_polled(&self) -> bool {
        true
    }

    fn arm(&mut self) -> bool {
        self.doorbell().into_iter().for_each(Doorbell::quiet);
        self.armed = true;
        let mut pending = self.generation != Some(self.device.generation());
        pending |= self.each_source(Ring::arm);
        !pending
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.doorbell().into_iter().map(Doorbell::as_fd).collect()
    }
}
