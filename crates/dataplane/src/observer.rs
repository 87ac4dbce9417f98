//! What a worker notes of a batch for those who listen, and hands to each of them when the batch is through.

use crate::tap::{Fate, Form, Note, Outcome, Tap};
use engine::PortIndex;
use io::{BATCH_FRAMES, Batch, Sent};
use model::DropReason;
use std::{
    ops::Range,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Notes on the batch at hand; none are taken while nobody listens.
#[derive(Debug)]
pub(crate) struct Observer {
    taps: Vec<Arc<Tap>>,
    watches: bool,
    /// Why frames of the batch came no further than the port they came from.
    refused: [Option<DropReason>; BATCH_FRAMES],
    /// What became of frames at their destinations, in the order in which that was found out.
    fates: Vec<(u16, Outcome)>,
    /// The same by frame.
    outcomes: Vec<Outcome>,
}

impl Default for Observer {
    fn default() -> Self {
        Self {
            taps: Vec::new(),
            watches: false,
            refused: [None; BATCH_FRAMES],
            fates: Vec::new(),
            outcomes: Vec::new(),
        }
    }
}

impl Observer {
    pub fn add(&mut self, tap: Arc<Tap>) {
        self.taps.push(tap);
    }

    /// A batch begins: the one look at whether somebody listens.
    #[inline]
    pub fn begin(&mut self) {
        if !self.taps.is_empty() {
            self.prepare();
        }
    }

    #[cold]
    fn prepare(&mut self) {
        self.taps.retain(|tap| !tap.is_closed());
        self.watches = !self.taps.is_empty();
        self.refused = [None; BATCH_FRAMES];
        self.fates.clear();
    }

    #[inline]
    pub const fn watches(&self) -> bool {
        self.watches
    }

    /// Frames came no further than the port they came from.
    #[inline]
    pub fn refused(&mut self, frames: Range<u16>, reason: DropReason) {
        if self.watches {
            frames.for_each(|frame| self.refused[usize::from(frame) % BATCH_FRAMES] = Some(reason));
        }
    }

    /// Frames were not given to a port that they were to leave on.
    #[inline]
    pub fn dropped(&mut self, frames: Range<u16>, port: PortIndex, reason: DropReason) {
        if self.watches {
            let outcome = Outcome { port, fate: Fate::Dropped(reason), form: Form::AsItCame };
            self.fates.extend(frames.map(|frame| (frame, outcome)));
        }
    }

    /// Frames were given to a port that they leave on, each in a form; this became of all of them together, `None` where the
    /// port is not there.
    pub fn given(
        &mut self,
        frames: impl ExactSizeIterator<Item = (u16, Form)>,
        port: PortIndex,
        sent: Option<Sent>,
    ) {
        let fate = fate_of(frames.len() as u64, sent);
        self.fates.extend(frames.map(|(frame, form)| (frame, Outcome { port, fate, form })));
    }

    /// The batch is through.
    #[inline]
    pub fn end(&mut self, ingress: PortIndex, batch: &Batch) {
        if self.watches {
            self.tell(ingress, batch);
        }
    }

    #[cold]
    fn tell(&mut self, ingress: PortIndex, batch: &Batch) {
        let Self { taps, refused, fates, outcomes, .. } = self;
        fates.sort_by_key(|(frame, _)| *frame);
        outcomes.clear();
        outcomes.extend(fates.iter().map(|(_, outcome)| *outcome));
        let time_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        for tap in taps {
            let mut rest = (&fates[..], &outcomes[..]);
            let notes = (0..batch.len() as u16).zip(&*refused).map(|(frame, refused)| {
                let own = rest.0.iter().take_while(|(of, _)| *of == frame).count();
                let (fates, outcomes) = (rest.0.split_at(own), rest.1.split_at(own));
                rest = (fates.1, outcomes.1);
                Note { time_ns, ingress, refused: *refused, outcomes: outcomes.0 }
            });
            tap.put_batch(batch, notes);
        }
    }
}

/// What became of each of so many frames, as far as the port tells.
fn fate_of(given: u64, sent: Option<Sent>) -> Fate {
    let Some(sent) = sent else { return Fate::Dropped(DropReason::PortDown) };
    let drops = sent.drops();
    let mut reasons = drops.iter().filter(|(_, frames)| *frames > 0);
    match (reasons.next(), reasons.next()) {
        (None, _) => Fate::Passed,
        (Some((reason, frames)), None) if *frames >= given && sent.frames == 0 => Fate::Dropped(*reason),
        (Some((reason, _)), _) => Fate::MaybeDropped(*reason),
    }
}
