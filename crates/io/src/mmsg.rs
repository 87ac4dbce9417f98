//! Many datagrams with one system call: recvmmsg(2) straight into the slots of a batch, sendmmsg(2) gathered from
//! wherever the frames lie.

use crate::{
    BATCH_FRAMES, Batch, MAX_FRAME,
    batch::TAG,
    interface::check,
    parts::{self, MAX_IOVECS, NO_IOVEC, Parts},
};
use std::{
    io,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd, BorrowedFd},
    ptr::null_mut,
};
use wire::VNET_HDR_LEN;

/// For frames of two parts, as nearly all in a guest's memory are, and some of many.
const IOVECS: usize = 2 * BATCH_FRAMES + MAX_IOVECS;
/// The longest datagram: a frame may leave with a tag that it did not come with.
const LONGEST: usize = VNET_HDR_LEN + MAX_FRAME + TAG;

/// What the kernel says about a datagram beside its bytes.
///
/// # Safety
/// All bytes of the type may be overwritten with any value, and `attach` makes the header point at nothing but `self`,
/// with lengths that stay within it.
pub(crate) unsafe trait Aside: Copy {
    /// Before anything was received.
    const EMPTY: Self;
    /// Has the kernel fill `self` in.
    fn attach(&mut self, header: &mut libc::msghdr);
}

/// A datagram that was received.
pub(crate) struct Received<'a, A> {
    /// Bytes that were put into the slot.
    pub len: usize,
    /// The datagram was longer than the slot.
    pub truncated: bool,
    /// Length of the sender's address.
    pub name_len: libc::socklen_t,
    /// What the kernel says about it.
    pub aside: &'a A,
}

/// The name of a unix socket; its first `len` bytes count.
#[derive(Clone, Copy)]
pub(crate) struct UnixAddress {
    name: libc::sockaddr_un,
    len: libc::socklen_t,
}

impl UnixAddress {
    /// The sender of a datagram; `None` for one without a name, which cannot be answered.
    pub(crate) fn of(received: &Received<'_, Self>) -> Option<Self> {
        let named = received.name_len as usize > size_of::<libc::sa_family_t>();
        // The kernel says how long the name would be, also where it had no room for it.
        let len = received.name_len.min(size_of::<libc::sockaddr_un>() as libc::socklen_t);
        named.then_some(Self { name: received.aside.name, len })
    }
}

impl std::fmt::Debug for UnixAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path: Vec<u8> =
            self.name.sun_path.iter().map(|c| c.cast_unsigned()).take_while(|c| *c != 0).collect();
        f.write_str(&String::from_utf8_lossy(&path))
    }
}

// SAFETY: `sockaddr_un` is integers only; `attach` names it by its own size.
unsafe impl Aside for UnixAddress {
    const EMPTY: Self = Self { name: libc::sockaddr_un { sun_family: 0, sun_path: [0; 108] }, len: 0 };

    fn attach(&mut self, header: &mut libc::msghdr) {
        header.msg_name = (&raw mut self.name).cast();
        header.msg_namelen = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    }
}

/// Receives up to `want` datagrams, each into the next vacant slot behind `skip` bytes, and hands them to `each` in
/// order. Returns how many there were.
pub(crate) fn receive<A: Aside>(
    socket: BorrowedFd<'_>,
    batch: &mut Batch,
    want: usize,
    skip: usize,
    mut each: impl FnMut(&mut Batch, Received<'_, A>),
) -> io::Result<usize> {
    let (mut asides, mut iovecs) = ([A::EMPTY; BATCH_FRAMES], [NO_IOVEC; BATCH_FRAMES]);
    let mut messages = no_messages();
    let mut prepared = 0;
    for (slot, message) in batch.vacant().take(want).zip(&mut messages) {
        let room = &mut slot[skip..];
        iovecs[prepared] = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        message.msg_hdr.msg_iov = &raw mut iovecs[prepared];
        message.msg_hdr.msg_iovlen = 1;
        asides[prepared].attach(&mut message.msg_hdr);
        prepared += 1;
    }
    // SAFETY: the first `prepared` messages point at one element of `iovecs` each, that at a slot's bytes, of which no
    // reference is live and each of which is named once, and at an element of `asides` (contract of `Aside`). All of
    // them outlive the call; the kernel keeps no pointer. No timeout is passed.
    let count = check(unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            prepared as libc::c_uint,
            libc::MSG_DONTWAIT,
            null_mut(),
        )
    })?;
    let count = count.unsigned_abs() as usize;
    for (message, aside) in messages.iter().zip(&asides).take(count) {
        let truncated = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        each(
            batch,
            Received {
                len: message.msg_len as usize,
                truncated,
                name_len: message.msg_hdr.msg_namelen,
                aside,
            },
        );
    }
    Ok(count)
}

