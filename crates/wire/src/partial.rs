//! Where a partial checksum may lie: nowhere that a frame was judged by.

use crate::{
    ethernet,
    ip::{self, Fragment},
    transport::{self, Layers, LocateError},
    vlan,
};

/// True where the two bytes at `at`, for a sum from `start` on, can be a checksum. `header` is the frame, or its
/// first part with all headers.
///
/// For a sum over the transport header that is its own checksum field; a sum that begins further back is that of a
/// packet inside a tunnel, and lies behind the transport header. What carries no IP may have one anywhere behind its
/// EtherType, except ARP, which has no checksum, and what may have IP further back: more tags, and LLC.
pub(crate) fn may_be_checksum(header: &[u8], start: usize, at: usize) -> bool {
    match transport::locate(header) {
        Ok(layers) => behind_ip(header, &layers, start, at),
        Err(LocateError::NotIp) => transport::payload_type(header).is_ok_and(|(ethertype, payload)| {
            start >= payload
                && ethertype >= ethernet::FIRST_ETHERTYPE
                && ethertype != ethernet::ARP
                && !vlan::was_tpid(ethertype)
        }),
        Err(LocateError::Ethernet(_) | LocateError::Ip(_)) => false,
    }
}

fn behind_ip(header: &[u8], layers: &Layers, start: usize, at: usize) -> bool {
    if start < layers.transport || layers.fragment != Fragment::Whole {
        return false;
    }
    let (own_checksum, header_len) = match layers.protocol {
        ip::TCP => {
            let Some(byte) = header.get(layers.transport + 12) else { return false };
            (transport::TCP_CHECKSUM, transport::tcp_header_len(*byte).max(transport::TCP_MIN_HEADER_LEN))
        }
        ip::UDP => (transport::UDP_CHECKSUM, transport::UDP_HEADER_LEN),
        ip::ICMP | ip::ICMPV6 => (transport::ICMP_CHECKSUM, transport::ICMP_HEADER_LEN),
        _ => return true,
    };
    if start == layers.transport { at == start + own_checksum } else { at >= layers.transport + header_len }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet of protocol `protocol` with a TCP-like data offset of 20 bytes.
    fn packet(protocol: u8, fragment: u16) -> [u8; 64] {
        let mut f = [0; 64];
        f[12..14].copy_from_slice(&ethernet::IPV4.to_be_bytes());
        f[14] = 0x45;
        f[20..22].copy_from_slice(&fragment.to_be_bytes());
        f[23] = protocol;
        f[34 + 12] = 0x50;
        f
    }

    fn allowed(frame: &[u8], start: usize) -> impl Iterator<Item = usize> {
        (start..62).filter(move |at| may_be_checksum(frame, start, *at))
    }

    #[test]
    fn over_a_known_transport_header_only_its_own_field() {
        assert!(allowed(&packet(ip::TCP, 0x4000), 34).eq([50]));
        assert!(allowed(&packet(ip::UDP, 0), 34).eq([40]));
        assert!(allowed(&packet(ip::ICMP, 0), 34).eq([36]));
    }

    #[test]
    fn inside_a_tunnel_only_behind_the_outer_transport_header() {
        assert!(allowed(&packet(ip::UDP, 0), 35).eq(42..62));
        assert!(allowed(&packet(ip::TCP, 0), 36).eq(54..62));
        assert!(allowed(&packet(47, 0), 38).eq(38..62));
    }

    #[test]
    fn never_in_addresses_tags_ip_headers_arp_or_fragments() {
        for start in 0..34 {
            assert_eq!(allowed(&packet(ip::UDP, 0), start).count(), 0, "from {start}");
        }
        assert_eq!(allowed(&packet(ip::UDP, 0x2000), 34).count(), 0);
        let mut frame = packet(ip::UDP, 0);
        frame[12..14].copy_from_slice(&ethernet::ARP.to_be_bytes());
        assert_eq!(allowed(&frame, 14).count(), 0);
        for hiding in [[0x91, 0], [0, 46]] {
            frame[12..14].copy_from_slice(&hiding);
            assert_eq!(allowed(&frame, 22).count(), 0, "{hiding:?}");
        }
        frame[12..18].copy_from_slice(&[0x81, 0, 0, 1, 0x88, 0x47]);
        assert_eq!(allowed(&frame, 17).count(), 0);
        assert!(allowed(&frame, 18).eq(18..62));
    }
}
