//! TCP (RFC 9293) and UDP (RFC 768) headers, and the way to them through tags, IP and its extensions.

use crate::{
    Truncated,
    ethernet::{self, EthernetHeader},
    ip::{self, Fragment, IpError, Ipv4View, Ipv6View},
    vlan,
};

/// Length of the TCP header without options.
pub const TCP_MIN_HEADER_LEN: usize = 20;
/// Length of the TCP header with the most options.
pub const TCP_MAX_HEADER_LEN: usize = 60;
/// Length of the UDP header.
pub const UDP_HEADER_LEN: usize = 8;
/// Length of the part of an ICMP or ICMPv6 header that all messages have.
pub const ICMP_HEADER_LEN: usize = 8;
/// Where the TCP checksum lies in its header.
pub const TCP_CHECKSUM: usize = 16;
/// Where the UDP checksum lies in its header.
pub const UDP_CHECKSUM: usize = 6;
/// Where the ICMP and ICMPv6 checksum lies in its header.
pub const ICMP_CHECKSUM: usize = 2;

/// Why no transport header was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// The slice ends inside the Ethernet header.
    #[error(transparent)]
    Ethernet(#[from] Truncated),
    /// The frame carries something else.
    #[error("the frame carries neither IPv4 nor IPv6; there is no transport header to work on")]
    NotIp,
    /// The IP header is at fault.
    #[error(transparent)]
    Ip(#[from] IpError),
}

/// Which IP it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where the layers of a frame lie, counted from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// Which IP it is.
    pub version: IpVersion,
    /// Where the IP header begins.
    pub network: usize,
    /// Where the transport header begins; inside the slice or right behind it.
    pub transport: usize,
    /// The transport protocol.
    pub protocol: u8,
    /// Where the packet ends by its own account: behind it lies padding, and before it a frame may be cut off.
    pub end: usize,
    /// Which part of a datagram this is; a later one has no transport header.
    pub fragment: Fragment,
}

/// What lies behind the addresses and up to two tags: its type (or LLC length) and where it begins.
pub fn payload_type(frame: &[u8]) -> Result<(u16, usize), Truncated> {
    let header = EthernetHeader::parse(frame)?;
    let (mut ethertype, mut at) = (header.ethertype_or_len, header.header_len);
    if vlan::is_tpid(ethertype) {
        ethertype = ethernet::be16(frame, at + 2).ok_or(Truncated)?;
        at += vlan::TAG_LEN;
    }
    Ok((ethertype, at))
}

/// Finds the transport header of a frame, behind up to two VLAN tags, IPv4 options and IPv6 extensions. `frame`
/// may be the first part of it, as far as the headers go.
pub fn locate(frame: &[u8]) -> Result<Layers, LocateError> {
    let (ethertype, network) = payload_type(frame)?;
    let packet = frame.get(network..).ok_or(Truncated)?;
    match ethertype {
        ethernet::IPV4 => Ok(layers_v4(network, Ipv4View::parse(packet)?)),
        ethernet::IPV6 => Ok(layers_v6(network, Ipv6View::parse(packet)?)?),
        _ => Err(LocateError::NotIp),
    }
}

fn layers_v4(network: usize, ip: Ipv4View<'_>) -> Layers {
    Layers {
        version: IpVersion::V4,
        network,
        transport: network + ip.header_len(),
        protocol: ip.protocol(),
        end: network + usize::from(ip.total_len()),
        fragment: ip.fragment(),
    }
}

fn layers_v6(network: usize, ip: Ipv6View<'_>) -> Result<Layers, IpError> {
    let upper = ip.upper_layer()?;
    Ok(Layers {
        version: IpVersion::V6,
        network,
        transport: network + upper.offset,
        protocol: upper.protocol,
        end: network + ip::V6_HEADER_LEN + usize::from(ip.payload_len()),
        fragment: upper.fragment,
    })
}

/// A TCP header with its options.
#[derive(Clone, Copy, Debug)]
pub struct TcpView<'a> {
    fixed: &'a [u8; TCP_MIN_HEADER_LEN],
}

