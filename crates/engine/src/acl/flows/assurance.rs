//! What spares most datagrams of a flow a second judgement, on the port that they leave on.
//!
//! One more datagram changes nothing of a flow but its time. So the port that lets one leave by its own flow assures for a moment that it
//! lets others of that flow leave: its flow is kept for so much longer, and the flow by which they come in notes it. Until then nobody reads
//! the other flow, which of a hundred thousand is in no cache. A connection's bounds follow from each segment: it gets no assurance.
//!
//! An assurance is one port's, and holds in one epoch of what that port remembers. Another one begins where a flow goes before its time,
//! and where policies are installed.

use crate::{Millis, PortIndex};

/// What is told apart of moments: ticks of 256 ms, of which 24 bits come round after 49 days.
const TICK_SHIFT: u32 = 8;
const TICK_BITS: u32 = 24;
/// How many ticks it holds for, the one at hand included.
const TICKS: u64 = 4;
/// Bits of an epoch. Eight million flows a second would have to go for the same to be there again within an assurance.
const EPOCH_BITS: u32 = 23;

/// A port in an epoch of its flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::acl) struct Issuer(u64);

/// Who issued it, and the tick at which it ends; zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assurance(pub(super) u64);

const fn tick(now: Millis) -> u64 {
    now.0 >> TICK_SHIFT
}

impl Issuer {
    /// Never zero.
    pub(super) const fn new(port: PortIndex, epoch: u64) -> Self {
        Self((port.0 as u64) << (EPOCH_BITS + 1) | (epoch & ((1 << EPOCH_BITS) - 1)) << 1 | 1)
    }
}

impl Assurance {
    pub(super) const NONE: Self = Self(0);
    /// No assurance holds for longer.
    pub(super) const LONGEST: Millis = Millis(TICKS << TICK_SHIFT);

    pub(super) const fn new(issuer: Issuer, now: Millis) -> Self {
        let ends = (tick(now) + TICKS) & ((1 << TICK_BITS) - 1);
        Self(issuer.0 << TICK_BITS | ends)
    }

    /// True while it has not ended. To be asked often enough that its tick does not come round.
    #[inline]
    pub(super) const fn lasts(self, now: Millis) -> bool {
        let left = self.0.wrapping_sub(tick(now)) & ((1 << TICK_BITS) - 1);
        left.wrapping_sub(1) < TICKS
    }

    /// True where this is who issued it.
    #[inline]
    pub(super) const fn is_of(self, issuer: Issuer) -> bool {
        self.0 >> TICK_BITS == issuer.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::{
        AclWay,
        flows::flow::{Flow, Kind},
    };

    #[test]
    fn one_of_long_ago_does_not_come_round() {
        let flow = Flow::new(Kind::Answered, AclWay::Out, 9, 0, Millis(0));
        let assured = Assurance::new(Issuer::new(PortIndex(1), 1), Millis(0));
        flow.note_assurance(assured);
        assert_eq!(flow.assurance(Millis(1)), assured);
        let round = 1 << (TICK_BITS + TICK_SHIFT);
        assert!(assured.lasts(Millis(1 + round)));
        assert_eq!([2000, 1 + round].map(|ms| flow.assurance(Millis(ms))), [Assurance::NONE; 2]);
    }

    #[test]
    fn an_assurance_is_of_one_port_and_epoch_and_ends_in_time() {
        let now = Millis(0xff_ffff_ff00 + 77);
        let issuer = Issuer::new(PortIndex(0xfffe), 0x7f_fffe);
        let assured = Assurance::new(issuer, now);
        assert!(assured.is_of(issuer));
        assert!(!assured.is_of(Issuer::new(PortIndex(0xffff), 0x7f_fffe)));
        assert!(!assured.is_of(Issuer::new(PortIndex(0xfffe), 0x7f_ffff)));
        let lasts = |ms| assured.lasts(Millis(now.0 + ms));
        assert!(lasts(0) && lasts(768) && lasts(Assurance::LONGEST.0 - 77 - 1));
        assert!(!lasts(Assurance::LONGEST.0 - 77) && !lasts(Assurance::LONGEST.0) && !lasts(10_000_000));
        assert!(!Assurance::NONE.is_of(Issuer::new(PortIndex(0), 0)));
    }
}
