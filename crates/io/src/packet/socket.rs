//! Opening and asking the packet socket itself.

use super::PacketError;
use crate::interface::{IfReq, Request, check};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index, socket_with, sockopt},
};
use std::{
    io,
    mem::{size_of, size_of_val},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// Room for what arrives while the worker is elsewhere: 250 frames of 64 KiB, or 20,000 small ones.
const RECEIVE_BUFFER: usize = 16 << 20;
const SEND_BUFFER: usize = 4 << 20;

/// Options that every packet socket of ours has. Without PACKET_IGNORE_OUTGOING the frames that we and the host send
/// would come back; PACKET_QDISC_BYPASS spares a queue whose backlog nobody would ever see.
const SWITCHES: [libc::c_int; 4] =
    [libc::PACKET_VNET_HDR, libc::PACKET_AUXDATA, libc::PACKET_IGNORE_OUTGOING, libc::PACKET_QDISC_BYPASS];

pub(super) fn open(ifname: &str) -> Result<OwnedFd, PacketError> {
    open_with(ifname, |_| Ok(()))
}

/// Opens further sockets on the interface of `first` and has the kernel give each frame that comes in to one of them all:
/// those of a flow, either way, to the same (packet(7), PACKET_FANOUT_HASH).
///
/// A socket can join only once it is bound, and until then would get every frame that the others get. So it has a filter
/// that takes none, which goes when it has joined; what falls to it in the microseconds between is lost.
pub(super) fn fan_out(first: BorrowedFd<'_>, ifname: &str, others: usize) -> io::Result<Vec<OwnedFd>> {
    set(first, libc::PACKET_FANOUT, &group(libc::PACKET_FANOUT_FLAG_UNIQUEID, 0))?;
    let id: libc::c_int = get(first, libc::PACKET_FANOUT)?;
    let join = |_| {
        let socket = open_with(ifname, take_nothing).map_err(io::Error::other)?;
        set(socket.as_fd(), libc::PACKET_FANOUT, &group(0, id & 0xffff))?;
        set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0)?;
        Ok(socket)
    };
    (0..others).map(join).collect()
}

/// The argument of PACKET_FANOUT: a group's number, and flags beside the kind.
const fn group(flags: libc::c_uint, id: libc::c_int) -> libc::c_int {
    id | ((libc::PACKET_FANOUT_HASH | flags) << 16).cast_signed()
}

/// A filter of one instruction: of each frame, nothing.
fn take_nothing(socket: BorrowedFd<'_>) -> io::Result<()> {
    let code = (libc::BPF_RET | libc::BPF_K) as u16;
    let mut program = [libc::sock_filter { code, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

/// `before_bind` is done to the socket while it receives nothing yet.
fn open_with(
    ifname: &str,
    before_bind: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
) -> Result<OwnedFd, PacketError> {
    let setup = |(action, error)| PacketError::Setup { ifname: ifname.to_owned(), action, error };
    let at = |action| move |error: io::Error| setup((action, error));
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    // Protocol 0 receives nothing. With ETH_P_ALL at once, frames of every interface would come in until the bind.
    let socket =
        socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None).map_err(|error| match error {
            Errno::PERM | Errno::ACCESS => PacketError::NotPermitted(ifname.to_owned()),
            _ => setup(("opening a packet socket", error.into())),
        })?;
    let index = ifindex(socket.as_fd(), ifname)?;
    for option in SWITCHES {
        set(socket.as_fd(), option, &1).map_err(at("setting up the packet socket"))?;
    }
    set_buffers(socket.as_fd()).map_err(at("setting its buffers"))?;
    join_promiscuous(socket.as_fd(), index).map_err(at("making it promiscuous"))?;
    before_bind(socket.as_fd()).map_err(at("setting a filter"))?;
    bind(socket.as_fd(), index).map_err(at("binding to it"))?;
    Ok(socket)
}

fn ifindex(socket: BorrowedFd<'_>, ifname: &str) -> Result<libc::c_int, PacketError> {
    let name = || ifname.to_owned();
    let request = IfReq::new(ifname).map_err(|bad| PacketError::Name(name(), bad))?;
    let answer = request.send(socket, Request::Flags).map_err(|_| PacketError::NotFound(name()))?;
    if answer.flags() & libc::IFF_UP == 0 {
        return Err(PacketError::Down(name()));
    }
    let index = name_to_index(socket, ifname).map_err(|_| PacketError::NotFound(name()))?;
    Ok(index.cast_signed())
}

/// The limits of the host (net.core.rmem_max) are for programs that many users run; where we may not pass them, they
/// hold.
fn set_buffers(socket: BorrowedFd<'_>) -> io::Result<()> {
    if sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(socket, RECEIVE_BUFFER)?;
    }
    let size = SEND_BUFFER as libc::c_int;
    set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &size)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, &size))
}

/// Has frames pass the interface's queueing discipline from now on.
pub(super) fn end_bypass(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::PACKET_QDISC_BYPASS, &0)
}

/// Makes an interface promiscuous for as long as the returned socket is open, which receives nothing.
pub(crate) fn promiscuous(index: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    join_promiscuous(socket.as_fd(), index.cast_signed())?;
    Ok(socket)
}

/// A membership, unlike the interface's own flag, ends with the socket, however the process ends.
fn join_promiscuous(socket: BorrowedFd<'_>, index: libc::c_int) -> io::Result<()> {
    let membership = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(socket, libc::PACKET_ADD_MEMBERSHIP, &membership)
}

fn bind(socket: BorrowedFd<'_>, index: libc::c_int) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::sa_family_t,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the descriptor is open while borrowed; the kernel reads `len` bytes of the live address.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) }).map(drop)
}

fn set<T: Copy>(socket: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    set_option(socket, libc::SOL_PACKET, option, value)
}

/// `T` is an integer or a structure of the kernel's without padding.
fn set_option<T: Copy>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let (pointer, len) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the descriptor is open while borrowed; the kernel reads `len` bytes behind a reference to just that many,
    // all initialised since there is no padding, and writes nothing.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, pointer, len) }).map(drop)
}

/// Frames dropped for want of room since the last call; asking resets the kernel's counter. A socket that lost its
/// interface has nothing more to tell.
pub(super) fn dropped(socket: BorrowedFd<'_>) -> u64 {
    // Packets, drops (`tpacket_stats`).
    let asked: io::Result<[libc::c_uint; 2]> = get(socket, libc::PACKET_STATISTICS);
    asked.map_or(0, |[_, drops]| u64::from(drops))
}

/// `T` is integers.
fn get<T: Copy + Default>(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<T> {
    let mut value = T::default();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the descriptor is open while borrowed; the kernel writes at most `len` bytes into `value`, which has that many
    // and any bytes of which are a value, and the length into `len`.
    check(unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw mut value).cast(), &raw mut len)
    })?;
    Ok(value)
}
