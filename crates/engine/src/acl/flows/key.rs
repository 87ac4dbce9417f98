//! What the two directions of a flow have in common: its ends, as the vNIC sees them.

use crate::{
    acl::AclWay,
    hash::{Hashing, Seed, hash_words, quick},
};
use wire::{
    FiveTuple, IpVersion,
    packet::{Addresses, Icmp, Packet, Part, Transport},
};

/// Types of echo requests and of replies.
const ECHO: [(u8, u8); 2] = [(8, 0), (128, 129)];
/// The bits of [`Key::rest`] that say what it is a key of: 4 or 6 in the second byte, and above it what only datagrams in fragments have.
const V4: u64 = 4 << 8;
const V6: u64 = 6 << 8;
const IS_V6: u64 = V6 & !V4;
const FRAGMENT: u64 = 1 << 12;
const OUT: u64 = 1 << 13;

/// A flow's ends, its protocol and its VLAN. Or those of a datagram in fragments, and its identification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Of IPv4 both are in the first word.
    addresses: [u64; 4],
    /// Ports at the vNIC's end and at the other one, VLAN, what it is, protocol.
    rest: u64,
}

/// What a packet is to the flow of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A packet like any other.
    Plain,
    /// Only who opened the flow may send it.
    Openers,
    /// Only the other side may.
    Responders,
    /// A segment, which has to be at its place in the stream.
    Tcp,
}

impl Key {
    #[inline]
    fn new(addresses: Addresses, way: AclWay, ports: (u16, u16), vlan: u16, protocol: u8) -> Option<Self> {
        let swap = way == AclWay::In;
        let (addresses, version) = match addresses {
            Addresses::V4(src, dst) => {
                let (local, remote) = if swap { (dst, src) } else { (src, dst) };
                ([u64::from(local) << 32 | u64::from(remote), 0, 0, 0], V4)
            }
            Addresses::V6(src, dst) => {
                let (local, remote) = if swap { (dst, src) } else { (src, dst) };
                ([(local >> 64) as u64, local as u64, (remote >> 64) as u64, remote as u64], V6)
            }
            Addresses::Hidden(_) => return None,
        };
        let (local, remote) = if swap { (ports.1, ports.0) } else { ports };
        let ports = u64::from(local) << 48 | u64::from(remote) << 32;
        Some(Self { addresses, rest: ports | u64::from(vlan) << 16 | version | u64::from(protocol) })
    }

    /// The key of the flow that a packet belongs to, if it can. What has no ports to look at has none; nor has a segment in
    /// fragments, as those that follow could overlap its flags and numbers.
    #[inline]
    pub(super) fn of_packet(packet: &Packet<'_>, way: AclWay, vlan: u16) -> Option<(Self, Role)> {
        let key = |ports, protocol| Self::new(packet.addresses, way, ports, vlan, protocol);
        match &packet.transport {
            Transport::Tcp(segment) if packet.part == Part::Whole => {
                Some((key(segment.ports, wire::ip::TCP)?, Role::Tcp))
            }
            Transport::Udp(src, dst) => Some((key((*src, *dst), wire::ip::UDP)?, Role::Plain)),
            Transport::Icmp(icmp) => {
                let role = echo_role(icmp)?;
                // The identifier stands at both ends, so that it is at its place whichever way the message goes.
                Some((key((icmp.id, icmp.id), icmp.protocol())?, role))
            }
            Transport::Other(protocol) => Some((key((0, 0), *protocol)?, Role::Plain)),
            Transport::Tcp(_) | Transport::Hidden(_) => None,
        }
    }

    /// The same of a packet by its five-tuple.
    #[inline]
    pub(super) fn of_tuple(tuple: &FiveTuple, way: AclWay, vlan: u16) -> (Self, Role) {
        let ([a, b, c, d], upper) = tuple.words();
        // Both ends change places.
        let swap = u32::from(way == AclWay::In);
        let addresses = match (tuple.is_v4(), way) {
            (true, _) => [a.rotate_left(32 * swap), 0, 0, 0],
            (false, AclWay::Out) => [a, b, c, d],
            (false, AclWay::In) => [c, d, a, b],
        };
        let ports = ((upper >> 32) as u32).rotate_left(16 * swap);
        let rest = u64::from(ports) << 32 | u64::from(vlan) << 16 | upper & 0xffff_ffff;
        let role = if tuple.protocol() == wire::ip::TCP { Role::Tcp } else { Role::Plain };
        (Self { addresses, rest }, role)
    }

