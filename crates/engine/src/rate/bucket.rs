//! A token bucket that loses nothing: exact in whole numbers, for rates from kilobits to terabits.
//!
//! Tokens are counted in *nanobits*: what a rate of one bit a second brings in a nanosecond. So what comes in is the product
//! of two integers, nothing is rounded, and nothing drifts however often the bucket is looked at.
//!
//! Whoever takes may take a little more than there is, and the next has to wait for longer: a frame of 64 KiB passes whole, and
//! the rate is kept over time all the same. A bucket never holds more than its burst, so a moment of idleness cannot be saved up;
//! only while somebody waits for tokens and is served late, the time of that is not lost.

use crate::Nanos;

/// Nanobits of a byte.
const BYTE: i64 = 8_000_000_000;
/// The most bytes of a burst: a gibibyte of nanobits still fits a signed integer of 64 bits.
pub const MAX_BURST: u64 = 1 << 30;

/// For so long tokens of somebody who is served late are kept.
pub const LATEST: Nanos = Nanos(250_000_000);

/// So many bits a second, and so many bytes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Bits a second.
    pub bits: u64,
    /// Bytes that may pass at once after a time of idleness; no more than [`MAX_BURST`] count.
    pub burst: u64,
}

impl Rate {
    fn capacity(self) -> i64 {
        self.burst.min(MAX_BURST) as i64 * BYTE
    }
}

/// The tokens of one limit.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: Rate,
    /// Nanobits; below zero after more was taken than there was.
    level: i64,
    at: Nanos,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Rate, now: Nanos) -> Self {
        Self { rate, level: rate.capacity(), at: now }
    }

    /// The rate as it is.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Changes the rate from the last [`Bucket::advance`] on. What was taken beyond the old one is still owed, and what is there
    /// beyond the new burst is until the next one.
    pub const fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Lets in what came since the last call. Time that goes backwards stands still.
    pub fn advance(&mut self, now: Nanos) {
        self.fill(now, i128::from(self.rate.capacity()));
    }

    /// The same where somebody has waited for tokens all the time since the last call, and could have taken them earlier: what
    /// came in up to a quarter of a second is kept beyond the burst.
    pub fn advance_late(&mut self, now: Nanos) {
        let late = i128::from(self.rate.bits) * i128::from(LATEST.0);
        self.fill(now, (i128::from(self.rate.capacity()) + late).min(i128::from(i64::MAX)));
    }

    fn fill(&mut self, now: Nanos, most: i128) {
        let passed = now.0.saturating_sub(self.at.0);
        self.at = self.at.max(now);
        let more = i128::from(self.rate.bits) * i128::from(passed);
        // `most` fits, and the level is no less than before but where it is capped.
        self.level = (i128::from(self.level) + more).min(most) as i64;
    }

    /// Bytes that may be taken now: nothing where the bucket is empty or in debt, and a byte that is there in part counts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.level).unwrap_or(0).div_ceil(BYTE as u64)
    }

    /// True where it cannot hold more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.level >= self.rate.capacity()
    }

    /// Takes bytes, whether they are there or not.
    pub const fn take(&mut self, bytes: u64) {
        let taken = if bytes > MAX_BURST { MAX_BURST } else { bytes } as i64 * BYTE;
        self.level = self.level.saturating_sub(taken);
    }

    /// Forgives what is owed beyond so many bytes.
    pub fn owe_at_most(&mut self, bytes: u64) {
        self.level = self.level.max(-(bytes.min(MAX_BURST) as i64) * BYTE);
    }

    /// Takes a frame of so many bytes if any token is there; false where none is, and nothing is taken then.
    pub const fn pass(&mut self, bytes: u64) -> bool {
        let passes = self.level > 0;
        if passes {
            self.take(bytes);
        }
        passes
    }

    /// How long until so many bytes may be taken, as long as nobody takes any; more than a burst never are, so as long as it is
    /// for that.
    #[must_use]
    pub fn wait_for(&self, bytes: u64) -> Nanos {
        let wanted = i128::from(bytes.min(self.rate.burst).min(MAX_BURST)) * i128::from(BYTE);
        let missing = u128::try_from(wanted - i128::from(self.level)).unwrap_or(0);
        let wait = missing.div_ceil(u128::from(self.rate.bits.max(1)));
        Nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}
