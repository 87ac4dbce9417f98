//! A connected vhost-user socket: messages in, with the descriptors that come beside them, and replies out.
//!
//! Nothing blocks: a message that comes in parts waits in the buffer for the rest of it. A front end that does not read
//! its replies, so that the socket is full of them (some hundred), is disconnected.

use super::{
    device::Reply,
    message::{HEADER, Header, MAX_FDS, MAX_PAYLOAD, MessageError},
};
use rustix::{
    cmsg_space,
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use std::{
    io::{IoSlice, IoSliceMut},
    mem::{self, MaybeUninit},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    /// The front end went away, which it may.
    #[error("the VMM closed the connection")]
    Closed,
    /// What follows cannot be understood.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// More than any request has.
    #[error("the front end sent a message with more than {MAX_FDS} descriptors")]
    TooManyFds,
    /// It asks, but does not listen.
    #[error("the front end does not read the replies to its requests")]
    Deaf,
}

/// A request as it came.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Channel {
    buffer: Box<[u8; HEADER + MAX_PAYLOAD]>,
    filled: usize,
    /// Of the message that is being received, once all of it is there.
    header: Option<Header>,
    fds: Vec<OwnedFd>,
    /// Closed last, when nothing is left of what came through it.
    socket: OwnedFd,
}

impl Channel {
    pub(super) fn new(socket: OwnedFd) -> Self {
        let buffer = Box::new([0; HEADER + MAX_PAYLOAD]);
        Self { buffer, filled: 0, header: None, fds: Vec::new(), socket }
    }

    /// The next message, where all of it is there.
    pub(super) fn receive(&mut self) -> Result<Option<Message>, SocketError> {
        loop {
            if self.header.is_none() && self.filled == HEADER {
                self.header = self.buffer.first_chunk().map(Header::parse).transpose()?;
            }
            if let Some(header) = self.header.filter(|header| self.filled == HEADER + header.size) {
                return Ok(Some(self.take(header)));
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    fn take(&mut self, header: Header) -> Message {
        let payload = self.buffer[HEADER..self.filled].to_vec();
        (self.filled, self.header) = (0, None);
        Message { header, payload, fds: mem::take(&mut self.fds) }
    }

    /// Reads up to the end of the header or of the message. False where there is nothing.
    fn read(&mut self) -> Result<bool, SocketError> {
        let end = HEADER + self.header.map_or(0, |header| header.size);
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut self.buffer[self.filled..end])];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = match recvmsg(&self.socket, &mut into, &mut beside, flags) {
            Ok(received) if received.bytes > 0 => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            _ => return Err(SocketError::Closed),
        };
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || self.fds.len() > MAX_FDS {
            return Err(SocketError::TooManyFds);
        }
        self.filled += received.bytes;
        Ok(true)
    }

    /// Answers `request`.
    pub(super) fn send(&self, request: u32, reply: &Reply) -> Result<(), SocketError> {
        let bytes = reply.answer.to_bytes(request);
        let fd = reply.fd.as_ref().map(|fd| [fd.as_fd()]);
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if let Some(fd) = &fd {
            beside.push(SendAncillaryMessage::ScmRights(fd));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut beside, flags) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => Err(SocketError::Deaf),
            Err(_) => Err(SocketError::Closed),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
