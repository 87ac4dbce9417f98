//! Two ports, each of which receives what the other is given.

use crate::{Batch, Port, PortError, Sent, Waker, offload::Taken};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Frames that wait for a port to receive them.
const CAPACITY: usize = 1024;

#[derive(Debug)]
struct Queue {
    frames: Mutex<VecDeque<Vec<u8>>>,
    waker: Waker,
}

impl Queue {
    fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { frames: Mutex::default(), waker: Waker::new()? }))
    }

    fn frames(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One end of a pair. Frames pass with their vnet header, unfinished as they are.
#[derive(Debug)]
pub struct LoopPort {
    inbound: Arc<Queue>,
    outbound: Arc<Queue>,
}

impl LoopPort {
    /// Both ends.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = (Queue::new()?, Queue::new()?);
        let near = Self { inbound: a.clone(), outbound: b.clone() };
        Ok((near, Self { inbound: b, outbound: a }))
    }
}

impl Port for LoopPort {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortError> {
        let mut frames = self.inbound.frames();
        while !batch.is_full() {
            let Some(frame) = frames.pop_front() else { break };
            batch.push_copy(&frame);
        }
        if frames.is_empty() {
            self.inbound.waker.drain();
        }
        Ok(())
    }

    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> Result<Sent, PortError> {
        let (mut sent, mut frames) = (Sent::default(), self.outbound.frames());
        for &index in which {
            if frames.len() == CAPACITY {
                sent.not_taken(batch, &[index], Taken::Full);
                continue;
            }
            let mut frame = Vec::new();
            batch.parts_with_vnet(index).append_to(&mut frame, 0);
            frames.push_back(frame);
            sent.delivered(batch.frame_len(index));
        }
        if sent.frames != 0 {
            self.outbound.waker.wake();
        }
        Ok(sent)
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.inbound.waker.as_fd()]
    }
}
