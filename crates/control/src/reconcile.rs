//! From one desired state to another, as steps: what the daemon runs, and what a dry run prints.
//!
//! Uplink and host vNIC of an external switch are not made one by one: the take-over makes both, and moves what the host
//! has on the NIC to the host vNIC in between. So they are left out of the changes, and a switch whose uplink or host vNIC
//! is another one afterwards is given back first and bound anew last. Between the two, the ports of VMs stay as they are.
//! Where the host only loses its vNIC, or only gets one, the NIC stays the switch's, and frames pass it all the while.

use crate::{
    diff::{Change, changes},
    edit::takes_nic_mac,
};
use model::{Attachment, DesiredState, IfName, Name, PortConfig, SwitchConfig};
use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Give the NIC back to the host.
    GiveBack {
        /// The switch.
        switch: Name,
        /// What was bound.
        binding: Binding,
    },
    /// Take the host vNIC away that stands in for the NIC, and keep what is on it.
    RemoveHost {
        /// The switch.
        switch: Name,
        /// What was bound.
        binding: Binding,
    },
    /// Change something that has nothing to do with the NIC.
    Change(Change),
    /// Take the NIC over.
    Bind {
        /// The switch.
        switch: Name,
        /// What is to be bound.
        binding: Binding,
    },
    /// Make a host vNIC that stands in for a NIC which is bound already, with what was kept for it.
    AddHost {
        /// The switch.
        switch: Name,
        /// What is to be bound.
        binding: Binding,
    },
}

/// The NIC of an external switch, and the host vNIC that stands in for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The NIC.
    pub nic: IfName,
    /// The uplink, as configured.
    pub uplink: Arc<PortConfig>,
    /// The host vNIC's interface and its port, as configured.
    pub host: Option<(IfName, Arc<PortConfig>)>,
}

impl Binding {
    /// What a switch binds, if it is external.
    #[must_use]
    pub fn of(switch: &SwitchConfig) -> Option<Self> {
        let uplink = switch.ports.iter().find(|p| matches!(p.attach, Attachment::Uplink(_)))?;
        let host = switch.ports.iter().find(|p| takes_nic_mac(switch, p));
        let host = host.and_then(|p| Some((p.attach.host_interface()?.clone(), p.clone())));
        Some(Self { nic: uplink.attach.nic()?.clone(), uplink: uplink.clone(), host })
    }

    /// The port of the host vNIC.
    #[must_use]
    pub fn host_port(&self) -> Option<&Arc<PortConfig>> {
        self.host.as_ref().map(|(_, port)| port)
    }

    fn vnic(&self) -> Option<&IfName> {
        self.host.as_ref().map(|(ifname, _)| ifname)
    }

    /// True where taking over the one is taking over the other: policies may differ.
    fn same_interfaces(&self, other: &Self) -> bool {
        self.nic == other.nic && self.vnic() == other.vnic()
    }

    /// True where one of the two has a host vNIC and the other has none.
    fn differs_by_host(&self, other: &Self) -> bool {
        self.nic == other.nic && self.host.is_some() != other.host.is_some()
    }
}

/// The steps from `old` to `new`, in the order in which to run them.
#[must_use]
pub fn reconcile(old: &DesiredState, new: &DesiredState) -> Vec<Step> {
    let (before, after) = (bindings(old), bindings(new));
    let gone = missing_from(
        &before,
        &after,
        |switch, binding| Step::GiveBack { switch, binding },
        |switch, binding| Step::RemoveHost { switch, binding },
    );
    let come = missing_from(
        &after,
        &before,
        |switch, binding| Step::Bind { switch, binding },
        |switch, binding| Step::AddHost { switch, binding },
    );
    let (early, mut late): (Vec<_>, Vec<_>) = changes(&without(old, &gone), &without(new, &come))
        .into_iter()
        .partition(|change| !matches!(change, Change::AddPort { .. } | Change::ChangePort { .. }));
    // A port that is added is let into the data path at once, with the policies of the others as they are by then.
    late.sort_by_key(|change| matches!(change, Change::AddPort { .. }));
    let mut steps = gone;
    steps.extend(early.into_iter().map(Step::Change));
    steps.extend(come);
    steps.extend(late.into_iter().map(Step::Change));
    steps
}

fn bindings(state: &DesiredState) -> BTreeMap<Name, Binding> {
    state.switches.iter().filter_map(|s| Some((s.name.clone(), Binding::of(s)?))).collect()
}

