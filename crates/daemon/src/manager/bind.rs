//! Taking a NIC over and giving it back: the steps that `control::takeover` planned, run in their order, with the journal
//! written before each phase.

use super::{Core, live::LivePort, ports::fits, refuse::refused, sharing};
use crate::{api::Refused, events::now_s, store::Kind};
use control::{
    action::{Action, undo_all},
    edit::EditError,
    facts::Facts,
    journal::{Journal, Now, Outcome, Phase, Recovery, recover},
    reconcile::Binding,
    takeover::{BindRequest, Plan, plan_bind},
};
use model::{IfName, Invalid, Name, PortConfig, PortState, SwitchConfig};
use netlink::Applied;
use std::{collections::BTreeMap, sync::Arc};

impl Core {
    /// Takes the NIC over, or takes up a take-over that outlived the daemon.
    ///
    /// What fails is undone, the journal included. At start it is left for later instead, with the reason on the ports.
    pub fn bind(&mut self, switch: &Name, binding: &Binding) -> Result<(), Refused> {
        self.place_binding(switch, binding)?;
        let done = match self.journal(switch)? {
            Some(journal) if journal.phase == Phase::Bound => self.resume(switch, binding, &journal),
            _ => self.take_over(switch, binding),
        };
        match &done {
            Err(error) if self.lenient => {
                self.note_opened(switch, &binding.uplink.name, &done);
                self.wait_for(switch, &binding.uplink.name, &error.detail);
                Ok(())
            }
            Err(_) => {
                self.displace_binding(switch, binding);
                done
            }
            Ok(()) => Ok(()),
        }
    }

    /// Gives the NIC back to the host, with what is on the host vNIC now.
    pub fn give_back(&mut self, switch: &Name, binding: &Binding) -> Result<(), Refused> {
        if let Some(mut journal) = self.journal(switch)? {
            let facts = self.host.facts(&interfaces(&journal.request))?;
            let (actions, since_s) = (journal.give_back(&facts, now_s()), now_s());
            journal.phase = Phase::GivingBack { actions: actions.clone(), since_s };
            self.store.save(Kind::Takeover, switch.as_str(), &journal)?;
            self.run_back(switch, &actions);
            self.store.remove(Kind::Takeover, switch.as_str())?;
        }
        self.displace_binding(switch, binding);
        Ok(())
    }

    /// The sentences of a take-over by a switch that is to be as `config` says, if nothing about its NIC is in the way. Host vNICs that
    /// are `freed` will be gone by then.
    pub fn bind_sentences(
        &mut self,
        config: &SwitchConfig,
        binding: &Binding,
        freed: &[IfName],
    ) -> Result<Vec<String>, Refused> {
        let request = self.bind_request(&config.name, binding);
        let mut facts = self.host.facts(&[&binding.nic])?;
        facts.links.retain(|link| !freed.contains(&link.name));
        let plan = plan_bind(&request, &facts)?;
        io::check_choice(binding.nic.as_str(), binding.uplink.io)?;
        if let Some(link) = facts.link(&binding.nic) {
            config.ports.iter().try_for_each(|port| fits(port, &binding.nic, link.mtu))?;
        }
        check_host_mac(config, binding, &facts)?;
        sharing::check_reservations(config)?;
        Ok(sentences(&plan))
    }

    /// Recovers what a former run of the daemon left: a take-over that did not end, or one that is not `wanted` as it
    /// is, is undone. One that is wanted stays, for [`Core::bind`] to take up.
    pub fn recover_journal(&mut self, switch: &Name, wanted: Option<&Binding>) -> Result<(), Refused> {
        let Some(mut journal) = self.journal(switch)? else { return Ok(()) };
        let request = wanted.map(|binding| self.bind_request(switch, binding));
        let wanted = request
            .is_some_and(|r| (&r.nic, &r.host_vnic) == (&journal.request.nic, &journal.request.host_vnic));
        let (facts, recovery) = self.recovery(&journal)?;
        let actions = match recovery.outcome {
            Outcome::Bound if wanted => return Ok(()),
            Outcome::Free => recovery.actions,
            Outcome::Bound => {
                let (actions, since_s) = (journal.give_back(&facts, now_s()), now_s());
                journal.phase = Phase::GivingBack { actions: actions.clone(), since_s };
                self.store.save(Kind::Takeover, switch.as_str(), &journal)?;
                actions
            }
        };
        tracing::warn!(%switch, steps = actions.len(), "putting the host back after an interrupted take-over");
        self.run_back(switch, &actions);
        Ok(self.store.remove(Kind::Takeover, switch.as_str())?)
    }

