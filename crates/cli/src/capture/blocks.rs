//! The blocks of a pcapng stream (draft-ietf-opsawg-pcapng), as far as it takes to cut and to count.

use std::collections::BTreeMap;

/// Enhanced Packet Block, section 4.3.
const PACKET: u32 = 6;
/// Interface Statistics Block, section 4.5.
const STATISTICS: u32 = 5;
/// Packets that are missing in the file, an option of interface statistics.
const DROPPED: u16 = 5;
/// Kind and length; the length stands at the block's end once more.
const LEAST: usize = 12;
/// In interface statistics, options follow the number of the interface and a time.
const OPTIONS: usize = 20;

/// Cuts a stream into blocks, whatever pieces it arrives in.
#[derive(Debug, Default)]
pub struct Blocks {
    bytes: Vec<u8>,
    /// Packets in the blocks that were given out.
    pub packets: u64,
    /// Packets that are missing, by interface.
    lost: BTreeMap<u32, u64>,
}

/// What no block is like.
#[derive(Debug, thiserror::Error)]
#[error("what comes is no pcapng")]
pub struct NoBlock;

impl Blocks {
    /// Takes in what came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes out all whole blocks, or those up to the one with the packet of number `most`.
    pub fn whole(&mut self, most: u64) -> Result<Vec<u8>, NoBlock> {
        let mut end = 0;
        while self.packets < most {
            let Some(block) = next(&self.bytes[end..])? else { break };
            end += block.len();
            match word(block, 0) {
                Some(PACKET) => self.packets += 1,
                Some(STATISTICS) => {
                    let interface = word(block, 8).unwrap_or_default();
                    self.lost.insert(interface, dropped(block));
                }
                _ => {}
            }
        }
        let rest = self.bytes.split_off(end);
        Ok(std::mem::replace(&mut self.bytes, rest))
    }

    /// Packets that are missing.
    pub fn lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// The first block, if all of it is there.
fn next(bytes: &[u8]) -> Result<Option<&[u8]>, NoBlock> {
    let Some(len) = word(bytes, 4).map(|len| len as usize) else { return Ok(None) };
    if len < LEAST || !len.is_multiple_of(4) {
        return Err(NoBlock);
    }
    Ok(bytes.get(..len))
}

fn dropped(block: &[u8]) -> u64 {
    let mut at = OPTIONS;
    while let Some(head) = word(block, at) {
        let (code, len) = (head as u16, (head >> 16) as usize);
        if code == DROPPED {
            return block
                .get(at + 4..)
                .and_then(|value| value.first_chunk())
                .map_or(0, |value| u64::from_le_bytes(*value));
        }
        at += 4 + len.next_multiple_of(4);
    }
    0
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &len, body, &len].concat()
    }

    fn statistics(interface: u32, dropped: u64) -> Vec<u8> {
        let body = [
            &interface.to_le_bytes()[..],
            &[0; 8],
            &[4, 0, 8, 0],
            &[9; 8],
            &[5, 0, 8, 0],
            &dropped.to_le_bytes(),
            &[0; 4],
        ];
        block(STATISTICS, &body.concat())
    }

    #[test]
    fn a_stream_is_cut_between_blocks_wherever_it_arrives_in_pieces() {
        let stream = [
            block(0x0a0d_0d0a, &[7; 16]),
            block(PACKET, &[1; 40]),
            statistics(1, 3),
            block(PACKET, &[2; 20]),
        ]
        .concat();
        for size in 1..stream.len() {
            let (mut blocks, mut out) = (Blocks::default(), Vec::new());
            for piece in stream.chunks(size) {
                blocks.feed(piece);
                out.extend(blocks.whole(u64::MAX).unwrap());
            }
            assert_eq!((&out, blocks.packets, blocks.lost()), (&stream, 2, 3), "in pieces of {size}");
        }
    }

    #[test]
    fn no_more_packets_are_given_out_than_wanted() {
        let first = [block(0x0a0d_0d0a, &[7; 16]), block(PACKET, &[1; 40])].concat();
        let mut blocks = Blocks::default();
        blocks.feed(&[&first[..], &statistics(0, 9), &block(PACKET, &[2; 20])].concat());
        assert_eq!((blocks.whole(1).unwrap(), blocks.packets, blocks.lost()), (first, 1, 0));
    }

    #[test]
    fn the_last_statistics_of_an_interface_count() {
        let mut blocks = Blocks::default();
        blocks.feed(&[statistics(0, 1), statistics(1, 10), statistics(0, 4)].concat());
        blocks.whole(u64::MAX).unwrap();
        assert_eq!(blocks.lost(), 14);
    }

    #[test]
    fn what_is_no_pcapng_is_told_so() {
        let mut blocks = Blocks::default();
        blocks.feed(b"HTTP/1.1");
        assert!(blocks.whole(u64::MAX).is_err());
    }
}
