//! What the access lists of a port remember: flows, and counts of meters.

use super::{
    Acl, AclFinding, AclFrame, AclWay, Looked,
    flows::{Flows, Own, Passage, Sought},
    rules::Section,
};
use crate::{Fetch, Millis};
use alloc::{sync::Arc, vec::Vec};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use model::AclRule;
use wire::packet::{self, Network};

/// What a meter counted: frames that the lists let pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// How many.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a port remembers of its lists, where they want it.
#[derive(Debug, Default)]
pub(crate) struct PortAcl(Option<AclState>);

impl PortAcl {
    pub(crate) const fn of(state: Option<AclState>) -> Self {
        Self(state)
    }

    /// Follows the port's lists. `seed` has to be random and secret.
    pub(crate) fn follow(&mut self, acl: Option<&Arc<Acl>>, seed: [u64; 2], fetch: Fetch) {
        match (acl.filter(|acl| acl.keeps_state()), &mut self.0) {
            (Some(acl), Some(state)) => state.follow(acl),
            (Some(acl), none) => *none = Some(AclState::new(Arc::clone(acl), seed).fetching_with(fetch)),
            (None, state) => *state = None,
        }
    }

    /// Ends what was assured of it. `epoch` is later than that of any port before.
    pub(crate) const fn begin_epoch(&mut self, epoch: u64) {
        if let Some(state) = &mut self.0 {
            state.flows.begin_epoch(epoch);
        }
    }

    /// In which what was assured of it holds.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.as_ref().map_or(0, |state| state.flows.epoch())
    }

    pub(crate) const fn get(&self) -> Option<&AclState> {
        self.0.as_ref()
    }

    #[inline]
    pub(crate) const fn get_mut(&mut self) -> Option<&mut AclState> {
        self.0.as_mut()
    }
}

/// Of a frame that comes in and will be cut, what is known is the longest segment: its bytes are those that the packet says. One that leaves
/// is whole, and what it says of itself is somebody else's word.
fn bytes_of(looked: &Looked<'_>) -> u32 {
    match (looked.way, looked.network) {
        (AclWay::Out, Network::Ip(packet)) => packet.end.max(looked.frame.len),
        _ => looked.frame.len,
    }
}

/// A meter that several may count with.
#[derive(Debug, Default)]
struct Counter {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    fn of(meter: Meter) -> Self {
        Self { frames: AtomicU64::new(meter.frames), bytes: AtomicU64::new(meter.bytes) }
    }

    fn get(&self) -> Meter {
        Meter { frames: self.frames.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }
}

impl Clone for Counter {
    fn clone(&self) -> Self {
        Self::of(self.get())
    }
}

/// What the lists of one port remember.
///
/// Most frames change nothing but the time and the bounds of their flow, and a meter: these are judged by who only reads
/// ([`AclState::judge_known`]), with others that do.
#[derive(Debug)]
pub struct AclState {
    acl: Arc<Acl>,
    flows: Flows,
    /// Of each meter, in the order of the rules.
    meters: Vec<Counter>,
}

impl AclState {
    /// Nothing yet. `seed` has to be random and secret: see `hash.rs`.
    #[must_use]
    pub fn new(acl: Arc<Acl>, seed: [u64; 2]) -> Self {
        let meters = acl.meters.iter().map(|_| Counter::default()).collect();
        Self { flows: Flows::new(seed, acl.max_flows), acl, meters }
    }

    /// The same, with a way to fetch what will be read soon.
    #[must_use]
    pub fn fetching_with(mut self, fetch: Fetch) -> Self {
        self.flows.fetch_with(fetch);
        self
    }

    /// Takes other rules. A meter that stays keeps its counts, a flow is judged anew by its next frame.
    pub fn follow(&mut self, acl: &Arc<Acl>) {
        if Arc::ptr_eq(&self.acl, acl) {
            return;
        }
        let had =
            |rule: &AclRule| self.meters().find(|(old, _)| old.body() == rule.body()).map(|(_, meter)| meter);
        self.meters = acl.meter_rules().map(|rule| Counter::of(had(rule).unwrap_or_default())).collect();
        self.flows.follow(acl.max_flows);
        self.acl = Arc::clone(acl);
    }

