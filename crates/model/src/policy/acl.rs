//! Access lists: who may talk to a vNIC, and whom it may talk to.
//!
//! Two lists, which are never merged: a frame has to pass both. Rules without a weight are *basic*: of those with a MAC address, and
//! of those without, the most specific one decides. Rules with a weight are *extended*: the first one by weight decides.

pub use super::{
    acl_rules::AclRules,
    acl_text::{AclRuleError, PrefixError},
};
use crate::{Invalid, Name, PortConfig};
use alloc::{collections::BTreeSet, string::ToString, vec::Vec};
use serde::{Deserialize, Serialize};
use wire::{IpPrefix, MacAddr};

/// The most rules of a port: as many as the engine's tables tell apart.
pub const MAX_ACL_RULES: usize = 3_500;
/// Seconds after which the state of a flow without frames is forgotten (Hyper-V's default).
pub const DEFAULT_IDLE_S: u16 = 255;
/// Flows of a port that are remembered at once, unless told otherwise.
pub const DEFAULT_FLOWS: u32 = 65_536;
/// The most flows that a port may remember at once.
pub const MAX_FLOWS: u32 = 1 << 20;

/// The access lists of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AclConfig {
    /// Its rules, basic and extended ones, in any order.
    #[serde(default, skip_serializing_if = "AclRules::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub rules: AclRules,
    /// Flows that stateful rules may remember at once.
    #[serde(default = "default_flows", skip_serializing_if = "is_default_flows")]
    pub flows: u32,
}

const fn default_flows() -> u32 {
    DEFAULT_FLOWS
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
const fn is_default_flows(flows: &u32) -> bool {
    *flows == DEFAULT_FLOWS
}

impl Default for AclConfig {
    fn default() -> Self {
        Self { rules: AclRules::default(), flows: DEFAULT_FLOWS }
    }
}

/// What to change of a port's access lists; what is unset stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ChangeAcl {
    /// Rules in place of all that are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Vec<String>>))]
    pub rules: Option<Vec<AclRule>>,
    /// Names of rules to take away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Name>,
    /// Further rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub add: Vec<AclRule>,
    /// Flows that stateful rules may remember at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<u32>,
}

/// No rule of the port has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no rule is named '{0}'; `vmswitch acl list SWITCH/PORT` shows those that are there")]
pub struct NoSuchRule(pub Name);

/// One rule. In JSON and in the state file its text: `in allow tcp from 10.0.0.0/8 to any port 22 weight 100 stateful`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "alloc::string::String", into = "alloc::string::String")]
pub struct AclRule {
    /// Its name, unique on its port. One that has none is given one: `r1`, `r2`, …
    pub name: Option<Name>,
    /// Which frames it judges.
    pub direction: AclDirection,
    /// Whose it is at the vNIC's end.
    pub local: AclAddress,
    /// Whose it is at the other end.
    pub remote: AclAddress,
    /// What it does. [`AclAction::Meter`] is for basic rules only, [`AclAction::Stateful`] for extended ones.
    pub action: AclAction,
    /// What more an extended rule looks at; a basic one has none of it.
    pub extended: Option<AclMatch>,
}

/// Which frames a rule judges, as the vNIC sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AclDirection {
    /// Those for the vNIC.
    In,
    /// Those that the vNIC sends.
    Out,
    /// Both: a rule for each.
    Both,
}

/// What becomes of a frame that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AclAction {
    /// It passes this list.
    Allow,
    /// It passes, and so does all that belongs to its flow, in both directions, until no frame of it came for so many seconds.
    Stateful(u16),
    /// It is dropped.
    Deny,
    /// It is counted. That decides nothing.
    Meter,
}

/// Whom a rule is about, at one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AclAddress {
    /// Anybody, whatever the frame carries.
    Any,
    /// Whoever has one of these IP addresses.
    Ip(IpPrefix),
    /// Whatever MAC address it is: a rule of the MAC class.
    AnyMac,
    /// Whoever has this MAC address.
    Mac(MacAddr),
}

/// What an extended rule looks at besides addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclMatch {
    /// The highest weight comes first. Of equal ones a deny, then a stateful rule, then an allow.
    pub weight: u16,
    /// What the frame carries.
    pub traffic: AclTraffic,
    /// Ports at the vNIC's end, first and last.
    pub local_ports: Option<(u16, u16)>,
    /// Ports at the other end, first and last.
    pub remote_ports: Option<(u16, u16)>,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AclTraffic {
    /// Whatever.
    Any,
    /// IPv4 or IPv6.
    Ip,
    /// ARP.
    Arp,
    /// This protocol over either IP.
    Protocol(u8),
    /// An ICMP or ICMPv6 message (by its protocol number) of this type.
    Icmp(u8, u8),
}

