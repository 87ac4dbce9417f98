//! The way of a batch through the switch.
//!
//! # Tiers
//!
//! Instructions for each frame in batches of 64, counted by `examples/instructions.rs` on x86-64. Frames that follow each
//! other with the same two addresses are decided together, and so are frames of sources that are known and stay where they
//! are, with the same destination:
//!
//! | frame | costs | instructions |
//! | --- | --- | --- |
//! | same two addresses as the frame before it, in the same batch | a compare, a verdict repeated | 87 |
//! | from a port with DHCP guard or router guard, a datagram | a few fields looked at | 74 more |
//! | another source than the frame before it, both learned here and seen within a second | its entry looked at | 179 |
//! | another destination than the frame before it, from a guarded port | a compare with the port's MAC, one look-up | 359 |
//! | another destination and another source, from a port that learns | two look-ups | 546 |
//! | a new source, at a full table | an entry taken out and one written, all decided twice | 1540 |
//! | a move, a conflict with a pinned entry | once per interval, an event | |
//!
//! A look-up begins where the address was last time (`lately`). Where it is not any more it is hashed, which is 90 instructions more, and
//! 40 to find it by that.
//!
//! # What batching changes
//!
//! Nothing. Frames are decided one by one in the order of the batch: each is learned from before it is looked up, and the
//! next one sees it. All frames of a batch happen at one moment, `now`.
//!
//! # Who owns what
//!
//! Nothing here is locked: who shares a switch between workers does that. [`Switch::process`] takes the switch for itself
//! and always decides. [`Switch::process_known`] only reads, so several may do so at once; it decides a batch unless that
//! takes writing: a source to be learned or stamped anew (once a second for each), an event to be told. A guarded port's
//! frames never do, unless its guard lets more in than its own addresses (`crate::guard`). Both go the same way, with another [`Memory`]. The snapshot is immutable.

mod lately;
mod lists;
mod memory;
mod reading;
mod roaming;
mod snooping;
mod verdicts;

pub use snooping::{List, Unheard};
pub use verdicts::Verdicts;

use crate::{
    Acl, AclFrame, AclWay, EngineEvent, Flood, Millis, PortIndex, Snapshot, Step, Switch, Vlan,
    key::{EVERY_VLAN, Key},
    mac_table::{Learned, MacTable, Sought, Source},
    snapshot::Port,
    state::PortState,
    vlan::is_tagged,
};
use alloc::{sync::Arc, vec::Vec};
use core::borrow::Borrow;
use lately::Lately;
use lists::{Together, is_of_lists};
use memory::{Explaining, Memory, ReadOnly, Writable};
use model::DropReason;
use reading::{Addressed, Reading};
use snooping::{Knowledge, Snooping};

/// A frame as the engine sees it.
#[derive(Clone, Copy, Debug)]
pub struct FrameIn<'a> {
    /// Its first bytes, up to 128: a private copy, which the sender cannot change any more.
    pub header: &'a [u8],
    /// How long it is; where it will be segmented, how long the largest segment will be.
    pub len: u32,
}

/// What happens to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Dropped; counted on the port that it came from.
    Drop(DropReason),
    /// Dropped; counted on that port, which it was to leave on.
    DropAt(PortIndex, DropReason),
    /// Goes to that port.
    Forward(PortIndex, Vlan),
    /// Goes to each port of [`Snapshot::flood`], of which there is at least one.
    Flood(Flood, Vlan),
    /// Goes to each port of [`Verdicts::listed`], of which there is at least one: those that want a multicast group.
    List(List, Vlan),
}

impl Verdict {
    /// True for what goes on to some port.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Forward(..) | Self::Flood(..))
    }
}

/// A verdict, and whether the frame passed without its source being learned.
#[derive(Clone, Copy)]
struct Decision {
    verdict: Verdict,
    not_learned: bool,
}

impl Decision {
    const fn drop(reason: DropReason) -> Self {
        Self { verdict: Verdict::Drop(reason), not_learned: false }
    }
}

