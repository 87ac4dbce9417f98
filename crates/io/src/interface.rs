//! Requests about one network interface: the `ioctl`s of netdevice(7) and of the TUN driver, made safe to call.

use std::{
    ffi::CStr,
    io,
    mem::zeroed,
    os::fd::{AsRawFd, BorrowedFd},
};
use wire::MacAddr;

/// The name does not fit the kernel's IFNAMSIZ, or is a pattern from which the kernel would make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an interface name has 1 to 15 bytes and no percent sign")]
pub struct BadInterfaceName;

/// What is asked of the kernel. Each of these reads and writes one `ifreq`, nothing beyond.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    AttachTap,
    Flags,
    SetFlags,
    Mtu,
    SetMtu,
    Mac,
    SetMac,
    SetName,
}

impl Request {
    const fn number(self) -> libc::c_ulong {
        match self {
            Self::AttachTap => libc::TUNSETIFF as libc::c_ulong,
            Self::Flags => libc::SIOCGIFFLAGS as libc::c_ulong,
            Self::SetFlags => libc::SIOCSIFFLAGS as libc::c_ulong,
            Self::Mtu => libc::SIOCGIFMTU as libc::c_ulong,
            Self::SetMtu => libc::SIOCSIFMTU as libc::c_ulong,
            Self::Mac => libc::SIOCGIFHWADDR as libc::c_ulong,
            Self::SetMac => libc::SIOCSIFHWADDR as libc::c_ulong,
            Self::SetName => libc::SIOCSIFNAME as libc::c_ulong,
        }
    }
}

/// A request and its answer.
pub(crate) struct IfReq(libc::ifreq);

impl IfReq {
    pub(crate) fn new(ifname: &str) -> Result<Self, BadInterfaceName> {
        // SAFETY: all zeroes is a valid `ifreq`: it holds integers, byte arrays and a pointer that may be null.
        let mut request: libc::ifreq = unsafe { zeroed() };
        if ifname.is_empty() || ifname.len() >= request.ifr_name.len() || ifname.contains(['\0', '%']) {
            return Err(BadInterfaceName);
        }
        for (to, from) in request.ifr_name.iter_mut().zip(ifname.bytes()) {
            *to = from.cast_signed();
        }
        Ok(Self(request))
    }

    pub(crate) const fn with_flags(mut self, flags: libc::c_int) -> Self {
        self.0.ifr_ifru.ifru_flags = flags as libc::c_short;
        self
    }

    pub(crate) const fn with_mtu(mut self, mtu: libc::c_int) -> Self {
        self.0.ifr_ifru.ifru_mtu = mtu;
        self
    }

    /// `name` may be a pattern with `%d`. What does not fit is cut.
    pub(crate) fn with_new_name(mut self, name: &CStr) -> Self {
        let mut new = [0; libc::IFNAMSIZ];
        for (to, from) in new[..libc::IFNAMSIZ - 1].iter_mut().zip(name.to_bytes()) {
            *to = from.cast_signed();
        }
        self.0.ifr_ifru.ifru_newname = new;
        self
    }

    pub(crate) fn with_mac(mut self, mac: MacAddr) -> Self {
        let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
        for (to, from) in address.sa_data.iter_mut().zip(mac.0) {
            *to = from.cast_signed();
        }
        self.0.ifr_ifru.ifru_hwaddr = address;
        self
    }

    pub(crate) fn flags(&self) -> libc::c_int {
        // SAFETY: the union was zeroed as a whole and any bits are a valid integer.
        unsafe { self.0.ifr_ifru.ifru_flags }.into()
    }

    pub(crate) fn mtu(&self) -> libc::c_int {
        // SAFETY: as for `flags`.
        unsafe { self.0.ifr_ifru.ifru_mtu }
    }

    pub(crate) fn mac(&self) -> MacAddr {
        // SAFETY: the union was zeroed as a whole and any bits are a valid `sockaddr`.
        let data = unsafe { self.0.ifr_ifru.ifru_hwaddr }.sa_data;
        MacAddr([data[0], data[1], data[2], data[3], data[4], data[5]].map(i8::cast_unsigned))
    }

    pub(crate) fn send(mut self, to: BorrowedFd<'_>, what: Request) -> io::Result<Self> {
        // SAFETY: the descriptor is open while borrowed; every `Request` takes a pointer to one `ifreq`, which is
        // exclusively ours, initialised, and outlives the call.
        check(unsafe { libc::ioctl(to.as_raw_fd(), what.number(), &raw mut self.0) })?;
        Ok(self)
    }
}

/// Settings of an open TUN descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TunSetting {
    VnetHdrLen(libc::c_int),
    LittleEndian,
    Offloads(libc::c_uint),
    Persist(bool),
}

impl TunSetting {
    pub(crate) fn apply(self, tun: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Self::VnetHdrLen(len) => set_by_pointer(tun, libc::TUNSETVNETHDRSZ, len),
            Self::LittleEndian => set_by_pointer(tun, libc::TUNSETVNETLE, 1),
            Self::Offloads(bits) => set_by_value(tun, libc::TUNSETOFFLOAD, bits.into()),
            Self::Persist(on) => set_by_value(tun, libc::TUNSETPERSIST, on.into()),
        }
    }
}

fn set_by_pointer(tun: BorrowedFd<'_>, request: libc::Ioctl, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open while borrowed; the two requests that `TunSetting` passes read one `int` at the
    // pointer and write nothing.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), request, &raw const value) }).map(drop)
}

fn set_by_value(tun: BorrowedFd<'_>, request: libc::Ioctl, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the descriptor is open while borrowed; the two requests that `TunSetting` passes take a number.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), request, value) }).map(drop)
}

/// What a system call that answers -1 on failure returned.
pub(crate) fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}