    /// The journal of a switch's take-over, where there is one. What was left of adding a host vNIC is undone.
    pub fn journal(&mut self, switch: &Name) -> Result<Option<Journal>, Refused> {
        let Some(mut journal) = self.store.load::<Journal>(Kind::Takeover, switch.as_str())? else {
            return Ok(None);
        };
        self.undo_adding_host(switch, &mut journal)?;
        Ok(Some(journal))
    }

    /// What is to be done about a journal at this moment, and the facts that say so.
    pub fn recovery(&mut self, journal: &Journal) -> Result<(Facts, Recovery), Refused> {
        let facts = self.host.facts(&interfaces(&journal.request))?;
        let now = Now { boot_id: self.host.boot_id(), time_s: now_s(), facts: &facts };
        let recovery = recover(journal, &now);
        Ok((facts, recovery))
    }

    fn take_over(&mut self, switch: &Name, binding: &Binding) -> Result<(), Refused> {
        let request = self.bind_request(switch, binding);
        let facts = self.host.facts(&[&binding.nic])?;
        let plan = plan_bind(&request, &facts)?;
        // Before the first step: a NIC that has to be waited for is asked again and again.
        io::check_choice(binding.nic.as_str(), binding.uplink.io)?;
        self.open_early(switch, binding, facts.link(&binding.nic))?;
        plan.warnings.iter().for_each(|warning| tracing::warn!(%switch, "{warning}"));
        let boot_id = self.host.boot_id().to_owned();
        let mut journal = Journal::begin(request, facts, plan.actions, boot_id, now_s());
        let bound =
            self.store.save(Kind::Takeover, switch.as_str(), &journal).map_err(refused).and_then(|()| {
                self.run_all(switch, &journal.bind)?;
                journal.phase = Phase::Bound;
                Ok(self.store.save(Kind::Takeover, switch.as_str(), &journal)?)
            });
        if bound.is_err() {
            self.close_early(switch, binding)?;
            self.run_back(switch, &undo_all(&journal.bind));
            self.store.remove(Kind::Takeover, switch.as_str())?;
        }
        bound
    }

    /// Takes up what a former run of the daemon had taken over: the NIC still is, and the host vNIC still has the
    /// addresses; only the descriptors are gone.
    pub fn resume(&mut self, switch: &Name, binding: &Binding, journal: &Journal) -> Result<(), Refused> {
        let (facts, recovery) = self.recovery(journal)?;
        let made_anew = recovery.actions.iter().any(|a| matches!(a, Action::CreateHostVnic(_)));
        if let (false, Some((vnic, port))) = (made_anew, &binding.host) {
            self.take_up_host_vnic(switch, port, facts.link(vnic))?;
        }
        self.run_all(switch, &recovery.actions)
    }

    /// The take-over that a port belongs to: the uplink's, and that of the host vNIC which stands in for the NIC.
    pub fn binding_of(&self, switch: &Name, port: &Name) -> Option<Binding> {
        let binding = self.state.switch(switch.as_str()).and_then(Binding::of)?;
        let host = binding.host_port().map(|host| &host.name);
        (&binding.uplink.name == port || host == Some(port)).then_some(binding)
    }

    /// Connects uplink and host vNIC again where the NIC was away or somebody removed the host vNIC, or takes over what
    /// could not be taken over before.
    pub fn rejoin(&mut self, switch: &Name, binding: &Binding) -> Result<(), Refused> {
        match self.journal(switch)? {
            Some(journal) => self.resume(switch, binding, &journal),
            None => self.take_over(switch, binding),
        }
    }

    /// Runs take-over steps in their order, up to the first that fails.
    pub fn run_all(&mut self, switch: &Name, actions: &[Action]) -> Result<(), Refused> {
        actions.iter().try_for_each(|action| self.run_one(switch, action))
    }

    /// Runs the steps of a way back. Where one fails the rest is run all the same: one route less is better than a host
    /// without a network.
    pub fn run_back(&mut self, switch: &Name, actions: &[Action]) {
        for action in actions {
            if let Err(error) = self.run_one(switch, action) {
                tracing::error!(%switch, %action, %error, "a step of a give-back failed; the rest is done all the same");
            }
        }
    }

    fn run_one(&mut self, switch: &Name, action: &Action) -> Result<(), Refused> {
        tracing::info!(%switch, %action, "take-over");
        match self.host.apply(action)? {
            Applied::Callers => self.run_on_data_path(switch, action),
            Applied::Done => Ok(()),
        }
    }