impl<'a> TcpView<'a> {
    /// FIN: no more data from the sender.
    pub const FIN: u8 = 0x01;
    /// SYN: the sequence numbers begin.
    pub const SYN: u8 = 0x02;
    /// RST: there is no such connection.
    pub const RST: u8 = 0x04;
    /// PSH: hand over what there is.
    pub const PSH: u8 = 0x08;
    /// ACK: the acknowledgement counts.
    pub const ACK: u8 = 0x10;
    /// CWR: congestion window reduced (RFC 3168).
    pub const CWR: u8 = 0x80;

    /// `bytes` begins at the header and has all of it; `None` where it has not, or its length is none that exists.
    #[inline]
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let view = Self { fixed: bytes.first_chunk()? };
        (TCP_MIN_HEADER_LEN..=bytes.len()).contains(&view.header_len()).then_some(view)
    }

    /// Length with options, 20 to 60.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        tcp_header_len(self.fixed[12])
    }

    /// Source and destination port.
    #[must_use]
    pub const fn ports(&self) -> (u16, u16) {
        let h = self.fixed;
        (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]))
    }

    /// The sequence number.
    #[must_use]
    pub const fn seq(&self) -> u32 {
        let h = self.fixed;
        u32::from_be_bytes([h[4], h[5], h[6], h[7]])
    }

    /// The flags CWR to FIN.
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.fixed[13]
    }
}

/// The header length in the TCP header's byte 12.
pub(crate) const fn tcp_header_len(byte_12: u8) -> usize {
    (byte_12 >> 4) as usize * 4
}

/// A UDP header.
#[derive(Clone, Copy, Debug)]
pub struct UdpView<'a> {
    header: &'a [u8; UDP_HEADER_LEN],
}

impl<'a> UdpView<'a> {
    /// `bytes` begins at the header; `None` where it is cut off.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(|header| Self { header })
    }

    /// Source and destination port.
    #[must_use]
    pub const fn ports(&self) -> (u16, u16) {
        let h = self.header;
        (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]))
    }

    /// Length of header and payload as the sender states it.
    #[must_use]
    pub const fn datagram_len(&self) -> u16 {
        u16::from_be_bytes([self.header[4], self.header[5]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tags, IPv4 with one option word, UDP.
    fn double_tagged() -> [u8; 54] {
        let mut f = [0; 54];
        f[12..22].copy_from_slice(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x08, 0]);
        f[22] = 0x46;
        f[24..26].copy_from_slice(&32u16.to_be_bytes());
        f[31] = ip::UDP;
        f[46..52].copy_from_slice(&[0, 53, 0xab, 0xcd, 0, 8]);
        f
    }

    #[test]
    fn udp_is_found_behind_two_tags_and_options() {
        let frame = double_tagged();
        let layers = locate(&frame).unwrap();
        let expected = Layers {
            version: IpVersion::V4,
            network: 22,
            transport: 46,
            protocol: ip::UDP,
            end: 54,
            fragment: Fragment::Whole,
        };
        assert_eq!(layers, expected);
        let udp = UdpView::parse(&frame[layers.transport..]).unwrap();
        assert_eq!((udp.ports(), udp.datagram_len()), ((53, 0xabcd), 8));
    }

    #[test]
    fn what_cannot_be_located_says_why() {
        let frame = double_tagged();
        assert_eq!(locate(&frame[..20]), Err(LocateError::Ethernet(Truncated)));
        assert_eq!(locate(&frame[..45]), Err(LocateError::Ip(IpError::Truncated)));
        let mut three_tags = frame;
        three_tags[20..22].copy_from_slice(&[0x81, 0]);
        assert_eq!(locate(&three_tags), Err(LocateError::NotIp));
    }

    #[test]
    fn tcp_header_length_is_checked() {
        let mut tcp = [0; 24];
        tcp[12] = 0x60;
        tcp[4..8].copy_from_slice(&[1, 2, 3, 4]);
        tcp[13] = TcpView::FIN | TcpView::PSH;
        let view = TcpView::parse(&tcp).unwrap();
        assert_eq!((view.header_len(), view.seq(), view.flags()), (24, 0x0102_0304, 9));
        assert!(TcpView::parse(&tcp[..23]).is_none());
        tcp[12] = 0x40;
        assert!(TcpView::parse(&tcp).is_none());
    }
}
