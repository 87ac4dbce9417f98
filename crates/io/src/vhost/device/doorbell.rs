//! What a worker sleeps on: one descriptor for all queues of a port, which stays the same while rings come and go.
//!
//! An epoll set of the kick eventfds, edge-triggered: a kick makes it readable until the worker has made it quiet with
//! one system call, and no eventfd has to be read. An eventfd reports each write to edge-triggered sets, also where the
//! counter was not zero.

use super::PeerEvent;
use crate::Waker;
use rustix::event::{
    Timespec,
    epoll::{self, CreateFlags, Event, EventData, EventFlags},
};
use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// More than a port has queues, so that one wait takes all.
const EVENTS: usize = 2 * super::QUEUE_PAIRS_MAX as usize + 1;

/// Readable while something may have happened in a queue.
#[derive(Debug)]
pub(in crate::vhost) struct Doorbell {
    kicks: OwnedFd,
    /// For what is no kick: a change of the queues.
    bell: Waker,
}

impl Doorbell {
    pub(super) fn new() -> io::Result<Self> {
        let (kicks, bell) = (epoll::create(CreateFlags::CLOEXEC)?, Waker::new()?);
        epoll::add(&kicks, bell.as_fd(), EventData::new_u64(0), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { kicks, bell })
    }

    /// Makes it quiet until the next kick or change. Look at the rings afterwards, not before.
    pub(in crate::vhost) fn quiet(&self) {
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
        let _ = epoll::wait(&self.kicks, &mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    }

    pub(super) fn ring(&self) {
        self.bell.wake();
    }

    /// # Errors
    /// The kernel is short of memory, or the user has too many descriptors in such sets.
    pub(super) fn add(&self, kick: &PeerEvent) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::ET;
        Ok(epoll::add(&self.kicks, kick.as_fd(), EventData::new_u64(0), flags)?)
    }

    /// To be done before `kick` is closed: the front end holds it open too, so closing does not take it out.
    pub(super) fn remove(&self, kick: &PeerEvent) {
        let _ = epoll::delete(&self.kicks, kick.as_fd());
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kicks.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Epoll;
    use rustix::event::{EventfdFlags, eventfd};
    use std::time::Duration;

    fn readable(doorbell: &Doorbell) -> bool {
        let (outer, mut ready) = (Epoll::new().unwrap(), Vec::new());
        outer.add(doorbell.as_fd(), 1).unwrap();
        outer.wait(Some(Duration::ZERO), &mut ready).unwrap();
        !ready.is_empty()
    }

    #[test]
    fn every_kick_rings_though_no_eventfd_is_read() {
        let (doorbell, guests) = (Doorbell::new().unwrap(), eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let kick = PeerEvent::new(guests.try_clone().unwrap()).unwrap();
        doorbell.add(&kick).unwrap();
        for _ in 0..3 {
            assert!(!readable(&doorbell));
            rustix::io::write(&guests, &1_u64.to_ne_bytes()).unwrap();
            assert!(readable(&doorbell));
            doorbell.quiet();
        }
        doorbell.remove(&kick);
        drop(kick);
        rustix::io::write(&guests, &1_u64.to_ne_bytes()).unwrap();
        assert!(!readable(&doorbell));
        doorbell.ring();
        assert!(readable(&doorbell));
    }
}
