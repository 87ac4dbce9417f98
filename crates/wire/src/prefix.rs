//! IP addresses and prefixes of them, as they are configured.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

/// An address, or all that share its first bits. The bits behind those are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpPrefix {
    address: IpAddr,
    len: u8,
}

/// Why a text is no address and no prefix
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePrefixError {
    /// No address stands before the slash, or no number behind it that fits.
    #[error("an address or a prefix is written like 192.0.2.7, 192.0.2.0/24, 2001:db8::7 or 2001:db8::/64")]
    Form,
    /// Bits behind the prefix are set.
    #[error(
        "bits behind the prefix are set: write an address without length, or the first address of the prefix"
    )]
    HostBits,
}

impl IpPrefix {
    /// One address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        Self { address, len: width(&address) }
    }

    /// The prefix of so many bits of an address; `None` where the address has fewer, or others are set.
    #[must_use]
    pub fn new(address: IpAddr, len: u8) -> Option<Self> {
        let prefix = Self { address, len };
        (len <= width(&address) && bits(address) & !prefix.mask() == 0).then_some(prefix)
    }

    /// The first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits all have in common.
    #[must_use]
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// True where all addresses of the version are in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True where the address is in it. An IPv4 address is in no IPv6 prefix, mapped or not.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && (bits(self.address) ^ bits(address)) & self.mask() == 0
    }

    /// The first and the last address, as numbers; those of IPv4 addresses are below 2^32.
    #[must_use]
    pub fn range(&self) -> (u128, u128) {
        let first = bits(self.address);
        let all = if self.address.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX };
        (first, first | all & !self.mask())
    }

    /// True where an address is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    fn mask(&self) -> u128 {
        let all = u128::MAX.checked_shl(u32::from(width(&self.address) - self.len)).unwrap_or(0);
        if self.address.is_ipv4() { all & u128::from(u32::MAX) } else { all }
    }
}

const fn width(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address as a number; that of an IPv4 address is below 2^32.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl From<[u8; 4]> for IpPrefix {
    fn from(address: [u8; 4]) -> Self {
        Self::of(IpAddr::V4(Ipv4Addr::from(address)))
    }
}

impl From<[u8; 16]> for IpPrefix {
    fn from(address: [u8; 16]) -> Self {
        Self::of(IpAddr::V6(Ipv6Addr::from(address)))
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len == width(&self.address) {
            return self.address.fmt(f);
        }
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl FromStr for IpPrefix {
    type Err = ParsePrefixError;

    fn from_str(text: &str) -> Result<Self, ParsePrefixError> {
        let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
        let address: IpAddr = address.parse().map_err(|_| ParsePrefixError::Form)?;
        let Some(len) = len else { return Ok(Self::of(address)) };
        let is_number = !len.is_empty() && len.bytes().all(|c| c.is_ascii_digit());
        let len = len.parse().ok().filter(|len| is_number && *len <= width(&address));
        Self::new(address, len.ok_or(ParsePrefixError::Form)?).ok_or(ParsePrefixError::HostBits)
    }
}

impl Serialize for IpPrefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IpPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = IpPrefix;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a prefix like 192.0.2.7 or 2001:db8::/64")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<IpPrefix, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn text_form_round_trips_and_what_is_none_is_refused() {
        for text in
            ["192.0.2.7", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::7", "2001:db8::/64", "::/0", "fe80::/10"]
        {
            assert_eq!(text.parse::<IpPrefix>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.7/32".parse(), Ok(IpPrefix::from([192, 0, 2, 7])));
        for text in [
            "",
            "192.0.2",
            "192.0.2.7/33",
            "::/129",
            "192.0.2.7/",
            "192.0.2.7/+8",
            "::1/-1",
            "a/8",
            "::1%eth0",
        ] {
            assert_eq!(text.parse::<IpPrefix>(), Err(ParsePrefixError::Form), "{text}");
        }
        assert_eq!("192.0.2.7/24".parse::<IpPrefix>(), Err(ParsePrefixError::HostBits));
        assert_eq!("2001:db8::7/64".parse::<IpPrefix>(), Err(ParsePrefixError::HostBits));
    }

    #[test]
    fn a_prefix_contains_what_begins_like_it_and_nothing_of_the_other_version() {
        let contains = |prefix: &str, address: &str| {
            prefix.parse::<IpPrefix>().unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("192.0.2.0/24", "192.0.2.255") && !contains("192.0.2.0/24", "192.0.3.0"));
        assert!(contains("0.0.0.0/0", "255.255.255.255") && !contains("0.0.0.0/0", "::1"));
        assert!(
            contains("2001:db8::/33", "2001:db8:7fff::1") && !contains("2001:db8::/33", "2001:db8:8000::")
        );
        assert!(contains("::/0", "ff02::1") && !contains("::/0", "192.0.2.1"));
        assert!(!contains("192.0.2.7", "::ffff:192.0.2.7") && !contains("::/96", "0.0.0.1"));
        let prefix = |text: &str| text.parse::<IpPrefix>().unwrap();
        assert!(
            prefix("10.0.0.0/8").overlaps(&prefix("10.1.0.0/16"))
                && !prefix("10.0.0.0/9").overlaps(&prefix("10.128.0.0/9"))
        );
    }
}
