//! VLAN tags (IEEE 802.1Q clause 9.6).

use crate::Truncated;

/// Length of a tag: TPID and TCI.
pub const TAG_LEN: usize = 4;
/// TPID of a customer tag (IEEE 802.1Q).
pub const TPID_8021Q: u16 = 0x8100;
/// TPID of a service tag (IEEE 802.1ad).
pub const TPID_8021AD: u16 = 0x88a8;
/// TPIDs that service tags had before IEEE 802.1ad. Nothing is done with such tags, but some receivers take them off.
const FORMER_TPIDS: [u16; 3] = [0x9100, 0x9200, 0x9300];
/// Most tags that are looked behind for an IP header: a service tag and a customer tag.
pub const MAX_TAGS: usize = 2;

const ADDRESSES_LEN: usize = 12;

/// One tag as it stands in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTag {
    /// Which kind of tag.
    pub tpid: u16,
    /// Priority, drop eligibility and VLAN id.
    pub tci: u16,
}

impl VlanTag {
    /// The VLAN id; 0 marks a tag that carries a priority only.
    #[must_use]
    pub const fn vid(self) -> u16 {
        self.tci & 0x0fff
    }

    /// The priority code point, 0 to 7.
    #[must_use]
    pub const fn priority(self) -> u8 {
        (self.tci >> 13) as u8
    }

    /// The drop eligible indicator.
    #[must_use]
    pub const fn drop_eligible(self) -> bool {
        self.tci & 0x1000 != 0
    }
}

/// True for the two values that begin a tag.
#[inline]
#[must_use]
pub const fn is_tpid(ethertype: u16) -> bool {
    matches!(ethertype, TPID_8021Q | TPID_8021AD)
}

/// True for what begins a tag, or did once.
#[inline]
pub(crate) fn was_tpid(ethertype: u16) -> bool {
    is_tpid(ethertype) || FORMER_TPIDS.contains(&ethertype)
}

/// Puts a tag into a frame that lies behind four free bytes of `frame`: the addresses move to the front and
/// the tag takes their place, so the payload stays where it is.
///
/// AF_PACKET hands the outer tag over beside the frame (PACKET_AUXDATA); reading each frame four bytes into its
/// buffer makes putting it back cheap. Where a vnet header came with the frame, its offsets move too:
/// [`VnetHdr::moved_by`](crate::VnetHdr::moved_by).
#[inline]
pub fn insert(frame: &mut [u8], tpid: u16, tci: u16) -> Result<(), Truncated> {
    let head: &mut [u8; TAG_LEN + ADDRESSES_LEN] = frame.first_chunk_mut().ok_or(Truncated)?;
    head.copy_within(TAG_LEN.., 0);
    head[ADDRESSES_LEN..ADDRESSES_LEN + 2].copy_from_slice(&tpid.to_be_bytes());
    head[ADDRESSES_LEN + 2..].copy_from_slice(&tci.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EthernetHeader;

    #[test]
    fn insert_moves_the_addresses_and_nothing_else() {
        let mut buffer = [0xee; 4 + 16];
        buffer[4..16].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        buffer[16..].copy_from_slice(&[0x08, 0x00, 0xaa, 0xbb]);
        insert(&mut buffer, TPID_8021AD, 0x2abc).unwrap();
        assert_eq!(
            buffer,
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x88, 0xa8, 0x2a, 0xbc, 0x08, 0x00, 0xaa, 0xbb]
        );
        assert_eq!(EthernetHeader::parse(&buffer).unwrap().vlan.map(VlanTag::vid), Some(0xabc));
    }

    #[test]
    fn insert_refuses_what_has_no_addresses() {
        assert_eq!(insert(&mut [0; 15], TPID_8021Q, 1), Err(Truncated));
        assert_eq!(insert(&mut [0; 16], TPID_8021Q, 1), Ok(()));
    }

    #[test]
    fn tci_fields() {
        let tag = VlanTag { tpid: TPID_8021Q, tci: 0xb064 };
        assert_eq!((tag.priority(), tag.drop_eligible(), tag.vid()), (5, true, 100));
    }
}
