//! Access lists among all else that decides about a frame. Those that remember something are not asked about what its addresses keep out, and
//! where these are judged without the MAC table, about many frames at once.

use super::{Addressed, FrameIn, Memory, READ_AHEAD, Reading, Run, Way};
use crate::{
    Acl, AclFinding, AclFrame, AclWay, Asked, Findings, Passage, Step, Vlan, guard::Admission, key::Key,
    snapshot::Port,
};
use alloc::vec::Vec;
use core::borrow::Borrow;
use model::DropReason;

/// Frames that are read and judged together, by lists that remember something: so the flows of all of them are looked up at once.
#[derive(Debug, Default)]
pub(super) struct Together {
    readings: Vec<Reading>,
    taken: usize,
    /// What the lists do not let pass.
    refused: Vec<(u16, DropReason)>,
    /// By which flows the frames of the batch passed, as far as they were read.
    pub(super) passages: Vec<Passage>,
}

impl Together {
    /// The next frame that was read.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Reading> {
        let reading = self.readings.get(self.taken).copied();
        self.taken += 1;
        reading
    }
}

const _: () = assert!(READ_AHEAD <= Asked::MOST);

/// True where the addresses of a frame keep it out, as far as this is told without the MAC table.
fn is_kept_out_by_policy(port: &Port, dst: Key, src: Key) -> bool {
    let is_reserved = dst.is_group() && port.is_reserved(dst.mac());
    !src.is_valid_source() || is_reserved || (port.guarded_alone && !port.may_send_from(src))
}

/// True for what access lists drop.
pub(super) const fn is_of_lists(reason: DropReason) -> bool {
    use DropReason::{AclDenied, ExtAclDenied, FlowTableFull, OutOfState};
    matches!(reason, AclDenied | ExtAclDenied | OutOfState | FlowTableFull)
}

impl<M: Memory, const INSPECTS: bool> Way<'_, M, INSPECTS> {
    /// Why the port's access lists refuse a frame. Nothing is remembered of one that its addresses keep out: those come first.
    pub(super) fn by_access_lists(
        &mut self,
        acl: &Acl,
        addresses: (Key, Key),
        vlan: Vlan,
        frame: &FrameIn<'_>,
        findings: &mut Findings,
    ) -> Option<DropReason> {
        let finding = if acl.keeps_state() {
            self.judge_by_state(acl, addresses, vlan, frame)?
        } else {
            findings.judge(self.ingress, acl, AclWay::Out, frame.header)
        };
        self.memory.hold(Step::AccessLists { port: self.ingress, way: AclWay::Out, finding });
        finding.refused
    }

    /// True where the MAC table has a say in whether a frame passes, and lists remember what does. What a frame does to the table then
    /// decides about the next one's flow, so they are read one by one.
    pub(super) fn sources_decide_on_flows(&self) -> bool {
        !self.port.guarded_alone && self.looks.acl.is_some_and(Acl::keeps_state)
    }

    /// What lists that remember something find about a frame; `None` where its addresses keep it out.
    fn judge_by_state(
        &mut self,
        acl: &Acl,
        (dst, src): (Key, Key),
        vlan: Vlan,
        frame: &FrameIn<'_>,
    ) -> Option<AclFinding> {
        if self.is_kept_out(dst, src, vlan) {
            return None;
        }
        let now = self.table().now();
        let frame = AclFrame { header: frame.header, len: frame.len, vlan: vlan.id() };
        Some(match self.memory.state().and_then(|state| state.acl.get_mut()) {
            Some(state) => state.judge(AclWay::Out, &frame, now),
            None => acl.judge(AclWay::Out, frame.header),
        })
    }

    /// True where lists remember what passes, and the MAC table has no say in it.
    pub(super) fn lists_judge_together(&mut self) -> bool {
        let is_remembered = self.memory.state().is_some_and(|state| state.acl.get().is_some());
        is_remembered && self.port.guarded_alone && self.looks.acl.is_some_and(Acl::keeps_state)
    }

    /// Reads up to [`READ_AHEAD`] frames, and has lists judge those that their addresses do not keep out.
    pub(super) fn read_together<'f>(&mut self, frames: impl Iterator<Item: Borrow<FrameIn<'f>>>) {
        let Self { ingress, port, snapshot, untagged, memory, together, .. } = self;
        let (port, snapshot, untagged, now) = (*port, *snapshot, *untagged, memory.table().now());
        let Together { readings, taken, refused, passages } = together;
        readings.clear();
        refused.clear();
        *taken = 0;
        let Some(state) = memory.state().and_then(|state| state.acl.get_mut()) else { return };
        let mut asked = Asked::default();
        // Most frames have the addresses of the one before.
        let (mut last, mut is_asked) = ((Key::from_number(0), Key::from_number(0)), false);
        for frame in frames {
            let frame = frame.borrow();
            let addressed = Self::addressed(port, snapshot, untagged, frame);
            readings.push(addressed.map_or_else(|reading| reading, |addressed| addressed.refused(None)));
            let Ok(Addressed { dst, src, vlan, .. }) = addressed else { continue };
            if (dst, src) != last {
                (last, is_asked) = ((dst, src), !is_kept_out_by_policy(port, dst, src));
            }
            if is_asked {
                let at = (readings.len() - 1) as u16;
                let frame = AclFrame { header: frame.header, len: frame.len, vlan: vlan.id() };
                let has_room = state.ask(AclWay::Out, &mut asked, at, frame);
                debug_assert!(has_room, "no more are read ahead");
            }
        }
        let (mut found, first) = (None, passages.len());
        passages.resize(first + readings.len(), Passage::NONE);
        state.judge_all(AclWay::Out, &mut asked, 0, now, |at, finding, passage| {
            found = Some(finding);
            if let Some(passage) = passage {
                passages[first + usize::from(at)] = passage;
            }
            refused.extend(finding.refused.map(|reason| (at, reason)));
        });
        // Who wants to know has one frame.
        if let Some(finding) = found {
            memory.hold(Step::AccessLists { port: *ingress, way: AclWay::Out, finding });
        }
        for (at, reason) in refused.drain(..) {
            readings[usize::from(at)].refused = Some(reason);
        }
    }

    /// Has the policies behind lists look into these frames, where there are such policies.
    pub(super) fn look_behind_lists_together<'f>(
        &mut self,
        frames: impl Iterator<Item: Borrow<FrameIn<'f>>>,
    ) {
        if !self.looks_behind_lists() {
            return;
        }
        for (at, frame) in frames.enumerate() {
            if self.together.readings[at].refused.is_none() {
                self.together.readings[at].refused = self.look_behind_lists(frame.borrow().header);
            }
        }
    }

    /// True where a frame's addresses keep it out whatever it carries.
    pub(super) fn is_kept_out(&mut self, dst: Key, src: Key, vlan: Vlan) -> bool {
        if is_kept_out_by_policy(self.port, dst, src) {
            return true;
        }
        if self.port.guarded_alone {
            return false;
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
