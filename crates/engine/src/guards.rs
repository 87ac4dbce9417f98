//! DHCP guard and router guard: whose frames may carry what only servers and routers say.
//!
//! Hyper-V documents no more than that server messages, router advertisements and redirects *from* the VM are dropped. Here:
//!
//! * **DHCP guard** drops whatever is for a client's port (68, or 546 of DHCPv6): some clients check neither the port that it
//!   came from nor its kind. Of what comes from or is for the port of servers and relays (67, 547) it lets pass what clients and
//!   relays send: BOOTREQUEST (RFC 2131), and all of DHCPv6 but ADVERTISE, REPLY, RECONFIGURE and RELAY-REPLY (RFC 8415).
//! * **Router guard** drops advertisements and redirects of ICMPv6 (RFC 4861) and of ICMP (RFC 1256, RFC 792).
//! * Each drops what hides its cargo ([`wire::inspect`]): it cannot be told apart.

use crate::PortPolicy;
use model::DropReason;
use wire::{
    Cargo,
    IpVersion::{self, V4, V6},
    ethernet, inspect, ip,
};

/// Ports of servers and relays, and of clients.
const DHCP: (u16, u16) = (67, 68);
/// The same of DHCPv6.
const DHCPV6: (u16, u16) = (547, 546);
const BOOTREQUEST: u8 = 1;
/// ADVERTISE, REPLY, RECONFIGURE and RELAY-REPLY.
const DHCPV6_SERVER_MESSAGES: [u8; 4] = [2, 7, 10, 13];
/// Redirect and router advertisement.
const ICMP_ROUTER_MESSAGES: [u8; 2] = [5, 9];
/// Router advertisement and redirect.
const ICMPV6_ROUTER_MESSAGES: [u8; 2] = [134, 137];

/// Why the guards of a port, of which one is on, do not let a frame in that begins with `header`.
#[inline]
pub(crate) fn refusal(policy: &PortPolicy, header: &[u8]) -> Option<DropReason> {
    if is_plainly_harmless(header) { None } else { look_into(policy, header) }
}

/// True for most of what passes: TCP, and UDP of other ports, in IP without tags, options, extensions or fragments. Told by a
/// few bytes at fixed places, which costs a third of looking into the frame.
#[inline]
fn is_plainly_harmless(header: &[u8]) -> bool {
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // Up to the end of a UDP header: one that is cut off is not harmless.
    let (protocol, ports) = match header.len() {
        42.. if number(12) == ethernet::IPV4 && header[14] == 0x45 && number(20) & 0x3fff == 0 => {
            (header[23], (number(34), number(36)))
        }
        62.. if number(12) == ethernet::IPV6 && header[14] >> 4 == 6 => {
            (header[20], (number(54), number(56)))
        }
        _ => return false,
    };
    protocol == ip::TCP || (protocol == ip::UDP && (are_high(ports) || !are_dhcps(ports)))
}

/// True for most ports: above all of DHCP.
#[inline]
const fn are_high(ports: (u16, u16)) -> bool {
    ports.0 > DHCPV6.0 && ports.1 > DHCPV6.0
}

/// True where one is a port of either version.
fn are_dhcps(ports: (u16, u16)) -> bool {
    [DHCP.0, DHCP.1, DHCPV6.0, DHCPV6.1].iter().any(|port| *port == ports.0 || *port == ports.1)
}

#[inline(never)]
fn look_into(policy: &PortPolicy, header: &[u8]) -> Option<DropReason> {
    match inspect(header) {
        Cargo::Udp { version, ports, message } => {
            let served = policy.dhcp_guard && is_served(version, ports, message);
            served.then_some(DropReason::DhcpGuard)
        }
        Cargo::Icmp { version, kind } => {
            (policy.router_guard && is_routers(version, kind)).then_some(DropReason::RouterGuard)
        }
        Cargo::Other => None,
        Cargo::Hidden if policy.dhcp_guard => Some(DropReason::DhcpGuard),
        Cargo::Hidden => Some(DropReason::RouterGuard),
    }
}

/// True for what may be a DHCP server's message.
fn is_served(version: IpVersion, ports: (u16, u16), message: Option<u8>) -> bool {
    let (server, client) = if version == V4 { DHCP } else { DHCPV6 };
    let is_servers = |message| match version {
        V4 => message != BOOTREQUEST,
        V6 => DHCPV6_SERVER_MESSAGES.contains(&message),
    };
    ports.1 == client || ((ports.0 == server || ports.1 == server) && message.is_none_or(is_servers))
}

/// True for a router's message.
fn is_routers(version: IpVersion, kind: u8) -> bool {
    match version {
        V4 => ICMP_ROUTER_MESSAGES.contains(&kind),
        V6 => ICMPV6_ROUTER_MESSAGES.contains(&kind),
    }
}
