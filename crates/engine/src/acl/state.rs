//! What the access lists of a port remember: flows, and counts of meters.

use super::{
    Acl, AclFinding, AclFrame, AclWay, Looked,
    flows::{Flows, Own},
    rules::Section,
};
use crate::Millis;
use alloc::{sync::Arc, vec::Vec};
use core::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use model::AclRule;
use wire::packet::{self, Network};

/// Frames that are looked up together, so that the processor waits for the memory of all their flows at once.
const TOGETHER: usize = 16;

/// What a meter counted: frames that the lists let pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// How many.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a port remembers of its lists, where they want it.
#[derive(Clone, Debug, Default)]
pub(crate) struct PortAcl(Option<AclState>);

impl PortAcl {
    /// Follows the port's lists. `seed` has to be random and secret.
    pub(crate) fn follow(&mut self, acl: Option<&Arc<Acl>>, seed: [u64; 2]) {
        match (acl.filter(|acl| acl.keeps_state()), &mut self.0) {
            (Some(acl), Some(state)) => state.follow(acl),
            (Some(acl), none) => *none = Some(AclState::new(Arc::clone(acl), seed)),
            (None, state) => *state = None,
        }
    }

    pub(crate) const fn get(&self) -> Option<&AclState> {
        self.0.as_ref()
    }

    #[inline]
    pub(crate) const fn get_mut(&mut self) -> Option<&mut AclState> {
        self.0.as_mut()
    }
}

/// A packet's bytes in a frame that will be cut are those of all its segments.
fn bytes_of(network: &Network<'_>, len: u32) -> u32 {
    match network {
        Network::Ip(packet) => packet.end.max(len),
        _ => len,
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
#[derive(Clone, Debug)]
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
        let Self { acl, flows, meters } = self;
        let network = packet::read(frame.header);
        let own = own(acl, flows, way, frame, &network);
        judge(acl, flows, meters, &Looked::new(acl.side(way), way, *frame, &network), own.as_ref(), now)
    }

    /// What becomes of frames, one after the other, as long as who only reads may do what is to be remembered of them: says how many it
    /// were. Of the one behind these nothing is done.
    pub fn judge_known<'f>(
        &self,
        way: AclWay,
        mut frames: impl Iterator<Item = AclFrame<'f>> + Clone,
        now: Millis,
        mut found: impl FnMut(AclFinding),
    ) -> usize {
        let Self { acl, flows, meters } = self;
        let mut known = 0;
        while let Some(together) = Together::read(acl, flows, way, frames.clone()) {
            for (frame, (network, own)) in frames.by_ref().take(TOGETHER).zip(together.iter()) {
                let looked = Looked::new(acl.side(way), way, frame, network);
                let Some(finding) = judge_known(acl, flows, meters, &looked, own, now) else { return known };
                known += 1;
                found(finding);
            }
        }
        known
    }

    /// What becomes of frames, one after the other, and remembers what is to be remembered of them.
    pub fn judge_all<'f>(
        &mut self,
        way: AclWay,
        mut frames: impl Iterator<Item = AclFrame<'f>> + Clone,
        now: Millis,
        mut found: impl FnMut(AclFinding),
    ) {
        let Self { acl, flows, meters } = self;
        while let Some(together) = Together::read(acl, flows, way, frames.clone()) {
            for (frame, (network, own)) in frames.by_ref().take(TOGETHER).zip(together.iter()) {
                let looked = Looked::new(acl.side(way), way, frame, network);
                found(judge(acl, flows, meters, &looked, own, now));
            }
        }
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
#[inline]
fn own(acl: &Acl, flows: &Flows, way: AclWay, frame: &AclFrame<'_>, network: &Network<'_>) -> Option<Own> {
    if acl.is_stateful { flows.own(network, way, frame.vlan) } else { None }
}

/// Frames that were read, and the flows that they could be of.
struct Together<'a> {
    networks: [Network<'a>; TOGETHER],
    own: [Option<Own>; TOGETHER],
}

impl<'a> Together<'a> {
    /// Reads up to [`TOGETHER`] frames, and what the look-ups of their flows will read; `None` where there is no frame.
    #[inline]
    fn read(
        acl: &Acl,
        flows: &Flows,
        way: AclWay,
        frames: impl Iterator<Item = AclFrame<'a>>,
    ) -> Option<Self> {
        let mut together = Self { networks: [Network::Other; _], own: [None; _] };
        let Self { networks, own: owns } = &mut together;
        let mut count = 0;
        for ((network, place), frame) in networks.iter_mut().zip(&mut *owns).zip(frames) {
            *network = packet::read(frame.header);
            *place = own(acl, flows, way, &frame, network);
            count += 1;
        }
        // Reads of one kind follow each other closely: a processor that waits for one gets only so many instructions further.
        let places = owns.each_ref().map(|own| own.as_ref().map(|own| flows.likely(own)));
        black_box(places.into_iter().flatten().fold(0, |all, place| all ^ flows.touch(place)));
        (count != 0).then_some(together)
    }

    fn iter(&self) -> impl Iterator<Item = (&Network<'a>, Option<&Own>)> {
        self.networks.iter().zip(self.own.iter().map(Option::as_ref))
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
        meter.bytes.fetch_add(bytes_of(looked.network, looked.frame.len).into(), Relaxed);
    }
}
