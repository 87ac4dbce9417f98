//! What an interface is at the moment, and the one setting of it that AF_XDP takes.

use crate::interface::{BadInterfaceName, IfReq, Request, check};
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index, socket_with};
use std::{
    io,
    mem::zeroed,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

/// linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GTSO: u32 = 0x1e;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
/// Drivers whose other end is a kernel or a VMM, not a wire.
const VIRTUAL: &[&[u8]] = &[b"veth", b"tun"];
const VIRTIO_NET: &[u8] = b"virtio_net";

/// The `struct ethtool_…` of a command, whose number stands in front. Each has only integers and bytes.
trait Ethtool: Copy {}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Channels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Flags {
    command: u32,
    flags: u32,
}

impl Ethtool for Channels {}
impl Ethtool for DriverInfo {}
impl Ethtool for Flags {}

/// What matters to sockets that are bound to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub index: u32,
    pub up: bool,
    pub mtu: u32,
    /// Queues that it receives on, where it tells.
    pub rx_queues: Option<u32>,
    /// On how many it can be told to, where it tells.
    pub most_rx_queues: Option<u32>,
    /// Queues that it sends on, where it tells.
    pub tx_queues: Option<u32>,
}

/// What an interface is, as far as it matters to whether AF_XDP or AF_PACKET suits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Its other end is this host or a VMM, and no wire: a veth or a TAP.
    pub local_peer: bool,
    /// It cuts TCP segments above the MTU itself.
    pub segments: bool,
    /// What it sends without copying may be lost, or changed on its way (`STRAY_HEADERS`).
    pub stray_headers: bool,
}

/// Why zero-copy is not to be trusted with `virtio_net` where that is a module (Linux 6.14 to 7.3).
///
/// It has the device read one header, all zero, for every frame of AF_XDP: a variable of the driver's (`xsk_hdr`). Of a module's
/// variable the kernel's DMA API makes an address that means something else (by `__pa`, which is for the kernel's own image and
/// for memory that is mapped one to one). So the device reads whatever is there, and takes it for what to do with the frame:
/// without a meaning it drops it, otherwise it may write a checksum somewhere into it. QEMU tells of it with `-d guest_errors`
/// where no memory is there.
pub(crate) const STRAY_HEADERS: &str = "its driver, virtio_net as a module, has the NIC read the headers of such frames from a wrong place in memory: they can be lost or \
     changed on their way";

impl Traits {
    /// Of an interface in the namespace of the calling thread.
    ///
    /// # Errors
    /// There is no such interface, or no descriptor is left.
    pub fn of(ifname: &str) -> io::Result<Self> {
        let nic = Nic::open(ifname)?;
        nic.facts()?;
        let tso = nic.ethtool(Flags { command: ETHTOOL_GTSO, flags: 0 });
        Ok(Self {
            local_peer: nic.has_local_peer(),
            segments: tso.is_ok_and(|tso| tso.flags != 0),
            stray_headers: nic.has_driver(&[VIRTIO_NET]) && !is_built_in("virtio_net"),
        })
    }
}

/// True for a driver that is surely no module: of such a one the kernel tells its parameters, and not how it was loaded.
fn is_built_in(driver: &str) -> bool {
    let told = Path::new("/sys/module").join(driver);
    told.join("parameters").exists() && !told.join("initstate").exists()
}

/// Whether an interface in the namespace of the calling thread takes VLAN tags out of frames, which an [`XdpPort`] ends
/// while it is open.
///
/// [`XdpPort`]: crate::XdpPort
#[must_use]
pub fn takes_vlan_tags_out(ifname: &str) -> bool {
    Nic::open(ifname).and_then(|nic| nic.flags()).is_ok_and(|now| now.flags & ETH_FLAG_RXVLAN != 0)
}

