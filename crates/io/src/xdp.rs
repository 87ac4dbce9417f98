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
//! alternating rounds (`examples/xdp_forward.rs`; no NIC with zero-copy was at hand: it was tried under emulation only):
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
//! Zero-copy is left out where it is known to lose frames (`STRAY_HEADERS`), and taken there only where AF_XDP is asked for.
//!
//! Generic copy is never chosen, only taken where AF_XDP is asked for: with a generic program on it, an
//! interface joins no segments any more (`netif_elide_gro`).

mod hold;
mod ladder;
mod names;
mod news;
mod nic;
mod partial;
mod program;
mod queue;
mod ready;
mod refused;
mod ring;
mod sender;
mod umem;
mod watch;

pub use ladder::Refusal;
pub(crate) use nic::STRAY_HEADERS;
pub use nic::{Traits, take_vlan_tags_out, takes_vlan_tags_out};

use crate::{
    Batch, Port, PortError, Sent, flow,
    interface::{BadInterfaceName, IfReq},
    offload::{self, Taken},
    packet,
    parts::piece,
    piece::Piece,
};
use hold::Hold;
use names::Names;
use news::News;
use nic::{Facts, Nic};
use parking_lot::Mutex;
use program::Program;
use queue::Queue;
use ready::Ready;
use refused::Refused;
use sender::Sender;
use std::{
    fmt, io, mem,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};
use watch::Watch;
use wire::vlan;

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
/// does not see, for as long as this lives: or a share of them.
#[derive(Debug)]
pub struct XdpPort {
    hold: Arc<Hold>,
    mode: XdpMode,
    refused: Vec<Refusal>,
    /// Those to receive from.
    queues: Vec<Queue>,
    /// Those to send on. Of a share that has no queue to send on, another's: that one locks it too.
    senders: Vec<Arc<Mutex<Sender>>>,
    /// Where the next receive begins, so that no queue starves behind another.
    next: usize,
    /// Of the share that watches.
    watch: Option<Watch>,
    ready: Ready,
    /// Where a frame in pieces is put together that has to be finished.
    scratch: Vec<u8>,
    /// Which sender each frame of the batch at hand is for.
    places: Vec<usize>,
    names: Names,
    /// What was not sent, though it was counted.
    late: Refused,
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
        let facts = Facts { rx_queues: facts.rx_queues.map(|_| opened.queues.len() as u32), ..facts };
        let hold = Arc::new(Hold::new(opened.link, nic, facts.mtu, promiscuous));
        let mut ready = Ready::new().map_err(setup("making an epoll set"))?;
        ready.arm(&opened.queues).map_err(setup("waiting for frames"))?;
        let mut port = Self::share(&hold, opened.mode, opened.queues, ready);
        port.refused = opened.refused;
        let watch = port.watch.insert(Watch::new(news, facts, &hold));
        watch.fds().try_for_each(|fd| port.ready.tell_of(fd)).map_err(setup("waiting for changes"))?;
        Ok(port)
    }

    fn share(hold: &Arc<Hold>, mode: XdpMode, queues: Vec<Queue>, ready: Ready) -> Self {
        Self {
            hold: Arc::clone(hold),
            mode,
            refused: Vec::new(),
            senders: queues.iter().filter_map(Queue::sender).collect(),
            queues,
            next: 0,
            watch: None,
            ready,
            scratch: Vec::new(),
            places: Vec::new(),
            names: Names::default(),
            late: Refused::default(),
        }
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

    /// How many queues there are, each with its socket; of a share, those it receives from.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    /// What tells each of `shares` shares of its queues; the first is this one's.
    fn ready_for(&self, shares: usize) -> io::Result<Vec<Ready>> {
        let of = |share| self.queues.iter().skip(share).step_by(shares);
        let ready = |share| Ready::new().and_then(|mut ready| ready.arm(of(share)).map(|()| ready));
        (1..shares).map(ready).collect()
    }

    /// Decides on which of several queues each frame leaves: all of a flow on the same.
    fn place(&mut self, batch: &Batch, which: &[u16]) {
        let count = self.senders.len();
        self.places.clear();
        if count > 1 {
            self.places.extend(which.iter().map(|&index| flow::hash(batch.head(index)) as usize % count));
        }
    }

    /// Sends those frames that are for this sender.
    fn send_on(
        &mut self,
        number: usize,
        batch: &Batch,
        which: &[u16],
        sent: &mut Sent,
    ) -> Result<(), PortError> {
        let Self { senders, scratch, places, hold, names, late, .. } = self;
        let (mtu, sender) = (hold.mtu(), &mut *senders[number].lock());
        for (at, &index) in which.iter().enumerate() {
            if places.get(at).is_some_and(|place| *place != number) {
                continue;
            }
            let (vnet, head, tail) = (batch.vnet(index), batch.head(index), batch.tail(index));
            if offload::is_finished(vnet) {
                // SAFETY: the batch keeps what its pieces lie in.
                let taken = unsafe { give(sender, mtu, head, tail) };
                sent.count_of(batch, index, taken);
                names.put(batch, index, sender, taken);
                continue;
            }
            offload::finish(batch, index, scratch, sent, |[header, payload]| {
                // SAFETY: the piece is a slice that outlives the call.
                let taken = unsafe { give(sender, mtu, header, &[piece(payload)]) };
                names.put(batch, index, sender, taken);
                taken
            });
        }
        let flushed = flush(sender, late, &mut self.ready, |at| names.refuse(at));
        late.settle(sent);
        names.note(batch);
        flushed.map_err(|error| self.hold.stop(why_closed(&error)))
    }

    /// Has the kernel send what it did not at once.
    fn send_again(&mut self) -> Result<(), PortError> {
        let Self { senders, ready, hold, late, .. } = self;
        senders.iter().try_for_each(|sender| {
            let flushed = flush(&mut sender.lock(), late, ready, |_| {});
            flushed.map_err(|error| hold.stop(why_closed(&error)))
        })
    }
}

