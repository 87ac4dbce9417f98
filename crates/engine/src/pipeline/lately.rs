//! Where in the MAC table addresses were lately.
//!
//! A look-up costs a keyed hash and a probe, about 130 instructions: the addresses are chosen by guests, see
//! `crate::hash`. Most are of addresses that were looked up not long ago, by the same worker, and are where they were. So the
//! worker keeps their slots, found by a few bits of the address, and looks there first.
//!
//! A hint can be wrong: the entry is gone, the slot is another address's, the hint is another switch's. So what is in the slot
//! is always compared with what is sought, and then it is found as if there had been no hint. That is also the worst that a
//! guest can do that chooses addresses with the same bits: its look-ups cost what they would, and 12 instructions more.

use crate::{Findings, key::Key};
use alloc::boxed::Box;

/// How many: 64 KiB of them, of which only what is used becomes resident, and which leaves most of a level 2 cache to frames.
const HINTS: usize = 1 << 14;

/// What a worker remembers of earlier batches, to be quicker. It decides nothing.
#[derive(Debug, Default)]
pub(super) struct Lately {
    pub(super) hints: Hints,
    pub(super) findings: Findings,
}

/// The slots, by a few bits of the address.
#[derive(Debug)]
pub(super) struct Hints(Box<[u32; HINTS]>);

impl Default for Hints {
    fn default() -> Self {
        Self(Box::new([0; HINTS]))
    }
}

impl Hints {
    /// The hint for an address. Addresses that follow each other have hints beside each other, in as few lines of the cache;
    /// in other VLANs they have others.
    #[inline]
    pub(super) fn of(&mut self, key: Key) -> &mut u32 {
        let number = key.number();
        &mut self.0[(number ^ number >> 14 ^ number >> 43) as usize % HINTS]
    }
}
