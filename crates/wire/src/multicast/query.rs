//! Queries, as a switch sends them where no router does.

use super::{group_mac, to_float8, version_of};
use crate::{
    IpVersion, MacAddr, Sum, checksum,
    ethernet::{self, HEADER_LEN},
    ip::{self, HOP_BY_HOP},
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest query: of MLDv2.
pub const MAX_QUERY_LEN: usize = HEADER_LEN + 40 + 8 + 28;

const V4_HEADER_LEN: usize = 24;
/// The IPv6 header and hop-by-hop options.
const V6_HEADER_LEN: usize = 48;
/// Internetwork control, as RFC 3376 section 4 has it.
const PRECEDENCE: u8 = 0xc0;

/// Which queries are sent; hosts answer in the same version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// IGMPv2 and MLDv1: one report for each group.
    #[default]
    Single,
    /// IGMPv3 and MLDv2: hosts may name sources, and tell of many groups in one report.
    Listed,
}

/// A query to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// In which version.
    pub version: Version,
    /// The source of the frame.
    pub mac: MacAddr,
    /// The source of the packet, which says by which IP it goes.
    pub source: IpAddr,
    /// What is asked for; `None` for all groups.
    pub group: Option<IpAddr>,
    /// In so many milliseconds answers have to come.
    pub max_response_ms: u32,
    /// Seconds between general queries.
    pub interval_s: u32,
    /// How many losses in a row shall do no harm.
    pub robustness: u8,
}

impl Ask {
    /// Writes the frame, without VLAN tag, to the front of `frame`; says how long it is.
    pub fn write(&self, frame: &mut [u8; MAX_QUERY_LEN]) -> usize {
        frame.fill(0);
        let (ethertype, len) = match self.source {
            IpAddr::V4(source) => (ethernet::IPV4, self.write_v4(source, &mut frame[HEADER_LEN..])),
            IpAddr::V6(source) => (ethernet::IPV6, self.write_v6(source, &mut frame[HEADER_LEN..])),
        };
        frame[..6].copy_from_slice(&group_mac(&self.destination()).0);
        frame[6..12].copy_from_slice(&self.mac.0);
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        HEADER_LEN + len
    }

    /// The group, or all hosts of the link.
    fn destination(&self) -> IpAddr {
        self.group.unwrap_or(match version_of(&self.source) {
            IpVersion::V4 => IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
            IpVersion::V6 => IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
        })
    }

    fn write_v4(&self, source: Ipv4Addr, packet: &mut [u8]) -> usize {
        let IpAddr::V4(to) = self.destination() else { return 0 };
        let deciseconds = self.max_response_ms / 100;
        let (code, body_len) = match self.version {
            Version::Single => (deciseconds.min(255) as u8, 8),
            Version::Listed => (to_float8(deciseconds), 12),
        };
        let len = V4_HEADER_LEN + body_len;
        packet[..2].copy_from_slice(&[0x46, PRECEDENCE]);
        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        packet[8..10].copy_from_slice(&[1, ip::IGMP]);
        packet[12..16].copy_from_slice(&source.octets());
        packet[16..20].copy_from_slice(&to.octets());
        packet[20..24].copy_from_slice(&[148, 4, 0, 0]);
        let sum = Sum::default().bytes(&packet[..V4_HEADER_LEN]).checksum();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        let body = &mut packet[V4_HEADER_LEN..len];
        body[..2].copy_from_slice(&[0x11, code]);
        if self.group.is_some() {
            body[4..8].copy_from_slice(&to.octets());
        }
        self.write_listed(&mut body[8..]);
        let sum = Sum::default().bytes(body).checksum();
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        len
    }

    fn write_v6(&self, source: Ipv6Addr, packet: &mut [u8]) -> usize {
        let IpAddr::V6(to) = self.destination() else { return 0 };
        let body_len = if self.version == Version::Single { 24 } else { 28 };
        // Longer ones would be floating-point numbers in version 2, and no query needs them.
        let code = self.max_response_ms.min(0x7fff) as u16;
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&(8 + body_len as u16).to_be_bytes());
        packet[6..8].copy_from_slice(&[HOP_BY_HOP, 1]);
        packet[8..24].copy_from_slice(&source.octets());
        packet[24..40].copy_from_slice(&to.octets());
        // Router Alert for MLD, and padding of two bytes.
        packet[40..48].copy_from_slice(&[ip::ICMPV6, 0, 5, 2, 0, 0, 1, 0]);
        let body = &mut packet[V6_HEADER_LEN..V6_HEADER_LEN + body_len];
        body[0] = 130;
        body[4..6].copy_from_slice(&code.to_be_bytes());
        if self.group.is_some() {
            body[8..24].copy_from_slice(&to.octets());
        }
        self.write_listed(&mut body[24..]);
        let pseudo = checksum::pseudo_v6(source.octets(), to.octets(), ip::ICMPV6, body.len() as u32);
        let sum = pseudo.bytes(body).checksum();
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        V6_HEADER_LEN + body_len
    }

    /// What IGMPv3 and MLDv2 have behind the group, where there is room for it.
    fn write_listed(&self, rest: &mut [u8]) {
        if let [flags, interval, ..] = rest {
            // A robustness above 7 is written as 0: "ask your own configuration" (RFC 3376 section 4.1.6).
            *flags = if self.robustness > 7 { 0 } else { self.robustness };
            *interval = to_float8(self.interval_s);
        }
    }
}
