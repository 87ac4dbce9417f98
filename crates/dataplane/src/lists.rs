//! The access lists of a port that frames leave on.

use crate::{sync::WriteGuard, tables::Tables};
use engine::{Acl, AclFrame, AclWay, Findings, Millis, PortIndex, Snapshot, Switch, Vlan};
use io::{Batch, HEAD_BYTES};
use model::DropReason;
use std::sync::Arc;

/// Access lists that judge frames for one port, which follow each other in a batch.
pub(crate) struct Lists<'a> {
    acl: &'a Acl,
    port: PortIndex,
    now: Millis,
    /// The switch, where something has to be remembered: nobody else decides meanwhile.
    switch: Option<WriteGuard<'a, Switch>>,
    findings: &'a mut Findings,
}

impl<'a> Lists<'a> {
    /// Those of a port; `None` where it has none that judge what leaves.
    #[inline]
    pub fn of(
        tables: &'a Tables,
        snapshot: &'a Arc<Snapshot>,
        findings: &'a mut Findings,
        port: PortIndex,
        now: Millis,
    ) -> Option<Self> {
        let acl = snapshot.leaving_acl(port)?;
        findings.follow(snapshot);
        let switch = acl.keeps_state().then(|| tables.write());
        Some(Self { acl, port, now, switch, findings })
    }

    /// Why they do not let a frame leave, which the batch has in the form that it came in.
    pub fn judge(&mut self, batch: &Batch, frame: u16, vlan: Vlan) -> Option<DropReason> {
        let head = batch.head(frame);
        let header = &head[..head.len().min(HEAD_BYTES)];
        let Some(switch) = &mut self.switch else {
            return self.findings.judge(self.port, self.acl, AclWay::In, header).refused;
        };
        let frame = AclFrame { header, len: batch.frame_len(frame) as u32, vlan: vlan.id() };
        switch.judge_leaving(self.port, self.acl, &frame, self.now)
    }
}
