//! What must be done to come from one desired state to another: the pure half of `apply`.
//!
//! Removals come first, because what is added may need a name, an interface or a socket that a removal sets free. A port
//! whose attachment changed is removed and added: there is nothing of it that could stay, but of a vhost-user port that is
//! to be the other side of the same socket.

use model::{
    Attachment, DesiredState, Name, PortConfig, SwitchConfig, SwitchKind,
    policy::{multicast::MulticastConfig, rate::BandwidthConfig},
    where_they_differ,
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// One change. A switch is added without ports; its ports follow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Change {
    RemovePort { switch: Name, port: Name },
    RemoveSwitch { switch: Name },
    AddSwitch(SwitchConfig),
    ConvertSwitch { switch: Name, from: SwitchKind, to: SwitchKind },
    ChangeSwitch { switch: Name, mac_table_size: u32, ageing_s: u32 },
    ChangeMulticast { switch: Name, multicast: MulticastConfig },
    ShareUplink { switch: Name, bandwidth: BandwidthConfig },
    AddPort { switch: Name, port: Arc<PortConfig> },
    ChangePort { switch: Name, port: Arc<PortConfig> },
}

/// The changes from `old` to `new`, in the order in which to make them.
#[must_use]
pub fn changes(old: &DesiredState, new: &DesiredState) -> Vec<Change> {
    let mut changes = Vec::new();
    for switch in &old.switches {
        changes.extend(removals(switch, find(new, &switch.name)));
    }
    for switch in &new.switches {
        changes.extend(alterations(switch, find(old, &switch.name)));
    }
    for switch in &new.switches {
        changes.extend(additions(switch, find(old, &switch.name)));
    }
    changes
}

fn find<'a>(state: &'a DesiredState, name: &Name) -> Option<&'a SwitchConfig> {
    state.switches.iter().find(|s| &s.name == name)
}

fn ports(switch: Option<&SwitchConfig>) -> &[Arc<PortConfig>] {
    switch.map_or(&[], |switch| &switch.ports)
}

/// Ports by name: to look for each of a thousand in a list of a thousand takes milliseconds.
fn by_name(ports: &[Arc<PortConfig>]) -> BTreeMap<&Name, &PortConfig> {
    ports.iter().map(|port| (&port.name, &**port)).collect()
}

fn removals(old: &SwitchConfig, new: Option<&SwitchConfig>) -> Vec<Change> {
    let (before, after) = where_they_differ(&old.ports, ports(new));
    let named = by_name(&ports(new)[after]);
    let stays = |port: &PortConfig| successor(&named, port).is_some();
    let mut changes: Vec<_> = old.ports[before]
        .iter()
        .filter(|p| !stays(p))
        .map(|p| Change::RemovePort { switch: old.name.clone(), port: p.name.clone() })
        .collect();
    if new.is_none() {
        changes.push(Change::RemoveSwitch { switch: old.name.clone() });
    }
    changes
}

/// The port of that name and attachment.
fn successor<'a>(ports: &BTreeMap<&Name, &'a PortConfig>, port: &PortConfig) -> Option<&'a PortConfig> {
    ports.get(&port.name).copied().filter(|p| same_place(&p.attach, &port.attach))
}

fn same_place(a: &Attachment, b: &Attachment) -> bool {
    match (a, b) {
        (Attachment::VhostUser(a), Attachment::VhostUser(b)) => a.socket == b.socket,
        _ => a == b,
    }
}

fn alterations(new: &SwitchConfig, old: Option<&SwitchConfig>) -> Vec<Change> {
    let Some(old) = old else {
        return vec![Change::AddSwitch(SwitchConfig { ports: vec![], ..new.clone() })];
    };
    let switch = new.name.clone();
    let mut changes = Vec::new();
    if old.kind != new.kind {
        changes.push(Change::ConvertSwitch { switch: switch.clone(), from: old.kind, to: new.kind });
    }
    if (old.mac_table_size, old.ageing_s) != (new.mac_table_size, new.ageing_s) {
        let (switch, mac_table_size, ageing_s) = (switch.clone(), new.mac_table_size, new.ageing_s);
        changes.push(Change::ChangeSwitch { switch, mac_table_size, ageing_s });
    }
    if old.bandwidth != new.bandwidth {
        changes.push(Change::ShareUplink { switch: switch.clone(), bandwidth: new.bandwidth.clone() });
    }
    if old.multicast != new.multicast {
        changes.push(Change::ChangeMulticast { switch, multicast: new.multicast });
    }
    changes
}

