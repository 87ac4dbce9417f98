//! Which IP addresses a port may use.

use crate::{Attachment, Name, PortConfig};
use alloc::vec::Vec;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};
use wire::IpPrefix;

/// The most addresses and prefixes of a port's list: each is compared with what a frame says.
pub const MAX_ADDRESSES: usize = 64;
/// The most addresses that are learned from a port's leases, unless told otherwise.
pub const DEFAULT_DHCP_LIMIT: u16 = 8;
/// The most that they can be.
pub const MAX_DHCP_LIMIT: u16 = 64;

/// Where a port's addresses are from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum IpGuardMode {
    /// It may use any.
    #[default]
    Off,
    /// From its list.
    On,
    /// From its list, and from its leases of DHCP and DHCPv6 that the switch sees.
    Dhcp,
}

impl IpGuardMode {
    /// The word used in the API, the state file and the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Dhcp => "dhcp",
        }
    }
}

/// A port's IP guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct IpGuardConfig {
    /// Where the port's addresses are from.
    #[serde(default)]
    pub mode: IpGuardMode,
    /// The port's addresses, and prefixes of them. The link-local address that follows from the MAC need not be listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>, example = json!(["192.0.2.7", "2001:db8::/64"])))]
    pub addresses: Vec<IpPrefix>,
    /// The most addresses that are learned from leases at once.
    #[serde(default = "default_dhcp_limit")]
    pub dhcp_limit: u16,
}

impl Default for IpGuardConfig {
    fn default() -> Self {
        Self { mode: IpGuardMode::Off, addresses: Vec::new(), dhcp_limit: DEFAULT_DHCP_LIMIT }
    }
}

/// What to change of it; what is unset stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ChangeIpGuard {
    /// Where the port's addresses are from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<IpGuardMode>,
    /// The port's addresses; replaces the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Vec<String>>))]
    pub addresses: Option<Vec<IpPrefix>>,
    /// The most addresses that are learned from leases at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp_limit: Option<u16>,
}

const fn default_dhcp_limit() -> u16 {
    DEFAULT_DHCP_LIMIT
}

impl IpGuardConfig {
    /// True where nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Makes a change.
    pub fn change(&mut self, change: ChangeIpGuard) {
        self.mode = change.mode.unwrap_or(self.mode);
        self.dhcp_limit = change.dhcp_limit.unwrap_or(self.dhcp_limit);
        if let Some(addresses) = change.addresses {
            self.addresses = addresses;
        }
    }
}

impl ChangeIpGuard {
    /// True where all stays.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// An address that a port leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LeasedAddress {
    /// The address, or a delegated prefix.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub address: IpPrefix,
    /// Seconds until the lease ends; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// Why an IP guard cannot be so
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message is the documentation")]
pub enum IpGuardError {
    #[error(
        "port '{0}' is an uplink and has no IP guard: all addresses outside are behind it; set the guard on the ports of VMs"
    )]
    Uplink(Name),
    #[error("port '{port}' has {count} addresses: it can have {MAX_ADDRESSES} at most; name prefixes")]
    TooMany { port: Name, count: usize },
    #[error(
        "{address} on port '{port}' is {what}: nobody sends from it; name the addresses that the vNIC uses"
    )]
    NoSource { port: Name, address: IpPrefix, what: &'static str },
    #[error(
        "port '{port}' is to learn {limit} addresses from its leases: 1 to {MAX_DHCP_LIMIT} is what it can"
    )]
    Limit { port: Name, limit: u16 },
}

