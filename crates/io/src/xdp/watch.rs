//! Noticing, now and then, that the interface has changed. One share of a port does it for all.

use super::{hold::Hold, news::News, nic::Facts};
use crate::PortError;
use std::os::fd::BorrowedFd;

/// Looks for frames that find none, after which it is asked whether the interface changed: a system call.
const QUIET_LOOKS: u32 = 16;
/// Looks for frames after which it is asked in any case.
const ALL_LOOKS: u32 = 1024;

/// What is told of the interface, and what it was when that was read last.
#[derive(Debug)]
pub(super) struct Watch {
    news: News,
    facts: Facts,
    /// Looks for frames since the interface was last asked about, and those of them that found none.
    looks: u32,
    quiet: u32,
}

impl Watch {
    /// What we did to the interface ourselves is no news; if something else happened meanwhile, the first look will tell.
    pub(super) fn new(news: News, facts: Facts, hold: &Hold) -> Self {
        let mut watch = Self { news, facts, looks: 0, quiet: 0 };
        let _ = watch.ask(hold);
        watch
    }

    /// Counts a look for frames.
    pub(super) fn looked(&mut self, found_frames: bool, hold: &Hold) -> Result<(), PortError> {
        self.looks += 1;
        self.quiet += u32::from(!found_frames);
        if self.looks < ALL_LOOKS && self.quiet < QUIET_LOOKS {
            return Ok(());
        }
        (self.looks, self.quiet) = (0, 0);
        self.ask(hold)
    }

    fn ask(&mut self, hold: &Hold) -> Result<(), PortError> {
        if self.news.any() { hold.look(&mut self.facts) } else { Ok(()) }
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.news.fds()
    }
}
