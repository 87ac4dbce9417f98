//! How much CPU time a control thread may take.
//!
//! And how much it may take of a worker's, which is counted with it: what a change costs there.
//!
//! A front end decides how many messages it sends and what they cost (mapping memory, most of all). Setting up a device
//! of 16 queue pairs takes some 250 messages and a few milliseconds; that is not slowed. One that never ends gets a
//! fiftieth of a CPU, so that a worker that has the same one keeps 95 % of it, with what else a change of the port costs.

use std::time::{Duration, Instant};

/// CPU time that may be taken at once.
const BURST: Duration = Duration::from_millis(20);
/// One part of so many is given back as time goes by.
const SHARE: u32 = 50;
/// The longest rest at a time.
const LONGEST_REST: Duration = Duration::from_millis(200);

/// CPU time taken that was not given back yet.
#[derive(Debug)]
pub(super) struct Allowance {
    taken: Duration,
    at: Instant,
}

impl Allowance {
    pub(super) const fn new(now: Instant) -> Self {
        Self { taken: Duration::ZERO, at: now }
    }

    /// Takes `work`; says how long to rest then.
    pub(super) fn take(&mut self, work: Duration, now: Instant) -> Duration {
        let given_back = now.saturating_duration_since(self.at) / SHARE;
        self.at = now;
        self.taken = self.taken.saturating_sub(given_back) + work;
        (self.taken.saturating_sub(BURST) * SHARE).min(LONGEST_REST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_up_is_not_slowed() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        for message in 0..250 {
            let now = start + Duration::from_micros(message * 50);
            assert_eq!(allowance.take(Duration::from_micros(50), now), Duration::ZERO);
        }
    }

    #[test]
    fn a_flood_gets_a_fiftieth() {
        let start = Instant::now();
        let (mut allowance, mut now, mut worked) = (Allowance::new(start), start, Duration::ZERO);
        while now < start + Duration::from_secs(10) {
            let work = Duration::from_micros(700);
            worked += work;
            now += work;
            now += allowance.take(work, now);
        }
        assert!((Duration::from_millis(205)..Duration::from_millis(250)).contains(&worked), "{worked:?}");
    }
}
