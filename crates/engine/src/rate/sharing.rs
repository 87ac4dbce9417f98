//! Minimum bandwidth: who gets how much of a congested uplink.
//!
//! The ports that send to the uplink each have a bucket, which is drawn on by what they send there. As long as the uplink carries
//! all of it nobody is held to that. When it does not, each bucket gets its rate anew every few milliseconds: the uplink's
//! capacity is poured out in proportion to the ports' weights, and what a port does not use goes to the others in the same
//! proportion (weighted max-min fairness). A port whose bucket is empty is not read from, as with a maximum: so nothing is dropped.
//!
//! * A port that was made to wait for the uplink is taken to want as much as it can get; of the others, and of those that their
//!   own maximum holds back, what they used lately is what they want. They may use more at once, up to their part, so none waits
//!   for a part that it has a right to.
//! * Ports without a minimum are one class together with a weight of its own, and share that evenly.
//! * What was sent too much or too little is made up for: the uplink has a bucket, too, and what is poured out follows its level.
//! * The capacity is what is known of the uplink. Where it refuses frames nevertheless, it is what it took, and grows again
//!   slowly while it refuses none.
//!
//! Bytes are those on the cable, with each segment's own headers and 24 bytes for preamble, checksum and gap.

use super::{Bucket, Nanos, Rate};
use crate::PortIndex;
use alloc::vec::Vec;

/// How often the rates are set.
const INTERVAL: Nanos = Nanos(4_000_000);
/// What was sent in less time is not taken for a rate.
const SHORTEST: Nanos = Nanos(100_000);
/// A port that was not looked at for so long is gone: one that waits is looked at more often.
const GONE: Nanos = Nanos(400_000_000);
/// So many times in a row there has to be room before nobody is held to anything.
const CALM: u32 = 25;
/// The least rate of a port: nobody is shut out.
const LEAST: u64 = 64_000;
/// What the uplink may be ahead: two segments of 64 KiB.
const AHEAD: u64 = 131_072;
/// A bucket holds what comes in so many intervals, and a frame.
const BURST_INTERVALS: u64 = 2;
const SMALLEST_BURST: u64 = 1522;

/// What is to be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Bits a second that the uplink carries, as far as that is known.
    pub capacity: Option<u64>,
    /// The weight of all ports without a minimum together.
    pub others: u64,
}

/// What a port may send, as far as the uplink is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// As much as it likes.
    All,
    /// So many bytes.
    Bytes(u64),
    /// Nothing for so long.
    Wait(Nanos),
}

/// One port.
#[derive(Clone, Debug)]
struct Member {
    weight: Option<u64>,
    bucket: Bucket,
    /// Bytes since the rates were set.
    sent: u64,
    /// Bits a second, lately.
    usage: u64,
    /// It has more to send than it was let.
    waits: bool,
    seen: Nanos,
}

/// The uplink of one switch, and the ports that share it.
#[derive(Clone, Debug)]
pub struct Uplink {
    shares: Shares,
    members: Vec<Option<Member>>,
    /// What the uplink carries: below zero after more was sent.
    bucket: Bucket,
    /// What it took when it refused frames.
    found: Option<u64>,
    /// Bytes that it took since the rates were set, bits a second lately, and whether it refused any.
    took: u64,
    taking: u64,
    refused: bool,
    set: Nanos,
    /// Somebody is held to a rate, and for how long that was not needed.
    limiting: bool,
    calm: u32,
}

/// A part of what is poured out: its weight, and what it wants, where that is not all.
#[derive(Clone, Copy, Debug)]
struct Part {
    weight: u64,
    wants: Option<u64>,
}

/// How far all parts are filled: to so many bits a second for each unit of weight, and what they want in any case; and what is
/// left over where all have what they want.
#[derive(Clone, Copy, Debug)]
struct Level {
    per_weight: u128,
    spare: u64,
}

/// Fraction bits of what there is for a unit of weight.
const FRACTION: u32 = 20;

impl Level {
    fn of(&self, part: Part) -> u64 {
        let by_weight = (self.per_weight * u128::from(part.weight)) >> FRACTION;
        let by_weight = u64::try_from(by_weight).unwrap_or(u64::MAX);
        match (self.spare, part.wants) {
            (1.., Some(wants)) => by_weight.max(wants.saturating_add(self.spare)),
            _ => by_weight,
        }
    }
}

