//! QEMU's `-netdev dgram` over unix sockets: each datagram is a frame.
//!
//! The peer is whoever sent the last datagram, so a VMM that was started anew is found again. It takes no offloads.

use crate::{
    BATCH_BYTES, Batch, Link, Port, PortError, Sent,
    mmsg::{self, Outbox, Received, UnixAddress},
    offload::{self, Taken},
    parts::Parts,
    unix_path::{BoundSocket, UnixPathError},
};
use rustix::net::{SocketType, sockopt};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};
use wire::VNET_HDR_LEN;

/// A bound datagram socket.
#[derive(Debug)]
pub struct UnixDgram {
    socket: BoundSocket,
    peer: Option<UnixAddress>,
    outbox: Outbox,
    /// Where a frame in pieces is put together that has to be finished.
    gathered: Vec<u8>,
}

impl UnixDgram {
    /// Binds to `path`; a socket that nobody uses any more is replaced.
    ///
    /// # Errors
    /// See [`UnixPathError`].
    pub fn bind(path: &Path) -> Result<Self, UnixPathError> {
        let socket = BoundSocket::new(path, SocketType::DGRAM)?;
        // What is on its way counts here, not at the receiver. The default still works where more is not allowed.
        let _ = sockopt::set_socket_send_buffer_size(&socket, BATCH_BYTES * 4);
        Ok(Self { socket, peer: None, outbox: Outbox::default(), gathered: Vec::new() })
    }

    /// True once somebody sent a frame, until nobody listens there any more.
    #[must_use]
    pub const fn connected(&self) -> bool {
        self.peer.is_some()
    }

    /// Sends frames that need nothing done to them.
    fn send_finished(&mut self, batch: &Batch, mut which: &[u16], sent: &mut Sent) {
        while !which.is_empty() {
            let Some(peer) = &self.peer else {
                return sent.not_taken(batch, which, Taken::Down);
            };
            let frames = which.iter().map(|&index| batch.parts(index));
            match self.outbox.send(self.socket.as_fd(), Some(peer), frames) {
                Ok(count) => {
                    let (done, left) = which.split_at(count.min(which.len()));
                    done.iter().for_each(|&index| sent.delivered(batch.frame_len(index)));
                    which = left;
                }
                Err(error) => {
                    let taken = self.refused(&error);
                    // Where the first had no room, the others have none either.
                    let (refused, left) = which.split_at(if taken == Taken::Full { which.len() } else { 1 });
                    sent.not_taken(batch, refused, taken);
                    which = left;
                }
            }
        }
    }

    fn send_one(&mut self, frame: Parts<'_>) -> Taken {
        let Some(peer) = &self.peer else { return Taken::Down };
        match self.outbox.send(self.socket.as_fd(), Some(peer), std::iter::once(frame)) {
            Ok(_) => Taken::Delivered,
            Err(error) => self.refused(&error),
        }
    }

    fn refused(&mut self, error: &io::Error) -> Taken {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => Taken::Full,
            Some(libc::EMSGSIZE) => Taken::Oversize,
            _ => {
                self.peer = None;
                Taken::Down
            }
        }
    }
}

impl Port for UnixDgram {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortError> {
        while !batch.is_full() {
            let want = batch.room_for(1514);
            let peer = &mut self.peer;
            let take = |batch: &mut Batch, received: Received<'_, UnixAddress>| {
                *peer = UnixAddress::of(&received).or(*peer);
                take_in(batch, &received);
            };
            match mmsg::receive(self.socket.as_fd(), batch, want, VNET_HDR_LEN, take) {
                Ok(count) if count == want => {}
                Ok(_) => break,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => break,
                    Some(libc::EINTR) => {}
                    _ => return Err(PortError::Down(format!("socket cannot be read: {error}"))),
                },
            }
        }
        Ok(())
    }

    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> Result<Sent, PortError> {
        let mut sent = Sent::default();
        for run in which.chunk_by(|&a, &b| is_finished(batch, a) == is_finished(batch, b)) {
            if is_finished(batch, run[0]) {
                self.send_finished(batch, run, &mut sent);
                continue;
            }
            let mut gathered = std::mem::take(&mut self.gathered);
            for &index in run {
                offload::finish_of(batch, index, &mut gathered, &mut sent, |frame| self.send_one(frame));
            }
            self.gathered = gathered;
        }
        Ok(sent)
    }

    fn link(&self) -> Link {
        if self.peer.is_some() { Link::Up } else { Link::Waits("no VMM has sent anything to its socket yet") }
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.socket.as_fd()]
    }
}

fn is_finished(batch: &Batch, index: u16) -> bool {
    offload::is_finished(batch.vnet(index))
}

fn take_in(batch: &mut Batch, received: &Received<'_, UnixAddress>) {
    if received.truncated {
        return mmsg::push_truncated(batch);
    }
    if let Some(slot) = batch.vacant().next() {
        slot[..VNET_HDR_LEN].fill(0);
    }
    batch.push(VNET_HDR_LEN + received.len);
}
