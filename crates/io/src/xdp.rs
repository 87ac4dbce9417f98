//! AF_XDP: the port on a NIC whose driver runs XDP programs (Documentation/networking/af_xdp.rst).
//!
//! Each queue of the interface has a socket, and a program of ours gives every frame to its queue's, before
//! the host's stack sees it. Frames lie in memory that the kernel or the NIC writes to (`umem.rs`); what was
//! received is sent on from there, and rings say whose a piece of it is (`ring.rs`). A system call is made
//! once a batch, to send, and none to receive.
//!
//! # What it is good for
//!
//! AF_XDP carries frames and nothing beside them: no segments above the MTU, no partial checksums, no VLAN
//! tag that the driver took out. So what a VM sends is cut and completed here, the driver is told to leave
//! tags in, and checksums that the far end of a veth left open are found (`partial.rs`). Measured beside
//! [`PacketSocket`](crate::PacketSocket) on a virtual machine with two CPUs, Linux 6.18, medians of
//! alternating rounds (`examples/xdp_forward.rs`; no NIC with zero-copy was at hand):
//!
//! | carried by one CPU                                      | AF_PACKET  | native     | generic copy |
//! | ------------------------------------------------------- | ---------- | ---------- | ------------ |
//! | TAP to veth, 60 bytes, Mpps (testpmd, net_af_xdp: 0.79) | 0.38       | 0.85       | 0.62         |
//! | veth to veth, 60 bytes, CPU time for a frame, µs        | 3.0        | 2.5        | 2.4          |
//! | veth to veth, TCP, each way, Gbit/s                     | 10.3, 10.2 | 2.2, 2.1   |              |
//! | TAP to veth without segmentation, TCP, each way, Gbit/s | 3.5, 1.8   | 2.9, 2.5   |              |
//! | veth to veth, ping, average, µs                         | 80         | 44         |              |
//!
//! # The rule for `auto`
//!
//! 1. Where the other end is this host or a VMM and no wire (veth, TAP: [`Traits::local_peer`]): AF_PACKET.
//!    Streams are five times as fast, and what stands beside frames is not lost. A TAP's segments would be.
//! 2. A NIC that cuts segments itself ([`Traits::segments`]): AF_XDP with zero-copy, else AF_PACKET.
//! 3. A NIC that does not: AF_XDP with zero-copy or native copy, else AF_PACKET.
//!
//! Generic copy is never chosen, only taken where AF_XDP is asked for: with a generic program on it, an
//! interface joins no segments any more (`netif_elide_gro`).

mod ladder;
mod news;
mod nic;
mod partial;
mod program;
mod queue;
mod ring;
mod umem;

pub use ladder::Refusal;
pub use nic::{Traits, take_vlan_tags_out, takes_vlan_tags_out};

use crate::{
    Batch, Epoll, Port, PortError, Sent, Waker,
    interface::{BadInterfaceName, IfReq},
    offload::{self, Taken},
    packet,
    parts::piece,
    piece::Piece,
};
use news::News;
use nic::{Facts, Nic};
use program::Program;
use queue::{Queue, Refused};
use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};
use wire::vlan;

/// Looks for frames that find none, after which it is asked whether the interface changed: a system call.
const QUIET_LOOKS: u32 = 16;
/// Looks for frames after which it is asked in any case.
const ALL_LOOKS: u32 = 1024;
/// So many frames at once are load: more are to come before anybody sleeps.
const LOAD: usize = 16;
const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;
/// Pieces of most frames in a guest's memory: the head, and what is behind it in one or two buffers.
const USUAL_PIECES: usize = 4;

/// How frames get from the NIC into our memory, best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum XdpMode {
    /// The kernel makes its own buffers for them, runs the program, and copies.
    GenericCopy,
    /// The driver runs the program, and the kernel copies.
    NativeCopy,
    /// The NIC writes them there itself.
    ZeroCopy,
}

impl XdpMode {
    /// All modes, best first: what to try where AF_XDP is asked for.
    pub const ALL: [Self; 3] = [Self::ZeroCopy, Self::NativeCopy, Self::GenericCopy];
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroCopy => "zero-copy",
            Self::NativeCopy => "native copy",
            Self::GenericCopy => "generic copy",
        })
    }
}