/// Takes in a datagram that did not fit into its slot, as a frame of no bytes: it cannot be sent on, but is dropped and
/// counted as every other frame.
pub(crate) fn push_truncated(batch: &mut Batch) {
    if let Some(slot) = batch.vacant().next() {
        slot[..VNET_HDR_LEN].fill(0);
    }
    batch.push(VNET_HDR_LEN);
}

/// Sends datagrams, and keeps what that takes.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Frames that are sent in one piece, put together one behind the other. It never grows, as iovecs point into it.
    gathered: Vec<u8>,
}

impl Outbox {
    /// Sends the first few datagrams, up to [`BATCH_FRAMES`] and as many as there are iovecs for. Returns how many were
    /// taken, one at least, so that who sends the rest in a loop comes to an end; an error is the first one's.
    pub fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        to: Option<&UnixAddress>,
        datagrams: impl Iterator<Item = Parts<'a>> + Clone,
    ) -> io::Result<usize> {
        match self.try_send(socket, to, datagrams.clone(), false) {
            // Of the first one a piece is gone.
            Err(error) if parts::is_gone(&error) => self.try_send(socket, to, datagrams.take(1), true),
            outcome => outcome,
        }
    }

    fn try_send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        to: Option<&UnixAddress>,
        datagrams: impl Iterator<Item = Parts<'a>>,
        together: bool,
    ) -> io::Result<usize> {
        let (mut iovecs, mut messages) = ([NO_IOVEC; IOVECS], no_messages());
        let (mut free, mut prepared) = (&mut iovecs[..], 0);
        self.gathered.clear();
        for (datagram, message) in datagrams.zip(&mut messages) {
            let Some(count) = self.name(datagram, free, together) else { break };
            let (its, rest) = free.split_at_mut(count);
            free = rest;
            message.msg_hdr.msg_iov = its.as_mut_ptr();
            message.msg_hdr.msg_iovlen = count;
            if let Some(address) = to {
                message.msg_hdr.msg_name = std::ptr::from_ref(&address.name).cast_mut().cast();
                message.msg_hdr.msg_namelen = address.len;
            }
            prepared += 1;
        }
        // SAFETY: the first `prepared` messages point at iovecs of their own, those at parts that live for 'a or into
        // `gathered`, and at the address behind `to`; the kernel only reads through them, and keeps no pointer after the
        // call.
        let count = check(unsafe {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), prepared as libc::c_uint, flags)
        })?;
        match count.unsigned_abs() as usize {
            // There was nothing to send: the first one was too long to be put together.
            0 => Err(io::Error::from_raw_os_error(libc::EMSGSIZE)),
            count => Ok(count),
        }
    }

    /// How many iovecs name the datagram; `None` where what is left of them, or of the room to put it together, is too
    /// little, which for the first one it is only where that is above [`LONGEST`].
    fn name(&mut self, datagram: Parts<'_>, iovecs: &mut [libc::iovec], together: bool) -> Option<usize> {
        if !datagram.lies_in_pieces() || (datagram.stay_apart() && !together) {
            return parts::name(datagram, iovecs);
        }
        self.gathered.reserve_exact(if self.gathered.is_empty() { LONGEST } else { 0 });
        let (from, len) = (self.gathered.len(), datagram.len());
        let iovec = iovecs.first_mut().filter(|_| len <= self.gathered.capacity() - from)?;
        datagram.append_to(&mut self.gathered, 0);
        let at = self.gathered[from..].as_mut_ptr();
        *iovec = libc::iovec { iov_base: at.cast(), iov_len: len };
        Some(1)
    }
}

fn no_messages() -> [libc::mmsghdr; BATCH_FRAMES] {
    // SAFETY: all zeroes is a valid `mmsghdr`: integers, and pointers that may be null where their length is zero.
    unsafe { zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::{fd::AsFd, unix::net::UnixDatagram};

    /// Sends datagrams of these lengths, each in more pieces than the kernel is told of; how many were taken.
    fn send(lengths: &[usize]) -> io::Result<usize> {
        let memory = vec![b'x'; LONGEST + 1];
        let cut = |len| memory[..len].chunks(len / 60).map(parts::piece).collect::<Vec<_>>();
        let datagrams: Vec<_> = lengths.iter().map(|len| cut(*len)).collect();
        // SAFETY: `memory` outlives the call.
        let datagrams = datagrams.iter().map(|pieces| unsafe { Parts::in_pieces(&[], pieces) });
        let (near, _far) = UnixDatagram::pair()?;
        Outbox::default().send(near.as_fd(), None, datagrams)
    }

    #[test]
    fn a_datagram_that_is_too_long_to_be_put_together_is_refused_and_keeps_none_before_it() {
        assert_eq!(send(&[LONGEST]).unwrap(), 1);
        assert_eq!(send(&[1000, LONGEST + 1]).unwrap(), 1);
        for lengths in [&[LONGEST + 1][..], &[LONGEST + 1, 1000]] {
            assert_eq!(send(lengths).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
        }
    }
}
