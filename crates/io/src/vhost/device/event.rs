//! The eventfds that a front end hands over for kicks, calls and errors.
//!
//! Whoever hands a descriptor over chooses what its `poll` and `write` do. Only an eventfd is taken: a pipe could be full,
//! a file could be served by the guest's own file system, and then a worker would wait in the kernel for the guest. The
//! specification also knows pipes, for systems without eventfd.

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl, readlink},
    io::write,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Not an eventfd.
#[derive(Debug, thiserror::Error)]
#[error("the front end gave a descriptor that is no eventfd for a kick, call or error event")]
pub(in crate::vhost) struct NotAnEvent;

/// An eventfd shared with the front end.
#[derive(Debug)]
pub(in crate::vhost) struct PeerEvent(OwnedFd);

impl PeerEvent {
    /// Takes an eventfd and makes it non-blocking, since the front end can fill its counter.
    pub(in crate::vhost) fn new(fd: OwnedFd) -> Result<Self, NotAnEvent> {
        let link =
            readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new()).map_err(|_| NotAnEvent)?;
        if link.as_bytes() != b"anon_inode:[eventfd]" {
            return Err(NotAnEvent);
        }
        let flags = fcntl_getfl(&fd).map_err(|_| NotAnEvent)?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map_err(|_| NotAnEvent)?;
        Ok(Self(fd))
    }

    /// Adds one to the counter. Where it is full the reader has been told long ago.
    pub(in crate::vhost) fn signal(&self) {
        let _ = write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl AsFd for PeerEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::{
        event::{EventfdFlags, eventfd},
        pipe::pipe,
    };

    #[test]
    fn only_an_eventfd_is_taken() {
        let (reader, _writer) = pipe().unwrap();
        assert!(PeerEvent::new(reader).is_err());
        assert!(PeerEvent::new(std::fs::File::open("/dev/zero").unwrap().into()).is_err());
        assert!(PeerEvent::new(eventfd(0, EventfdFlags::empty()).unwrap()).is_ok());
    }

    #[test]
    fn a_full_counter_does_not_block() {
        let fd = eventfd(0, EventfdFlags::empty()).unwrap();
        let event = PeerEvent::new(fd.try_clone().unwrap()).unwrap();
        write(&fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        event.signal();
    }
}
