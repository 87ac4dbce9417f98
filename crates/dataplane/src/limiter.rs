//! How fast frames may pass a port: the buckets that all workers with a share of it draw from.
//!
//! Behind a lock that is taken once or twice for a batch of a port that has limits; others do not come here.

use crate::sync::Mutex;
use engine::{Bucket, Limits, Nanos, Rate};
use io::{BATCH_BYTES, Batch};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A port that has used up its tokens waits for as many as come in this time: looking at it for each frame would cost more
/// than the frames do.
const WORTHWHILE: Duration = Duration::from_micros(500);
/// However much a port owes, it is looked at so often: its peer may be gone, and its limit may have been changed.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// The limits of one port.
#[derive(Debug)]
pub(crate) struct Limiter {
    begun: Instant,
    /// Of what the vNIC sends.
    from: Mutex<Sending>,
    /// Of what it gets.
    to: Mutex<Bucket>,
}

#[derive(Debug)]
struct Sending {
    bucket: Bucket,
    /// Whether frames were left with the vNIC when it was looked at last.
    waits: bool,
}

/// What a port may send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// So many bytes; `rested` where it has not sent for so long that it may send a burst again.
    Bytes { bytes: usize, rested: bool },
    /// Nothing for so long.
    Wait(Duration),
}

impl Limiter {
    fn new(rate: Rate) -> Self {
        let bucket = || Bucket::new(rate, Nanos(0));
        let from = Mutex::new(Sending { bucket: bucket(), waits: false });
        Self { begun: Instant::now(), from, to: Mutex::new(bucket()) }
    }

    /// Makes `former` what `limits` say. What was sent already counts for a limit that was changed.
    pub(crate) fn follow(former: Option<Arc<Self>>, limits: Limits) -> Option<Arc<Self>> {
        let rate = limits.maximum?;
        let limiter = former.unwrap_or_else(|| Arc::new(Self::new(rate)));
        let now = limiter.now();
        limiter.from.lock().bucket.set_rate(rate, now);
        limiter.to.lock().set_rate(rate, now);
        Some(limiter)
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// What the vNIC may send.
    pub(crate) fn allowance(&self) -> Allowance {
        let mut sending = self.from.lock();
        let Sending { bucket, waits } = &mut *sending;
        if *waits {
            bucket.advance_late(self.now());
        } else {
            bucket.advance(self.now());
        }
        match bucket.bytes() {
            0 => {
                let worthwhile = bucket.rate().bits / 8 / (1_000_000 / WORTHWHILE.as_micros() as u64);
                let wait = Duration::from_nanos(bucket.wait_for(worthwhile.max(1)).0);
                Allowance::Wait(wait.min(LONGEST_WAIT))
            }
            bytes => {
                Allowance::Bytes { bytes: bytes.min(BATCH_BYTES as u64) as usize, rested: bucket.is_full() }
            }
        }
    }

    /// The vNIC has sent this, and may have more where that was all that it might.
    pub(crate) fn sent(&self, batch: &Batch) {
        let mut sending = self.from.lock();
        sending.bucket.take(batch.frame_bytes() as u64);
        sending.waits = batch.is_full();
    }

    /// Leaves those of the frames that the vNIC may get now; says how many it may not.
    pub(crate) fn police(&self, batch: &Batch, leaving: &mut Vec<u16>) -> u64 {
        let before = leaving.len();
        let mut bucket = self.to.lock();
        bucket.advance(self.now());
        leaving.retain(|frame| bucket.pass(batch.frame_len(*frame) as u64));
        (before - leaving.len()) as u64
    }
}
