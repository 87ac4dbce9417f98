//! The rules of a port, looked at once.
//!
//! Every change of a state is validated whole, compared with the former one, and copied some times on the way. With 1,000 ports
//! of 100 rules that took 30 ms. So copies share the rules, with what was found when they were put together.

use super::acl::{AclRule, MAX_ACL_RULES};
use alloc::{sync::Arc, vec::Vec};
use core::{cmp::Ordering, ops::Deref};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Rules in any order. Copies are cheap.
#[derive(Clone, Debug, Default)]
pub struct AclRules(Arc<Looked>);

#[derive(Debug, Default)]
struct Looked {
    rules: Vec<AclRule>,
    clash: Option<Clash>,
}

/// Two rules that cannot both be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clash {
    first: usize,
    second: usize,
    why: &'static str,
}

impl AclRules {
    /// True where there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.rules.is_empty()
    }

    /// Two rules that cannot both be there, and why. Not looked for where there are too many.
    pub(super) fn clash(&self) -> Option<((&AclRule, &AclRule), &'static str)> {
        let clash = self.0.clash?;
        Some(((self.get(clash.first)?, self.get(clash.second)?), clash.why))
    }
}

impl From<Vec<AclRule>> for AclRules {
    fn from(rules: Vec<AclRule>) -> Self {
        let clash = if rules.len() > MAX_ACL_RULES { None } else { clash(&rules) };
        Self(Arc::new(Looked { rules, clash }))
    }
}

impl FromIterator<AclRule> for AclRules {
    fn from_iter<I: IntoIterator<Item = AclRule>>(rules: I) -> Self {
        rules.into_iter().collect::<Vec<_>>().into()
    }
}

impl Deref for AclRules {
    type Target = [AclRule];

    fn deref(&self) -> &[AclRule] {
        &self.0.rules
    }
}

impl<'a> IntoIterator for &'a AclRules {
    type Item = &'a AclRule;
    type IntoIter = core::slice::Iter<'a, AclRule>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for AclRules {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.rules == other.0.rules
    }
}

impl Eq for AclRules {}

impl Serialize for AclRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0.rules)
    }
}

impl<'de> Deserialize<'de> for AclRules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

fn clash(rules: &[AclRule]) -> Option<Clash> {
    let sorted = |key: fn(&AclRule, &AclRule) -> Ordering| {
        let mut places: Vec<_> = (0..rules.len()).collect();
        places.sort_by(|one, other| key(&rules[*one], &rules[*other]));
        places
    };
    let clash = |first, second, why| Some(Clash { first, second, why });
    let named = sorted(|one, other| one.name.cmp(&other.name));
    let is_twin =
        |pair: &&[usize]| rules[pair[0]].name.is_some() && rules[pair[0]].name == rules[pair[1]].name;
    if let Some(pair) = named.windows(2).find(is_twin) {
        return clash(pair[0], pair[1], "have the same name");
    }
    // Whatever contradicts each other has the same addresses, so such rules lie next to each other.
    let by_place = sorted(|one, other| one.place().cmp(&other.place()));
    for group in by_place.chunk_by(|one, other| rules[*one].place() == rules[*other].place()) {
        for (at, one) in group.iter().enumerate() {
            let find = |which: fn(&AclRule, &AclRule) -> bool| {
                group[at + 1..].iter().find(|other| which(&rules[*one], &rules[**other]))
            };
            if let Some(other) = find(|one, other| one.body() == other.body()) {
                return clash(*one, *other, "are the same");
            }
            if let Some(other) = find(AclRule::contradicts) {
                return clash(*one, *other, "contradict each other, and none is more specific");
            }
        }
    }
    None
}
