//! QEMU's `-netdev stream` over a unix socket: each frame behind its length, 32 bits, big-endian.
//!
//! We listen and the VMM connects, one at a time; the next one waits until the first has gone. The stream has no frame
//! boundaries but those lengths, so a frame that was written in part is finished before anything else is written. The
//! peer takes no offloads.

mod peer;

use crate::{
    Batch, Epoll, Link, Port, PortError, Sent, Waker,
    offload::{self, Taken},
    unix_path::{BoundSocket, UnixPathError},
};
use peer::Peer;
use rustix::{
    io::Errno,
    net::{SocketFlags, SocketType, accept_with, listen},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

/// One that waits while another is connected, one that gave up waiting.
const BACKLOG: i32 = 2;

/// A listening stream socket and the VMM that is connected to it.
#[derive(Debug)]
pub struct UnixStreamPort {
    listener: BoundSocket,
    peer: Option<Peer>,
    gone_because: Option<String>,
    /// Holds the listener while nobody is connected, the connection while somebody is, and `leftover`.
    ready: Epoll,
    /// Keeps `ready` readable while frames were read from the socket that no batch had room for.
    leftover: Waker,
    /// Where a frame in pieces is put together that has to be finished.
    gathered: Vec<u8>,
}

impl UnixStreamPort {
    /// Listens at `path`; a socket that nobody listens at any more is replaced.
    ///
    /// # Errors
    /// See [`UnixPathError`].
    pub fn listen(path: &Path) -> Result<Self, UnixPathError> {
        let listener = BoundSocket::new(path, SocketType::STREAM)?;
        let fail = |error: io::Error| UnixPathError::Open(path.to_owned(), error);
        listen(&listener, BACKLOG).map_err(|error| fail(error.into()))?;
        let (ready, leftover) = (Epoll::new().map_err(fail)?, Waker::new().map_err(fail)?);
        ready.add(listener.as_fd(), 0).map_err(fail)?;
        ready.add(leftover.as_fd(), 0).map_err(fail)?;
        Ok(Self { listener, peer: None, gone_because: None, ready, leftover, gathered: Vec::new() })
    }

    /// True while a VMM is connected.
    #[must_use]
    pub const fn connected(&self) -> bool {
        self.peer.is_some()
    }

    /// Why the last VMM is not connected any more.
    #[must_use]
    pub fn gone_because(&self) -> Option<&str> {
        self.gone_because.as_deref()
    }

    /// The listener leaves the set, else one that waits would keep the worker awake.
    fn accept(&mut self) -> io::Result<()> {
        match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => {
                self.ready.add(socket.as_fd(), 0)?;
                self.ready.remove(self.listener.as_fd())?;
                self.peer = Some(Peer::new(socket));
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn disconnect(&mut self, why: String) -> Result<(), PortError> {
        self.gone_because = Some(why);
        self.leftover.drain();
        if self.peer.take().is_some() {
            self.ready.add(self.listener.as_fd(), 0).map_err(broken)?;
        }
        Ok(())
    }

    /// Has the worker called again when there is room for what was written in part, or for what was read too much.
    fn rearm(&self, before: bool) -> Result<(), PortError> {
        let Some(peer) = &self.peer else { return Ok(()) };
        if peer.is_writing() != before {
            self.ready.set_writable(peer.as_fd(), 0, peer.is_writing()).map_err(broken)?;
        }
        Ok(())
    }
}

impl Port for UnixStreamPort {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortError> {
        if self.peer.is_none() {
            self.accept().map_err(broken)?;
        }
        let Some(peer) = &mut self.peer else { return Ok(()) };
        let was_writing = peer.is_writing();
        let done = peer.flush().and_then(|()| peer.receive(batch));
        match done {
            Ok(true) => self.leftover.wake(),
            Ok(false) => drop(self.leftover.drain()),
            Err(why) => self.disconnect(why)?,
        }
        self.rearm(was_writing)
    }

    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> Result<Sent, PortError> {
        let mut sent = Sent::default();
        let was_writing = self.peer.as_ref().is_some_and(Peer::is_writing);
        for &index in which {
            let mut gone = None;
            offload::finish_of(batch, index, &mut self.gathered, &mut sent, |frame| {
                match (&gone, &mut self.peer) {
                    (None, Some(peer)) => peer.send(frame).unwrap_or_else(|why| {
                        gone = Some(why);
                        Taken::Down
                    }),
                    _ => Taken::Down,
                }
            });
            if let Some(why) = gone {
                self.disconnect(why)?;
            }
        }
        self.rearm(was_writing)?;
        Ok(sent)
    }

    fn link(&self) -> Link {
        if self.peer.is_some() { Link::Up } else { Link::Waits("no VMM is connected to its socket") }
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.ready.as_fd()]
    }
}

fn broken(error: io::Error) -> PortError {
    PortError::Down(format!("socket cannot be listened at any more: {error}"))
}
