//! What all shares of a port have in common: that the interface is taken, and what it was found to be.

use super::{
    ladder,
    nic::{Facts, Nic},
};
use crate::PortError;
use std::{
    os::fd::OwnedFd,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// An interface that is ours until the last share of its port is gone.
#[derive(Debug)]
pub(super) struct Hold {
    /// Keeps the program attached. A queue whose socket was closed before has its frames dropped by it.
    _link: OwnedFd,
    nic: Nic,
    mtu: AtomicU32,
    /// Why nothing passes any more.
    stopped: OnceLock<String>,
    _promiscuous: OwnedFd,
}

impl Hold {
    pub(super) fn new(link: OwnedFd, nic: Nic, mtu: u32, promiscuous: OwnedFd) -> Self {
        let (mtu, stopped) = (AtomicU32::new(mtu), OnceLock::new());
        Self { _link: link, nic, mtu, stopped, _promiscuous: promiscuous }
    }

    pub(super) fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed) as usize
    }

    /// Stops all shares; the first to say why is believed.
    pub(super) fn stop(&self, why: String) -> PortError {
        PortError::Down(self.stopped.get_or_init(|| why).clone())
    }

    pub(super) fn passes(&self) -> Result<(), PortError> {
        self.stopped.get().map_or(Ok(()), |why| Err(PortError::Down(why.clone())))
    }

    /// Looks at the interface again, which was as in `was`.
    pub(super) fn look(&self, was: &mut Facts) -> Result<(), PortError> {
        let Ok(now) = self.nic.facts() else { return Err(self.stop("interface removed".to_owned())) };
        if let Some(why) = reason_to_stop(was, &now) {
            return Err(self.stop(why));
        }
        self.mtu.store(now.mtu, Ordering::Relaxed);
        *was = now;
        Ok(())
    }
}

/// Why sockets that were bound to the interface as it was are of no use for what it has become.
fn reason_to_stop(was: &Facts, now: &Facts) -> Option<String> {
    if now.index != was.index {
        return Some("interface removed".to_owned());
    }
    if !now.up {
        return Some("interface is down".to_owned());
    }
    if now.rx_queues != was.rx_queues {
        let queues = |facts: &Facts| facts.rx_queues.map_or("?".to_owned(), |queues| queues.to_string());
        return Some(format!(
            "it has {} receive queues now, and had {}; each needs its socket",
            queues(now),
            queues(was)
        ));
    }
    if ladder::takes_several_chunks(now.mtu) && !ladder::takes_several_chunks(was.mtu) {
        return Some(format!("its MTU is {} now; its frames take larger buffers", now.mtu));
    }
    None
}
