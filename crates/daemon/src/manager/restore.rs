//! At start: what a former run of the daemon left is recovered, then the desired state is made so.
//!
//! A port whose NIC, namespace or interface is not there yet waits for it; a switch is there as soon as the daemon is.

use super::{Core, Pending, pending::replaced};
use crate::{events::now_s, store::Kind};
use control::{edit::takes_nic_mac, reconcile::Binding};
use model::{Attachment, EventKind, Name, ValidState};

impl Core {
    pub fn restore(&mut self) -> anyhow::Result<()> {
        let saved = self.store.load_state()?;
        let overdue = self.load_pending(&saved)?;
        self.state = rolled_back(&saved, &overdue);
        self.put_vlan_tags_back()?;
        self.recover_journals()?;
        self.release_left_interfaces()?;
        self.realize()?;
        self.restore_leases()?;
        if self.state != saved {
            self.store.save_state(&self.state)?;
        }
        // Only now: had it been forgotten before the state was saved, a crash in between would have confirmed it.
        for (switch, pending) in overdue {
            self.store.remove(Kind::Pending, switch.as_str())?;
            if self.state.switch(switch.as_str()) == pending.former.as_ref() {
                self.events.tell(EventKind::SwitchRolledBack { switch });
            }
        }
        Ok(())
    }

    /// Takes up the changes that may still be confirmed; returns those that nobody confirmed in time. A change that a
    /// crash kept from being made, or that was rolled back already, waits for nothing.
    fn load_pending(&mut self, saved: &ValidState) -> anyhow::Result<Vec<(Name, Pending)>> {
        let mut overdue = Vec::new();
        for name in self.store.names(Kind::Pending)? {
            let Some(pending) = self.store.load::<Pending>(Kind::Pending, &name)? else { continue };
            if saved.switch(&name) == pending.former.as_ref() {
                self.store.remove(Kind::Pending, &name)?;
            } else if pending.confirm_by_s > now_s() {
                self.pending.insert(name.parse()?, pending);
            } else {
                overdue.push((name.parse()?, pending));
            }
        }
        Ok(overdue)
    }

    fn recover_journals(&mut self) -> anyhow::Result<()> {
        for name in self.store.names(Kind::Takeover)? {
            let switch: Name = name.parse()?;
            let wanted = self.state.switch(&name).and_then(Binding::of);
            self.recover_journal(&switch, wanted.as_ref())?;
        }
        Ok(())
    }

    /// Interfaces of ports that are not in the state: their removal was interrupted.
    fn release_left_interfaces(&mut self) -> anyhow::Result<()> {
        let switches = self.state.desired().switches.iter();
        let ports = switches.flat_map(|switch| switch.ports.iter().map(move |port| (switch, port)));
        // The host vNIC of a take-over is in the journal of that: one that is noted here was another's.
        let wanted: Vec<_> = ports
            .filter(|(switch, port)| !takes_nic_mac(switch, port))
            .filter(|(_, port)| !matches!(port.attach, Attachment::Uplink(_)))
            .filter_map(|(_, port)| Some(port.attach.host_interface()?.to_string()))
            .collect();
        for ifname in self.store.names(Kind::Attachment)? {
            if !wanted.contains(&ifname) {
                self.release_interface(&ifname.parse()?)?;
            }
        }
        Ok(())
    }
}

/// The saved state without the changes that nobody confirmed in time: those are rolled back before they are made. One that cannot be, since
/// somebody has changed the file meanwhile, stays.
fn rolled_back(saved: &ValidState, overdue: &[(Name, Pending)]) -> ValidState {
    overdue.iter().fold(saved.clone(), |state, (switch, pending)| {
        match replaced(state.desired(), switch, pending.former.clone()).validate() {
            Ok(rolled_back) => rolled_back,
            Err(error) => {
                tracing::error!(%switch, %error, "cannot be rolled back, though nobody confirmed it; it stays");
                state
            }
        }
    })
}
