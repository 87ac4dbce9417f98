//! Which frames their addresses keep out, told before access lists remember anything of them.

use super::{Memory, Run, Way};
use crate::{Vlan, guard::Admission, key::Key};

impl<M: Memory, const INSPECTS: bool> Way<'_, M, INSPECTS> {
    /// True where the MAC table has a say in whether a frame passes, and lists remember what does. What a frame does to the table then
    /// decides about the next one's flow, so they are read one by one.
    pub(super) fn sources_decide_on_flows(&self) -> bool {
        !self.port.guarded_alone && self.port.policy.acl().is_some_and(|acl| acl.keeps_state())
    }

    /// True where a frame's addresses keep it out whatever it carries.
    pub(super) fn is_kept_out(&mut self, dst: Key, src: Key, vlan: Vlan) -> bool {
        let is_reserved = dst.is_group() && self.port.is_reserved(dst.mac());
        if !src.is_valid_source() || is_reserved {
            return true;
        }
        if self.port.guarded_alone {
            return !self.port.may_send_from(src);
        }
        let src = self.table().sought(src.in_vlan(self.snapshot.learns_in(vlan.id())));
        !self.lets_in(&Run { src, vlan, ..Run::EMPTY })
    }

    /// True where the MAC table lets the source of a run in: what [`Way::conclude`] will find, with nothing done.
    fn lets_in(&mut self, run: &Run) -> bool {
        let source = self.memory.source(run.src);
        let Some(roaming) = &self.port.roaming else { return self.fixed_at(source, run).is_none() };
        match self.admission(roaming, source, run) {
            None => false,
            Some(Admission::Known | Admission::Move(_)) => true,
            Some(Admission::Bind) => self.table().could_place(),
            Some(Admission::Learn) => self.table().could_learn(source, self.ingress, self.port.learn_limit()),
        }
    }
}