impl Switch {
    /// Decides a batch of frames that came in on `ingress`: clears `out` and puts one verdict for each frame into it.
    /// Returns how many frames passed without their source being learned, because the port or the table was at its limit.
    ///
    /// Frames of a port that is not in the snapshot are dropped as `port_down`.
    pub fn process<'f>(
        &mut self,
        ingress: PortIndex,
        frames: impl IntoIterator<Item: Borrow<FrameIn<'f>>, IntoIter: Clone>,
        now: Millis,
        out: &mut Verdicts,
    ) -> u32 {
        self.table.advance(now);
        let (now, frames) = (self.table.now(), frames.into_iter());
        let Self { snapshot, table, events, states, multicast, .. } = self;
        let memory = Writable { table, events, state: states.get_mut(usize::from(ingress.0)) };
        let decided = decide(snapshot, ingress, memory, frames.clone(), out);
        if let Some(multicast) = multicast {
            let knowledge = Knowledge::Own(multicast);
            Snooping { ingress, snapshot, knowledge, now }.narrow(frames, out, |_| ());
        }
        decided.unwrap_or_default()
    }

    /// The same, as long as nothing has to be written for it. Otherwise `None`, with nothing done and nothing of use in `out`:
    /// then [`Switch::process`] has to decide the batch, from its first frame on.
    pub fn process_known<'f>(
        &self,
        ingress: PortIndex,
        frames: impl IntoIterator<Item: Borrow<FrameIn<'f>>, IntoIter: Clone>,
        now: Millis,
        out: &mut Verdicts,
    ) -> Option<u32> {
        let (now, frames) = (self.moment(now), frames.into_iter());
        let memory = ReadOnly { table: &self.table, events: &self.events, now };
        let decided = decide(&self.snapshot, ingress, memory, frames.clone(), out)?;
        if let Some(multicast) = &self.multicast {
            let (snapshot, knowledge) = (&self.snapshot, Knowledge::Shared(multicast));
            Snooping { ingress, snapshot, knowledge, now }.narrow(frames, out, |_| ())?;
        }
        Some(decided)
    }
}

impl Switch {
    /// What would become of one frame, and what each stage that it would come to finds: one verdict. The same code decides as for frames that
    /// pass, but on copies of the MAC table and of what the port remembers of such a frame, and nothing is told or counted.
    #[must_use]
    pub fn explain(&self, ingress: PortIndex, frame: FrameIn<'_>, now: Millis) -> (Vec<Step>, Verdicts) {
        let (mut steps, mut out) = (Vec::new(), Verdicts::default());
        let mut table = self.table.clone();
        table.advance(now);
        let (state, held) = (self.excerpt(ingress, &frame, table.now()), None);
        let memory = Explaining { table, state, steps: &mut steps, held };
        decide(&self.snapshot, ingress, memory, [frame].into_iter(), &mut out);
        if let Some(multicast) = &self.multicast {
            let (snapshot, knowledge, now) = (&self.snapshot, Knowledge::Asked(multicast), self.moment(now));
            Snooping { ingress, snapshot, knowledge, now }
                .narrow([frame].into_iter(), &mut out, |step| steps.push(step));
        }
        (steps, out)
    }

    /// A copy of what a port remembers that such a frame could have to do with.
    fn excerpt(&self, ingress: PortIndex, frame: &FrameIn<'_>, now: Millis) -> PortState {
        let port = self.snapshot.port(ingress).zip(self.states.get(usize::from(ingress.0)));
        let Some((port, state)) = port else { return PortState::default() };
        // One that its tag keeps out gets no further than that.
        let vlan = match frame.header.first_chunk().is_some_and(is_tagged) {
            false => port.vlans.untagged,
            true => port.vlans.classify(frame.header).map_or(0, Vlan::id),
        };
        state.excerpt(AclWay::Out, &AclFrame { header: frame.header, len: frame.len, vlan }, now)
    }
}

/// Decides frames until one takes more than `memory` may do.
#[inline]
fn decide<'f>(
    snapshot: &Arc<Snapshot>,
    ingress: PortIndex,
    memory: impl Memory,
    frames: impl Iterator<Item: Borrow<FrameIn<'f>>> + Clone,
    out: &mut Verdicts,
) -> Option<u32> {
    out.clear();
    let Some(port) = snapshot.port(ingress) else {
        frames.for_each(|_| out.push(Verdict::Drop(DropReason::PortDown), 1));
        return Some(0);
    };
    if port.inspects {
        out.lately.findings.follow(snapshot);
        decide_inspecting(Way::new(ingress, port, snapshot, memory), frames, out)
    } else {
        Way::<_, false>::new(ingress, port, snapshot, memory).decide(frames, out)
    }
}

/// Not inlined, so that the way of most ports stays as short as it is.
#[inline(never)]
fn decide_inspecting<'f>(
    mut way: Way<'_, impl Memory, true>,
    frames: impl Iterator<Item: Borrow<FrameIn<'f>>> + Clone,
    out: &mut Verdicts,
) -> Option<u32> {
    core::mem::swap(&mut way.together, &mut out.together);
    let decided = way.decide(frames, out);
    core::mem::swap(&mut way.together, &mut out.together);
    decided
}