/// What of `these` is not in `those`: the whole binding, or its host vNIC only.
fn missing_from(
    these: &BTreeMap<Name, Binding>,
    those: &BTreeMap<Name, Binding>,
    whole: impl Fn(Name, Binding) -> Step,
    host: impl Fn(Name, Binding) -> Step,
) -> Vec<Step> {
    let missing = |(switch, binding): (&Name, &Binding)| match those.get(switch) {
        Some(theirs) if theirs.same_interfaces(binding) => None,
        Some(theirs) if theirs.differs_by_host(binding) => {
            binding.host.is_some().then(|| host(switch.clone(), binding.clone()))
        }
        _ => Some(whole(switch.clone(), binding.clone())),
    };
    these.iter().filter_map(missing).collect()
}

/// `state` without the ports that come and go with those steps.
fn without<'a>(state: &'a DesiredState, steps: &[Step]) -> Cow<'a, DesiredState> {
    if steps.is_empty() {
        return Cow::Borrowed(state);
    }
    let mut state = state.clone();
    for (switch, ports) in steps.iter().filter_map(Step::bound_ports) {
        for found in state.switches.iter_mut().filter(|s| &s.name == switch) {
            found.ports.retain(|p| !ports.contains(&p));
        }
    }
    Cow::Owned(state)
}

impl Step {
    /// The ports that a step on a NIC makes or takes away, and their switch.
    fn bound_ports(&self) -> Option<(&Name, Vec<&Arc<PortConfig>>)> {
        match self {
            Self::Change(_) => None,
            Self::GiveBack { switch, binding } | Self::Bind { switch, binding } => {
                Some((switch, binding.host_port().into_iter().chain([&binding.uplink]).collect()))
            }
            Self::RemoveHost { switch, binding } | Self::AddHost { switch, binding } => {
                Some((switch, binding.host_port().into_iter().collect()))
            }
        }
    }

    /// The host vNIC that is gone after the step, so that its name is free for another. `old` is the state before all steps.
    #[must_use]
    pub fn freed<'a>(&'a self, old: &'a DesiredState) -> Option<&'a IfName> {
        match self {
            Self::GiveBack { binding, .. } | Self::RemoveHost { binding, .. } => binding.vnic(),
            Self::Change(Change::RemovePort { switch, port }) => {
                let switch = old.switches.iter().find(|s| &s.name == switch)?;
                match &switch.port(port.as_str())?.attach {
                    Attachment::Host(ifname) => Some(ifname),
                    _ => None,
                }
            }
            Self::Change(_) | Self::Bind { .. } | Self::AddHost { .. } => None,
        }
    }

