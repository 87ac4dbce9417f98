//! Sends copies through the host's own network.

use super::{
    Status,
    erspan::{About, tag_of},
};
use crate::tap::in_form;
use dataplane::tap::{Direction, Event, Fate, Frame, Records, Selection, View};
use model::policy::mirror::Erspan;
use rustix::{
    fd::{AsFd, OwnedFd},
    io,
    net::{self, AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, ipproto, sockopt},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Lengths of IP headers, which the kernel puts before ours.
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;

/// Where copies go to, and how.
#[derive(Debug)]
pub struct Sender {
    /// The port, for the log.
    place: String,
    erspan: Erspan,
    status: Arc<Status>,
    /// None as long as there is no way to the collector.
    socket: Option<OwnedFd>,
    sequence: u32,
    packet: Vec<u8>,
}

impl Sender {
    pub const fn new(place: String, erspan: Erspan, status: Arc<Status>) -> Self {
        Self { place, erspan, status, socket: None, sequence: 0, packet: Vec::new() }
    }

    /// Sends a copy of each frame that is shown and was not dropped.
    pub fn send(&mut self, records: &Records, selection: Selection) {
        // Asked once for all of them: it changes rarely, and the kernel says so where it has become less.
        let room = self.room();
        for event in records.iter() {
            let Event::Frame(frame) = event else { continue };
            for view in frame.views().filter(|view| selection.shows(view)) {
                if !matches!(view.fate, Fate::Dropped(_)) {
                    self.send_one(&frame, &view, room);
                }
            }
        }
    }

    fn send_one(&mut self, frame: &Frame<'_>, view: &View, room: io::Result<usize>) {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let truncated = self.fill(frame, view, sequence, *room.as_ref().unwrap_or(&usize::MAX));
        let sent = room.and_then(|_| match &self.socket {
            Some(socket) => net::send(socket, &self.packet, SendFlags::DONTWAIT),
            None => Err(io::Errno::NOTCONN),
        });
        let mut status = self.status.lock();
        match sent {
            Ok(_) => {
                status.sent += 1;
                status.truncated += u64::from(truncated);
                status.error = None;
            }
            Err(error) => {
                status.unsent += 1;
                let why = error.to_string();
                if status.error.as_ref() != Some(&why) {
                    tracing::warn!(port = self.place, collector = %self.erspan.collector, "a mirrored frame cannot be sent: {why}");
                }
                status.error = Some(why);
            }
        }
    }

    /// Puts the packet together; true where the frame is not all in it.
    fn fill(&mut self, frame: &Frame<'_>, view: &View, sequence: u32, room: usize) -> bool {
        let mut tag = [0; 4];
        let parts = in_form(frame.bytes, view.form, &mut tag);
        let bytes = parts.concat();
        let Erspan { session, form, .. } = self.erspan;
        let most = room.saturating_sub(About::len(form));
        let truncated = bytes.len() > most || frame.bytes.len() < frame.len;
        let outbound = view.direction == Direction::Outbound;
        let (time_ns, tag) = (frame.time_ns(), tag_of(&bytes));
        self.packet = About { form, session, sequence, time_ns, tag, truncated, outbound }.header();
        self.packet.extend_from_slice(&bytes[..bytes.len().min(most)]);
        truncated
    }

    /// Bytes that a packet to the collector may have behind its IP header.
    fn room(&mut self) -> io::Result<usize> {
        if self.socket.is_none() {
            self.socket = Some(connect(self.erspan.collector)?);
        }
        let Some(socket) = &self.socket else { return Err(io::Errno::NOTCONN) };
        let found = match self.erspan.collector {
            IpAddr::V4(_) => sockopt::ip_mtu(socket.as_fd()).map(|mtu| (mtu, V4_HEADER)),
            IpAddr::V6(_) => sockopt::ipv6_mtu(socket.as_fd()).map(|mtu| (mtu, V6_HEADER)),
        };
        if found.is_err() {
            // The way is gone: the next one may be another.
            self.socket = None;
        }
        found.map(|(mtu, header)| (mtu as usize).saturating_sub(header))
    }

    /// Frames that were lost before they came here.
    pub fn tell_lost(&self, lost: u64) {
        let mut status = self.status.lock();
        if status.lost == 0 && lost > 0 {
            tracing::warn!(
                port = self.place,
                "frames are mirrored slower than they come: some copies are lost"
            );
        }
        status.lost = lost;
    }
}

/// A socket for GRE packets to the collector, for which the kernel makes IP headers.
fn connect(collector: IpAddr) -> io::Result<OwnedFd> {
    let family = if collector.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::RAW, flags, Some(ipproto::GRE))?;
    net::connect(&socket, &SocketAddr::new(collector, 0))?;
    // What the collector might send back is not read.
    net::shutdown(&socket, Shutdown::Read)?;
    Ok(socket)
}
