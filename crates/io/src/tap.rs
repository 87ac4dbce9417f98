//! A TAP interface: the port of the host vNIC and of vNICs inside network namespaces.
//!
//! Frames pass with their vnet header, so that segments of up to 64 KiB and partial checksums cross whole. The far end
//! is the kernel, which takes both from every sender (linux/if_tun.h): nothing has to be cut or completed here.

use crate::{
    Batch, Port, PortError, Sent, flow,
    interface::{BadInterfaceName, IfReq, Request, TunSetting},
    offload::Taken,
    parts,
};
use rustix::{
    fs::{Mode, OFlags, open},
    io::{Errno, read},
    net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index, socket_with},
};
use std::{
    ffi::CStr,
    io, mem,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};
use wire::{MacAddr, VNET_HDR_LEN};

const DEVICE: &str = "/dev/net/tun";
/// What an interface is renamed to when it is let go; the kernel puts a number that is free for `%d`.
const RETIRED: &CStr = c"vmsw-gone%d";

/// What a TAP is to be like.
#[derive(Clone, Debug)]
pub struct TapConfig {
    /// Its name, 1 to 15 bytes.
    pub ifname: String,
    /// Queues the kernel spreads its sending over, 1 or more.
    pub queues: u16,
    /// Its MAC address, which is what the host or the namespace sends from; a random one where none is given.
    pub mac: Option<MacAddr>,
    /// Its MTU; the kernel's 1500 where none is given.
    pub mtu: Option<u32>,
    /// Whether the interface outlives this process, with its addresses and routes.
    pub persist: bool,
    /// Whether to switch it on.
    pub up: bool,
    /// Whether its kernel may send partial checksums and segments above the MTU.
    pub offloads: bool,
}

impl TapConfig {
    /// One queue, switched on, offloads, gone with the process.
    #[must_use]
    pub fn new(ifname: &str) -> Self {
        let ifname = ifname.to_owned();
        Self { ifname, queues: 1, mac: None, mtu: None, persist: false, up: true, offloads: true }
    }
}

/// Why a TAP could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The name cannot be an interface's.
    #[error("{0:?} cannot be the name of a TAP; choose another")]
    Name(String, #[source] BadInterfaceName),
    /// No TUN driver, or no permission.
    #[error("{DEVICE} cannot be opened; it takes the tun module and CAP_NET_ADMIN")]
    Device(#[source] io::Error),
    /// Somebody else has it open.
    #[error("TAP {0} is in use by another program; stop that, or choose another name")]
    Busy(String),
    /// An interface of that name is something else.
    #[error(
        "interface {0} exists already and is no TAP, or a TAP with another queue mode; remove it, or choose another name"
    )]
    NotATap(String),
    /// The kernel did not want to make it so.
    #[error("TAP {ifname}: {action} failed")]
    Setup {
        /// Its name.
        ifname: String,
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
}

/// An open TAP, all its queues, or one worker's share of it.
#[derive(Debug)]
pub struct Tap {
    ifname: String,
    /// One at least.
    queues: Vec<OwnedFd>,
    /// Whether to receive from them, too.
    receives: bool,
    /// Where the next receive begins, so that no queue starves behind another.
    next: usize,
    /// Where a frame is put together that cannot be sent in pieces.
    gathered: Vec<u8>,
}

impl Tap {
    /// Creates a TAP in the namespace of the calling thread, or takes up one that persisted.
    ///
    /// # Errors
    /// See [`TapError`]. A TAP that was created for this is gone again.
    pub fn open(config: &TapConfig) -> Result<Self, TapError> {
        let queues = (0..config.queues.max(1)).map(|_| open_queue(config)).collect::<Result<_, _>>()?;
        let tap = Self::share(&config.ifname, queues, true);
        let setup = |(action, error)| TapError::Setup { ifname: config.ifname.clone(), action, error };
        tap.set_up(config).map_err(setup)?;
        Ok(tap)
    }

