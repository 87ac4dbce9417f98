//! For receivers that take no offloads: completes partial checksums and cuts what is above the MTU, in software.
//!
//! Only headers are written anew, into a private buffer; the payload goes out from where it was received.

use crate::{Batch, Sent, parts::Parts};
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
}

impl Sent {
    /// Counts one frame of `len` bytes.
    pub(crate) fn count(&mut self, taken: Taken, len: usize) {
        match taken {
            Taken::Delivered => self.delivered(len),
            Taken::Full => self.full += 1,
            Taken::Down => self.down += 1,
            Taken::Oversize => self.oversize += 1,
        }
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
    let vnet = batch.vnet(index);
    if is_finished(vnet) {
        return sent.count(give(batch.parts(index)), batch.frame_len(index));
    }
    finish(batch.whole(index, gathered), vnet, sent, |[header, payload]| give(Parts::own(header, payload)));
}

/// Finishes a frame, gives every frame that it becomes to `give` as header and payload, and counts what became of each.
pub(crate) fn finish(
    frame: &[u8],
    vnet: VnetHdr,
    sent: &mut Sent,
    mut give: impl FnMut([&[u8]; 2]) -> Taken,
) {
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
        sent.bad_offload += 1;
        return;
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
        Err(_) => sent.bad_offload += 1,
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
        finish(frame, vnet, &mut sent, |pieces| {
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
}
