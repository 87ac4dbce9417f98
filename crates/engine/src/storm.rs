//! Storm limit: how many frames a port may have flooded in a second.
//!
//! Hyper-V: packets a second of broadcast, multicast and unknown unicast that a port may send; what is above that *in the same
//! one-second interval* is dropped. So a fixed second it is here, and no bucket of tokens: as many as the limit pass in each
//! second, however they are spread over it, and then none until the second is over. A second begins with the first such
//! frame after the one before has ended, so that a port that was quiet always has all of its limit.

use crate::Millis;

const SECOND_MS: u64 = 1000;

/// The second at hand of one port.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Storm {
    begun: Option<Millis>,
    passed: u32,
}

impl Storm {
    /// How many of `frames` pass that come at once; the others are too many for their second.
    pub(crate) fn pass(&mut self, limit: u32, frames: u32, now: Millis) -> u32 {
        if self.begun.is_none_or(|begun| now.0.saturating_sub(begun.0) >= SECOND_MS) {
            *self = Self { begun: Some(now), passed: 0 };
        }
        let passing = frames.min(limit.saturating_sub(self.passed));
        self.passed += passing;
        passing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_begins_with_its_first_frame_and_what_is_too_much_waits_for_the_next_one() {
        let mut storm = Storm::default();
        assert_eq!(storm.pass(10, 6, Millis(5500)), 6);
        assert_eq!(storm.pass(10, 6, Millis(6000)), 4);
        assert_eq!(storm.pass(10, 1, Millis(6499)), 0);
        assert_eq!(storm.pass(10, 64, Millis(6500)), 10);
        assert_eq!(storm.pass(10, 1, Millis(99_999)), 1);
    }

    #[test]
    fn a_limit_that_is_changed_counts_from_then_on() {
        let mut storm = Storm::default();
        assert_eq!(storm.pass(10, 10, Millis(0)), 10);
        assert_eq!((storm.pass(12, 5, Millis(1)), storm.pass(5, 1, Millis(2))), (2, 0));
    }
}
