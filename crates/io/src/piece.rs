//! Memory that frames lie in or go to and that others may change at any time: a guest's, or a ring's that the kernel
//! fills.
//!
//! No reference to such memory is ever made, as references promise that nobody writes. Bytes are copied out of it and
//! into it; what was copied out is private, and only that is looked at.

use std::ptr::{self, NonNull};

/// So many bytes from there on. Who makes one knows that they are mapped, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first byte.
    pub at: NonNull<u8>,
    /// Number of bytes.
    pub len: usize,
}

impl Piece {
    /// The first `len` bytes, or all where there are fewer, and the rest.
    #[inline]
    pub(crate) fn split(self, len: usize) -> (Self, Self) {
        let len = len.min(self.len);
        // SAFETY: `len` is at most the piece's length, so the pointer stays within the piece or one past its end.
        let rest = unsafe { self.at.add(len) };
        (Self { at: self.at, len }, Self { at: rest, len: self.len - len })
    }

    /// Copies as much as both sides have; says how much that was.
    ///
    /// # Safety
    /// The piece is mapped and readable.
    #[inline]
    pub(crate) unsafe fn read(self, into: &mut [u8]) -> usize {
        let len = self.len.min(into.len());
        // SAFETY: the source is readable by the caller's word, the destination is a slice at least `len` long.
        unsafe { copy(self.at.as_ptr(), into.as_mut_ptr(), len) };
        len
    }

    /// Copies as much as both sides have; says how much that was.
    ///
    /// # Safety
    /// The piece is mapped and writable.
    #[inline]
    pub(crate) unsafe fn write(self, from: &[u8]) -> usize {
        let len = self.len.min(from.len());
        // SAFETY: the destination is writable by the caller's word, the source is a slice at least `len` long.
        unsafe { copy(from.as_ptr(), self.at.as_ptr(), len) };
        len
    }

    /// Copies as much as both pieces have; says how much that was.
    ///
    /// # Safety
    /// `from` is mapped and readable, `self` mapped and writable.
    #[inline]
    pub(crate) unsafe fn copy_from(self, from: Self) -> usize {
        let len = self.len.min(from.len);
        // SAFETY: both are as long as that, and mapped by the caller's word. They may overlap, as a guest may own both.
        unsafe { copy(from.at.as_ptr(), self.at.as_ptr(), len) };
        len
    }
}

/// Copies bytes that may overlap. Small frames are most frames, and a call of memmove for each took a tenth of the whole
/// way of a 64-byte frame: up to 128 bytes go through registers, in two halves that meet or overlap in the middle.
///
/// # Safety
/// `len` bytes are readable at `from` and writable at `to`.
#[inline]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: each arm reads and writes `len` bytes from the start or up to the end, as its lower bound says.
    unsafe {
        match len {
            65..=128 => halves::<Lane, 4>(from, to, len),
            33..=64 => halves::<Lane, 2>(from, to, len),
            16..=32 => halves::<Lane, 1>(from, to, len),
            8..16 => halves::<u64, 1>(from, to, len),
            #[cfg(target_arch = "x86_64")]
            WIDE.. if are_apart(from, to, len) && is_x86_feature_detected!("avx512f") => {
                forward(from, to, len)
            }
            _ => ptr::copy(from, to, len),
        }
    }
}

/// From so many bytes on, [`forward`] copies them.
#[cfg(target_arch = "x86_64")]
const WIDE: usize = 256;

/// True where the two have no byte in common.
#[cfg(target_arch = "x86_64")]
#[inline]
fn are_apart(from: *const u8, to: *mut u8, len: usize) -> bool {
    to.addr().abs_diff(from.addr()) >= len
}