/// Pours `capacity` out over the parts.
fn pour(capacity: u64, parts: impl Iterator<Item = Part> + Clone) -> Level {
    let mut level = Level { per_weight: 0, spare: capacity };
    loop {
        let is_full = |part: &Part| {
            let filled = (level.per_weight * u128::from(part.weight)) >> FRACTION;
            part.wants.is_some_and(|wants| u128::from(wants) <= filled)
        };
        let full = parts.clone().filter(is_full);
        let used: u64 = full.filter_map(|part| part.wants).fold(0, u64::saturating_add);
        let open = parts.clone().filter(|part| !is_full(part)).map(|part| u128::from(part.weight));
        let weight: u128 = open.sum();
        let rest = capacity.saturating_sub(used);
        if weight == 0 {
            return Level { per_weight: level.per_weight, spare: rest };
        }
        let per_weight = (u128::from(rest) << FRACTION) / weight;
        // Each time at least one more part has all it wants, or it is done.
        if per_weight <= level.per_weight {
            return Level { per_weight: level.per_weight, spare: 0 };
        }
        level = Level { per_weight, spare: 0 };
    }
}

impl Uplink {
    /// An uplink that nobody has sent to yet.
    #[must_use]
    pub fn new(shares: Shares, now: Nanos) -> Self {
        Self {
            shares,
            members: Vec::new(),
            bucket: Bucket::new(uplink_rate(shares.capacity), now),
            found: None,
            took: 0,
            taking: 0,
            refused: false,
            set: now,
            limiting: false,
            calm: 0,
        }
    }

    /// Goes by other shares and weights from now on. Each port is named with its weight, if it has one; others are none any more.
    pub fn follow(
        &mut self,
        shares: Shares,
        ports: impl Iterator<Item = (PortIndex, Option<u64>)>,
        now: Nanos,
    ) {
        if self.shares.capacity != shares.capacity {
            (self.found, self.bucket) = (None, Bucket::new(uplink_rate(shares.capacity), now));
        }
        self.shares = shares;
        let mut former = core::mem::take(&mut self.members);
        for (port, weight) in ports {
            let at = usize::from(port.0);
            if self.members.len() <= at {
                self.members.resize_with(at + 1, || None);
            }
            let known = former.get_mut(at).and_then(Option::take);
            let member = known.map(|known| Member { weight, ..known });
            self.members[at] = Some(member.unwrap_or_else(|| Member::new(weight, now)));
        }
    }

    /// What the uplink is taken to carry.
    #[must_use]
    pub fn capacity(&self) -> Option<u64> {
        self.found.into_iter().chain(self.shares.capacity).min()
    }

    /// What `port` may send now.
    pub fn share(&mut self, port: PortIndex, now: Nanos) -> Share {
        if now.0.saturating_sub(self.set.0) >= INTERVAL.0 {
            self.set_rates(now);
        }
        let limiting = self.limiting;
        let Some(member) = self.member(port) else { return Share::All };
        member.seen = now;
        if !limiting {
            return Share::All;
        }
        member.advance(now);
        match member.bucket.bytes() {
            0 => {
                member.waits = true;
                let rate = member.bucket.rate();
                Share::Wait(member.bucket.wait_for((rate.bits / 16_000).max(1)))
            }
            bytes => Share::Bytes(bytes),
        }
    }

    /// `port` was read from; `waits` where more may be left than the uplink let it send.
    pub fn was_read(&mut self, port: PortIndex, waits: bool) {
        let limiting = self.limiting;
        if let Some(member) = self.member(port) {
            member.waits = waits && limiting;
        }
    }

    /// The uplink was given so many bytes of `port`, and refused some of them.
    pub fn carried(&mut self, port: PortIndex, bytes: u64, refused: u64, now: Nanos) {
        let (limiting, is_refused) = (self.limiting, refused != 0);
        self.refused |= is_refused;
        self.took = self.took.saturating_add(bytes.saturating_sub(refused));
        let Some(member) = self.member(port) else { return };
        member.sent = member.sent.saturating_add(bytes);
        if limiting {
            member.bucket.take(bytes);
        }
        if self.capacity().is_some() {
            self.advance(now);
            self.bucket.take(bytes);
        }
        let congested = is_refused || (self.capacity().is_some() && self.bucket.bytes() == 0);
        if congested && !limiting {
            self.set_rates(now);
        }
    }

