//! The socket: a request and its acknowledgement, or a dump.

use crate::attribute::{Attributes, Message};
use crate::error::NetlinkError;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;

/// The kernel fills at most 32 KiB of a dump at once.
const BUFFER: usize = 64 * 1024;
/// `NLMSGERR_ATTR_MSG`.
const EXPLANATION: u16 = 1;
/// Bytes of a netlink header.
const HEADER_LEN: usize = 16;
/// How often a dump is begun again because something changed meanwhile.
const DUMP_TRIES: u32 = 10;

/// A socket of rtnetlink in the namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn open() -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for a change and waits until the kernel has made it.
    pub(crate) fn request(&mut self, what: &str, message: Message, flags: u16) -> Result<(), NetlinkError> {
        let sequence = self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        loop {
            for answer in self.receive(what)? {
                if answer.header.sequence_number != sequence {
                    continue;
                }
                if let NetlinkPayload::Error(error) = answer.payload {
                    return verdict(what, error.raw_code(), &error.header, answer.header.flags);
                }
            }
        }
    }

    /// Asks for one thing.
    pub(crate) fn get(&mut self, what: &str, message: Message) -> Result<Message, NetlinkError> {
        let sequence = self.send(message, NLM_F_REQUEST)?;
        loop {
            for answer in self.receive(what)? {
                match answer.payload {
                    _ if answer.header.sequence_number != sequence => {}
                    NetlinkPayload::InnerMessage(message) => return Ok(message),
                    NetlinkPayload::Error(error) => {
                        verdict(what, error.raw_code(), &error.header, answer.header.flags)?;
                    }
                    _ => {}
                }
            }
        }
    }

    /// All messages of a table. One that changed while it was read is read again: the facts must fit together.
    pub(crate) fn dump(&mut self, what: &str, message: &Message) -> Result<Vec<Message>, NetlinkError> {
        for _ in 0..DUMP_TRIES {
            if let Some(messages) = self.dump_once(what, message.clone())? {
                return Ok(messages);
            }
        }
        let why = "it changed each time while it was read; try again".to_owned();
        Err(NetlinkError::Malformed { what: what.to_owned(), why })
    }

    fn dump_once(&mut self, what: &str, message: Message) -> Result<Option<Vec<Message>>, NetlinkError> {
        let sequence = self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        let (mut messages, mut torn) = (Vec::new(), false);
        loop {
            for answer in self.receive(what)? {
                if answer.header.sequence_number != sequence {
                    continue;
                }
                torn |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => messages.push(message),
                    NetlinkPayload::Done(done) => {
                        verdict(what, done.code, &[], 0)?;
                        return Ok((!torn).then_some(messages));
                    }
                    NetlinkPayload::Error(error) => {
                        verdict(what, error.raw_code(), &error.header, answer.header.flags)?;
                    }
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, message: Message, flags: u16) -> Result<u32, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(message));
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        Ok(self.sequence)
    }

    fn receive(&self, what: &str) -> Result<Vec<NetlinkMessage<Message>>, NetlinkError> {
        read_messages(&self.socket, what)
    }
}

/// Waits for one datagram and splits it.
pub(crate) fn read_messages(
    socket: &Socket,
    what: &str,
) -> Result<Vec<NetlinkMessage<Message>>, NetlinkError> {
    let mut bytes = Vec::with_capacity(BUFFER);
    retried(|| socket.recv(&mut bytes, 0))?;
    let mut messages = Vec::new();
    let mut rest = bytes.as_slice();
    while rest.len() >= HEADER_LEN {
        let message = NetlinkMessage::<Message>::deserialize(rest)
            .map_err(|e| NetlinkError::Malformed { what: what.to_owned(), why: e.to_string() })?;
        // Messages are aligned to four bytes; the header's length is not.
        let length = (message.header.length as usize).next_multiple_of(4).clamp(HEADER_LEN, rest.len());
        rest = &rest[length..];
        messages.push(message);
    }
    Ok(messages)
}

fn retried(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn verdict(what: &str, code: i32, payload: &[u8], flags: u16) -> Result<(), NetlinkError> {
    if code == 0 {
        return Ok(());
    }
    let source = io::Error::from_raw_os_error(code.saturating_abs());
    Err(NetlinkError::Refused { what: what.to_owned(), source, explanation: explanation(payload, flags) })
}

/// The explanation follows the header of the request, and the request itself unless the answer was capped.
fn explanation(payload: &[u8], flags: u16) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let request = crate::attribute::u32_at(payload, 0)? as usize;
    let offset = if flags & NLM_F_CAPPED == 0 { request.next_multiple_of(4) } else { HEADER_LEN };
    Attributes::read(payload, offset).text(EXPLANATION)
}
