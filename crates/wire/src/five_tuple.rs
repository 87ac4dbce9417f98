//! The five-tuple of a packet that hides nothing: addresses, protocol and ports.

use crate::ethernet::{IPV4, IPV6, TYPE_OFFSET, be16};
use crate::{
    ip,
    packet::{self, Addresses, Segment},
    transport::{TCP_MIN_HEADER_LEN, UDP_HEADER_LEN},
    vlan,
};

/// Of a TCP segment or a UDP datagram in IP, whole and without options or extension headers, behind one customer tag at most: read from
/// fixed places, which costs a fraction of looking into the frame.
///
/// Where two frames have the same one, [`packet::read`](crate::packet::read) finds the same addresses, protocol and ports in both, and no part
/// of a datagram.
#[derive(Clone, Copy, Debug, Eq)]
pub struct FiveTuple {
    /// Source and destination: of IPv4 in the first number.
    addresses: [u64; 4],
    /// Both ports, source first, in the high half; version and protocol in the low one.
    upper: u64,
}

/// Bytes of an IPv4 header without options, and of IPv6's.
const V4_HEADER_LEN: usize = 20;
const V6_HEADER_LEN: usize = 40;
/// Both ports.
const PORTS_LEN: usize = 4;

impl FiveTuple {
    /// No packet's.
    pub const NONE: Self = Self { addresses: [0; 4], upper: 0 };