    fn run_on_data_path(&mut self, switch: &Name, action: &Action) -> Result<(), Refused> {
        match action {
            Action::CreateHostVnic(vnic) => self.create_host_vnic(switch, vnic),
            Action::ConnectUplink { nic } => {
                let facts = self.host.facts(&[])?;
                let link =
                    facts.link(nic).ok_or_else(|| refused(control::Refusal::NoInterface(nic.clone())))?;
                let Some(port) = self.find(switch, LivePort::is_uplink) else { return Ok(()) };
                self.set_hardware(switch, &port, link.mac, link.mtu)?;
                // Where the host vNIC was away, the NIC may be connected still.
                if self.port(switch, &port)?.attached {
                    return Ok(());
                }
                let early = self.port(switch, &port)?.opened.take();
                let io = early.map_or_else(|| self.open_interface(switch, &port, link), Ok)?;
                self.attach(switch, &port, io)
            }
            Action::RemoveHostVnic(vnic) => {
                if let Some(port) =
                    self.find(switch, |p| p.config.attach.host_interface() == Some(&vnic.ifname))
                {
                    self.detach(switch, &port, "given back");
                }
                Ok(self.host.delete_link(&vnic.ifname)?)
            }
            Action::DisconnectUplink { .. } => {
                if let Some(port) = self.find(switch, LivePort::is_uplink) {
                    self.detach(switch, &port, "given back");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub fn bind_request(&self, switch: &Name, binding: &Binding) -> BindRequest {
        let taken = self.taken_interfaces().into_iter();
        let own = |ifname: &IfName| {
            ifname == &binding.nic || binding.host.as_ref().is_some_and(|(vnic, _)| vnic == ifname)
        };
        BindRequest {
            switch: switch.clone(),
            nic: binding.nic.clone(),
            host_vnic: binding.host.as_ref().map(|(vnic, _)| vnic.clone()),
            mtu: binding.host_port().and_then(|port| port.mtu),
            taken: taken.filter(|(ifname, _)| !own(ifname)).collect(),
        }
    }

    /// Interfaces that are ports, and of which switch.
    pub fn taken_interfaces(&self) -> BTreeMap<IfName, String> {
        let ports = self
            .live
            .iter()
            .flat_map(|(switch, live)| live.ports.iter().map(move |(name, p)| (switch, name, p)));
        ports
            .filter_map(|(switch, name, port)| {
                Some((port.config.attach.host_interface()?.clone(), format!("port {switch}/{name}")))
            })
            .collect()
    }

    fn place_binding(&mut self, switch: &Name, binding: &Binding) -> Result<(), Refused> {
        for port in binding.host_port().into_iter().chain([&binding.uplink]) {
            self.place_bound(switch, port)?;
        }
        Ok(())
    }

    /// Makes a place for the uplink or for the host vNIC; what they are like is known when they are opened.
    pub fn place_bound(&mut self, switch: &Name, port: &Arc<PortConfig>) -> Result<(), Refused> {
        self.live(switch)?.place(port, None, port.mtu.unwrap_or(super::ports::DEFAULT_MTU));
        self.publish(switch);
        Ok(())
    }

    fn displace_binding(&mut self, switch: &Name, binding: &Binding) {
        for port in binding.host_port().into_iter().chain([&binding.uplink]) {
            self.displace(switch, &port.name);
        }
    }

    fn wait_for(&mut self, switch: &Name, port: &Name, reason: &str) {
        if let Some(port) = self.live.get_mut(switch).and_then(|live| live.ports.get_mut(port)) {
            (port.state, port.reason) = (PortState::Down, Some(reason.into()));
        }
    }
}

/// The host vNIC has the NIC's MAC, which the desired state does not know: refused where another port has it already.
pub fn check_host_mac(config: &SwitchConfig, binding: &Binding, facts: &Facts) -> Result<(), Refused> {
    let (Some(host), Some(mac)) = (binding.host_port(), facts.link(&binding.nic).and_then(|link| link.mac))
    else {
        return Ok(());
    };
    let has_it = |port: &&Arc<PortConfig>| port.mac == Some(mac) || port.allow_macs.contains(&mac);
    let Some(port) = config.ports.iter().find(has_it) else { return Ok(()) };
    let (switch, first, second) = (config.name.clone(), host.name.clone(), port.name.clone());
    Err(refused(EditError::from(Invalid::DuplicateMac { switch, mac, first, second })))
}

/// A plan as a dry run prints it, under the step that it belongs to.
pub fn sentences(plan: &Plan) -> Vec<String> {
    let actions = plan.actions.iter().map(|action| format!("  {action}"));
    actions.chain(plan.warnings.iter().map(|warning| format!("  note: {warning}"))).collect()
}

pub fn interfaces(request: &BindRequest) -> Vec<&IfName> {
    [Some(&request.nic), request.host_vnic.as_ref()].into_iter().flatten().collect()
}
