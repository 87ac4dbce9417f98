//! Sending on one queue of an interface.

use super::{
    ring::{Consumer, Producer},
    umem::{CHUNK, Umem},
};
use crate::piece::Piece;
use rustix::{
    io::Errno,
    net::{SendFlags, send},
};
use std::{io, os::fd::OwnedFd, ptr::NonNull, sync::Arc};

/// How often to ask a kernel that sends nothing before it is left to later.
const ATTEMPTS: u32 = 3;

/// A socket to send on, its rings and its part of the queue's memory.
#[derive(Debug)]
pub(super) struct Sender {
    socket: OwnedFd,
    tx: Producer<libc::xdp_desc>,
    done: Consumer<u64>,
    umem: Arc<Umem>,
    /// Chunks to send from that are ours.
    free: Vec<u64>,
    several_chunks: bool,
}

impl Sender {
    pub(super) fn new(
        socket: OwnedFd,
        tx: Producer<libc::xdp_desc>,
        done: Consumer<u64>,
        umem: Arc<Umem>,
        several_chunks: bool,
    ) -> Self {
        Self { socket, tx, done, umem, free: Umem::tx_chunks().collect(), several_chunks }
    }

    /// Puts a frame, made up of pieces in order, into the tx ring, to be sent by [`Self::flush`]. False where
    /// no chunk is free, or where it takes several and the kernel takes but one.
    ///
    /// # Safety
    /// The pieces are mapped and readable.
    pub(super) unsafe fn put(&mut self, pieces: &[Piece]) -> bool {
        let len: usize = pieces.iter().map(|piece| piece.len).sum();
        let chunks = len.div_ceil(CHUNK);
        if chunks > self.free.len() {
            self.reclaim();
        }
        if chunks > self.free.len() || (chunks > 1 && !self.several_chunks) {
            return false;
        }
        let (mut left, mut pieces) = (len, pieces.iter().copied());
        let mut piece = Piece { at: NonNull::dangling(), len: 0 };
        while left > 0 {
            let Some(address) = self.free.pop() else { return false };
            let now = left.min(CHUNK);
            let Some(mut room) = self.umem.piece(address, now) else { return false };
            while room.len > 0 {
                if piece.len == 0 {
                    let Some(next) = pieces.next() else { break };
                    piece = next;
                }
                // SAFETY: the room is in a chunk of ours, the piece is readable by the caller's word.
                let copied = unsafe { room.copy_from(piece) };
                (room, piece) = (room.split(copied).1, piece.split(copied).1);
            }
            left -= now;
            let options = if left > 0 { libc::XDP_PKT_CONTD } else { 0 };
            self.tx.put(libc::xdp_desc { addr: address, len: now as u32, options });
        }
        true
    }

    /// Takes back the chunks of frames that were sent.
    fn reclaim(&mut self) {
        while let Some(address) = self.done.peek(0) {
            self.done.skip(1);
            self.free.push(Umem::chunk_of(address));
        }
        self.done.release();
    }

    /// Where the last part of the frame that was put last lies.
    pub(super) fn last_put(&self) -> u64 {
        self.tx.last_put().addr
    }

    /// Has the kernel send what is in the tx ring, as far as it does at once; tells the last part of each frame that it took and
    /// did not send.
    pub(super) fn flush(&mut self, mut refused: impl FnMut(libc::xdp_desc)) -> io::Result<()> {
        self.tx.publish();
        let (mut left, mut attempts) = (self.tx.pending(), 0);
        while left > 0 && attempts < ATTEMPTS && self.tx.wants_wakeup() {
            match send(&self.socket, &[], SendFlags::DONTWAIT) {
                Ok(_) => break,
                // The kernel has sent as many as it does in one call, or the driver's queue is full.
                Err(Errno::AGAIN | Errno::INTR) => {}
                // One was taken and dropped: the peer is full, or the link has no carrier.
                Err(Errno::BUSY) => refused(self.tx.last_taken()),
                Err(Errno::NOBUFS) => self.reclaim(),
                Err(error) => return Err(error.into()),
            }
            let now = self.tx.pending();
            attempts = if now < left { 0 } else { attempts + 1 };
            left = now;
        }
        self.reclaim();
        Ok(())
    }

    /// True where frames wait in the tx ring that nothing but another [`Self::flush`] will send.
    pub(super) fn is_stuck(&self) -> bool {
        self.tx.pending() > 0 && self.tx.wants_wakeup()
    }
}
