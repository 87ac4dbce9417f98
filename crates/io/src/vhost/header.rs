//! The header in front of each frame in a guest's buffers (virtio 1.2, 5.1.6): the 10 bytes of [`VnetHdr`], and behind
//! them, where the device is a modern one or merges buffers, how many buffers a received frame takes.

use super::features::Features;
use wire::{GsoKind, VNET_HDR_LEN, VnetHdr};

/// What a guest wrote into the header of a frame that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("the guest sent a frame with offload type {0:#x}, which was not negotiated")]
    Segmentation(u8),
    #[error(
        "the guest sent a frame to be cut into segments of no bytes, or without its checksum being asked for"
    )]
    Segments,
    #[error("the guest sent a frame with a partial checksum, which was not negotiated")]
    Checksum,
    #[error(
        "the guest sent a frame of {len} bytes whose checksum is to begin at byte {start} and to lie at byte {at}"
    )]
    ChecksumOutside { start: u16, at: u32, len: usize },
}

/// The header as it is passed on, checked against what was negotiated and against the frame of `len` bytes behind it.
#[inline(never)]
pub(super) fn check(
    bytes: [u8; VNET_HDR_LEN],
    features: Features,
    len: usize,
) -> Result<[u8; VNET_HDR_LEN], HeaderError> {
    if bytes == [0; VNET_HDR_LEN] {
        Ok(bytes)
    } else {
        check_offloads(VnetHdr::from_bytes(&bytes), features, len)
    }
}

fn check_offloads(
    mut header: VnetHdr,
    features: Features,
    len: usize,
) -> Result<[u8; VNET_HDR_LEN], HeaderError> {
    let kind = header.gso_kind();
    if header.gso_type != 0 && !kind.is_some_and(|kind| features.has(sends(kind))) {
        return Err(HeaderError::Segmentation(header.gso_type));
    }
    if kind.is_some() && (header.gso_size == 0 || !header.needs_checksum()) {
        return Err(HeaderError::Segments);
    }
    if !header.needs_checksum() {
        return Ok([0; VNET_HDR_LEN]);
    }
    if !features.has(Features::CSUM) {
        return Err(HeaderError::Checksum);
    }
    let at = u32::from(header.csum_start) + u32::from(header.csum_offset);
    if at as usize + 2 > len {
        return Err(HeaderError::ChecksumOutside { start: header.csum_start, at, len });
    }
    header.flags = VnetHdr::NEEDS_CSUM;
    header.hdr_len = header.hdr_len.min(len as u16);
    Ok(header.to_bytes())
}

const fn sends(kind: GsoKind) -> Features {
    match kind {
        GsoKind::TcpV4 => Features::HOST_TSO4,
        GsoKind::TcpV6 => Features::HOST_TSO6,
        GsoKind::UdpL4 => Features::HOST_USO,
    }
}

/// True where a guest that negotiated these features takes a frame with such a header as it is. `head` is the frame's
/// beginning, which tells the version of IP.
#[inline]
pub(super) fn takes(features: Features, header: VnetHdr, head: &[u8]) -> bool {
    if header.gso_type == 0 {
        return !header.needs_checksum() || features.has(Features::GUEST_CSUM);
    }
    let ecn = header.gso_type & VnetHdr::GSO_ECN == 0 || features.has(Features::GUEST_ECN);
    ecn && match header.gso_kind() {
        Some(GsoKind::TcpV4) => features.has(Features::GUEST_TSO4),
        Some(GsoKind::TcpV6) => features.has(Features::GUEST_TSO6),
        Some(GsoKind::UdpL4) => {
            features.has(if is_ipv6(head) { Features::GUEST_USO6 } else { Features::GUEST_USO4 })
        }
        None => false,
    }
}

