//! One connected VMM: its bytes in and out, cut into frames.

use crate::{
    Batch, MAX_FRAME,
    offload::Taken,
    parts::{self, Parts},
};
use rustix::io::{Errno, read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use wire::VNET_HDR_LEN;

const LENGTH: usize = 4;
/// Two of the longest frames: one may always be completed behind the rest of another.
const INBOX: usize = 2 * (MAX_FRAME + LENGTH);

#[derive(Debug)]
pub(super) struct Peer {
    socket: OwnedFd,
    inbox: Box<[u8]>,
    /// What of the inbox is filled and was not handed on.
    from: usize,
    to: usize,
    /// The rest of a frame of which the socket took only a part.
    unsent: Vec<u8>,
    /// Where a frame is put together that cannot be sent in pieces.
    gathered: Vec<u8>,
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Peer {
    pub(super) fn new(socket: OwnedFd) -> Self {
        let inbox = vec![0; INBOX].into_boxed_slice();
        Self { socket, inbox, from: 0, to: 0, unsent: Vec::new(), gathered: Vec::new() }
    }

    pub(super) fn is_writing(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Writes what is left of a frame, as far as it goes. An error is why the connection is over.
    pub(super) fn flush(&mut self) -> Result<(), String> {
        if self.is_writing() {
            let written = write(&self.socket, Parts::own(&self.unsent, &[]), &mut self.gathered)?;
            self.unsent.drain(..written);
        }
        Ok(())
    }

    /// Sends a frame behind its length. One that was written in part counts as delivered: it will be.
    pub(super) fn send(&mut self, frame: Parts<'_>) -> Result<Taken, String> {
        self.flush()?;
        if self.is_writing() {
            return Ok(Taken::Full);
        }
        let length = (frame.len() as u32).to_be_bytes();
        let frame = frame.behind(&length);
        let written = write(&self.socket, frame, &mut self.gathered)?;
        if written == 0 {
            return Ok(Taken::Full);
        }
        frame.append_to(&mut self.unsent, written);
        Ok(Taken::Delivered)
    }

    /// Hands frames to the batch. True where it is full and there are more; an error is why the connection is over.
    pub(super) fn receive(&mut self, batch: &mut Batch) -> Result<bool, String> {
        let mut drained = false;
        loop {
            while let Some(len) = self.next_len()? {
                if batch.is_full() {
                    return Ok(true);
                }
                self.hand_on(len, batch);
            }
            if drained {
                return Ok(false);
            }
            drained = self.fill()?;
        }
    }

    /// Length of the next frame, where all of it is there.
    fn next_len(&self) -> Result<Option<usize>, String> {
        let filled = &self.inbox[self.from..self.to];
        let Some(length) = filled.first_chunk::<LENGTH>() else { return Ok(None) };
        match u32::from_be_bytes(*length) as usize {
            len @ 1..=MAX_FRAME => Ok((filled.len() >= LENGTH + len).then_some(len)),
            len => Err(format!("the peer sent a frame of {len} bytes; 1 to {MAX_FRAME} are allowed")),
        }
    }

    fn hand_on(&mut self, len: usize, batch: &mut Batch) {
        if let Some(slot) = batch.vacant().next() {
            let frame = &self.inbox[self.from + LENGTH..][..len];
            slot[..VNET_HDR_LEN].fill(0);
            slot[VNET_HDR_LEN..][..len].copy_from_slice(frame);
        }
        batch.push(VNET_HDR_LEN + len);
        self.from += LENGTH + len;
    }

    /// Reads more behind an incomplete frame, which moves to the front first. True where that was all for now.
    fn fill(&mut self) -> Result<bool, String> {
        self.inbox.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        match read(&self.socket, &mut self.inbox[self.to..]) {
            Ok(0) => Err("the peer closed the connection".to_owned()),
            Ok(count) => {
                self.to += count;
                Ok(self.to < INBOX)
            }
            Err(Errno::INTR) => Ok(false),
            Err(Errno::AGAIN) => Ok(true),
            Err(error) => Err(format!("the peer went away: {error}")),
        }
    }
}

/// How much the socket took.
fn write(socket: &OwnedFd, parts: Parts<'_>, gathered: &mut Vec<u8>) -> Result<usize, String> {
    match parts::send(socket.as_fd(), parts, gathered) {
        Ok(written) => Ok(written),
        Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(0),
        Err(error) => Err(format!("the peer went away: {error}")),
    }
}
