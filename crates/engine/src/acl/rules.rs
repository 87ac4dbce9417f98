//! Rules in the order in which they count, for one direction.

use super::{
    classifier::{Classifier, End},
    macs::Macs,
};
use alloc::vec::Vec;
use core::cmp::Reverse;
use model::{AclAction, AclAddress, AclDirection, AclRule, AclTraffic};
use wire::IpVersion;

/// Which list a rule is of. Each has its own order, and decides on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Meters: the most specific one counts.
    Meters,
    /// Basic rules that look at IP addresses: the most specific one decides.
    Basic,
    /// Extended rules: the one of the highest weight decides.
    Extended,
}

impl Section {
    pub(super) const COUNT: usize = 3;

    fn of(rule: &AclRule) -> Self {
        match (rule.extended, rule.action) {
            (Some(_), _) => Self::Extended,
            (None, AclAction::Meter) => Self::Meters,
            (None, _) => Self::Basic,
        }
    }
}

/// A rule, and its place among those of the port.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) number: u16,
    rule: AclRule,
}

/// The rules of a port that judge frames of one direction.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) macs: Macs,
    pub(super) classifier: Classifier,
    /// None of them is a basic rule or a meter: what flows let pass need not be looked up in them.
    pub(super) is_extended: bool,
    /// What the rules do, by their place in the classifier.
    done: Vec<Done>,
}

/// What a rule does, and which of the port's it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) action: AclAction,
    pub(super) number: u16,
}

impl Done {
    #[inline]
    pub(super) fn is_deny(&self) -> bool {
        self.action == AclAction::Deny
    }
}

impl Side {
    /// Of those among `rules` that are of this direction.
    pub(super) fn new(rules: &[AclRule], direction: AclDirection) -> Self {
        let numbered = (0..).zip(rules).filter(|(_, rule)| rule.direction.overlaps(direction));
        let (macs, mut others): (Vec<_>, Vec<_>) = numbered
            .map(|(number, rule)| Entry { number, rule: rule.clone() })
            .partition(|entry| entry.rule.is_of_mac_class());
        others.sort_by_key(Entry::order);
        let (mut entries, mut sections) = (Vec::new(), [0; Section::COUNT]);
        for section in [Section::Meters, Section::Basic, Section::Extended] {
            let first = entries.len() / 64;
            entries
                .extend(others.iter().filter(|entry| Section::of(&entry.rule) == section).cloned().map(Some));
            entries.resize(entries.len().next_multiple_of(64), None);
            let mask = |words: usize| u64::MAX.checked_shr(64 - words as u32).unwrap_or(0);
            sections[section as usize] = mask(entries.len() / 64) & !mask(first);
        }
        let is_extended =
            macs.is_empty() && others.iter().all(|entry| Section::of(&entry.rule) == Section::Extended);
        let nothing = Done { action: AclAction::Allow, number: 0 };
        let done = entries.iter().map(|entry| entry.as_ref().map_or(nothing, Entry::done)).collect();
        Self { macs: Macs::new(&macs), classifier: Classifier::new(&entries, sections), is_extended, done }
    }

    /// What a rule does that matched.
    #[inline]
    pub(super) fn done(&self, place: usize) -> Option<Done> {
        self.done.get(place).copied()
    }

    /// True where there are no rules.
    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty() && self.macs.is_empty()
    }
}

impl Entry {
    pub(super) const fn done(&self) -> Done {
        Done { action: self.rule.action, number: self.number }
    }

    pub(super) fn is_deny(&self) -> bool {
        self.rule.action == AclAction::Deny
    }

    pub(super) const fn address(&self, end: End) -> AclAddress {
        match end {
            End::Local => self.rule.local,
            End::Remote => self.rule.remote,
        }
    }

    /// The addresses of an end, where it is not any.
    pub(super) fn prefix(&self, end: End) -> Option<(IpVersion, u128, u128)> {
        let AclAddress::Ip(prefix) = self.address(end) else { return None };
        let version = if prefix.address().is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
        let (first, last) = prefix.range();
        Some((version, first, last))
    }

    /// The ports of an end, where it is not any. The type of an ICMP message stands in for the port at the vNIC's end.
    pub(super) fn ports(&self, end: End) -> Option<(u16, u16)> {
        let more = self.rule.extended?;
        match (end, more.traffic) {
            (End::Local, AclTraffic::Icmp(_, kind)) => Some((kind.into(), kind.into())),
            (End::Local, _) => more.local_ports,
            (End::Remote, _) => more.remote_ports,
        }
    }

    /// What it looks for. With an address, that is at least IP.
    pub(super) fn traffic(&self) -> AclTraffic {
        let has_prefix = [End::Local, End::Remote].iter().any(|end| self.prefix(*end).is_some());
        match self.rule.extended.map_or(AclTraffic::Any, |more| more.traffic) {
            AclTraffic::Any if has_prefix => AclTraffic::Ip,
            traffic => traffic,
        }
    }

    /// True where it looks for IP packets of this protocol among others.
    pub(super) fn takes_protocol(&self, number: u8) -> bool {
        match self.traffic() {
            AclTraffic::Any | AclTraffic::Ip => true,
            AclTraffic::Arp => false,
            AclTraffic::Protocol(of) | AclTraffic::Icmp(of, _) => of == number,
        }
    }

    /// What counts first comes first: the highest weight; without one, the longest prefix at the other end, then at the vNIC's.
    fn order(&self) -> Order {
        let kind = match self.rule.action {
            AclAction::Deny => 0,
            AclAction::Stateful(idle) => 1 + u32::from(u16::MAX - idle),
            AclAction::Allow | AclAction::Meter => u32::MAX,
        };
        let weight = self.rule.extended.map_or(0, |more| more.weight);
        let bits = [End::Remote, End::Local].map(|end| Reverse(specific(self.address(end))));
        let bits = if self.rule.extended.is_some() { [Reverse(0); 2] } else { bits };
        (Reverse(weight), bits, kind, self.number)
    }
}

/// Weight, bits of both prefixes, what it does, its number.
type Order = (Reverse<u16>, [Reverse<u8>; 2], u32, u16);

/// How much an address says: a prefix of no bits says that it is IP.
pub(super) fn specific(address: AclAddress) -> u8 {
    match address {
        AclAddress::Any | AclAddress::AnyMac => 0,
        AclAddress::Mac(_) => 1,
        AclAddress::Ip(prefix) => prefix.len() + 1,
    }
}
