//! The ports that a worker looks at in every round: rings in shared memory that had frames lately.

use std::time::{Duration, Instant};

/// A ring without frames for so long is armed. Being told costs the guest a system call, and on a virtual machine an exit; the
/// worker's polling in between costs nobody else anything for as long.
const PATIENCE: Duration = Duration::from_micros(200);

/// Their tokens, and when each last had frames.
#[derive(Debug, Default)]
pub(crate) struct Rings {
    polled: Vec<(u64, Instant)>,
}

impl Rings {
    pub fn is_empty(&self) -> bool {
        self.polled.is_empty()
    }

    pub fn get(&self, at: usize) -> Option<u64> {
        self.polled.get(at).map(|(token, _)| *token)
    }

    /// Takes in a ring that is not there yet.
    pub fn add(&mut self, token: u64, now: Instant) {
        if !self.polled.iter().any(|(known, _)| *known == token) {
            self.polled.push((token, now));
        }
    }

    pub fn remove(&mut self, token: u64) {
        self.polled.retain(|(known, _)| *known != token);
    }

    pub fn had_frames(&mut self, at: usize, now: Instant) {
        if let Some((_, last)) = self.polled.get_mut(at) {
            *last = now;
        }
    }

    pub fn is_stale(&self, at: usize, now: Instant) -> bool {
        self.polled.get(at).is_some_and(|(_, last)| now.saturating_duration_since(*last) >= PATIENCE)
    }
}
