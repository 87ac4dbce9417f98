//! Waking a worker that sleeps in a wait: an eventfd(2).

use rustix::{
    event::{EventfdFlags, eventfd},
    io::{read, write},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Wakes whoever waits for its descriptor, until that drains it. Shared by reference or in an `Arc`.
#[derive(Debug)]
pub struct Waker {
    eventfd: OwnedFd,
}

impl Waker {
    /// A waker that nobody has used yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Makes the descriptor readable. Never blocks: it fails only where 2^64 - 2 wakes wait, and then it is readable.
    pub fn wake(&self) {
        let _ = write(&self.eventfd, &1_u64.to_ne_bytes());
    }

    /// Makes the descriptor quiet again; true where somebody had woken.
    pub fn drain(&self) -> bool {
        read(&self.eventfd, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wakes_are_drained_at_once() {
        let waker = Waker::new().unwrap();
        assert!(!waker.drain());
        (0..3).for_each(|_| waker.wake());
        assert!(waker.drain() && !waker.drain());
    }
}
