//! Being told when an interface changes, at no cost while none does: rtnetlink tells of links, ethtool's
//! netlink of channels (Documentation/networking/ethtool-netlink.rst). What is said is not read, only that
//! something was: then one looks.

use crate::interface::check;
use rustix::{
    io::Errno,
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
        netlink::{GENERIC, SocketAddrNetlink},
        recv, send, socket_with,
    },
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// `nlmsghdr` and `genlmsghdr` in front of attributes.
const HEADERS: usize = 16 + 4;
/// linux/genetlink.h.
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;
/// The type of an attribute without its flags (NLA_TYPE_MASK).
const TYPE: u16 = 0x3fff;

/// The sockets that something is told on.
#[derive(Debug)]
pub(super) struct News {
    sockets: Vec<OwnedFd>,
}

impl News {
    /// Of the namespace of the calling thread. A kernel without ethtool's netlink (before 5.6) tells of links
    /// only.
    pub(super) fn open() -> io::Result<Self> {
        let links = netlink(None, libc::RTMGRP_LINK.unsigned_abs())?;
        Ok(Self { sockets: [Some(links), channel_news().ok()].into_iter().flatten().collect() })
    }

    /// True where something may have changed since the last call, on any interface.
    pub(super) fn any(&self) -> bool {
        self.sockets.iter().filter(|socket| drain(socket.as_fd())).count() > 0
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd)
    }
}

/// True where anything was waiting, or was lost for want of room.
fn drain(socket: BorrowedFd<'_>) -> bool {
    let mut any = false;
    loop {
        match recv(socket, &mut [0_u8; 16][..], RecvFlags::DONTWAIT) {
            Ok(_) | Err(Errno::NOBUFS) => any = true,
            Err(Errno::INTR) => {}
            Err(_) => return any,
        }
    }
}

fn netlink(protocol: Option<Protocol>, groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// A socket in the group that ethtool's changes are told to.
fn channel_news() -> io::Result<OwnedFd> {
    let socket = netlink(Some(GENERIC), 0)?;
    send(&socket, &which_family(b"ethtool\0"), SendFlags::empty())?;
    // The kernel has answered before `send` returns.
    let mut answer = [0; 4096];
    let (len, _) = recv(&socket, &mut answer[..], RecvFlags::DONTWAIT)?;
    let group = monitor_group(&answer[..len]).ok_or(io::ErrorKind::Unsupported)?;
    let (pointer, len) = ((&raw const group).cast(), size_of::<u32>() as libc::socklen_t);
    // SAFETY: the descriptor is open; the kernel reads the live integer.
    check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, pointer, len)
    })?;
    Ok(socket)
}

/// Asks GENL_ID_CTRL with CTRL_CMD_GETFAMILY for the family of that name.
fn which_family(name: &[u8]) -> Vec<u8> {
    let attribute = (4 + name.len()) as u16;
    let mut request = (HEADERS as u32 + u32::from(attribute)).to_ne_bytes().to_vec();
    request.extend((libc::GENL_ID_CTRL as u16).to_ne_bytes());
    request.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request.extend([0; 8]);
    request.extend([libc::CTRL_CMD_GETFAMILY as u8, 1, 0, 0]);
    request.extend(attribute.to_ne_bytes());
    request.extend(CTRL_ATTR_FAMILY_NAME.to_ne_bytes());
    request.extend(name);
    request
}

/// The number of the group "monitor" in the kernel's answer.
fn monitor_group(answer: &[u8]) -> Option<u32> {
    let groups = attribute(answer.get(HEADERS..)?, CTRL_ATTR_MCAST_GROUPS)?;
    let monitor = attributes(groups)
        .map(|(_, group)| group)
        .find(|group| attribute(group, CTRL_ATTR_MCAST_GRP_NAME) == Some(b"monitor\0"))?;
    attribute(monitor, CTRL_ATTR_MCAST_GRP_ID)?.first_chunk().map(|id| u32::from_ne_bytes(*id))
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, payload)| payload)
}

/// Types and payloads of attributes, each behind its length and padded to four bytes.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let &[a, b, c, d] = bytes.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let payload = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & TYPE, payload))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_the_group_that_channel_changes_are_told_to() {
        assert_eq!(News::open().unwrap().fds().count(), 2);
    }

    #[test]
    fn attributes_that_are_cut_short_end_the_list() {
        let whole = [8, 0, 1, 0, 9, 9, 9, 9, 5, 0, 2, 0x80, 7, 0, 0, 0];
        let found: Vec<_> = attributes(&whole).collect();
        assert_eq!(found, [(1, &[9; 4][..]), (2, &[7])]);
        for len in 0..13 {
            assert_eq!(attributes(&whole[..len]).count(), len / 8, "{len}");
        }
        assert_eq!(attributes(&[0; 8]).count(), 0);
    }
}
