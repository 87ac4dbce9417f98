//! An address as the hot path handles it: one number, which compares and hashes in a register.

use wire::MacAddr;

/// A VLAN and a MAC: the MAC as a number, the VLAN in bits 48 to 59.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u64);

/// Stands for all VLANs in the key of an address that is fixed to a trunk: no frame has this number.
pub(crate) const EVERY_VLAN: u16 = 0xfff;
/// The low 48 bits.
const MAC_MASK: u64 = (1 << 48) - 1;
/// The I/G bit: the lowest one of the first byte of the wire.
const GROUP_BIT: u64 = 1 << 40;

impl Key {
    /// The key of an address in no VLAN.
    pub(crate) const fn of(mac: MacAddr) -> Self {
        Self(mac.to_u64())
    }

    /// The same address in a VLAN.
    #[inline]
    pub(crate) const fn in_vlan(self, vlan: u16) -> Self {
        Self(self.0 & MAC_MASK | (vlan as u64 & 0xfff) << 48)
    }

    pub(crate) const fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// Destination and source in no VLAN, from the first bytes of a frame.
    #[inline]
    pub(crate) fn pair(header: &[u8; 14]) -> (Self, Self) {
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = *header;
        let dst = u64::from_be_bytes([d0, d1, d2, d3, d4, d5, s0, s1]) >> 16;
        let src = u64::from_be_bytes([d4, d5, s0, s1, s2, s3, s4, s5]) & MAC_MASK;
        (Self(dst), Self(src))
    }

    pub(crate) const fn mac(self) -> MacAddr {
        MacAddr::from_u64(self.0)
    }

    pub(crate) const fn vlan(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// True for broadcast and multicast.
    #[inline]
    pub(crate) const fn is_group(self) -> bool {
        self.0 & GROUP_BIT != 0
    }

    /// True where the address may be a source: neither a group address nor zero.
    #[inline]
    pub(crate) const fn is_valid_source(self) -> bool {
        !self.is_group() && self.0 & MAC_MASK != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_of_an_address_what_the_address_says_of_itself() {
        let macs =
            [[0; 6], [0xff; 6], [1, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 9], [0xfe, 1, 2, 3, 4, 5]].map(MacAddr);
        for (dst, src) in macs.iter().flat_map(|dst| macs.iter().map(move |src| (*dst, *src))) {
            let mut header = [0x81; 14];
            header[..6].copy_from_slice(&dst.0);
            header[6..12].copy_from_slice(&src.0);
            assert_eq!(Key::pair(&header), (Key::of(dst), Key::of(src)));
            assert_eq!((Key::of(dst).mac(), Key::of(dst).vlan()), (dst, 0));
            let elsewhere = Key::of(dst).in_vlan(4094);
            assert_eq!((elsewhere.mac(), elsewhere.vlan(), elsewhere.in_vlan(0)), (dst, 4094, Key::of(dst)));
            assert_eq!(elsewhere.is_group(), dst.is_multicast());
            assert_eq!(Key::of(dst).is_group(), dst.is_multicast());
            assert_eq!(Key::of(dst).is_valid_source(), dst.is_valid_source());
        }
    }
}
