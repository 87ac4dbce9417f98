extern crate std;

use super::*;
use std::vec::Vec;

/// RFC 1071 section 4.1, word by word.
fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn example_of_rfc_1071() {
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(Sum::default().bytes(&bytes).partial(), 0xddf2);
    assert_eq!(Sum::default().bytes(&bytes).checksum(), 0x220d);
}

#[test]
fn every_length_sums_as_word_by_word() {
    let bytes = noise(300);
    for len in 0..bytes.len() {
        assert_eq!(Sum::default().bytes(&bytes[..len]).partial(), naive(&bytes[..len]), "{len} bytes");
    }
}

#[test]
fn the_highest_sums_do_not_overflow() {
    let bytes = std::vec![0xff; 1 << 20];
    let sum = (0..64).fold(Sum::default(), |sum, _| sum.bytes(&bytes).word(0xffff).odd_bytes(&bytes));
    assert_eq!(sum.partial(), 0xffff);
}

#[test]
fn pieces_add_up_at_even_and_odd_offsets() {
    let bytes = noise(101);
    for cut in 0..bytes.len() {
        let (head, tail) = bytes.split_at(cut);
        let head = Sum::default().bytes(head);
        let whole = if cut % 2 == 0 { head.bytes(tail) } else { head.odd_bytes(tail) };
        assert_eq!(whole.partial(), naive(&bytes), "cut at {cut}");
    }
}

#[test]
fn update_is_the_sum_over_the_changed_header() {
    let mut header = noise(20);
    let before = Sum::default().bytes(&header).checksum();
    let old = u16::from_be_bytes([header[4], header[5]]);
    for new in [0, 1, 0x7fff, 0xffff, old] {
        header[4..6].copy_from_slice(&new.to_be_bytes());
        assert_eq!(update(before, old, new), Sum::default().bytes(&header).checksum(), "{new:#x}");
    }
}

/// RFC 1624 section 4: the older equation gives 0xffff here.
#[test]
fn update_example_of_rfc_1624() {
    assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
}

/// A UDP datagram over IPv4 with its pseudo header's sum in the checksum field.
fn partial_udp(payload: &[u8]) -> Vec<u8> {
    let mut frame = std::vec![0; 42];
    let len = 8 + payload.len() as u16;
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[23] = 17;
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    frame[38..40].copy_from_slice(&len.to_be_bytes());
    let pseudo = pseudo_v4([10, 0, 0, 1], [10, 0, 0, 2], 17, len).partial();
    frame[40..42].copy_from_slice(&pseudo.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn udp_verifies(frame: &[u8], len: usize) -> bool {
    let udp = &frame[34..34 + len];
    pseudo_v4([10, 0, 0, 1], [10, 0, 0, 2], 17, len as u16).bytes(udp).partial() == 0xffff
}

#[test]
fn complete_makes_a_checksum_that_verifies_with_zero_padding_too() {
    for len in [0, 1, 2, 18, 1471, 1472] {
        let mut frame = partial_udp(&noise(len));
        frame.resize(frame.len().max(60), 0);
        complete(&mut frame, 34, 6).unwrap();
        assert!(udp_verifies(&frame, 8 + len), "{len} bytes");
    }
}

#[test]
fn complete_writes_all_ones_for_zero() {
    let mut frame = partial_udp(&[0, 0]);
    let sum = Sum::default().bytes(&frame[34..]).partial();
    frame[42..44].copy_from_slice(&(!sum).to_be_bytes());
    complete(&mut frame, 34, 6).unwrap();
    assert_eq!(frame[40..42], [0xff, 0xff]);
    assert!(udp_verifies(&frame, 10));
}

#[test]
fn a_frame_in_two_pieces_is_completed_as_in_one() {
    let whole = partial_udp(&noise(333));
    let mut expected = whole.clone();
    complete(&mut expected, 34, 6).unwrap();
    for cut in 42..=whole.len() {
        let (header, payload) = whole.split_at(cut);
        let mut header = header.to_vec();
        complete_gathered(&mut header, payload, 34, 6).unwrap();
        assert_eq!(header, expected[..cut], "cut at {cut}");
    }
}

#[test]
fn what_is_refused_stays_as_it_was() {
    let mut frame = partial_udp(&[1, 2, 3]);
    let before = frame.clone();
    for (start, offset) in [(44, 0), (45, 0), (u16::MAX, u16::MAX)] {
        assert_eq!(complete(&mut frame, start, offset), Err(CompleteError::OutsideFrame), "{start}+{offset}");
    }
    for (start, offset) in [(0, 6), (14, 12), (34, 0), (34, 2)] {
        assert_eq!(complete(&mut frame, start, offset), Err(CompleteError::NotAChecksum), "{start}+{offset}");
    }
    let mut header = partial_udp(&[])[..41].to_vec();
    assert_eq!(complete_gathered(&mut header, &[0; 9], 34, 6), Err(CompleteError::OutsideFrame));
    assert_eq!(frame, before);
}
