//! The front end's side of a vhost-user socket, for messages right and wrong.

use crate::run::patience;
use anyhow::{Context, Result, bail, ensure};
use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{ErrorKind, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = patience(Duration::from_secs(20));
/// In the flags of a request: the version, and that it is to be answered whatever it is.
pub const PLAIN: u32 = 1;
/// With an answer.
pub const ANSWERED: u32 = 9;

/// Requests, by their numbers in the specification.
pub mod request {
    #![allow(missing_docs, reason = "they are the specification's")]
    pub const GET_FEATURES: u32 = 1;
    pub const SET_FEATURES: u32 = 2;
    pub const SET_OWNER: u32 = 3;
    pub const SET_MEM_TABLE: u32 = 5;
    pub const SET_VRING_NUM: u32 = 8;
    pub const SET_VRING_ADDR: u32 = 9;
    pub const SET_VRING_BASE: u32 = 10;
    pub const GET_VRING_BASE: u32 = 11;
    pub const SET_VRING_KICK: u32 = 12;
    pub const SET_VRING_CALL: u32 = 13;
    pub const SET_PROTOCOL_FEATURES: u32 = 16;
    pub const SET_VRING_ENABLE: u32 = 18;
    pub const ADD_MEM_REG: u32 = 37;
}

/// A connection that says what it is told to.
#[derive(Debug)]
pub struct FrontEnd(UnixStream);

impl FrontEnd {
    /// Connects to a port.
    pub fn connect(socket: &Path) -> Result<FrontEnd> {
        let stream = UnixStream::connect(socket).with_context(|| format!("{} refuses", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(FrontEnd(stream))
    }

    /// Sends bytes as they are, and descriptors. False where the other end is closed, or did not take them in time.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(64))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
            return false;
        }
        let mut sent = 0;
        while sent < bytes.len() {
            match sendmsg(&self.0, &[IoSlice::new(&bytes[sent..])], &mut beside, SendFlags::NOSIGNAL) {
                Ok(more) => sent += more,
                Err(_) => return false,
            }
            beside.clear();
        }
        true
    }

    /// Sends a request.
    pub fn request(&self, request: u32, flags: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        self.send(&message(request, flags, payload), fds)
    }

    /// Sends a request that has to be done, and waits until it is.
    pub fn done(&mut self, request: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        ensure!(self.request(request, ANSWERED, payload, fds), "request {request} is not taken");
        let mut answer = [0; 20];
        self.0.read_exact(&mut answer).with_context(|| format!("request {request} is not answered"))?;
        ensure!(answer[12..] == [0; 8], "request {request} is refused");
        Ok(())
    }

    /// Waits until the other end has closed, whatever it says before.
    pub fn until_closed(&mut self) -> Result<()> {
        loop {
            match self.0.read(&mut [0; 4096]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Closed with something unread.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => bail!("the port does not close the connection: {error}"),
            }
        }
    }
}

/// A request as bytes.
pub fn message(request: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    [&words(&[request, flags, payload.len() as u32]), payload].concat()
}

/// Numbers of 32 bits as bytes.
pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Numbers of 64 bits as bytes.
pub fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}
