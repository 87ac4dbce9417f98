//! One connection of a front end: what it has said so far, and what that makes of the device's rings.
//!
//! A ring starts when it has memory, a size, addresses and a kick (SET_VRING_KICK, with or without a descriptor; the
//! specification says the first kick, which comes later or may have come before), and stops at GET_VRING_BASE, at a reset,
//! and with the connection. It is enabled by SET_VRING_ENABLE, or from the start where the front end does not know of that
//! (no PROTOCOL_FEATURES). Whatever changes of a running ring (addresses, memory, log) makes a new one that goes on where
//! the old one stood, under the queue's lock.
//!
//! The order of messages differs: QEMU sends SET_VRING_CALL before anything else of a ring and again later, DPDK's
//! virtio-user sends it before the features. So each message only notes what it says, and [`Session::refresh`] looks
//! whether it is complete.
//!
//! QEMU sends RESET_OWNER at moments at which nothing is to be reset; as the specification recommends, it is ignored.

use super::{Device, NotAnEvent, PeerEvent, State};
use crate::vhost::{
    features::{Features, ProtocolFeatures},
    inflight::{self, InflightError},
    log::DirtyLog,
    memory::{GuestMemory, MAX_REGIONS, MemoryError},
    message::{Answer, Area, Request, Vring, VringAddresses, VringEvent},
    places::Places,
    ring::{Direction, MAX_SIZE, Ring, RingConfig, RingError, RingLog},
};
use std::{
    io, mem,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};
use wire::MacAddr;

/// The smallest MTU of IPv4 (RFC 791, 3.2), which is what Linux lets a virtio-net device have.
const MTU_MIN: u64 = 68;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(in crate::vhost) enum SessionError {
    #[error("the front end wants features that were not offered: {0:#x}")]
    Features(u64),
    #[error("the front end changed features while rings run: {0:#x}")]
    FeaturesChanged(u64),
    #[error("the front end speaks of queue {index}, but there are {count}; give the VM fewer queues")]
    Queue { index: u32, count: usize },
    #[error("the front end wants queue {index} to have {size} descriptors; 1 to {MAX_SIZE} are possible")]
    RingSize { index: u32, size: u32 },
    #[error("the front end changed the size or the place of queue {0} while it runs")]
    Running(u32),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("queue {0}: {1}")]
    Ring(usize, RingError),
    #[error(transparent)]
    Event(#[from] NotAnEvent),
    #[error("the kick of queue {0} cannot be waited for: {1}")]
    Kick(u32, io::Error),
    #[error("the dirty log of {size} bytes cannot be mapped: {error}")]
    Log { size: u64, error: io::Error },
    #[error("the dirty log has {0} bytes, which is too few for the guest's memory")]
    LogTooShort(u64),
    #[error(transparent)]
    Inflight(#[from] InflightError),
}

/// What a request led to.
#[derive(Debug)]
pub(in crate::vhost) enum Outcome {
    /// It was done; there is nothing to say but that.
    Done,
    /// It was not done, which is no reason not to go on.
    Declined,
    /// The answer that it has.
    Reply(Reply),
}

/// An answer, and the descriptor that belongs to it.
#[derive(Debug)]
pub(in crate::vhost) struct Reply {
    pub(in crate::vhost) answer: Answer,
    pub(in crate::vhost) fd: Option<OwnedFd>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, fd: None }
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self::Reply(answer.into())
    }
}

/// What a front end has said of a ring.
#[derive(Debug, Default)]
struct RingSetup {
    size: u16,
    addresses: Option<VringAddresses>,
    base: u32,
    /// The base that the front end knows of.
    told: u32,
    /// It may run: a kick was given, or that there will be none.
    kicked: bool,
    kick: Option<PeerEvent>,
    error: Option<PeerEvent>,
    enable: Option<bool>,
    running: bool,
    /// It was started, or reset, on this connection: the front end's base counts, and not what was noted before.
    known: bool,
}