    /// The key of the datagram that a fragment is of, where it is one.
    #[inline]
    pub(super) fn of_fragment(packet: &Packet<'_>, way: AclWay, vlan: u16) -> Option<Self> {
        let (Part::First { id } | Part::Later { id, .. }) = packet.part else { return None };
        // IPv6 has only the first part's word for the protocol (RFC 8200 section 4.5), IPv4 has it in each.
        let protocol = match (packet.addresses, packet.transport) {
            (Addresses::V4(..), Transport::Udp(..)) => wire::ip::UDP,
            (Addresses::V4(..), Transport::Tcp(_)) => wire::ip::TCP,
            (Addresses::V4(..), Transport::Icmp(_)) => wire::ip::ICMP,
            (Addresses::V4(..), Transport::Other(protocol) | Transport::Hidden(Some(protocol))) => protocol,
            _ => 0,
        };
        // The same whichever way it goes, so the way is told apart by a bit.
        let mut key =
            Self::new(packet.addresses, AclWay::Out, ((id >> 16) as u16, id as u16), vlan, protocol)?;
        key.rest |= FRAGMENT | if way == AclWay::Out { OUT } else { 0 };
        Some(key)
    }

    /// The key of the flow that a packet was of which an ICMP error quotes, and its number where it was a segment. `way` is the
    /// error's, so that packet went the other one; and it came from whom the error is for.
    pub(super) fn quoted(
        packet: &Packet<'_>,
        icmp: &Icmp<'_>,
        way: AclWay,
        vlan: u16,
    ) -> Option<(Self, Option<u32>)> {
        if !is_error(icmp) {
            return None;
        }
        let (addresses, protocol, head) = wire::packet::quoted(icmp.version, icmp.body)?;
        let is_for_its_sender = match (addresses, packet.addresses) {
            (Addresses::V4(src, _), Addresses::V4(_, dst)) => src == dst,
            (Addresses::V6(src, _), Addresses::V6(_, dst)) => src == dst,
            _ => false,
        };
        let went = if way == AclWay::In { AclWay::Out } else { AclWay::In };
        let (ports, number) = match protocol {
            wire::ip::TCP => (head.words, Some(head.number)),
            wire::ip::UDP => (head.words, None),
            wire::ip::ICMP | wire::ip::ICMPV6 => ((head.third, head.third), None),
            _ => ((0, 0), None),
        };
        let key = Self::new(addresses, went, ports, vlan, protocol).filter(|_| is_for_its_sender)?;
        Some((key, number))
    }

    /// Its words are handed on one by one: a key that is written to memory in words to be read in halves stalls the processor.
    #[inline(always)]
    pub(super) fn hash(&self, seed: Seed, hashing: Hashing) -> u64 {
        let ([a, b, c, d], rest) = (self.addresses, self.rest);
        match hashing {
            Hashing::Quick if !self.is_v6() => quick(seed, [a, rest]),
            Hashing::Quick => quick_v6(seed, (a, b), (c, d), rest),
            Hashing::Strong => strong(seed, (a, b), (c, d), rest),
        }
    }

    /// Its words: all that IPv4 has, and the rest.
    #[inline]
    pub(super) const fn parts(&self) -> ([u64; 2], [u64; 3]) {
        let [a, b, c, d] = self.addresses;
        ([a, self.rest], [b, c, d])
    }

    pub(super) const fn of_parts([a, rest]: [u64; 2], [b, c, d]: [u64; 3]) -> Self {
        Self { addresses: [a, b, c, d], rest }
    }

    #[inline]
    pub(super) const fn is_v6(&self) -> bool {
        is_v6(self.parts().0)
    }

    pub(super) const fn is_fragment(&self) -> bool {
        self.rest & FRAGMENT != 0
    }

    const fn protocol(&self) -> u8 {
        self.rest as u8
    }

