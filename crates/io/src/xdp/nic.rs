//! What an interface is at the moment.

use crate::interface::{BadInterfaceName, IfReq, Request, check};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index, socket_with};
use std::{
    io,
    mem::zeroed,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

/// linux/ethtool.h.
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// `struct ethtool_channels`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Channels {
    cmd: u32,
    max: [u32; 4],
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// What matters to sockets that are bound to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub index: u32,
    pub up: bool,
    pub mtu: u32,
    /// Queues that it receives on, where it tells.
    pub rx_queues: Option<u32>,
}

/// An interface, by name, in the namespace it was opened in.
#[derive(Debug)]
pub(super) struct Nic {
    ifname: String,
    control: OwnedFd,
}

impl Nic {
    pub(super) fn open(ifname: &str) -> io::Result<Self> {
        let control = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(Self { ifname: ifname.to_owned(), control })
    }

    /// How it is now; an error where it is not there.
    pub(super) fn facts(&self) -> io::Result<Facts> {
        let ask = |what| self.request()?.send(self.control.as_fd(), what);
        let up = ask(Request::Flags)?.flags() & libc::IFF_UP != 0;
        let mtu = ask(Request::Mtu)?.mtu().unsigned_abs();
        let index = name_to_index(&self.control, &self.ifname)?;
        let rx_queues = self.channels().ok().map(|c| c.rx + c.combined).filter(|&queues| queues > 0);
        Ok(Facts { index, up, mtu, rx_queues })
    }

    fn request(&self) -> io::Result<IfReq> {
        IfReq::new(&self.ifname).map_err(|BadInterfaceName| io::ErrorKind::InvalidInput.into())
    }

    fn channels(&self) -> io::Result<Channels> {
        let mut channels = Channels { cmd: ETHTOOL_GCHANNELS, ..Channels::default() };
        // SAFETY: all zeroes is a valid `ifreq`: it holds integers, byte arrays and a pointer that may be null.
        let mut request: libc::ifreq = unsafe { zeroed() };
        for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(self.ifname.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_data = (&raw mut channels).cast();
        let number = libc::SIOCETHTOOL as libc::Ioctl;
        // SAFETY: the descriptor is open; the name ends with a zero; the request reads and writes one `ethtool_channels`,
        // which is exclusively ours and outlives the call.
        check(unsafe { libc::ioctl(self.control.as_raw_fd(), number, &raw mut request) })?;
        Ok(channels)
    }
}