/// A connection's state; dropping it stops all rings and lets go of the guest's memory.
#[derive(Debug)]
pub(in crate::vhost) struct Session {
    device: Arc<Device>,
    places: Option<Arc<Places>>,
    features: Features,
    protocol: ProtocolFeatures,
    memory: Option<Arc<GuestMemory>>,
    log: Option<Arc<DirtyLog>>,
    status: u8,
    rings: Vec<RingSetup>,
    /// Regions mapped since somebody asked.
    mappings: u32,
}

impl Session {
    /// A connection on which nothing was said yet. How far its rings are is noted in `places`.
    pub(in crate::vhost) fn new(device: Arc<Device>, places: Option<Arc<Places>>) -> Self {
        device.set_connection(State::NotReady);
        let rings = device.queues().iter().map(|_| RingSetup::default()).collect();
        let (features, protocol) = (Features::default(), ProtocolFeatures::default());
        Self { device, places, features, protocol, memory: None, log: None, status: 0, rings, mappings: 0 }
    }

    /// True where the front end may ask for an answer to any request.
    pub(in crate::vhost) const fn acknowledges(&self) -> bool {
        self.protocol.has(ProtocolFeatures::REPLY_ACK)
    }

    /// How many regions of memory were mapped since the last call.
    pub(in crate::vhost) const fn take_mappings(&mut self) -> u32 {
        mem::replace(&mut self.mappings, 0)
    }

