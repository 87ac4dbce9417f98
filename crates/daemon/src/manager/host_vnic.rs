//! The host vNIC that stands in for the NIC of an external switch: made and taken up again as steps of a take-over, and taken
//! away and added while the NIC stays the switch's. Frames of others pass all the while.
//!
//! What was on a host vNIC that is taken away is in the journal by then, and stays there: until a host vNIC is added, which
//! gets it, or the NIC is given back.

use super::{
    Core,
    bind::{check_host_mac, interfaces, sentences},
};
use crate::{api::Refused, events::now_s, store::Kind};
use control::{
    action::{Action, HostVnic},
    facts::Link,
    journal::{Journal, Phase},
    reconcile::Binding,
    takeover::{BindRequest, Plan, make_host, plan_add_host, plan_remove_host},
};
use io::{Tap, TapConfig};
use model::{Name, PortConfig, SwitchConfig};

impl Core {
    /// Takes the host vNIC away from a NIC that stays bound.
    pub fn remove_host(&mut self, switch: &Name, binding: &Binding) -> Result<(), Refused> {
        if let Some(mut journal) = self.journal(switch)? {
            let facts = self.host.facts(&interfaces(&journal.request))?;
            let plan = plan_remove_host(&journal.request, &facts);
            plan.warnings.iter().for_each(|warning| tracing::warn!(%switch, "{warning}"));
            journal.keep(&facts, now_s());
            self.save_journal(switch, &journal)?;
            let removed = self.run_all(switch, &plan.actions).and_then(|()| {
                let request = BindRequest { host_vnic: None, mtu: None, ..journal.request.clone() };
                self.save_journal(switch, &Journal { request, ..journal.clone() })
            });
            if let Err(error) = removed {
                // What could not be saved may be on the disk all the same, if only the last sync failed.
                let put_back = self.save_journal(switch, &journal);
                if let Err(worse) = self.resume(switch, binding, &journal).and(put_back) {
                    tracing::error!(%switch, %worse, "the host vNIC could not be put back");
                }
                return Err(error);
            }
        }
        binding.host_port().into_iter().for_each(|port| drop(self.displace(switch, &port.name)));
        Ok(())
    }

    /// Makes a host vNIC on a NIC that is bound without one. A NIC that is still waited for is taken over with it later.
    pub fn add_host(&mut self, switch: &Name, binding: &Binding) -> Result<(), Refused> {
        let Some(port) = binding.host_port() else { return Ok(()) };
        self.place_bound(switch, port)?;
        let added = match self.journal(switch) {
            Ok(Some(journal)) => self.make_host(switch, binding, journal),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if added.is_err() {
            self.displace(switch, &port.name);
        }
        added
    }

    fn make_host(&mut self, switch: &Name, binding: &Binding, mut journal: Journal) -> Result<(), Refused> {
        let request = self.bind_request(switch, binding);
        let facts = self.host.facts(&[])?;
        let actions = plan_add_host(&request, &facts, &journal.original_aged(now_s()))?;
        if let Some(Action::CreateHostVnic(vnic)) = actions.first() {
            journal.phase = Phase::AddingHost { vnic: vnic.clone() };
        }
        let made = self.save_journal(switch, &journal).and_then(|()| {
            self.run_all(switch, &actions)?;
            self.save_journal(switch, &Journal { request, phase: Phase::Bound, ..journal.clone() })
        });
        if made.is_err() {
            self.undo_adding_host(switch, &mut journal)?;
        }
        made
    }

    /// Takes away what there is of a host vNIC that was being added.
    pub fn undo_adding_host(&mut self, switch: &Name, journal: &mut Journal) -> Result<(), Refused> {
        if !matches!(journal.phase, Phase::AddingHost { .. }) {
            return Ok(());
        }
        let (_, recovery) = self.recovery(journal)?;
        self.run_back(switch, &recovery.actions);
        journal.phase = Phase::Bound;
        self.save_journal(switch, journal)
    }

    fn save_journal(&self, switch: &Name, journal: &Journal) -> Result<(), Refused> {
        Ok(self.store.save(Kind::Takeover, switch.as_str(), journal)?)
    }

    /// What adding a host vNIC does, or taking it away, and what the reader should know, for a dry run.
    pub fn host_sentences(
        &mut self,
        switch: &Name,
        added: Option<(&Binding, &SwitchConfig)>,
    ) -> Result<Vec<String>, Refused> {
        let Some(journal) = self.store.load::<Journal>(Kind::Takeover, switch.as_str())? else {
            return Ok(vec![]);
        };
        let facts = self.host.facts(&interfaces(&journal.request))?;
        let plan = match added {
            Some((binding, config)) => {
                check_host_mac(config, binding, &facts)?;
                let request = self.bind_request(switch, binding);
                let actions = make_host(&request, &facts, &journal.original_aged(now_s()));
                Plan { actions, ..Plan::default() }
            }
            None => plan_remove_host(&journal.request, &facts),
        };
        Ok(sentences(&plan))
    }

    pub fn take_up_host_vnic(
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

    pub fn create_host_vnic(&mut self, switch: &Name, vnic: &HostVnic) -> Result<(), Refused> {
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
}
