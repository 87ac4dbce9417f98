//! Messages of rtnetlink as a fixed header and attributes (linux/rtnetlink.h). Attributes are those of
//! netlink-packet-core, as the kernel's own bytes: so one that is not known here passes whole.

use control::facts::{Family, RawAttribute};
use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLA_TYPE_MASK, NetlinkDeserializable, NetlinkHeader,
    NetlinkSerializable, NlasIterator, parse_ip, parse_string, parse_u8, parse_u32,
};
use std::net::IpAddr;

/// `AF_INET`.
pub const AF_INET: u8 = 2;
/// `AF_INET6`.
pub const AF_INET6: u8 = 10;

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// `RTM_…`.
    pub kind: u16,
    /// The fixed header; of a received message the attributes too, for [`Attributes::read`].
    pub body: Vec<u8>,
    /// The attributes of a message that is to be sent.
    attributes: Vec<DefaultNla>,
}

impl Message {
    /// A message without attributes yet.
    pub fn new(kind: u16, fixed: &[u8]) -> Self {
        Self { kind, body: fixed.to_vec(), attributes: vec![] }
    }

    /// Adds an attribute.
    pub fn put(self, kind: u16, value: &[u8]) -> Self {
        self.put_all([attribute(kind, value)])
    }

    /// Adds attributes.
    pub fn put_all(mut self, attributes: impl IntoIterator<Item = DefaultNla>) -> Self {
        self.attributes.extend(attributes);
        self
    }

    /// Adds an attribute if there is a value.
    pub fn put_some(self, kind: u16, value: Option<&[u8]>) -> Self {
        self.put_all(value.map(|value| attribute(kind, value)))
    }

    /// Adds a number in the machine's byte order.
    pub fn put_u32(self, kind: u16, value: u32) -> Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// Adds an address.
    pub fn put_ip(self, kind: u16, ip: IpAddr) -> Self {
        self.put(kind, &ip_bytes(ip))
    }
}

/// An attribute.
pub fn attribute(kind: u16, value: &[u8]) -> DefaultNla {
    DefaultNla::new(kind, value.to_vec())
}

/// Attributes that were read before.
pub fn again(raw: &[RawAttribute]) -> impl Iterator<Item = DefaultNla> + '_ {
    raw.iter().map(|raw| attribute(raw.kind, &raw.value))
}

/// Attributes as they stand inside another one.
pub fn emitted(attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    bytes
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }
    fn buffer_len(&self) -> usize {
        self.body.len() + self.attributes.as_slice().buffer_len()
    }
    fn serialize(&self, buffer: &mut [u8]) {
        let (fixed, attributes) = buffer.split_at_mut(self.body.len());
        fixed.copy_from_slice(&self.body);
        self.attributes.as_slice().emit(attributes);
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;
    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { kind: header.message_type, body: payload.to_vec(), attributes: vec![] })
    }
}

/// The attributes of a message or of a nested attribute.
#[derive(Clone, Debug, Default)]
pub struct Attributes(Vec<RawAttribute>);

impl Attributes {
    /// Reads what follows `offset`; a broken attribute ends the list.
    pub fn read(bytes: &[u8], offset: usize) -> Self {
        let rest = bytes.get(offset..).unwrap_or_default();
        let attributes = NlasIterator::new(rest).map_while(Result::ok);
        Self(
            attributes
                .map(|a| RawAttribute { kind: a.kind() & NLA_TYPE_MASK, value: a.value().to_vec() })
                .collect(),
        )
    }

    /// The value of an attribute.
    pub fn get(&self, kind: u16) -> Option<&[u8]> {
        self.0.iter().find(|a| a.kind == kind).map(|a| a.value.as_slice())
    }

    /// A number in the machine's byte order.
    pub fn u32(&self, kind: u16) -> Option<u32> {
        parse_u32(self.get(kind)?).ok()
    }

    /// A number of one byte.
    pub fn u8(&self, kind: u16) -> Option<u8> {
        parse_u8(self.get(kind)?).ok()
    }

    /// An address of four or sixteen bytes.
    pub fn ip(&self, kind: u16) -> Option<IpAddr> {
        parse_ip(self.get(kind)?).ok()
    }

    /// A text that ends with a zero byte.
    pub fn text(&self, kind: u16) -> Option<String> {
        parse_string(self.get(kind)?).ok()
    }

    /// The attributes inside an attribute.
    pub fn nested(&self, kind: u16) -> Self {
        self.get(kind).map_or_else(Self::default, |value| Self::read(value, 0))
    }

    /// All attributes but those.
    pub fn without(&self, kinds: &[u16]) -> Vec<RawAttribute> {
        self.0.iter().filter(|a| !kinds.contains(&a.kind)).cloned().collect()
    }
}

/// A number of a fixed header, in the machine's byte order.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

/// A number of a fixed header, in the machine's byte order.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

/// The bytes of an address.
pub fn ip_bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// `AF_INET` or `AF_INET6`.
pub const fn af(family: Family) -> u8 {
    match family {
        Family::Ipv4 => AF_INET,
        Family::Ipv6 => AF_INET6,
    }
}

/// The family of an `AF_…`, if it is one of the two.
pub const fn family_of(af: u8) -> Option<Family> {
    match af {
        AF_INET => Some(Family::Ipv4),
        AF_INET6 => Some(Family::Ipv6),
        _ => None,
    }
}
