//! What the access lists of a port remember: flows, and counts of meters.

use super::{Acl, AclFinding, AclFrame, AclWay, Looked, flows::Flows, refused_by_macs, rules::Section};
use crate::Millis;
use alloc::{sync::Arc, vec::Vec};
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

/// What the lists of one port remember.
#[derive(Clone, Debug)]
pub struct AclState {
    acl: Arc<Acl>,
    flows: Flows,
    /// Of each meter, in the order of the rules.
    meters: Vec<Meter>,
}

impl AclState {
    /// Nothing yet. `seed` has to be random and secret: see `hash.rs`.
    #[must_use]
    pub fn new(acl: Arc<Acl>, seed: [u64; 2]) -> Self {
        let meters = alloc::vec![Meter::default(); acl.meters.len()];
        Self { flows: Flows::new(seed, acl.max_flows), acl, meters }
    }

    /// Takes other rules. A meter that stays keeps its counts, a flow is judged anew by its next frame.
    pub fn follow(&mut self, acl: &Arc<Acl>) {
        if Arc::ptr_eq(&self.acl, acl) {
            return;
        }
        let had =
            |rule: &AclRule| self.meters().find(|(old, _)| old.body() == rule.body()).map(|(_, meter)| meter);
        self.meters = acl.meter_rules().map(|rule| had(rule).unwrap_or_default()).collect();
        self.flows.follow(acl.max_flows);
        self.acl = Arc::clone(acl);
    }

    /// What becomes of a frame, and remembers what is to be remembered of it.
    #[inline]
    pub fn judge(&mut self, way: AclWay, frame: &AclFrame<'_>, now: Millis) -> AclFinding {
        let Self { acl, flows, meters } = self;
        let side = acl.side(way);
        if let Some(refused) = refused_by_macs(side, way, frame.header) {
            return refused;
        }
        let network = packet::read(frame.header);
        let looked = Looked::new(side, way, &network);
        if let Some(refused) = looked.refused_by_basic_rules() {
            return refused;
        }
        let finding = if acl.is_stateful {
            flows.judge(acl, way, &looked, frame.vlan, now)
        } else {
            looked.by_extended_rules()
        };
        if finding.refused.is_none()
            && let Some(done) = looked.first(Section::Meters)
            && let Ok(at) = acl.meters.binary_search(&done.number)
            && let Some(meter) = meters.get_mut(at)
        {
            meter.frames += 1;
            meter.bytes += u64::from(bytes_of(&network, frame.len));
        }
        finding
    }

    /// The meters and what they counted, in the order of the rules.
    pub fn meters(&self) -> impl Iterator<Item = (&AclRule, Meter)> {
        self.acl.meter_rules().zip(self.meters.iter().copied())
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
