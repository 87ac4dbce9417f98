//! One queue of an interface: a socket that receives from it, and one that sends on it (`sender.rs`).
//!
//! They share memory, and could be one. But the kernel tells whoever waits for a socket of every frame that
//! it has sent, also those who wait for other things: with two, nobody waits for the one that sends, which
//! was 8 % of the whole way of a frame. And a worker may send on a queue that another one receives from.

use super::{
    partial,
    ring::{Consumer, Layout, Producer},
    sender::Sender,
    umem::{RX_CHUNKS, TX_CHUNKS, Umem},
};
use crate::{BATCH_FRAMES, Batch, HEAD_BYTES, MAX_FRAME, interface::check, piece::Piece};
use parking_lot::Mutex;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use std::{
    io,
    mem::{size_of_val, zeroed},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::Arc,
};
use wire::VNET_HDR_LEN;

/// Most chunks of one frame: 64 KiB are 17, and may begin behind a headroom.
const MAX_PIECES: usize = 18;
/// The socket's own buffer limits how much may wait in the peer's queues; the ring is limit enough.
const SEND_BUFFER: usize = 64 << 20;
/// XDP_MAX_TX_SKB_BUDGET (linux/if_xdp.h, Linux 6.17): frames that a system call sends in copy mode, 32 at
/// first.
const MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// What binding asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    pub ifindex: u32,
    /// Queues below this number are sent on too.
    pub tx_queues: u32,
    pub zero_copy: bool,
    /// Frames may lie in several chunks.
    pub several_chunks: bool,
    /// Frames may have partial checksums, which are to be found.
    pub partial_checksums: bool,
}

/// The socket that receives, its rings and its memory, and the one that sends.
#[derive(Debug)]
pub(super) struct Queue {
    receiver: OwnedFd,
    fill: Producer<u64>,
    rx: Consumer<libc::xdp_desc>,
    umem: Arc<Umem>,
    /// Chunks of frames that were received and are being sent on.
    held: Vec<u64>,
    partial_checksums: bool,
    /// Behind a lock of its own, for whoever has no queue to send on.
    sender: Option<Arc<Mutex<Sender>>>,
    /// Frames that were received and could not be handed over, and those the kernel told of.
    lost: u64,
    told: u64,
}

impl Queue {
    /// Binds the sockets to a queue; the fill ring is full.
    pub(super) fn open(queue: u32, binding: Binding) -> Result<Self, OpenError> {
        let step = |action| move |error: io::Error| OpenError::Setup(action, error);
        let umem = Arc::new(Umem::new().map_err(step("allocating memory for frames"))?);
        let receiver = create_receiver(&umem)?;
        let (mut fill, rx, done) = map_receiver(receiver.as_fd()).map_err(step("mapping its rings"))?;
        Umem::rx_chunks().for_each(|chunk| fill.put(chunk));
        fill.publish();
        let copying = if binding.zero_copy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
        let several = if binding.several_chunks { libc::XDP_USE_SG } else { 0 };
        let flags = copying | several | libc::XDP_USE_NEED_WAKEUP;
        bind(receiver.as_fd(), queue, binding.ifindex, flags, None).map_err(OpenError::Bind)?;
        let sender = (queue < binding.tx_queues)
            .then(|| open_sender(queue, binding, receiver.as_fd(), done, &umem))
            .transpose()?;
        Ok(Self {
            fill,
            rx,
            umem,
            held: Vec::with_capacity(BATCH_FRAMES),
            partial_checksums: binding.partial_checksums,
            sender: sender.map(|sender| Arc::new(Mutex::new(sender))),
            lost: 0,
            told: 0,
            receiver,
        })
    }

    /// What sends on this queue.
    pub(super) fn sender(&self) -> Option<Arc<Mutex<Sender>>> {
        self.sender.clone()
    }

    /// Appends frames to the batch; they stay where they are until [`Self::complete`]. Says how many there
    /// were.
    pub(super) fn receive(&mut self, batch: &mut Batch) -> usize {
        if !self.has_frames() || batch.is_full() {
            return 0;
        }
        batch.keep(self.umem.clone());
        let before = batch.len();
        while !batch.is_full() && self.receive_one(batch) {}
        self.rx.release();
        if batch.len() == before {
            // Nobody says that nothing was sent on.
            self.complete();
        }
        batch.len() - before
    }

