//! Buckets in virtual time: against a naive model, and as a worker uses them.

use engine::{Bucket, Nanos, Rate};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const LARGEST: u64 = 65_550;

/// A bucket without arithmetic to think about: it is looked at in every nanosecond, in nanobits.
struct Naive {
    level: i128,
    rate: Rate,
    at: u64,
}

impl Naive {
    fn capacity(&self) -> i128 {
        i128::from(self.rate.burst) * 8 * i128::from(SECOND)
    }

    fn advance(&mut self, now: u64) {
        self.level = self.level.min(self.capacity());
        while self.at < now {
            self.at += 1;
            self.level = (self.level + i128::from(self.rate.bits)).min(self.capacity());
        }
    }

    fn advance_late(&mut self, now: u64) {
        let most = self.capacity() + i128::from(self.rate.bits) * i128::from(SECOND / 4);
        let most = most.min(i128::from(i64::MAX));
        self.level = self.level.min(most);
        while self.at < now {
            self.at += 1;
            self.level = (self.level + i128::from(self.rate.bits)).min(most);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pass { later: u64, bytes: u64 },
    Take { later: u64, bytes: u64 },
    Late { later: u64 },
    SetRate { later: u64, rate: Rate },
}

fn rates() -> impl Strategy<Value = Rate> {
    (1_000_000_u64..40_000_000_000, 1_u64..1 << 20).prop_map(|(bits, burst)| Rate { bits, burst })
}

fn steps() -> impl Strategy<Value = Step> {
    let (later, bytes) = (0_u64..5_000, 60..LARGEST);
    prop_oneof![
        4 => (later.clone(), bytes.clone()).prop_map(|(later, bytes)| Step::Pass { later, bytes }),
        2 => (later.clone(), bytes).prop_map(|(later, bytes)| Step::Take { later, bytes }),
        2 => later.clone().prop_map(|later| Step::Late { later }),
        1 => (later, rates()).prop_map(|(later, rate)| Step::SetRate { later, rate }),
    ]
}

proptest! {
    #[test]
    fn a_bucket_is_what_a_naive_one_is(rate in rates(), steps in prop::collection::vec(steps(), 1..100)) {
        let mut bucket = Bucket::new(rate, Nanos(0));
        let mut naive = Naive { level: 0, rate, at: 0 };
        naive.level = naive.capacity();
        for step in steps {
            match step {
                Step::Pass { later, bytes } => {
                    naive.advance(naive.at + later);
                    bucket.advance(Nanos(naive.at));
                    let passes = naive.level > 0;
                    naive.level -= if passes { i128::from(bytes) * 8 * i128::from(SECOND) } else { 0 };
                    prop_assert_eq!(bucket.pass(bytes), passes);
                }
                Step::Take { later, bytes } => {
                    naive.advance(naive.at + later);
                    bucket.advance(Nanos(naive.at));
                    naive.level -= i128::from(bytes) * 8 * i128::from(SECOND);
                    bucket.take(bytes);
                }
                Step::Late { later } => {
                    naive.advance_late(naive.at + later);
                    bucket.advance_late(Nanos(naive.at));
                }
                Step::SetRate { later, rate } => {
                    naive.advance(naive.at + later);
                    naive.rate = rate;
                    bucket.advance(Nanos(naive.at));
                    bucket.set_rate(rate);
                }
            }
            let whole = (naive.level.max(0) as u128).div_ceil(8 * u128::from(SECOND)) as u64;
            prop_assert_eq!(bucket.bytes(), whole);
            prop_assert_eq!(bucket.is_full(), naive.level >= naive.capacity());
        }
    }

    #[test]
    fn a_wait_is_as_long_as_it_takes_and_no_longer(rate in rates(), owed in 0_u64..1 << 22, wanted in 1..LARGEST) {
        let mut bucket = Bucket::new(rate, Nanos(7));
        bucket.take(rate.burst + owed);
        let (wait, wanted) = (bucket.wait_for(wanted).0, wanted.min(rate.burst));
        prop_assert!(wait > 0);
        let at = |wait| { let mut later = bucket.clone(); later.advance(Nanos(7 + wait)); later.bytes() };
        // A byte that is there in part counts, so one nanosecond earlier the last one may be.
        prop_assert!(at(wait) >= wanted && at(wait - 1) <= wanted);
        prop_assert_eq!(bucket.wait_for(u64::MAX), bucket.wait_for(rate.burst));
    }
}

/// What a worker takes from a port that always has frames, turn by turn, as it does: up to what the bucket has and one frame
/// beyond, 64 frames and 192 KiB at most; then it waits until half a millisecond's worth is there, and comes late.
struct Worker {
    bucket: Bucket,
    now: u64,
    random: u64,
}

impl Worker {
    fn new(rate: Rate) -> Self {
        Self { bucket: Bucket::new(rate, Nanos(0)), now: 0, random: rate.bits | 1 }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// Bytes that passed in this turn.
    fn turn(&mut self, frame_len: u64, batch: u64) -> u64 {
        self.bucket.advance(Nanos(self.now));
        let budget = self.bucket.bytes().min(192 * 1024);
        if budget == 0 {
            let rate = self.bucket.rate();
            let wait = self.bucket.wait_for(rate.bits / 16_000).0;
            self.now += wait + self.random(300_000);
            return 0;
        }
        let bytes = budget.div_ceil(frame_len).min(batch) * frame_len;
        self.bucket.take(bytes);
        // The fastest that frames ever come: 100 Gbit/s.
        self.now += 1 + bytes * 8 / 100;
        bytes
    }
}

#[test]
fn a_rate_is_kept_within_two_per_cent_over_each_second_whatever_the_frames_and_the_batches() {
    for bits in [1_000_000, 3_333_333, 10_000_000, 100_000_000, 1_000_000_000, 9_999_999_999, 40_000_000_000]
    {
        let rate = Rate { bits, burst: u64::max(bits / 800, 1522) };
        for (frame_len, batch) in
            [(64, 64), (64, 1), (60, 7), (1514, 64), (9014, 3), (LARGEST, 64), (LARGEST, 1)]
        {
            // So many turns would take too long, and no machine passes that many frames.
            if bits / 8 / (frame_len * batch) > 10_000_000 {
                continue;
            }
            let mut worker = Worker::new(rate);
            // The burst is over, and a second begins with an empty bucket.
            while worker.turn(frame_len, batch) != 0 {}
            for second in 0..3 {
                let (end, mut bytes) = (worker.now + SECOND, 0);
                let begun = worker.now;
                while worker.now < end {
                    bytes += worker.turn(frame_len, batch);
                }
                let due = u128::from(bits) * u128::from(worker.now - begun) / u128::from(8 * SECOND);
                let wrong = due.abs_diff(u128::from(bytes));
                // A frame is not divided, and the last one is paid for afterwards.
                let allowed = due / 50 + u128::from(frame_len);
                assert!(
                    wrong <= allowed,
                    "{bits} bit/s, {batch} × {frame_len}, second {second}: {bytes} of {due}"
                );
            }
        }
    }
}

#[test]
fn over_an_hour_a_rate_does_not_drift_by_a_single_frame() {
    let rate = Rate { bits: 1_000_003, burst: 1522 };
    let mut worker = Worker::new(rate);
    let mut bytes = 0;
    while worker.now < 3600 * SECOND {
        bytes += worker.turn(1514, 64);
    }
    let due = u128::from(rate.bits) * u128::from(worker.now) / u128::from(8 * SECOND);
    // The first burst comes on top.
    assert!(u128::from(bytes).abs_diff(due) <= u128::from(1514 + rate.burst), "{bytes} of {due}");
}

#[test]
fn a_first_second_brings_no_more_than_the_rate_and_the_burst() {
    let rate = Rate { bits: 100_000_000, burst: 500_000 };
    let (mut worker, mut bytes) = (Worker::new(rate), 0);
    while worker.now < SECOND {
        bytes += worker.turn(1514, 64);
    }
    let most = rate.bits / 8 + rate.burst + 1514;
    assert!((most * 98 / 100..=most * 1001 / 1000).contains(&bytes), "{bytes} of {most}");
}

#[test]
fn who_waits_and_is_served_late_loses_nothing_and_who_rests_saves_nothing_up() {
    let rate = Rate { bits: 8_000_000, burst: 2000 };
    let mut bucket = Bucket::new(rate, Nanos(0));
    bucket.take(2000);
    bucket.advance_late(Nanos(SECOND / 10));
    assert_eq!(bucket.bytes(), 100_000);
    bucket.advance_late(Nanos(SECOND));
    assert_eq!(bucket.bytes(), 252_000);
    bucket.advance(Nanos(SECOND));
    assert_eq!(bucket.bytes(), 2000);
}

#[test]
fn time_that_goes_backwards_stands_still() {
    let mut bucket = Bucket::new(Rate { bits: 8_000_000_000, burst: 1000 }, Nanos(500));
    bucket.take(1000);
    bucket.advance(Nanos(100));
    assert_eq!(bucket.bytes(), 0);
    bucket.advance(Nanos(510));
    assert_eq!(bucket.bytes(), 10);
}
