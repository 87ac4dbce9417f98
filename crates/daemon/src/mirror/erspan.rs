//! Headers of ERSPAN types II and III (draft-foschiano-erspan) behind GRE with sequence numbers (RFC 2784, RFC 2890).

use model::policy::mirror::ErspanType;
use wire::{VlanTag, ethernet, vlan};

/// GRE: a sequence number follows.
const HAS_SEQUENCE: u16 = 1 << 12;
/// What GRE carries.
const TYPE_II: u16 = 0x88be;
const TYPE_III: u16 = 0x22eb;
/// The longest header.
pub const MAX_LEN: usize = 20;
/// How type III counts time (`Gra`, section 4.3): in units of 100 ns.
const UNIT_NS: u64 = 100;
const GRANULARITY: u16 = 0b01;
/// What was mirrored is an Ethernet frame (`P`).
const IS_FRAME: u16 = 1 << 15;
/// The frame has its tag still (`En` of type II).
const TAG_IS_THERE: u16 = 0b11;

/// What is said of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    pub form: ErspanType,
    pub session: u16,
    pub sequence: u32,
    pub time_ns: u64,
    /// The frame's first tag.
    pub tag: Option<VlanTag>,
    /// It is not all there.
    pub truncated: bool,
    /// It left the switch.
    pub outbound: bool,
}

impl About {
    /// How long the header is.
    pub const fn len(form: ErspanType) -> usize {
        match form {
            ErspanType::Two => 16,
            ErspanType::Three => MAX_LEN,
        }
    }

    /// What comes before the frame.
    pub fn header(&self) -> Vec<u8> {
        let (version, kind) = match self.form {
            ErspanType::Two => (1, TYPE_II),
            ErspanType::Three => (2, TYPE_III),
        };
        let mut header = Vec::with_capacity(MAX_LEN);
        let mut word = |word: u16| header.extend(word.to_be_bytes());
        word(HAS_SEQUENCE);
        word(kind);
        word((self.sequence >> 16) as u16);
        word(self.sequence as u16);
        let priority = self.tag.map_or(0, |tag| u16::from(tag.priority()));
        word(version << 12 | self.tag.map_or(0, VlanTag::vid));
        // Type III has there whether the frame was damaged or too short, which none is that comes here.
        let en = if self.form == ErspanType::Two && self.tag.is_some() { TAG_IS_THERE } else { 0 };
        word(priority << 13 | en << 11 | u16::from(self.truncated) << 10 | self.session & 0x3ff);
        match self.form {
            // Reserved, and an index that nobody has to fill.
            ErspanType::Two => [0, 0].map(&mut word),
            ErspanType::Three => {
                let time = (self.time_ns / UNIT_NS) as u32;
                word((time >> 16) as u16);
                word(time as u16);
                // No security group.
                [0, IS_FRAME | u16::from(self.outbound) << 3 | GRANULARITY << 1].map(&mut word)
            }
        };
        header
    }
}

/// The tag that a frame begins with.
pub fn tag_of(frame: &[u8]) -> Option<VlanTag> {
    let word = |at: usize| frame.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    let (tpid, tci) = (word(ethernet::TYPE_OFFSET)?, word(ethernet::TYPE_OFFSET + 2)?);
    vlan::is_tpid(tpid).then_some(VlanTag { tpid, tci })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About = About {
        form: ErspanType::Two,
        session: 0x155,
        sequence: 0x0102_0304,
        time_ns: 0x1_0203_0405 * UNIT_NS,
        tag: Some(VlanTag { tpid: 0x8100, tci: 0xa007 }),
        truncated: true,
        outbound: true,
    };

    #[test]
    fn a_header_of_type_ii_is_as_the_draft_draws_it() {
        let expected = [0x10, 0, 0x88, 0xbe, 1, 2, 3, 4, 0x10, 7, 0xa0 | 0x18 | 4 | 1, 0x55, 0, 0, 0, 0];
        assert_eq!(ABOUT.header(), expected);
        assert_eq!(ABOUT.header().len(), About::len(ErspanType::Two));
        let bare = About { tag: None, truncated: false, ..ABOUT };
        assert_eq!(bare.header()[8..12], [0x10, 0, 1, 0x55]);
    }

    #[test]
    fn a_header_of_type_iii_has_time_and_direction_besides() {
        let three = About { form: ErspanType::Three, ..ABOUT };
        let expected =
            [0x10, 0, 0x22, 0xeb, 1, 2, 3, 4, 0x20, 7, 0xa0 | 4 | 1, 0x55, 2, 3, 4, 5, 0, 0, 0x80, 0b1010];
        assert_eq!(three.header(), expected);
        assert_eq!(About { outbound: false, ..three }.header()[19], 0b0010);
        assert_eq!(three.header().len(), About::len(ErspanType::Three));
    }

    #[test]
    fn the_tag_is_the_frames_first() {
        let tagged = [&[2; 12][..], &[0x81, 0, 0x60, 7, 8, 0]].concat();
        assert_eq!(tag_of(&tagged).map(VlanTag::vid), Some(7));
        assert_eq!((tag_of(&[2; 60]), tag_of(&tagged[..13])), (None, None));
    }
}