    /// What becomes of a frame, and remembers what is to be remembered of it.
    #[inline]
    pub fn judge(&mut self, way: AclWay, frame: &AclFrame<'_>, now: Millis) -> AclFinding {
        if self.acl.is_for_flows_alone(way) {
            let mut sought = self.flows.seek(frame, way);
            self.flows.approach(&mut sought);
            if self.flows.let_pass(&sought, frame, way, now).is_some() {
                return AclFinding::OF_FLOW;
            }
        }
        self.read_and_remember(way, frame, now)
    }

    /// Puts a frame to those that are judged next, under a number of the caller's, and hashes its flow's key; false where there is no room
    /// for it, and it is not judged.
    #[must_use]
    #[inline(always)]
    pub fn ask<'f>(&self, way: AclWay, asked: &mut Asked<'f>, at: u16, frame: AclFrame<'f>) -> bool {
        let by_flows = self.acl.is_for_flows_alone(way);
        let sought = if by_flows { self.flows.seek(&frame, way) } else { Sought::NOTHING };
        asked.0.try_push((at, frame, sought)).is_ok()
    }

    /// The same of a frame that leaves, and passed the lists of the port it came in on by such a flow.
    #[inline(always)]
    pub(super) fn ask_behind<'f>(
        &self,
        passage: &Passage,
        asked: &mut Asked<'f>,
        at: u16,
        frame: AclFrame<'f>,
    ) -> bool {
        let by_flows = self.acl.is_for_flows_alone(AclWay::In);
        let sought = if by_flows { self.flows.seek_behind(passage, frame.vlan) } else { None };
        match sought {
            Some(sought) => asked.0.try_push((at, frame, sought)).is_ok(),
            None => self.ask(AclWay::In, asked, at, frame),
        }
    }

    /// A copy of what such a frame could have to do with, which finds of it what these do.
    #[must_use]
    pub fn excerpt(&self, way: AclWay, frame: &AclFrame<'_>, now: Millis) -> Self {
        let (acl, flows) = (Arc::clone(&self.acl), self.flows.excerpt(frame, way, now));
        Self { acl, flows, meters: self.meters.clone() }
    }

    pub(super) const fn remembered(&self) -> &Flows {
        &self.flows
    }

    /// What becomes of frames, one after the other, as long as who only reads may do what is to be remembered of them: says how many it
    /// were. Of the one behind these nothing is done.
    #[inline]
    pub fn judge_known(
        &self,
        way: AclWay,
        asked: &mut Asked<'_>,
        now: Millis,
        mut found: impl FnMut(u16, AclFinding, Option<Passage>),
    ) -> usize {
        asked.approach(&self.flows);
        for (known, (at, frame, sought)) in asked.0.iter().enumerate() {
            let passage = self.flows.let_pass(sought, frame, way, now);
            let judged = match passage {
                Some(_) => Some(AclFinding::OF_FLOW),
                None => self.read_and_judge(way, frame, now),
            };
            let Some(finding) = judged else { return known };
            found(*at, finding, passage);
        }
        asked.len()
    }

    /// What becomes of frames, but for the first so many, one after the other, and remembers what is to be remembered of them.
    #[inline]
    pub fn judge_all(
        &mut self,
        way: AclWay,
        asked: &mut Asked<'_>,
        but: usize,
        now: Millis,
        mut found: impl FnMut(u16, AclFinding, Option<Passage>),
    ) {
        asked.approach(&self.flows);
        for (at, frame, sought) in asked.0.iter().skip(but) {
            let passage = self.flows.let_pass(sought, frame, way, now);
            let finding = match passage {
                Some(_) => AclFinding::OF_FLOW,
                None => self.read_and_remember(way, frame, now),
            };
            found(*at, finding, passage);
        }
    }

    /// The long way, which looks into the frame and asks the rules.
    #[inline(never)]
    fn read_and_judge(&self, way: AclWay, frame: &AclFrame<'_>, now: Millis) -> Option<AclFinding> {
        let Self { acl, flows, meters } = self;
        let network = packet::read(frame.header);
        let own = own(acl, way, frame, &network);
        let looked = Looked::new(acl.side(way), way, *frame, &network);
        judge_known(acl, flows, meters, &looked, own.as_ref(), now)
    }

    /// The same, whatever is to be remembered.
    #[inline(never)]
    fn read_and_remember(&mut self, way: AclWay, frame: &AclFrame<'_>, now: Millis) -> AclFinding {
        let Self { acl, flows, meters } = self;
        let network = packet::read(frame.header);
        let own = own(acl, way, frame, &network);
        let looked = Looked::new(acl.side(way), way, *frame, &network);
        judge(acl, flows, meters, &looked, own.as_ref(), now)
    }

    /// The meters and what they counted, in the order of the rules.
    pub fn meters(&self) -> impl Iterator<Item = (&AclRule, Meter)> {
        self.acl.meter_rules().zip(self.meters.iter().map(Counter::get))
    }

    /// Flows that are remembered.
    #[must_use]
    pub const fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Bytes that these take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.flows.bytes()
    }

    /// Looks at so many places of flows in turn and reclaims those whose time has come; says how many it were. Verdicts do not depend on
    /// it.
    pub fn sweep(&mut self, places: usize, now: Millis) -> usize {
        self.flows.sweep(places, now)
    }
}

