//! Actions: the named, reversible steps of a plan.
//!
//! Each says what shall be so ("ensure"), not what to do, so that running one again changes nothing. That is what makes
//! recovery simple: it does not need to know how far the daemon came.

use crate::facts::{Address, Family, Neighbour, Route};
use model::{IfName, MacAddr};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The host vNIC exists: a TAP that stays when the daemon ends, so that addresses and sockets survive a restart. It is
    /// made down, so that the kernel puts no address of its own on it.
    CreateHostVnic(HostVnic),
    /// The host vNIC does not exist.
    RemoveHostVnic(HostVnic),
    /// The data path forwards between the NIC and the switch.
    ConnectUplink {
        /// The NIC.
        nic: IfName,
    },
    /// The data path has let go of the NIC.
    DisconnectUplink {
        /// The NIC.
        nic: IfName,
    },
    /// A flag of an interface has a value.
    SetFlag {
        /// The interface.
        dev: IfName,
        /// The flag.
        flag: Flag,
        /// As it shall be.
        on: bool,
        /// As it was, where undoing it matters.
        was: Option<bool>,
    },
    /// An interface has an MTU.
    SetMtu {
        /// The interface.
        dev: IfName,
        /// As it shall be.
        mtu: u32,
        /// As it was.
        was: u32,
    },
    /// A sysctl of an interface has a value.
    SetSysctl {
        /// The interface.
        dev: IfName,
        /// `ipv4` or `ipv6`.
        family: Family,
        /// Its name.
        key: String,
        /// As it shall be.
        value: String,
        /// As it was, where undoing it matters.
        was: Option<String>,
    },
    /// The interface has the address.
    AddAddress {
        /// The interface.
        dev: IfName,
        /// The address.
        address: Address,
    },
    /// The interface does not have the address.
    RemoveAddress {
        /// The interface.
        dev: IfName,
        /// The address.
        address: Address,
    },
    /// The route exists; it names its interfaces.
    AddRoute(Route),
    /// The route does not exist.
    RemoveRoute(Route),
    /// The interface has the permanent neighbour.
    AddNeighbour {
        /// The interface.
        dev: IfName,
        /// The neighbour.
        neighbour: Neighbour,
    },
    /// The interface does not have the permanent neighbour.
    RemoveNeighbour {
        /// The interface.
        dev: IfName,
        /// The neighbour.
        neighbour: Neighbour,
    },
    /// The host's stack sees no frame that comes in by the interface.
    DetachIngress {
        /// The interface.
        dev: IfName,
    },
    /// The host's stack sees the frames that come in by the interface.
    AttachIngress {
        /// The interface.
        dev: IfName,
    },
}

/// A host vNIC as it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostVnic {
    /// Its name.
    pub ifname: IfName,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its MTU.
    pub mtu: u32,
}

/// A flag of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flag {
    /// `IFF_UP`.
    Up,
    /// The opposite of `IFF_NOARP`.
    Arp,
    /// `IFF_PROMISC`.
    Promisc,
}

impl Action {
    /// The step that takes this one back; `None` where another step's undoing covers it (a host vNIC's settings go with
    /// the host vNIC).
    #[must_use]
    pub fn undo(&self) -> Option<Self> {
        let inverse = match self.clone() {
            Self::CreateHostVnic(vnic) => Self::RemoveHostVnic(vnic),
            Self::RemoveHostVnic(vnic) => Self::CreateHostVnic(vnic),
            Self::ConnectUplink { nic } => Self::DisconnectUplink { nic },
            Self::DisconnectUplink { nic } => Self::ConnectUplink { nic },
            Self::SetFlag { dev, flag, on, was } => Self::SetFlag { dev, flag, on: was?, was: Some(on) },
            Self::SetMtu { dev, mtu, was } => Self::SetMtu { dev, mtu: was, was: mtu },
            Self::SetSysctl { dev, family, key, value, was } => {
                Self::SetSysctl { dev, family, key, value: was?, was: Some(value) }
            }
            Self::AddAddress { dev, address } => Self::RemoveAddress { dev, address },
            Self::RemoveAddress { dev, address } => Self::AddAddress { dev, address },
            Self::AddRoute(route) => Self::RemoveRoute(route),
            Self::RemoveRoute(route) => Self::AddRoute(route),
            Self::AddNeighbour { dev, neighbour } => Self::RemoveNeighbour { dev, neighbour },
            Self::RemoveNeighbour { dev, neighbour } => Self::AddNeighbour { dev, neighbour },
            Self::DetachIngress { dev } => Self::AttachIngress { dev },
            Self::AttachIngress { dev } => Self::DetachIngress { dev },
        };
        Some(inverse)
    }