/// Copies line by line, from the first to the last. The C library's memmove reads the last lines first and then the others
/// in fours; payload that comes from beyond the level 2 cache, as that of full rings does, is faster so (docs/performance.md).
///
/// # Safety
/// As for [`copy`]; the CPU has AVX-512, `len` is at least [`WIDE`], and from and to [are apart](are_apart).
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn forward(from: *const u8, to: *mut u8, len: usize) {
    use std::arch::x86_64::{_mm512_loadu_si512, _mm512_storeu_si512};
    const LINE: usize = 64;
    // SAFETY: every line lies within the `len` bytes, which are more than one; unaligned access is asked for.
    let line = |at: usize| unsafe {
        _mm512_storeu_si512(to.add(at).cast(), _mm512_loadu_si512(from.add(at).cast()));
    };
    // Up to where a line of the target begins, and from there on as far as there are whole ones.
    line(0);
    let mut at = LINE - to.addr() % LINE;
    while at + LINE <= len {
        line(at);
        at += LINE;
    }
    line(len - LINE);
}

/// What one load brings: arrays of bytes would take a detour over the stack.
#[cfg(target_arch = "x86_64")]
type Lane = std::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
type Lane = u128;

/// Copies the first and the last `N` lanes, all read before one is written.
///
/// # Safety
/// As for [`copy`], `len` is at least the lanes' size and at most twice that, and any bytes are a valid `T`.
#[inline]
unsafe fn halves<T: Copy, const N: usize>(from: *const u8, to: *mut u8, len: usize) {
    let (lane, last) = (size_of::<T>(), len - N * size_of::<T>());
    // SAFETY: both halves lie within the `len` bytes, and unaligned access is asked for.
    unsafe {
        let read = |at: usize| from.add(at).cast::<T>().read_unaligned();
        let (first, second): ([T; N], [T; N]) =
            (std::array::from_fn(|i| read(i * lane)), std::array::from_fn(|i| read(last + i * lane)));
        for i in 0..N {
            to.add(i * lane).cast::<T>().write_unaligned(first[i]);
            to.add(last + i * lane).cast::<T>().write_unaligned(second[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &mut [u8]) -> Piece {
        Piece { at: NonNull::from(&mut *bytes).cast(), len: bytes.len() }
    }

    #[test]
    fn every_length_is_copied_and_nothing_beside_it() {
        for len in (0..600).chain([1374, 4096, 65_537]) {
            let mut from: Vec<u8> = (0..len + 2).map(|at| at as u8 ^ 0x5a).collect();
            let mut to = vec![0xee; len + 2];
            let (source, target) = (piece(&mut from[1..len + 1]), piece(&mut to[1..len + 1]));
            // SAFETY: both are parts of vectors that live on.
            assert_eq!(unsafe { target.copy_from(source) }, len);
            assert_eq!((&to[1..len + 1], to[0], to[len + 1]), (&from[1..len + 1], 0xee, 0xee), "{len}");
        }
    }

    #[test]
    fn pieces_that_overlap_are_copied_as_if_they_did_not() {
        for (len, forwards) in
            [10, 40, 100, 200, 300, 1500].into_iter().flat_map(|len| [(len, true), (len, false)])
        {
            let mut bytes: Vec<u8> = (0..len + 5).map(|at| (at * 7 / 3) as u8).collect();
            let (first, second) = (bytes[..len].to_vec(), bytes[5..].to_vec());
            let whole = piece(&mut bytes);
            let (low, high) = (whole.split(len).0, whole.split(5).1);
            // SAFETY: both are parts of a vector that lives on.
            assert_eq!(unsafe { if forwards { high.copy_from(low) } else { low.copy_from(high) } }, len);
            assert_eq!(
                if forwards { &bytes[5..] } else { &bytes[..len] },
                if forwards { first } else { second }
            );
        }
    }

    #[test]
    fn as_much_as_both_have() {
        let (mut few, mut many) = ([1u8, 2], [9u8; 4]);
        // SAFETY: all are arrays that live on.
        unsafe {
            assert_eq!(piece(&mut many).write(&few), 2);
            assert_eq!(piece(&mut many).read(&mut few), 2);
        }
        assert_eq!((few, many), ([1, 2], [1, 2, 9, 9]));
        assert_eq!(piece(&mut many).split(9).1.len, 0);
    }
}