impl Port for XdpPort {
    /// A share for which there is no queue left to send on sends on another one's.
    fn deal(&mut self, others: usize) -> Option<Vec<Box<dyn Port>>> {
        let shares = others + 1;
        let ready = self.ready_for(shares).ok()?;
        let senders: Vec<_> = self.queues.iter().filter_map(Queue::sender).collect();
        let mut dealt: Vec<_> = (0..shares).map(|_| Vec::new()).collect();
        for (number, queue) in mem::take(&mut self.queues).into_iter().enumerate() {
            if number % shares != 0 {
                self.ready.forget(&queue);
            }
            dealt[number % shares].push(queue);
        }
        let mut dealt = dealt.into_iter();
        self.queues = dealt.next().unwrap_or_default();
        self.senders = self.queues.iter().filter_map(Queue::sender).collect();
        let others = dealt.zip(ready).zip(1..).map(|((queues, ready), number)| {
            let mut share = Self::share(&self.hold, self.mode, queues, ready);
            if share.senders.is_empty() {
                share.senders.extend(senders.get(number % senders.len().max(1)).cloned());
            }
            Box::new(share) as Box<dyn Port>
        });
        Some(others.collect())
    }

    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortError> {
        self.hold.passes()?;
        if self.ready.take_unsent() {
            self.send_again()?;
        }
        let (count, mut found) = (self.queues.len(), 0);
        for turn in 0..count {
            found += self.queues[(self.next + turn) % count].receive(batch);
        }
        self.next = (self.next + 1) % count.max(1);
        if self.ready.is_armed() && found >= LOAD {
            self.ready.disarm(&self.queues);
        }
        self.watch.as_mut().map_or(Ok(()), |watch| watch.looked(found > 0, &self.hold))
    }

    fn complete(&mut self) {
        self.queues.iter_mut().for_each(Queue::complete);
    }

    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> Result<Sent, PortError> {
        self.hold.passes()?;
        let mut sent = Sent::default();
        self.place(batch, which);
        for number in 0..self.senders.len() {
            if self.places.is_empty() || self.places.contains(&number) {
                self.send_on(number, batch, which, &mut sent)?;
            }
        }
        Ok(sent)
    }

    fn is_polled(&self) -> bool {
        true
    }

    fn arm(&mut self) -> bool {
        self.ready.arm(&self.queues).is_ok() && !self.queues.iter_mut().any(Queue::has_frames)
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.ready.as_fd()]
    }

    fn kernel_drops(&mut self) -> u64 {
        self.queues.iter_mut().map(Queue::drops).sum()
    }
}

/// Has the kernel send what was put into the ring, counts what it refused, and tells where that lay.
fn flush(
    sender: &mut Sender,
    late: &mut Refused,
    ready: &mut Ready,
    mut refused: impl FnMut(u64),
) -> io::Result<()> {
    let flushed = sender.flush(|entry| {
        late.add(entry.len);
        refused(entry.addr);
    });
    if sender.is_stuck() {
        ready.is_unsent();
    }
    flushed
}

fn why_closed(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENETDOWN) => "interface is down".to_owned(),
        Some(libc::ENXIO | libc::ENODEV) => "interface removed".to_owned(),
        _ => format!("the kernel closed the interface to us: {error}"),
    }
}

/// Puts a finished frame into the ring.
///
/// # Safety
/// The pieces of `tail` are mapped and readable.
unsafe fn give(sender: &mut Sender, mtu: usize, head: &[u8], tail: &[Piece]) -> Taken {
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
                sender.put(few)
            }
            None => sender.put(&[&[piece(head)], tail].concat()),
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
