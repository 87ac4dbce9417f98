//! IP guard: whose frames may speak for which IP addresses.
//!
//! Hyper-V has nothing of the kind but a limit of addresses that it learns. Here:
//!
//! * **Own** are the addresses and prefixes of the port's list, those that the port leases ([`leases`]), and the link-local address
//!   that follows from each MAC of the port (RFC 4291, appendix A). Other link-local addresses are not: who may use any can
//!   speak for the router. Who wants them lists them, or `fe80::/10`.
//! * An **IP source** has to be own. From no address at all (0.0.0.0, ::) may come what has to: requests of DHCP, IGMP,
//!   messages of multicast listeners, solicitations of routers, and of a neighbour that is the sender itself (duplicate address
//!   detection, RFC 4862). A group is never a source, listed or not.
//! * An **ARP** sender has to be own, and its hardware address the frame's source or one of the port's. A probe, which has no
//!   sender (RFC 5227), may ask for own addresses only: the probe of another's address would deny it to him. In RARP, both addresses
//!   have to be own or none.
//! * The target of a **neighbour advertisement** has to be own.
//! * What **hides** what it claims is dropped ([`wire::claim`](mod@wire::claim)).
//!
//! Frames that are neither IP nor ARP pass.

mod hearing;
mod leases;

use crate::Millis;
use alloc::vec::Vec;
use core::net::IpAddr;
pub use leases::Lease;
pub(crate) use leases::Leases;
use wire::{
    IpPrefix, MacAddr,
    claim::{Claim, Purpose, claim},
    ethernet, ip,
};

/// What a port's IP guard goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpGuard {
    /// The addresses that the vNIC may use.
    pub addresses: Vec<IpPrefix>,
    /// The most addresses beside that are learned from its leases; 0: none are.
    pub most_leases: u16,
}

/// The same, prepared for looking up.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnAddresses {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    /// The MACs that the port may use.
    macs: Vec<MacAddr>,
}

impl OwnAddresses {
    /// Of a port that may send from these MACs.
    pub(crate) fn new(listed: &[IpPrefix], macs: Vec<MacAddr>) -> Self {
        let mut own = Self::default();
        macs.iter().for_each(|mac| own.add(IpPrefix::from(link_local(*mac))));
        listed.iter().for_each(|prefix| own.add(*prefix));
        own.macs = macs;
        own
    }

    fn add(&mut self, prefix: IpPrefix) {
        match prefix.address() {
            IpAddr::V4(first) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix.len())).unwrap_or(0);
                self.v4.push((first.to_bits(), mask));
            }
            IpAddr::V6(first) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix.len())).unwrap_or(0);
                self.v6.push((first.to_bits(), mask));
            }
        }
    }

    fn has_v4(&self, address: u32) -> bool {
        self.v4.iter().any(|(first, mask)| address & mask == *first)
    }

    fn has_v6(&self, address: u128) -> bool {
        self.v6.iter().any(|(first, mask)| address & mask == *first)
    }
}

/// The link-local address that follows from a MAC: its halves around ff:fe, with the bit turned that says who gave it out.
fn link_local(mac: MacAddr) -> [u8; 16] {
    let [a, b, c, d, e, f] = mac.0;
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f]
}

/// Groups, and the broadcast address.
const fn is_group_v4(address: u32) -> bool {
    address >> 28 == 0xe || address == u32::MAX
}

const fn is_group_v6(address: u128) -> bool {
    address >> 120 == 0xff
}

/// What is known of a port's addresses at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) own: &'a OwnAddresses,
    pub(crate) leases: Option<&'a Leases>,
    pub(crate) now: Millis,
}

impl Known<'_> {
    /// True where a frame that begins with `header` may come in.
    #[inline]
    pub(crate) fn allow(&self, header: &[u8]) -> bool {
        self.allow_plainly(header) || self.look_into(header)
    }

    /// True for most of what passes: IPv4 without tags and options from an own address, and TCP and UDP so over IPv6.
    #[inline]
    fn allow_plainly(&self, header: &[u8]) -> bool {
        let kind = |kind: u16| header.get(12..14).is_some_and(|bytes| *bytes == kind.to_be_bytes());
        match header.get(14..) {
            Some(packet @ [0x45, ..]) if packet.len() >= 20 && kind(ethernet::IPV4) => {
                let source: Option<&[u8; 4]> = packet[12..].first_chunk();
                source.is_some_and(|source| self.is_own_v4(*source))
            }
            Some(packet @ [0x60..=0x6f, ..]) if packet.len() >= 40 && kind(ethernet::IPV6) => {
                let source: Option<&[u8; 16]> = packet[8..].first_chunk();
                matches!(packet[6], ip::TCP | ip::UDP) && source.is_some_and(|source| self.is_own_v6(*source))
            }
            _ => false,
        }
    }

    #[inline(never)]
    fn look_into(&self, header: &[u8]) -> bool {
        match claim(header) {
            Claim::Nothing => true,
            Claim::Hidden => false,
            Claim::Arp { reverse, sender_mac, sender, target } => {
                self.is_own_mac(header, sender_mac) && self.allow_arp(reverse, sender, target)
            }
            Claim::V4 { source: [0, 0, 0, 0], purpose } => {
                matches!(purpose, Purpose::DhcpRequest | Purpose::Membership)
            }
            Claim::V4 { source, .. } => self.is_own_v4(source),
            Claim::V6 { source, purpose } => self.allow_v6(source, purpose),
        }
    }

    fn is_own_mac(&self, header: &[u8], mac: MacAddr) -> bool {
        ethernet::addresses(header).is_some_and(|(_, source)| source == mac) || self.own.macs.contains(&mac)
    }

    fn allow_arp(&self, reverse: bool, sender: [u8; 4], target: [u8; 4]) -> bool {
        let is_none = |address: [u8; 4]| address == [0; 4];
        match reverse {
            true => [sender, target].into_iter().all(|address| is_none(address) || self.is_own_v4(address)),
            false if is_none(sender) => self.is_own_v4(target),
            false => self.is_own_v4(sender),
        }
    }

    fn allow_v6(&self, source: [u8; 16], purpose: Purpose) -> bool {
        let from_somewhere = source != [0; 16];
        match purpose {
            _ if from_somewhere && !self.is_own_v6(source) => false,
            Purpose::NeighbourAdvertisement(target) => from_somewhere && self.is_own_v6(target),
            Purpose::NeighbourSolicitation(target) => from_somewhere || self.is_own_v6(target),
            Purpose::Membership | Purpose::RouterSolicitation => true,
            Purpose::DhcpRequest | Purpose::Other => from_somewhere,
        }
    }

    fn is_own_v4(&self, address: [u8; 4]) -> bool {
        let number = u32::from_be_bytes(address);
        let leased = || self.leases.is_some_and(|leases| leases.holds(IpAddr::from(address), self.now));
        number != 0 && !is_group_v4(number) && (self.own.has_v4(number) || leased())
    }

    fn is_own_v6(&self, address: [u8; 16]) -> bool {
        let number = u128::from_be_bytes(address);
        let leased = || self.leases.is_some_and(|leases| leases.holds(IpAddr::from(address), self.now));
        number != 0 && !is_group_v6(number) && (self.own.has_v6(number) || leased())
    }
}

#[cfg(test)]
mod tests;
