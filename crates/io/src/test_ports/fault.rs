//! Trouble at chosen moments.

use crate::{Batch, Port, PortError, Sent, offload::Taken};
use std::{collections::BTreeMap, os::fd::BorrowedFd};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The port says that it is down.
    Down,
    /// The port says that its peer broke the rules.
    Faulted,
    /// Receiving: the frames are lost and counted as [`Port::kernel_drops`]. Sending: the receiver has no room.
    Loss,
}

impl Fault {
    fn error(self) -> Result<(), PortError> {
        match self {
            Self::Down => Err(PortError::Down("injected".to_owned())),
            Self::Faulted => Err(PortError::Faulted("injected".to_owned())),
            Self::Loss => Ok(()),
        }
    }
}

/// A port that works but at the calls that were chosen; those are counted from 0, receiving and sending apart.
#[derive(Debug)]
pub struct FaultPort<P> {
    inner: P,
    receiving: BTreeMap<u64, Fault>,
    sending: BTreeMap<u64, Fault>,
    received: u64,
    sent: u64,
    lost: u64,
}

impl<P: Port> FaultPort<P> {
    /// A port to which nothing happens yet.
    pub fn new(inner: P) -> Self {
        let (receiving, sending) = Default::default();
        Self { inner, receiving, sending, received: 0, sent: 0, lost: 0 }
    }

    /// Has a call of `receive` go wrong.
    #[must_use]
    pub fn receiving(mut self, call: u64, fault: Fault) -> Self {
        self.receiving.insert(call, fault);
        self
    }

    /// Has a call of `transmit` go wrong.
    #[must_use]
    pub fn sending(mut self, call: u64, fault: Fault) -> Self {
        self.sending.insert(call, fault);
        self
    }
}

impl<P: Port> Port for FaultPort<P> {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortError> {
        let fault = self.receiving.remove(&self.received);
        self.received += 1;
        let Some(fault) = fault else { return self.inner.receive(batch) };
        fault.error()?;
        let before = batch.len();
        self.inner.receive(batch)?;
        self.lost += (batch.len() - before) as u64;
        batch.truncate(before);
        Ok(())
    }

    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> Result<Sent, PortError> {
        let fault = self.sending.remove(&self.sent);
        self.sent += 1;
        let Some(fault) = fault else { return self.inner.transmit(batch, which) };
        fault.error()?;
        let mut sent = Sent::default();
        sent.not_taken(batch, which, Taken::Full);
        Ok(sent)
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.inner.poll_fds()
    }

    fn kernel_drops(&mut self) -> u64 {
        std::mem::take(&mut self.lost) + self.inner.kernel_drops()
    }
}
