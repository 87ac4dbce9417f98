//! For receivers that take no offloads: completes partial checksums and cuts what is above the MTU, in software.
//!
//! Only headers are written anew, into a private buffer; the payload goes out from where it was received.

use crate::{Batch, Sent, parts::Parts};
use model::DropReason;
use wire::{
    VnetHdr, checksum,
    segment::{HeaderBuffer, MAX_HEADER_LEN, Segments},
};

/// What became of one finished frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Delivered,
    Full,
    Down,
    Oversize,
    BadOffload,
}

impl Taken {
    const fn reason(self) -> Option<DropReason> {
        match self {
            Self::Delivered => None,
            Self::Full => Some(DropReason::ReceiverFull),
            Self::Down => Some(DropReason::PortDown),
            Self::Oversize => Some(DropReason::Oversize),
            Self::BadOffload => Some(DropReason::BadOffload),
        }
    }
}

impl Sent {
    /// Counts one frame of `len` bytes.
    fn count(&mut self, taken: Taken, len: usize) {
        match taken {
            Taken::Delivered => self.delivered(len),
            other => self.add_untaken(other, 1),
        }
    }

    const fn add_untaken(&mut self, why: Taken, frames: u64) {
        match why {
            Taken::Delivered => {}
            Taken::Full => self.full += frames,
            Taken::Down => self.down += frames,
            Taken::Oversize => self.oversize += frames,
            Taken::BadOffload => self.bad_offload += frames,
        }
    }

    /// Counts a frame of a batch that needed nothing done to it.
    #[inline]
    pub(crate) fn count_of(&mut self, batch: &Batch, index: u16, taken: Taken) {
        match taken {
            Taken::Delivered => self.delivered(batch.frame_len(index)),
            other => self.not_taken(batch, &[index], other),
        }
    }

    /// Counts frames of a batch that are not taken, and notes which.
    pub(crate) fn not_taken(&mut self, batch: &Batch, frames: &[u16], why: Taken) {
        self.add_untaken(why, frames.len() as u64);
        why.reason().into_iter().for_each(|reason| batch.note_untaken(frames, reason, false));
    }
}

/// True for a frame that every receiver takes as it is.
pub(crate) const fn is_finished(vnet: VnetHdr) -> bool {
    vnet.gso_type == 0 && !vnet.needs_checksum()
}

