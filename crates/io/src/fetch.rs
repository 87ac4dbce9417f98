//! Memory that is asked for ahead of its use.

/// Asks for the cache line at an address, to be read soon. Any address will do.
pub fn fetch(at: *const u8) {
    fetch_line(at, false);
}

/// Fetches a cache line, to be read or to be written.
#[inline(always)]
pub(crate) fn fetch_line(at: *const u8, writable: bool) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is allowed and never faults.
        unsafe {
            if writable {
                _mm_prefetch::<_MM_HINT_ET0>(at.cast())
            } else {
                _mm_prefetch::<_MM_HINT_T0>(at.cast())
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, writable);
}
