//! What is read of a frame before it is decided about.

use super::{FrameIn, Lately, Memory, Run, Way};
use crate::{Findings, Snapshot, Vlan, guards, key::Key, mac_table::Sought, snapshot::Port, vlan::is_tagged};
use model::DropReason;
use wire::ethernet;

/// What a frame says of itself, and why it does not pass where a policy refuses it; or why it does not whatever the port,
/// with no addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) dst: Key,
    pub(super) src: Key,
    pub(super) vlan: Vlan,
    pub(super) refused: Option<DropReason>,
}

impl Reading {
    pub(super) const fn none(reason: DropReason) -> Self {
        let none = Sought::NONE.key;
        Self { dst: none, src: none, vlan: Vlan::NONE, refused: Some(reason) }
    }

    /// True where it differs from those of the run by its source at most.
    #[inline]
    pub(super) fn goes_with(&self, run: &Run) -> bool {
        let aside = |refused: Option<DropReason>| refused.map_or(u8::MAX, |reason| reason as u8);
        self.dst == run.dst.key && self.vlan == run.vlan && aside(self.refused) == aside(run.refused)
    }
}

/// Who a frame is from and for, in no VLAN yet; its VLAN, and the one that its addresses are learned in.
#[derive(Clone, Copy)]
pub(super) struct Addressed {
    pub(super) dst: Key,
    pub(super) src: Key,
    pub(super) vlan: Vlan,
    pub(super) learned_in: u16,
}

impl Addressed {
    #[inline]
    pub(super) fn refused(self, refused: Option<DropReason>) -> Reading {
        let Self { dst, src, vlan, learned_in } = self;
        Reading { dst: dst.in_vlan(learned_in), src: src.in_vlan(learned_in), vlan, refused }
    }
}

impl<M: Memory, const INSPECTS: bool> Way<'_, M, INSPECTS> {
    #[inline]
    pub(super) fn read(&mut self, frame: &FrameIn<'_>, lately: &mut Lately) -> Reading {
        match Self::addressed(self.port, self.snapshot, self.untagged, frame) {
            Err(reading) => reading,
            Ok(addressed) => {
                let Addressed { dst, src, vlan, .. } = addressed;
                addressed.refused(self.look_into((dst, src), vlan, frame, &mut lately.findings))
            }
        }
    }

    /// Who a frame is from and for; or all that is read of it, where policies do not look into it.
    #[inline(always)]
    pub(super) fn addressed(
        port: &Port,
        snapshot: &Snapshot,
        untagged: (Vlan, u16),
        frame: &FrameIn<'_>,
    ) -> Result<Addressed, Reading> {
        match frame.header.first_chunk() {
            Some(_) if !port.fits(frame.len, frame.header) => Err(Reading::none(DropReason::Oversize)),
            Some(header) if frame.len as usize >= ethernet::HEADER_LEN => {
                let (dst, src) = Key::pair(header);
                let (vlan, learned_in) = match is_tagged(header) {
                    false if !INSPECTS => return Err(Reading { dst, src, vlan: Vlan::NONE, refused: None }),
                    false => untagged,
                    true => match port.vlans.classify(frame.header) {
                        Ok(vlan) => (vlan, snapshot.learns_in(vlan.id())),
                        Err(reason) => {
                            return Err(Reading { dst, src, vlan: Vlan::NONE, refused: Some(reason) });
                        }
                    },
                };
                let addressed = Addressed { dst, src, vlan, learned_in };
                if INSPECTS { Ok(addressed) } else { Err(addressed.refused(None)) }
            }
            _ => Err(Reading::none(DropReason::Runt)),
        }
    }

    /// Why the policies that look into frames refuse one, in their order.
    #[inline]
    pub(super) fn look_into(
        &mut self,
        addresses: (Key, Key),
        vlan: Vlan,
        frame: &FrameIn<'_>,
        findings: &mut Findings,
    ) -> Option<DropReason> {
        let by_lists = match self.looks.acl {
            Some(acl) => self.by_access_lists(acl, addresses, vlan, frame, findings),
            None => None,
        };
        by_lists.or_else(|| self.look_behind_lists(frame.header))
    }

    /// True where such policies come behind access lists.
    pub(super) const fn looks_behind_lists(&self) -> bool {
        self.looks.guards || self.port.own_addresses.is_some()
    }

    /// The same of these.
    #[inline]
    pub(super) fn look_behind_lists(&mut self, header: &[u8]) -> Option<DropReason> {
        let guards = self.looks.guards;
        let by_guards = if guards { guards::refusal(&self.port.policy, header) } else { None };
        by_guards.or_else(|| self.ip_refusal(header))
    }
}
