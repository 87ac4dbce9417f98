//! Access lists of a port: who may talk to its vNIC, and whom it may talk to.
//!
//! Hyper-V's basic and extended port ACLs, never merged: a frame has to pass both.
//!
//! * **Basic** rules look at addresses. Those at MAC addresses are a class of their own, and a frame has to pass it as well. Of the
//!   rules of a class that match, the most specific one decides: that with the longest prefix at the other end, among equals at the
//!   vNIC's end. Meters are a third class, which decides nothing: the most specific one counts the frame, if it passes.
//! * **Extended** rules have weights: the highest one that matches decides. Of equal ones a deny comes first, then a stateful rule.
//! * What matches nothing passes.
//! * What is **hidden** (headers that are cut off or contradict themselves, fragments without ports) is taken for what a deny looks
//!   for, and never for what an allow looks for: so hiding gets nothing past.
//! * **State** ([`flows`]) only ever adds: a frame of a flow that a stateful rule let begin passes the extended rules of both
//!   directions. One that does not belong to it is judged by the rules like any other.
//!
//! How it is told which of thousands of rules match: [`field`].

mod classifier;
mod field;
mod flows;
mod lately;
mod leaving;
mod macs;
mod rules;
mod state;

pub use flows::Passage;
pub use lately::Findings;
pub use leaving::Leaving;
pub(crate) use state::PortAcl;
pub use state::{AclState, Asked, Meter};

use alloc::vec::Vec;
use model::{AclAction, AclDirection, AclRule, DropReason};
use rules::{Done, Section, Side};
use wire::{
    FiveTuple, ethernet,
    packet::{self, Network},
};

/// Which way a frame goes, as the vNIC sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclWay {
    /// Towards the vNIC.
    In,
    /// From the vNIC.
    Out,
}

/// A frame as access lists see it.
#[derive(Clone, Copy, Debug)]
pub struct AclFrame<'a> {
    /// Its first bytes, as many as a switch port looks at.
    pub header: &'a [u8],
    /// How long it is, or where it will be cut its largest segment. Meters count such a one as long as it says it is.
    pub len: u32,
    /// The VLAN that it is on: flows of two VLANs have nothing to do with each other.
    pub vlan: u16,
}

/// The access lists of one port, prepared. Immutable, and shared by all snapshots between two changes of the port's rules.
#[derive(Clone, Debug)]
pub struct Acl {
    rules: Vec<AclRule>,
    max_flows: u32,
    incoming: Side,
    outgoing: Side,
    /// The rules that are meters, by number.
    meters: Vec<u16>,
    is_stateful: bool,
}

/// What lists find about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclFinding {
    /// Why it does not pass.
    pub refused: Option<DropReason>,
    /// The rule that decided, by its number among the port's. None where nothing matched, or a flow let it pass.
    pub rule: Option<u16>,
    /// It belongs to a flow that a stateful rule let begin.
    pub of_flow: bool,
}

impl PartialEq for Acl {
    fn eq(&self, other: &Self) -> bool {
        (&self.rules, self.max_flows) == (&other.rules, other.max_flows)
    }
}

impl Eq for Acl {}

impl AclFinding {
    /// A flow lets it pass.
    const OF_FLOW: Self = Self { refused: None, rule: None, of_flow: true };

    const fn passed(by: Option<Done>) -> Self {
        Self { refused: None, rule: number(by), of_flow: false }
    }

    const fn refused(reason: DropReason, by: Option<Done>) -> Self {
        Self { refused: Some(reason), rule: number(by), of_flow: false }
    }
}

const fn number(done: Option<Done>) -> Option<u16> {
    match done {
        Some(done) => Some(done.number),
        None => None,
    }
}

/// What a frame is looked up by.
struct Looked<'a> {
    side: &'a Side,
    way: AclWay,
    frame: AclFrame<'a>,
    network: &'a Network<'a>,
    /// Looked up at once where all of them are wanted anyway: a flow may make extended rules needless.
    rows: Option<classifier::Rows<'a>>,
}

impl<'a> Looked<'a> {
    #[inline]
    fn new(side: &'a Side, way: AclWay, frame: AclFrame<'a>, network: &'a Network<'a>) -> Self {
        let rows = side.classifier.looks_first().then(|| side.classifier.rows(network, way == AclWay::Out));
        Self { side, way, frame, network, rows }
    }

    #[inline]
    fn first(&self, section: Section) -> Option<Done> {
        if !self.side.classifier.has(section) {
            return None;
        }
        let rows = match self.rows {
            Some(rows) => rows,
            None if section == Section::Extended => {
                self.side.classifier.rows(self.network, self.way == AclWay::Out)
            }
            None => return None,
        };
        self.side.done(self.side.classifier.first(rows, section)?)
    }

    /// That basic rules refuse it.
    #[inline]
    fn refused_by_basic_rules(&self) -> Option<AclFinding> {
        refused_by_macs(self.side, self.way, self.frame.header)
            .or_else(|| refused(self.first(Section::Basic)))
    }