/// Has an interface take VLAN tags out of frames again: what an [`XdpPort`] had no time for, whose process was killed.
///
/// # Errors
/// The interface is not there, or its driver does not.
///
/// [`XdpPort`]: crate::XdpPort
pub fn take_vlan_tags_out(ifname: &str) -> io::Result<()> {
    let nic = Nic::open(ifname)?;
    let flags = nic.flags()?.flags | ETH_FLAG_RXVLAN;
    nic.ethtool(Flags { command: ETHTOOL_SFLAGS, flags }).map(drop)
}

/// An interface, by name, in the namespace it was opened in.
#[derive(Debug)]
pub(super) struct Nic {
    ifname: String,
    control: OwnedFd,
    /// What the interface did to VLAN tags before, where that was changed: it is put back.
    former_flags: Option<u32>,
}

impl Nic {
    pub(super) fn open(ifname: &str) -> io::Result<Self> {
        let control = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(Self { ifname: ifname.to_owned(), control, former_flags: None })
    }

    /// How it is now; an error where it is not there.
    pub(super) fn facts(&self) -> io::Result<Facts> {
        let ask = |what| self.request()?.send(self.control.as_fd(), what);
        let up = ask(Request::Flags)?.flags() & libc::IFF_UP != 0;
        let mtu = ask(Request::Mtu)?.mtu().unsigned_abs();
        let index = name_to_index(&self.control, &self.ifname)?;
        let channels = self.ethtool(Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() });
        let channels = channels.ok().filter(|c| c.rx + c.combined > 0);
        let rx_queues = channels.map(|c| c.rx + c.combined);
        let most_rx_queues = channels.map(|c| c.max_rx + c.max_combined);
        let tx_queues = channels.map(|c| c.tx + c.combined);
        Ok(Facts { index, up, mtu, rx_queues, most_rx_queues, tx_queues })
    }

    /// True where frames do not come from a wire, and may have partial checksums.
    pub(super) fn has_local_peer(&self) -> bool {
        self.has_driver(VIRTUAL)
    }

    fn has_driver(&self, names: &[&[u8]]) -> bool {
        let info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
        self.ethtool(info).is_ok_and(|info| {
            names.iter().any(|name| info.driver.split(|byte| *byte == 0).next() == Some(*name))
        })
    }

    /// Has VLAN tags stay in the frames: AF_XDP hands over nothing beside them. False where the driver takes
    /// them out and cannot be told not to.
    pub(super) fn keep_vlan_tags(&mut self) -> bool {
        let Ok(now) = self.flags() else { return true };
        if now.flags & ETH_FLAG_RXVLAN == 0 {
            return true;
        }
        self.former_flags = Some(now.flags);
        self.ethtool(Flags { command: ETHTOOL_SFLAGS, flags: now.flags & !ETH_FLAG_RXVLAN }).is_ok()
    }

    fn flags(&self) -> io::Result<Flags> {
        self.ethtool(Flags { command: ETHTOOL_GFLAGS, flags: 0 })
    }

    fn request(&self) -> io::Result<IfReq> {
        IfReq::new(&self.ifname).map_err(|BadInterfaceName| io::ErrorKind::InvalidInput.into())
    }

    fn ethtool<T: Ethtool>(&self, mut command: T) -> io::Result<T> {
        // SAFETY: all zeroes is a valid `ifreq`: it holds integers, byte arrays and a pointer that may be
        // null.
        let mut request: libc::ifreq = unsafe { zeroed() };
        for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(self.ifname.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_data = (&raw mut command).cast();
        let number = libc::SIOCETHTOOL as libc::Ioctl;
        // SAFETY: the descriptor is open; the name ends with a zero; the kernel reads and writes the
        // structure that belongs to the command in front of it (`Ethtool`), which is exclusively ours and
        // outlives the call.
        check(unsafe { libc::ioctl(self.control.as_raw_fd(), number, &raw mut request) })?;
        Ok(command)
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        if let Some(flags) = self.former_flags {
            // An interface that is gone has nothing to be put back.
            let _ = self.ethtool(Flags { command: ETHTOOL_SFLAGS, flags });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_parameters_and_was_not_loaded_is_built_in() {
        assert!(is_built_in("printk"));
        assert!(!is_built_in("no_such_driver"));
    }
}