/// Finishes a frame of a batch, gives every frame that it becomes to `give`, and counts what became of each. Where
/// nothing is left to be done, that is the frame as it lies; else one in pieces is put together in `gathered` first.
pub(crate) fn finish_of(
    batch: &Batch,
    index: u16,
    gathered: &mut Vec<u8>,
    sent: &mut Sent,
    mut give: impl FnMut(Parts<'_>) -> Taken,
) {
    if is_finished(batch.vnet(index)) {
        return sent.count_of(batch, index, give(batch.parts(index)));
    }
    finish(batch, index, gathered, sent, |[header, payload]| give(Parts::own(header, payload)));
}

/// Finishes a frame of a batch, which may lie in pieces, gives every frame that it becomes to `give` as header and payload, and
/// counts what became of each.
pub(crate) fn finish(
    batch: &Batch,
    index: u16,
    gathered: &mut Vec<u8>,
    sent: &mut Sent,
    give: impl FnMut([&[u8]; 2]) -> Taken,
) {
    let before = batch.is_watched().then_some(*sent);
    finish_frame(batch.whole(index, gathered), batch.vnet(index), sent, give);
    before.iter().for_each(|before| note_losses(batch, index, before, sent));
}

/// Notes a frame that was not taken, or not whole.
#[cold]
fn note_losses(batch: &Batch, index: u16, before: &Sent, after: &Sent) {
    let lost = after.drops().into_iter().zip(before.drops()).find(|(after, before)| after.1 > before.1);
    if let Some(((reason, _), _)) = lost {
        batch.note_untaken(&[index], reason, after.frames > before.frames);
    }
}

fn finish_frame(frame: &[u8], vnet: VnetHdr, sent: &mut Sent, mut give: impl FnMut([&[u8]; 2]) -> Taken) {
    let mut give = |sent: &mut Sent, pieces: [&[u8]; 2]| {
        let taken = give(pieces);
        sent.count(taken, pieces[0].len() + pieces[1].len());
    };
    if vnet.gso_type != 0 {
        cut(frame, vnet, sent, give);
    } else if vnet.needs_checksum() {
        complete(frame, vnet, sent, give);
    } else {
        give(sent, [frame, &[]]);
    }
}

fn cut(frame: &[u8], vnet: VnetHdr, sent: &mut Sent, mut give: impl FnMut(&mut Sent, [&[u8]; 2])) {
    let Ok(mut segments) = Segments::new(frame, &vnet) else {
        return sent.add_untaken(Taken::BadOffload, 1);
    };
    sent.copies += segments.segment_count().saturating_sub(1) as u64;
    let mut header: HeaderBuffer = [0; MAX_HEADER_LEN];
    while let Some(segment) = segments.next_into(&mut header) {
        give(sent, [&header[..segment.header_len], &frame[segment.payload]]);
    }
}

fn complete(frame: &[u8], vnet: VnetHdr, sent: &mut Sent, mut give: impl FnMut(&mut Sent, [&[u8]; 2])) {
    let (head, payload) = frame.split_at(frame.len().min(MAX_HEADER_LEN));
    let mut header: HeaderBuffer = [0; MAX_HEADER_LEN];
    let header = &mut header[..head.len()];
    header.copy_from_slice(head);
    match checksum::complete_gathered(header, payload, vnet.csum_start, vnet.csum_offset) {
        Ok(()) => give(sent, [header, payload]),
        Err(_) => sent.add_untaken(Taken::BadOffload, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(payload: usize) -> Vec<u8> {
        let mut frame = [&[2; 12][..], b"\x08\x00\x45\x00"].concat();
        frame.extend((28 + payload as u16).to_be_bytes());
        frame.extend(b"\x00\x01\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x35\x00\x36");
        frame.extend((8 + payload as u16).to_be_bytes());
        frame.extend([0; 2]);
        frame.extend((0..payload).map(|at| at as u8));
        let pseudo = checksum::pseudo_v4([10, 0, 0, 1], [10, 0, 0, 2], 17, 8 + payload as u16);
        frame[40..42].copy_from_slice(&(!pseudo.checksum()).to_be_bytes());
        frame
    }

    fn finished(frame: &[u8], vnet: VnetHdr, mut take: impl FnMut() -> Taken) -> (Vec<Vec<u8>>, Sent) {
        let (mut frames, mut sent) = (Vec::new(), Sent::default());
        finish_frame(frame, vnet, &mut sent, |pieces| {
            frames.push(pieces.concat());
            take()
        });
        (frames, sent)
    }

    const PARTIAL: VnetHdr =
        VnetHdr { flags: 1, gso_type: 0, hdr_len: 0, gso_size: 0, csum_start: 34, csum_offset: 6 };

    #[test]
    fn a_partial_checksum_is_completed() {
        let frame = udp(301);
        let (frames, sent) = finished(&frame, PARTIAL, || Taken::Delivered);
        assert_eq!(sent, Sent { frames: 1, bytes: frame.len() as u64, ..Sent::default() });
        let mut expected = frame;
        checksum::complete(&mut expected, 34, 6).unwrap();
        assert_eq!(frames, [expected]);
    }

    #[test]
    fn every_segment_is_counted_as_what_became_of_it() {
        let frame = udp(2500);
        let vnet = VnetHdr { gso_type: 5, gso_size: 1000, ..PARTIAL };
        let mut answers = [Taken::Delivered, Taken::Full, Taken::Down].into_iter();
        let (frames, sent) = finished(&frame, vnet, || answers.next().unwrap());
        assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [1042, 1042, 542]);
        assert_eq!(sent, Sent { frames: 1, bytes: 1042, copies: 2, full: 1, down: 1, ..Sent::default() });
    }

    #[test]
    fn an_offload_that_does_not_fit_the_frame_is_counted() {
        for vnet in [
            VnetHdr { gso_type: 77, ..PARTIAL },
            VnetHdr { gso_type: 1, gso_size: 0, ..PARTIAL },
            VnetHdr { csum_start: 9999, ..PARTIAL },
        ] {
            let (frames, sent) = finished(&udp(500), vnet, || Taken::Delivered);
            assert_eq!((frames.len(), sent), (0, Sent { bad_offload: 1, ..Sent::default() }));
        }
    }

    #[test]
    fn a_frame_is_noted_whole_or_in_part_as_its_segments_are_not_taken() {
        let frame = udp(2600);
        let vnet =
            VnetHdr { flags: 1, gso_type: 5, hdr_len: 42, gso_size: 1000, csum_start: 34, csum_offset: 6 };
        let noted = |taken: [Taken; 3]| {
            let mut batch = Batch::default();
            batch.push_copy(&[&vnet.to_bytes()[..], &frame].concat());
            batch.watch(true);
            let (mut taken, mut noted) = (taken.into_iter(), Vec::new());
            finish_of(&batch, 0, &mut Vec::new(), &mut Sent::default(), |_| taken.next().unwrap());
            batch.take_untaken(&mut noted);
            noted.first().map(|of| (of.reason, of.partly))
        };
        let [yes, full, down] = [Taken::Delivered, Taken::Full, Taken::Down];
        assert_eq!(noted([yes, yes, yes]), None);
        assert_eq!(noted([yes, full, full]), Some((DropReason::ReceiverFull, true)));
        assert_eq!(noted([full, full, yes]), Some((DropReason::ReceiverFull, true)));
        assert_eq!(noted([down, down, down]), Some((DropReason::PortDown, false)));
    }
}
