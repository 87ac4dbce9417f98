//! Which frame lies where in the tx ring: the kernel may refuse one after it was put there.

use super::Sender;
use crate::{Batch, offload::Taken};
use model::DropReason;

/// What was put into the ring of one sender at once; nothing while nobody watches the batch.
#[derive(Debug, Default)]
pub(super) struct Names {
    put: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    frame: u16,
    /// Where its last part lies.
    at: u64,
    refused: bool,
}

impl Names {
    /// Notes a frame, or a segment of one, that was put last.
    #[inline]
    pub(super) fn put(&mut self, batch: &Batch, frame: u16, sender: &Sender, taken: Taken) {
        if batch.is_watched() && taken == Taken::Delivered {
            self.put.push(Entry { frame, at: sender.last_put(), refused: false });
        }
    }

    /// What lies there was not sent.
    pub(super) fn refuse(&mut self, at: u64) {
        self.put.iter_mut().filter(|entry| entry.at == at).for_each(|entry| entry.refused = true);
    }

    /// Tells the batch what was not sent, and forgets all.
    #[inline]
    pub(super) fn note(&mut self, batch: &Batch) {
        for parts in self.put.chunk_by(|a, b| a.frame == b.frame) {
            if parts.iter().any(|part| part.refused) {
                let partly = !parts.iter().all(|part| part.refused);
                batch.note_untaken(&[parts[0].frame], DropReason::ReceiverFull, partly);
            }
        }
        self.put.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_refused_in_part_where_not_all_of_its_segments_are() {
        let entry = |frame, at| Entry { frame, at, refused: false };
        let mut names =
            Names { put: vec![entry(0, 10), entry(3, 11), entry(3, 12), entry(5, 13), entry(5, 14)] };
        [12, 13, 14].into_iter().for_each(|at| names.refuse(at));
        let mut batch = Batch::default();
        batch.watch(true);
        names.note(&batch);
        let (mut untaken, full) = (Vec::new(), DropReason::ReceiverFull);
        batch.take_untaken(&mut untaken);
        let told: Vec<_> = untaken.iter().map(|of| (of.frame, of.reason, of.partly)).collect();
        assert_eq!((told, names.put.len()), (vec![(3, full, true), (5, full, false)], 0));
    }
}