    /// A packet that opens such a flow, as rules see it.
    pub(super) fn opening(&self, way: AclWay) -> Packet<'static> {
        let [a, b, c, d] = self.addresses;
        let both = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
        let turn = way == AclWay::In;
        let addresses = match (self.is_v6(), turn) {
            (false, true) => Addresses::V4(a as u32, (a >> 32) as u32),
            (false, false) => Addresses::V4((a >> 32) as u32, a as u32),
            (true, true) => Addresses::V6(both(c, d), both(a, b)),
            (true, false) => Addresses::V6(both(a, b), both(c, d)),
        };
        let (local, remote) = ((self.rest >> 48) as u16, (self.rest >> 32) as u16);
        let ports = if turn { (remote, local) } else { (local, remote) };
        Packet { addresses, part: Part::Whole, end: 0, transport: self.transport(ports) }
    }

    fn transport(&self, ports: (u16, u16)) -> Transport<'static> {
        let version = if self.is_v6() { IpVersion::V6 } else { IpVersion::V4 };
        let echo = |kind| Transport::Icmp(Icmp { version, kind, code: 0, id: ports.0, body: &[] });
        match (version, self.protocol()) {
            // To rules TCP and UDP differ by the protocol alone.
            (_, wire::ip::TCP) => Transport::Tcp(wire::packet::Segment::of_ports(ports)),
            (_, wire::ip::UDP) => Transport::Udp(ports.0, ports.1),
            (IpVersion::V4, wire::ip::ICMP) => echo(ECHO[0].0),
            (IpVersion::V6, wire::ip::ICMPV6) => echo(ECHO[1].0),
            (_, protocol) => Transport::Other(protocol),
        }
    }
}

/// The first words of a key of IPv4 as the port at the other side has it: both ends change places, and the VLAN can be another one.
#[inline(always)]
pub(super) const fn turned([addresses, rest]: [u64; 2], vlan: u16) -> [u64; 2] {
    let ports = ((rest >> 32) as u32).rotate_left(16);
    [addresses.rotate_left(32), (ports as u64) << 32 | (vlan as u64) << 16 | rest & 0xffff]
}

/// What a packet of UDP or TCP is to the flow of a key with these first words.
#[inline(always)]
pub(super) const fn role([_, rest]: [u64; 2]) -> Role {
    if rest as u8 == wire::ip::TCP { Role::Tcp } else { Role::Plain }
}

/// True where these are the first words of a key of IPv6.
#[inline]
pub(super) const fn is_v6([_, rest]: [u64; 2]) -> bool {
    rest & IS_V6 != 0
}

#[inline(never)]
fn quick_v6(seed: Seed, (a, b): (u64, u64), (c, d): (u64, u64), rest: u64) -> u64 {
    let [k0, k1] = seed;
    quick(seed, [quick(seed, [a, b]) ^ quick([k1, k0], [c, d]), rest])
}

#[inline(never)]
fn strong(seed: Seed, (a, b): (u64, u64), (c, d): (u64, u64), rest: u64) -> u64 {
    if rest & IS_V6 != 0 { hash_words(seed, [a, b, c, d, rest]) } else { hash_words(seed, [a, rest]) }
}

/// What an ICMP message is to a flow; none but echoes makes one.
fn echo_role(icmp: &Icmp<'_>) -> Option<Role> {
    let (request, reply) = ECHO[usize::from(icmp.version == IpVersion::V6)];
    match icmp.kind {
        kind if kind == request => Some(Role::Openers),
        kind if kind == reply => Some(Role::Responders),
        _ => None,
    }
}

/// True for what tells a sender of its own packet: unreachable, too big, time exceeded, parameter problem. Not a redirect.
const fn is_error(icmp: &Icmp<'_>) -> bool {
    match icmp.version {
        IpVersion::V4 => matches!(icmp.kind, 3 | 11 | 12),
        IpVersion::V6 => matches!(icmp.kind, 1..=4),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::{array, prelude::*};
    use std::vec::Vec;
    use wire::packet::{self, Network};

    fn frame(v6: bool, protocol: u8, addresses: [u8; 32], ports: [u8; 4]) -> Vec<u8> {
        let upper = [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 1, 0x50, 16, 0, 9, 0, 0, 0, 0]].concat();
        match v6 {
            true => {
                [&[2; 12], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, 64][..], &addresses, &upper].concat()
            }
            false => {
                let ip = [8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protocol, 0, 0];
                [&[2; 12], &ip[..], &addresses[..8], &upper].concat()
            }
        }
    }

    proptest! {
        #[test]
        fn a_five_tuple_gives_the_key_that_looking_into_the_frame_gives(
            v6: bool,
            tcp: bool,
            out: bool,
            addresses in array::uniform32(any::<u8>()),
            ports: [u8; 4],
            vlan in 0..4096u16,
        ) {
            let frame = frame(v6, if tcp { wire::ip::TCP } else { wire::ip::UDP }, addresses, ports);
            let way = if out { AclWay::Out } else { AclWay::In };
            let Network::Ip(packet) = packet::read(&frame) else { panic!("{frame:?}") };
            let tuple = FiveTuple::of(&frame);
            let by_tuple = tuple.map(|tuple| Key::of_tuple(&tuple, way, vlan));
            prop_assert_eq!(by_tuple, Key::of_packet(&packet, way, vlan));
        }
    }
}
