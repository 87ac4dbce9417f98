//! Validation: the one way from input to something that can be installed.

mod mirrors;
mod private_vlans;
mod unique;

use crate::{
    Attachment, DesiredState, IfName, IoChoice, MAX_ACL_RULES, MAX_MAC_TABLE_SIZE, MAX_PORTS, MAX_QUEUES,
    Name, PortConfig, STATE_VERSION, SwitchConfig, SwitchKind,
    config::where_they_differ,
    policy::{
        guard::{self, GuardError},
        ip_guard::{self, IpGuardError},
        multicast::MulticastConfig,
        rate::{self, InvalidRate},
        vlan::BadVlan,
    },
};
use alloc::{collections::BTreeSet, string::String, vec::Vec};
use core::ops::{Range, RangeInclusive};
use unique::Seat;
use wire::MacAddr;

/// Bytes of a layer 3 packet: from IPv4's least (RFC 791) to what a frame of 64 KiB holds.
const MTUS: RangeInclusive<u32> = 68..=65_521;
const TABLE_SIZES: RangeInclusive<u32> = 16..=MAX_MAC_TABLE_SIZE;
/// Up to a week: stamps are kept in milliseconds of 32 bits, which wrap after 49 days.
const AGEING_S: RangeInclusive<u32> = 1..=604_800;
const QUEUES: RangeInclusive<u16> = 1..=MAX_QUEUES;

