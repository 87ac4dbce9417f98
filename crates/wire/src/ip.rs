//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers: where they end and what they carry.

use crate::ethernet::be16;

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of IGMP.
pub const IGMP: u8 = 2;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// Protocol number of PIM.
pub const PIM: u8 = 103;

/// Length of the IPv6 header without extensions.
pub const V6_HEADER_LEN: usize = 40;

const V4_MIN_HEADER_LEN: usize = 20;
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const DESTINATION: u8 = 60;
const FRAGMENT_LEN: usize = 8;

/// RFC 8200 section 4.1 has each extension once and destination options twice. A sender that chains more only
/// wants work done; the limit bounds it.
const MAX_EXTENSIONS: usize = 8;

/// Why an IP header could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpError {
    /// The slice ends before the header does.
    #[error(
        "the slice ends inside the IP header; hand over more of the frame, or drop a frame that has no more"
    )]
    Truncated,
    /// The version, header length or chain of extensions is none that exists.
    #[error("the IP header contradicts itself; the sender is broken or hostile, treat the frame as not IP")]
    Malformed,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The part with the transport header. Also an IPv6 atomic fragment (RFC 6946).
    First,
    /// A part without transport header.
    Later,
}

impl Fragment {
    /// From the 13-bit offset and the "more fragments" flag.
    const fn of(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            _ => Self::Later,
        }
    }
}

/// An IPv4 header with its options.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4View<'a> {
    fixed: &'a [u8; V4_MIN_HEADER_LEN],
}

impl<'a> Ipv4View<'a> {
    /// `bytes` begins at the header and has all of it; what follows is not looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, IpError> {
        let view = Self { fixed: bytes.first_chunk().ok_or(IpError::Truncated)? };
        if view.fixed[0] >> 4 != 4 || view.header_len() < V4_MIN_HEADER_LEN {
            return Err(IpError::Malformed);
        }
        if bytes.len() < view.header_len() { Err(IpError::Truncated) } else { Ok(view) }
    }

    /// Length with options, 20 to 60.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        (self.fixed[0] & 0xf) as usize * 4
    }

    /// Length of header and payload as the sender states it.
    #[must_use]
    pub const fn total_len(&self) -> u16 {
        u16::from_be_bytes([self.fixed[2], self.fixed[3]])
    }

    /// The identification, which segments count up.
    #[must_use]
    pub const fn id(&self) -> u16 {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]])
    }

    /// Which part of a datagram this is.
    #[must_use]
    pub const fn fragment(&self) -> Fragment {
        let word = u16::from_be_bytes([self.fixed[6], self.fixed[7]]);
        Fragment::of(word & 0x1fff, word & 0x2000 != 0)
    }

    /// How many routers it may still pass, and one more.
    #[must_use]
    pub const fn ttl(&self) -> u8 {
        self.fixed[8]
    }

    /// The protocol behind the header.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.fixed[9]
    }

    /// The source address.
    #[must_use]
    pub const fn src(&self) -> [u8; 4] {
        let h = self.fixed;
        [h[12], h[13], h[14], h[15]]
    }

    /// The destination address.
    #[must_use]
    pub const fn dst(&self) -> [u8; 4] {
        let h = self.fixed;
        [h[16], h[17], h[18], h[19]]
    }
}

/// What lies behind an IPv6 header's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer {
    /// The protocol, or the first extension that is not walked (ESP, AH, …).
    pub protocol: u8,
    /// Where it begins, from the IPv6 header's first byte.
    pub offset: usize,
    /// Which part of a datagram this is.
    pub fragment: Fragment,
}

/// An IPv6 header; its extensions follow it.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6View<'a> {
    fixed: &'a [u8; V6_HEADER_LEN],
    rest: &'a [u8],
}

