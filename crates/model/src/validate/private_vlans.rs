//! The VLANs of private VLANs, which the ports of a switch have to agree on.

use super::Invalid;
use crate::{
    Name, SwitchConfig,
    policy::vlan::{Promiscuous, Secondary, VlanMode},
};
use alloc::{collections::BTreeMap, vec, vec::Vec};

/// What a VLAN is in a private VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    Isolated,
    Community,
    /// Isolated or community: a promiscuous port names it without saying so.
    Secondary,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary VLAN",
            Self::Isolated => "isolated VLAN",
            Self::Community => "community VLAN",
            Self::Secondary => "secondary VLAN",
        }
    }

    const fn agrees_with(self, other: Self) -> bool {
        match (self, other) {
            (Self::Secondary, Self::Isolated | Self::Community)
            | (Self::Isolated | Self::Community, Self::Secondary) => true,
            _ => self as u8 == other as u8,
        }
    }
}

/// A VLAN's part: in which private VLAN it is what.
type Part = (u16, Role);

/// Checks that each VLAN has one part in one private VLAN, and that none is both private and the VLAN of an access port or the
/// native one of a trunk, whose frames would get past the isolation.
pub fn check(switch: &SwitchConfig) -> Result<(), Invalid> {
    let mut parts: BTreeMap<u16, (Part, &Name)> = BTreeMap::new();
    for port in &switch.ports {
        for (vlan, part) in parts_of(&port.vlan()) {
            let (known, other) = *parts.entry(vlan).or_insert((part, &port.name));
            if known.0 != part.0 || !known.1.agrees_with(part.1) {
                return Err(clash(&port.name, vlan, known, other));
            }
            if known.1 == Role::Secondary {
                parts.insert(vlan, (part, &port.name));
            }
        }
    }
    for port in &switch.ports {
        let vlan = match port.vlan() {
            VlanMode::Access(vlan) => vlan,
            VlanMode::Trunk(trunk) => trunk.native,
            _ => continue,
        };
        if let Some((part, other)) = parts.get(&vlan).filter(|((_, role), _)| *role != Role::Primary) {
            return Err(clash(&port.name, vlan, *part, other));
        }
    }
    Ok(())
}

fn parts_of(mode: &VlanMode) -> Vec<(u16, Part)> {
    let pair = |vlan: &Secondary, role| {
        vec![(vlan.primary, (vlan.primary, Role::Primary)), (vlan.secondary, (vlan.primary, role))]
    };
    match mode {
        VlanMode::Isolated(vlan) => pair(vlan, Role::Isolated),
        VlanMode::Community(vlan) => pair(vlan, Role::Community),
        VlanMode::Promiscuous(Promiscuous { primary, secondaries }) => {
            let primary_itself = (*primary, (*primary, Role::Primary));
            secondaries
                .iter()
                .map(|vlan| (vlan, (*primary, Role::Secondary)))
                .chain([primary_itself])
                .collect()
        }
        VlanMode::Untagged | VlanMode::Access(_) | VlanMode::Trunk(_) => Vec::new(),
    }
}

fn clash(port: &Name, vlan: u16, (primary, role): Part, other: &Name) -> Invalid {
    Invalid::PrivateVlanClash { port: port.clone(), vlan, role: role.as_str(), primary, other: other.clone() }
}
