//! The receive batch: where frames arrive and stay until each destination has got them.
//!
//! A worker owns one batch and uses it for every port in turn. A frame comes in one of two ways:
//!
//! * **whole**, into a slot of its own, by a read from the kernel. It lies right behind its 10-byte vnet header and four
//!   bytes of room that a VLAN tag may need, so that a destination that speaks vnet headers gets header and frame with one
//!   contiguous `write`, and no byte is copied on the way;
//! * **in pieces** that stay where they are, in a guest's memory. Only the first bytes ([`HEAD_BYTES`]) are copied, as the
//!   guest may change its memory at any time: what is decided on is this copy, and what is sent are the copy and, behind
//!   it, the pieces. Only what has to be cut or completed in software is put together first ([`Batch::whole`]).
//!
//! The slots take 4.2 MiB of address space, but memory and cache only for what arrives: small frames touch a line or two
//! of each, and of frames above the MTU a batch takes only [`BATCH_BYTES`]. The heads of frames in pieces lie close
//! together, 12 KiB in all, so that they stay in the level 1 cache.

mod retag;
mod untaken;

pub use untaken::Untaken;

use crate::{
    arena::Arena,
    parts::Parts,
    piece::{Piece, copy},
};
use std::{any::Any, fmt, slice, sync::Arc};
use wire::{
    VNET_HDR_LEN, VnetHdr,
    checksum::{self, CompleteError},
};

/// The most frames of a batch.
pub const BATCH_FRAMES: usize = 64;
/// The largest frame: a 16-bit IP length, Ethernet and two VLAN tags.
pub const MAX_FRAME: usize = 65_535 + 14 + 8;
/// No further frame is received once so many bytes are in the batch: what was read should still be in the level 2
/// cache when it is written.
pub const BATCH_BYTES: usize = 192 * 1024;
/// As much of a frame in pieces is copied before anything is decided.
pub const HEAD_BYTES: usize = 128;

/// Destination and source MAC, behind which a tag goes (IEEE 802.1Q, 9.3).
const ADDRESSES: usize = 12;
/// Room in front for a VLAN tag that the kernel took out of the frame and that goes back in.
pub(crate) const TAG: usize = 4;
/// A TCP segment's payload comes behind 10 bytes of vnet header and 66 of Ethernet, IPv4 and TCP with timestamps: it begins
/// a cache line, as the kernel's copies from and to it are faster then.
const HEADROOM: usize = 128 - VNET_HDR_LEN - 66;
/// Eighteen cache lines above 64 KiB, so that the first lines of the slots do not fall into one set of the cache.
const STRIDE: usize = 65_536 + 18 * 64;
const _: () = assert!(TAG <= HEADROOM && HEADROOM + VNET_HDR_LEN + MAX_FRAME <= STRIDE);
/// A head begins a cache line, with its vnet header at the end of the line before.
const HEAD_STRIDE: usize = 64 + HEAD_BYTES;
const HEADS: usize = STRIDE * BATCH_FRAMES;
/// Behind the heads lie those of other forms of frames.
const OTHER_HEADS: usize = HEADS + HEAD_STRIDE * BATCH_FRAMES;
const ARENA: usize = OTHER_HEADS + retag::ROOM;

/// Received frames and the memory they lie in.
pub struct Batch {
    arena: Arena<ARENA>,
    /// Those received, and behind them other forms of some of them.
    frames: Vec<Frame>,
    other_forms: usize,
    tails: Vec<Piece>,
    /// Keeps alive what the pieces lie in.
    owners: Vec<Arc<dyn Any + Send + Sync>>,
    bytes: usize,
    /// No further frame is received once so many bytes are in the batch.
    limit: usize,
    /// Behind a pointer, as a batch that has a cell in itself is read anew for each frame: four instructions.
    untaken: Box<untaken::Notes>,
}

/// Where a frame lies: `own` in the arena, behind its vnet header, and what comes behind that in `tails`.
#[derive(Clone, Copy, Debug)]
struct Frame {
    own: Piece,
    first_tail: u32,
    tails: u32,
    len: u32,
    /// True where the vnet header is all zeroes: the frame goes to everybody as it is.
    plain: bool,
}

