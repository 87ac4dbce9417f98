//! Frames that the kernel refused after they were counted as delivered.
//!
//! It may do so when it is asked to send again what it did not at once, and then there is no batch whose count could be
//! corrected. So what is too much is taken off the frames that are delivered next.

use crate::Sent;

/// What was counted and is still to be taken off.
#[derive(Debug, Default)]
pub(super) struct Refused {
    frames: u64,
    bytes: u64,
}

impl Refused {
    /// One more, of so many bytes.
    pub(super) fn add(&mut self, bytes: u32) {
        self.frames += 1;
        self.bytes += u64::from(bytes);
    }

    /// Takes off what was counted too much, as far as so much is delivered.
    pub(super) fn settle(&mut self, sent: &mut Sent) {
        let (frames, bytes) = (self.frames.min(sent.frames), self.bytes.min(sent.bytes));
        sent.frames -= frames;
        sent.full += frames;
        sent.bytes -= bytes;
        (self.frames, self.bytes) = (self.frames - frames, self.bytes - bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_late_is_taken_off_what_is_delivered_next() {
        let mut late = Refused::default();
        (0..3).for_each(|_| late.add(60));
        let counts = [(0, 0), (2, 120), (5, 300), (5, 300)].map(|(frames, bytes)| {
            let mut sent = Sent { frames, bytes, ..Sent::default() };
            late.settle(&mut sent);
            (sent.frames, sent.bytes, sent.full)
        });
        assert_eq!(counts, [(0, 0, 0), (0, 0, 2), (4, 240, 1), (5, 300, 0)]);
    }
}
