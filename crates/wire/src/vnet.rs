//! The virtio-net header that TAP and AF_PACKET put in front of each frame: what is left to be done to it.
//!
//! Virtual I/O Device (VIRTIO) 1.2, section 5.1.6 and linux/virtio_net.h (`struct virtio_net_hdr`, the legacy
//! 10-byte form, little-endian as set with TUNSETVNETLE or on little-endian hosts).

/// Length of the header in bytes.
pub const VNET_HDR_LEN: usize = 10;

/// How a frame above the MTU is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4 (VIRTIO_NET_HDR_GSO_TCPV4).
    TcpV4,
    /// TCP over IPv6 (VIRTIO_NET_HDR_GSO_TCPV6).
    TcpV6,
    /// UDP over IPv4 or IPv6, cut into datagrams (VIRTIO_NET_HDR_GSO_UDP_L4).
    UdpL4,
}

/// The header's fields as they came: nothing in it is to be believed before it was checked against the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHdr {
    /// `NEEDS_CSUM`, `DATA_VALID`.
    pub flags: u8,
    /// 0 for none, else see [`VnetHdr::gso_kind`].
    pub gso_type: u8,
    /// Length of all headers in bytes: a hint.
    pub hdr_len: u16,
    /// Payload bytes of each segment.
    pub gso_size: u16,
    /// Where the checksummed part begins, from the frame's first byte.
    pub csum_start: u16,
    /// Where the checksum lies, from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHdr {
    /// The checksum field holds only the pseudo header's sum; the rest is to be added.
    pub const NEEDS_CSUM: u8 = 1;
    /// The checksum was verified already.
    pub const DATA_VALID: u8 = 2;
    /// Set beside the GSO type when the TCP segment carries ECN's CWR.
    pub const GSO_ECN: u8 = 0x80;

    /// Reads the header.
    #[must_use]
    pub const fn from_bytes(b: &[u8; VNET_HDR_LEN]) -> Self {
        Self {
            flags: b[0],
            gso_type: b[1],
            hdr_len: u16::from_le_bytes([b[2], b[3]]),
            gso_size: u16::from_le_bytes([b[4], b[5]]),
            csum_start: u16::from_le_bytes([b[6], b[7]]),
            csum_offset: u16::from_le_bytes([b[8], b[9]]),
        }
    }

    /// Writes the header.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; VNET_HDR_LEN] {
        let (h, g) = (self.hdr_len.to_le_bytes(), self.gso_size.to_le_bytes());
        let (s, o) = (self.csum_start.to_le_bytes(), self.csum_offset.to_le_bytes());
        [self.flags, self.gso_type, h[0], h[1], g[0], g[1], s[0], s[1], o[0], o[1]]
    }

    /// True where the checksum has to be completed before the frame may reach one that did not ask for less.
    #[must_use]
    pub const fn needs_checksum(self) -> bool {
        self.flags & Self::NEEDS_CSUM != 0
    }

    /// The header of the same frame with so many bytes more, or less, before what is checksummed: [`crate::vlan::insert`] puts
    /// some there. The offsets of a header that has none stay zero.
    #[must_use]
    pub const fn moved_by(mut self, bytes: i16) -> Self {
        if self.needs_checksum() {
            self.csum_start = self.csum_start.saturating_add_signed(bytes);
        }
        if self.hdr_len != 0 {
            self.hdr_len = self.hdr_len.saturating_add_signed(bytes);
        }
        self
    }

    /// How the frame is to be cut; `None` for a frame that goes as it is and for a kind that is not known.
    #[must_use]
    pub const fn gso_kind(self) -> Option<GsoKind> {
        match self.gso_type & !Self::GSO_ECN {
            1 => Some(GsoKind::TcpV4),
            4 => Some(GsoKind::TcpV6),
            5 => Some(GsoKind::UdpL4),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trips() {
        let hdr = VnetHdr {
            flags: 1,
            gso_type: 0x81,
            hdr_len: 66,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
        };
        assert_eq!(VnetHdr::from_bytes(&hdr.to_bytes()), hdr);
        assert_eq!(hdr.gso_kind(), Some(GsoKind::TcpV4));
    }

    #[test]
    fn an_inserted_tag_moves_the_offsets_that_are_set() {
        let hdr = VnetHdr { flags: 1, hdr_len: 54, csum_start: 34, csum_offset: 16, ..VnetHdr::default() };
        let moved = hdr.moved_by(4);
        assert_eq!((moved.hdr_len, moved.csum_start, moved.csum_offset), (58, 38, 16));
        assert_eq!(moved.moved_by(-4), hdr);
        assert_eq!(VnetHdr::default().moved_by(4), VnetHdr::default());
    }
}