    fn member(&mut self, port: PortIndex) -> Option<&mut Member> {
        self.members.get_mut(usize::from(port.0))?.as_mut()
    }

    /// While somebody is held back, what the uplink could have carried is not lost.
    fn advance(&mut self, now: Nanos) {
        if self.limiting {
            self.bucket.advance_late(now);
        } else {
            self.bucket.advance(now);
        }
    }

    fn set_rates(&mut self, now: Nanos) {
        let passed = now.0.saturating_sub(self.set.0).max(SHORTEST.0);
        self.set = now;
        let mut total = 0_u64;
        for member in self.members.iter_mut().flatten() {
            member.measure(passed, now);
            total = total.saturating_add(member.usage);
        }
        self.taking = average(self.taking, core::mem::take(&mut self.took), passed);
        self.find_capacity(now);
        let Some(capacity) = self.capacity() else {
            self.limiting = false;
            return;
        };
        self.advance(now);
        if !self.limiting {
            // What came before anybody was held to anything is on its way already.
            self.bucket.owe_at_most(self.bucket.rate().burst);
        }
        self.limit_where_needed(capacity, total);
        if self.limiting {
            self.pour_out(self.due(capacity), now);
        }
    }

    /// Learns what the uplink carries from what it refuses.
    fn find_capacity(&mut self, now: Nanos) {
        let before = self.capacity();
        if core::mem::take(&mut self.refused) {
            let took = self.taking.max(LEAST);
            self.found = Some(took - took / 64);
        } else if let Some(found) = self.found {
            let grown = found + found / 512 + 1;
            let is_known = self.shares.capacity.is_some_and(|known| known <= grown);
            self.found = (!is_known && grown / 2 <= self.taking).then_some(grown);
        }
        if self.capacity() != before {
            self.advance(now);
            self.bucket.set_rate(uplink_rate(self.capacity()));
        }
    }

    fn limit_where_needed(&mut self, capacity: u64, total: u64) {
        let waits = self.members.iter().flatten().any(|member| member.waits);
        if waits || total > capacity - capacity / 16 || self.bucket.bytes() == 0 {
            (self.limiting, self.calm) = (true, 0);
        } else if self.calm < CALM {
            self.calm += 1;
        } else {
            self.limiting = false;
        }
    }

    /// The capacity, more of it where less was sent lately, and less where more was.
    fn due(&self, capacity: u64) -> u64 {
        let (ahead, burst) = (self.bucket.bytes(), self.bucket.rate().burst);
        if ahead == 0 {
            let behind = self.bucket.wait_for(1).0.min(8 * INTERVAL.0);
            return capacity
                - (u128::from(capacity) * u128::from(behind) / u128::from(16 * INTERVAL.0)) as u64;
        }
        capacity + (u128::from(capacity / 4) * u128::from(ahead.min(burst)) / u128::from(burst.max(1))) as u64
    }

    fn pour_out(&mut self, capacity: u64, now: Nanos) {
        let Self { members, shares, .. } = self;
        let others = members.iter().flatten().filter(|member| member.weight.is_none());
        let wants = others.clone().try_fold(0_u64, |sum, member| Some(sum.saturating_add(member.wants()?)));
        let class = Part { weight: shares.others, wants };
        let with = members
            .iter()
            .flatten()
            .filter_map(|member| Some(Part { weight: member.weight?, wants: member.wants() }));
        let level = pour(capacity, with.chain([class]));
        let each = others.map(|member| Part { weight: 1, wants: member.wants() });
        let class_level = pour(level.of(class), each);
        for member in members.iter_mut().flatten() {
            let wants = member.wants();
            let bits = match member.weight {
                Some(weight) => level.of(Part { weight, wants }),
                None => class_level.of(Part { weight: 1, wants }),
            };
            member.advance(now);
            member.bucket.set_rate(rate(bits.max(LEAST)));
        }
    }
}

