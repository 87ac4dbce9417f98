//! The Ethernet header (IEEE 802.3 clause 3.2) with its outer VLAN tag.

use crate::{MacAddr, VlanTag, vlan};

/// Length of the header without tags: two addresses and the EtherType.
pub const HEADER_LEN: usize = 14;
/// Where the EtherType, or the outer tag, begins: behind the two addresses.
pub const TYPE_OFFSET: usize = 12;
/// Shortest frame on a real wire, without its FCS (IEEE 802.3 clause 4.4.2). Virtual links carry shorter ones.
pub const MIN_FRAME_LEN: usize = 60;
/// From here up the field is an EtherType; below it is the length of an LLC frame (IEEE 802.3 clause 3.2.6).
pub const FIRST_ETHERTYPE: u16 = 0x0600;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of RARP.
pub const RARP: u16 = 0x8035;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// The slice ends before the header does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame ends inside its headers; the sender has to send whole frames")]
pub struct Truncated;

/// The header up to and with the outer VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetHeader {
    /// Who the frame is for.
    pub dst: MacAddr,
    /// Who sent it.
    pub src: MacAddr,
    /// The field behind the outer tag: an EtherType (an inner tag's, where there are two) or an LLC length.
    pub ethertype_or_len: u16,
    /// The outer tag.
    pub vlan: Option<VlanTag>,
    /// Where what `ethertype_or_len` names begins: 14 without a tag, 18 with one.
    pub header_len: usize,
}

impl EthernetHeader {
    /// Reads the header; `frame` may be just the first 18 bytes.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, Truncated> {
        let (dst, src) = addresses(frame).ok_or(Truncated)?;
        let first = be16(frame, TYPE_OFFSET).ok_or(Truncated)?;
        if !vlan::is_tpid(first) {
            return Ok(Self { dst, src, ethertype_or_len: first, vlan: None, header_len: HEADER_LEN });
        }
        let tci = be16(frame, HEADER_LEN).ok_or(Truncated)?;
        let inner = be16(frame, HEADER_LEN + 2).ok_or(Truncated)?;
        let vlan = Some(VlanTag { tpid: first, tci });
        Ok(Self { dst, src, ethertype_or_len: inner, vlan, header_len: HEADER_LEN + vlan::TAG_LEN })
    }

    /// The EtherType, or `None` for an LLC frame.
    #[must_use]
    pub const fn ethertype(&self) -> Option<u16> {
        if self.ethertype_or_len >= FIRST_ETHERTYPE { Some(self.ethertype_or_len) } else { None }
    }
}

/// Destination and source, and nothing else: what a MAC table look-up needs.
#[inline]
#[must_use]
pub fn addresses(frame: &[u8]) -> Option<(MacAddr, MacAddr)> {
    let b: &[u8; TYPE_OFFSET] = frame.first_chunk()?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = *b;
    Some((MacAddr([d0, d1, d2, d3, d4, d5]), MacAddr([s0, s1, s2, s3, s4, s5])))
}

/// The big-endian number at `at`.
#[inline]
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGGED: [u8; 18] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0x60, 0x64, 0x08, 0];

    #[test]
    fn untagged_tagged_and_llc_headers_are_told_apart() {
        let header = EthernetHeader::parse(&TAGGED).unwrap();
        assert_eq!((header.dst, header.src), (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])));
        assert_eq!(header.vlan, Some(VlanTag { tpid: 0x8100, tci: 0x6064 }));
        assert_eq!((header.ethertype(), header.header_len), (Some(IPV4), 18));

        let mut untagged = TAGGED;
        untagged[12..14].copy_from_slice(&IPV6.to_be_bytes());
        let header = EthernetHeader::parse(&untagged[..14]).unwrap();
        assert_eq!((header.ethertype(), header.vlan, header.header_len), (Some(IPV6), None, 14));

        untagged[12..14].copy_from_slice(&46u16.to_be_bytes());
        let header = EthernetHeader::parse(&untagged).unwrap();
        assert_eq!((header.ethertype(), header.ethertype_or_len), (None, 46));
    }

    #[test]
    fn of_two_tags_the_outer_is_read() {
        let mut frame = [0; 22];
        frame[12..].copy_from_slice(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8, 0x86, 0xdd]);
        let header = EthernetHeader::parse(&frame).unwrap();
        assert_eq!(header.vlan, Some(VlanTag { tpid: vlan::TPID_8021AD, tci: 7 }));
        assert_eq!((header.ethertype_or_len, header.header_len), (vlan::TPID_8021Q, 18));
    }

    #[test]
    fn every_short_header_is_truncated() {
        for len in 0..TAGGED.len() {
            assert_eq!(EthernetHeader::parse(&TAGGED[..len]), Err(Truncated), "{len} bytes");
        }
        assert_eq!(addresses(&TAGGED[..11]), None);
        assert!(addresses(&TAGGED[..12]).is_some());
    }
}