// SAFETY: pieces name memory that `owners` keeps mapped, whichever thread looks at it, or that is the arena's.
unsafe impl Send for Batch {}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("frames", &self.frames)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            arena: Arena::new(),
            frames: Vec::with_capacity(BATCH_FRAMES),
            other_forms: 0,
            tails: Vec::with_capacity(BATCH_FRAMES),
            owners: Vec::new(),
            bytes: 0,
            limit: BATCH_BYTES,
            untaken: Box::default(),
        }
    }
}

impl Batch {
    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.other_forms = 0;
        self.tails.clear();
        self.owners.clear();
        (self.bytes, self.limit) = (0, BATCH_BYTES);
    }

    /// Has fewer bytes be received than [`BATCH_BYTES`], until the batch is cleared: no further frame is, once there are so many.
    pub fn limit_to(&mut self, bytes: usize) {
        self.limit = bytes.min(BATCH_BYTES - 1);
    }

    /// How many more bytes are to be received, where there are to be fewer than usual.
    pub(crate) const fn allowance(&self) -> Option<usize> {
        if self.limit == BATCH_BYTES { None } else { Some(self.limit.saturating_sub(self.bytes)) }
    }

    /// Forgets all frames but the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.frames.truncate(len);
        self.bytes = self.frames.iter().map(|frame| frame.len as usize + VNET_HDR_LEN).sum();
    }

    /// Takes in a copy of vnet header and frame.
    pub(crate) fn push_copy(&mut self, with_vnet: &[u8]) {
        if let Some(slot) = self.vacant().next() {
            slot[..with_vnet.len()].copy_from_slice(with_vnet);
        }
        self.push(with_vnet.len());
    }

    /// Takes in a copy of a frame that nothing is left to be done to.
    pub fn push_bytes(&mut self, frame: &[u8]) {
        if let Some(slot) = self.vacant().next() {
            slot[..VNET_HDR_LEN].fill(0);
            slot[VNET_HDR_LEN..VNET_HDR_LEN + frame.len()].copy_from_slice(frame);
        }
        self.push(VNET_HDR_LEN + frame.len());
    }

    /// Number of frames received.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len() - self.other_forms
    }

    /// True without frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// True where no further frame is to be received.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.frames.len() == BATCH_FRAMES || self.bytes >= self.limit
    }

    /// How many more frames of about `len` bytes are to be received, one at least. Where there are to be fewer bytes than usual,
    /// each may be as long as frames get: so no more than one is too much.
    pub(crate) fn room_for(&self, len: usize) -> usize {
        let by_bytes = match self.allowance() {
            Some(allowance) => allowance / MAX_FRAME,
            None => BATCH_BYTES.saturating_sub(self.bytes) / len.max(1),
        };
        by_bytes.clamp(1, BATCH_FRAMES - self.frames.len().min(BATCH_FRAMES - 1))
    }

    /// Bytes received, vnet headers included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of all frames.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.bytes - self.len() * VNET_HDR_LEN
    }

    /// How long a frame is.
    #[inline]
    #[must_use]
    pub fn frame_len(&self, index: u16) -> usize {
        self.frames[usize::from(index)].len as usize
    }

    /// True for a frame that nothing is left to be done to: its vnet header says so.
    #[inline]
    #[must_use]
    pub fn is_plain(&self, index: u16) -> bool {
        self.frames[usize::from(index)].plain
    }

    /// The frame's first bytes: all of a frame that came whole, up to [`HEAD_BYTES`] of one in pieces.
    #[inline]
    #[must_use]
    pub fn head(&self, index: u16) -> &[u8] {
        let own = self.frames[usize::from(index)].own;
        // SAFETY: `own` lies in the arena, which is written through `self` only.
        unsafe { slice::from_raw_parts(own.at.as_ptr(), own.len) }
    }

    /// The bytes of a frame that [lies in one place](Self::is_whole).
    #[must_use]
    pub fn frame(&self, index: u16) -> &[u8] {
        debug_assert!(self.is_whole(index));
        self.head(index)
    }

    /// True for a frame that lies in one place, and not in pieces.
    #[inline]
    #[must_use]
    pub fn is_whole(&self, index: u16) -> bool {
        self.frames[usize::from(index)].tails == 0
    }

    /// The frame's vnet header.
    #[inline]
    #[must_use]
    pub fn vnet(&self, index: u16) -> VnetHdr {
        if self.is_plain(index) {
            return VnetHdr::default();
        }
        self.head_with_vnet(index).first_chunk().map(VnetHdr::from_bytes).unwrap_or_default()
    }

    /// The vnet header and, right behind it, the frame's first bytes.
    #[inline]
    fn head_with_vnet(&self, index: u16) -> &[u8] {
        let own = self.frames[usize::from(index)].own;
        // SAFETY: the arena holds the vnet header right before `own`, and is written through `self` only.
        unsafe { slice::from_raw_parts(own.at.as_ptr().sub(VNET_HDR_LEN), own.len + VNET_HDR_LEN) }
    }

    /// What comes behind the frame's first bytes.
    #[inline]
    pub(crate) fn tail(&self, index: u16) -> &[Piece] {
        let frame = &self.frames[usize::from(index)];
        &self.tails[frame.first_tail as usize..(frame.first_tail + frame.tails) as usize]
    }

    /// The vnet header and, right behind it, a frame that [lies in one place](Self::is_whole).
    #[must_use]
    pub fn with_vnet(&self, index: u16) -> &[u8] {
        debug_assert!(self.is_whole(index));
        self.head_with_vnet(index)
    }

    /// The frame, to be sent from where it lies.
    pub(crate) fn parts(&self, index: u16) -> Parts<'_> {
        // SAFETY: pieces stay mapped until the batch is cleared (contract of `push_pieces`), and it is borrowed.
        unsafe { Parts::in_pieces(self.head(index), self.tail(index)) }
    }

    /// Likewise behind its vnet header.
    pub(crate) fn parts_with_vnet(&self, index: u16) -> Parts<'_> {
        // SAFETY: as for `parts`.
        unsafe { Parts::in_pieces(self.head_with_vnet(index), self.tail(index)) }
    }

    /// The frame in one place: of one in pieces, in `gathered`.
    #[must_use]
    pub fn whole<'a>(&'a self, index: u16, gathered: &'a mut Vec<u8>) -> &'a [u8] {
        self.parts(index).together(gathered)
    }

    /// Appends a copy of the frame's first `most` bytes to `into`.
    pub fn copy_out(&self, index: u16, most: usize, into: &mut Vec<u8>) {
        let head = self.head(index);
        into.extend_from_slice(&head[..head.len().min(most)]);
        let mut left = most.saturating_sub(head.len());
        for piece in self.tail(index) {
            let (wanted, start) = (piece.split(left).0, into.len());
            left -= wanted.len;
            into.resize(start + wanted.len, 0);
            // SAFETY: pieces stay mapped until the batch is cleared (contract of `push_pieces`), and it is borrowed.
            unsafe { wanted.read(&mut into[start..]) };
        }
    }

    /// Completes the partial checksum of a frame that is not to be cut.
    ///
    /// # Errors
    /// The vnet header does not fit the frame, which stays as it is.
    pub fn complete_checksum(&mut self, index: u16) -> Result<(), CompleteError> {
        self.gather(index);
        let (vnet, own) = (self.vnet(index), self.frames[usize::from(index)].own);
        // SAFETY: as for `head_with_vnet`, and `self` is borrowed for as long as the slice.
        let whole =
            unsafe { slice::from_raw_parts_mut(own.at.as_ptr().sub(VNET_HDR_LEN), own.len + VNET_HDR_LEN) };
        let (header, frame) = whole.split_at_mut(VNET_HDR_LEN);
        checksum::complete(frame, vnet.csum_start, vnet.csum_offset)?;
        header.fill(0);
        self.frames[usize::from(index)].plain = true;
        Ok(())
    }

    /// Forgets what the sender asked to have done with the frame, which passes as it is.
    pub fn decline_offload(&mut self, index: u16) {
        let frame = &mut self.frames[usize::from(index)];
        // SAFETY: the arena holds the vnet header right before `own`, and `self` is borrowed for writing.
        unsafe { frame.own.at.as_ptr().sub(VNET_HDR_LEN).write_bytes(0, VNET_HDR_LEN) };
        frame.plain = true;
    }

    /// Copies the pieces behind the first bytes, into the frame's slot.
    fn gather(&mut self, index: u16) {
        let frame = &mut self.frames[usize::from(index)];
        if frame.tails == 0 {
            return;
        }
        let slot = &mut self.arena[usize::from(index) * STRIDE + HEADROOM..][..VNET_HDR_LEN + MAX_FRAME];
        // SAFETY: the vnet header and the head lie in the arena's other part, with the heads.
        let head = unsafe {
            slice::from_raw_parts(frame.own.at.as_ptr().sub(VNET_HDR_LEN), VNET_HDR_LEN + frame.own.len)
        };
        slot[..head.len()].copy_from_slice(head);
        let mut end = head.len();
        for piece in &self.tails[frame.first_tail as usize..(frame.first_tail + frame.tails) as usize] {
            // SAFETY: the piece is mapped (contract of `push_pieces`).
            end += unsafe { piece.read(&mut slot[end..]) };
        }
        let start = usize::from(index) * STRIDE + HEADROOM + VNET_HDR_LEN;
        frame.own = self.arena.piece(start, end - VNET_HDR_LEN);
        frame.tails = 0;
    }

    /// Takes in a frame that stays where it is: `len` bytes in `pieces`, of which the first are copied.
    ///
    /// # Safety
    /// The pieces are readable for as long as what is given to [`Batch::keep`] lives, before any other method is called. The
    /// frame is no longer than [`MAX_FRAME`], the batch not full.
    pub(crate) unsafe fn push_pieces(&mut self, vnet: [u8; VNET_HDR_LEN], pieces: &[Piece], len: usize) {
        let mut to = self.next_head(vnet);
        let (own, first_tail) = (to.split(len).0, self.tails.len() as u32);
        for piece in pieces {
            let (head, rest) = piece.split(to.len);
            // SAFETY: the piece is readable by the caller's word, the place for heads is as long as a head may be.
            unsafe { to.copy_from(head) };
            to = to.split(head.len).1;
            if rest.len != 0 {
                self.tails.push(rest);
            }
        }
        self.push_frame(vnet, own, first_tail, len);
    }

    /// Like [`Batch::push_pieces`] with a single piece, which nearly all frames are.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub(crate) unsafe fn push_piece(&mut self, vnet: [u8; VNET_HDR_LEN], piece: Piece) {
        let (to, first_tail) = (self.next_head(vnet), self.tails.len() as u32);
        let (head, rest) = piece.split(HEAD_BYTES);
        // SAFETY: the piece is readable by the caller's word, the place for heads is as long as a head may be.
        unsafe { copy(head.at.as_ptr(), to.at.as_ptr(), head.len) };
        if rest.len != 0 {
            self.tails.push(rest);
        }
        self.push_frame(vnet, Piece { at: to.at, len: head.len }, first_tail, piece.len);
    }

    #[inline]
    fn push_frame(&mut self, vnet: [u8; VNET_HDR_LEN], own: Piece, first_tail: u32, len: usize) {
        let tails = self.tails.len() as u32 - first_tail;
        self.bytes += VNET_HDR_LEN + len;
        self.frames.push(Frame { own, first_tail, tails, len: len as u32, plain: vnet == [0; VNET_HDR_LEN] });
    }

    /// Where the next frame's head goes, behind its vnet header.
    #[inline]
    fn next_head(&mut self, vnet: [u8; VNET_HDR_LEN]) -> Piece {
        debug_assert!(self.frames.len() < BATCH_FRAMES);
        let start = HEADS + (self.frames.len() % BATCH_FRAMES) * HEAD_STRIDE + 64;
        let place = self.arena.piece(start, HEAD_BYTES);
        // SAFETY: a head's vnet header lies in the line before it, which is the arena's too.
        unsafe { place.at.sub(VNET_HDR_LEN).cast::<[u8; VNET_HDR_LEN]>().write(vnet) };
        place
    }

    /// Keeps what pieces lie in until the batch is cleared.
    pub(crate) fn keep(&mut self, owner: Arc<dyn Any + Send + Sync>) {
        self.owners.push(owner);
    }

    /// Where the next frames may be received, each vnet header and frame ([`VNET_HDR_LEN`] + [`MAX_FRAME`] bytes).
    /// What was received is handed in, in the same order, with [`Batch::push`].
    pub fn vacant(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let slots = self.arena[..HEADS].chunks_exact_mut(STRIDE).skip(self.frames.len());
        slots.map(|slot| &mut slot[HEADROOM..HEADROOM + VNET_HDR_LEN + MAX_FRAME])
    }

    /// Takes in what was received into the first vacant slot: `len` bytes, vnet header and frame.
    pub fn push(&mut self, len: usize) {
        let start = self.frames.len() * STRIDE + HEADROOM;
        debug_assert!((VNET_HDR_LEN..=VNET_HDR_LEN + MAX_FRAME).contains(&len), "{len}");
        let plain = self.arena[start..start + VNET_HDR_LEN] == [0; VNET_HDR_LEN];
        let own = self.arena.piece(start + VNET_HDR_LEN, len - VNET_HDR_LEN);
        self.frames.push(Frame { own, first_tail: 0, tails: 0, len: own.len as u32, plain });
        self.bytes += len;
    }

    /// Like [`Batch::push`], and puts back the VLAN tag that the kernel took out of the frame.
    pub fn push_tagged(&mut self, len: usize, tpid: u16, tci: u16) {
        let start = self.frames.len() * STRIDE + HEADROOM;
        self.push(len);
        let tag_at = start + VNET_HDR_LEN + ADDRESSES - TAG;
        self.arena.copy_within(start..start + VNET_HDR_LEN + ADDRESSES, start - TAG);
        self.arena[tag_at..tag_at + 2].copy_from_slice(&tpid.to_be_bytes());
        self.arena[tag_at + 2..tag_at + 4].copy_from_slice(&tci.to_be_bytes());
        if let Some(frame) = self.frames.last_mut() {
            // SAFETY: the room for a tag lies right before the vnet header, which lies right before the frame.
            frame.own = Piece { at: unsafe { frame.own.at.sub(TAG) }, len: frame.own.len + TAG };
            frame.len += TAG as u32;
        }
        self.bytes += TAG;
        self.move_offsets(start - TAG);
    }

    /// The offsets in the vnet header count from the frame's first byte, which a tag has moved by four.
    fn move_offsets(&mut self, vnet_at: usize) {
        let Some(bytes) = self.arena[vnet_at..].first_chunk_mut::<VNET_HDR_LEN>() else { return };
        *bytes = VnetHdr::from_bytes(bytes).moved_by(TAG as i16).to_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::NonNull;

    fn put(batch: &mut Batch, vnet: VnetHdr, frame: &[u8]) -> usize {
        if let Some(slot) = batch.vacant().next() {
            slot[..VNET_HDR_LEN].copy_from_slice(&vnet.to_bytes());
            slot[VNET_HDR_LEN..VNET_HDR_LEN + frame.len()].copy_from_slice(frame);
        }
        VNET_HDR_LEN + frame.len()
    }

    #[test]
    fn frames_lie_behind_their_vnet_header() {
        let mut batch = Batch::default();
        let vnet = VnetHdr { flags: 1, csum_start: 34, ..Default::default() };
        let len = put(&mut batch, vnet, b"a frame");
        batch.push(len);
        let len = put(&mut batch, VnetHdr::default(), b"another");
        batch.push(len);
        assert_eq!((batch.vnet(0), batch.frame(0), batch.frame(1)), (vnet, &b"a frame"[..], &b"another"[..]));
        assert_eq!(batch.with_vnet(0), [&vnet.to_bytes()[..], b"a frame"].concat());
    }

    #[test]
    fn a_tag_goes_behind_the_addresses_and_moves_the_offsets() {
        let mut batch = Batch::default();
        let vnet =
            VnetHdr { flags: 1, gso_type: 1, hdr_len: 54, gso_size: 1000, csum_start: 34, csum_offset: 16 };
        let len = put(&mut batch, vnet, b"ddddddssssss\x08\x00payload");
        batch.push_tagged(len, 0x8100, 0x2007);
        assert_eq!(batch.frame(0), b"ddddddssssss\x81\x00\x20\x07\x08\x00payload");
        assert_eq!(batch.vnet(0), VnetHdr { hdr_len: 58, csum_start: 38, ..vnet });
    }

    #[test]
    fn a_batch_is_full_by_number_or_by_bytes() {
        let mut batch = Batch::default();
        for _ in 0..BATCH_FRAMES {
            assert!(!batch.is_full());
            batch.push(VNET_HDR_LEN + 60);
        }
        assert!(batch.is_full() && batch.vacant().next().is_none());
        batch.clear();
        for _ in 0..3 {
            assert!(!batch.is_full());
            batch.push(VNET_HDR_LEN + MAX_FRAME);
        }
        assert!(batch.is_full());
    }

    #[test]
    fn a_limited_batch_takes_one_frame_beyond_its_bytes_at_most_until_it_is_cleared() {
        let mut batch = Batch::default();
        batch.limit_to(1000);
        assert_eq!((batch.room_for(60), batch.allowance()), (1, Some(1000)));
        batch.push(VNET_HDR_LEN + 900);
        assert!(!batch.is_full());
        batch.push(VNET_HDR_LEN + 900);
        assert!(batch.is_full() && batch.allowance() == Some(0));
        batch.clear();
        assert_eq!((batch.room_for(60), batch.allowance(), batch.is_full()), (BATCH_FRAMES, None, false));
        batch.limit_to(0);
        assert!(batch.is_full());
        batch.limit_to(usize::MAX);
        assert!(!batch.is_full() && batch.room_for(60) == 2);
    }

    #[test]
    fn of_a_frame_in_pieces_the_head_is_private_and_the_rest_stays_where_it_is() {
        let mut memory: Vec<u8> = (0..400).map(|at| at as u8).collect();
        let at = NonNull::from(&mut memory[..]).cast::<u8>();
        let whole = Piece { at, len: 300 };
        let (first, second) = whole.split(100);
        let mut batch = Batch::default();
        let vnet = VnetHdr { flags: 1, csum_start: 34, ..Default::default() };
        // SAFETY: `memory` outlives the batch.
        unsafe {
            batch.push_pieces(vnet.to_bytes(), &[first, second], 300);
            batch.push_pieces(vnet.to_bytes(), &[first], 100);
        }
        memory[0] = 77;
        memory[299] = 99;
        let out = |index, most| {
            let mut copy = vec![5];
            batch.copy_out(index, most, &mut copy);
            copy
        };
        assert_eq!(
            (out(0, 20).len(), out(0, 200).len(), out(0, 900).len(), out(1, 900).len()),
            (21, 201, 301, 101)
        );
        assert_eq!((out(0, 900)[1], &out(0, 900)[2..300], out(0, 900)[300]), (0, &memory[1..299], 99));
        assert_eq!((batch.vnet(0), batch.frame_len(0), batch.is_whole(0)), (vnet, 300, false));
        assert_eq!(
            (batch.head(0).len(), batch.head(0)[0], batch.tail(0)),
            (HEAD_BYTES, 0, &[second.split(28).1][..])
        );
        batch.gather(0);
        assert_eq!((batch.vnet(0), batch.frame(0)[0], batch.frame(0)[299]), (vnet, 0, 99));
        batch.decline_offload(1);
        assert_eq!((batch.is_plain(1), batch.with_vnet(1)[..11].to_vec()), (true, vec![0; 11]));
        assert_eq!(batch.frame(0)[1..299], memory[1..299]);
        assert_eq!((batch.is_whole(1), batch.frame(1)[99], batch.bytes()), (true, 99, 420));
    }
}
