//! Mirroring: who gets copies of a frame beside those that it is for.
//!
//! As in Hyper-V, a copy is made only where the port that is to have it does not get the frame anyway, so nobody gets a frame twice.
//! What Hyper-V does not document is decided here: nobody gets a copy of what he sent; a copy is not mirrored again; a port that
//! is down gets none, and nobody counts it; frames that are dropped at ingress, or have nobody to go to, have no copies.

use crate::{PortIndex, PortPolicy, Retag, Snapshot, Vlan};
use alloc::vec::Vec;
use wire::{ethernet::TYPE_OFFSET, vlan};

/// Copies of a port's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Who gets them.
    pub to: PortIndex,
    /// Of frames that come into the switch here.
    pub inbound: bool,
    /// Of frames that leave the switch here.
    pub outbound: bool,
}

const ID: u16 = 0xfff;

impl Snapshot {
    /// True where any port is mirrored.
    #[inline]
    #[must_use]
    pub const fn has_mirrors(&self) -> bool {
        self.has_mirrors
    }

    /// Puts into `copies` who gets a copy of a frame that came from `ingress` and leaves on the ports of `left_on`, each once.
    pub fn copies(&self, ingress: PortIndex, left_on: &[PortIndex], copies: &mut Vec<PortIndex>) {
        copies.clear();
        if left_on.is_empty() {
            return;
        }
        let mirror = |port: &PortIndex| self.policy(*port).and_then(|policy: &PortPolicy| policy.mirror);
        let inbound = mirror(&ingress).filter(|mirror| mirror.inbound);
        let outbound = left_on.iter().filter_map(mirror).filter(|mirror| mirror.outbound);
        for Mirror { to, .. } in inbound.into_iter().chain(outbound) {
            if to != ingress && self.is_up(to) && !left_on.contains(&to) && !copies.contains(&to) {
                copies.push(to);
            }
        }
    }

    /// What becomes of the tag of a copy: it has the frame's VLAN, whatever VLANs the port that gets it is in.
    #[must_use]
    pub fn retag_copy(&self, vlan: Vlan, header: &[u8]) -> Retag {
        let word = |at: usize| header.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        let tci =
            word(TYPE_OFFSET).filter(|tpid| *tpid == vlan::TPID_8021Q).and_then(|_| word(TYPE_OFFSET + 2));
        match (vlan.id(), tci) {
            (0, _) => Retag::Keep,
            (id, Some(tci)) if tci & ID == id => Retag::Keep,
            (id, tci) => Retag::Tagged(tci.unwrap_or_default() & !ID | id),
        }
    }
}
