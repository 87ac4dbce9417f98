//! MAC addresses that are handed out: 0a:76:73 and 24 bits.
//!
//! The first byte's U/L bit is set and its I/G bit is not (IEEE 802, 8.2): a locally administered unicast address, so
//! it collides with no vendor's. The three bytes that follow a prefix of ours come from a seed, so that two hosts on
//! one wire seldom choose the same; what is known to be used is passed over.

use model::MacAddr;
use std::collections::BTreeSet;

const PREFIX: u64 = 0x0a_76_73 << SUFFIX_BITS;
const SUFFIX_BITS: u32 = 24;
const SUFFIXES: u64 = 1 << SUFFIX_BITS;

/// The first unused address from where the seed points; `None` when all 2^24 are used.
#[must_use]
pub fn hand_out(seed: u64, used: &BTreeSet<MacAddr>) -> Option<MacAddr> {
    first_unused(mixed(seed) % SUFFIXES, SUFFIXES, used)
}

fn first_unused(start: u64, size: u64, used: &BTreeSet<MacAddr>) -> Option<MacAddr> {
    (0..size).map(|n| MacAddr::from_u64(PREFIX | ((start + n) % size))).find(|mac| !used.contains(mac))
}

/// The finaliser of `SplitMix64`: neighbouring seeds (a counter, a clock) must not give neighbouring addresses.
const fn mixed(seed: u64) -> u64 {
    let a = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_locally_administered_unicast_and_never_repeat() {
        let mut used = BTreeSet::new();
        for seed in 0..1000 {
            let mac = hand_out(seed % 7, &used).expect("the pool has 2^24");
            assert_eq!(mac.0[..3], [0x0a, 0x76, 0x73]);
            assert!(mac.is_valid_source() && mac.0[0] & 2 != 0);
            assert!(used.insert(mac), "{mac} was handed out twice");
        }
    }

    #[test]
    fn the_pool_wraps_and_ends() {
        let mac = |n| MacAddr::from_u64(PREFIX | n);
        let used = BTreeSet::from([mac(3), mac(0)]);
        assert_eq!(first_unused(3, 4, &used), Some(mac(1)));
        assert_eq!(first_unused(3, 4, &(0..4).map(mac).collect()), None);
    }
}
