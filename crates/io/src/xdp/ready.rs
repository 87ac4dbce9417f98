//! What tells a worker that there is something to do at its share of a port.

use super::queue::Queue;
use crate::{Epoll, Waker};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

/// An epoll set: of the sockets while armed, of news and of `unsent` always.
#[derive(Debug)]
pub(super) struct Ready {
    set: Epoll,
    /// A socket that is waited for tells of every frame it receives, at the cost of whoever brings them: 10 %
    /// of a frame from a TAP. So under load none is.
    armed: bool,
    /// Keeps the set readable while frames wait that the kernel did not send at once.
    unsent: Waker,
    /// Whether `unsent` is readable: so it is asked only where it is.
    is_unsent: bool,
}

impl Ready {
    pub(super) fn new() -> io::Result<Self> {
        let ready = Self { set: Epoll::new()?, armed: false, unsent: Waker::new()?, is_unsent: false };
        ready.set.add(ready.unsent.as_fd(), 0)?;
        Ok(ready)
    }

    pub(super) fn tell_of(&self, news: BorrowedFd<'_>) -> io::Result<()> {
        self.set.add(news, 0)
    }

    pub(super) fn arm<'a>(&mut self, queues: impl IntoIterator<Item = &'a Queue>) -> io::Result<()> {
        if !self.armed {
            for queue in queues {
                // One that is there already, as the last attempt failed half-way, is as good.
                match self.set.add(queue.as_fd(), 0) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            self.armed = true;
        }
        Ok(())
    }

    pub(super) const fn is_armed(&self) -> bool {
        self.armed
    }

    pub(super) fn disarm(&mut self, queues: &[Queue]) {
        queues.iter().for_each(|queue| self.forget(queue));
        self.armed = false;
    }

    /// One that stays costs time, nothing else.
    pub(super) fn forget(&self, queue: &Queue) {
        let _ = self.set.remove(queue.as_fd());
    }

    /// There is something to send again.
    pub(super) fn is_unsent(&mut self) {
        self.unsent.wake();
        self.is_unsent = true;
    }

    pub(super) fn take_unsent(&mut self) -> bool {
        let was = std::mem::take(&mut self.is_unsent);
        if was {
            self.unsent.drain();
        }
        was
    }
}

impl AsFd for Ready {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}
