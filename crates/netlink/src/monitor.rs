//! Being told when an interface comes, goes or changes.

use crate::attribute::{Message, u32_at};
use crate::error::NetlinkError;
use crate::link::read_link;
use crate::socket::read_messages;
use control::facts::Link;
use netlink_packet_core::NetlinkPayload;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::collections::VecDeque;

const RTNLGRP_LINK: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const ENOBUFS: i32 = 105;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// An interface is new, or has changed.
    Present(Link),
    /// An interface is gone, or has moved to another namespace.
    Gone(Link),
    /// More happened than could be told: look at all interfaces again.
    Missed,
}

/// Link changes of the namespace in which it was opened, as a blocking iterator for a thread of its own.
#[derive(Debug)]
pub struct LinkMonitor {
    socket: Socket,
    ready: VecDeque<LinkChange>,
}

impl LinkMonitor {
    /// Opens it in the calling thread's network namespace. Whoever then looks at all interfaces misses nothing.
    ///
    /// # Errors
    /// The kernel gives no socket.
    pub fn open() -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(RTNLGRP_LINK)?;
        Ok(Self { socket, ready: VecDeque::new() })
    }

    fn fill(&mut self) -> Result<(), NetlinkError> {
        match read_messages(&self.socket, "tell of link changes") {
            Err(e) if e.errno() == Some(ENOBUFS) => self.ready.push_back(LinkChange::Missed),
            Err(e) => return Err(e),
            Ok(messages) => self.ready.extend(messages.iter().filter_map(|m| change(&m.payload))),
        }
        Ok(())
    }
}

impl Iterator for LinkMonitor {
    type Item = Result<LinkChange, NetlinkError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            if let Err(e) = self.fill() {
                return Some(Err(e));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

/// A bridge also tells of its own ports by `RTM_NEWLINK` and `RTM_DELLINK`, with `AF_BRIDGE` where `AF_UNSPEC` (0) stands
/// otherwise: a port that leaves its bridge is no interface that is gone.
fn change(payload: &NetlinkPayload<Message>) -> Option<LinkChange> {
    let NetlinkPayload::InnerMessage(message) = payload else { return None };
    if u32_at(&message.body, 0)? & 0xff != 0 {
        return None;
    }
    match message.kind {
        RTM_NEWLINK => read_link(message).map(LinkChange::Present),
        RTM_DELLINK => read_link(message).map(LinkChange::Gone),
        _ => None,
    }
}
