//! What a worker did with its time: counted once a batch and once a round, never once a frame.

use std::time::{Duration, Instant};

/// What a worker has done since it was started, read between two batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerReport {
    /// The CPU that it is pinned to, if it is.
    pub cpu: Option<usize>,
    /// Time since it was started.
    pub uptime: Duration,
    /// Time in rounds in which frames passed. The rest it slept, or looked for frames that were not there.
    pub busy: Duration,
    /// Frames received.
    pub frames: u64,
    /// Batches in which they came.
    pub batches: u64,
}

/// The counts behind it.
#[derive(Debug)]
pub(crate) struct Load {
    started: Instant,
    /// When the round at hand began, and whether frames passed in it so far.
    round: Instant,
    works: bool,
    busy: Duration,
    frames: u64,
    batches: u64,
}

impl Load {
    pub fn new(now: Instant) -> Self {
        Self { started: now, round: now, works: false, busy: Duration::ZERO, frames: 0, batches: 0 }
    }

    /// A round begins, and so the one before has ended.
    pub fn round(&mut self, now: Instant) {
        if std::mem::take(&mut self.works) {
            self.busy += now.saturating_duration_since(self.round);
        }
        self.round = now;
    }

    /// A batch has passed.
    pub const fn batch(&mut self, frames: usize) {
        self.works = true;
        self.frames += frames as u64;
        self.batches += 1;
    }

    pub fn report(&self, now: Instant) -> WorkerReport {
        let uptime = now.saturating_duration_since(self.started);
        WorkerReport { cpu: None, uptime, busy: self.busy, frames: self.frames, batches: self.batches }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rounds_in_which_frames_passed_are_busy() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut load = Load::new(start);
        load.round(at(10));
        load.batch(64);
        load.batch(2);
        load.round(at(30));
        load.round(at(1000));
        load.batch(1);
        load.round(at(1005));
        let expected = WorkerReport {
            cpu: None,
            uptime: Duration::from_micros(2000),
            busy: Duration::from_micros(25),
            frames: 67,
            batches: 3,
        };
        assert_eq!(load.report(at(2000)), expected);
    }
}
