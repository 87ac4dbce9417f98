//! Frames with another VLAN tag than they came with, for destinations that are to see them so.
//!
//! The frame that was received stays as it is: others may get that. The other form is a head of its own, and behind it the
//! same bytes from where they lie.

use super::{ADDRESSES, BATCH_FRAMES, Batch, Frame, HEAD_BYTES, OTHER_HEADS, TAG};
use crate::piece::Piece;
use wire::{VNET_HDR_LEN, vlan::TPID_8021Q};

/// A head with room for a tag more, behind the line that its vnet header ends in.
const STRIDE: usize = 256;
const _: () = assert!(64 + HEAD_BYTES + TAG <= STRIDE);
/// A frame leaves without tag, with one that only carries its priority, or in its VLAN with its priority or without: four
/// forms, of which it came in one or in none.
const FORMS: usize = 4 * BATCH_FRAMES;
pub(super) const ROOM: usize = STRIDE * FORMS;

impl Batch {
    /// Another form of a frame that was received: without customer tag (IEEE 802.1Q), or with one of this control information
    /// in place of the one that it has, if any. Says which frame of the batch that is. `None` where a frame is shorter than
    /// its addresses, or has more forms than it can have by rights.
    pub fn retag(&mut self, index: u16, tci: Option<u16>) -> Option<u16> {
        if self.other_forms == FORMS {
            return None;
        }
        let frame = self.frames[usize::from(index)];
        let had =
            if self.head(index).get(ADDRESSES..)?.starts_with(&TPID_8021Q.to_be_bytes()) { TAG } else { 0 };
        let (addresses, behind) = frame.own.split(ADDRESSES);
        let (head, tail) = behind.split(had).1.split(HEAD_BYTES - ADDRESSES);
        let own = self.other_head(index, addresses, tci, (had, head));
        let first_tail = self.tails.len() as u32;
        self.tails.extend(Some(tail).filter(|tail| tail.len != 0));
        let rest = frame.first_tail as usize..(frame.first_tail + frame.tails) as usize;
        self.tails.extend_from_within(rest);
        let tails = self.tails.len() as u32 - first_tail;
        let len = own.len as u32 + (frame.len - (ADDRESSES + had + head.len) as u32);
        self.frames.push(Frame { own, first_tail, tails, len, plain: frame.plain });
        self.other_forms += 1;
        u16::try_from(self.frames.len() - 1).ok()
    }

    /// Writes the head of another form: addresses, tag, and the bytes behind the tag that the frame `had`.
    fn other_head(
        &mut self,
        index: u16,
        addresses: Piece,
        tci: Option<u16>,
        behind: (usize, Piece),
    ) -> Piece {
        let (had, head) = behind;
        let tag = (u32::from(TPID_8021Q) << 16 | u32::from(tci.unwrap_or_default())).to_be_bytes();
        let tag = if tci.is_some() { &tag[..] } else { &[] };
        let vnet = self.vnet(index).moved_by(tag.len() as i16 - had as i16);
        let place = self.arena.piece(OTHER_HEADS + self.other_forms * STRIDE + 64, STRIDE - 64);
        // SAFETY: the place is the arena's, as are the 64 bytes before it, is part of no frame yet, and no reference into the
        // arena lives here. It has room for all that is written, as `FORMS` and `STRIDE` say. Addresses and head are mapped: they
        // lie in the arena.
        unsafe {
            place.at.sub(VNET_HDR_LEN).cast::<[u8; VNET_HDR_LEN]>().write(vnet.to_bytes());
            place.copy_from(addresses);
            place.split(ADDRESSES).1.write(tag);
            place.split(ADDRESSES + tag.len()).1.copy_from(head);
        }
        place.split(ADDRESSES + tag.len() + head.len).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::NonNull;
    use wire::VnetHdr;

    const VNET: VnetHdr =
        VnetHdr { flags: 1, gso_type: 1, hdr_len: 54, gso_size: 1000, csum_start: 34, csum_offset: 16 };
    const ADDRESSES_ONLY: &[u8] = b"ddddddssssss";

    fn frame(tag: &[u8], payload: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..payload).map(|at| at as u8).collect();
        [ADDRESSES_ONLY, tag, b"\x08\x00", &payload].concat()
    }

    fn batch_of(vnet: VnetHdr, frame: &[u8]) -> Batch {
        let mut batch = Batch::default();
        batch.push_copy(&[&vnet.to_bytes()[..], frame].concat());
        batch
    }

    fn all_of(batch: &Batch, index: u16) -> Vec<u8> {
        batch.whole(index, &mut Vec::new()).to_vec()
    }

    #[test]
    fn a_frame_gets_a_tag_or_another_or_none_and_stays_itself() {
        let tag = |tci: u16| [&[0x81, 0][..], &tci.to_be_bytes()].concat();
        for payload in [0, 1, 46, 111, 112, 113, 1500, 65_500] {
            for came_with in [None, Some(7), Some(0x2007)] {
                let came = frame(&came_with.map(tag).unwrap_or_default(), payload);
                let mut batch = batch_of(VNET, &came);
                for leaves_with in [Some(0xe123), None, Some(5)] {
                    let other = batch.retag(0, leaves_with).unwrap();
                    let expected = frame(&leaves_with.map(tag).unwrap_or_default(), payload);
                    assert_eq!(
                        (all_of(&batch, other), batch.frame_len(other)),
                        (expected.clone(), expected.len())
                    );
                    let moved = expected.len() as i16 - came.len() as i16;
                    assert_eq!(batch.vnet(other), VNET.moved_by(moved));
                    assert_eq!(batch.parts_with_vnet(other).len(), 10 + expected.len());
                }
                assert_eq!((all_of(&batch, 0), batch.vnet(0), batch.len()), (came.clone(), VNET, 1));
                assert_eq!(batch.frame_bytes(), came.len());
            }
        }
    }

    #[test]
    fn of_a_frame_in_pieces_what_lies_elsewhere_is_sent_from_there() {
        let mut memory = frame(&[], 400);
        let whole = Piece { at: NonNull::from(&mut memory[..]).cast(), len: memory.len() };
        let (first, second) = whole.split(200);
        let mut batch = Batch::default();
        // SAFETY: `memory` outlives the batch.
        unsafe { batch.push_pieces([0; VNET_HDR_LEN], &[first, second], memory.len()) };
        let other = batch.retag(0, Some(9)).unwrap();
        assert!(batch.is_plain(other) && !batch.is_whole(other));
        memory[0] = b'x';
        memory[300] = b'y';
        let expected = [ADDRESSES_ONLY, &[0x81, 0, 0, 9], &memory[12..]].concat();
        assert_eq!(all_of(&batch, other), expected);
    }

    #[test]
    fn forms_are_bounded_and_gone_with_the_batch() {
        let mut batch = batch_of(VnetHdr::default(), &frame(&[], 46));
        for _ in 0..FORMS {
            assert!(batch.retag(0, Some(1)).is_some());
        }
        assert_eq!(batch.retag(0, Some(1)), None);
        batch.clear();
        assert!(batch.is_empty());
        batch.push_copy(&[0; VNET_HDR_LEN + 11]);
        assert_eq!((batch.retag(0, None), batch.len()), (None, 1));
    }
}
