//! The journal: what is on disk before anything is done, and what is made of it after a crash.
//!
//! The daemon writes the journal, synced, at each change of [`Phase`], *before* it runs the steps of that phase. Because
//! every step ensures a state, recovery need not know how many ran:
//!
//! | phase on disk | what recovery does | ends |
//! | --- | --- | --- |
//! | binding | undoes all steps of the bind, last first | free |
//! | bound | rejoins the NIC, and makes the host vNIC again if that is gone | bound |
//! | adding the host | takes the host vNIC away that was being made | bound, without it |
//! | giving back | runs all steps of the give-back again | free |
//!
//! A bind that was interrupted is undone, not completed: whoever asked for it got no answer, and the desired state on disk
//! does not hold the switch yet. So is a host vNIC that was being added. One that was being taken away is there whole, or is
//! made again, with all that was on it: that is in the journal by then ([`Journal::keep`]). A journal of an earlier boot is void: the kernel has forgotten everything it speaks of.

use crate::action::{Action, HostVnic, undo_all};
use crate::facts::Facts;
use crate::takeover::{BindRequest, kept, make_host, plan_give_back, plan_rejoin};
use serde::{Deserialize, Serialize};

/// The format of the journal that this program reads and writes.
pub const JOURNAL_VERSION: u32 = 1;

/// The take-over of one NIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Format version: 1.
    pub version: u32,
    /// Which run of the kernel it speaks of (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// How far it is.
    pub phase: Phase,
    /// What was asked for.
    pub request: BindRequest,
    /// What was found before anything was done, or what was kept when the host vNIC was taken away.
    pub original: Facts,
    /// When that was, in seconds since 1970.
    pub found_at_s: u64,
    /// The steps of the bind, to be undone should it not end.
    pub bind: Vec<Action>,
}

/// How far a take-over is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Phase {
    /// Steps of the bind may have run.
    Binding,
    /// All steps of the bind have run.
    Bound,
    /// All steps of the bind have run, without a host vNIC, and steps that make one may have.
    AddingHost {
        /// The host vNIC.
        vnic: HostVnic,
    },
    /// Steps of the give-back may have run.
    GivingBack {
        /// The steps.
        actions: Vec<Action>,
        /// When they were planned (seconds since 1970).
        since_s: u64,
    },
}

/// The whole state that recovery ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The NIC is the host's: the journal can be removed.
    Free,
    /// The NIC is the switch's.
    Bound,
}

/// What to run, and where that leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The steps, in order.
    pub actions: Vec<Action>,
    /// What holds when they have run.
    pub outcome: Outcome,
}

/// What recovery needs to know of this moment.
#[derive(Clone, Debug)]
pub struct Now<'a> {
    /// The kernel's present boot id.
    pub boot_id: &'a str,
    /// Seconds since 1970.
    pub time_s: u64,
    /// All interfaces, and the settings of the NIC and of the host vNIC.
    pub facts: &'a Facts,
}

impl Journal {
    /// The first entry: a bind is about to begin.
    #[must_use]
    pub fn begin(
        request: BindRequest,
        original: Facts,
        bind: Vec<Action>,
        boot_id: String,
        now_s: u64,
    ) -> Self {
        let (version, phase, found_at_s) = (JOURNAL_VERSION, Phase::Binding, now_s);
        Self { version, boot_id, phase, request, original, found_at_s, bind }
    }

    /// The steps of a give-back from now, as far as the interfaces are there; the caller writes them down as
    /// [`Phase::GivingBack`] before running them.
    #[must_use]
    pub fn give_back(&self, facts: &Facts, now_s: u64) -> Vec<Action> {
        possible(plan_give_back(&self.request, facts, &self.original_aged(now_s)), facts)
    }

    /// Remembers what is on the host vNIC now. The caller writes that down before the host vNIC is taken away.
    pub fn keep(&mut self, facts: &Facts, now_s: u64) {
        self.original = kept(&self.request, facts, &self.original_aged(now_s));
        self.found_at_s = now_s;
    }

    /// What was found, with the lifetimes that are left.
    #[must_use]
    pub fn original_aged(&self, now_s: u64) -> Facts {
        let seconds = seconds_between(self.found_at_s, now_s);
        let settings = self.original.settings.iter().map(|(dev, s)| (dev.clone(), s.aged(seconds))).collect();
        Facts { links: self.original.links.clone(), settings }
    }
}

fn seconds_between(then_s: u64, now_s: u64) -> u32 {
    u32::try_from(now_s.saturating_sub(then_s)).unwrap_or(u32::MAX)
}

fn aged(actions: &[Action], then_s: u64, now_s: u64) -> Vec<Action> {
    let seconds = seconds_between(then_s, now_s);
    actions.iter().map(|a| a.aged(seconds)).collect()
}

/// What is to be done about a journal that was found at start.
#[must_use]
pub fn recover(journal: &Journal, now: &Now<'_>) -> Recovery {
    if journal.boot_id != now.boot_id {
        return Recovery { actions: vec![], outcome: Outcome::Free };
    }
    let (actions, outcome) = match &journal.phase {
        Phase::Binding => (aged(&undo_all(&journal.bind), journal.found_at_s, now.time_s), Outcome::Free),
        Phase::GivingBack { actions, since_s } => (aged(actions, *since_s, now.time_s), Outcome::Free),
        Phase::Bound => (stay_bound(journal, now), Outcome::Bound),
        Phase::AddingHost { vnic } => (vec![Action::RemoveHostVnic(vnic.clone())], Outcome::Bound),
    };
    Recovery { actions: possible(actions, now.facts), outcome }
}

/// The host vNIC outlives the daemon. Should somebody have removed it, it is made again.
fn stay_bound(journal: &Journal, now: &Now<'_>) -> Vec<Action> {
    let request = &journal.request;
    let mut actions = plan_rejoin(&request.nic, now.facts);
    if request.host_vnic.as_ref().is_some_and(|vnic| now.facts.link(vnic).is_none()) {
        actions.extend(make_host(request, now.facts, &journal.original_aged(now.time_s)));
    }
    actions
}

/// Leaves out steps on interfaces that do not exist, unless an earlier step makes them.
fn possible(actions: Vec<Action>, facts: &Facts) -> Vec<Action> {
    let mut made = Vec::new();
    actions
        .into_iter()
        .filter(|action| {
            if let Action::CreateHostVnic(vnic) = action {
                made.push(vnic.ifname.clone());
            }
            action.interfaces().iter().all(|dev| facts.link(dev).is_some() || made.contains(dev))
        })
        .collect()
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