/// Why a desired state cannot be installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message is the documentation")]
pub enum Invalid {
    #[error("state version {0} is not known: this program reads version {STATE_VERSION}")]
    Version(u32),
    #[error("two switches are named '{0}': give one of them another name")]
    DuplicateSwitch(Name),
    #[error("switch '{switch}' has two ports named '{port}': give one of them another name")]
    DuplicatePort { switch: Name, port: Name },
    #[error(
        "MAC {mac} is given to port '{first}' and to port '{second}' of switch '{switch}': MACs are unique on a switch"
    )]
    DuplicateMac { switch: Name, mac: MacAddr, first: Name, second: Name },
    #[error("interface '{ifname}' is used by {first} and by {second}: an interface can be one port only")]
    DuplicateInterface { ifname: IfName, first: String, second: String },
    #[error("'{place}' is used by {first} and by {second}: each port needs its own")]
    DuplicatePlace { place: String, first: String, second: String },
    #[error("{mac} on port '{port}' is {what}: a vNIC's MAC is a unicast address")]
    BadMac { port: Name, mac: MacAddr, what: &'static str },
    #[error(
        "{mac} on port '{port}' is not reserved: only 01:80:c2:00:00:00 to 01:80:c2:00:00:0f can be allowed"
    )]
    NotReserved { port: Name, mac: MacAddr },
    #[error("switch '{0}' is external and has no uplink: name a NIC, or make it internal or private")]
    NoUplink(Name),
    #[error("switch '{0}' has {1} uplinks: teams of several NICs are not supported, name one NIC")]
    SeveralUplinks(Name, usize),
    #[error("switch '{switch}' is {} and has the uplink '{nic}': only an external switch has one", kind.as_str())]
    UplinkNotAllowed { switch: Name, kind: SwitchKind, nic: IfName },
    #[error(
        "switch '{switch}' is private and has the host vNIC '{port}': make it internal, or leave the host out"
    )]
    HostOnPrivate { switch: Name, port: Name },
    #[error(
        "'{nic}' is a host vNIC of switch '{owner}' and cannot be a port of switch '{switch}': a switch is no uplink"
    )]
    OwnUplink { switch: Name, nic: IfName, owner: Name },
    #[error("{what} {value} on '{place}' is out of range: {least} to {most}")]
    OutOfRange { what: &'static str, place: Name, value: u64, least: u64, most: u64 },
    #[error(
        "the multicast query times of switch '{switch}' do not fit: hosts get 1 to {} s to answer, less than there is between two \
         queries, which is at most {} s",
        MulticastConfig::MAX_RESPONSE_S,
        MulticastConfig::MAX_INTERVAL_S
    )]
    QueryTimes { switch: Name },
    #[error("switch '{0}' has more than {MAX_PORTS} ports")]
    TooManyPorts(Name),
    #[error("port '{port}' is an uplink and has no {what} of its own")]
    NotOnUplink { port: Name, what: &'static str },
    #[error(
        "port '{port}' is an uplink and has no {what} guard: servers and routers outside are reached through it; set the guard on the ports of VMs"
    )]
    NoSuchGuardOnUplink { port: Name, what: &'static str },
    #[error("port '{0}' is an uplink and has no access lists: set them on the ports of VMs")]
    NoAclOnUplink(Name),
    #[error("port '{port}' has {count} rules in its access lists: {MAX_ACL_RULES} are the most")]
    TooManyRules { port: Name, count: usize },
    #[error("two rules on port '{port}' {why}: '{first}' and '{second}'; leave one out")]
    AclRules { port: Name, first: String, second: String, why: &'static str },
    #[error(
        "port '{port}' is attached to {kind} and has no choice of io '{}': leave it out, only an uplink and a netdev have one", io.as_str()
    )]
    NoIoChoice { port: Name, kind: &'static str, io: IoChoice },
    #[error("port '{port}': {why}")]
    BadVlan { port: Name, why: BadVlan },
    #[error(
        "VLAN {vlan} of port '{port}' is the {role} of private VLAN {primary} on port '{other}': use another number for one of them"
    )]
    PrivateVlanClash { port: Name, vlan: u16, role: &'static str, primary: u16, other: Name },
    #[error("port '{port}' is an uplink and always keeps the priority in tags: leave trust_priority out")]
    UplinkIsTrusted { port: Name },
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error(transparent)]
    IpGuard(#[from] IpGuardError),
    #[error("frames of port '{port}' cannot be mirrored to '{to}': {why}")]
    Mirror { port: Name, to: Name, why: &'static str },
    #[error("'{path}' on port '{port}' is no path of a socket: use an absolute path of at most 107 bytes")]
    BadPath { port: Name, path: String },
    #[error(transparent)]
    Rate(#[from] InvalidRate),
}

/// A desired state that was checked: the only form that can be installed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ValidState(DesiredState);

impl ValidState {
    /// The state.
    #[must_use]
    pub const fn desired(&self) -> &DesiredState {
        &self.0
    }

    /// The switch of that name.
    #[must_use]
    pub fn switch(&self, name: &str) -> Option<&SwitchConfig> {
        self.0.switches.iter().find(|s| s.name.as_str() == name)
    }

    /// Where `switch` has other ports than the one of its name here.
    fn differing(&self, switch: &SwitchConfig) -> Range<usize> {
        let former = self.switch(switch.name.as_str()).map_or(&[][..], |former| &former.ports);
        where_they_differ(former, &switch.ports).1
    }
}

impl DesiredState {
    /// Checks everything that can be checked without looking at the host.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(self) -> Result<ValidState, Invalid> {
        self.validate_after(&ValidState::default())
    }

    /// Checks the same, with less work where most ports are those of a state that was valid.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate_after(self, former: &ValidState) -> Result<ValidState, Invalid> {
        if self.version != STATE_VERSION {
            return Err(Invalid::Version(self.version));
        }
        let (mut names, mut seats) = (BTreeSet::new(), Vec::new());
        for (number, switch) in self.switches.iter().enumerate() {
            if !names.insert(&switch.name) {
                return Err(Invalid::DuplicateSwitch(switch.name.clone()));
            }
            let new = former.differing(switch);
            check_switch(switch, &new)?;
            let seat = |(at, port)| Seat { at: (number, at), switch, port, is_new: new.contains(&at) };
            seats.extend(switch.ports.iter().map(|port| &**port).enumerate().map(seat));
        }
        unique::check(&seats)?;
        Ok(ValidState(self))
    }
}

fn check_switch(switch: &SwitchConfig, new: &Range<usize>) -> Result<(), Invalid> {
    in_range("MAC table size", &switch.name, switch.mac_table_size, &TABLE_SIZES)?;
    in_range("ageing time in seconds", &switch.name, switch.ageing_s, &AGEING_S)?;
    if !switch.multicast.has_valid_times() {
        return Err(Invalid::QueryTimes { switch: switch.name.clone() });
    }
    if switch.ports.len() > MAX_PORTS {
        return Err(Invalid::TooManyPorts(switch.name.clone()));
    }
    check_kind(switch)?;
    private_vlans::check(switch)?;
    mirrors::check(switch)?;
    for (at, port) in switch.ports.iter().enumerate() {
        if new.contains(&at) {
            check_port(port)?;
            ip_guard::check(port)?;
        }
        guard::check(switch, port)?;
    }
    rate::check(switch)
}