    fn share(ifname: &str, queues: Vec<OwnedFd>, receives: bool) -> Self {
        Self { ifname: ifname.to_owned(), queues, receives, next: 0, gathered: Vec::new() }
    }

    /// Its interface's name.
    #[must_use]
    pub fn ifname(&self) -> &str {
        &self.ifname
    }

    /// Its MAC address as it is now, whichever namespace the interface is in.
    ///
    /// # Errors
    /// The interface was removed.
    pub fn mac(&self) -> io::Result<MacAddr> {
        let request = IfReq::new(&self.ifname).map_err(io::Error::other)?;
        request.send(self.first_queue()?, Request::Mac).map(|answer| answer.mac())
    }

    /// Lets go of the interface: it is switched off, its name is free, and it ends when `self` is dropped, also a persistent
    /// one. That takes the kernel some 20 ms, in which it waits for all CPUs to forget the interface: time to be spent on
    /// another thread. Meanwhile the interface is seen as vmsw-goneN. To be called in its network namespace.
    ///
    /// # Errors
    /// The interface was removed already, or could not be renamed. It ends all the same.
    pub fn retire(&self) -> io::Result<()> {
        TunSetting::Persist(false).apply(self.first_queue()?)?;
        let control = control_socket()?;
        let request = || IfReq::new(&self.ifname).map_err(io::Error::other);
        // Before Linux 6.2 only an interface that is switched off can be renamed.
        request().and_then(|r| switch(r, control.as_fd(), false))?;
        request()?.with_new_name(RETIRED).send(control.as_fd(), Request::SetName).map(drop)
    }

    fn first_queue(&self) -> io::Result<BorrowedFd<'_>> {
        self.queues.first().map(AsFd::as_fd).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Persistence comes last: what fails before leaves nothing behind.
    fn set_up(&self, config: &TapConfig) -> Result<(), (&'static str, io::Error)> {
        let at = |action| move |error: io::Error| (action, error);
        let request = || IfReq::new(&self.ifname).map_err(io::Error::other);
        let queue = self.first_queue().map_err(at("opening a queue"))?;
        let control = control_socket().map_err(at("opening a socket"))?;
        // Setting the address that is there already makes the kernel forget the interface's neighbours, permanent ones too
        // (neigh_changeaddr).
        if let Some(mac) = config.mac.filter(|wanted| self.mac().ok() != Some(*wanted)) {
            let set = |r: IfReq| r.with_mac(mac).send(queue, Request::SetMac);
            request().and_then(set).map_err(at("setting its MAC address"))?;
        }
        if let Some(mtu) = config.mtu {
            let set = |r: IfReq| r.with_mtu(mtu.cast_signed()).send(control.as_fd(), Request::SetMtu);
            request().and_then(set).map_err(at("setting its MTU"))?;
        }
        if config.up {
            request().and_then(|r| switch(r, control.as_fd(), true)).map_err(at("switching it on"))?;
        }
        TunSetting::Persist(config.persist).apply(queue).map_err(at("setting its persistence"))
    }

    fn receive_from(queue: BorrowedFd<'_>, batch: &mut Batch) -> Result<(), PortError> {
        while !batch.is_full() {
            let Some(slot) = batch.vacant().next() else { break };
            match read(queue, slot) {
                Ok(len) if len > VNET_HDR_LEN => batch.push(len),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(removed(error)),
            }
        }
        Ok(())
    }

    fn queue_for(&self, frame: &[u8]) -> usize {
        match self.queues.len() {
            1 => 0,
            n => flow::hash(frame) as usize % n,
        }
    }
}