    /// The step as it is `seconds` after it was planned: lifetimes have gone on.
    #[must_use]
    pub fn aged(&self, seconds: u32) -> Self {
        match self.clone() {
            Self::AddAddress { dev, address } => Self::AddAddress { dev, address: address.aged(seconds) },
            Self::AddRoute(route) => Self::AddRoute(route.aged(seconds)),
            other => other,
        }
    }

    /// The interfaces that must exist for the step to have anything to do.
    #[must_use]
    pub fn interfaces(&self) -> Vec<&IfName> {
        match self {
            Self::CreateHostVnic(vnic) | Self::RemoveHostVnic(vnic) => vec![&vnic.ifname],
            Self::ConnectUplink { nic } | Self::DisconnectUplink { nic } => vec![nic],
            Self::SetFlag { dev, .. }
            | Self::SetMtu { dev, .. }
            | Self::SetSysctl { dev, .. }
            | Self::AddAddress { dev, .. }
            | Self::RemoveAddress { dev, .. }
            | Self::AddNeighbour { dev, .. }
            | Self::RemoveNeighbour { dev, .. }
            | Self::DetachIngress { dev }
            | Self::AttachIngress { dev } => vec![dev],
            Self::AddRoute(route) | Self::RemoveRoute(route) => route.hops.iter().map(|h| &h.dev).collect(),
        }
    }
}

/// The steps that take `actions` back, in the order in which to run them.
#[must_use]
pub fn undo_all(actions: &[Action]) -> Vec<Action> {
    actions.iter().rev().filter_map(Action::undo).collect()
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateHostVnic(HostVnic { ifname, mac, mtu }) => {
                write!(f, "make the host vNIC {ifname} with MAC {mac} and MTU {mtu}")
            }
            Self::RemoveHostVnic(vnic) => write!(f, "remove the host vNIC {}", vnic.ifname),
            Self::ConnectUplink { nic } => write!(f, "forward between {nic} and the switch"),
            Self::DisconnectUplink { nic } => write!(f, "stop forwarding between {nic} and the switch"),
            Self::SetFlag { dev, flag, on, .. } => f.write_str(&flag_sentence(dev, *flag, *on)),
            Self::SetMtu { dev, mtu, .. } => write!(f, "set the MTU of {dev} to {mtu}"),
            Self::SetSysctl { dev, family, key, value, .. } => {
                write!(f, "set {family} {key} of {dev} to {value}")
            }
            Self::AddAddress { dev, address } => write!(f, "give {dev} the address {address}"),
            Self::RemoveAddress { dev, address } => write!(f, "take the address {address} from {dev}"),
            Self::AddRoute(route) => write!(f, "add the route {route}"),
            Self::RemoveRoute(route) => write!(f, "remove the route {route}"),
            Self::AddNeighbour { dev, neighbour } => write!(f, "give {dev} the neighbour {neighbour}"),
            Self::RemoveNeighbour { dev, neighbour } => {
                write!(f, "take the neighbour {neighbour} from {dev}")
            }
            Self::DetachIngress { dev } => {
                write!(f, "keep frames that come in by {dev} from the host's stack")
            }
            Self::AttachIngress { dev } => {
                write!(f, "let frames that come in by {dev} reach the host's stack")
            }
        }
    }
}

fn flag_sentence(dev: &IfName, flag: Flag, on: bool) -> String {
    match (flag, on) {
        (Flag::Up, true) => format!("set {dev} up"),
        (Flag::Up, false) => format!("set {dev} down"),
        (Flag::Arp, true) => format!("let {dev} answer ARP and neighbour discovery"),
        (Flag::Arp, false) => format!("keep {dev} from answering ARP and neighbour discovery"),
        (Flag::Promisc, true) => format!("make {dev} promiscuous"),
        (Flag::Promisc, false) => format!("make {dev} not promiscuous"),
    }
}
