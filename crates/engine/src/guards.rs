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
    inspect,
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

/// Why the guards of a port do not let a frame in that begins with `header`.
pub(crate) fn refusal(policy: &PortPolicy, header: &[u8]) -> Option<DropReason> {
    let cargo = inspect(header);
    if policy.dhcp_guard && may_be_served(cargo) {
        return Some(DropReason::DhcpGuard);
    }
    (policy.router_guard && may_be_routers(cargo)).then_some(DropReason::RouterGuard)
}

/// True for what may be a DHCP server's message.
fn may_be_served(cargo: Cargo) -> bool {
    match cargo {
        Cargo::Udp { version, ports, message } => is_served(version, ports, message),
        Cargo::Icmp { .. } | Cargo::Other => false,
        Cargo::Hidden => true,
    }
}

fn is_served(version: IpVersion, ports: (u16, u16), message: Option<u8>) -> bool {
    let (server, client) = if version == V4 { DHCP } else { DHCPV6 };
    let is_servers = |message| match version {
        V4 => message != BOOTREQUEST,
        V6 => DHCPV6_SERVER_MESSAGES.contains(&message),
    };
    ports.1 == client || ((ports.0 == server || ports.1 == server) && message.is_none_or(is_servers))
}

/// True for what may be a router's message.
fn may_be_routers(cargo: Cargo) -> bool {
    match cargo {
        Cargo::Icmp { version: V4, kind } => ICMP_ROUTER_MESSAGES.contains(&kind),
        Cargo::Icmp { version: V6, kind } => ICMPV6_ROUTER_MESSAGES.contains(&kind),
        Cargo::Udp { .. } | Cargo::Other => false,
        Cargo::Hidden => true,
    }
}