impl<'a> Ipv6View<'a> {
    /// `bytes` begins at the header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, IpError> {
        let (fixed, rest) = bytes.split_first_chunk().ok_or(IpError::Truncated)?;
        if fixed[0] >> 4 == 6 { Ok(Self { fixed, rest }) } else { Err(IpError::Malformed) }
    }

    /// Length of all that follows these 40 bytes, extensions too, as the sender states it.
    #[must_use]
    pub const fn payload_len(&self) -> u16 {
        u16::from_be_bytes([self.fixed[4], self.fixed[5]])
    }

    /// What follows these 40 bytes: an extension or the upper layer.
    #[must_use]
    pub const fn next_header(&self) -> u8 {
        self.fixed[6]
    }

    /// How many routers it may still pass, and one more.
    #[must_use]
    pub const fn hop_limit(&self) -> u8 {
        self.fixed[7]
    }

    /// The source address.
    #[must_use]
    pub fn src(&self) -> [u8; 16] {
        core::array::from_fn(|i| self.fixed[8 + i])
    }

    /// The destination address.
    #[must_use]
    pub fn dst(&self) -> [u8; 16] {
        core::array::from_fn(|i| self.fixed[24 + i])
    }

    /// Walks over hop-by-hop options, routing, destination options and fragment headers.
    pub fn upper_layer(&self) -> Result<UpperLayer, IpError> {
        let mut upper =
            UpperLayer { protocol: self.fixed[6], offset: V6_HEADER_LEN, fragment: Fragment::Whole };
        for _ in 0..=MAX_EXTENSIONS {
            match upper.protocol {
                HOP_BY_HOP | ROUTING | DESTINATION => upper = self.behind_options(upper)?,
                FRAGMENT => upper = self.behind_fragment(upper)?,
                _ => return Ok(upper),
            }
            if upper.fragment == Fragment::Later {
                return Ok(upper);
            }
        }
        Err(IpError::Malformed)
    }

    fn extension(&self, upper: UpperLayer) -> Result<&'a [u8], IpError> {
        self.rest.get(upper.offset - V6_HEADER_LEN..).ok_or(IpError::Truncated)
    }

    fn behind_options(&self, upper: UpperLayer) -> Result<UpperLayer, IpError> {
        let extension = self.extension(upper)?;
        let &[next, len, ..] = extension else { return Err(IpError::Truncated) };
        let len = (usize::from(len) + 1) * 8;
        if extension.len() < len {
            return Err(IpError::Truncated);
        }
        Ok(UpperLayer { protocol: next, offset: upper.offset + len, ..upper })
    }

    fn behind_fragment(&self, upper: UpperLayer) -> Result<UpperLayer, IpError> {
        let extension = self.extension(upper)?;
        let Some(&[next, _, ..]) = extension.first_chunk::<FRAGMENT_LEN>() else {
            return Err(IpError::Truncated);
        };
        let word = be16(extension, 2).ok_or(IpError::Truncated)?;
        let fragment = match Fragment::of(word >> 3, word & 1 != 0) {
            Fragment::Later => Fragment::Later,
            Fragment::First | Fragment::Whole => Fragment::First,
        };
        Ok(UpperLayer { protocol: next, offset: upper.offset + FRAGMENT_LEN, fragment })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(first: u8, fragment: u16) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[0] = first;
        bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
        bytes
    }

    #[test]
    fn v4_header_length_is_checked_against_the_version_and_the_slice() {
        assert_eq!(Ipv4View::parse(&v4(0x46, 0)).unwrap().header_len(), 24);
        assert_eq!(Ipv4View::parse(&v4(0x47, 0)).unwrap_err(), IpError::Truncated);
        assert_eq!(Ipv4View::parse(&v4(0x45, 0)[..19]).unwrap_err(), IpError::Truncated);
        assert_eq!(Ipv4View::parse(&v4(0x44, 0)).unwrap_err(), IpError::Malformed);
        assert_eq!(Ipv4View::parse(&v4(0x65, 0)).unwrap_err(), IpError::Malformed);
    }

    #[test]
    fn v4_fragments_are_recognised_and_the_df_flag_is_none() {
        let fragment = |word| Ipv4View::parse(&v4(0x45, word)).unwrap().fragment();
        assert_eq!(fragment(0x4000), Fragment::Whole);
        assert_eq!(fragment(0x2000), Fragment::First);
        assert_eq!(fragment(0x2001), Fragment::Later);
        assert_eq!(fragment(0x0001), Fragment::Later);
    }

    fn v6(next: u8, extensions: &[[u8; 8]], out: &mut [u8; 160]) -> usize {
        out[0] = 0x60;
        out[6] = next;
        for (i, extension) in extensions.iter().enumerate() {
            out[40 + i * 8..48 + i * 8].copy_from_slice(extension);
        }
        40 + extensions.len() * 8
    }

    #[test]
    fn v6_extensions_are_walked_up_to_the_transport() {
        let mut bytes = [0; 160];
        let chain = [[60, 0, 0, 0, 0, 0, 0, 0], [43, 0, 0, 0, 0, 0, 0, 0], [6, 0, 0, 0, 0, 0, 0, 0]];
        let len = v6(HOP_BY_HOP, &chain, &mut bytes);
        let upper = Ipv6View::parse(&bytes[..len]).unwrap().upper_layer().unwrap();
        assert_eq!(upper, UpperLayer { protocol: TCP, offset: 64, fragment: Fragment::Whole });
        for short in 40..len {
            let view = Ipv6View::parse(&bytes[..short]).unwrap();
            assert_eq!(view.upper_layer(), Err(IpError::Truncated), "{short} bytes");
        }
    }

    #[test]
    fn v6_fragments_are_recognised_and_nothing_is_read_behind_a_later_one() {
        let mut bytes = [0; 160];
        let upper = |word: u16, bytes: &mut [u8; 160]| {
            let [high, low] = word.to_be_bytes();
            let len = v6(FRAGMENT, &[[HOP_BY_HOP, 0, high, low, 0, 0, 0, 1]], bytes);
            Ipv6View::parse(&bytes[..len]).unwrap().upper_layer()
        };
        let later = UpperLayer { protocol: HOP_BY_HOP, offset: 48, fragment: Fragment::Later };
        assert_eq!(upper(8, &mut bytes), Ok(later));
        assert_eq!(upper(1, &mut bytes), Err(IpError::Truncated));
        v6(FRAGMENT, &[[UDP, 0, 0, 0, 0, 0, 0, 1]], &mut bytes);
        let atomic = Ipv6View::parse(&bytes).unwrap().upper_layer().unwrap();
        assert_eq!((atomic.protocol, atomic.fragment), (UDP, Fragment::First));
    }

    #[test]
    fn a_chain_of_extensions_is_bounded() {
        let mut bytes = [0; 160];
        let mut chain = [[DESTINATION, 0, 0, 0, 0, 0, 0, 0]; 9];
        chain[7][0] = TCP;
        v6(DESTINATION, &chain, &mut bytes);
        assert_eq!(Ipv6View::parse(&bytes).unwrap().upper_layer().unwrap().offset, 40 + 64);
        chain[7][0] = DESTINATION;
        chain[8][0] = TCP;
        v6(DESTINATION, &chain, &mut bytes);
        assert_eq!(Ipv6View::parse(&bytes).unwrap().upper_layer(), Err(IpError::Malformed));
    }
}
