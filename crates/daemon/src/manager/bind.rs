//! Taking a NIC over and giving it back: the steps that `control::takeover` planned, run in their order, with the journal
//! written before each phase.

use super::{Core, live::LivePort, refuse::refused};
use crate::{api::Refused, events::now_s, store::Kind};
use control::{
    action::{Action, HostVnic, undo_all},
    facts::Link,
    journal::{Journal, Now, Outcome, Phase, recover},
    reconcile::Binding,
    takeover::{BindRequest, plan_bind},
};
use io::{Tap, TapConfig};
use model::{IfName, Name, PortConfig, PortState};
use netlink::Applied;
use std::collections::BTreeMap;

impl Core {
    /// Takes the NIC over, or takes up a take-over that outlived the daemon.
    ///
    /// What fails is undone, the journal included. At start it is left for later instead, with the reason on the ports.
    pub fn bind(&mut self, switch: &Name, binding: &Binding) -> Result<(), Refused> {
        self.place_binding(switch, binding)?;
        let done = match self.store.load::<Journal>(Kind::Takeover, switch.as_str())? {
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
        if let Some(mut journal) = self.store.load::<Journal>(Kind::Takeover, switch.as_str())? {
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

    /// The sentences of a take-over, for a dry run.
    pub fn bind_sentences(&mut self, switch: &Name, binding: &Binding) -> Result<Vec<String>, Refused> {
        let request = self.bind_request(switch, binding);
        let facts = self.host.facts(&[&binding.nic])?;
        let plan = plan_bind(&request, &facts)?;
        let actions = plan.actions.iter().map(|action| format!("  {action}"));
        Ok(actions.chain(plan.warnings.iter().map(|warning| format!("  note: {warning}"))).collect())
    }

    /// Recovers what a former run of the daemon left: a take-over that did not end, or one that is not `wanted` as it
    /// is, is undone. One that is wanted stays, for [`Core::bind`] to take up.
    pub fn recover_journal(&mut self, switch: &Name, wanted: Option<&Binding>) -> Result<(), Refused> {
        let Some(mut journal) = self.store.load::<Journal>(Kind::Takeover, switch.as_str())? else {
            return Ok(());
        };
        let request = wanted.map(|binding| self.bind_request(switch, binding));
        let wanted = request
            .is_some_and(|r| (&r.nic, &r.host_vnic) == (&journal.request.nic, &journal.request.host_vnic));
        let facts = self.host.facts(&interfaces(&journal.request))?;
        let now = Now { boot_id: self.host.boot_id(), time_s: now_s(), facts: &facts };
        let recovery = recover(&journal, &now);
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
    fn resume(&mut self, switch: &Name, binding: &Binding, journal: &Journal) -> Result<(), Refused> {
        let facts = self.host.facts(&interfaces(&journal.request))?;
        let now = Now { boot_id: self.host.boot_id(), time_s: now_s(), facts: &facts };
        let recovery = recover(journal, &now);
        let made_anew = recovery.actions.iter().any(|a| matches!(a, Action::CreateHostVnic(_)));
        if let (false, Some((vnic, port))) = (made_anew, &binding.host) {
            self.take_up_host_vnic(switch, port, facts.link(vnic))?;
        }
        self.run_all(switch, &recovery.actions)
    }

    fn take_up_host_vnic(
        &mut self,
        switch: &Name,
        port: &PortConfig,
        link: Option<&Link>,
    ) -> Result<(), Refused> {
        let attached = self.live(switch)?.ports.get(&port.name).is_some_and(|p| p.attached);
        let (false, Some(link)) = (attached, link) else { return Ok(()) };
        let keep = TapConfig {
            up: false,
            persist: true,
            queues: port.queues(),
            mtu: port.mtu,
            ..TapConfig::new(link.name.as_str())
        };
        self.set_hardware(switch, &port.name, link.mac, port.mtu.unwrap_or(link.mtu))?;
        self.attach(switch, &port.name, Box::new(Tap::open(&keep)?))
    }

    /// The take-over that a port belongs to: the uplink's, and that of the host vNIC which stands in for the NIC.
    pub fn binding_of(&self, switch: &Name, port: &Name) -> Option<Binding> {
        let binding = self.state.switch(switch.as_str()).and_then(Binding::of)?;
        let host = binding.host.as_ref().map(|(_, host)| &host.name);
        (&binding.uplink.name == port || host == Some(port)).then_some(binding)
    }

    /// Connects uplink and host vNIC again where the NIC was away or somebody removed the host vNIC, or takes over what
    /// could not be taken over before.
    pub fn rejoin(&mut self, switch: &Name, binding: &Binding) -> Result<(), Refused> {
        match self.store.load::<Journal>(Kind::Takeover, switch.as_str())? {
            Some(journal) => self.resume(switch, binding, &journal),
            None => self.take_over(switch, binding),
        }
    }

    /// Runs take-over steps in their order, up to the first that fails.
    fn run_all(&mut self, switch: &Name, actions: &[Action]) -> Result<(), Refused> {
        actions.iter().try_for_each(|action| self.run_one(switch, action))
    }

    /// Runs the steps of a way back. Where one fails the rest is run all the same: one route less is better than a host
    /// without a network.
    fn run_back(&mut self, switch: &Name, actions: &[Action]) {
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

    fn create_host_vnic(&mut self, switch: &Name, vnic: &HostVnic) -> Result<(), Refused> {
        let Some(port) = self.find(switch, |p| p.config.attach.host_interface() == Some(&vnic.ifname)) else {
            return Ok(());
        };
        let queues = self.live(switch)?.ports.get(&port).map_or(1, |p| p.config.queues());
        let config = TapConfig {
            mac: Some(vnic.mac),
            mtu: Some(vnic.mtu),
            persist: true,
            up: false,
            queues,
            ..TapConfig::new(vnic.ifname.as_str())
        };
        self.set_hardware(switch, &port, Some(vnic.mac), vnic.mtu)?;
        self.attach(switch, &port, Box::new(Tap::open(&config)?))
    }

    fn bind_request(&self, switch: &Name, binding: &Binding) -> BindRequest {
        let taken = self.taken_interfaces().into_iter();
        let own = |ifname: &IfName| {
            ifname == &binding.nic || binding.host.as_ref().is_some_and(|(vnic, _)| vnic == ifname)
        };
        BindRequest {
            switch: switch.clone(),
            nic: binding.nic.clone(),
            host_vnic: binding.host.as_ref().map(|(vnic, _)| vnic.clone()),
            mtu: binding.host.as_ref().and_then(|(_, port)| port.mtu),
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
        let live = self.live(switch)?;
        for port in [Some(&binding.uplink), binding.host.as_ref().map(|(_, port)| port)].into_iter().flatten()
        {
            live.place(port, None, port.mtu.unwrap_or(super::ports::DEFAULT_MTU));
        }
        self.publish(switch);
        Ok(())
    }

    fn displace_binding(&mut self, switch: &Name, binding: &Binding) {
        for port in [Some(&binding.uplink), binding.host.as_ref().map(|(_, port)| port)].into_iter().flatten()
        {
            self.displace(switch, &port.name);
        }
    }

    fn wait_for(&mut self, switch: &Name, port: &Name, reason: &str) {
        if let Some(port) = self.live.get_mut(switch).and_then(|live| live.ports.get_mut(port)) {
            (port.state, port.reason) = (PortState::Down, Some(reason.into()));
        }
    }
}

fn interfaces(request: &BindRequest) -> Vec<&IfName> {
    [Some(&request.nic), request.host_vnic.as_ref()].into_iter().flatten().collect()
}
