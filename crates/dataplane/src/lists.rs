//! The access lists of a port that frames leave on.

use crate::tables::Tables;
use engine::{
    Acl, AclFinding, AclFrame, AclWay, Asked, Findings, Millis, Passage, PortIndex, Snapshot, Vlan,
};
use io::{BATCH_FRAMES, Batch, HEAD_BYTES};
use model::DropReason;
use std::sync::Arc;

/// Why frames of a batch may not leave on a port, by frame.
pub(crate) type Refused = [Option<DropReason>; BATCH_FRAMES];

const _: () = assert!(BATCH_FRAMES <= Asked::MOST);

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
    /// judged with other workers that do; nobody else decides while the others are. `passages` are the flows by which the frames of the
    /// batch passed at `ingress`, as far as it is known.
    pub fn judge(
        &mut self,
        batch: &Batch,
        (ingress, passages): (PortIndex, &[Passage]),
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
        let mut note = |frame: u16, finding: AclFinding| refused[usize::from(frame)] = finding.refused;
        let passage = |frame: u16| passages.get(usize::from(frame)).unwrap_or(&Passage::NONE);
        let frame_of = |frame: u16| {
            let (header, len) = (header(frame), batch.frame_len(frame) as u32);
            AclFrame { header, len, vlan: vlan.id() }
        };
        let (mut asked, mut known) = (Asked::default(), 0);
        {
            let switch = tables.read();
            let Some(leaving) = switch.leaving(ingress, port, now) else {
                return frames.for_each(|frame| note(frame, acl.judge(AclWay::In, header(frame))));
            };
            for frame in frames {
                let has_room = leaving.ask(passage(frame), &mut asked, frame, || frame_of(frame));
                debug_assert!(has_room, "a batch has no more");
            }
            known += leaving.judge_known(&mut asked, passage, &mut note);
        }
        if known < asked.len() {
            judge_and_write(tables, port, acl, (&mut asked, known), now, note);
        }
    }
}

/// Judges frames, but for the first so many. Where nothing is remembered any more, the lists by which they were judged so far decide alone.
#[inline(never)]
fn judge_and_write(
    tables: &Tables,
    port: PortIndex,
    acl: &Acl,
    (asked, but): (&mut Asked<'_>, usize),
    now: Millis,
    mut note: impl FnMut(u16, AclFinding),
) {
    let mut switch = tables.write();
    let now = switch.moment(now);
    match switch.acl_state_mut(port) {
        Some(state) => state.judge_all(AclWay::In, asked, but, now, |at, finding, _| note(at, finding)),
        None => asked.skip(but).for_each(|(at, frame)| note(at, acl.judge(AclWay::In, frame.header))),
    }
}