/// Why an interface could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// The name cannot be an interface's.
    #[error("{0:?} cannot be the name of an interface; check the spelling")]
    Name(String, #[source] BadInterfaceName),
    /// There is no such interface in this namespace.
    #[error("interface {0} is not there; check the name (ip link) and the namespace")]
    NotFound(String),
    /// It is switched off, and passes nothing.
    #[error("interface {0} is down; switch it on (ip link set {0} up)")]
    Down(String),
    /// AF_XDP takes privileges.
    #[error("AF_XDP sockets may not be opened on {0}; they take CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF")]
    NotPermitted(String),
    /// The memory for frames may not be locked.
    #[error("memory for frames of {0} may not be locked; it takes CAP_IPC_LOCK or a higher LimitMEMLOCK=")]
    LockedMemory(String),
    /// The kernel was built without.
    #[error("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS); use AF_PACKET")]
    Unsupported,
    /// Somebody else's program is attached.
    #[error("{0} has another XDP program already (ip link show {0}); detach that, or use AF_PACKET")]
    OtherProgram(String),
    /// Somebody else's AF_XDP socket is bound to a queue.
    #[error("queue {1} of {0} has another program's AF_XDP socket; stop that program, or use AF_PACKET")]
    QueueBusy(String, u32),
    /// Its driver takes VLAN tags out of the frames, and AF_XDP has no place beside them.
    #[error("{0} takes VLAN tags out of frames, and its driver lets nobody end that; use AF_PACKET")]
    TakesTagsOut(String),
    /// None of the modes is to be had.
    #[error("interface {0} takes no AF_XDP sockets ({refusals}); use AF_PACKET", refusals = list(.1))]
    NoMode(String, Vec<Refusal>),
    /// The kernel did not want to.
    #[error("interface {ifname}: {action} failed")]
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

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| format!("{}: {}", refusal.mode, refusal.why)).collect::<Vec<_>>().join("; ")
}

/// AF_XDP sockets on all queues of one interface, which is promiscuous, and whose frames the host's stack
/// does not see, for as long as this lives.
#[derive(Debug)]
pub struct XdpPort {
    mode: XdpMode,
    refused: Vec<Refusal>,
    /// Keeps the program attached. Closed before the sockets, so that no frame comes to a queue without one.
    _link: OwnedFd,
    queues: Vec<Queue>,
    /// Where the next receive begins, so that no queue starves behind another.
    next: usize,
    nic: Nic,
    facts: Facts,
    news: News,
    /// Looks for frames since the interface was last asked about, and those of them that found none.
    looks: u32,
    quiet: u32,
    /// Holds what tells of anything: the sockets while armed, `news` and `unsent` always.
    ready: Epoll,
    /// A socket that is waited for tells of every frame it receives, at the cost of whoever brings them: 10 %
    /// of a frame from a TAP. So under load none is.
    armed: bool,
    /// Keeps `ready` readable while frames wait that the kernel did not send at once.
    unsent: Waker,
    /// Whether `unsent` is readable: so it is asked only where it is.
    is_unsent: bool,
    /// Where a frame in pieces is put together that has to be finished.
    scratch: Vec<u8>,
    /// Why nothing passes any more.
    stopped: Option<String>,
    _promiscuous: OwnedFd,
}