impl Port for Tap {
    /// A share for which there is no queue left sends on another one's.
    fn deal(&mut self, others: usize) -> Option<Vec<Box<dyn Port>>> {
        let (shares, count) = (others + 1, self.queues.len());
        let lent = (count..shares).map(|number| self.queues[number % count].try_clone().ok());
        let lent = lent.collect::<Option<Vec<_>>>()?;
        let mut dealt: Vec<_> = (0..shares.min(count)).map(|_| Vec::new()).collect();
        for (number, queue) in mem::take(&mut self.queues).into_iter().enumerate() {
            dealt[number % shares].push(queue);
        }
        self.queues = dealt.remove(0);
        let receivers = dealt.into_iter().map(|queues| Self::share(&self.ifname, queues, true));
        let senders = lent.into_iter().map(|queue| Self::share(&self.ifname, vec![queue], false));
        Some(receivers.chain(senders).map(|share| Box::new(share) as Box<dyn Port>).collect())
    }

    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortError> {
        let count = if self.receives { self.queues.len() } else { return Ok(()) };
        for turn in 0..count {
            Self::receive_from(self.queues[(self.next + turn) % count].as_fd(), batch)?;
        }
        self.next = (self.next + 1) % count;
        Ok(())
    }

    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> Result<Sent, PortError> {
        let mut sent = Sent::default();
        for (done, &index) in which.iter().enumerate() {
            let queue = self.queues[self.queue_for(batch.head(index))].as_fd();
            match parts::write(queue, batch.parts_with_vnet(index), &mut self.gathered) {
                Ok(_) => sent.delivered(batch.frame_len(index)),
                // The interface is switched off (tun_get_user).
                Err(Errno::IO) => sent.not_taken(batch, &[index], Taken::Down),
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => {
                    sent.not_taken(batch, &[index], Taken::Full);
                }
                Err(Errno::INVAL) => sent.not_taken(batch, &[index], Taken::BadOffload),
                Err(error) if done == 0 => return Err(removed(error)),
                Err(_) => {
                    // Receiving meets the same error and reports it.
                    sent.not_taken(batch, &which[done..], Taken::Down);
                    break;
                }
            }
        }
        Ok(sent)
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.queues.iter().filter(|_| self.receives).map(AsFd::as_fd).collect()
    }
}

fn removed(error: Errno) -> PortError {
    PortError::Down(format!("interface removed, or its driver stopped: {error}"))
}

fn open_queue(config: &TapConfig) -> Result<OwnedFd, TapError> {
    let ifname = || config.ifname.clone();
    let setup = |action| move |error| TapError::Setup { ifname: config.ifname.clone(), action, error };
    let request = IfReq::new(&config.ifname).map_err(|bad| TapError::Name(ifname(), bad))?;
    let queue = open(DEVICE, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| TapError::Device(error.into()))?;
    let several = if config.queues > 1 { libc::IFF_MULTI_QUEUE } else { 0 };
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | several;
    request.with_flags(flags).send(queue.as_fd(), Request::AttachTap).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::EBUSY) => TapError::Busy(ifname()),
            Some(libc::EINVAL) if exists(&config.ifname) => TapError::NotATap(ifname()),
            _ => setup("attaching to it")(error),
        }
    })?;
    set_offloads(queue.as_fd(), config.offloads).map_err(setup("setting its offloads"))?;
    Ok(queue)
}

fn set_offloads(queue: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    TunSetting::VnetHdrLen(VNET_HDR_LEN as libc::c_int).apply(queue)?;
    TunSetting::LittleEndian.apply(queue)?;
    if !on {
        return TunSetting::Offloads(0).apply(queue);
    }
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    // UDP segmentation offload came with Linux 6.2, both versions of IP or none.
    let udp = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    TunSetting::Offloads(tcp | udp).apply(queue).or_else(|_| TunSetting::Offloads(tcp).apply(queue))
}

fn control_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

fn exists(ifname: &str) -> bool {
    control_socket().is_ok_and(|socket| name_to_index(socket, ifname).is_ok())
}

fn switch(request: IfReq, control: BorrowedFd<'_>, on: bool) -> io::Result<IfReq> {
    let answer = request.send(control, Request::Flags)?;
    let flags = if on { answer.flags() | libc::IFF_UP } else { answer.flags() & !libc::IFF_UP };
    answer.with_flags(flags).send(control, Request::SetFlags)
}