    /// What the extended rules say, without a look at flows.
    #[inline]
    fn by_extended_rules(&self) -> AclFinding {
        by_extended_rules(self.first(Section::Extended))
    }
}

impl Acl {
    /// Prepares rules, of which no two contradict each other ([`model::DesiredState::validate`]), for as many flows.
    #[must_use]
    pub fn new(rules: &[AclRule], max_flows: u32) -> Self {
        let is_meter = |rule: &AclRule| rule.action == AclAction::Meter;
        Self {
            rules: rules.to_vec(),
            max_flows,
            incoming: Side::new(rules, AclDirection::In),
            outgoing: Side::new(rules, AclDirection::Out),
            meters: (0..).zip(rules).filter(|(_, rule)| is_meter(rule)).map(|(number, _)| number).collect(),
            is_stateful: rules.iter().any(|rule| matches!(rule.action, AclAction::Stateful(_))),
        }
    }

    /// True where frames that go this way have to be looked at.
    #[inline]
    #[must_use]
    pub fn judges(&self, way: AclWay) -> bool {
        self.is_stateful || !self.side(way).is_empty()
    }

    /// True where something has to be remembered: flows, or counts of meters. Then [`AclState::judge`] judges, else
    /// [`Acl::judge`] is enough.
    #[inline]
    #[must_use]
    pub const fn keeps_state(&self) -> bool {
        self.is_stateful || !self.meters.is_empty()
    }

    /// True where a frame of a flow passes whatever the rules say.
    #[inline]
    const fn is_for_flows_alone(&self, way: AclWay) -> bool {
        self.is_stateful && self.side(way).is_extended
    }

    /// The rules as they were given; [`AclFinding::rule`] counts them.
    #[must_use]
    pub fn rules(&self) -> &[AclRule] {
        &self.rules
    }

    /// The bytes that it takes for frames to be looked up in.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.incoming.classifier.bytes() + self.outgoing.classifier.bytes()
    }

    /// What becomes of a frame where nothing has to be remembered.
    #[inline]
    #[must_use]
    pub fn judge(&self, way: AclWay, header: &[u8]) -> AclFinding {
        let network = packet::read(header);
        let looked = Looked::new(self.side(way), way, AclFrame { header, len: 0, vlan: 0 }, &network);
        looked.refused_by_basic_rules().unwrap_or_else(|| looked.by_extended_rules())
    }

    /// The same of a packet behind any MAC addresses, where no rule looks at those.
    fn judge_tuple(&self, way: AclWay, tuple: &FiveTuple) -> AclFinding {
        let side = self.side(way);
        let rows = side.classifier.rows_of_tuple(tuple, way == AclWay::Out);
        let first = |section| side.done(side.classifier.first(rows, section)?);
        refused(first(Section::Basic)).unwrap_or_else(|| by_extended_rules(first(Section::Extended)))
    }

    fn meter_rules(&self) -> impl Iterator<Item = &AclRule> {
        self.meters.iter().filter_map(|number| self.rules.get(usize::from(*number)))
    }

    /// For how many seconds a flow is remembered that such a packet opens; `None` where no stateful rule lets it.
    fn lets_open(&self, network: &Network<'_>, way: AclWay) -> Option<u16> {
        let side = self.side(way);
        let rows = side.classifier.rows(network, way == AclWay::Out);
        match side.done(side.classifier.first(rows, Section::Extended)?)?.action {
            AclAction::Stateful(idle) => Some(idle),
            _ => None,
        }
    }

    #[inline]
    const fn side(&self, way: AclWay) -> &Side {
        match way {
            AclWay::In => &self.incoming,
            AclWay::Out => &self.outgoing,
        }
    }
}

/// What the first extended rule says that matches.
#[inline]
fn by_extended_rules(done: Option<Done>) -> AclFinding {
    match done.filter(Done::is_deny) {
        Some(done) => AclFinding::refused(DropReason::ExtAclDenied, Some(done)),
        None => AclFinding::passed(done),
    }
}

/// What basic rules say that deny.
#[inline]
fn refused(done: Option<Done>) -> Option<AclFinding> {
    done.filter(Done::is_deny).map(|done| AclFinding::refused(DropReason::AclDenied, Some(done)))
}

/// That the rules that look at MAC addresses refuse a frame.
#[inline]
fn refused_by_macs(side: &Side, way: AclWay, header: &[u8]) -> Option<AclFinding> {
    if side.macs.is_empty() { None } else { refused_by_some_macs(side, way, header) }
}

fn refused_by_some_macs(side: &Side, way: AclWay, header: &[u8]) -> Option<AclFinding> {
    let (dst, src) = ethernet::addresses(header)?;
    let (local, remote) = if way == AclWay::Out { (src, dst) } else { (dst, src) };
    refused(side.macs.decide(local, remote))
}