    /// Makes the step in a desired state: what was reached when it had been run.
    pub fn apply(&self, state: &mut DesiredState) {
        match self {
            Self::Change(change) => change.apply(state),
            Self::GiveBack { .. } | Self::RemoveHost { .. } => {
                *state = without(state, std::slice::from_ref(self)).into_owned();
            }
            Self::Bind { .. } | Self::AddHost { .. } => {
                let Some((switch, ports)) = self.bound_ports() else { return };
                for found in state.switches.iter_mut().filter(|s| &s.name == switch) {
                    found.ports.extend(ports.iter().copied().cloned());
                }
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GiveBack { switch, binding } => {
                write!(f, "give {} back from switch {switch} to the host", binding.nic)
            }
            Self::RemoveHost { switch, .. } => {
                write!(f, "take the host vNIC of switch {switch} away, and keep what is on it")
            }
            Self::AddHost { switch, .. } => {
                write!(f, "make a host vNIC on switch {switch}, with what was kept for it")
            }
            Self::Change(change) => write!(f, "{change}"),
            Self::Bind { switch, binding } => match &binding.host {
                Some((vnic, _)) => {
                    write!(
                        f,
                        "take {} over as uplink of switch {switch}, with the host vNIC {vnic} in its place",
                        binding.nic
                    )
                }
                None => write!(f, "take {} over as uplink of switch {switch}, without the host", binding.nic),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::Editor;
    use model::{ChangePort, ChangeSwitch, NewSwitch, SwitchKind, ValidState};

    fn external() -> ValidState {
        let (name, nic) = ("lan".parse().unwrap(), "eth0".parse().unwrap());
        let new = NewSwitch::new(name, SwitchKind::External, vec![nic]);
        let vm = PortConfig::new("vm".parse().unwrap(), Attachment::Tap("t0".parse().unwrap()));
        let state = Editor::new(&ValidState::default(), 1).add_switch(new).unwrap();
        Editor::new(&state, 1).add_port("lan", vm).unwrap()
    }

    fn sentences(old: &ValidState, new: &ValidState) -> Vec<String> {
        reconcile(old.desired(), new.desired()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_external_switch_is_added_bound_and_then_given_ports() {
        let steps = sentences(&ValidState::default(), &external());
        assert_eq!(steps.len(), 3, "{steps:#?}");
        assert!(steps[1].starts_with("take eth0 over as uplink of switch lan, with the host vNIC lan"));
    }

    #[test]
    fn removing_it_gives_the_nic_back_first() {
        let steps = sentences(&external(), &ValidState::default());
        assert_eq!(steps.len(), 3, "{steps:#?}");
        assert_eq!(steps[0], "give eth0 back from switch lan to the host");
    }

    #[test]
    fn a_host_that_leaves_and_comes_back_leaves_nic_and_vms_alone() {
        let with = external();
        let change = ChangeSwitch { host: Some(false), ..Default::default() };
        let without = Editor::new(&with, 1).change_switch("lan", &change).unwrap();
        let off = ["take the host vNIC of switch lan away, and keep what is on it"];
        assert_eq!(sentences(&with, &without), off);
        let on = ["make a host vNIC on switch lan, with what was kept for it"];
        assert_eq!(sentences(&without, &with), on);
        for (old, new) in [(&with, &without), (&without, &with)] {
            let mut reached = old.desired().clone();
            reconcile(old.desired(), new.desired()).iter().for_each(|step| step.apply(&mut reached));
            assert_eq!(reconcile(&reached, new.desired()), []);
        }
    }

    #[test]
    fn another_host_vnic_is_bound_anew() {
        let (old, mut new) = (external(), external().desired().clone());
        let host = new.switches[0].ports.iter_mut().find(|port| port.name.as_str() == "host").unwrap();
        Arc::make_mut(host).attach = Attachment::Host("other".parse().unwrap());
        let steps: Vec<_> = reconcile(old.desired(), &new).iter().map(ToString::to_string).collect();
        assert!(steps[0].starts_with("give eth0 back") && steps[1].contains("host vNIC other"), "{steps:#?}");
    }

    #[test]
    fn a_host_vnic_that_is_bound_is_another_one_than_before() {
        let internal = |state: &ValidState| {
            let change = ChangeSwitch { kind: Some(SwitchKind::Internal), ..Default::default() };
            Editor::new(state, 1).change_switch("lan", &change).unwrap()
        };
        let (old, new) = (external(), internal(&external()));
        let there = [
            "give eth0 back from switch lan to the host",
            "convert switch lan from external to internal",
            "add host port lan/host",
        ];
        assert_eq!(sentences(&old, &new), there);
        let back = sentences(&new, &old);
        assert!(
            back[0].starts_with("remove port lan/host") && back[2].starts_with("take eth0 over"),
            "{back:#?}"
        );
    }

    #[test]
    fn a_policy_of_a_bound_port_changes_without_a_take_over() {
        let old = external();
        let open = ChangePort { guard: Some(false), ..Default::default() };
        let new = Editor::new(&old, 1).change_port("lan", "host", open).unwrap();
        assert_eq!(sentences(&old, &new), ["change the settings of port lan/host"]);
    }

    #[test]
    fn io_of_a_bound_nic_changes_without_a_take_over() {
        let old = external();
        let change = ChangeSwitch { io: Some(model::IoChoice::AfXdp), ..Default::default() };
        let new = Editor::new(&old, 1).change_switch("lan", &change).unwrap();
        assert_eq!(sentences(&old, &new), ["change the settings of port lan/eth0"]);
    }

    #[test]
    fn ports_that_stay_change_before_others_are_added() {
        let (old, mut new) = (external(), external().desired().clone());
        let added = PortConfig::new("new".parse().unwrap(), Attachment::Tap("t1".parse().unwrap()));
        new.switches[0].ports.insert(0, added.into());
        new.switches[0].ports.iter_mut().for_each(|port| Arc::make_mut(port).mtu = Some(1400));
        let steps: Vec<_> = reconcile(old.desired(), &new).iter().map(ToString::to_string).collect();
        let (last, others) = steps.split_last().unwrap();
        assert!(
            last == "add tap port lan/new" && others.iter().all(|step| step.starts_with("change the")),
            "{steps:#?}"
        );
    }

    #[test]
    fn nothing_to_do_is_no_step() {
        assert_eq!(reconcile(external().desired(), external().desired()), []);
    }
}
