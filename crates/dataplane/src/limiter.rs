//! How fast frames may pass a port: the buckets that all workers with a share of it draw from.
//!
//! Behind locks that are taken once or twice for a batch of a port that has limits; others do not come here.

use crate::{sync::Mutex, uplink::SharedUplink};
use engine::{Bucket, Nanos, PortIndex, Rate, Share};
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

/// The limits of one port: a maximum, and its part of an uplink; one of them at least.
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    port: PortIndex,
    maximum: Option<Arc<Maximum>>,
    uplink: Option<Arc<SharedUplink>>,
}

/// What a port may send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// So many bytes; `rested` where it has not sent for so long that it may send a burst again.
    Bytes { bytes: u64, rested: bool },
    /// Nothing for so long.
    Wait(Duration),
}

impl Limiter {
    /// Nothing where there are no limits.
    pub(crate) fn new(
        port: PortIndex,
        maximum: Option<Arc<Maximum>>,
        uplink: Option<Arc<SharedUplink>>,
    ) -> Option<Self> {
        (maximum.is_some() || uplink.is_some()).then_some(Self { port, maximum, uplink })
    }

    /// Has no more be received than the vNIC may send; what it may send. One that may send nothing is asked all the same, for
    /// what else it may have to tell.
    pub(crate) fn limit(&self, batch: &mut Batch) -> Allowance {
        let all = Allowance::Bytes { bytes: u64::MAX, rested: true };
        let own = self.maximum.as_ref().map_or(all, |maximum| maximum.allowance());
        let shared = self.uplink.as_ref().map_or(Share::All, |uplink| uplink.share(self.port));
        let allowance = match (own, shared) {
            (Allowance::Wait(wait), _) => Allowance::Wait(wait),
            (own, Share::All) => own,
            (Allowance::Bytes { bytes, rested }, Share::Bytes(share)) => {
                Allowance::Bytes { bytes: bytes.min(share), rested }
            }
            (_, Share::Wait(wait)) => Allowance::Wait(Duration::from_nanos(wait.0)),
        };
        match allowance {
            Allowance::Bytes { bytes, .. } if bytes >= BATCH_BYTES as u64 => allowance,
            Allowance::Bytes { bytes, .. } => {
                batch.limit_to(bytes as usize);
                allowance
            }
            Allowance::Wait(wait) => {
                batch.limit_to(0);
                Allowance::Wait(wait.min(LONGEST_WAIT))
            }
        }
    }

    /// The vNIC has sent this, and may have more where that was all that it might.
    pub(crate) fn sent(&self, batch: &Batch) {
        if let Some(maximum) = &self.maximum {
            maximum.sent(batch);
        }
        if let Some(uplink) = &self.uplink {
            uplink.was_read(self.port, batch.is_full());
        }
    }

    /// Leaves those of the frames that the vNIC may get now; says how many it may not.
    pub(crate) fn police(&self, batch: &Batch, leaving: &mut Vec<u16>) -> u64 {
        self.maximum.as_ref().map_or(0, |maximum| maximum.police(batch, leaving))
    }
}

/// The maximum of one port.
#[derive(Debug)]
pub(crate) struct Maximum {
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

impl Maximum {
    fn new(rate: Rate) -> Self {
        let bucket = || Bucket::new(rate, Nanos(0));
        let from = Mutex::new(Sending { bucket: bucket(), waits: false });
        Self { begun: Instant::now(), from, to: Mutex::new(bucket()) }
    }

    /// Makes `former` what `rate` says. What was sent already counts for a limit that was changed.
    pub(crate) fn follow(former: Option<Arc<Self>>, rate: Option<Rate>) -> Option<Arc<Self>> {
        let rate = rate?;
        let maximum = former.unwrap_or_else(|| Arc::new(Self::new(rate)));
        let now = nanos_since(maximum.begun);
        let set = |bucket: &mut Bucket| {
            bucket.advance(now);
            bucket.set_rate(rate);
        };
        set(&mut maximum.from.lock().bucket);
        set(&mut maximum.to.lock());
        Some(maximum)
    }

    fn allowance(&self) -> Allowance {
        let mut sending = self.from.lock();
        let (now, Sending { bucket, waits }) = (nanos_since(self.begun), &mut *sending);
        if *waits {
            bucket.advance_late(now);
        } else {
            bucket.advance(now);
        }
        match bucket.bytes() {
            0 => {
                let worthwhile = bucket.rate().bits / 8 / (1_000_000 / WORTHWHILE.as_micros() as u64);
                Allowance::Wait(Duration::from_nanos(bucket.wait_for(worthwhile.max(1)).0))
            }
            bytes => Allowance::Bytes { bytes, rested: bucket.is_full() },
        }
    }

    fn sent(&self, batch: &Batch) {
        let mut sending = self.from.lock();
        sending.bucket.take(batch.frame_bytes() as u64);
        sending.waits = batch.is_full();
    }

    fn police(&self, batch: &Batch, leaving: &mut Vec<u16>) -> u64 {
        let before = leaving.len();
        let mut bucket = self.to.lock();
        bucket.advance(nanos_since(self.begun));
        leaving.retain(|frame| bucket.pass(batch.frame_len(*frame) as u64));
        (before - leaving.len()) as u64
    }
}

/// The time that rates go by.
pub(crate) fn nanos_since(begun: Instant) -> Nanos {
    Nanos(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
