//! Opening: one mode after the other, until the interface takes one.

use super::{
    XdpError, XdpMode,
    nic::{Facts, Nic},
    program::Program,
    queue::{Binding, OpenError, Queue},
    umem::{CHUNK, HEADROOM},
};
use rustix::io::Errno;
use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

/// How long the kernel is given to let a queue go, which waits for the lock of all interfaces.
const RELEASE: Duration = Duration::from_secs(2);
/// Queues asked for where the interface does not tell how many it has.
const MOST_QUEUES: u32 = 256;
/// What comes in front of the MTU: Ethernet and two VLAN tags.
const LINK_HEADERS: u32 = 14 + 8;

/// A mode that the interface did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The mode.
    pub mode: XdpMode,
    /// Why not.
    pub why: String,
}

/// Sockets on all queues, and the program that gives them every frame.
#[derive(Debug)]
pub(super) struct Opened {
    pub mode: XdpMode,
    pub refused: Vec<Refusal>,
    pub link: OwnedFd,
    pub queues: Vec<Queue>,
}

/// Why one mode was not reached.
enum Failed {
    /// A worse one may be.
    Refused(String),
    /// No other will.
    Hopeless(XdpError),
}

impl From<XdpError> for Failed {
    fn from(error: XdpError) -> Self {
        Self::Hopeless(error)
    }
}

/// Opens in the first mode that works.
pub(super) fn climb_down(
    ifname: &str,
    nic: &mut Nic,
    facts: &Facts,
    modes: &[XdpMode],
) -> Result<Opened, XdpError> {
    if Program::is_attached_to(facts.index) {
        return Err(XdpError::OtherProgram(ifname.to_owned()));
    }
    let from_wire = !nic.has_local_peer();
    let mut refused = Vec::new();
    for &mode in modes {
        match open(ifname, nic, facts, mode, from_wire) {
            Ok((link, queues)) => return Ok(Opened { mode, refused, link, queues }),
            Err(Failed::Refused(why)) => refused.push(Refusal { mode, why }),
            Err(Failed::Hopeless(error)) => return Err(error),
        }
    }
    Err(XdpError::NoMode(ifname.to_owned(), refused))
}

/// True where a frame may not fit one chunk.
pub(super) const fn takes_several_chunks(mtu: u32) -> bool {
    mtu + LINK_HEADERS > (CHUNK - HEADROOM) as u32
}

fn open(
    ifname: &str,
    nic: &mut Nic,
    facts: &Facts,
    mode: XdpMode,
    from_wire: bool,
) -> Result<(OwnedFd, Vec<Queue>), Failed> {
    let several_chunks = takes_several_chunks(facts.mtu);
    let binding = Binding {
        ifindex: facts.index,
        tx_queues: facts.tx_queues.unwrap_or(u32::MAX).min(facts.rx_queues.unwrap_or(u32::MAX)),
        zero_copy: mode == XdpMode::ZeroCopy,
        several_chunks,
        partial_checksums: !from_wire,
    };
    let setup = |action, error| Failed::from(setup_error(ifname, action, error));
    let mut queues = open_queues(ifname, facts, binding)?;
    // Not before: a driver may set its NIC up anew for this, and the mode may not be to be had.
    if !nic.keep_vlan_tags() {
        return Err(XdpError::TakesTagsOut(ifname.to_owned()).into());
    }
    let most = facts.most_rx_queues.unwrap_or(0).max(queues.len() as u32);
    let program = Program::load(most, several_chunks).map_err(|e| setup("loading its XDP program", e))?;
    (0..).zip(&queues).try_for_each(|(number, queue)| serve(ifname, &program, number, queue))?;
    // Last: from now on frames come, and every queue has a socket to take them.
    let link = program.attach(facts.index, mode != XdpMode::GenericCopy);
    let link = link.map_err(|error| not_attached(ifname, facts, &error))?;
    open_further(ifname, nic, &program, binding, &mut queues)?;
    Ok((link, queues))
}

fn serve(ifname: &str, program: &Program, number: u32, queue: &Queue) -> Result<(), XdpError> {
    let served = program.serve(number, queue.as_fd());
    served.map_err(|error| setup_error(ifname, "giving the XDP program its sockets", error))
}

