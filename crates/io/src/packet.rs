//! AF_PACKET: the port on an interface that exists, as the NIC of an external switch or a TAP that a VMM opened.
//!
//! packet(7), linux/if_packet.h. Frames pass with their vnet header, so that what GRO joined and what the sender left to
//! be cut cross whole; where the NIC cannot cut, the kernel does, behind us, but only on its ordinary way out: a socket
//! that bypasses the queueing discipline has such frames refused (`__dev_direct_xmit` drops what would become several).
//! So the bypass ends with the first frame above the MTU that is refused, for as long as the socket lives.
//!
//! Frames are read with `recvmmsg`, not from a mapped ring. A TPACKET_V3 ring costs its reader less (on a veth 0.1 against
//! 2 µs for a frame of 60 bytes, 5 against 9 µs for one of 64 KiB, copied out once), but it hands over blocks, not frames:
//! a lone frame waits for the block's timer, 0.6 ms against 0.07. TPACKET_V2 hands over frames, but each of its slots
//! would have to hold 64 KiB. docs/performance.md says how this was measured.

mod socket;

pub(crate) use socket::promiscuous;

use crate::{
    Batch, Port, PortError, Sent,
    interface::BadInterfaceName,
    mmsg::{self, Aside, Outbox, Received},
    offload::Taken,
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// 802.1Q: what the kernel means where it names no other TPID.
const TPID_8021Q: u16 = 0x8100;
/// What is expected of the next frames before any came.
const SMALL: usize = 64;

/// Why an interface could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The name cannot be an interface's.
    #[error("{0:?} cannot be the name of an interface; check the spelling")]
    Name(String, #[source] BadInterfaceName),
    /// There is no such interface in this namespace.
    #[error("interface {0} is not there; check the name (ip link) and the namespace")]
    NotFound(String),
    /// It is switched off, and passes nothing.
    #[error("interface {0} is down; switch it on (ip link set {0} up)")]
    Down(String),
    /// A packet socket takes a privilege.
    #[error("interface {0} may not be opened; it takes CAP_NET_RAW")]
    NotPermitted(String),
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

/// A packet socket on one interface, which is promiscuous for as long as this lives; or one worker's share of what comes in
/// there.
#[derive(Debug)]
pub struct PacketSocket {
    ifname: String,
    socket: OwnedFd,
    /// Size of the frames that came last: how many to ask for, so that a batch does not grow far beyond its bytes.
    typical: usize,
    /// Whether frames bypass the interface's queueing discipline.
    bypass: bool,
    outbox: Outbox,
    /// Frames that the kernel could not hand over.
    lost: u64,
    /// Why nothing passes any more. The kernel says it once, to whichever call comes first.
    stopped: Option<String>,
}

impl PacketSocket {
    /// Opens an interface in the namespace of the calling thread.
    ///
    /// # Errors
    /// See [`PacketError`].
    pub fn open(ifname: &str) -> Result<Self, PacketError> {
        Ok(Self::on(ifname, socket::open(ifname)?))
    }

    fn on(ifname: &str, socket: OwnedFd) -> Self {
        Self {
            ifname: ifname.to_owned(),
            socket,
            typical: SMALL,
            bypass: true,
            outbox: Outbox::default(),
            lost: 0,
            stopped: None,
        }
    }

    fn passes(&self) -> Result<(), PortError> {
        self.stopped.clone().map_or(Ok(()), |why| Err(PortError::Down(why)))
    }

    fn stop(&mut self, error: &io::Error) -> PortError {
        let why = match error.raw_os_error() {
            Some(libc::ENETDOWN) => "interface is down".to_owned(),
            Some(libc::ENODEV | libc::ENXIO) => "interface removed".to_owned(),
            _ => format!("the kernel closed the interface to us: {error}"),
        };
        PortError::Down(self.stopped.insert(why).clone())
    }

    /// True where there was a bypass to end.
    fn end_bypass(&mut self) -> bool {
        std::mem::take(&mut self.bypass) && socket::end_bypass(self.socket.as_fd()).is_ok()
    }

    /// Receives once; true where more may be waiting.
    fn receive_some(&mut self, batch: &mut Batch) -> Result<bool, PortError> {
        let (want, before) = (batch.room_for(self.typical), batch.bytes());
        match mmsg::receive(self.socket.as_fd(), batch, want, 0, take_in) {
            Ok(count) => {
                self.typical = (batch.bytes() - before).checked_div(count).unwrap_or(SMALL);
                Ok(count == want)
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Ok(false),
                Some(libc::EINTR) => Ok(true),
                // A frame whose offload no vnet header can express, like a tunnel's; the kernel dropped it.
                Some(libc::EINVAL) => {
                    self.lost += 1;
                    Ok(true)
                }
                _ => Err(self.stop(&error)),
            },
        }
    }
}

impl Port for PacketSocket {
    /// Each share has a socket of its own, and the kernel gives each frame to one of them: those of a flow to the same. To be
    /// called in the interface's namespace.
    fn deal(&mut self, others: usize) -> Option<Vec<Box<dyn Port>>> {
        let sockets = socket::fan_out(self.socket.as_fd(), &self.ifname, others).ok()?;
        let shares = sockets.into_iter().map(|socket| Self::on(&self.ifname, socket));
        Some(shares.map(|share| Box::new(share) as Box<dyn Port>).collect())
    }

    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortError> {
        self.passes()?;
        while !batch.is_full() && self.receive_some(batch)? {}
        Ok(())
    }

    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> Result<Sent, PortError> {
        self.passes()?;
        let (mut sent, mut rest) = (Sent::default(), which);
        while let Some((&first, behind_first)) = rest.split_first() {
            let frames = rest.iter().map(|&index| batch.parts_with_vnet(index));
            match self.outbox.send(self.socket.as_fd(), None, frames) {
                Ok(count) => {
                    let (done, left) = rest.split_at(count.min(rest.len()));
                    done.iter().for_each(|&index| sent.delivered(batch.frame_len(index)));
                    rest = left;
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // As for want of room, but a queueing discipline might have it cut.
                    Some(libc::ENOBUFS) if batch.vnet(first).gso_type != 0 && self.end_bypass() => {}
                    // The socket's own buffer is full: nothing behind will fit either.
                    Some(libc::EAGAIN) => {
                        sent.not_taken(batch, rest, Taken::Full);
                        rest = &[];
                    }
                    errno => {
                        if let Some(why) = errno.and_then(refused) {
                            sent.not_taken(batch, &[first], why);
                            rest = behind_first;
                            continue;
                        }
                        let stopped = self.stop(&error);
                        if rest.len() == which.len() {
                            return Err(stopped);
                        }
                        sent.not_taken(batch, rest, Taken::Down);
                        rest = &[];
                    }
                },
            }
        }
        Ok(sent)
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.socket.as_fd()]
    }

    fn kernel_drops(&mut self) -> u64 {
        std::mem::take(&mut self.lost) + socket::dropped(self.socket.as_fd())
    }
}

/// Why the kernel refused a frame; `None` where the trouble is not the frame's.
const fn refused(errno: i32) -> Option<Taken> {
    match errno {
        libc::ENOBUFS | libc::ENOMEM => Some(Taken::Full),
        libc::EMSGSIZE => Some(Taken::Oversize),
        libc::EINVAL => Some(Taken::BadOffload),
        _ => None,
    }
}

fn take_in(batch: &mut Batch, received: Received<'_, AuxData>) {
    match received.aside.tag() {
        _ if received.truncated => mmsg::push_truncated(batch),
        Some((tpid, tci)) => batch.push_tagged(received.len, tpid, tci),
        None => batch.push(received.len),
    }
}

/// The one control message of a packet socket (PACKET_AUXDATA), laid out as cmsg(3) lays it out.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct AuxData {
    header: libc::cmsghdr,
    data: libc::tpacket_auxdata,
}

impl AuxData {
    /// The VLAN tag that the kernel took out of the frame: TPID and TCI.
    const fn tag(&self) -> Option<(u16, u16)> {
        let Self { header, data } = self;
        let present = header.cmsg_level == libc::SOL_PACKET && header.cmsg_type == libc::PACKET_AUXDATA;
        if !present || data.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let named = data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        Some((if named { data.tp_vlan_tpid } else { TPID_8021Q }, data.tp_vlan_tci))
    }
}

// SAFETY: the struct holds nothing but integers, and `attach` names all of it by its own size.
unsafe impl Aside for AuxData {
    const EMPTY: Self = Self {
        header: libc::cmsghdr { cmsg_len: 0, cmsg_level: 0, cmsg_type: 0 },
        data: libc::tpacket_auxdata {
            tp_status: 0,
            tp_len: 0,
            tp_snaplen: 0,
            tp_mac: 0,
            tp_net: 0,
            tp_vlan_tci: 0,
            tp_vlan_tpid: 0,
        },
    };

    fn attach(&mut self, header: &mut libc::msghdr) {
        header.msg_control = std::ptr::from_mut(self).cast();
        header.msg_controllen = size_of::<Self>() as _;
    }
}
