//! How fast frames may pass a port: the buckets that all workers with a share of it draw from.
//!
//! Behind locks that are taken once or twice for a batch of a port that has limits; others do not come here.

use crate::{sync::Mutex, uplink::SharedUplink};
use engine::{Bucket, LATEST, Nanos, PortIndex, Rate, Share};
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
    /// Whether it was the uplink that limited what was to be received last. What the port's own maximum keeps it from sending is
    /// nothing that it wants of the uplink.
    by_uplink: bool,
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
        (maximum.is_some() || uplink.is_some()).then_some(Self { port, maximum, uplink, by_uplink: false })
    }

    /// Has no more be received than the vNIC may send; what it may send. One that may send nothing is asked all the same, for
    /// what else it may have to tell.
    pub(crate) fn limit(&mut self, batch: &mut Batch, now: Instant) -> Allowance {
        let all = Allowance::Bytes { bytes: u64::MAX, rested: true };
        let own = self.maximum.as_ref().map_or(all, |maximum| maximum.allowance(now));
        let shared = self.uplink.as_ref().map_or(Share::All, |uplink| uplink.share(self.port, now));
        self.by_uplink = is_tighter(shared, own);
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
            uplink.was_read(self.port, self.by_uplink && batch.is_full());
        }
    }

    /// Leaves those of the frames that the vNIC may get now; says how many it may not.
    pub(crate) fn police(&self, batch: &Batch, leaving: &mut Vec<u16>, now: Instant) -> u64 {
        self.maximum.as_ref().map_or(0, |maximum| maximum.police(batch, leaving, now))
    }
}

