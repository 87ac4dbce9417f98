//! The last stage of multicast on a switch that snoops: who of those that a flood would reach gets a frame.
//!
//! It comes after all others have let a frame pass, so that what a guard refuses is not heard either. A report that is longer than
//! what is decided on is heard afterwards, as a whole, which the data path has. Of a message that comes in
//! on a port only that port's groups change, and no frame goes back to where it came from: so what was decided on the frames
//! before and behind it in the batch does not depend on it.

use super::{FrameIn, Verdict, Verdicts};
use crate::{
    Flood, Millis, PortIndex, Snapshot, Step, Switch, Vlan,
    multicast::{Audience, Multicast},
    snapshot::Port,
};
use core::borrow::Borrow;
use model::DropReason;
use wire::multicast::{self, Cast, Message};

/// Ports of [`Verdicts::listed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct List {
    first: u32,
    len: u32,
}

/// A report of multicast groups that is longer than the copy of its header: what it says is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unheard {
    /// Its number in the batch.
    pub frame: u16,
    /// The VLAN whose groups it is about.
    pub vlan: u16,
}

impl Switch {
    /// Hears a report that came from `port` and was [not heard](Verdicts::unheard) yet: a frame of `len` bytes that begins so. What is
    /// missing of it makes the port get everything for a while.
    pub fn hear_report(&mut self, port: PortIndex, vlan: u16, frame: FrameIn<'_>, now: Millis) {
        self.table.advance(now);
        let (now, cast) = (self.table.now(), multicast::read(frame.header, frame.len as usize));
        if let (Some(multicast), Cast::Message(message @ Message::Report(_), _)) = (&mut self.multicast, cast)
        {
            multicast.hear(vlan, port, message, now);
        }
    }
}

impl Verdicts {
    /// The reports of this batch of which the data path has more than was decided on: to be heard by [`Switch::hear_report`].
    #[must_use]
    pub fn unheard(&self) -> &[Unheard] {
        &self.unheard
    }

    /// The ports that a verdict on this batch lists.
    #[must_use]
    pub fn listed(&self, list: List) -> &[PortIndex] {
        let (first, len) = (list.first as usize, list.len as usize);
        self.lists.get(first..first + len).unwrap_or_default()
    }
}

/// What is known of groups, and what may be done with it.
pub(super) enum Knowledge<'a> {
    /// All to oneself.
    Own(&'a mut Multicast),
    /// Shared with others that read.
    Shared(&'a Multicast),
    /// For one frame that is only asked about: what it tells changes nothing.
    Asked(&'a Multicast),
}

impl Knowledge<'_> {
    const fn get(&self) -> &Multicast {
        match self {
            Self::Own(multicast) => multicast,
            Self::Shared(multicast) | Self::Asked(multicast) => multicast,
        }
    }

    /// `None` where it takes writing that may not be done.
    fn hear(&mut self, vlan: u16, port: PortIndex, message: Message<'_>, now: Millis) -> Option<()> {
        match self {
            Self::Own(multicast) => multicast.hear(vlan, port, message, now),
            Self::Shared(_) => return None,
            Self::Asked(_) => {}
        }
        Some(())
    }
}

/// The stage, for the frames of one port.
pub(super) struct Snooping<'a> {
    pub(super) ingress: PortIndex,
    pub(super) snapshot: &'a Snapshot,
    pub(super) knowledge: Knowledge<'a>,
    pub(super) now: Millis,
}

impl Snooping<'_> {
    /// Narrows the verdicts on a batch. `None` where it takes writing that may not be done. Not inlined, as others do without it.
    #[inline(never)]
    pub(super) fn narrow<'f>(
        mut self,
        frames: impl Iterator<Item: Borrow<FrameIn<'f>>>,
        Verdicts { verdicts, lens, lists, unheard, .. }: &mut Verdicts,
        mut note: impl FnMut(Step),
    ) -> Option<()> {
        lists.clear();
        let Some(port) = self.snapshot.port(self.ingress) else { return Some(()) };
        let mut last = None;
        lens.clear();
        lens.extend(verdicts.iter().map(|_| 1));
        for ((frame, verdict), index) in frames.zip(verdicts).zip(0..) {
            let FrameIn { header, len } = *frame.borrow();
            let Some(vlan) = vlan_of(*verdict, port, header) else { continue };
            let cast = multicast::read(header, len as usize);
            let group_vlan = self.snapshot.learns_in(vlan.id());
            let audience = self.knowledge.get().audience(group_vlan, &cast, self.now);
            if matches!(&cast, Cast::Message(Message::Report(records), _) if !records.is_whole()) {
                unheard.push(Unheard { frame: index, vlan: group_vlan });
            } else if let Cast::Message(message, _) = cast {
                self.knowledge.hear(group_vlan, self.ingress, message, self.now)?;
                last = None;
            }
            if *verdict == Verdict::Drop(DropReason::NoDestination) {
                continue;
            }
            note(Step::Audience(audience));
            if audience != Audience::Everybody {
                let known = last.filter(|(of, _)| *of == (vlan, audience)).map(|(_, verdict)| verdict);
                *verdict = known.unwrap_or_else(|| self.list(vlan, audience, lists));
                last = Some(((vlan, audience), *verdict));
            }
        }
        Some(())
    }

    fn list(&self, vlan: Vlan, audience: Audience, lists: &mut alloc::vec::Vec<PortIndex>) -> Verdict {
        let (multicast, first) = (self.knowledge.get(), lists.len());
        let group_vlan = self.snapshot.learns_in(vlan.id());
        let ports = self.snapshot.flood(self.ingress, Flood::Group, vlan);
        lists.extend(ports.filter(|port| multicast.attends(group_vlan, audience, *port, self.now)));
        match (lists.len() - first) as u32 {
            0 => Verdict::Drop(DropReason::NoListener),
            len => Verdict::List(List { first: first as u32, len }, vlan),
        }
    }
}

/// The VLAN of a frame to a group that would be flooded, if there was anybody.
fn vlan_of(verdict: Verdict, port: &Port, header: &[u8]) -> Option<Vlan> {
    let is_group = header.first().is_some_and(|first| first & 1 != 0);
    match verdict {
        Verdict::Flood(Flood::Group, vlan) => Some(vlan),
        Verdict::Drop(DropReason::NoDestination) if is_group => port.vlans.classify(header).ok(),
        _ => None,
    }
}