/// How many frames are read ahead: as many as the data path's batches have.
const READ_AHEAD: usize = 64;

/// Frames that follow each other and get the same verdict, as they have the same two addresses or the same fault: deciding
/// is idempotent as long as time stands still, since what the first one had to learn or to tell is done. Nothing had to be
/// where the source is [settled](Memory::is_settled): then frames of other such sources belong to the run, too. A guarded port's source is
/// not looked up.
#[derive(Clone, Copy, Debug)]
struct Run {
    dst: Sought,
    /// Of the first frame.
    src: Sought,
    is_settled: bool,
    vlan: Vlan,
    /// Why none of them passes, whatever its destination.
    refused: Option<DropReason>,
    frames: u32,
}

/// The frames that are read ahead. Kept, as it need not be cleared for each batch.
type RunBuffer = [Run; READ_AHEAD];

impl Run {
    const EMPTY: Self = Self {
        dst: Sought::NONE,
        src: Sought::NONE,
        is_settled: false,
        vlan: Vlan::NONE,
        refused: None,
        frames: 0,
    };
}

/// What is the same for all frames of a batch. `INSPECTS` where the port has policies that look into frames: two ways, so that
/// ports without such policies do not pay for the question.
struct Way<'a, M, const INSPECTS: bool> {
    ingress: PortIndex,
    port: &'a Port,
    snapshot: &'a Snapshot,
    memory: M,
    /// Of a source nothing matters but its own entry in the MAC table.
    learns_plainly: bool,
    /// The VLAN of frames that come without a tag, and the one that their addresses are learned in.
    untagged: (Vlan, u16),
    looks: Looks<'a>,
    /// Frames that access lists judge together.
    together: Together,
}

/// Which of the policies that look into frames the port has, beside the IP guard.
#[derive(Clone, Copy)]
struct Looks<'a> {
    /// Access lists that judge what it sends.
    acl: Option<&'a Acl>,
    guards: bool,
}

impl<'a, M: Memory, const INSPECTS: bool> Way<'a, M, INSPECTS> {
    fn new(ingress: PortIndex, port: &'a Port, snapshot: &'a Snapshot, memory: M) -> Self {
        let learns_plainly = !port.guarded_alone && port.roaming.is_none() && !snapshot.has_fixed_on_trunks();
        let untagged = Vlan::new(port.vlans.untagged, false);
        let untagged = (untagged, snapshot.learns_in(untagged.id()));
        let acl = port.policy.acl().map(|acl| &**acl).filter(|acl| acl.judges(AclWay::Out));
        let looks = Looks { acl, guards: port.policy.has_guards() };
        Self {
            ingress,
            port,
            snapshot,
            memory,
            learns_plainly,
            untagged,
            looks,
            together: Together::default(),
        }
    }

