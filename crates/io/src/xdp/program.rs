//! The XDP program that gives every frame to the sockets: loading and attaching it.

use libbpf_rs::{MapCore as _, MapFlags, Object, ObjectBuilder, libbpf_sys};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd},
};

/// Compiled by build.rs.
const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/to_switch.bpf.o"));
const PROGRAM: &str = "to_switch";
const MAP: &str = "sockets";

/// A loaded program with its map of sockets.
pub(super) struct Program {
    object: Object,
}

impl Program {
    /// Loads it for so many queues. With `several_chunks` it accepts frames that lie in several buffers,
    /// without which a driver lets nobody attach it where the MTU may make such frames.
    pub(super) fn load(queues: u32, several_chunks: bool) -> io::Result<Self> {
        // What libbpf would print is in the error too, as far as it tells anything.
        libbpf_rs::set_print(None);
        let mut open = ObjectBuilder::default().open_memory(OBJECT).map_err(refused)?;
        for mut map in open.maps_mut().filter(|map| map.name() == MAP) {
            map.set_max_entries(queues).map_err(refused)?;
        }
        for mut program in open.progs_mut().filter(|_| several_chunks) {
            program.set_flags(libbpf_sys::BPF_F_XDP_HAS_FRAGS);
        }
        Ok(Self { object: open.load().map_err(refused)? })
    }

    /// Has a queue's frames given to a socket.
    pub(super) fn serve(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let map = self.object.maps().find(|map| map.name() == MAP).ok_or(io::ErrorKind::NotFound)?;
        let fd = socket.as_raw_fd().unsigned_abs();
        map.update(&queue.to_ne_bytes(), &fd.to_ne_bytes(), MapFlags::ANY).map_err(refused)
    }

    /// True where a program is attached to an interface already.
    pub(super) fn is_attached_to(ifindex: u32) -> bool {
        let mut id = 0;
        // SAFETY: the call writes one integer, the program's number, behind the live reference.
        let asked = unsafe { libbpf_sys::bpf_xdp_query_id(ifindex.cast_signed(), 0, &raw mut id) };
        asked == 0 && id != 0
    }

    /// Attaches it to an interface, in the driver or in front of the host's stack, for as long as the
    /// returned link is open. The link keeps program and map.
    pub(super) fn attach(&self, ifindex: u32, native: bool) -> io::Result<OwnedFd> {
        let program = self.object.progs().find(|p| p.name() == PROGRAM).ok_or(io::ErrorKind::NotFound)?;
        let options = libbpf_sys::bpf_link_create_opts {
            sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
            flags: if native { libbpf_sys::XDP_FLAGS_DRV_MODE } else { libbpf_sys::XDP_FLAGS_SKB_MODE },
            ..Default::default()
        };
        let fd = program.as_fd().as_raw_fd();
        // SAFETY: the program is open while borrowed, the options live through the call and tell their own
        // size.
        let link = unsafe {
            libbpf_sys::bpf_link_create(fd, ifindex.cast_signed(), libbpf_sys::BPF_XDP, &raw const options)
        };
        if link < 0 {
            return Err(io::Error::from_raw_os_error(-link));
        }
        // SAFETY: the call returned a new descriptor that nobody else knows.
        Ok(unsafe { OwnedFd::from_raw_fd(link) })
    }
}

/// Only the reason that somebody can do something about is told apart.
fn refused(error: libbpf_rs::Error) -> io::Error {
    match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => io::Error::new(io::ErrorKind::PermissionDenied, error),
        _ => io::Error::other(error),
    }
}