impl Member {
    fn new(weight: Option<u64>, now: Nanos) -> Self {
        let bucket = Bucket::new(rate(LEAST), now);
        Self { weight, bucket, sent: 0, usage: 0, waits: false, seen: now }
    }

    fn advance(&mut self, now: Nanos) {
        if self.waits {
            self.bucket.advance_late(now);
        } else {
            self.bucket.advance(now);
        }
    }

    /// What it sent in the time that has passed, and an average over a few of those.
    fn measure(&mut self, passed: u64, now: Nanos) {
        self.usage = average(self.usage, core::mem::take(&mut self.sent), passed);
        if now.0.saturating_sub(self.seen.0) > GONE.0 {
            self.waits = false;
        }
    }

    /// Nothing where it wants all that it can get.
    fn wants(&self) -> Option<u64> {
        (!self.waits).then_some(self.usage)
    }
}

/// Bits a second, of which the bytes of the last interval make a quarter.
fn average(before: u64, bytes: u64, passed: u64) -> u64 {
    let bits = u128::from(bytes) * 8_000_000_000 / u128::from(passed);
    before / 4 * 3 + u64::try_from(bits / 4).unwrap_or(u64::MAX / 4)
}

fn rate(bits: u64) -> Rate {
    let interval = bits / 8 / (1_000_000_000 / INTERVAL.0);
    Rate { bits, burst: interval * BURST_INTERVALS + SMALLEST_BURST }
}

fn uplink_rate(capacity: Option<u64>) -> Rate {
    let bits = capacity.unwrap_or(LEAST);
    let burst = bits / 8 / (1_000_000_000 / INTERVAL.0);
    Rate { bits, burst: burst.max(AHEAD) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn poured(capacity: u64, parts: &[(u64, Option<u64>)]) -> Vec<u64> {
        let parts: Vec<_> = parts.iter().map(|&(weight, wants)| Part { weight, wants }).collect();
        let level = pour(capacity, parts.iter().copied());
        parts.iter().map(|part| part.wants.unwrap_or(u64::MAX).min(level.of(*part))).collect()
    }

    #[test]
    fn of_the_fastest_uplink_that_is_full_ahead_a_quarter_more_is_due() {
        let capacity = 1_000_000_000_000;
        let uplink = Uplink::new(Shares { capacity: Some(capacity), others: 1 }, Nanos(0));
        assert_eq!(uplink.due(capacity), capacity / 4 * 5);
    }

    #[test]
    fn what_is_poured_out_goes_by_weight_and_what_is_not_wanted_to_the_others() {
        assert_eq!(poured(1000, &[(1, None), (3, None)]), [250, 750]);
        assert_eq!(poured(1000, &[(1, None), (3, Some(100))]), [900, 100]);
        assert_eq!(poured(1000, &[(1, None), (1, Some(100)), (2, None)]), [300, 100, 600]);
        assert_eq!(poured(1000, &[(5, Some(10)), (5, Some(20))]), [10, 20]);
        assert_eq!(poured(900, &[(1, Some(200)), (1, Some(300)), (1, None)]), [200, 300, 400]);
        assert_eq!(poured(0, &[(1, None)]), [0]);
    }

    #[test]
    fn who_has_all_it_wants_may_have_what_is_left() {
        let level = pour(
            1000,
            [Part { weight: 1, wants: Some(100) }, Part { weight: 9, wants: Some(200) }].into_iter(),
        );
        assert_eq!(level.spare, 700);
        assert_eq!(level.of(Part { weight: 1, wants: Some(100) }), 800);
    }

    #[test]
    fn a_port_that_is_gone_wants_nothing() {
        let mut uplink = Uplink::new(Shares { capacity: Some(1_000_000_000), others: 1 }, Nanos(0));
        uplink.follow(uplink.shares, [(PortIndex(0), Some(5))].into_iter(), Nanos(0));
        uplink.limiting = true;
        uplink.was_read(PortIndex(0), true);
        uplink.set_rates(Nanos(GONE.0));
        assert_eq!(uplink.members[0].as_ref().map(Member::wants), Some(None));
        uplink.set_rates(Nanos(GONE.0 * 2));
        assert_eq!(uplink.members.iter().flatten().map(Member::wants).collect::<Vec<_>>(), vec![Some(0)]);
    }
}