    #[inline]
    fn decide<'f>(
        &mut self,
        mut frames: impl Iterator<Item: Borrow<FrameIn<'f>>> + Clone,
        out: &mut Verdicts,
    ) -> Option<u32> {
        let mut not_learned = 0;
        if INSPECTS && self.port.policy.remembers() {
            self.memory.state()?;
        }
        let ahead = if INSPECTS && self.sources_decide_on_flows() { 1 } else { READ_AHEAD };
        let together = INSPECTS && self.lists_judge_together();
        loop {
            let count = if together {
                let again = frames.clone().take(ahead);
                self.read_together(frames.by_ref().take(ahead));
                self.look_behind_lists_together(again);
                self.read_ahead(|way, _| way.together.next(), &mut out.runs, &mut out.lately)
            } else {
                let mut frames = frames.by_ref().take(ahead);
                let read =
                    |way: &mut Self, lately: &mut Lately| Some(way.read(frames.next()?.borrow(), lately));
                self.read_ahead(read, &mut out.runs, &mut out.lately)
            };
            for at in 0..count {
                let run = &out.runs[at % READ_AHEAD];
                let decision = self.conclude(run)?;
                let passing = self.calm(decision.verdict, run.frames)?;
                let limited = run.frames - passing;
                not_learned += u32::from(decision.not_learned) * passing;
                out.push(decision.verdict, passing);
                if INSPECTS && limited != 0 {
                    out.push(Verdict::Drop(DropReason::StormLimit), limited);
                }
            }
            if count == 0 {
                return Some(not_learned);
            }
        }
    }

    /// How many of so many frames with the same verdict the port's storm limit lets pass. Only here it is known whether they are
    /// flooded: so the limit comes behind the look-up.
    #[inline]
    fn calm(&mut self, verdict: Verdict, frames: u32) -> Option<u32> {
        if !INSPECTS || !matches!(verdict, Verdict::Flood(..)) {
            return Some(frames);
        }
        let Some(limit) = self.port.policy.storm_limit() else { return Some(frames) };
        let now = self.table().now();
        let passing = self.memory.state()?.storm.pass(limit, frames, now);
        self.memory.note(Step::Storm { passes: passing != 0 });
        Some(passing)
    }

    /// Finds the runs among up to [`READ_AHEAD`] frames, hashes their addresses and reads what the look-ups will read, so that
    /// the processor waits for many of these reads at once and not for each in turn: half as many look-ups again per second
    /// with 65,536 destinations in random order. Says how many runs there are.
    #[inline]
    fn read_ahead(
        &mut self,
        mut next: impl FnMut(&mut Self, &mut Lately) -> Option<Reading>,
        runs: &mut RunBuffer,
        lately: &mut Lately,
    ) -> usize {
        let (mut last, mut count, mut touched) = (Run::EMPTY, 0usize, 0);
        while let Some(reading) = next(self, lately) {
            if count != 0 && reading.goes_with(&last) && self.is_like(reading.src, &last, lately) {
                last.frames += 1;
            } else {
                // A run is written once, when it is over: to do it for each frame took 14 instructions.
                runs[count.wrapping_sub(1) % READ_AHEAD] = last;
                last = self.begin_run(reading, &last, lately, &mut touched);
                count += 1;
            }
        }
        runs[count.wrapping_sub(1) % READ_AHEAD] = last;
        core::hint::black_box(touched);
        count
    }

    /// A run of one frame; what its addresses share with the run before need not be hashed and touched again.
    #[inline(always)]
    fn begin_run(&self, reading: Reading, last: &Run, lately: &mut Lately, touched: &mut u64) -> Run {
        let Reading { dst, src, vlan, refused } = reading;
        let mut run = Run { vlan, refused, frames: 1, ..*last };
        if dst != last.dst.key {
            run.dst = self.table().seek(dst, lately.hints.of(dst), touched);
        }
        if src != last.src.key {
            let alone = self.port.guarded_alone;
            run.src =
                if alone { Sought::not(src) } else { self.table().seek(src, lately.hints.of(src), touched) };
            run.is_settled = self.is_settled(src, lately);
        }
        run
    }

    /// True where a frame of this source gets what those of the run get, as far as sources matter.
    #[inline(always)]
    fn is_like(&self, src: Key, run: &Run, lately: &mut Lately) -> bool {
        src == run.src.key || (run.is_settled && self.is_settled(src, lately))
    }

    /// True where frames of this source only pass: there is nothing to refuse, to learn, or to tell.
    #[inline(always)]
    fn is_settled(&self, src: Key, lately: &mut Lately) -> bool {
        self.learns_plainly && self.memory.is_settled(src, *lately.hints.of(src), self.ingress)
    }

    #[inline]
    fn table(&self) -> &MacTable {
        self.memory.table()
    }

    /// What comes of the frames of a run. `None` where it takes writing that may not be done. A policy that refuses a frame
    /// comes after what is wrong with its addresses, and before its source is learned.
    #[inline(always)]
    fn conclude(&mut self, run: &Run) -> Option<Decision> {
        let Run { dst, src, refused, .. } = *run;
        if let Some(reason @ (DropReason::Runt | DropReason::Oversize)) = refused {
            return Some(Decision::drop(reason));
        }
        if !src.key.is_valid_source() {
            return Some(Decision::drop(DropReason::InvalidSource));
        }
        self.memory.note(Step::Addresses { destination: dst.key.mac(), source: src.key.mac() });
        if self.port.guarded_alone {
            return Some(self.conclude_guarded(run));
        }
        if INSPECTS && let Some(roaming) = &self.port.roaming {
            return self.conclude_roaming(roaming, run);
        }
        let source = self.memory.source(src);
        self.memory.note(Step::Source(source.port()));
        if let Some(pinned_to) = self.fixed_at(source, run) {
            let (mac, claimed_by) = (src.key.mac(), self.ingress);
            self.memory.tell(EngineEvent::PinConflict { mac, pinned_to, claimed_by })?;
            return Some(Decision::drop(DropReason::MacPinnedElsewhere));
        }
        if let Some(reason) = self.refusal(run) {
            return Some(Decision::drop(reason));
        }
        let not_learned = !self.learn(src, source)?;
        Some(Decision { verdict: self.way_to(run), not_learned })
    }

    /// The same for a guarded port that uses its own addresses only, and does not learn.
    #[inline]
    fn conclude_guarded(&mut self, run: &Run) -> Decision {
        let passes = self.port.may_send_from(run.src.key);
        self.memory.note(Step::Guard { passes });
        if !passes {
            return Decision::drop(DropReason::SpoofedMac);
        }
        let refused = self.refusal(run);
        let verdict = refused.map_or_else(|| self.way_to(run), Verdict::Drop);
        Decision { verdict, not_learned: false }
    }

    /// The port that the source is fixed to, in the VLAN or, on a trunk that has the VLAN, in every one.
    #[inline]
    fn fixed_at(&mut self, source: Source, run: &Run) -> Option<PortIndex> {
        match source {
            Source::Fixed(port) => Some(port),
            _ if self.snapshot.has_fixed_on_trunks() => self.fixed_on_trunk(run.src.key, run.vlan),
            _ => None,
        }
    }

    /// The trunk that has the VLAN and that the address is fixed to.
    #[cold]
    fn fixed_on_trunk(&self, address: Key, vlan: Vlan) -> Option<PortIndex> {
        let everywhere = self.table().sought(address.in_vlan(EVERY_VLAN));
        let port = self.memory.look_up(everywhere)?;
        self.snapshot.is_in(port, vlan.id()).then_some(port)
    }

    /// Why the port's policies, in their order, do not let the frames in.
    #[inline]
    fn refusal(&mut self, run: &Run) -> Option<DropReason> {
        if !INSPECTS && run.refused.is_none() && run.vlan.is_none() {
            return self.is_reserved(run.dst).then_some(DropReason::ReservedMulticast);
        }
        let refused = run.refused;
        let by_vlan =
            refused.filter(|reason| matches!(reason, DropReason::VlanNotAllowed | DropReason::DoubleTag));
        if !run.vlan.is_none() || by_vlan.is_some() {
            self.memory.note(Step::Vlan(by_vlan.map_or(Ok(run.vlan.id()), Err)));
        }
        if by_vlan.is_some() {
            return by_vlan;
        }
        if self.is_reserved(run.dst) {
            return Some(DropReason::ReservedMulticast);
        }
        if INSPECTS {
            self.memory.note_held();
        }
        if INSPECTS && self.port.policy.inspects() && !refused.is_some_and(is_of_lists) {
            self.note_policies(refused);
        }
        refused
    }

    #[inline]
    fn is_reserved(&self, dst: Sought) -> bool {
        dst.key.is_group() && self.port.is_reserved(dst.key.mac())
    }

    /// Learns where `src` is; false where the port or the table has no room for it.
    #[inline(always)]
    fn learn(&mut self, src: Sought, source: Source) -> Option<bool> {
        let learned = self.memory.learn(src, source, self.ingress, self.port.learn_limit())?;
        self.memory.note(Step::Learned(learned));
        match learned {
            Learned::Yes => Some(true),
            Learned::No => Some(false),
            Learned::MovedFrom(from) => {
                self.memory.tell(EngineEvent::Moved { mac: src.key.mac(), from, to: self.ingress })?;
                Some(true)
            }
        }
    }

    #[inline(always)]
    fn way_to(&mut self, run: &Run) -> Verdict {
        if run.dst.key.is_group() {
            self.memory.note(Step::Group);
            return self.flood(Flood::Group, run.vlan);
        }
        let known = self.look_up(run);
        self.memory.note(Step::Destination(known));
        match known {
            None => self.flood(Flood::Unknown, run.vlan),
            Some(port) if port == self.ingress => Verdict::Drop(DropReason::Hairpin),
            Some(port) if !run.vlan.is_none() && !self.snapshot.is_in(port, run.vlan.id()) => {
                self.memory.note(Step::NotInVlan(port));
                Verdict::DropAt(port, DropReason::VlanFiltered)
            }
            Some(port) if self.snapshot.is_up(port) => Verdict::Forward(port, run.vlan),
            Some(port) => Verdict::DropAt(port, DropReason::PortDown),
        }
    }

    /// The port of the destination: where it is fixed on a trunk that has the VLAN, else what the VLAN's own entry says.
    #[inline]
    fn look_up(&mut self, run: &Run) -> Option<PortIndex> {
        if self.snapshot.has_fixed_on_trunks()
            && let Some(port) = self.fixed_on_trunk(run.dst.key, run.vlan)
        {
            return Some(port);
        }
        self.memory.look_up(run.dst)
    }

    fn flood(&self, which: Flood, vlan: Vlan) -> Verdict {
        if self.snapshot.flood(self.ingress, which, vlan).next().is_some() {
            Verdict::Flood(which, vlan)
        } else {
            Verdict::Drop(DropReason::NoDestination)
        }
    }
}
