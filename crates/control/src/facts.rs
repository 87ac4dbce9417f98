//! What was found on the host: plain values, which the journal keeps on disk.
//!
//! Nothing of a route or an address may get lost between the NIC and the host vNIC, so whatever has no field here is
//! kept as the kernel's own bytes ([`RawAttribute`]). Interfaces are named, not numbered: a NIC that went away and came
//! back has another number.

use model::{IfName, MacAddr};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// Everything a plan looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Every interface of the namespace.
    pub links: Vec<Link>,
    /// The IP settings of the interfaces that were asked for.
    pub settings: BTreeMap<IfName, Settings>,
}

impl Facts {
    /// The interface of that name.
    #[must_use]
    pub fn link(&self, name: &IfName) -> Option<&Link> {
        self.links.iter().find(|l| &l.name == name)
    }
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: IfName,
    /// The kind of a virtual interface: `bridge`, `bond`, `veth`, `tun`, `vlan`, …; a physical NIC has none.
    pub kind: Option<String>,
    /// Its MAC; interfaces that are not Ethernet have none.
    pub mac: Option<MacAddr>,
    /// Bytes of its largest layer 3 packet.
    pub mtu: u32,
    /// Set up by the administrator.
    pub up: bool,
    /// A cable, or what stands for one, is there.
    pub carrier: bool,
    /// Takes ARP and neighbour discovery part (no `IFF_NOARP`).
    pub arp: bool,
    /// Promiscuous by the administrator's flag (`IFF_PROMISC`).
    pub promisc: bool,
    /// The loopback interface.
    pub loopback: bool,
    /// A wireless NIC.
    pub wireless: bool,
    /// The bridge, bond or other master that it belongs to.
    pub master: Option<u32>,
    /// The interface that it stands on (a VLAN's NIC), or a veth's other end.
    pub parent: Option<u32>,
}

/// The IP settings of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Addresses, in the kernel's order (the first of an IPv4 subnet is its primary).
    pub addresses: Vec<Address>,
    /// Routes of every table that leave by the interface and that somebody, or the kernel for a prefix, has set.
    pub routes: Vec<Route>,
    /// Permanent neighbours and proxied addresses.
    pub neighbours: Vec<Neighbour>,
    /// Settings under `/proc/sys/net/ipv4/conf` and `/proc/sys/net/ipv6/conf`.
    pub sysctls: Vec<Sysctl>,
    /// Policy rules that name the interface, as sentences.
    pub rules: Vec<String>,
}

impl Settings {
    /// The value of a sysctl.
    #[must_use]
    pub fn sysctl(&self, family: Family, key: &str) -> Option<&str> {
        self.sysctls.iter().find(|s| s.family == family && s.key == key).map(|s| s.value.as_str())
    }

    /// The settings as they are `seconds` later.
    #[must_use]
    pub fn aged(&self, seconds: u32) -> Self {
        Self {
            addresses: self.addresses.iter().map(|a| a.aged(seconds)).collect(),
            routes: self.routes.iter().map(|r| r.aged(seconds)).collect(),
            ..self.clone()
        }
    }
}

/// What an address or route that ran out while vmswitchd was away is given: the host must be reachable while its DHCP
/// client or router renews it.
pub const LEAST_LEFT_S: u32 = 120;
/// A lifetime without an end.
pub const FOREVER: u32 = u32::MAX;

const fn left(value: u32, seconds: u32) -> u32 {
    if value == FOREVER { FOREVER } else { value.saturating_sub(seconds) }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(ip: &IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of its prefix.
    pub prefix_len: u8,
    /// The other end of a point-to-point address.
    pub peer: Option<IpAddr>,
    /// IPv4 broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// The kernel's number of its scope (0 global, 253 link, 254 host).
    pub scope: u8,
    /// IPv4 label, unless it is the interface's name.
    pub label: Option<String>,
    /// The `IFA_F_…` flags that an administrator can set.
    pub flags: u32,
    /// When it runs out; `None` for a permanent one.
    pub lifetime: Option<Lifetime>,
    /// Metric of its prefix route.
    pub metric: Option<u32>,
    /// Who set it (`IFA_PROTO`).
    pub protocol: Option<u8>,
}

/// Seconds that an address has left; [`FOREVER`] for no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// Until it is removed.
    pub valid_s: u32,
    /// Until no new connection uses it.
    pub preferred_s: u32,
}

