//! The control thread of a port: gets a connection, serves it, gets the next one.
//!
//! As *server* it listens, and the VMM connects: one at a time, the next one waits in the backlog until the first has
//! gone. A VMM that was killed has gone, as the kernel closed its end; so a VMM that is started again always gets in. As
//! *client* it tries to connect until the VMM's socket is there, and again when the connection is lost.
//!
//! A fault (of the guest's rings, reported by the worker, or of the protocol) stops the rings and closes the connection.
//! What a front end costs is bounded by [`Allowance`].

#[cfg(test)]
mod tests;

use super::{
    allowance::Allowance,
    device::{Device, Outcome, Reply, Session},
    message::{Answer, Request},
    places::Places,
    socket::{Channel, Message, SocketError},
};
use crate::unix_path::{BoundSocket, UnixPathError};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, connect, listen, socket_with,
    },
};
use std::{
    io, mem,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// One that waits while another is connected, one that gave up waiting.
const BACKLOG: i32 = 2;
/// Between two attempts to connect: at first, and at last. A VMM that is started again listens within a few milliseconds of
/// its start, and one that is not there costs five system calls a second.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// After a fault, before we connect again: what is broken is likely to be broken still. A VMM that connects decides for
/// itself when that is.
const AFTER_FAULT: Duration = Duration::from_secs(1);

/// What a change costs the worker, which looks at all queues then. With 20 µs, neighbours of a front end that moved its rings
/// without end kept 94.3 % of their throughput (`cargo xtask bench hostile`).
const TOLL_OF_CHANGE: Duration = Duration::from_micros(30);
/// And a region that is mapped or taken away: the worker's CPU is interrupted, and finds pages anew.
const TOLL_OF_MAPPING: Duration = Duration::from_micros(40);

/// Which side opens the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VhostRole {
    /// We listen.
    Server,
    /// The VMM listens.
    Client,
}

