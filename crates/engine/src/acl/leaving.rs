//! Frames that leave on a port, by the port's access lists.

use super::{Acl, AclFinding, AclFrame, AclState, AclWay, Meter};
use crate::{Millis, PortIndex, PortPolicy, Snapshot, Switch};
use model::{AclRule, DropReason};

impl Snapshot {
    /// The access lists of a port that judge what leaves on it.
    #[inline]
    #[must_use]
    pub fn leaving_acl(&self, port: PortIndex) -> Option<&Acl> {
        let acl = self.policy(port).and_then(PortPolicy::acl)?;
        acl.judges(AclWay::In).then_some(acl)
    }
}

impl Switch {
    /// Why the access lists of `port`, which remember something, do not let frames leave on it: one after the other, as long as who only
    /// reads may judge them; says how many it were. Where they no longer do, those by which the frames were judged so far decide alone.
    pub fn judge_leaving_known<'f>(
        &self,
        port: PortIndex,
        acl: &Acl,
        frames: impl Iterator<Item = AclFrame<'f>> + Clone,
        now: Millis,
        mut refused: impl FnMut(Option<DropReason>),
    ) -> usize {
        let now = now.max(self.table.now());
        match self.acl_state(port) {
            Some(state) => state.judge_known(AclWay::In, frames, now, |finding| refused(finding.refused)),
            None => frames.map(|frame| refused(acl.judge(AclWay::In, frame.header).refused)).count(),
        }
    }

    /// The same, whatever there is to be written.
    pub fn judge_leaving<'f>(
        &mut self,
        port: PortIndex,
        acl: &Acl,
        frames: impl Iterator<Item = AclFrame<'f>> + Clone,
        now: Millis,
        mut refused: impl FnMut(Option<DropReason>),
    ) {
        let now = now.max(self.table.now());
        let state = self.states.get_mut(usize::from(port.0)).and_then(|state| state.acl.get_mut());
        match state {
            Some(state) => state.judge_all(AclWay::In, frames, now, |finding| refused(finding.refused)),
            None => frames.for_each(|frame| refused(acl.judge(AclWay::In, frame.header).refused)),
        }
    }

    /// What the access lists of `port` would find about a frame that is to leave on it; `None` where they do not look.
    #[must_use]
    pub fn explain_leaving(&self, port: PortIndex, frame: &AclFrame<'_>, now: Millis) -> Option<AclFinding> {
        let acl = self.snapshot.leaving_acl(port)?;
        let state = self.acl_state(port).filter(|_| acl.keeps_state());
        Some(match state {
            Some(state) => state.clone().judge(AclWay::In, frame, now.max(self.table.now())),
            None => acl.judge(AclWay::In, frame.header),
        })
    }

    /// The meters of a port, and what they counted.
    pub fn meters(&self, port: PortIndex) -> impl Iterator<Item = (&AclRule, Meter)> {
        self.acl_state(port).into_iter().flat_map(AclState::meters)
    }

    /// How many flows the access lists of a port remember.
    #[must_use]
    pub fn flows(&self, port: PortIndex) -> usize {
        self.acl_state(port).map_or(0, AclState::flows)
    }

    fn acl_state(&self, port: PortIndex) -> Option<&AclState> {
        self.states.get(usize::from(port.0)).and_then(|state| state.acl.get())
    }
}