/// Opens queues that the interface receives on only since it has the program: `virtio_net` takes up as many as there are CPUs,
/// for programs to send on, if it has them to spare. It gives them up with the program, and then lets go of no memory that
/// they receive into without a copy (`virtnet_xsk_pool_disable`).
fn open_further(
    ifname: &str,
    nic: &Nic,
    program: &Program,
    binding: Binding,
    queues: &mut Vec<Queue>,
) -> Result<(), Failed> {
    let before = queues.len() as u32;
    let now = nic.facts().ok().and_then(|now| now.rx_queues).unwrap_or(before);
    if now > before && binding.zero_copy {
        return Err(Failed::Refused(format!(
            "with a program its driver has {now} channels in place of {before}; give it as many as it can have \
             (ethtool -L)"
        )));
    }
    for number in before..now {
        let opened = open_queue(number, binding);
        let queue = opened.map_err(|error| not_opened(ifname, number, binding, error))?;
        serve(ifname, program, number, &queue)?;
        queues.push(queue);
    }
    Ok(())
}

fn open_queues(ifname: &str, facts: &Facts, binding: Binding) -> Result<Vec<Queue>, Failed> {
    let mut queues = Vec::new();
    for number in 0..facts.rx_queues.unwrap_or(MOST_QUEUES) {
        match open_queue(number, binding) {
            Ok(queue) => queues.push(queue),
            // The kernel's answer for a queue that is not there.
            Err(OpenError::Bind(error))
                if facts.rx_queues.is_none() && number > 0 && errno(&error) == Some(Errno::INVAL) =>
            {
                break;
            }
            Err(error) => return Err(not_opened(ifname, number, binding, error)),
        }
    }
    Ok(queues)
}

/// A socket that was closed lets go of its queue only a little later (xp_release_deferred): one of a mode
/// that failed, or of the port that was open before.
fn open_queue(number: u32, binding: Binding) -> Result<Queue, OpenError> {
    let started = Instant::now();
    loop {
        match Queue::open(number, binding) {
            Err(OpenError::Bind(error))
                if errno(&error) == Some(Errno::BUSY) && started.elapsed() < RELEASE =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

fn setup_error(ifname: &str, action: &'static str, error: io::Error) -> XdpError {
    let ifname = ifname.to_owned();
    match errno(&error) {
        _ if error.kind() == io::ErrorKind::PermissionDenied => XdpError::NotPermitted(ifname),
        Some(Errno::NOBUFS) => XdpError::LockedMemory(ifname),
        Some(Errno::AFNOSUPPORT) => XdpError::Unsupported,
        _ => XdpError::Setup { ifname, action, error },
    }
}

fn not_opened(ifname: &str, queue: u32, binding: Binding, error: OpenError) -> Failed {
    match error {
        OpenError::Bind(error) => not_bound(ifname, queue, binding, &error),
        OpenError::Setup(action, error) => setup_error(ifname, action, error).into(),
    }
}

fn not_bound(ifname: &str, queue: u32, binding: Binding, error: &io::Error) -> Failed {
    let (name, several) = (ifname.to_owned(), binding.several_chunks);
    match errno(error) {
        Some(Errno::BUSY) => XdpError::QueueBusy(name, queue).into(),
        Some(Errno::NETDOWN) => XdpError::Down(name).into(),
        Some(Errno::NODEV) => XdpError::NotFound(name).into(),
        Some(Errno::OPNOTSUPP) if binding.zero_copy && several => {
            Failed::Refused("its driver has no zero-copy, or none for frames of its MTU".to_owned())
        }
        Some(Errno::OPNOTSUPP) if binding.zero_copy => {
            Failed::Refused("its driver has no zero-copy".to_owned())
        }
        Some(Errno::INVAL) if several => Failed::Refused(format!(
            "frames of its MTU take several chunks of {CHUNK} bytes, which this kernel cannot (Linux 6.6 can)"
        )),
        _ if binding.zero_copy => Failed::Refused(format!(
            "its driver refuses zero-copy with the NIC's present settings (binding to queue {queue}: {error})"
        )),
        _ => Failed::Refused(format!("binding to queue {queue}: {error}")),
    }
}

fn not_attached(ifname: &str, facts: &Facts, error: &io::Error) -> Failed {
    let refused = |why: &str| Failed::Refused(why.to_owned());
    match errno(error) {
        Some(Errno::BUSY | Errno::EXIST) => XdpError::OtherProgram(ifname.to_owned()).into(),
        Some(Errno::PERM | Errno::ACCESS) => XdpError::NotPermitted(ifname.to_owned()).into(),
        Some(Errno::NODEV) => XdpError::NotFound(ifname.to_owned()).into(),
        Some(Errno::OPNOTSUPP) => {
            refused("its driver runs no XDP programs, or not with its present offloads")
        }
        Some(Errno::RANGE | Errno::INVAL) => Failed::Refused(format!(
            "its driver runs no XDP programs with its present settings (MTU {}, channels, offloads): {error}",
            facts.mtu
        )),
        Some(Errno::NOSPC) => {
            refused("it receives on fewer queues than its peer sends on; give it as many (ethtool -L)")
        }
        _ => Failed::Refused(format!("attaching the XDP program: {error}")),
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}