impl XdpPort {
    /// Opens an interface in the namespace of the calling thread, in the first of `modes` that can be had.
    /// Waits up to half a second for the kernel to let go of sockets that were closed before.
    ///
    /// # Errors
    /// See [`XdpError`].
    pub fn open(ifname: &str, modes: &[XdpMode]) -> Result<Self, XdpError> {
        let setup = |action| move |error| XdpError::Setup { ifname: ifname.to_owned(), action, error };
        IfReq::new(ifname).map_err(|bad| XdpError::Name(ifname.to_owned(), bad))?;
        let news = News::open().map_err(setup("watching for changes"))?;
        let mut nic = Nic::open(ifname).map_err(setup("opening a socket"))?;
        let facts = nic.facts().map_err(|_| XdpError::NotFound(ifname.to_owned()))?;
        if !facts.up {
            return Err(XdpError::Down(ifname.to_owned()));
        }
        let promiscuous = packet::promiscuous(facts.index).map_err(setup("making it promiscuous"))?;
        let opened = ladder::climb_down(ifname, &mut nic, &facts, modes)?;
        let mut port = Self {
            mode: opened.mode,
            refused: opened.refused,
            _link: opened.link,
            queues: opened.queues,
            next: 0,
            nic,
            facts,
            news,
            looks: 0,
            quiet: 0,
            ready: Epoll::new().map_err(setup("making an epoll set"))?,
            armed: false,
            unsent: Waker::new().map_err(setup("making a waker"))?,
            is_unsent: false,
            scratch: Vec::new(),
            stopped: None,
            _promiscuous: promiscuous,
        };
        for fd in port.news.fds().chain([port.unsent.as_fd()]) {
            port.ready.add(fd, 0).map_err(setup("waiting for changes"))?;
        }
        port.arm_sockets().map_err(setup("waiting for frames"))?;
        // What we did ourselves is no news, and if something else happened meanwhile, the first receive will
        // tell.
        let _ = port.ask_for_changes();
        Ok(port)
    }

    /// Why opening is hopeless, as far as that can be told without changing anything.
    #[must_use]
    pub fn is_hopeless(ifname: &str) -> Option<XdpError> {
        let facts = Nic::open(ifname).and_then(|nic| nic.facts()).ok()?;
        Program::is_attached_to(facts.index).then(|| XdpError::OtherProgram(ifname.to_owned()))
    }

    /// The mode that was reached.
    #[must_use]
    pub const fn mode(&self) -> XdpMode {
        self.mode
    }

    /// The modes that were tried before, and why each could not be had.
    #[must_use]
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// How many queues there are, each with its socket.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    fn arm_sockets(&mut self) -> io::Result<()> {
        if !self.armed {
            for queue in &self.queues {
                // One that is there already, as the last attempt failed half-way, is as good.
                match self.ready.add(queue.as_fd(), 0) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            self.armed = true;
        }
        Ok(())
    }

    fn disarm_sockets(&mut self) {
        for queue in &self.queues {
            // One that stays costs time, nothing else.
            let _ = self.ready.remove(queue.as_fd());
        }
        self.armed = false;
    }

    fn stop(&mut self, why: String) -> PortError {
        PortError::Down(self.stopped.insert(why).clone())
    }

    fn passes(&self) -> Result<(), PortError> {
        self.stopped.clone().map_or(Ok(()), |why| Err(PortError::Down(why)))
    }

    /// Notices, now and then, that the interface has changed.
    fn notice_changes(&mut self, found_frames: bool) -> Result<(), PortError> {
        self.looks += 1;
        self.quiet += u32::from(!found_frames);
        if self.looks < ALL_LOOKS && self.quiet < QUIET_LOOKS {
            return Ok(());
        }
        (self.looks, self.quiet) = (0, 0);
        self.ask_for_changes()
    }

    fn ask_for_changes(&mut self) -> Result<(), PortError> {
        if !self.news.any() {
            return Ok(());
        }
        match self.nic.facts() {
            Ok(now) => match reason_to_stop(&self.facts, &now) {
                Some(why) => Err(self.stop(why)),
                None => {
                    self.facts = now;
                    Ok(())
                }
            },
            Err(_) => Err(self.stop("interface removed".to_owned())),
        }
    }

    /// Has the kernel send what was put into the ring, and corrects `sent` by what it refused.
    fn flush(&mut self, sent: &mut Sent) -> Result<(), PortError> {
        let Some(queue) = self.queues.first_mut() else { return Ok(()) };
        let mut refused = Refused::default();
        let flushed = queue.flush(&mut refused);
        sent.frames = sent.frames.saturating_sub(refused.frames);
        sent.bytes = sent.bytes.saturating_sub(refused.bytes);
        sent.full += refused.frames;
        if queue.is_stuck() {
            self.unsent.wake();
            self.is_unsent = true;
        }
        flushed.map_err(|error| {
            let why = match error.raw_os_error() {
                Some(libc::ENETDOWN) => "interface is down".to_owned(),
                Some(libc::ENXIO | libc::ENODEV) => "interface removed".to_owned(),
                _ => format!("the kernel closed the interface to us: {error}"),
            };
            self.stop(why)
        })
    }
}

