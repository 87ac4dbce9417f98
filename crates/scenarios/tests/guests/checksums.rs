//! Whether the checksums of a frame are right, judged byte by byte and apart from the code under test.

use anyhow::{Context, Result, ensure};
use lab::frames::{IPV4, IPV6, checksum};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// A TCP segment or UDP datagram, found in a frame.
pub struct Transport<'a> {
    /// Source and destination address, as the pseudo header has them.
    addresses: &'a [u8],
    pub protocol: u8,
    /// Header and payload.
    pub bytes: &'a [u8],
}

impl<'a> Transport<'a> {
    /// The segment or datagram of a frame, VLAN tags skipped; `None` if it carries something else.
    pub fn of(frame: &'a [u8]) -> Option<Transport<'a>> {
        let tags =
            frame.get(12..)?.chunks(4).take_while(|c| *c.first_chunk().unwrap_or(&[0; 2]) == [0x81, 0]);
        let at = 12 + 4 * tags.count();
        let (ethertype, ip) = frame.get(at..)?.split_first_chunk()?;
        let (addresses, protocol, bytes) = match u16::from_be_bytes(*ethertype) {
            IPV4 => {
                let length = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
                let header = usize::from(ip.first()? & 15) * 4;
                (ip.get(12..20)?, *ip.get(9)?, ip.get(header..length)?)
            }
            IPV6 => {
                let length = usize::from(u16::from_be_bytes([*ip.get(4)?, *ip.get(5)?]));
                (ip.get(8..40)?, *ip.get(6)?, ip.get(40..40 + length)?)
            }
            _ => return None,
        };
        [TCP, UDP].contains(&protocol).then_some(Transport { addresses, protocol, bytes })
    }

    /// Bytes behind the header.
    pub fn payload(&self) -> &'a [u8] {
        match self.protocol {
            UDP => &self.bytes[8..],
            _ => &self.bytes[usize::from(self.bytes[12] >> 4) * 4..],
        }
    }

    /// The 32-bit number in a TCP header that says where its payload belongs.
    pub fn sequence(&self) -> u32 {
        u32::from_be_bytes([self.bytes[4], self.bytes[5], self.bytes[6], self.bytes[7]])
    }

    /// Fails unless the checksum is there and right.
    pub fn check(&self) -> Result<()> {
        let at = if self.protocol == UDP { 6 } else { 16 };
        let sum = self.bytes.get(at..at + 2).context("cut off in its header")?;
        // RFC 768: zero says that there is no checksum.
        ensure!(self.protocol != UDP || sum != [0, 0], "a datagram without checksum");
        let length = (self.bytes.len() as u16).to_be_bytes();
        let rest = checksum(&[self.addresses, &[0, self.protocol], &length, self.bytes]);
        ensure!(rest == 0, "checksum {sum:02x?} is off by {rest:04x}");
        Ok(())
    }
}

/// Fails unless every checksum of the frame is right. A frame that carries neither TCP nor UDP passes.
pub fn check(frame: &[u8]) -> Result<()> {
    let Some(transport) = Transport::of(frame) else { return Ok(()) };
    if transport.addresses.len() == 8 {
        let at = frame.windows(2).position(|pair| pair == IPV4.to_be_bytes()).context("no EtherType")? + 2;
        let header = &frame[at..at + usize::from(frame[at] & 15) * 4];
        ensure!(checksum(&[header]) == 0, "the IPv4 header's checksum is wrong");
    }
    transport.check()
}
