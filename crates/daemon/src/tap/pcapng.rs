//! Blocks of a pcapng file (draft-ietf-opsawg-pcapng): sections, interfaces, packets, statistics.
//!
//! What is written is little-endian, times are nanoseconds since 1970.

/// Section Header Block, section 4.1.
const SECTION: u32 = 0x0a0d_0d0a;
/// Interface Description Block, section 4.2.
const INTERFACE: u32 = 1;
/// Interface Statistics Block, section 4.5.
const STATISTICS: u32 = 5;
/// Enhanced Packet Block, section 4.3.
const PACKET: u32 = 6;
/// How the reader finds out the order of bytes.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// What follows is as long as it is.
const UNKNOWN_LENGTH: u64 = u64::MAX;
const ETHERNET: u16 = 1;

/// Options are a number, a length and a value; each kind of block has its own numbers, these two are every block's.
const END: u16 = 0;
const COMMENT: u16 = 1;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_RESOLUTION: u16 = 9;
const INTERFACE_FILTER: u16 = 11;
const PACKET_FLAGS: u16 = 2;
const STATISTICS_RECEIVED: u16 = 4;
const STATISTICS_DROPPED: u16 = 5;
/// Times count in 10^-9 s.
const NANOSECONDS: u8 = 9;
/// That the filter is written as libpcap has it.
const FILTER_TEXT: u8 = 0;

/// A packet block.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The interface, by the number of its block.
    pub interface: u32,
    /// When it passed.
    pub time_ns: u64,
    /// Its bytes, in parts: as many as were captured.
    pub parts: [&'a [u8]; 3],
    /// How many it had.
    pub len: usize,
    /// Into the switch, or out of it.
    pub inbound: bool,
    /// What else there is to be said.
    pub comment: Option<&'a str>,
}

/// Writes the head of a section: every file begins with one.
pub fn section(to: &mut Vec<u8>, application: &str) {
    block(to, SECTION, |to| {
        to.extend(BYTE_ORDER.to_le_bytes());
        to.extend(1u16.to_le_bytes());
        to.extend(0u16.to_le_bytes());
        to.extend(UNKNOWN_LENGTH.to_le_bytes());
        option(to, SECTION_APPLICATION, application.as_bytes());
        option(to, END, &[]);
    });
}

/// Describes an interface; they are numbered from 0 on in the order of their blocks.
pub fn interface(to: &mut Vec<u8>, name: &str, snaplen: u32, filter: Option<&str>) {
    block(to, INTERFACE, |to| {
        to.extend(ETHERNET.to_le_bytes());
        to.extend(0u16.to_le_bytes());
        to.extend(snaplen.to_le_bytes());
        option(to, INTERFACE_NAME, name.as_bytes());
        option(to, INTERFACE_RESOLUTION, &[NANOSECONDS]);
        if let Some(filter) = filter {
            option(to, INTERFACE_FILTER, &[&[FILTER_TEXT], filter.as_bytes()].concat());
        }
        option(to, END, &[]);
    });
}

/// Writes a packet.
pub fn packet(to: &mut Vec<u8>, packet: &Packet<'_>) {
    let captured: usize = packet.parts.iter().map(|part| part.len()).sum();
    block(to, PACKET, |to| {
        to.extend(packet.interface.to_le_bytes());
        time(to, packet.time_ns);
        to.extend((captured as u32).to_le_bytes());
        to.extend((packet.len as u32).to_le_bytes());
        packet.parts.iter().for_each(|part| to.extend_from_slice(part));
        pad(to, captured);
        if let Some(comment) = packet.comment {
            option(to, COMMENT, comment.as_bytes());
        }
        let direction: u32 = if packet.inbound { 1 } else { 2 };
        option(to, PACKET_FLAGS, &direction.to_le_bytes());
        option(to, END, &[]);
    });
}

/// Says how many packets an interface had so far, and how many of them are missing in the file.
pub fn statistics(to: &mut Vec<u8>, interface: u32, time_ns: u64, received: u64, dropped: u64) {
    block(to, STATISTICS, |to| {
        to.extend(interface.to_le_bytes());
        time(to, time_ns);
        option(to, STATISTICS_RECEIVED, &received.to_le_bytes());
        option(to, STATISTICS_DROPPED, &dropped.to_le_bytes());
        option(to, END, &[]);
    });
}

/// The upper half comes first, whatever the order of bytes.
fn time(to: &mut Vec<u8>, time_ns: u64) {
    to.extend(((time_ns >> 32) as u32).to_le_bytes());
    to.extend((time_ns as u32).to_le_bytes());
}

/// A block's length stands at both of its ends.
fn block(to: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = to.len();
    to.extend(kind.to_le_bytes());
    to.extend([0; 4]);
    body(to);
    let len = ((to.len() - start + 4) as u32).to_le_bytes();
    to[start + 4..start + 8].copy_from_slice(&len);
    to.extend(len);
}

fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    to.extend(code.to_le_bytes());
    to.extend((value.len() as u16).to_le_bytes());
    to.extend(value);
    pad(to, value.len());
}

/// Everything begins at a multiple of four bytes.
fn pad(to: &mut Vec<u8>, len: usize) {
    to.resize(to.len() + len.wrapping_neg() % 4, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_padded_and_says_its_length_at_both_ends() {
        let mut out = Vec::new();
        let parts = [&b"ab"[..], b"cde", b""];
        let made = Packet {
            interface: 7,
            time_ns: 0x1_0000_0002,
            parts,
            len: 60,
            inbound: true,
            comment: Some("why"),
        };
        packet(&mut out, &made);
        let expected = [
            &[6, 0, 0, 0, 60, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 60, 0, 0, 0][..],
            b"abcde\0\0\0",
            b"\x01\0\x03\0why\0",
            &[2, 0, 4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0],
        ];
        let mut expected = expected.concat();
        let len = expected.len() as u8;
        expected[4] = len;
        expected[len as usize - 4] = len;
        assert_eq!(out, expected);
    }

    #[test]
    fn every_block_is_a_multiple_of_four_bytes_long() {
        let mut out = Vec::new();
        section(&mut out, "vmswitch");
        interface(&mut out, "lan/vm1", 262_144, Some("arp"));
        statistics(&mut out, 0, 1, 2, 3);
        let mut kinds = Vec::new();
        let mut rest = &out[..];
        while !rest.is_empty() {
            let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            let len = word(4) as usize;
            assert_eq!((len % 4, word(len - 4) as usize), (0, len));
            kinds.push(word(0));
            rest = &rest[len..];
        }
        assert_eq!(kinds, [SECTION, INTERFACE, STATISTICS]);
    }
}
