//! Frames that leave on a port, by the port's access lists.

use super::{Acl, AclFinding, AclFrame, AclState, AclWay, Meter};
use crate::{Millis, PortIndex, PortPolicy, Snapshot, Switch};
use model::AclRule;

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
    /// What the access lists of `port` remember; `None` where they remember nothing, and [`Acl::judge`] is enough.
    #[inline]
    #[must_use]
    pub fn acl_state(&self, port: PortIndex) -> Option<&AclState> {
        self.states.get(usize::from(port.0)).and_then(|state| state.acl.get())
    }

    /// The same, to be written.
    pub fn acl_state_mut(&mut self, port: PortIndex) -> Option<&mut AclState> {
        self.states.get_mut(usize::from(port.0)).and_then(|state| state.acl.get_mut())
    }

    /// What the access lists of `port` would find about a frame that is to leave on it; `None` where they do not look.
    #[must_use]
    pub fn explain_leaving(&self, port: PortIndex, frame: &AclFrame<'_>, now: Millis) -> Option<AclFinding> {
        let acl = self.snapshot.leaving_acl(port)?;
        let state = self.acl_state(port).filter(|_| acl.keeps_state());
        Some(match state {
            Some(state) => state.clone().judge(AclWay::In, frame, self.moment(now)),
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
}