/// Checks a port's IP guard.
pub(crate) fn check(port: &PortConfig) -> Result<(), IpGuardError> {
    let (name, guard) = (&port.name, &port.ip_guard);
    if matches!(port.attach, Attachment::Uplink(_)) && !guard.is_default() {
        return Err(IpGuardError::Uplink(name.clone()));
    }
    if guard.addresses.len() > MAX_ADDRESSES {
        return Err(IpGuardError::TooMany { port: name.clone(), count: guard.addresses.len() });
    }
    if !(1..=MAX_DHCP_LIMIT).contains(&guard.dhcp_limit) {
        return Err(IpGuardError::Limit { port: name.clone(), limit: guard.dhcp_limit });
    }
    guard.addresses.iter().try_for_each(|prefix| match no_source(prefix) {
        Some(what) => Err(IpGuardError::NoSource { port: name.clone(), address: *prefix, what }),
        None => Ok(()),
    })
}

/// What an address is that is never a source. A prefix that has others besides is none.
fn no_source(prefix: &IpPrefix) -> Option<&'static str> {
    let (address, len) = (prefix.address(), prefix.len());
    let is_whole = |width| len == width;
    match address {
        IpAddr::V4(v4) if len >= 4 && v4.is_multicast() => Some("a group"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(v4) if is_whole(32) && v4.is_unspecified() => Some("no address"),
        IpAddr::V6(v6) if len >= 8 && v6.is_multicast() => Some("a group"),
        IpAddr::V6(v6) if is_whole(128) && v6.is_unspecified() => Some("no address"),
        IpAddr::V6(v6) if len >= 96 && v6.to_ipv4_mapped().is_some() => {
            Some("an IPv4 address in IPv6's form")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IfName;
    use alloc::{string::ToString, vec};

    fn port(addresses: &[&str]) -> PortConfig {
        let name: Name = "vm1".parse().unwrap();
        let attach = Attachment::Tap(IfName::try_from(&name).unwrap());
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let ip_guard = IpGuardConfig { mode: IpGuardMode::On, addresses, ..IpGuardConfig::default() };
        PortConfig { ip_guard, ..PortConfig::new(name, attach) }
    }

    #[test]
    fn addresses_are_such_that_somebody_sends_from() {
        let good = ["10.9.0.7", "10.0.0.0/8", "0.0.0.0/0", "fd00::7", "fe80::/10", "::/0", "169.254.0.0/16"];
        assert_eq!(check(&port(&good)), Ok(()));
        for (bad, what) in [
            ("224.0.0.1", "a group"),
            ("224.0.0.0/4", "a group"),
            ("255.255.255.255", "the broadcast address"),
            ("0.0.0.0", "no address"),
            ("ff02::1", "a group"),
            ("::", "no address"),
            ("::ffff:10.9.0.7", "an IPv4 address in IPv6's form"),
        ] {
            let message = check(&port(&[bad])).unwrap_err().to_string();
            assert!(message.contains(&alloc::format!("is {what}: nobody sends from it")), "{message}");
        }
    }

    #[test]
    fn lists_and_leases_are_bounded_and_an_uplink_has_none() {
        let name: Name = "vm1".parse().unwrap();
        assert_eq!(check(&port(&vec!["10.9.0.7"; 64])), Ok(()));
        assert_eq!(
            check(&port(&vec!["10.9.0.7"; 65])),
            Err(IpGuardError::TooMany { port: name.clone(), count: 65 })
        );
        for limit in [0, 65] {
            let mut config = port(&[]);
            config.ip_guard.dhcp_limit = limit;
            assert_eq!(check(&config), Err(IpGuardError::Limit { port: name.clone(), limit }));
        }
        let attach = Attachment::Uplink(IfName::try_from(&name).unwrap());
        assert_eq!(check(&PortConfig { attach, ..port(&[]) }), Err(IpGuardError::Uplink(name)));
    }

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name() {
        let mut guard = port(&["10.9.0.7"]).ip_guard;
        let before = guard.clone();
        guard.change(ChangeIpGuard::default());
        assert_eq!(guard, before);
        guard.change(ChangeIpGuard {
            mode: Some(IpGuardMode::Dhcp),
            addresses: Some(Vec::new()),
            dhcp_limit: Some(2),
        });
        assert_eq!(guard, IpGuardConfig { mode: IpGuardMode::Dhcp, addresses: Vec::new(), dhcp_limit: 2 });
    }
}