fn additions(new: &SwitchConfig, old: Option<&SwitchConfig>) -> Vec<Change> {
    let (before, after) = where_they_differ(ports(old), &new.ports);
    let named = by_name(&ports(old)[before]);
    let change = |port: &Arc<PortConfig>| {
        let (switch, before) = (new.name.clone(), successor(&named, port));
        match before {
            None => Some(Change::AddPort { switch, port: port.clone() }),
            Some(before) if before != &**port => Some(Change::ChangePort { switch, port: port.clone() }),
            Some(_) => None,
        }
    };
    new.ports[after].iter().filter_map(change).collect()
}

impl Change {
    /// Makes the change in a desired state.
    pub fn apply(&self, state: &mut DesiredState) {
        match self {
            Self::AddSwitch(switch) => state.switches.push(switch.clone()),
            Self::RemoveSwitch { switch } => state.switches.retain(|s| &s.name != switch),
            Self::RemovePort { switch, .. }
            | Self::ConvertSwitch { switch, .. }
            | Self::ChangeSwitch { switch, .. }
            | Self::ChangeMulticast { switch, .. }
            | Self::ShareUplink { switch, .. }
            | Self::AddPort { switch, .. }
            | Self::ChangePort { switch, .. } => {
                if let Some(switch) = state.switches.iter_mut().find(|s| &s.name == switch) {
                    self.apply_to(switch);
                }
            }
        }
    }

    fn apply_to(&self, state: &mut SwitchConfig) {
        match self {
            Self::RemovePort { port, .. } => state.ports.retain(|p| &p.name != port),
            Self::ConvertSwitch { to, .. } => state.kind = *to,
            Self::ChangeSwitch { mac_table_size, ageing_s, .. } => {
                (state.mac_table_size, state.ageing_s) = (*mac_table_size, *ageing_s);
            }
            Self::ChangeMulticast { multicast, .. } => state.multicast = *multicast,
            Self::ShareUplink { bandwidth, .. } => state.bandwidth = bandwidth.clone(),
            Self::AddPort { port, .. } => state.ports.push(port.clone()),
            Self::ChangePort { port, .. } => {
                state.ports.iter_mut().filter(|p| p.name == port.name).for_each(|p| *p = port.clone());
            }
            Self::AddSwitch(_) | Self::RemoveSwitch { .. } => {}
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemovePort { switch, port } => write!(f, "remove port {switch}/{port}"),
            Self::RemoveSwitch { switch } => write!(f, "remove switch {switch}"),
            Self::AddSwitch(switch) => write!(f, "add {} switch {}", switch.kind.as_str(), switch.name),
            Self::ConvertSwitch { switch, from, to } => {
                write!(f, "convert switch {switch} from {} to {}", from.as_str(), to.as_str())
            }
            Self::ChangeSwitch { switch, mac_table_size, ageing_s } => {
                write!(
                    f,
                    "set switch {switch} to {mac_table_size} MAC table entries and {ageing_s} s of ageing"
                )
            }
            Self::ChangeMulticast { switch, multicast } => {
                let snooping = if multicast.snooping { "on" } else { "off" };
                write!(f, "change what switch {switch} does with multicast: snooping {snooping}")
            }
            Self::ShareUplink { switch, bandwidth } => {
                write!(f, "set bandwidth mode {} on switch {switch}", bandwidth.mode.as_str())
            }
            Self::AddPort { switch, port } => {
                write!(f, "add {} port {switch}/{}", port.attach.kind(), port.name)
            }
            Self::ChangePort { switch, port } => {
                write!(f, "change the settings of port {switch}/{}", port.name)
            }
        }
    }
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