fn check_kind(switch: &SwitchConfig) -> Result<(), Invalid> {
    let uplinks = switch.ports.iter().filter(|p| matches!(p.attach, Attachment::Uplink(_))).count();
    let host = switch.ports.iter().find(|p| matches!(p.attach, Attachment::Host(_)));
    match (switch.kind, switch.ports.iter().find_map(|p| p.attach.nic()), host) {
        (SwitchKind::External, None, _) => Err(Invalid::NoUplink(switch.name.clone())),
        (SwitchKind::External, Some(_), _) if uplinks > 1 => {
            Err(Invalid::SeveralUplinks(switch.name.clone(), uplinks))
        }
        (SwitchKind::Internal | SwitchKind::Private, Some(nic), _) => Err(Invalid::UplinkNotAllowed {
            switch: switch.name.clone(),
            kind: switch.kind,
            nic: nic.clone(),
        }),
        (SwitchKind::Private, None, Some(port)) => {
            Err(Invalid::HostOnPrivate { switch: switch.name.clone(), port: port.name.clone() })
        }
        _ => Ok(()),
    }
}

fn check_port(port: &PortConfig) -> Result<(), Invalid> {
    let is_uplink = matches!(port.attach, Attachment::Uplink(_));
    if is_uplink {
        check_uplink(port)?;
    }
    port.acl.check(port, is_uplink)?;
    if !port.io.is_auto() && !port.attach.has_io_choice() {
        return Err(no_io_choice(port));
    }
    port.vlan().check().map_err(|why| Invalid::BadVlan { port: port.name.clone(), why })?;
    if let Some(mtu) = port.mtu {
        in_range("MTU", &port.name, mtu, &MTUS)?;
    }
    in_range("number of queues", &port.name, port.queues(), &QUEUES)?;
    for mac in port.mac.iter().chain(&port.allow_macs) {
        check_unicast(port, *mac)?;
    }
    if let Some(mac) = port.allow_reserved.iter().find(|m| !m.is_bridge_reserved()) {
        return Err(Invalid::NotReserved { port: port.name.clone(), mac: *mac });
    }
    socket(&port.attach).map_or(Ok(()), |path| check_path(port, path))
}

fn no_io_choice(port: &PortConfig) -> Invalid {
    Invalid::NoIoChoice { port: port.name.clone(), kind: port.attach.kind(), io: port.io }
}

/// The path of the unix socket that a port is attached to, where it is given.
fn socket(attach: &Attachment) -> Option<&String> {
    match attach {
        Attachment::UnixStream(path) | Attachment::UnixDgram(path) => Some(path),
        Attachment::VhostUser(vhost) => vhost.socket.as_ref(),
        _ => None,
    }
}

fn check_uplink(port: &PortConfig) -> Result<(), Invalid> {
    let refused = |what| Err(Invalid::NotOnUplink { port: port.name.clone(), what });
    if port.guard {
        return refused("guard");
    }
    if port.mac.is_some() || !port.allow_macs.is_empty() {
        return refused("MAC");
    }
    if port.trust_priority {
        return Err(Invalid::UplinkIsTrusted { port: port.name.clone() });
    }
    for (what, on) in [("DHCP", port.dhcp_guard), ("router", port.router_guard)] {
        if on {
            return Err(Invalid::NoSuchGuardOnUplink { port: port.name.clone(), what });
        }
    }
    if port.mtu.is_some() { refused("MTU") } else { Ok(()) }
}

fn check_unicast(port: &PortConfig, mac: MacAddr) -> Result<(), Invalid> {
    let what = match (mac.is_zero(), mac.is_multicast()) {
        (true, _) => "zero",
        (_, true) => "a multicast address",
        _ => return Ok(()),
    };
    Err(Invalid::BadMac { port: port.name.clone(), mac, what })
}

/// `sockaddr_un` holds 108 bytes with the closing zero.
fn check_path(port: &PortConfig, path: &str) -> Result<(), Invalid> {
    if path.starts_with('/') && path.len() <= 107 && !path.contains('\0') {
        return Ok(());
    }
    Err(Invalid::BadPath { port: port.name.clone(), path: path.into() })
}

fn in_range<T>(what: &'static str, place: &Name, value: T, range: &RangeInclusive<T>) -> Result<(), Invalid>
where
    T: PartialOrd + Copy + Into<u64>,
{
    if range.contains(&value) {
        return Ok(());
    }
    let (value, least, most) = (value.into(), (*range.start()).into(), (*range.end()).into());
    Err(Invalid::OutOfRange { what, place: place.clone(), value, least, most })
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