    /// False where no whole frame is waiting.
    #[inline]
    fn receive_one(&mut self, batch: &mut Batch) -> bool {
        let Some(first) = self.rx.peek(0) else { return false };
        if first.options & libc::XDP_PKT_CONTD != 0 {
            return self.receive_several_chunks(batch);
        }
        self.rx.skip(1);
        self.held.push(Umem::chunk_of(first.addr));
        match self.umem.piece(first.addr, first.len as usize) {
            // SAFETY: pieces of the UMEM are mapped as long as it lives, which the batch keeps;
            // a chunk is shorter than MAX_FRAME; the batch is not full.
            Some(piece) => unsafe { batch.push_piece(self.vnet(piece), piece) },
            None => self.lost += 1,
        }
        true
    }

    #[cold]
    fn receive_several_chunks(&mut self, batch: &mut Batch) -> bool {
        let mut pieces = [Piece { at: NonNull::dangling(), len: 0 }; MAX_PIECES];
        let (mut count, mut len, mut fits) = (0, 0, true);
        loop {
            // The kernel shows the chunks of a frame together; one that is cut short is left until its rest
            // is there.
            let Some(chunk) = self.rx.peek(count as u32) else { return false };
            match (pieces.get_mut(count), self.umem.piece(chunk.addr, chunk.len as usize)) {
                (Some(to), Some(piece)) => *to = piece,
                _ => fits = false,
            }
            (count, len) = (count + 1, len + chunk.len as usize);
            if chunk.options & libc::XDP_PKT_CONTD == 0 {
                break;
            }
        }
        for ahead in 0..count {
            self.held.extend(self.rx.peek(ahead as u32).map(|chunk| Umem::chunk_of(chunk.addr)));
        }
        self.rx.skip(count as u32);
        if fits && len <= MAX_FRAME {
            // SAFETY: as in `receive_one`; the length was checked.
            unsafe { batch.push_pieces(self.vnet(pieces[0]), &pieces[..count], len) };
        } else {
            self.lost += 1;
        }
        true
    }

    /// What is still to be done to the frame that begins there.
    #[inline]
    fn vnet(&self, first: Piece) -> [u8; VNET_HDR_LEN] {
        if !self.partial_checksums {
            return [0; VNET_HDR_LEN];
        }
        let mut head = [0; HEAD_BYTES];
        // SAFETY: pieces of the UMEM are mapped as long as it lives.
        let len = unsafe { first.read(&mut head) };
        partial::found(&head[..len]).unwrap_or_default().to_bytes()
    }

    /// What was received was sent on: the kernel may receive into its chunks again.
    pub(super) fn complete(&mut self) {
        if self.held.is_empty() {
            return;
        }
        self.held.drain(..).for_each(|chunk| self.fill.put(chunk));
        self.fill.publish();
        if self.fill.wants_wakeup() {
            // Nothing is received here: it is how a driver is told that there are chunks again.
            let _ = rustix::net::recv(&self.receiver, &mut [0; 0][..], rustix::net::RecvFlags::DONTWAIT);
        }
    }

    /// True where a frame is waiting.
    pub(super) fn has_frames(&mut self) -> bool {
        self.rx.peek(0).is_some()
    }

