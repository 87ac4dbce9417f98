//! Waiting for descriptors: a small level-triggered epoll(7).

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
};
use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

/// Descriptors reported by one wait; what is left over is reported by the next.
const EVENTS: usize = 64;
/// Longest wait: the kernel takes no more than 2^31 ms.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A set of descriptors, each with a token of the caller's.
#[derive(Debug)]
pub struct Epoll {
    epoll: OwnedFd,
}

impl Epoll {
    /// An empty set.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Adds a descriptor: `token` is reported while it is readable, closed or broken. Closing it takes it out.
    ///
    /// # Errors
    /// The descriptor is in the set already, or cannot be waited for.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// Changes whether `token` is reported also while there is room to write.
    pub(crate) fn set_writable(&self, fd: BorrowedFd<'_>, token: u64, wanted: bool) -> io::Result<()> {
        let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    /// The descriptor is not in the set.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Waits until a descriptor is ready or `timeout` has passed (`None`: forever), and puts the tokens of those that
    /// are into `ready`, which is emptied first. A signal ends the wait early, and a day is the longest wait.
    ///
    /// # Errors
    /// The kernel refused, which it does not as long as this is used as it is meant.
    pub fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<u64>) -> io::Result<()> {
        ready.clear();
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout.min(LONGEST)).ok());
        match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((events, _)) => ready.extend(events.iter().map(|event| event.data.u64())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Waker;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    #[test]
    fn a_descriptor_is_reported_while_it_is_readable() {
        let (epoll, mut ready) = (Epoll::new().unwrap(), vec![99]);
        let (one, two) = (Waker::new().unwrap(), Waker::new().unwrap());
        epoll.add(one.as_fd(), 1).unwrap();
        epoll.add(two.as_fd(), 2).unwrap();
        epoll.wait(NOW, &mut ready).unwrap();
        assert!(ready.is_empty(), "{ready:?}");
        two.wake();
        for _ in 0..2 {
            epoll.wait(None, &mut ready).unwrap();
            assert_eq!(ready, [2]);
        }
        epoll.remove(two.as_fd()).unwrap();
        one.wake();
        epoll.wait(None, &mut ready).unwrap();
        assert_eq!(ready, [1]);
        drop(one);
        epoll.wait(NOW, &mut ready).unwrap();
        assert!(ready.is_empty(), "{ready:?}");
    }

    #[test]
    fn a_wait_ends_with_its_timeout() {
        let (epoll, started) = (Epoll::new().unwrap(), std::time::Instant::now());
        epoll.wait(Some(Duration::from_millis(20)), &mut Vec::new()).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(20));
    }
}