impl Port for XdpPort {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortError> {
        self.passes()?;
        if std::mem::take(&mut self.is_unsent) {
            self.unsent.drain();
            self.flush(&mut Sent::default())?;
        }
        let (count, mut found) = (self.queues.len(), 0);
        for turn in 0..count {
            found += self.queues[(self.next + turn) % count].receive(batch);
        }
        self.next = (self.next + 1) % count.max(1);
        if self.armed && found >= LOAD {
            self.disarm_sockets();
        }
        self.notice_changes(found > 0)
    }

    fn complete(&mut self) {
        self.queues.iter_mut().for_each(Queue::complete);
    }

    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> Result<Sent, PortError> {
        self.passes()?;
        let (mut sent, mtu) = (Sent::default(), self.facts.mtu as usize);
        let Self { queues, scratch, .. } = self;
        let Some(queue) = queues.first_mut() else { return Ok(sent) };
        for &index in which {
            let (vnet, head, tail) = (batch.vnet(index), batch.head(index), batch.tail(index));
            if offload::is_finished(vnet) {
                // SAFETY: the batch keeps what its pieces lie in.
                let taken = unsafe { give(queue, mtu, head, tail) };
                sent.count(taken, batch.frame_len(index));
                continue;
            }
            offload::finish(batch.whole(index, scratch), vnet, &mut sent, |[header, payload]| {
                // SAFETY: the piece is a slice that outlives the call.
                unsafe { give(queue, mtu, header, &[piece(payload)]) }
            });
        }
        self.flush(&mut sent)?;
        Ok(sent)
    }

    fn is_polled(&self) -> bool {
        true
    }

    fn arm(&mut self) -> bool {
        self.arm_sockets().is_ok() && !self.queues.iter_mut().any(Queue::has_frames)
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.ready.as_fd()]
    }

    fn kernel_drops(&mut self) -> u64 {
        self.queues.iter_mut().map(Queue::drops).sum()
    }
}

/// Puts a finished frame into the ring.
///
/// # Safety
/// The pieces of `tail` are mapped and readable.
unsafe fn give(queue: &mut Queue, mtu: usize, head: &[u8], tail: &[Piece]) -> Taken {
    let len = head.len() + tail.iter().map(|piece| piece.len).sum::<usize>();
    if len > longest(head, mtu) {
        return Taken::Oversize;
    }
    let mut pieces = [piece(&[]); USUAL_PIECES];
    // SAFETY: `head` is a slice that outlives the call; the rest is readable by the caller's word.
    let put = unsafe {
        match pieces.get_mut(..=tail.len()) {
            Some(few) => {
                few[0] = piece(head);
                few[1..].copy_from_slice(tail);
                queue.put(few)
            }
            None => queue.put(&[&[piece(head)], tail].concat()),
        }
    };
    if put { Taken::Delivered } else { Taken::Full }
}

/// The longest frame that an interface of this MTU passes: a tag comes on top, as everywhere in the kernel
/// (`__is_skb_forwardable`).
fn longest(head: &[u8], mtu: usize) -> usize {
    let ethertype = head.get(12..14).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    mtu + ETHERNET_HEADER + if ethertype.is_some_and(vlan::is_tpid) { VLAN_TAG } else { 0 }
}

/// Why sockets that were bound to the interface as it was are of no use for what it has become.
fn reason_to_stop(was: &Facts, now: &Facts) -> Option<String> {
    if now.index != was.index {
        return Some("interface removed".to_owned());
    }
    if !now.up {
        return Some("interface is down".to_owned());
    }
    if now.rx_queues != was.rx_queues {
        let queues = |facts: &Facts| facts.rx_queues.map_or("?".to_owned(), |queues| queues.to_string());
        return Some(format!(
            "it has {} receive queues now, and had {}; each needs its socket",
            queues(now),
            queues(was)
        ));
    }
    if ladder::takes_several_chunks(now.mtu) && !ladder::takes_several_chunks(was.mtu) {
        return Some(format!("its MTU is {} now; its frames take larger buffers", now.mtu));
    }
    None
}
