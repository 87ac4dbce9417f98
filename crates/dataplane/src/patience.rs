//! How long a worker goes on polling after the last frame before it sleeps.
//!
//! Sleeping is cheap, but the frame that ends it pays for the wake-up: on a virtual machine, whose idle CPUs the
//! hypervisor has to fetch back, more than the frame's whole way through the switch. So the worker looks at the gaps:
//!
//! * in a stream, frames follow each other within [`SHORT`], and it never sleeps; a longer gap is a stall, in which
//!   others need the CPU more;
//! * in a conversation, a few frames come, then a gap. If that gap was within [`LONG`], the next one likely is, and it is
//!   worth waiting for;
//! * what comes more rarely is not waited for: polling until then would keep a CPU busy for nothing.

use std::time::{Duration, Instant};

/// An answer usually comes sooner than this.
const SHORT: Duration = Duration::from_micros(50);
/// A thousand questions a second are waited for. In an alternating run on two quiet CPUs this took the round trip of such
/// pings through two TAPs from 95 to 30 µs.
const LONG: Duration = Duration::from_micros(1250);
/// More bytes than this between two gaps are a stream.
const CONVERSATION: usize = 8 * 1024;

/// The gaps of one worker's traffic.
#[derive(Debug)]
pub(crate) struct Patience {
    last_frame: Instant,
    linger: Duration,
    bytes: usize,
}

impl Patience {
    pub fn new(now: Instant) -> Self {
        Self { last_frame: now, linger: SHORT, bytes: 0 }
    }

    /// Frames came, of so many bytes.
    pub fn frames(&mut self, bytes: usize, now: Instant) {
        let gap = now.duration_since(self.last_frame);
        if gap > SHORT {
            let likely_again = gap <= LONG && self.bytes <= CONVERSATION;
            self.linger = if likely_again { LONG } else { SHORT };
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.last_frame = now;
    }

    /// True while it is worth polling.
    pub fn lasts(&self, now: Instant) -> bool {
        now.duration_since(self.last_frame) < self.linger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long it would linger after frames with these gaps between them, in microseconds.
    fn lingers(bytes: usize, gaps: impl IntoIterator<Item = u64>) -> Duration {
        let mut now = Instant::now();
        let mut patience = Patience::new(now);
        for gap in gaps {
            now += Duration::from_micros(gap);
            patience.frames(bytes, now);
        }
        assert!(patience.lasts(now) && !patience.lasts(now + patience.linger));
        patience.linger
    }

    #[test]
    fn a_conversation_is_waited_for() {
        assert_eq!(lingers(98, [5_000, 10, 1_000, 10, 1_000, 10]), LONG);
    }

    #[test]
    fn what_comes_rarely_is_not_waited_for() {
        assert_eq!(lingers(98, [5_000, 10, 1_000, 10, 5_000, 10]), SHORT);
    }

    #[test]
    fn a_stream_that_stalls_gives_up_the_cpu() {
        let stream = (0..100).map(|turn| if turn % 2 == 0 { 300 } else { 10 });
        assert_eq!(lingers(65_226, stream), SHORT);
    }
}
