//! What access lists found of packets lately, by five-tuple.
//!
//! Lists of thousands of rules take two hundred instructions and some misses of the cache to be asked. Most packets have the five-tuple
//! of one that passed not long ago, of which lists that remember nothing find the same again. So a worker keeps what they found, and
//! compares a packet with that first: all of the tuple, the port and the way, so that there is nothing to be gained by making two
//! packets look alike. Who chooses tuples that get in each other's way has each of his packets judged as if nothing had been kept.
//!
//! What was found holds for one snapshot: with another one all of it is forgotten at once, by its number.

use super::{Acl, AclFinding, AclWay};
use crate::{PortIndex, Snapshot};
use alloc::{
    sync::{Arc, Weak},
    vec,
    vec::Vec,
};
use core::ptr;
use wire::FiveTuple;

/// Pairs of places: 256 KiB once lists are there. With a place for each tuple in place of two for each pair, of 500 tuples 6 % would
/// keep pushing each other out.
const PAIRS: usize = 1 << 11;

/// Of how many packets that are judged anew one is kept: of more tuples than there is room for, most are not seen again before they are pushed
/// out, and writing them costs more than a look-up saves.
const KEEP_ONE_OF: u32 = 4;

/// What was found of one packet: a line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Found {
    tuple: FiveTuple,
    judged: Judged,
    finding: AclFinding,
}

/// By which lists: the number of the snapshot, of which 0 is none's; the port; and the way in the lowest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Judged(u64);

impl Judged {
    #[inline]
    fn by(snapshot: u32, port: PortIndex, way: AclWay) -> Self {
        Self(u64::from(snapshot) << 32 | u64::from(port.0) << 1 | u64::from(way == AclWay::In))
    }
}

/// What one worker keeps. It costs nothing before lists are asked.
#[derive(Debug, Default)]
pub struct Findings {
    pairs: Vec<[Found; 2]>,
    /// Weak: who put another one into its place drops it, not the worker. Its address is nobody else's meanwhile.
    of: Weak<Snapshot>,
    number: u32,
    /// How many packets were judged anew.
    anew: u32,
}

impl Findings {
    /// Forgets what was found by another snapshot.
    #[inline]
    pub fn follow(&mut self, snapshot: &Arc<Snapshot>) {
        if !ptr::eq(self.of.as_ptr(), Arc::as_ptr(snapshot)) {
            self.turn_to(snapshot);
        }
    }

    #[cold]
    fn turn_to(&mut self, snapshot: &Arc<Snapshot>) {
        self.of = Arc::downgrade(snapshot);
        self.number = self.number.wrapping_add(1);
        if self.number == 0 {
            self.pairs.clear();
        }
    }

    /// What `acl`, the lists of `port` in the snapshot that is followed, finds of a frame, as [`Acl::judge`] does.
    #[inline]
    pub fn judge(&mut self, port: PortIndex, acl: &Acl, way: AclWay, header: &[u8]) -> AclFinding {
        let Some(tuple) = FiveTuple::of(header).filter(|_| acl.side(way).macs.is_empty()) else {
            return ask(acl, way, header);
        };
        let judged = Judged::by(self.number, port, way);
        let at = place(&tuple, judged);
        match self.pairs.get(at) {
            Some([newer, _]) if newer.is_of(&tuple, judged) => newer.finding,
            Some([_, older]) if older.is_of(&tuple, judged) => older.finding,
            _ => self.judge_anew(at, tuple, judged, acl, way),
        }
    }

    /// Keeps what is found now and then, in place of what was kept longer ago than the other of the pair.
    #[inline(never)]
    fn judge_anew(
        &mut self,
        at: usize,
        tuple: FiveTuple,
        judged: Judged,
        acl: &Acl,
        way: AclWay,
    ) -> AclFinding {
        let finding = acl.judge_tuple(way, &tuple);
        self.anew = self.anew.wrapping_add(1);
        if self.anew.is_multiple_of(KEEP_ONE_OF) {
            self.keep(at, Found { tuple, judged, finding });
        }
        finding
    }

    fn keep(&mut self, at: usize, found: Found) {
        if self.pairs.is_empty() {
            self.pairs = vec![[Found::NONE; 2]; PAIRS];
        }
        if let Some([newer, older]) = self.pairs.get_mut(at) {
            *older = *newer;
            *newer = found;
        }
    }
}

impl Found {
    const NONE: Self = Self { tuple: FiveTuple::NONE, judged: Judged(0), finding: AclFinding::passed(None) };

    #[inline]
    fn is_of(&self, tuple: &FiveTuple, judged: Judged) -> bool {
        self.judged == judged && self.tuple == *tuple
    }
}

/// Not inlined: it would spill what the short way has in registers.
#[inline(never)]
fn ask(acl: &Acl, way: AclWay, header: &[u8]) -> AclFinding {
    acl.judge(way, header)
}

#[inline]
fn place(tuple: &FiveTuple, judged: Judged) -> usize {
    (tuple.scatter() >> 32 ^ judged.0) as usize % PAIRS
}