/// The flow that a frame could be of, where there are flows.
fn own(acl: &Acl, way: AclWay, frame: &AclFrame<'_>, network: &Network<'_>) -> Option<Own> {
    if acl.is_stateful { Flows::own(network, way, frame.vlan) } else { None }
}

/// Frames that lists which remember something are asked about together, as the memory of a hundred thousand flows is in no cache: where the
/// look-ups begin is fetched for all of them before the first one goes on, and so is where they end.
#[derive(Default)]
pub struct Asked<'f>(ArrayVec<(u16, AclFrame<'f>, Sought), { Asked::MOST }>);

impl<'f> Asked<'f> {
    /// No more than so many.
    pub const MOST: usize = 64;

    /// How many they are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// True where there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// They, but for the first so many.
    pub fn skip(&self, but: usize) -> impl Iterator<Item = (u16, &AclFrame<'f>)> {
        self.0.iter().skip(but).map(|(at, frame, _)| (*at, frame))
    }

    /// Fetches where the look-ups of their flows begin, and then where they end, one right behind the other: the fewer instructions there are
    /// between two of these, the more of them a processor has on their way.
    #[inline]
    fn approach(&mut self, flows: &Flows) {
        self.0.iter().for_each(|(.., sought)| flows.begin(sought));
        self.0.iter_mut().for_each(|(.., sought)| flows.approach(sought));
    }
}

#[inline]
fn judge_known(
    acl: &Acl,
    flows: &Flows,
    meters: &[Counter],
    looked: &Looked<'_>,
    own: Option<&Own>,
    now: Millis,
) -> Option<AclFinding> {
    if let Some(refused) = looked.refused_by_basic_rules() {
        return Some(refused);
    }
    let finding =
        if acl.is_stateful { flows.judge_known(looked, own, now)? } else { looked.by_extended_rules() };
    count(acl, meters, looked, &finding);
    Some(finding)
}

#[inline]
fn judge(
    acl: &Acl,
    flows: &mut Flows,
    meters: &[Counter],
    looked: &Looked<'_>,
    own: Option<&Own>,
    now: Millis,
) -> AclFinding {
    judge_known(acl, flows, meters, looked, own, now).unwrap_or_else(|| {
        let finding = flows.judge(acl, looked, own, now);
        count(acl, meters, looked, &finding);
        finding
    })
}

/// Has the most specific meter count a frame that passes.
#[inline]
fn count(acl: &Acl, meters: &[Counter], looked: &Looked<'_>, finding: &AclFinding) {
    if finding.refused.is_none()
        && let Some(done) = looked.first(Section::Meters)
        && let Ok(at) = acl.meters.binary_search(&done.number)
        && let Some(meter) = meters.get(at)
    {
        meter.frames.fetch_add(1, Relaxed);
        meter.bytes.fetch_add(bytes_of(looked).into(), Relaxed);
    }
}
