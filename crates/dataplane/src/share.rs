//! A port, dealt to workers: each gets a share of its own.
//!
//! A port with several queues is dealt by itself ([`Port::deal`]): each share receives from some of the queues and sends on any.
//! Of the others one share receives, all send, and each call is behind a lock. No share holds that lock beyond the call,
//! so workers that send to each other's ports do not wait for each other in a circle.
//!
//! A flow comes in on one queue, so one worker has all of it, and sends it on in order.

use crate::sync::Mutex;
use io::{Batch, Link, Port, PortError, Sent};
use std::{
    io::Result,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, atomic::AtomicBool},
};

/// What one worker has of an open port.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) io: Box<dyn Port>,
    /// Whether this is the one that tells of the link.
    pub(crate) tells_link: bool,
    /// Set by the first share of the port that stops: the others need not tell, too.
    pub(crate) stopped: Arc<AtomicBool>,
}

/// Deals `io` to `workers` workers; the first share receives in any case.
///
/// # Errors
/// No descriptor is left.
pub(crate) fn deal(mut io: Box<dyn Port>, workers: usize) -> Result<Vec<Share>> {
    let shares = match workers {
        0 | 1 => vec![io],
        _ => match io.deal(workers - 1) {
            Some(others) => std::iter::once(io).chain(others).collect(),
            None => locked(io, workers)?,
        },
    };
    let stopped = Arc::new(AtomicBool::new(false));
    let share = |(number, io)| Share { io, tells_link: number == 0, stopped: Arc::clone(&stopped) };
    Ok(shares.into_iter().enumerate().map(share).collect())
}

fn locked(io: Box<dyn Port>, workers: usize) -> Result<Vec<Box<dyn Port>>> {
    let fds = io.poll_fds().into_iter().map(|fd| fd.try_clone_to_owned()).collect::<Result<Vec<_>>>()?;
    let is_polled = io.is_polled();
    let port = Arc::new(Mutex::new(io));
    let sender = || Locked { port: Arc::clone(&port), receiver: None };
    let receiver = Locked { receiver: Some(Receiver { fds, is_polled }), ..sender() };
    let others = (1..workers).map(|_| sender());
    Ok(std::iter::once(receiver).chain(others).map(|share| Box::new(share) as Box<dyn Port>).collect())
}

/// A share of a port that cannot be dealt.
#[derive(Debug)]
struct Locked {
    port: Arc<Mutex<Box<dyn Port>>>,
    /// Of the one that receives.
    receiver: Option<Receiver>,
}

#[derive(Debug)]
struct Receiver {
    /// The port's own cannot be lent out from behind the lock.
    fds: Vec<OwnedFd>,
    is_polled: bool,
}

impl Port for Locked {
    fn receive(&mut self, batch: &mut Batch) -> std::result::Result<(), PortError> {
        match self.receiver {
            Some(_) => self.port.lock().receive(batch),
            None => Ok(()),
        }
    }

    fn complete(&mut self) {
        self.port.lock().complete();
    }

    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> std::result::Result<Sent, PortError> {
        self.port.lock().transmit(batch, which)
    }

    fn link(&self) -> Link {
        self.port.lock().link()
    }

    fn is_polled(&self) -> bool {
        self.receiver.as_ref().is_some_and(|receiver| receiver.is_polled)
    }

    fn arm(&mut self) -> bool {
        self.receiver.is_none() || self.port.lock().arm()
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.receiver.iter().flat_map(|receiver| receiver.fds.iter().map(AsFd::as_fd)).collect()
    }

    fn kernel_drops(&mut self) -> u64 {
        self.port.lock().kernel_drops()
    }
}
