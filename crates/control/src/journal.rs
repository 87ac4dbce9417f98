//! The journal: what is on disk before anything is done, and what is made of it after a crash.
//!
//! The daemon writes the journal, synced, at each change of [`Phase`], *before* it runs the steps of that phase. Because
//! every step ensures a state, recovery need not know how many ran:
//!
//! | phase on disk | what recovery does | ends |
//! | --- | --- | --- |
//! | binding | undoes all steps of the bind, last first | free |
//! | bound | runs the bind's steps again if the host vNIC is gone, else rejoins the NIC | bound |
//! | giving back | runs all steps of the give-back again | free |
//!
//! A bind that was interrupted is undone, not completed: whoever asked for it got no answer, and the desired state on disk
//! does not hold the switch yet. A journal of an earlier boot is void: the kernel has forgotten everything it speaks of.

use crate::action::{Action, undo_all};
use crate::facts::Facts;
use crate::takeover::{BindRequest, plan_give_back, plan_rejoin};
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
    /// What was found before anything was done.
    pub original: Facts,
    /// When that was, in seconds since 1970.
    pub found_at_s: u64,
    /// The steps of the bind.
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

    fn original_aged(&self, now_s: u64) -> Facts {
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
    };
    Recovery { actions: possible(actions, now.facts), outcome }
}

/// The host vNIC outlives the daemon. Should somebody have removed it, the bind's steps make it again.
fn stay_bound(journal: &Journal, now: &Now<'_>) -> Vec<Action> {
    match &journal.request.host_vnic {
        Some(vnic) if now.facts.link(vnic).is_none() => aged(&journal.bind, journal.found_at_s, now.time_s),
        _ => plan_rejoin(&journal.request.nic, now.facts),
    }
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
