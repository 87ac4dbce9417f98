//! VLANs, written down for each mode as people describe it.

use engine::{PortPolicy, Retag, Role, Vlan};
use model::{
    DropReason,
    policy::vlan::{Promiscuous, Secondary, Trunk, VlanMode},
};

pub fn is_trunk(policy: &PortPolicy) -> bool {
    matches!(policy.vlan, VlanMode::Trunk(_))
}

fn is_trusted(policy: &PortPolicy) -> bool {
    policy.trust_priority || policy.role == Role::Uplink
}

pub fn differ(one: &PortPolicy, other: &PortPolicy) -> bool {
    one.vlan != other.vlan
        || is_trusted(one) != is_trusted(other)
        || refuses_service_tags(one) != refuses_service_tags(other)
}

/// The VLAN in which the port sends what has no tag.
pub fn untagged(policy: &PortPolicy) -> u16 {
    match &policy.vlan {
        VlanMode::Untagged => 0,
        VlanMode::Access(vlan) => *vlan,
        VlanMode::Trunk(trunk) => trunk.native,
        VlanMode::Isolated(vlan) | VlanMode::Community(vlan) => vlan.secondary,
        VlanMode::Promiscuous(vlan) => vlan.primary,
    }
}

fn passes_tagged(policy: &PortPolicy, vlan: u16) -> bool {
    match &policy.vlan {
        VlanMode::Trunk(Trunk { allowed, prune, .. }) => allowed.contains(vlan) && !prune.contains(vlan),
        _ => false,
    }
}

fn receives_untagged(policy: &PortPolicy, vlan: u16) -> bool {
    match &policy.vlan {
        VlanMode::Isolated(Secondary { primary, .. }) => vlan == *primary,
        VlanMode::Community(Secondary { primary, secondary }) => vlan == *primary || vlan == *secondary,
        VlanMode::Promiscuous(Promiscuous { primary, secondaries }) => {
            vlan == *primary || secondaries.contains(vlan)
        }
        _ => vlan == untagged(policy),
    }
}

/// True where the port receives what is sent in that VLAN.
pub fn has(policy: &PortPolicy, vlan: u16) -> bool {
    receives_untagged(policy, vlan) || passes_tagged(policy, vlan)
}

pub fn primary_of<'a>(ports: impl Iterator<Item = &'a PortPolicy>, vlan: u16) -> Option<u16> {
    ports.map(|policy| &policy.vlan).find_map(|mode| match mode {
        VlanMode::Isolated(pair) | VlanMode::Community(pair) if pair.secondary == vlan => Some(pair.primary),
        VlanMode::Promiscuous(all) if all.secondaries.contains(vlan) => Some(all.primary),
        _ => None,
    })
}

/// The tag at the front and the EtherType behind it, or no tag.
fn tag(header: &[u8]) -> Option<(u16, Option<u16>)> {
    let number = |at: usize| header.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    (number(12) == Some(0x8100)).then(|| (number(14).unwrap_or_default(), number(16)))
}

/// A service tag that is in no VLAN would leave the uplink as it is: nobody may send one but a trunk that is the uplink, or of all VLANs.
fn refuses_service_tags(policy: &PortPolicy) -> bool {
    let is_kept_from_nothing = (1..4095).all(|id| passes_tagged(policy, id));
    untagged(policy) == 0 && !is_kept_from_nothing && !(policy.role == Role::Uplink && is_trunk(policy))
}

pub fn classify(policy: &PortPolicy, header: &[u8]) -> Result<Vlan, DropReason> {
    let refused = refuses_service_tags(policy);
    match tag(header) {
        None if refused && header[12..14] == [0x88, 0xa8] => Err(DropReason::VlanNotAllowed),
        None => Ok(Vlan::new(untagged(policy), false)),
        Some((_, None)) => Err(DropReason::Runt),
        Some((tci, Some(inner))) => match tci & 0xfff {
            0 if inner == 0x8100 => Err(DropReason::DoubleTag),
            0 if inner == 0x88a8 && refused => Err(DropReason::VlanNotAllowed),
            0 => Ok(Vlan::new(untagged(policy), true)),
            vlan if passes_tagged(policy, vlan) => Ok(Vlan::new(vlan, true)),
            _ => Err(DropReason::VlanNotAllowed),
        },
    }
}

/// What becomes of the tag: the frame's bytes as they should leave, or why they do not.
#[allow(dead_code, reason = "not every test that has the naive switch looks at what leaves")]
pub fn retag(from: &PortPolicy, to: &PortPolicy, vlan: Vlan, header: &[u8]) -> Result<Retag, DropReason> {
    let came_with = tag(header);
    let both_trusted = is_trusted(from) && is_trusted(to);
    let priority = match came_with {
        Some((tci, _)) if both_trusted => tci >> 12 << 12,
        _ => 0,
    };
    let only_priority = both_trusted && matches!(came_with, Some((tci, _)) if tci & 0xfff == 0);
    let leaves_with = match receives_untagged(to, vlan.id()) {
        false => Some(priority | vlan.id()),
        true if priority != 0 || only_priority => Some(priority),
        true => None,
    };
    match (came_with, leaves_with) {
        (Some((_, Some(0x8100 | 0x88a8))), None) if is_trunk(to) => Err(DropReason::DoubleTag),
        (Some((tci, _)), Some(new)) if tci == new => Ok(Retag::Keep),
        (None, None) => Ok(Retag::Keep),
        (_, None) => Ok(Retag::Untagged),
        (_, Some(new)) => Ok(Retag::Tagged(new)),
    }
}
