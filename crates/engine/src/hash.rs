//! SipHash-1-3 of one 64-bit word, or of a few; and a quicker hash, for who can change to it.
//!
//! The sources that a switch learns are chosen by its guests, and a guest that could find addresses of one hash would
//! turn each look-up into a walk. So the hash is a keyed pseudo-random function with a secret seed for each switch: the
//! one that Rust's and Python's hash tables use against the same attack (Aumasson and Bernstein, "SipHash: a fast
//! short-input PRF", 2012). Cheaper multiply-and-shift hashes are linear: two collisions, which a guest can find by timing
//! its own frames, give their key away.
//!
//! [`Hashing::Quick`] is for a table that looks up several keys for each frame and notices when its keys crowd: products of 128 bits
//! folded to 64 ("folded multiply", as in wyhash), under the same secret. It is not linear, but nobody has shown it to be a
//! pseudo-random function, either: so such a table goes over to SipHash when it finds a crowd that chance does not make.

/// The secret key.
pub(crate) type Seed = [u64; 2];

/// By which function keys are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hashing {
    /// A few instructions.
    Quick,
    /// SipHash: 15 for each word and 45.
    Strong,
}

/// SipHash with `C` rounds for each word and `D` at the end, over the bytes of `words` in little-endian order.
#[inline]
fn sip<const C: usize, const D: usize, const N: usize>(seed: Seed, words: [u64; N]) -> u64 {
    // The final block of a message of whole words holds its length and nothing else.
    let length_block = (8 * N as u64) << 56;
    let [k0, k1] = seed;
    // The initial state spells "somepseudorandomlygeneratedbytes".
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    for block in words.into_iter().chain([length_block]) {
        v[3] ^= block;
        (0..C).for_each(|_| round(&mut v));
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    (0..D).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline]
fn round(v: &mut [u64; 4]) {
    let [mut v0, mut v1, mut v2, mut v3] = *v;
    v0 = v0.wrapping_add(v1);
    v2 = v2.wrapping_add(v3);
    v1 = v1.rotate_left(13) ^ v0;
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.rotate_left(32).wrapping_add(v3);
    v2 = v2.wrapping_add(v1);
    v1 = v1.rotate_left(17) ^ v2;
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.rotate_left(32);
    *v = [v0, v1, v2, v3];
}

/// The hash of `word` under `seed`.
#[inline]
pub(crate) fn hash(seed: Seed, word: u64) -> u64 {
    sip::<1, 3, 1>(seed, [word])
}

/// The hash of `words` under `seed`.
#[inline]
pub(crate) fn hash_words<const N: usize>(seed: Seed, words: [u64; N]) -> u64 {
    sip::<1, 3, N>(seed, words)
}

/// The quick hash of two words under `seed`. Folded once, keys that differ by a port crowd under some seeds.
#[inline]
pub(crate) const fn quick([k0, k1]: Seed, [a, b]: [u64; 2]) -> u64 {
    // 2^64 by the golden ratio.
    folded(folded(a ^ k0, b ^ k1) ^ k1, 0x9e37_79b9_7f4a_7c15)
}

#[inline]
const fn folded(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::hash::Hasher;

    #[test]
    fn two_four_gives_the_vector_of_the_reference_implementation() {
        let seed = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(sip::<2, 4, 1>(seed, [0x0706_0504_0302_0100]), 0x93f5_f579_9a93_2462);
    }

    #[test]
    #[allow(deprecated, reason = "the only SipHash of the standard library that takes a key")]
    fn both_forms_agree_with_the_standard_library() {
        for word in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let mut one_three = std::hash::DefaultHasher::new();
            one_three.write(&u64::to_le_bytes(word));
            assert_eq!(hash([0, 0], word), one_three.finish());
            one_three.write(&u64::to_le_bytes(!word));
            assert_eq!(hash_words([0, 0], [word, !word]), one_three.finish());
            let mut two_four = core::hash::SipHasher::new_with_keys(word, !word);
            two_four.write(&u64::to_le_bytes(word ^ 5));
            assert_eq!(sip::<2, 4, 1>([word, !word], [word ^ 5]), two_four.finish());
        }
    }
}
