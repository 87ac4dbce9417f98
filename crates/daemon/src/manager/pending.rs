//! Changes that roll back by themselves unless they are confirmed: the way to take over the NIC that one is connected by.
//!
//! What to go back to is written to disk before the change is made, with the time until when it may be confirmed, so that
//! neither a crash nor a reboot confirms anything.

use super::{
    Core,
    refuse::{no_switch, refused},
};
use crate::{
    api::{Refused, RefusedKind},
    events::now_s,
    store::Kind,
};
use model::{DesiredState, EventKind, Name, SwitchConfig, ValidState};
use serde::{Deserialize, Serialize};

/// When a roll-back is tried again that failed.
const AGAIN_S: u64 = 60;

/// A change that waits to be confirmed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// Until when, in seconds since 1970.
    pub confirm_by_s: u64,
    /// The switch as it was before; `None` where there was none.
    pub former: Option<SwitchConfig>,
}

impl Core {
    /// Adopts `next`; with `confirm_s`, only until nobody confirmed it for so long.
    pub fn adopt_unless_unconfirmed(
        &mut self,
        next: ValidState,
        switch: &Name,
        confirm_s: Option<u64>,
    ) -> Result<(), Refused> {
        let Some(confirm_s) = confirm_s else { return self.adopt(next) };
        if self.pending.contains_key(switch) {
            let detail = format!("switch '{switch}' waits to be confirmed already: confirm it first");
            return Err(Refused::new(RefusedKind::Conflict, detail));
        }
        let former = self.state.switch(switch.as_str()).cloned();
        let pending = Pending { confirm_by_s: now_s().saturating_add(confirm_s), former };
        self.store.save(Kind::Pending, switch.as_str(), &pending)?;
        self.pending.insert(switch.clone(), pending);
        let done = self.adopt(next);
        if done.is_err() {
            self.forget_pending(switch)?;
        }
        done
    }

    /// Refuses a change that would keep another switch from being rolled back.
    pub fn check_pending(&self, next: &ValidState) -> Result<(), Refused> {
        let waiting = self.pending.iter().filter(|(switch, _)| next.switch(switch.as_str()).is_some());
        for (switch, pending) in waiting {
            if let Err(error) = replaced(next.desired(), switch, pending.former.clone()).validate() {
                let detail = format!(
                    "unless switch '{switch}' is confirmed it goes back to what it was, and then {error}: confirm it first"
                );
                return Err(Refused::new(RefusedKind::Conflict, detail));
            }
        }
        Ok(())
    }

    pub fn confirm(&mut self, switch: &str) -> Result<(), Refused> {
        let name = self.state.switch(switch).ok_or_else(|| no_switch(switch))?.name.clone();
        if !self.pending.contains_key(&name) {
            let detail = format!("switch '{switch}' waits for no confirmation: it is kept already");
            return Err(Refused::new(RefusedKind::Conflict, detail));
        }
        self.forget_pending(&name)?;
        self.events.tell(EventKind::SwitchChanged { switch: name });
        Ok(())
    }

    pub fn forget_pending(&mut self, switch: &Name) -> Result<(), Refused> {
        if self.pending.remove(switch).is_some() {
            self.store.remove(Kind::Pending, switch.as_str())?;
        }
        Ok(())
    }

    /// Forgets what was to be confirmed of switches that are gone. The state without them must be saved by then: had
    /// it been forgotten before, a crash in between would have confirmed it.
    pub fn forget_pending_of_removed(&mut self) -> Result<(), Refused> {
        let gone = self.pending.keys().filter(|switch| self.state.switch(switch.as_str()).is_none());
        gone.cloned().collect::<Vec<_>>().iter().try_for_each(|switch| self.forget_pending(switch))
    }

    /// Rolls back what was not confirmed in time.
    pub fn roll_back_overdue(&mut self) {
        let now = now_s();
        let overdue = self.pending.iter().filter(|(_, p)| p.confirm_by_s <= now);
        let overdue: Vec<_> = overdue.map(|(name, p)| (name.clone(), p.former.clone())).collect();
        for (switch, former) in overdue {
            match self.roll_back(&switch, former) {
                Ok(()) => self.events.tell(EventKind::SwitchRolledBack { switch }),
                Err(error) => {
                    tracing::error!(%switch, %error, "cannot be rolled back; it is tried again in a minute");
                    self.pending.entry(switch).and_modify(|pending| pending.confirm_by_s = now + AGAIN_S);
                }
            }
        }
    }

    fn roll_back(&mut self, switch: &Name, former: Option<SwitchConfig>) -> Result<(), Refused> {
        let next = replaced(self.state.desired(), switch, former)
            .validate()
            .map_err(|e| refused(control::edit::EditError::from(e)))?;
        self.leniently(|core| core.adopt(next))?;
        self.forget_pending(switch)
    }
}

/// `state` with another configuration of one switch.
pub fn replaced(state: &DesiredState, switch: &Name, config: Option<SwitchConfig>) -> DesiredState {
    let mut state = state.clone();
    state.switches.retain(|s| &s.name != switch);
    state.switches.extend(config);
    state
}