/// True where the uplink lets a port send no more than its own maximum does.
const fn is_tighter(shared: Share, own: Allowance) -> bool {
    match (shared, own) {
        (Share::All, _) => false,
        (Share::Wait(_), _) => true,
        (Share::Bytes(_), Allowance::Wait(_)) => false,
        (Share::Bytes(share), Allowance::Bytes { bytes, .. }) => share <= bytes,
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
    /// Whether frames may have been left with the vNIC when it was looked at last.
    waits: bool,
    looked: Nanos,
}

impl Sending {
    /// Lets in what came since the last look. A vNIC that has sent a full batch may have had no more than that: then nobody looks
    /// until it sends again. One that waits is looked at within [`LONGEST_WAIT`], so after a longer time than tokens are kept it
    /// has not waited.
    fn advance(&mut self, now: Nanos) {
        let passed = now.0.saturating_sub(self.looked.0);
        self.looked = now;
        if self.waits && passed <= LATEST.0 {
            self.bucket.advance_late(now);
        } else {
            self.bucket.advance(now);
        }
    }
}

impl Maximum {
    fn new(rate: Rate) -> Self {
        let bucket = || Bucket::new(rate, Nanos(0));
        let from = Mutex::new(Sending { bucket: bucket(), waits: false, looked: Nanos(0) });
        Self { begun: Instant::now(), from, to: Mutex::new(bucket()) }
    }

    /// Makes `former` what `rate` says. What was sent already counts for a limit that was changed.
    pub(crate) fn follow(former: Option<Arc<Self>>, rate: Option<Rate>) -> Option<Arc<Self>> {
        let rate = rate?;
        let maximum = former.unwrap_or_else(|| Arc::new(Self::new(rate)));
        let now = nanos_since(maximum.begun, Instant::now());
        let set = |bucket: &mut Bucket| {
            bucket.advance(now);
            bucket.set_rate(rate);
        };
        set(&mut maximum.from.lock().bucket);
        set(&mut maximum.to.lock());
        Some(maximum)
    }

    fn allowance(&self, now: Instant) -> Allowance {
        let mut sending = self.from.lock();
        sending.advance(nanos_since(self.begun, now));
        let bucket = &sending.bucket;
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

    fn police(&self, batch: &Batch, leaving: &mut Vec<u16>, now: Instant) -> u64 {
        let before = leaving.len();
        let mut bucket = self.to.lock();
        bucket.advance(nanos_since(self.begun, now));
        leaving.retain(|frame| bucket.pass(batch.frame_len(*frame) as u64));
        (before - leaving.len()) as u64
    }
}

/// The time that rates go by.
pub(crate) fn nanos_since(begun: Instant, now: Instant) -> Nanos {
    Nanos(u64::try_from(now.saturating_duration_since(begun).as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{models::alone, tables::Tables};
    use engine::{Limits, Millis, PortPolicy, Role, Shares, Snapshot, TableConfig};
    use io::BATCH_FRAMES;
    use wire::VNET_HDR_LEN;

    const MEGABIT: u64 = 1_000_000;
    const SECOND: Duration = Duration::from_secs(1);
    const FRAME: usize = 1514;
    /// With what is around it.
    const ON_THE_CABLE: u64 = FRAME as u64 + 24;

    /// A port that always has frames, and its turns.
    struct Greedy {
        limiter: Limiter,
        until: Instant,
        /// Bytes on the cable.
        sent: u64,
    }

    impl Greedy {
        /// Until it has to wait, or has sent a batch; says how long that took.
        fn turn(&mut self, uplink: &SharedUplink, batch: &mut Batch, now: Instant) -> Duration {
            batch.clear();
            if let Allowance::Wait(wait) = self.limiter.limit(batch, now) {
                self.until = now + wait;
            }
            while !batch.is_full() {
                batch.push(VNET_HDR_LEN + FRAME);
            }
            self.limiter.sent(batch);
            let bytes = batch.len() as u64 * ON_THE_CABLE;
            if bytes != 0 {
                uplink.carried(self.limiter.port, (bytes, batch.len() as u64), 0, now);
            }
            self.sent += bytes;
            // 20 Gbit/s is what this worker can.
            Duration::from_nanos(bytes * 8 / 20 + 200)
        }
    }

    /// Bits a second on the cable, in the second second, of ports that always have frames for an uplink of a gigabit.
    fn sharing(limits: &[Limits]) -> Vec<u64> {
        let limited = |limits| PortPolicy { limits, ..PortPolicy::new(Role::Vnic) };
        let vnics = limits.iter().copied().map(limited);
        let policies = [PortPolicy::new(Role::Uplink)].into_iter().chain(vnics);
        let shares = Shares { capacity: Some(1000 * MEGABIT), others: 1 };
        let snapshot = Snapshot::new((0..).map(PortIndex).zip(policies).collect()).with_sharing(Some(shares));
        let tables = Tables::new(TableConfig::default(), [1, 2]);
        tables.install(Arc::new(snapshot), Millis(0));
        let (uplink, start) = (tables.uplink().unwrap(), Instant::now());
        let limiters = (1..=limits.len() as u16).filter_map(|port| tables.limiter(PortIndex(port)));
        let mut ports: Vec<_> = limiters.map(|limiter| Greedy { limiter, until: start, sent: 0 }).collect();
        let (mut batch, mut now) = (Batch::default(), start);
        let mut second = |ports: &mut [Greedy]| {
            let (begun, before) = (now, ports.iter().map(|port| port.sent).collect::<Vec<_>>());
            while now < begun + SECOND {
                for port in ports.iter_mut() {
                    if port.until <= now {
                        now += port.turn(&uplink, &mut batch, now);
                    }
                }
                now += Duration::from_micros(5);
            }
            ports.iter().zip(before).map(|(port, before)| (port.sent - before) * 8).collect()
        };
        let _: Vec<u64> = second(&mut ports);
        second(&mut ports)
    }

    /// A weight, and megabits a second where there is a maximum.
    fn limits(weight: u64, maximum: Option<u64>) -> Limits {
        let rate = |megabits| Rate { bits: megabits * MEGABIT, burst: megabits * MEGABIT / 800 };
        Limits { minimum: Some(weight), maximum: maximum.map(rate), ..Limits::default() }
    }

    /// What the first port gets beside another without a maximum, and the other gets the rest.
    #[track_caller]
    fn expect(first: Limits, other: Limits, megabits: u64) {
        let got = sharing(&[first, other]);
        for (one, part) in got.iter().zip([megabits, 1000 - megabits]) {
            assert!(one.abs_diff(part * MEGABIT) < part * MEGABIT / 20, "{got:?}");
        }
    }

    #[test]
    fn what_a_port_may_not_send_by_its_own_maximum_goes_to_the_others_of_the_uplink() {
        for maximum in [10, 500] {
            alone(move || expect(limits(100, Some(maximum)), limits(1, None), maximum));
        }
    }

    #[test]
    fn a_port_whose_part_of_the_uplink_is_below_its_maximum_has_that_part() {
        alone(|| expect(limits(1, Some(500)), limits(3, None), 250));
    }

    /// Bytes that a port of 100 Mbit/s may send so long after a full batch.
    fn after_a_full_batch(rest: Duration) -> u64 {
        let (rate, begun) = (Rate { bits: 100 * MEGABIT, burst: 125_000 }, Instant::now());
        let mut limiter = Limiter::new(PortIndex(0), Maximum::follow(None, Some(rate)), None).unwrap();
        let mut batch = Batch::default();
        limiter.limit(&mut batch, begun);
        (0..BATCH_FRAMES).for_each(|_| batch.push(VNET_HDR_LEN + 60));
        limiter.sent(&batch);
        match limiter.limit(&mut batch, begun + rest) {
            Allowance::Bytes { bytes, .. } => bytes,
            Allowance::Wait(_) => 0,
        }
    }

    #[test]
    fn who_sent_a_full_batch_and_rested_has_a_burst_and_who_waited_has_what_came_meanwhile() {
        alone(|| {
            let rested = [300, 1000, 60_000].map(|millis| after_a_full_batch(Duration::from_millis(millis)));
            assert_eq!(rested, [125_000; 3]);
            assert!(after_a_full_batch(Duration::from_millis(200)) > 2_000_000);
        });
    }
}
