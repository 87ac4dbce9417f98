//! The receive batch: where frames arrive and stay until each destination has got them.
//!
//! A worker owns one batch and uses it for every port in turn. Each frame lies in a slot of its own, right behind its
//! 10-byte vnet header and four bytes of headroom that a VLAN tag may need, so that a destination that speaks vnet
//! headers gets header and frame with one contiguous `write`, and no byte is copied on the way.
//!
//! The slots take 4.2 MiB of address space, but memory and cache only for what arrives: small frames touch a line or two
//! of each, and of frames above the MTU a batch takes only [`BATCH_BYTES`].

use std::ops::Range;
use wire::{VNET_HDR_LEN, VnetHdr};

/// The most frames of a batch.
pub const BATCH_FRAMES: usize = 64;
/// The largest frame: a 16-bit IP length, Ethernet and two VLAN tags.
pub const MAX_FRAME: usize = 65_535 + 14 + 8;
/// No further frame is received once so many bytes are in the batch: what was read should still be in the level 2
/// cache when it is written.
pub const BATCH_BYTES: usize = 192 * 1024;

/// Room in front for a VLAN tag that the kernel took out of the frame and that goes back in.
const HEADROOM: usize = 4;
/// Eighteen cache lines above 64 KiB, so that the first lines of the slots do not fall into one set of the cache.
const STRIDE: usize = 65_536 + 18 * 64;
const _: () = assert!(HEADROOM + VNET_HDR_LEN + MAX_FRAME <= STRIDE);

/// Received frames and the memory they lie in.
#[derive(Debug)]
pub struct Batch {
    arena: Box<[u8]>,
    frames: Vec<Range<usize>>,
    bytes: usize,
}

impl Default for Batch {
    fn default() -> Self {
        let arena = vec![0; STRIDE * BATCH_FRAMES].into_boxed_slice();
        Self { arena, frames: Vec::with_capacity(BATCH_FRAMES), bytes: 0 }
    }
}

impl Batch {
    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }

    /// Forgets all frames but the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.frames.truncate(len);
        self.bytes = self.frames.iter().map(|frame| frame.len() + VNET_HDR_LEN).sum();
    }

    /// Takes in a copy of vnet header and frame.
    pub(crate) fn push_copy(&mut self, with_vnet: &[u8]) {
        if let Some(slot) = self.vacant().next() {
            slot[..with_vnet.len()].copy_from_slice(with_vnet);
        }
        self.push(with_vnet.len());
    }

    /// Number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// True without frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// True where no further frame is to be received.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.frames.len() == BATCH_FRAMES || self.bytes >= BATCH_BYTES
    }

    /// How many more frames of about `len` bytes are to be received, one at least.
    pub(crate) fn room_for(&self, len: usize) -> usize {
        let by_bytes = BATCH_BYTES.saturating_sub(self.bytes) / len.max(1);
        by_bytes.clamp(1, BATCH_FRAMES - self.frames.len().min(BATCH_FRAMES - 1))
    }

    /// Bytes received, vnet headers included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The frame's bytes.
    #[must_use]
    pub fn frame(&self, index: u16) -> &[u8] {
        &self.arena[self.frames[usize::from(index)].clone()]
    }

    /// The frame's vnet header.
    #[must_use]
    pub fn vnet(&self, index: u16) -> VnetHdr {
        self.with_vnet(index).first_chunk().map(VnetHdr::from_bytes).unwrap_or_default()
    }

    /// The vnet header and, right behind it, the frame.
    #[must_use]
    pub fn with_vnet(&self, index: u16) -> &[u8] {
        let frame = self.frames[usize::from(index)].clone();
        &self.arena[frame.start - VNET_HDR_LEN..frame.end]
    }

    /// Vnet header and frame to be changed, for what has to be done to a frame once for all destinations.
    pub fn with_vnet_mut(&mut self, index: u16) -> &mut [u8] {
        let frame = self.frames[usize::from(index)].clone();
        &mut self.arena[frame.start - VNET_HDR_LEN..frame.end]
    }

    /// Where the next frames may be received, each vnet header and frame ([`VNET_HDR_LEN`] + [`MAX_FRAME`] bytes).
    /// What was received is handed in, in the same order, with [`Batch::push`].
    pub fn vacant(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let slots = self.arena.chunks_exact_mut(STRIDE).skip(self.frames.len());
        slots.map(|slot| &mut slot[HEADROOM..HEADROOM + VNET_HDR_LEN + MAX_FRAME])
    }

    /// Takes in what was received into the first vacant slot: `len` bytes, vnet header and frame.
    pub fn push(&mut self, len: usize) {
        let start = self.frames.len() * STRIDE + HEADROOM;
        debug_assert!((VNET_HDR_LEN..=VNET_HDR_LEN + MAX_FRAME).contains(&len), "{len}");
        self.frames.push(start + VNET_HDR_LEN..start + len);
        self.bytes += len;
    }

    /// Like [`Batch::push`], and puts back the VLAN tag that the kernel took out of the frame.
    pub fn push_tagged(&mut self, len: usize, tpid: u16, tci: u16) {
        /// The two MAC addresses, behind which the tag goes (IEEE 802.1Q, 9.3).
        const MACS: usize = 12;
        let start = self.frames.len() * STRIDE + HEADROOM;
        self.push(len);
        let tag_at = start + VNET_HDR_LEN + MACS - HEADROOM;
        self.arena.copy_within(start..start + VNET_HDR_LEN + MACS, start - HEADROOM);
        self.arena[tag_at..tag_at + 2].copy_from_slice(&tpid.to_be_bytes());
        self.arena[tag_at + 2..tag_at + 4].copy_from_slice(&tci.to_be_bytes());
        if let Some(frame) = self.frames.last_mut() {
            frame.start -= HEADROOM;
        }
        self.bytes += HEADROOM;
        self.move_offsets(start - HEADROOM);
    }

    /// The offsets in the vnet header count from the frame's first byte, which a tag has moved by four.
    fn move_offsets(&mut self, vnet_at: usize) {
        let Some(bytes) = self.arena[vnet_at..].first_chunk_mut::<VNET_HDR_LEN>() else { return };
        let mut vnet = VnetHdr::from_bytes(bytes);
        if vnet.needs_checksum() {
            vnet.csum_start = vnet.csum_start.saturating_add(4);
        }
        if vnet.gso_type != 0 {
            vnet.hdr_len = vnet.hdr_len.saturating_add(4);
        }
        *bytes = vnet.to_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
