//! Access lists among all else that decides about a frame. Those that remember something are not asked about what its addresses keep out, and
//! where these are judged without the MAC table, about many frames at once.

use super::{FrameIn, Memory, Run, Way};
use crate::{
    Acl, AclFinding, AclFrame, AclWay, Findings, Step, Vlan, guard::Admission, key::Key, snapshot::Port,
};
use alloc::vec::Vec;
use core::borrow::Borrow;
use model::DropReason;
use wire::ethernet;

/// What lists found about frames that are read later, in their order.
#[derive(Debug, Default)]
pub(super) struct Found {
    findings: Vec<AclFinding>,
    taken: usize,
}

impl Found {
    pub(super) fn clear(&mut self) {
        self.findings.clear();
        self.taken = 0;
    }

    pub(super) fn next(&mut self) -> Option<AclFinding> {
        let found = self.findings.get(self.taken).copied();
        self.taken += 1;
        found
    }
}

/// True where the addresses of a frame keep it out, as far as this is told without the MAC table.
fn is_kept_out_by_policy(port: &Port, dst: Key, src: Key) -> bool {
    let is_reserved = dst.is_group() && port.is_reserved(dst.mac());
    !src.is_valid_source() || is_reserved || (port.guarded_alone && !port.may_send_from(src))
}

/// A frame as the lists of a port see it that are to judge it; `None` where they are not.
fn asked<'f>(port: &Port, frame: &FrameIn<'f>) -> Option<AclFrame<'f>> {
    let (dst, src) = Key::pair(frame.header.first_chunk()?);
    let is_whole = frame.len as usize >= ethernet::HEADER_LEN && port.fits(frame.len, frame.header);
    let vlan = port.vlans.classify(frame.header).ok().filter(|_| is_whole)?;
    let judged = AclFrame { header: frame.header, len: frame.len, vlan: vlan.id() };
    (!is_kept_out_by_policy(port, dst, src)).then_some(judged)
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
        (dst, src): (Key, Key),
        vlan: Vlan,
        frame: &FrameIn<'_>,
        findings: &mut Findings,
    ) -> Option<DropReason> {
        let keeps_state = acl.keeps_state();
        if keeps_state && self.is_kept_out(dst, src, vlan) {
            return None;
        }
        let now = self.table().now();
        let state = if keeps_state { self.memory.state() } else { None };
        let finding = match state.and_then(|state| state.acl.get_mut()) {
            Some(_) if let Some(found) = self.found.next() => found,
            Some(state) => {
                let frame = AclFrame { header: frame.header, len: frame.len, vlan: vlan.id() };
                state.judge(AclWay::Out, &frame, now)
            }
            None => findings.judge(self.ingress, acl, AclWay::Out, frame.header),
        };
        self.memory.hold(Step::AccessLists { port: self.ingress, way: AclWay::Out, finding });
        finding.refused
    }

    /// True where the MAC table has a say in whether a frame passes, and lists remember what does. What a frame does to the table then
    /// decides about the next one's flow, so they are read one by one.
    pub(super) fn sources_decide_on_flows(&self) -> bool {
        !self.port.guarded_alone && self.looks.acl.is_some_and(Acl::keeps_state)
    }

    /// Has lists that remember something judge frames that are about to be read, if sources have no say in it: so the flows of all of
    /// them are looked up at once.
    pub(super) fn ask_lists<'f>(&mut self, frames: impl Iterator<Item: Borrow<FrameIn<'f>>> + Clone) {
        let (now, port) = (self.table().now(), self.port);
        self.found.clear();
        if let Some(acl) = self.looks.acl
            && acl.keeps_state()
            && let Some(state) = self.memory.state().and_then(|state| state.acl.get_mut())
        {
            let asked = frames.filter_map(|frame| asked(port, frame.borrow()));
            state.judge_all(AclWay::Out, asked, now, |finding| self.found.findings.push(finding));
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
