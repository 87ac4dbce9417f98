//! Frames that leave on a port, by the port's access lists.

use super::{
    Acl, AclFinding, AclFrame, AclState, AclWay, Asked, Meter, Passage,
    flows::{Flows, Issuer},
};
use crate::{Millis, PortIndex, PortPolicy, Snapshot, Switch};
use model::AclRule;

/// What the lists of a port remember that frames leave on, beside those of the port that they came in on.
///
/// A frame that passed there by a flow is looked for by that, and what is found is noted with it: where the flow is that it left by, and of
/// datagrams that the next ones need not be judged for a moment.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'a> {
    issuer: Option<Issuer>,
    state: &'a AclState,
    entered: Option<&'a AclState>,
    now: Millis,
}

impl<'a> Leaving<'a> {
    /// Of frames that leave on `port`, whose state is `state`; `entered` is that of the port that they came in on.
    #[must_use]
    pub const fn new(
        port: PortIndex,
        state: &'a AclState,
        entered: Option<&'a AclState>,
        now: Millis,
    ) -> Self {
        Self { issuer: state.remembered().issuer(port), state, entered, now }
    }

    /// Puts a frame to those that are judged next, under a number of the caller's, unless it is known that it may leave. `passage` is by
    /// which flow it came in. False where there is no room for it, and it is not judged.
    #[must_use]
    #[inline(always)]
    pub fn ask<'f>(
        &self,
        passage: &Passage,
        asked: &mut Asked<'f>,
        at: u16,
        frame: impl FnOnce() -> AclFrame<'f>,
    ) -> bool {
        let is_assured = self.issuer.is_some_and(|issuer| passage.is_assured_by(issuer));
        is_assured || self.state.ask_behind(passage, asked, at, frame())
    }

    /// What becomes of these frames, as [`AclState::judge_known`] tells it. `passage` says by which flow one came in.
    #[inline]
    pub fn judge_known<'p>(
        &self,
        asked: &mut Asked<'_>,
        passage: impl Fn(u16) -> &'p Passage,
        mut found: impl FnMut(u16, AclFinding),
    ) -> usize {
        self.state.judge_known(AclWay::In, asked, self.now, |at, finding, left_by| {
            found(at, finding);
            if let (Some(entered), Some(left_by)) = (self.entered, left_by) {
                self.note_left(entered.remembered(), passage(at), &left_by);
            }
        })
    }

    #[inline]
    fn note_left(&self, entered: &Flows, passage: &Passage, left_by: &Passage) {
        if passage.misses(left_by) {
            entered.note_peer(passage, left_by);
        }
        if let Some(issuer) = self.issuer
            && passage.can_be_assured(left_by)
        {
            entered.note_assured(passage, (issuer, self.state.remembered()), left_by, self.now);
        }
    }
}

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
    /// What the access lists of `port` remember, for frames that came in at `ingress` and leave on it; `None` where they remember nothing,
    /// and [`Acl::judge`] is enough.
    #[inline]
    #[must_use]
    pub fn leaving(&self, ingress: PortIndex, port: PortIndex, now: Millis) -> Option<Leaving<'_>> {
        Some(Leaving::new(port, self.acl_state(port)?, self.acl_state(ingress), self.moment(now)))
    }

    /// What the access lists of `port` remember.
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
        let (acl, now) = (self.snapshot.leaving_acl(port)?, self.moment(now));
        let state = self.acl_state(port).filter(|_| acl.keeps_state());
        Some(match state {
            Some(state) => state.excerpt(AclWay::In, frame, now).judge(AclWay::In, frame, now),
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
