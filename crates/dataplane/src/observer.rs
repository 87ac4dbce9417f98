//! What a worker notes of a batch for those who listen, and hands to each of them when the batch is through.

use crate::tap::{Fate, Form, Note, Outcome, Tap};
use engine::PortIndex;
use io::{BATCH_FRAMES, Batch, Untaken};
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
    /// What the port at hand did not take.
    untaken: Vec<Untaken>,
}

impl Default for Observer {
    fn default() -> Self {
        Self {
            taps: Vec::new(),
            watches: false,
            refused: [None; BATCH_FRAMES],
            fates: Vec::new(),
            outcomes: Vec::new(),
            untaken: Vec::new(),
        }
    }
}

impl Observer {
    pub fn add(&mut self, tap: Arc<Tap>) {
        self.taps.push(tap);
    }

    /// A batch begins: the one look at whether somebody listens. The batch is told in any case, as it served other switches
    /// before, to which others may listen.
    #[inline]
    pub fn begin(&mut self, batch: &mut Batch) {
        if !self.taps.is_empty() {
            self.prepare();
        }
        batch.watch(self.watches);
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

    /// Frames of a batch were given to a port that they leave on, which `is_there` or was not. `origin` tells which frame each is a
    /// form of.
    pub fn given(
        &mut self,
        batch: &Batch,
        frames: &[u16],
        port: PortIndex,
        is_there: bool,
        origin: impl Fn(u16) -> (u16, Form),
    ) {
        let Self { fates, untaken, .. } = self;
        batch.take_untaken(untaken);
        fates.extend(frames.iter().map(|&index| {
            let fate = if is_there { fate_of(index, untaken) } else { Fate::Dropped(DropReason::PortDown) };
            let (frame, form) = origin(index);
            (frame, Outcome { port, fate, form })
        }));
    }

    /// The batch is through, which came from `ingress`, or from the switch itself.
    #[inline]
    pub fn end(&mut self, ingress: Option<PortIndex>, batch: &Batch) {
        if self.watches {
            self.tell(ingress, batch);
        }
    }

    #[cold]
    fn tell(&mut self, ingress: Option<PortIndex>, batch: &Batch) {
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

/// What became of a frame, where these are those that the port did not take. What it noted last of a frame has all of it.
fn fate_of(index: u16, untaken: &[Untaken]) -> Fate {
    match untaken.iter().rfind(|untaken| untaken.frame == index) {
        None => Fate::Passed,
        Some(Untaken { reason, partly: false, .. }) => Fate::Dropped(*reason),
        Some(Untaken { reason, partly: true, .. }) => Fate::PartlyDropped(*reason),
    }
}