    /// Does what is asked; `fds` came with it.
    pub(in crate::vhost) fn handle(
        &mut self,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> Result<Outcome, SessionError> {
        let outcome = self.dispatch(request, fds);
        self.device.set_connection(if self.up() { State::Up } else { State::NotReady });
        outcome
    }

    fn dispatch(&mut self, request: Request, mut fds: Vec<OwnedFd>) -> Result<Outcome, SessionError> {
        match request {
            Request::GetFeatures => return Ok(Answer::Number(Features::OFFERED.bits()).into()),
            Request::GetProtocolFeatures => {
                return Ok(Answer::Number(ProtocolFeatures::OFFERED.bits()).into());
            }
            Request::GetQueueNum => return Ok(Answer::Number(self.rings.len() as u64 / 2).into()),
            Request::GetMaxMemSlots => return Ok(Answer::Number(MAX_REGIONS as u64).into()),
            Request::GetStatus => return Ok(Answer::Number(self.status.into()).into()),
            Request::GetVringBase(vring) => return self.stop_for_base(vring),
            Request::GetInflightFd(area) => {
                let (area, fd) = inflight::create(area, self.features.has(Features::RING_PACKED))?;
                return Ok(Outcome::Reply(Reply { answer: Answer::Inflight(area), fd: Some(fd) }));
            }
            Request::SetLogBase(area) => {
                self.set_log(area, fds.pop())?;
                return Ok(Answer::Area(area).into());
            }
            Request::NetSetMtu(mtu) => return Ok(self.accept_mtu(mtu)),
            Request::SendRarp(mac) => return Ok(self.send_rarp(mac)),
            Request::Unsupported(answer) => return Ok(answer.map_or(Outcome::Declined, Outcome::from)),
            Request::SetInflightFd(area) => inflight::check(&area, fds.pop())?,
            Request::SetOwner | Request::ResetOwner | Request::SetLogFd => {}
            Request::SetFeatures(bits) => self.set_features(Features::from_bits(bits))?,
            Request::SetProtocolFeatures(bits) => self.set_protocol_features(bits)?,
            Request::SetMemTable(regions) => {
                self.mappings += regions.len() as u32;
                let memory = GuestMemory::map(regions.into_iter().zip(fds).collect())?;
                self.set_memory(memory)?;
            }
            Request::AddMemReg(region) => {
                self.mappings += 1;
                let added = fds.pop().map(|fd| self.memory().with_region(region, &fd)).transpose()?;
                added.flatten().map_or(Ok(()), |memory| self.set_memory(memory))?;
            }
            Request::RemMemReg(region) => {
                let removed = self.memory().without_region(&region)?;
                removed.map_or(Ok(()), |memory| self.set_memory(memory))?;
            }
            Request::SetVringNum(vring) => self.set_size(vring)?,
            Request::SetVringAddr(addresses) => self.set_addresses(addresses)?,
            Request::SetVringBase(vring) => {
                let ring = self.stopped(vring.index)?;
                (ring.base, ring.told) = (vring.num, vring.num);
            }
            Request::SetVringKick(event) => self.set_kick(event, fds.pop())?,
            Request::SetVringCall(event) => self.set_call(event, fds.pop())?,
            Request::SetVringErr(event) => {
                self.ring(event.index)?.error = fds.pop().map(PeerEvent::new).transpose()?;
            }
            Request::SetVringEnable(vring) => self.set_enable(vring)?,
            Request::ResetDevice => self.reset(),
            Request::SetStatus(status) => self.set_status(status),
        }
        Ok(Outcome::Done)
    }

    fn ring(&mut self, index: u32) -> Result<&mut RingSetup, SessionError> {
        let count = self.rings.len();
        self.rings.get_mut(index as usize).ok_or(SessionError::Queue { index, count })
    }

    fn stopped(&mut self, index: u32) -> Result<&mut RingSetup, SessionError> {
        let ring = self.ring(index)?;
        if ring.running { Err(SessionError::Running(index)) } else { Ok(ring) }
    }

    /// Frames can pass on a pair of rings both of which run and are enabled.
    fn up(&self) -> bool {
        let carries = |ring: &RingSetup| ring.running && self.enabled(ring);
        self.rings.chunks_exact(2).any(|pair| pair.iter().all(carries))
    }

    fn enabled(&self, ring: &RingSetup) -> bool {
        ring.enable.unwrap_or(!self.features.has(Features::PROTOCOL_FEATURES))
    }

    fn set_features(&mut self, features: Features) -> Result<(), SessionError> {
        let unknown = features.without(Features::OFFERED);
        if unknown.bits() != 0 {
            return Err(SessionError::Features(unknown.bits()));
        }
        let changed = features.without(self.features).with(self.features.without(features));
        if changed.without(Features::LOG_ALL).bits() != 0 && self.rings.iter().any(|ring| ring.running) {
            return Err(SessionError::FeaturesChanged(changed.bits()));
        }
        self.features = features;
        self.refresh_all()
    }

    fn set_protocol_features(&mut self, bits: u64) -> Result<(), SessionError> {
        let unknown = bits & !ProtocolFeatures::OFFERED.bits();
        if unknown != 0 {
            return Err(SessionError::Features(unknown));
        }
        self.protocol = ProtocolFeatures::from_bits(bits);
        Ok(())
    }

    fn memory(&self) -> Arc<GuestMemory> {
        self.memory.clone().unwrap_or_default()
    }

    /// The memory was mapped before any lock is taken; the old one is unmapped after all were released.
    fn set_memory(&mut self, memory: GuestMemory) -> Result<(), SessionError> {
        let _old = self.memory.replace(Arc::new(memory));
        self.refresh_all()
    }

    fn set_log(&mut self, area: Area, fd: Option<OwnedFd>) -> Result<(), SessionError> {
        let Some(fd) = fd else { return Ok(()) };
        let Area { size, offset } = area;
        let log =
            DirtyLog::map(fd.as_fd(), offset, size).map_err(|error| SessionError::Log { size, error })?;
        if self.memory.as_deref().is_some_and(|memory| !log.covers(memory)) {
            return Err(SessionError::LogTooShort(size));
        }
        let _old = self.log.replace(Arc::new(log));
        self.refresh_all()
    }

    /// The guest's frames are checked against the port's MTU, whatever smaller one it was told of.
    fn accept_mtu(&self, mtu: u64) -> Outcome {
        let possible = MTU_MIN..=u64::from(self.device.mtu_max());
        if possible.contains(&mtu) { Outcome::Done } else { Outcome::Declined }
    }

    fn send_rarp(&self, mac: MacAddr) -> Outcome {
        if !mac.is_valid_source() {
            return Outcome::Declined;
        }
        self.device.announce(mac);
        Outcome::Done
    }

    fn set_size(&mut self, vring: Vring) -> Result<(), SessionError> {
        let size = u16::try_from(vring.num).ok().filter(|size| (1..=MAX_SIZE).contains(size));
        let error = SessionError::RingSize { index: vring.index, size: vring.num };
        self.stopped(vring.index)?.size = size.ok_or(error)?;
        self.refresh(vring.index as usize)
    }

    /// The log flag of a running ring changes when a migration begins or fails.
    fn set_addresses(&mut self, addresses: VringAddresses) -> Result<(), SessionError> {
        self.ring(addresses.index)?.addresses = Some(addresses);
        self.refresh(addresses.index as usize)
    }

    fn set_kick(&mut self, event: VringEvent, fd: Option<OwnedFd>) -> Result<(), SessionError> {
        let kick = fd.map(PeerEvent::new).transpose()?;
        let device = Arc::clone(&self.device);
        let ring = self.ring(event.index)?;
        if let Some(kick) = &kick {
            device
                .doorbell_of(event.index)
                .add(kick)
                .map_err(|error| SessionError::Kick(event.index, error))?;
        }
        if let Some(old) = mem::replace(&mut ring.kick, kick) {
            device.doorbell_of(event.index).remove(&old);
        }
        ring.kicked = true;
        self.refresh(event.index as usize)
    }

    /// The guest may wait for a call that went, or should have gone, to the old descriptor; one too many is harmless.
    fn set_call(&mut self, event: VringEvent, fd: Option<OwnedFd>) -> Result<(), SessionError> {
        let call = fd.map(PeerEvent::new).transpose()?;
        self.ring(event.index)?;
        let _old = self.device.change(event.index as usize, |queue| {
            let old = mem::replace(&mut queue.call, call);
            if let (Some(call), Some(_)) = (&queue.call, &queue.ring) {
                call.signal();
            }
            old
        });
        Ok(())
    }

    fn set_enable(&mut self, vring: Vring) -> Result<(), SessionError> {
        let enable = vring.num == 1;
        self.ring(vring.index)?.enable = Some(enable);
        self.device.change(vring.index as usize, |queue| queue.enabled = enable);
        Ok(())
    }

    fn stop_for_base(&mut self, vring: Vring) -> Result<Outcome, SessionError> {
        self.ring(vring.index)?;
        let num = self.stop(vring.index as usize);
        self.ring(vring.index)?.told = num;
        Ok(Answer::Vring(Vring { index: vring.index, num }).into())
    }

    /// Stops a ring; no worker touches it afterwards. Says where it is to go on.
    fn stop(&mut self, index: usize) -> u32 {
        let Some(setup) = self.rings.get_mut(index) else { return 0 };
        if !setup.kicked {
            return setup.base;
        }
        if let Some(kick) = setup.kick.take() {
            self.device.doorbell_of(index as u32).remove(&kick);
        }
        (setup.kicked, setup.running) = (false, false);
        let stopped =
            self.device.change(index, |queue| (queue.ring.take(), queue.memory.take(), queue.log.take()));
        if let Some((Some(ring), ..)) = stopped {
            setup.base = ring.base();
        }
        setup.base
    }

    fn stop_all(&mut self) {
        for index in 0..self.rings.len() {
            self.stop(index);
        }
    }

    /// As before the features were negotiated. Memory and events stay: the front end does not send them again.
    fn reset(&mut self) {
        self.stop_all();
        (self.features, self.status, self.log) = (Features::default(), 0, None);
        for (index, setup) in self.rings.iter_mut().enumerate() {
            *setup = RingSetup { error: setup.error.take(), known: true, ..RingSetup::default() };
            self.device.change(index, |queue| queue.enabled = false);
        }
    }

    /// A driver that writes 0 has reset the device (virtio 1.2, 2.1): its rings do not run on.
    fn set_status(&mut self, status: u8) {
        if status == 0 {
            self.stop_all();
        }
        self.status = status;
    }

    fn refresh_all(&mut self) -> Result<(), SessionError> {
        (0..self.rings.len()).try_for_each(|index| self.refresh(index))
    }

    /// Starts the ring where all is there that it needs; one that runs goes on where it stands, with what is now known.
    fn refresh(&mut self, index: usize) -> Result<(), SessionError> {
        let Some(setup) = self.rings.get(index).filter(|setup| setup.kicked && setup.size != 0) else {
            return Ok(());
        };
        let (Some(memory), Some(addresses)) = (self.memory.clone(), setup.addresses) else { return Ok(()) };
        if !setup.running && self.awaits_log() {
            return Ok(());
        }
        let log = self.log.clone().filter(|_| self.features.has(Features::LOG_ALL));
        let ring_log = log.clone().filter(|_| addresses.logged);
        let mut config = RingConfig {
            direction: if index.is_multiple_of(2) { Direction::Writable } else { Direction::Readable },
            size: setup.size,
            descriptors: addresses.descriptor,
            driver: addresses.available,
            device: addresses.used,
            base: self.base(setup.base),
            features: self.features,
            log: ring_log.map(|log| RingLog { log, device: addresses.log }),
            place: self.places.as_ref().and_then(|places| places.ring(index, setup.told as u16)),
            recalls: !setup.known,
        };
        let (features, enabled) = (self.features, self.enabled(setup));
        // What was replaced goes out of the closure, to be let go of without the lock.
        let started = self.device.change(index, |queue| {
            let old = queue.ring.take();
            if let Some(old) = &old {
                config.base = old.base();
            }
            let (ring, error) = match Ring::new(&config, &memory) {
                Ok(ring) => (Some(ring), None),
                Err(error) => (None, Some(error)),
            };
            queue.ring = ring;
            let old_memory = queue.memory.replace(memory);
            let old_log = mem::replace(&mut queue.log, log);
            (queue.features, queue.enabled) = (features, enabled);
            if let (Some(call), None) = (&queue.call, &error) {
                call.signal();
            }
            (error, old, old_memory, old_log)
        });
        let error = started.and_then(|(error, ..)| error);
        let setup = &mut self.rings[index];
        (setup.base, setup.running) = (config.base, error.is_none());
        setup.known |= setup.running;
        error.map_or(Ok(()), |error| Err(SessionError::Ring(index, error)))
    }

    /// True where writes are to be marked in a log that is still to come: QEMU names it last where it connects anew while its
    /// guest migrates.
    const fn awaits_log(&self) -> bool {
        let wanted = self.features.has(Features::LOG_ALL) && self.protocol.has(ProtocolFeatures::LOG_SHMFD);
        wanted && self.log.is_none()
    }

    /// Where a ring starts. A packed one has two positions, the driver's and ours, which are the same where nothing is
    /// taken; DPDK's virtio-user sends only the first.
    const fn base(&self, base: u32) -> u32 {
        let position = base & 0xffff;
        if self.features.has(Features::RING_PACKED) { position | position << 16 } else { position }
    }

    /// Tells the front end's side that a ring is broken (SET_VRING_ERR), where it wants to know.
    pub(in crate::vhost) fn tell_of_fault(&self) {
        self.rings.iter().filter_map(|ring| ring.error.as_ref()).for_each(PeerEvent::signal);
    }
}

impl Drop for Session {
    /// The state changes last: who sees that nobody is connected finds nothing left of the one who was. The worker is told
    /// once: a front end that goes and comes must not have it look at all queues for each of them.
    fn drop(&mut self) {
        self.stop_all();
        for queue in self.device.queues() {
            let _old = mem::take(&mut *queue.lock());
        }
        self.device.tell_worker();
        (self.memory, self.log) = (None, None);
        self.rings.clear();
        self.device.set_connection(State::Waiting);
    }
}