    /// Frames lost since the last call before they could be handed over.
    pub(super) fn drops(&mut self) -> u64 {
        if let Ok(stats) = statistics(self.receiver.as_fd()) {
            let told = stats.rx_dropped + stats.rx_ring_full;
            self.lost += told.saturating_sub(self.told);
            self.told = told;
        }
        std::mem::take(&mut self.lost)
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

/// Why a socket could not be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// The interface, its queue or the mode was refused.
    Bind(io::Error),
    /// Something before that failed.
    Setup(&'static str, io::Error),
}

fn create() -> Result<OwnedFd, OpenError> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socket_with(AddressFamily::XDP, SocketType::RAW, flags, None)
        .map_err(|error| OpenError::Setup("opening an AF_XDP socket", error.into()))
}

/// A socket that has memory and rings, not yet bound.
fn create_receiver(umem: &Umem) -> Result<OwnedFd, OpenError> {
    let socket = create()?;
    let step = |action| move |error: io::Error| OpenError::Setup(action, error);
    set(socket.as_fd(), libc::XDP_UMEM_REG, &umem.registration())
        .map_err(step("registering memory for frames"))?;
    for (ring, entries) in [
        (libc::XDP_UMEM_FILL_RING, RX_CHUNKS),
        (libc::XDP_UMEM_COMPLETION_RING, TX_CHUNKS),
        (libc::XDP_RX_RING, RX_CHUNKS),
    ] {
        set(socket.as_fd(), ring, &entries).map_err(step("making its rings"))?;
    }
    Ok(socket)
}

/// Binds a socket to a queue that sends from the receiver's memory.
fn open_sender(
    queue: u32,
    binding: Binding,
    receiver: BorrowedFd<'_>,
    done: Consumer<u64>,
    umem: &Arc<Umem>,
) -> Result<Sender, OpenError> {
    let socket = create_sender()?;
    let tx = map_sender(socket.as_fd()).map_err(|error| OpenError::Setup("mapping its rings", error))?;
    bind(socket.as_fd(), queue, binding.ifindex, libc::XDP_SHARED_UMEM, Some(receiver))
        .map_err(OpenError::Bind)?;
    Ok(Sender::new(socket, tx, done, Arc::clone(umem), binding.several_chunks))
}

fn create_sender() -> Result<OwnedFd, OpenError> {
    let socket = create()?;
    set(socket.as_fd(), libc::XDP_TX_RING, &TX_CHUNKS)
        .map_err(|error| OpenError::Setup("making its rings", error))?;
    // Both only make sending smoother, and where the kernel knows or allows them not, nothing is lost.
    let _ = set(socket.as_fd(), MAX_TX_SKB_BUDGET, &TX_CHUNKS);
    let _ = sockopt::set_socket_send_buffer_size_force(&socket, SEND_BUFFER);
    Ok(socket)
}

type ReceiverRings = (Producer<u64>, Consumer<libc::xdp_desc>, Consumer<u64>);

fn map_receiver(socket: BorrowedFd<'_>) -> io::Result<ReceiverRings> {
    let libc::xdp_mmap_offsets { rx, fr, cr, .. } = ring_offsets(socket)?;
    let layout = |page_offset, offsets, entries| Layout { page_offset, offsets, entries };
    Ok((
        Producer::map(socket, &layout(libc::XDP_UMEM_PGOFF_FILL_RING, fr, RX_CHUNKS))?,
        Consumer::map(socket, &layout(libc::XDP_PGOFF_RX_RING as u64, rx, RX_CHUNKS))?,
        Consumer::map(socket, &layout(libc::XDP_UMEM_PGOFF_COMPLETION_RING, cr, TX_CHUNKS))?,
    ))
}

fn map_sender(socket: BorrowedFd<'_>) -> io::Result<Producer<libc::xdp_desc>> {
    let offsets = ring_offsets(socket)?.tx;
    let page_offset = libc::XDP_PGOFF_TX_RING as u64;
    Producer::map(socket, &Layout { page_offset, offsets, entries: TX_CHUNKS })
}

fn bind(
    socket: BorrowedFd<'_>,
    queue: u32,
    ifindex: u32,
    flags: u16,
    shared_with: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: shared_with.map_or(0, |other| other.as_raw_fd().unsigned_abs()),
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the descriptor is open while borrowed; the kernel reads `len` bytes of the live address.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) }).map(drop)
}

/// `T` is an integer or a structure of the kernel's without padding.
fn set<T: Copy>(socket: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    let (pointer, len) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the descriptor is open while borrowed; the kernel reads `len` bytes behind a reference to just
    // that many, all initialised since there is no padding, and writes nothing.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, pointer, len) }).map(drop)
}

fn ring_offsets(socket: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: the structure is made of integers only.
    unsafe { get(socket, libc::XDP_MMAP_OFFSETS) }
}

fn statistics(socket: BorrowedFd<'_>) -> io::Result<libc::xdp_statistics> {
    // SAFETY: the structure is made of integers only.
    unsafe { get(socket, libc::XDP_STATISTICS) }
}

/// # Safety
/// Any bytes are a valid `T`.
unsafe fn get<T>(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<T> {
    // SAFETY: any bytes are a valid `T` by the caller's word.
    let mut value: T = unsafe { zeroed() };
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the descriptor is open while borrowed; the kernel writes at most `len` bytes into `value`, and
    // the length into `len`.
    check(unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, (&raw mut value).cast(), &raw mut len)
    })?;
    Ok(value)
}