/// By the half byte behind Ethernet and up to two tags.
fn is_ipv6(head: &[u8]) -> bool {
    let ethertypes = head.get(12..).unwrap_or_default().chunks_exact(4).take(3);
    let untagged =
        ethertypes.map(|tag| [tag[0], tag[1]]).find(|tpid| !matches!(tpid, [0x81, 0] | [0x88, 0xa8]));
    untagged == Some([0x86, 0xdd])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Features = Features::OFFERED;
    const PARTIAL: VnetHdr =
        VnetHdr { flags: 1, gso_type: 0, hdr_len: 0, gso_size: 0, csum_start: 34, csum_offset: 16 };
    const SEGMENTS: VnetHdr = VnetHdr { gso_type: 1, hdr_len: 54, gso_size: 1448, ..PARTIAL };

    fn checked(header: VnetHdr, features: Features, len: usize) -> Result<VnetHdr, HeaderError> {
        check(header.to_bytes(), features, len).map(|bytes| VnetHdr::from_bytes(&bytes))
    }

    #[test]
    fn what_was_negotiated_and_fits_passes() {
        assert_eq!(checked(VnetHdr::default(), Features::default(), 60), Ok(VnetHdr::default()));
        assert_eq!(checked(PARTIAL, ALL, 60), Ok(PARTIAL));
        assert_eq!(checked(SEGMENTS, ALL, 9000), Ok(SEGMENTS));
        assert_eq!(checked(VnetHdr { flags: 2, ..VnetHdr::default() }, ALL, 60), Ok(VnetHdr::default()));
    }

    #[test]
    fn impossible_headers_are_refused_and_why() {
        let no_csum = ALL.without(Features::CSUM);
        for (what, header, features, len, expected) in [
            (
                "a type that is not known",
                VnetHdr { gso_type: 9, ..SEGMENTS },
                ALL,
                9000,
                HeaderError::Segmentation(9),
            ),
            (
                "not negotiated",
                SEGMENTS,
                ALL.without(Features::HOST_TSO4),
                9000,
                HeaderError::Segmentation(1),
            ),
            ("segments of nothing", VnetHdr { gso_size: 0, ..SEGMENTS }, ALL, 9000, HeaderError::Segments),
            ("no checksum", VnetHdr { flags: 0, ..SEGMENTS }, ALL, 9000, HeaderError::Segments),
            ("not negotiated", PARTIAL, no_csum, 60, HeaderError::Checksum),
            ("outside", PARTIAL, ALL, 51, HeaderError::ChecksumOutside { start: 34, at: 50, len: 51 }),
            (
                "far outside",
                VnetHdr { csum_start: 0xffff, csum_offset: 0xffff, ..PARTIAL },
                ALL,
                65535,
                HeaderError::ChecksumOutside { start: 0xffff, at: 0x1fffe, len: 65535 },
            ),
        ] {
            assert_eq!(checked(header, features, len), Err(expected), "{what}");
        }
        assert!(checked(PARTIAL, ALL, 52).is_ok());
    }

    #[test]
    fn a_guest_gets_what_it_negotiated() {
        let (none, tso4) = (Features::default(), Features::GUEST_CSUM.with(Features::GUEST_TSO4));
        let v6 = [&[0; 12][..], &[0x81, 0, 0, 7, 0x86, 0xdd, 0x60, 0, 0, 0]].concat();
        assert!(takes(none, VnetHdr::default(), &[]) && !takes(none, PARTIAL, &[]));
        assert!(takes(tso4, PARTIAL, &[]) && takes(tso4, SEGMENTS, &[]));
        assert!(!takes(tso4, VnetHdr { gso_type: 0x81, ..SEGMENTS }, &[]));
        assert!(!takes(tso4, VnetHdr { gso_type: 4, ..SEGMENTS }, &[]));
        let uso6 = VnetHdr { gso_type: 5, ..SEGMENTS };
        assert!(takes(Features::GUEST_USO6, uso6, &v6) && !takes(Features::GUEST_USO4, uso6, &v6));
    }
}
