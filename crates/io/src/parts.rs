//! A frame as it is sent: bytes of ours, and behind them pieces that stay where they are, in a guest's memory.
//!
//! The kernel copies out of the pieces itself: so payload is copied once on its way from a guest to a kernel port. It
//! reads whatever lies there at that moment; what was decided on are bytes of ours.
//!
//! Where a piece is gone, the kernel's call fails with EFAULT. Then the frame is put together by us, in memory of ours: what
//! is missing reads as zeros, and whose memory it was is marked as faulted (`vhost/fault.rs`), all as it is on the way to
//! another guest. The port that sends has no part in the trouble and goes on.

use crate::piece::Piece;
use rustix::io::Errno;
use std::{
    io,
    mem::zeroed,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{NonNull, null_mut},
};

/// A frame in more pieces is put together first. Linux sends 64 KiB in at most 17 pages and what lies before them.
pub(crate) const MAX_PIECES: usize = 32;
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

    /// How many there are that are not ours.
    pub const fn pieces(&self) -> usize {
        self.pieces.len()
    }

    pub fn len(&self) -> usize {
        self.iter().map(|part| part.len).sum()
    }

    /// All parts that are not empty, in order.
    pub fn iter(&self) -> impl Iterator<Item = Piece> + use<'a> {
        let own = self.own.into_iter().filter(|slice| !slice.is_empty()).map(piece);
        own.chain(self.pieces.iter().copied())
    }

    /// Appends all but the first `skip` bytes to `to`.
    pub fn append_to(&self, to: &mut Vec<u8>, mut skip: usize) {
        for part in self.iter() {
            let (skipped, rest) = part.split(skip);
            skip -= skipped.len;
            let from = to.len();
            to.resize(from + rest.len, 0);
            // SAFETY: slices live for 'a, pieces are mapped by the word of who made this.
            unsafe { rest.read(&mut to[from..]) };
        }
    }
}

pub(crate) fn piece(bytes: &[u8]) -> Piece {
    Piece { at: NonNull::from(bytes).cast(), len: bytes.len() }
}

/// An iovec that names nothing.
pub(crate) const NO_IOVEC: libc::iovec = libc::iovec { iov_base: null_mut(), iov_len: 0 };

/// Names the parts of a frame to the kernel, in the first of `iovecs`; says how many those are. `None` where the frame
/// lies in too many, or `iovecs` are too few.
pub(crate) fn name(parts: Parts<'_>, iovecs: &mut [libc::iovec]) -> Option<usize> {
    if parts.pieces.len() > MAX_PIECES {
        return None;
    }
    let mut count = 0;
    for part in parts.iter() {
        *iovecs.get_mut(count)? = libc::iovec { iov_base: part.at.as_ptr().cast(), iov_len: part.len };
        count += 1;
    }
    Some(count)
}

/// Sends a frame with one `writev`.
pub(crate) fn write(fd: BorrowedFd<'_>, parts: Parts<'_>, gathered: &mut Vec<u8>) -> Result<usize, Errno> {
    // SAFETY: `with_iovecs` hands over iovecs that name memory to be read.
    with_iovecs(parts, gathered, |iovecs| unsafe {
        libc::writev(fd.as_raw_fd(), iovecs.as_ptr(), iovecs.len() as libc::c_int)
    })
}

/// Sends a frame, or what a stream takes of it, with one `sendmsg` that does not wait.
pub(crate) fn send(socket: BorrowedFd<'_>, parts: Parts<'_>, gathered: &mut Vec<u8>) -> Result<usize, Errno> {
    // SAFETY: all zeroes is a valid `msghdr`, and `with_iovecs` hands over iovecs that name memory to be read.
    with_iovecs(parts, gathered, |iovecs| unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = iovecs.as_mut_ptr();
        message.msg_iovlen = iovecs.len();
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    })
}

/// Has the kernel copy a frame from where it lies, or where that does not work, from where it was put together.
fn with_iovecs(
    parts: Parts<'_>,
    gathered: &mut Vec<u8>,
    send: impl Fn(&mut [libc::iovec]) -> isize,
) -> Result<usize, Errno> {
    let mut iovecs = [NO_IOVEC; MAX_IOVECS];
    if let Some(count) = name(parts, &mut iovecs) {
        let outcome = sent(send(&mut iovecs[..count]));
        if outcome != Err(Errno::FAULT) {
            return outcome;
        }
    }
    gathered.clear();
    parts.append_to(gathered, 0);
    iovecs[0] = libc::iovec { iov_base: gathered.as_mut_ptr().cast(), iov_len: gathered.len() };
    sent(send(&mut iovecs[..1]))
}

fn sent(returned: isize) -> Result<usize, Errno> {
    let why = || Errno::from_io_error(&io::Error::last_os_error());
    usize::try_from(returned).map_err(|_| why().unwrap_or(Errno::IO))
}

/// True where memory that the kernel was to read is gone.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EFAULT)
}