impl AclDirection {
    /// True where the two have frames in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        !matches!((self, other), (Self::In, Self::Out) | (Self::Out, Self::In))
    }
}

impl AclAddress {
    /// True where it belongs to the MAC class of basic rules.
    #[must_use]
    pub const fn is_mac(self) -> bool {
        matches!(self, Self::AnyMac | Self::Mac(_))
    }
}

impl AclRule {
    /// The rule without its name: no two of a port are the same.
    #[must_use]
    pub fn body(&self) -> Self {
        Self { name: None, ..self.clone() }
    }

    /// True where it is a basic rule of the MAC class.
    #[must_use]
    pub const fn is_of_mac_class(&self) -> bool {
        self.local.is_mac() || self.remote.is_mac()
    }

    /// What rules that could contradict each other have in common.
    pub(super) const fn place(&self) -> (AclAddress, AclAddress, Option<AclMatch>) {
        (self.local, self.remote, self.extended)
    }

    /// True where two basic rules decide differently on the same frames, and neither is more specific.
    pub(super) fn contradicts(&self, other: &Self) -> bool {
        let decides = |rule: &Self| rule.extended.is_none() && rule.action != AclAction::Meter;
        decides(self)
            && decides(other)
            && (self.local, self.remote) == (other.local, other.remote)
            && self.direction.overlaps(other.direction)
            && self.action != other.action
    }
}

impl AclConfig {
    /// True where nothing was set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.rules.is_empty() && self.flows == DEFAULT_FLOWS
    }

    /// The lists as they are after a change.
    ///
    /// # Errors
    /// Where a rule is to go that is not there.
    pub fn changed(&self, change: ChangeAcl) -> Result<Self, NoSuchRule> {
        let mut rules = change.rules.unwrap_or_else(|| self.rules.to_vec());
        for name in change.remove {
            let at = rules.iter().position(|rule| rule.name.as_ref() == Some(&name));
            rules.remove(at.ok_or(NoSuchRule(name))?);
        }
        rules.extend(change.add);
        let rules = named(rules, &self.rules).into();
        Ok(Self { rules, flows: change.flows.unwrap_or(self.flows) })
    }

    /// Gives names to rules that have none: the one that the same rule had among `former`, or the first `rN` that is free.
    pub fn name_rules(&mut self, former: &[AclRule]) {
        if self.rules.iter().any(|rule| rule.name.is_none()) {
            self.rules = named(self.rules.to_vec(), former).into();
        }
    }

    pub(crate) fn check(&self, port: &PortConfig, is_uplink: bool) -> Result<(), Invalid> {
        let port = || port.name.clone();
        if is_uplink && !self.is_default() {
            return Err(Invalid::NoAclOnUplink(port()));
        }
        if self.rules.len() > MAX_ACL_RULES {
            return Err(Invalid::TooManyRules { port: port(), count: self.rules.len() });
        }
        if !(1..=MAX_FLOWS).contains(&self.flows) {
            let (what, value, most) = ("number of flows", self.flows.into(), MAX_FLOWS.into());
            return Err(Invalid::OutOfRange { what, place: port(), value, least: 1, most });
        }
        let clash = |(first, second): (&AclRule, &AclRule), why| {
            let (first, second) = (first.to_string(), second.to_string());
            Err(Invalid::AclRules { port: port(), first, second, why })
        };
        match self.rules.clash() {
            Some((pair, why)) => clash(pair, why),
            None => Ok(()),
        }
    }
}

fn named(mut rules: Vec<AclRule>, former: &[AclRule]) -> Vec<AclRule> {
    let mut used: BTreeSet<_> = rules.iter().filter_map(|rule| rule.name.clone()).collect();
    let mut numbers = 1_u32..;
    for rule in rules.iter_mut().filter(|rule| rule.name.is_none()) {
        let had = former.iter().find(|old| old.body() == *rule).and_then(|old| old.name.clone());
        let new =
            || numbers.find_map(|n| alloc::format!("r{n}").parse().ok().filter(|name| !used.contains(name)));
        rule.name = had.filter(|name| !used.contains(name)).or_else(new);
        used.extend(rule.name.clone());
    }
    rules
}

#[cfg(test)]
#[path = "acl_tests.rs"]
mod tests;
