//! Partial checksums in frames that came without their metadata.
//!
//! The kernel at the other end of a veth or TAP leaves TCP's and UDP's checksums to the "hardware": the field
//! holds the sum of the pseudo header only, and that this is so stands beside the frame, where AF_XDP has no
//! room for it. But it can be seen: the field equals that sum. A frame whose whole checksum has that value by
//! chance, one in 65,536, loses nothing when it is completed once more: the result is the same. What is lost
//! is that a frame damaged on its way there, of which a veth has none, would pass as whole as often. Sums of
//! packets inside tunnels are not found: such peers need their offload switched off (ethtool -K IFACE tx
//! off).

use wire::{
    VnetHdr, checksum,
    ip::{self, Fragment, Ipv4View, Ipv6View},
    transport::{self, IpVersion, Layers},
};

/// What completing it takes, where the checksum of a frame is partial. `head` is the frame, or its first
/// part.
pub(super) fn found(head: &[u8]) -> Option<VnetHdr> {
    let layers = transport::locate(head).ok().filter(|layers| layers.fragment == Fragment::Whole)?;
    let offset = match layers.protocol {
        ip::TCP => transport::TCP_CHECKSUM,
        ip::UDP => transport::UDP_CHECKSUM,
        _ => return None,
    };
    let at = layers.transport + offset;
    let field = u16::from_be_bytes(*head.get(at..at + 2)?.first_chunk()?);
    (field == pseudo_sum(head, &layers)?).then_some(VnetHdr {
        flags: VnetHdr::NEEDS_CSUM,
        csum_start: layers.transport as u16,
        csum_offset: offset as u16,
        ..VnetHdr::default()
    })
}

fn pseudo_sum(head: &[u8], layers: &Layers) -> Option<u16> {
    let len = u16::try_from(layers.end.checked_sub(layers.transport)?).ok()?;
    let packet = head.get(layers.network..)?;
    let sum = match layers.version {
        IpVersion::V4 => {
            let ip = Ipv4View::parse(packet).ok()?;
            checksum::pseudo_v4(ip.src(), ip.dst(), layers.protocol, len)
        }
        IpVersion::V6 => {
            let ip = Ipv6View::parse(packet).ok()?;
            checksum::pseudo_v6(ip.src(), ip.dst(), layers.protocol, len.into())
        }
    };
    Some(sum.partial())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(v6: bool) -> (Vec<u8>, u16) {
        let mut frame = vec![2; 12];
        let sum = if v6 {
            frame.extend(b"\x86\xdd\x60\0\0\0\0\x0c\x11\x40");
            frame.extend([1; 32]);
            checksum::pseudo_v6([1; 16], [1; 16], ip::UDP, 12)
        } else {
            frame.extend(b"\x08\0\x45\0\0\x20\0\0\0\0\x40\x11\0\0\x0a\0\0\x01\x0a\0\0\x02");
            checksum::pseudo_v4([10, 0, 0, 1], [10, 0, 0, 2], ip::UDP, 12)
        };
        let start = frame.len() as u16;
        frame.extend(b"\x12\x34\0\x35\0\x0c");
        frame.extend(sum.partial().to_be_bytes());
        frame.extend(b"data");
        (frame, start)
    }

    #[test]
    fn a_partial_checksum_is_found_and_a_whole_one_is_none() {
        for v6 in [false, true] {
            let (mut frame, csum_start) = datagram(v6);
            let expected = VnetHdr { flags: 1, csum_start, csum_offset: 6, ..VnetHdr::default() };
            assert_eq!(found(&frame), Some(expected));
            checksum::complete(&mut frame, csum_start, 6).unwrap();
            assert_eq!(found(&frame), None);
        }
    }

    #[test]
    fn fragments_other_protocols_and_cut_frames_have_none() {
        let (frame, _) = datagram(false);
        for (at, value) in [(20, 0x20), (23, 1), (12, 0x99)] {
            let mut other = frame.clone();
            other[at] = value;
            assert_eq!(found(&other), None);
        }
        for len in 0..41 {
            assert_eq!(found(&frame[..len]), None);
        }
    }
}