    /// That of a frame that begins with `head`. Always inlined: handed over in memory, it takes half as many instructions again.
    #[inline(always)]
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        match be16(head, TYPE_OFFSET)? {
            IPV4 => Self::of_v4(head.get(TYPE_OFFSET + 2..)?),
            IPV6 => Self::of_v6(head.get(TYPE_OFFSET + 2..)?),
            vlan::TPID_8021Q => Self::behind_tag(head),
            _ => None,
        }
    }

    #[inline(never)]
    fn behind_tag(head: &[u8]) -> Option<Self> {
        let packet = head.get(TYPE_OFFSET + vlan::TAG_LEN + 2..)?;
        match be16(head, TYPE_OFFSET + vlan::TAG_LEN)? {
            IPV4 => Self::of_v4(packet),
            IPV6 => Self::of_v6(packet),
            _ => None,
        }
    }

    #[inline(always)]
    fn of_v4(packet: &[u8]) -> Option<Self> {
        let head: &[u8; V4_HEADER_LEN + PORTS_LEN] = packet.first_chunk()?;
        // More fragments, or an offset.
        let is_part = u16::from_be_bytes([head[6], head[7]]) & 0x3fff != 0;
        if head[0] != 0x45 || is_part || !is_whole(head[9], packet.get(V4_HEADER_LEN..)?) {
            return None;
        }
        let addresses = [be64(head, 12)?, 0, 0, 0];
        Some(Self { addresses, upper: upper(be32(head, V4_HEADER_LEN)?, 4, head[9]) })
    }

    #[inline]
    fn of_v6(packet: &[u8]) -> Option<Self> {
        let head: &[u8; V6_HEADER_LEN + PORTS_LEN] = packet.first_chunk()?;
        let addresses = [be64(head, 8)?, be64(head, 16)?, be64(head, 24)?, be64(head, 32)?];
        let is_mapped = |high: u64, low: u64| high == 0 && low >> 32 == 0xffff;
        let [src, src_low, dst, dst_low] = addresses;
        let hides = is_mapped(src, src_low) || is_mapped(dst, dst_low);
        if head[0] >> 4 != 6 || hides || !is_whole(head[6], packet.get(V6_HEADER_LEN..)?) {
            return None;
        }
        Some(Self { addresses, upper: upper(be32(head, V6_HEADER_LEN)?, 6, head[6]) })
    }

    /// Source and destination.
    #[inline]
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        let [a, b, c, d] = self.addresses;
        if self.is_v4() {
            return Addresses::V4((a >> 32) as u32, a as u32);
        }
        Addresses::V6((a as u128) << 64 | b as u128, (c as u128) << 64 | d as u128)
    }

    /// Source and destination.
    #[inline]
    #[must_use]
    pub const fn ports(&self) -> (u16, u16) {
        ((self.upper >> 48) as u16, (self.upper >> 32) as u16)
    }

    /// TCP or UDP.
    #[inline]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.upper as u8
    }

    /// Source and destination, of IPv4 both in the first word. And in one more word, from the highest bit on: both ports, source first;
    /// two bytes of zeroes; 4 or 6; the protocol.
    #[inline]
    #[must_use]
    pub const fn words(&self) -> ([u64; 4], u64) {
        (self.addresses, self.upper)
    }

    /// True where it is IPv4's.
    #[inline]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        (self.upper >> 8) as u8 == 4
    }

    /// The TCP header of a frame that has a five-tuple of TCP, as looking into it finds.
    #[inline]
    #[must_use]
    pub fn segment(head: &[u8]) -> Option<Segment<'_>> {
        let tag = if be16(head, TYPE_OFFSET)? == vlan::TPID_8021Q { vlan::TAG_LEN } else { 0 };
        let packet = head.get(TYPE_OFFSET + 2 + tag..)?;
        let (len, stated) = match be16(head, TYPE_OFFSET + tag)? {
            IPV4 => (V4_HEADER_LEN, usize::from(be16(packet, 2)?).saturating_sub(V4_HEADER_LEN)),
            _ => (V6_HEADER_LEN, usize::from(be16(packet, 4)?)),
        };
        packet::segment(packet.get(len..)?, stated)
    }

    /// A number that frames of other tuples mostly have another one of. Not a secret one: who chooses tuples can choose them to have
    /// the same.
    #[inline]
    #[must_use]
    pub fn scatter(&self) -> u64 {
        let [a, b, c, d] = self.addresses;
        let folded =
            a ^ b.rotate_left(21) ^ c.rotate_left(42) ^ d.rotate_left(11) ^ self.upper.rotate_left(31);
        // Knuth's multiplicative hashing: 2^64 by the golden ratio. The high bits depend on all others.
        (folded ^ folded >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// True where all of a UDP header is there, or of a TCP header that does not say that it is shorter than one can be.
#[inline]
fn is_whole(protocol: u8, transport: &[u8]) -> bool {
    match protocol {
        ip::UDP => transport.len() >= UDP_HEADER_LEN,
        ip::TCP => transport.first_chunk::<TCP_MIN_HEADER_LEN>().is_some_and(|tcp| tcp[12] >= 5 << 4),
        _ => false,
    }
}

#[inline]
const fn upper(ports: u32, version: u8, protocol: u8) -> u64 {
    (ports as u64) << 32 | (version as u64) << 8 | protocol as u64
}

/// Five compares in one branch.
impl PartialEq for FiveTuple {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let differ = |at: usize| self.addresses[at] ^ other.addresses[at];
        (self.upper ^ other.upper | differ(0) | differ(1) | differ(2) | differ(3)) == 0
    }
}

#[inline]
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[inline]
fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::packet::{Network, Part, Transport};
    use proptest::{collection::vec, prelude::*, sample::select};
    use std::vec::Vec;

    type Read<'a> = (Addresses, u8, (u16, u16), Option<Segment<'a>>);

    /// What looking into the frame says; `None` where it says that something is hidden, or only a part.
    fn looked_into(head: &[u8]) -> Option<Read<'_>> {
        let Network::Ip(packet) = packet::read(head) else { return None };
        let (protocol, ports, segment) = match packet.transport {
            Transport::Tcp(segment) => (ip::TCP, segment.ports, Some(segment)),
            Transport::Udp(src, dst) => (ip::UDP, (src, dst), None),
            _ => return None,
        };
        let hides = matches!(packet.addresses, Addresses::Hidden(_)) || packet.part != Part::Whole;
        (!hides).then_some((packet.addresses, protocol, ports, segment))
    }

    fn of(head: &[u8]) -> Option<Read<'_>> {
        let tuple = FiveTuple::of(head)?;
        let segment = if tuple.protocol() == ip::TCP { FiveTuple::segment(head) } else { None };
        Some((tuple.addresses(), tuple.protocol(), tuple.ports(), segment))
    }

    fn plain(tag: &[u8], version: u8, protocol: u8, numbers: &[u8]) -> Vec<u8> {
        let ip: &[u8] = match version {
            4 => &[8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protocol, 0, 0],
            _ => &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, 64],
        };
        let (addresses, rest) = numbers.split_at(if version == 4 { 8 } else { 32 });
        [&[2; 12], tag, ip, addresses, &rest[..12], &[0x50, 2, 0, 1, 0, 0, 0, 0]].concat()
    }

    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let tag =
            select(vec_of(&[&[], &[0x81, 0, 0, 7], &[0x88, 0xa8, 0, 7], &[0x81, 0, 0, 7, 0x81, 0, 0, 9]]));
        let version = select(vec_of(&[&[4], &[6]]));
        let protocol = prop_oneof![Just(ip::TCP), Just(ip::UDP), any::<u8>()];
        let numbers = prop_oneof![vec(any::<u8>(), 44), vec(select(std::vec![0, 0xff, 67]), 44)];
        (tag, version, protocol, numbers)
            .prop_map(|(tag, version, protocol, numbers)| plain(&tag, version[0], protocol, &numbers))
    }

    fn vec_of(list: &[&[u8]]) -> Vec<Vec<u8>> {
        list.iter().map(|bytes| bytes.to_vec()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 80 * ProptestConfig::default().cases, failure_persistence: None, ..ProptestConfig::default() })]

        /// Frames that are plain but for a byte or their end.
        #[test]
        fn where_there_is_one_looking_into_the_frame_finds_the_same(
            frame in frame(), changes in vec((12usize..70, any::<u8>()), 0..3), cut in 0usize..60,
        ) {
            let mut frame = frame;
            for (at, to) in changes {
                if let Some(byte) = frame.get_mut(at) { *byte = to; }
            }
            frame.truncate(frame.len() - cut.saturating_sub(30));
            if let Some(tuple) = of(&frame) {
                prop_assert_eq!(Some(tuple), looked_into(&frame));
            }
        }
    }

    #[test]
    fn it_is_there_for_what_passes_most() {
        let numbers: Vec<u8> = (1..45).collect();
        for (version, protocol) in [(4, ip::TCP), (4, ip::UDP), (6, ip::TCP), (6, ip::UDP)] {
            for tag in [&[][..], &[0x81, 0, 0, 7]] {
                let frame = plain(tag, version, protocol, &numbers);
                assert!(of(&frame).is_some());
                assert_eq!(of(&frame), looked_into(&frame));
            }
        }
    }

    #[test]
    fn tuples_that_differ_in_a_bit_are_scattered() {
        let numbers = [0; 44];
        for (version, bytes) in [(4, 12), (6, 36)] {
            let scattered = |numbers: &[u8]| {
                FiveTuple::of(&plain(&[], version, ip::UDP, numbers)).map(|tuple| tuple.scatter() >> 53)
            };
            for bit in 0..bytes * 8 {
                let mut other = numbers;
                other[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(scattered(&other), scattered(&numbers), "IPv{version}, bit {bit}");
            }
        }
    }
}