/// What a port is to be.
#[derive(Clone, Debug)]
pub struct VhostConfig {
    /// The port's name, for the thread's.
    pub name: String,
    /// The socket.
    pub path: PathBuf,
    /// Which side opens it.
    pub role: VhostRole,
    /// The largest MTU that the guest may be told of.
    pub mtu: u16,
    /// Most queue pairs, up to 16. Cloud Hypervisor compares the number
    /// with its queues, two for each pair.
    pub queue_pairs_max: u16,
    /// How many workers the port is to be dealt to.
    pub workers: usize,
    /// The file in which is noted how far its rings are. With it, a guest that has rings already goes on with the process that
    /// opens the port after a crash; for nobody else to write to.
    pub places: Option<PathBuf>,
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum VhostError {
    /// The socket.
    #[error(transparent)]
    Socket(#[from] UnixPathError),
    /// The file that outlives us.
    #[error("{} cannot be opened, in which the port is to note how far its rings are: may vmswitchd write there?", .0.display())]
    Places(PathBuf, #[source] io::Error),
    /// No descriptor or no thread is left.
    #[error("the port's control thread cannot be started")]
    Start(#[from] io::Error),
}

/// A running control thread. Dropping it stops the rings, closes the connection and ends the thread.
///
/// To stop a ring takes its queue's lock: let go of all guards before.
#[derive(Debug)]
pub(super) struct ControlThread {
    device: Arc<Device>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ControlThread {
    /// Listens, or begins to connect.
    ///
    /// # Errors
    /// See [`VhostError`].
    pub(super) fn open(config: &VhostConfig) -> Result<Self, VhostError> {
        let path = &config.path;
        let end = match config.role {
            VhostRole::Server => {
                let listener = BoundSocket::new(path, SocketType::STREAM)?;
                listen(&listener, BACKLOG)
                    .map_err(|error| UnixPathError::Open(path.clone(), error.into()))?;
                End::Listens(listener)
            }
            VhostRole::Client => {
                let address = SocketAddrUnix::new(path).map_err(|_| UnixPathError::TooLong(path.clone()))?;
                End::Connects(address, RETRY.0)
            }
        };
        let device = Arc::new(Device::new(config.queue_pairs_max, config.mtu, config.workers)?);
        let stop = Arc::new(AtomicBool::new(false));
        let rings = device.queues().len();
        let open = |path: &PathBuf| {
            Places::open(path, rings).map_err(|error| VhostError::Places(path.clone(), error))
        };
        let places = config.places.as_ref().map(open).transpose()?;
        let control = Control {
            device: Arc::clone(&device),
            stop: Arc::clone(&stop),
            end,
            places,
            allowance: Allowance::new(Instant::now()),
            charged: (Duration::ZERO, 0),
        };
        let thread = thread::Builder::new().name(format!("vhost-{}", config.name));
        let thread = Some(thread.spawn(move || control.run())?);
        Ok(Self { device, stop, thread })
    }

    /// Of which the caller does what the thread would.
    pub(super) fn without_thread(device: Arc<Device>) -> Self {
        Self { device, stop: Arc::default(), thread: None }
    }

    /// What the worker works with.
    pub(super) const fn device(&self) -> &Arc<Device> {
        &self.device
    }
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.device.wake_control();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Our end of the socket.
#[derive(Debug)]
enum End {
    Listens(BoundSocket),
    /// And how long to wait after the next attempt that fails.
    Connects(SocketAddrUnix, Duration),
}

/// How a connection ended.
enum Over {
    Gone,
    Faulted,
    Stopped,
}

#[derive(Debug)]
struct Control {
    device: Arc<Device>,
    stop: Arc<AtomicBool>,
    end: End,
    places: Option<Arc<Places>>,
    allowance: Allowance,
    /// What was taken from the allowance so far: of the thread's CPU time, and of the worker's, by the device's generation.
    charged: (Duration, u64),
}

impl Control {
    fn run(mut self) {
        while !self.stopped() {
            let Some(socket) = self.connection() else { continue };
            let pause = match self.serve(socket) {
                Over::Stopped => return,
                Over::Faulted if matches!(self.end, End::Connects(..)) => AFTER_FAULT,
                Over::Gone | Over::Faulted => RETRY.0,
            };
            // With what letting go of the guest's memory took.
            let rest = self.charge(0);
            self.rest(rest.max(pause));
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Waits for a connection; `None` is no reason to give up.
    fn connection(&mut self) -> Option<OwnedFd> {
        match &mut self.end {
            End::Listens(listener) => {
                wait(&self.device, Some(listener.as_fd()), None);
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let accepted = accept_with(&*listener, flags).ok();
                // An error that lasts, as having no descriptor left, must not keep a CPU busy.
                if accepted.is_none() && !self.stopped() {
                    self.rest(RETRY.0);
                }
                accepted
            }
            End::Connects(address, pause) => {
                let connected = connect_to(address);
                let rest = if connected.is_some() { Duration::ZERO } else { *pause };
                *pause = if connected.is_some() { RETRY.0 } else { (*pause * 2).min(RETRY.1) };
                self.rest(rest);
                connected
            }
        }
    }

    /// Sleeps, unless the port is to be closed.
    fn rest(&self, rest: Duration) {
        let until = Instant::now() + rest;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            wait(&self.device, None, Some(left));
            if self.stopped() {
                return;
            }
        }
    }

    /// Takes the CPU time since the last call, and what the changes and so many mappings since then cost the worker; says
    /// how long to rest for it.
    fn charge(&mut self, mappings: u32) -> Duration {
        let (now, generation) = (cpu_time(), self.device.generation());
        let (before, changes) = mem::replace(&mut self.charged, (now, generation));
        let changes = u32::try_from(generation.wrapping_sub(changes)).unwrap_or(u32::MAX);
        let tolls = TOLL_OF_CHANGE.saturating_mul(changes) + TOLL_OF_MAPPING.saturating_mul(mappings);
        self.allowance.take(now.saturating_sub(before) + tolls, Instant::now())
    }

    /// The session is dropped, and with that the rings are stopped, before the connection is closed.
    fn serve(&mut self, socket: OwnedFd) -> Over {
        let mut channel = Channel::new(socket);
        let mut session = Session::new(Arc::clone(&self.device), self.places.clone());
        // The worker may have found a ring of the connection before broken once more before it was stopped.
        self.device.take_fault();
        loop {
            if self.stopped() {
                return Over::Stopped;
            }
            if self.device.take_fault() {
                session.tell_of_fault();
                return Over::Faulted;
            }
            match serve_one(&self.device, &mut session, &mut channel) {
                Ok(true) => {}
                Ok(false) => wait(&self.device, Some(channel.as_fd()), None),
                Err(SocketError::Closed) => return Over::Gone,
                Err(error) => self.device.fault(&error),
            }
            let rest = self.charge(session.take_mappings());
            if !rest.is_zero() {
                wait(&self.device, None, Some(rest));
            }
        }
    }
}

/// Serves a message, if one is there.
pub(super) fn serve_one(
    device: &Device,
    session: &mut Session,
    channel: &mut Channel,
) -> Result<bool, SocketError> {
    let Some(Message { header, payload, fds }) = channel.receive()? else { return Ok(false) };
    let parsed = Request::parse(&header, &payload, fds.len()).map_err(|error| error.to_string());
    let done = parsed.and_then(|request| session.handle(request, fds).map_err(|error| error.to_string()));
    let asked = header.need_reply && session.acknowledges();
    let reply = match done {
        Ok(Outcome::Reply(reply)) => Some(reply),
        Ok(Outcome::Done) => asked.then(|| Reply::from(Answer::done(true))),
        Ok(Outcome::Declined) => asked.then(|| Reply::from(Answer::done(false))),
        Err(reason) if asked => {
            device.refused(&reason);
            Some(Reply::from(Answer::done(false)))
        }
        // Nobody would learn of it, and the ring would not be what the front end takes it for.
        Err(reason) => {
            device.fault(&reason);
            None
        }
    };
    reply.map_or(Ok(()), |reply| channel.send(header.request, &reply))?;
    Ok(true)
}

/// Waits for a descriptor, or for being woken.
fn wait(device: &Device, fd: Option<BorrowedFd<'_>>, timeout: Option<Duration>) {
    let control = PollFd::from_borrowed_fd(device.control_fd(), PollFlags::IN);
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let _ = match fd {
        Some(fd) => poll(&mut [control, PollFd::from_borrowed_fd(fd, PollFlags::IN)], timeout.as_ref()),
        None => poll(&mut [control], timeout.as_ref()),
    };
    device.drain_control();
}

fn connect_to(address: &SocketAddrUnix) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    connect(&socket, address).ok().map(|()| socket)
}

/// CPU time that this thread has taken. By libc's call: rustix looks for the kernel's own code of it in a way that ends a
/// program under valgrind, where instructions are counted.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for the call, which writes the structure or nothing.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
