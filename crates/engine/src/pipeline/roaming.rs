//! Ports whose guard needs the MAC table to decide ([`crate::guard`]), and what the IP guard says.

use super::{Decision, Memory, Run, Way};
use crate::{
    EngineEvent, Roamed, Step,
    guard::{Admission, Asked, Roaming},
    ip_guard::Known,
    key::EVERY_VLAN,
    mac_table::Source,
};
use model::DropReason;

impl<M: Memory, const INSPECTS: bool> Way<'_, M, INSPECTS> {
    /// What comes of the frames of a run on such a port. As everywhere, a policy that refuses a frame comes before its source
    /// has any effect.
    #[inline(never)]
    pub(super) fn conclude_roaming(&mut self, roaming: &Roaming, run: &Run) -> Option<Decision> {
        let source = self.memory.source(run.src);
        let admission = self.admission(roaming, source, run);
        self.memory.note(Step::Guard { passes: admission.is_some() });
        let Some(admission) = admission else { return Some(Decision::drop(DropReason::SpoofedMac)) };
        if let Some(reason) = self.refusal(run) {
            return Some(Decision::drop(reason));
        }
        if !self.take_in(admission, source, roaming, run)? {
            return Some(Decision::drop(DropReason::SpoofedMac));
        }
        Some(Decision { verdict: self.way_to(run), not_learned: false })
    }

    /// What the guard of such a port lets a source do.
    pub(super) fn admission(&mut self, roaming: &Roaming, source: Source, run: &Run) -> Option<Admission> {
        let asked = Asked {
            source: run.src.key,
            own: self.port.may_send_from(run.src.key),
            fixed_at: self.fixed_at(source, run),
            unknown: source == Source::Unknown,
            has_room: self.table().may_bind(self.ingress, self.port.bind_limit()),
            up: self.port.policy.up,
        };
        roaming.admit(self.ingress, asked)
    }

    /// Does what the guard lets a source do; false where there is no room for it.
    fn take_in(
        &mut self,
        admission: Admission,
        source: Source,
        roaming: &Roaming,
        run: &Run,
    ) -> Option<bool> {
        match admission {
            Admission::Known => Some(true),
            Admission::Learn => self.learn(run.src, source),
            Admission::Bind => {
                let bound = self.memory.bind(run.src, self.ingress, self.port.bind_limit())?;
                self.memory.note(Step::Roamed(if bound { Roamed::Bound } else { Roamed::NoPlace }));
                Some(bound)
            }
            Admission::Move(from) => {
                let address = match source {
                    Source::Fixed(_) => run.src,
                    _ => self.table().sought(run.src.key.in_vlan(EVERY_VLAN)),
                };
                self.memory.move_fixed(address, self.ingress)?;
                self.memory.note(Step::Roamed(Roamed::From(from)));
                self.memory.tell(EngineEvent::Moved { mac: run.src.key.mac(), from, to: self.ingress })?;
                self.take_in_what_was_hidden(roaming, run)
            }
        }
    }

    /// One that was bound elsewhere is gone when it has moved, and may have hidden one that is fixed to a trunk.
    fn take_in_what_was_hidden(&mut self, roaming: &Roaming, run: &Run) -> Option<bool> {
        let source = self.memory.source(run.src);
        match self.admission(roaming, source, run) {
            Some(again @ Admission::Move(_)) => self.take_in(again, source, roaming, run),
            _ => Some(true),
        }
    }

    /// Why the IP guard refuses a frame, where the port has one.
    #[inline]
    pub(super) fn ip_refusal(&mut self, header: &[u8]) -> Option<DropReason> {
        let own = self.port.own_addresses.as_ref()?;
        let now = self.memory.now();
        let leases = self.memory.state().map(|state| &state.leases);
        let known = Known { own, leases, now };
        (!known.allow(header)).then_some(DropReason::SpoofedIp)
    }

    /// Notes what the policies say that look into frames.
    pub(super) fn note_policies(&mut self, refused: Option<DropReason>) {
        let by_guards = refused.filter(|reason| *reason != DropReason::SpoofedIp);
        if self.port.policy.has_guards() {
            self.memory.note(Step::Policies { refused: by_guards });
        }
        if self.port.own_addresses.is_some() && by_guards.is_none() {
            self.memory.note(Step::IpGuard { passes: refused.is_none() });
        }
    }
}
