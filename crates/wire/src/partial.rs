//! Where a partial checksum may lie: nowhere that a frame was judged by.

use crate::{
    UdpView, dhcp, ethernet,
    ip::{self, Fragment},
    transport::{self, Layers, LocateError},
    vlan,
};

/// True where the two bytes at `at`, for a sum from `start` on, can be a checksum. `header` is the frame, or its
/// first part with all headers.
///
/// For a sum over the transport header that is its own checksum field; a sum that begins further back is that of a
/// packet inside a tunnel, and lies behind a transport header whose payload nobody judges. What carries no IP may have one
/// anywhere behind its EtherType, except ARP and RARP, which have no checksum, and what may have IP further back: more tags,
/// and LLC.
pub(crate) fn may_be_checksum(header: &[u8], start: usize, at: usize) -> bool {
    match transport::locate(header) {
        Ok(layers) => behind_ip(header, &layers, start, at),
        Err(LocateError::NotIp) => transport::payload_type(header).is_ok_and(|(ethertype, payload)| {
            start >= payload
                && ethertype >= ethernet::FIRST_ETHERTYPE
                && !matches!(ethertype, ethernet::ARP | ethernet::RARP)
                && !vlan::was_tpid(ethertype)
        }),
        Err(LocateError::Ethernet(_) | LocateError::Ip(_)) => false,
    }
}

fn behind_ip(header: &[u8], layers: &Layers, start: usize, at: usize) -> bool {
    if start < layers.transport || layers.fragment != Fragment::Whole {
        return false;
    }
    let own_checksum = match layers.protocol {
        ip::TCP => transport::TCP_CHECKSUM,
        ip::UDP => transport::UDP_CHECKSUM,
        ip::ICMP | ip::ICMPV6 => transport::ICMP_CHECKSUM,
        _ => return true,
    };
    if start == layers.transport {
        at == start + own_checksum
    } else {
        tunnelled(header, layers).is_some_and(|payload| at >= payload)
    }
}

/// Where that begins which may be a tunnel's: the payload of TCP and UDP. `None` where guards and access lists judge by the
/// payload, too: by DHCP's kind of message, by the target of neighbour discovery, and by the packet that an ICMP error quotes.
fn tunnelled(header: &[u8], layers: &Layers) -> Option<usize> {
    let segment = header.get(layers.transport..)?;
    let header_len = match layers.protocol {
        ip::TCP => transport::tcp_header_len(*segment.get(12)?).max(transport::TCP_MIN_HEADER_LEN),
        ip::UDP if !dhcp::is_between(UdpView::parse(segment)?.ports()) => transport::UDP_HEADER_LEN,
        _ => return None,
    };
    Some(layers.transport + header_len)
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
    fn nowhere_else_in_icmp_as_it_is_judged_by_targets_and_by_quoted_packets() {
        for protocol in [ip::ICMP, ip::ICMPV6] {
            for start in 35..62 {
                assert_eq!(allowed(&packet(protocol, 0), start).count(), 0, "{protocol} from {start}");
            }
        }
        let mut advertisement = [0; 86];
        advertisement[12..14].copy_from_slice(&ethernet::IPV6.to_be_bytes());
        advertisement[14] = 0x60;
        advertisement[20] = ip::ICMPV6;
        advertisement[54] = 136;
        assert!(allowed(&advertisement, 54).eq([56]));
        for start in 55..84 {
            assert!(!(start..85).any(|at| may_be_checksum(&advertisement, start, at)), "from {start}");
        }
    }

    #[test]
    fn nowhere_else_in_dhcp_as_it_is_judged_by_its_kind_of_message() {
        for ports in [[1000, 67], [67, 1000], [68, 67], [67, 68], [546, 547], [547, 546], [1000, 546]] {
            let mut frame = packet(ip::UDP, 0);
            frame[34..38].copy_from_slice(&ports.map(u16::to_be_bytes).concat());
            assert!(allowed(&frame, 34).eq([40]), "{ports:?}");
            for start in 35..62 {
                assert_eq!(allowed(&frame, start).count(), 0, "{ports:?} from {start}");
            }
        }
        let mut vxlan = packet(ip::UDP, 0);
        vxlan[34..38].copy_from_slice(&[0xc0, 0, 0x12, 0xb5]);
        assert!(allowed(&vxlan, 36).eq(42..62));
    }

    #[test]
    fn never_in_addresses_tags_ip_headers_arp_or_fragments() {
        for start in 0..34 {
            assert_eq!(allowed(&packet(ip::UDP, 0), start).count(), 0, "from {start}");
        }
        assert_eq!(allowed(&packet(ip::UDP, 0x2000), 34).count(), 0);
        let mut frame = packet(ip::UDP, 0);
        for addresses in [ethernet::ARP, ethernet::RARP] {
            frame[12..14].copy_from_slice(&addresses.to_be_bytes());
            assert_eq!(allowed(&frame, 14).count(), 0, "{addresses:x}");
        }
        for hiding in [[0x91, 0], [0, 46]] {
            frame[12..14].copy_from_slice(&hiding);
            assert_eq!(allowed(&frame, 22).count(), 0, "{hiding:?}");
        }
        frame[12..18].copy_from_slice(&[0x81, 0, 0, 1, 0x88, 0x47]);
        assert_eq!(allowed(&frame, 17).count(), 0);
        assert!(allowed(&frame, 18).eq(18..62));
    }
}