impl Address {
    /// The address as it is `seconds` later, but with [`LEAST_LEFT_S`] at least.
    #[must_use]
    pub fn aged(&self, seconds: u32) -> Self {
        let lifetime = self.lifetime.map(|l| Lifetime {
            valid_s: left(l.valid_s, seconds).max(LEAST_LEFT_S),
            preferred_s: left(l.preferred_s, seconds),
        });
        Self { lifetime, ..self.clone() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix_len)?;
        if let Some(lifetime) = self.lifetime {
            write!(f, " (valid for {} s)", lifetime.valid_s)?;
        }
        Ok(())
    }
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Prefix {
    /// The network's address.
    pub ip: IpAddr,
    /// Its bits.
    pub len: u8,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.len)
    }
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Where it leads; `None` is the default route.
    pub dst: Option<Prefix>,
    /// IPv6: only for packets from there.
    pub from: Option<Prefix>,
    /// The table's number (254 is `main`).
    pub table: u32,
    /// The kernel's number of its type (1 is unicast).
    pub kind: u8,
    /// The kernel's number of its scope.
    pub scope: u8,
    /// Who set it (2 kernel, 3 boot, 4 static, 9 router advertisement, 16 DHCP, …).
    pub protocol: u8,
    /// Type of service.
    pub tos: u8,
    /// Metric: the lower, the better.
    pub metric: u32,
    /// The source address it suggests.
    pub prefsrc: Option<IpAddr>,
    /// Seconds it has left.
    pub expires_s: Option<u32>,
    /// Where packets go; more than one on a multipath route.
    pub hops: Vec<Hop>,
    /// Everything else: metrics such as `mtu` and `advmss`, preference, encapsulation.
    pub other: Vec<RawAttribute>,
}

/// A next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The interface packets leave by.
    pub dev: IfName,
    /// The router; of the other family for a `via inet6` route.
    pub gateway: Option<IpAddr>,
    /// Its share, less one.
    pub weight: u8,
    /// The router is on the link although no route says so.
    pub onlink: bool,
    /// What else the kernel said of the hop of a multipath route.
    pub other: Vec<RawAttribute>,
}

/// An attribute in the kernel's own form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawAttribute {
    /// Its number.
    pub kind: u16,
    /// Its value.
    pub value: Vec<u8>,
}

impl Route {
    /// Identity for "is it there?": the kernel tells routes apart by these and by their next hops.
    #[must_use]
    pub fn same_place(&self, other: &Self) -> bool {
        let key = |r: &Self| (r.family, r.dst, r.from, r.table, r.kind, r.tos, r.metric);
        let hops = |r: &Self| r.hops.iter().map(|h| (h.dev.clone(), h.gateway)).collect::<Vec<_>>();
        key(self) == key(other) && hops(self) == hops(other)
    }

    /// The route as it is `seconds` later, but with [`LEAST_LEFT_S`] at least.
    #[must_use]
    pub fn aged(&self, seconds: u32) -> Self {
        let expires_s = self.expires_s.map(|s| left(s, seconds).max(LEAST_LEFT_S));
        Self { expires_s, ..self.clone() }
    }

    /// True where a router stands between.
    #[must_use]
    pub fn has_gateway(&self) -> bool {
        self.hops.iter().any(|h| h.gateway.is_some())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.dst, self.family) {
            (Some(dst), _) => write!(f, "{dst}")?,
            (None, Family::Ipv4) => write!(f, "default")?,
            (None, Family::Ipv6) => write!(f, "default (IPv6)")?,
        }
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        for hop in &self.hops {
            if let Some(gateway) = hop.gateway {
                write!(f, " via {gateway}")?;
            }
            write!(f, " dev {}", hop.dev)?;
        }
        if self.table != MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        match self.prefsrc {
            Some(src) => write!(f, " src {src}"),
            None => Ok(()),
        }
    }
}

/// The number of table `main`.
pub const MAIN_TABLE: u32 = 254;

/// A permanent neighbour, or an address that the host answers for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The address.
    pub ip: IpAddr,
    /// The neighbour's MAC; none for a proxied address.
    pub mac: Option<MacAddr>,
    /// True where the host answers for the address.
    pub proxy: bool,
    /// The kernel's flags of the entry (`NTF_ROUTER` and the like), without `NTF_PROXY`.
    pub flags: u8,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mac {
            Some(mac) => write!(f, "{} at {mac}", self.ip),
            None => write!(f, "{} (proxy)", self.ip),
        }
    }
}

/// A value under `/proc/sys/net/FAMILY/conf/INTERFACE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// `ipv4` or `ipv6`.
    pub family: Family,
    /// The file's name.
    pub key: String,
    /// What it holds.
    pub value: String,
}
