//! The access lists of a port that frames leave on.

use crate::tables::Tables;
use engine::{Acl, AclFrame, AclWay, Findings, Millis, PortIndex, Snapshot, Vlan};
use io::{BATCH_FRAMES, Batch, HEAD_BYTES};
use model::DropReason;
use std::sync::Arc;

/// Why frames of a batch may not leave on a port, by frame.
pub(crate) type Refused = [Option<DropReason>; BATCH_FRAMES];

/// Access lists that judge frames for one port, which follow each other in a batch.
pub(crate) struct Lists<'a> {
    acl: &'a Acl,
    tables: &'a Tables,
    port: PortIndex,
    now: Millis,
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
        Some(Self { acl, tables, port, now, findings })
    }

    /// Tells why they do not let frames leave, which the batch has in the form that they came in. Frames of flows that are there are
    /// judged with other workers that do; nobody else decides while the others are.
    pub fn judge(
        &mut self,
        batch: &Batch,
        frames: impl Iterator<Item = u16> + Clone,
        vlan: Vlan,
        refused: &mut Refused,
    ) {
        let Self { acl, tables, port, now, ref mut findings } = *self;
        let header = |frame| &batch.head(frame)[..batch.head(frame).len().min(HEAD_BYTES)];
        if !acl.keeps_state() {
            return frames.for_each(|frame| {
                refused[usize::from(frame)] = findings.judge(port, acl, AclWay::In, header(frame)).refused;
            });
        }
        let asked = frames.clone().map(|frame| AclFrame {
            header: header(frame),
            len: batch.frame_len(frame) as u32,
            vlan: vlan.id(),
        });
        let mut judged = frames;
        let mut note = |reason| {
            if let Some(frame) = judged.next() {
                refused[usize::from(frame)] = reason;
            }
        };
        let known = tables.read().judge_leaving_known(port, acl, asked.clone(), now, &mut note);
        let rest = asked.skip(known);
        if rest.clone().next().is_some() {
            tables.write().judge_leaving(port, acl, rest, now, &mut note);
        }
    }
}
