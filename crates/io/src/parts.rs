//! A frame as it is sent: bytes of ours, and behind them pieces that stay where they are, in a guest's memory.
//!
//! The kernel copies out of the pieces itself: so payload is copied once on its way from a guest to a kernel port. It
//! reads whatever lies there at that moment; what was decided on are bytes of ours.
//!
//! Where a piece is gone, the kernel's call fails with EFAULT. Then the frame is put together by us, in memory of ours: what
//! is missing reads as zeros, and whose memory it was is marked as faulted (`vhost/fault.rs`), all as it is on the way to
//! another guest. The port that sends has no part in the trouble and goes on.

use crate::piece::{Piece, copy};
use rustix::{io::Errno, net::SendFlags};
use std::{
    io,
    mem::zeroed,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{NonNull, null_mut},
};

/// A frame in more pieces is put together first. Linux sends 64 KiB in at most 17 pages and what lies before them.
pub(crate) const MAX_PIECES: usize = 32;
/// A frame in pieces that is shorter than this is put together and sent by `write`: on a TAP 1500 bytes take 511 instead of
/// 556 ns so, and 4500 bytes 885 instead of 939; 9000 bytes take the same, 64 KiB twice as long. The system calls for
/// messages name two parts as fast as one (`examples/guest_to_port.rs`, docs/performance.md).
const WORTH_WRITEV: usize = 8192;
/// The most iovecs of one frame.
pub(crate) const MAX_IOVECS: usize = OWN + MAX_PIECES;
/// Slices of ours that a frame begins with.
const OWN: usize = 3;

/// A frame, part behind part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    own: [&'a [u8]; OWN],
    pieces: &'a [Piece],
}

impl<'a> Parts<'a> {
    /// A frame of which all is ours.
    pub fn own(first: &'a [u8], second: &'a [u8]) -> Self {
        Self { own: [&[], first, second], pieces: &[] }
    }

    /// A frame in pieces.
    ///
    /// # Safety
    /// The pieces stay mapped and readable, or watched over by `vhost/fault.rs`, for `'a`.
    pub unsafe fn in_pieces(head: &'a [u8], pieces: &'a [Piece]) -> Self {
        Self { own: [&[], head, &[]], pieces }
    }

    /// The same behind so many bytes.
    pub fn behind(mut self, first: &'a [u8]) -> Self {
        debug_assert!(self.own[0].is_empty());
        self.own[0] = first;
        self
    }

    /// True where not all of the frame is ours.
    pub const fn lies_in_pieces(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// True for a frame that the kernel is to copy from where it lies; others are put together first.
    pub fn stay_apart(&self) -> bool {
        match self.pieces {
            [] => !matches!(self.own, [[], _, []]),
            pieces => pieces.len() <= MAX_PIECES,
        }
    }

    /// The frame in one place: where it does not lie so, in `gathered`.
    pub fn together<'b>(&self, gathered: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        if let ([[], only, []], []) = (self.own, self.pieces) {
            return only;
        }
        gathered.clear();
        self.append_to(gathered, 0);
        gathered
    }

    pub fn len(&self) -> usize {
        let own = self.own.iter().fold(0, |sum, slice| sum + slice.len());
        self.pieces.iter().fold(own, |sum, piece| sum + piece.len)
    }

    /// All parts that are not empty, in order.
    pub fn iter(&self) -> impl Iterator<Item = Piece> + use<'a> {
        let own = self.own.into_iter().filter(|slice| !slice.is_empty()).map(piece);
        own.chain(self.pieces.iter().copied())
    }

    /// Appends all but the first `skip` bytes to `to`.
    pub fn append_to(&self, to: &mut Vec<u8>, mut skip: usize) {
        self.iter().for_each(|part| {
            let (skipped, rest) = part.split(skip);
            skip -= skipped.len;
            to.reserve(rest.len);
            // SAFETY: slices live for 'a, pieces are mapped by the word of who made this; there is room for them, and it
            // counts once it is filled.
            unsafe {
                copy(rest.at.as_ptr(), to.as_mut_ptr().add(to.len()), rest.len);
                to.set_len(to.len() + rest.len);
            }
        });
    }
}

pub(crate) fn piece(bytes: &[u8]) -> Piece {
    Piece { at: NonNull::from(bytes).cast(), len: bytes.len() }
}

/// An iovec that names nothing.
pub(crate) const NO_IOVEC: libc::iovec = libc::iovec { iov_base: null_mut(), iov_len: 0 };

/// Names the parts of a frame to the kernel, in the first of `iovecs`; says how many those are. `None` where there are too
/// few.
pub(crate) fn name(parts: Parts<'_>, iovecs: &mut [libc::iovec]) -> Option<usize> {
    let mut count = 0;
    for part in parts.iter() {
        *iovecs.get_mut(count)? = libc::iovec { iov_base: part.at.as_ptr().cast(), iov_len: part.len };
        count += 1;
    }
    Some(count)
}

/// Sends a frame with one `write` or `writev`.
pub(crate) fn write(fd: BorrowedFd<'_>, parts: Parts<'_>, gathered: &mut Vec<u8>) -> Result<usize, Errno> {
    // Not the C library's `writev`: there threads may be cancelled, and to allow and forbid that costs as much as a part.
    // SAFETY: the iovecs name memory to be read, as many as it says.
    let apart = |iovecs: &mut [libc::iovec]| unsafe {
        libc::syscall(libc::SYS_writev, fd.as_raw_fd(), iovecs.as_ptr(), iovecs.len())
    };
    let worth_it = !parts.lies_in_pieces() || parts.len() >= WORTH_WRITEV;
    let sent = if worth_it { send_apart(parts, apart) } else { None };
    sent.unwrap_or_else(|| rustix::io::write(fd, parts.together(gathered)))
}

/// Sends a frame, or what a stream takes of it, with one `send` or `sendmsg` that does not wait.
pub(crate) fn send(socket: BorrowedFd<'_>, parts: Parts<'_>, gathered: &mut Vec<u8>) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    // SAFETY: all zeroes is a valid `msghdr`; the iovecs name memory to be read, as many as it says.
    let apart = |iovecs: &mut [libc::iovec]| unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = iovecs.as_mut_ptr();
        message.msg_iovlen = iovecs.len();
        libc::syscall(libc::SYS_sendmsg, socket.as_raw_fd(), &raw const message, flags.bits())
    };
    send_apart(parts, apart).unwrap_or_else(|| rustix::net::send(socket, parts.together(gathered), flags))
}

/// Has the kernel copy a frame from where it lies. `None` where it is to be put together first.
fn send_apart(
    parts: Parts<'_>,
    send: impl Fn(&mut [libc::iovec]) -> libc::c_long,
) -> Option<Result<usize, Errno>> {
    if !parts.stay_apart() {
        return None;
    }
    let mut iovecs = [NO_IOVEC; MAX_IOVECS];
    let count = name(parts, &mut iovecs)?;
    let why = || Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO);
    match usize::try_from(send(&mut iovecs[..count])).map_err(|_| why()) {
        Err(Errno::FAULT) => None,
        outcome => Some(outcome),
    }
}

/// True where memory that the kernel was to read is gone.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EFAULT)
}
