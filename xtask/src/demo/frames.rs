//! Frames side by side.

use lab::Captured;
use std::fmt::Write;

/// Those that came into an interface with this source MAC, in their order.
pub fn from_mac(frames: Vec<Captured>, mac: [u8; 6]) -> Vec<Vec<u8>> {
    let wanted = frames.into_iter().filter(|f| !f.outgoing && f.bytes.get(6..12) == Some(&mac[..]));
    wanted.map(|f| f.bytes).collect()
}

/// The frame as `hexdump -C` would show it, its first `lines` lines.
pub fn hexdump(frame: &[u8], lines: usize) -> String {
    let mut text = String::new();
    for (row, bytes) in frame.chunks(16).take(lines).enumerate() {
        let hex: String = bytes.iter().map(|b| format!("{b:02x} ")).collect();
        let plain = |b: &u8| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '.' };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:04x}  {hex:48} {}", row * 16, bytes.iter().map(plain).collect::<String>());
    }
    let left = frame.len().saturating_sub(lines * 16);
    if left > 0 {
        let _ = writeln!(text, "…     and {left} bytes more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_in_from_the_mac_is_taken() {
        let frame = |last: u8, outgoing| Captured {
            bytes: [&[0xff; 6][..], &[2, 0, 0, 0, 0, last]].concat(),
            outgoing,
            checksum_missing: false,
        };
        let frames = vec![frame(1, false), frame(1, true), frame(2, false)];
        assert_eq!(from_mac(frames, [2, 0, 0, 0, 0, 1]), [frame(1, false).bytes]);
    }

    #[test]
    fn a_dump_shows_bytes_and_text_and_says_what_it_leaves_out() {
        let dump = hexdump(b"0123456789abcdef\x00B!", 1);
        assert_eq!(
            dump,
            "0000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef\n…     and 3 bytes more\n"
        );
    }
}
