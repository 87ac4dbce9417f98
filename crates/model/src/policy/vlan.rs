//! Which VLANs a port is in (IEEE 802.1Q), and how its frames are tagged.

use alloc::{boxed::Box, string::String, string::ToString};
use core::{fmt, iter::successors, num::ParseIntError, ops::RangeInclusive, str::FromStr};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Numbers of VLANs: 0 means no VLAN and 4095 is reserved (IEEE 802.1Q, table 9-2).
pub const VLANS: RangeInclusive<u16> = 1..=4094;

/// In which VLANs a port is. Exactly one of these, as in Hyper-V.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum VlanMode {
    /// In none: frames have no tag, in both directions.
    #[default]
    Untagged,
    /// In one, of which the vNIC knows nothing: its frames have no tag.
    Access(u16),
    /// In several, told apart by tags.
    Trunk(Trunk),
    /// In a private VLAN: reaches promiscuous ports only.
    Isolated(Secondary),
    /// In a private VLAN: reaches promiscuous ports and its own community.
    Community(Secondary),
    /// In a private VLAN: reaches all of its ports.
    Promiscuous(Promiscuous),
}

/// The VLANs of a trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Trunk {
    /// Those whose frames pass, with tags.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "10,20-29"))]
    pub allowed: VlanSet,
    /// The one whose frames have no tag; 0: frames without tag are in none.
    #[serde(default)]
    pub native: u16,
    /// Those whose frames do not pass, whatever else is said.
    #[serde(default, skip_serializing_if = "VlanSet::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub prune: VlanSet,
}

impl Trunk {
    /// Every VLAN, and frames without tag as they are: what the network outside is.
    #[must_use]
    pub fn all() -> Self {
        Self { allowed: VlanSet::all(), native: 0, prune: VlanSet::default() }
    }
}

/// The two VLANs of an isolated or a community port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Secondary {
    /// In which promiscuous ports send.
    pub primary: u16,
    /// In which the port sends.
    pub secondary: u16,
}

/// The VLANs of a promiscuous port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Promiscuous {
    /// In which the port sends.
    pub primary: u16,
    /// Those of the isolated and community ports that it reaches.
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "101-103"))]
    pub secondaries: VlanSet,
}

/// A set of VLANs, written like `10,20-29`, or `all`.
#[derive(Clone, PartialEq, Eq)]
pub struct VlanSet(Box<[u64; 64]>);

/// Why a text is no set of VLANs
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VlanSetError {
    /// Something else than a number.
    #[error("'{0}' is no VLAN: write numbers and ranges like 10,20-29, or all")]
    NoNumber(String),
    /// A number that no VLAN has.
    #[error("there is no VLAN {0}: they are numbered 1 to 4094")]
    NoVlan(u16),
    /// A range whose end comes before its start.
    #[error("{0} ends before it begins")]
    Backwards(String),
}

impl Default for VlanSet {
    fn default() -> Self {
        Self(Box::new([0; 64]))
    }
}

impl VlanSet {
    /// Every VLAN.
    #[must_use]
    pub fn all() -> Self {
        VLANS.collect()
    }

    /// True for a VLAN of the set.
    #[inline]
    #[must_use]
    pub fn contains(&self, vlan: u16) -> bool {
        self.0[usize::from(vlan >> 6 & 63)] >> (vlan & 63) & 1 != 0
    }

    /// Puts a VLAN in, which is one of [`VLANS`].
    pub fn insert(&mut self, vlan: u16) {
        self.0[usize::from(vlan >> 6 & 63)] |= 1 << (vlan & 63);
    }

    /// Takes those of `others` out.
    pub fn remove_all(&mut self, others: &Self) {
        self.0.iter_mut().zip(&*others.0).for_each(|(mine, theirs)| *mine &= !theirs);
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// True for the set of none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self.0 == [0; 64]
    }

    /// All in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..).zip(&*self.0).flat_map(|(at, word)| bits(*word).map(move |bit| at << 6 | bit))
    }

    /// All in order, those that follow each other together.
    fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u16>> + '_ {
        let begins = |vlan: &u16| self.contains(*vlan) && !self.contains(*vlan - 1);
        VLANS.filter(begins).map(|first| {
            let last = (first..*VLANS.end()).find(|vlan| !self.contains(vlan + 1));
            first..=last.unwrap_or(*VLANS.end())
        })
    }
}

/// The numbers of the bits that are set, of which most sets have few.
fn bits(word: u64) -> impl Iterator<Item = u16> {
    let left = |word: u64| (word != 0).then_some(word);
    successors(left(word), move |word| left(word & (word - 1))).map(|word| word.trailing_zeros() as u16)
}

impl FromIterator<u16> for VlanSet {
    fn from_iter<I: IntoIterator<Item = u16>>(vlans: I) -> Self {
        let mut set = Self::default();
        vlans.into_iter().for_each(|vlan| set.insert(vlan));
        set
    }
}

impl fmt::Display for VlanSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len() == VLANS.count() {
            return f.write_str("all");
        }
        for (at, range) in self.ranges().enumerate() {
            f.write_str(if at == 0 { "" } else { "," })?;
            let (first, last) = range.into_inner();
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}-{last}")? }
        }
        Ok(())
    }
}

impl fmt::Debug for VlanSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VlanSet({self})")
    }
}

impl FromStr for VlanSet {
    type Err = VlanSetError;

    fn from_str(text: &str) -> Result<Self, VlanSetError> {
        if text.trim() == "all" {
            return Ok(Self::all());
        }
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first, part)?, number(last, part)?);
            if last < first {
                return Err(VlanSetError::Backwards(part.into()));
            }
            (first..=last).for_each(|vlan| set.insert(vlan));
        }
        Ok(set)
    }
}

fn number(text: &str, part: &str) -> Result<u16, VlanSetError> {
    let number = text.trim().parse().map_err(|_: ParseIntError| VlanSetError::NoNumber(part.into()))?;
    if VLANS.contains(&number) { Ok(number) } else { Err(VlanSetError::NoVlan(number)) }
}

impl Serialize for VlanSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for VlanSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Why a text is no [`VlanMode`]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VlanModeError {
    /// Another word.
    #[error(
        "'{0}' is no VLAN mode: write untagged, access=10, trunk=10,20-29, trunk=all, isolated=100,101, community=100,102 or promiscuous=100,101-102"
    )]
    NoMode(String),
    /// Of a private VLAN, not both numbers.
    #[error("'{0}' does not name a primary and a secondary VLAN: write it like isolated=100,101")]
    NotTwo(String),
    /// A VLAN that is none.
    #[error(transparent)]
    Vlan(#[from] VlanSetError),
}

impl FromStr for VlanMode {
    type Err = VlanModeError;

    fn from_str(text: &str) -> Result<Self, VlanModeError> {
        let (mode, vlans) = text.split_once('=').unwrap_or((text, ""));
        let private = || {
            let (primary, rest) = vlans.split_once(',').ok_or_else(|| VlanModeError::NotTwo(text.into()))?;
            Ok::<_, VlanModeError>((number(primary, vlans)?, rest))
        };
        let secondary = || {
            let (primary, rest) = private()?;
            Ok::<_, VlanModeError>(Secondary { primary, secondary: number(rest, rest)? })
        };
        Ok(match mode {
            "untagged" if vlans.is_empty() => Self::Untagged,
            "access" => Self::Access(number(vlans, vlans)?),
            "trunk" => Self::Trunk(Trunk { allowed: vlans.parse()?, ..Trunk::all() }),
            "isolated" => Self::Isolated(secondary()?),
            "community" => Self::Community(secondary()?),
            "promiscuous" => {
                let (primary, rest) = private()?;
                Self::Promiscuous(Promiscuous { primary, secondaries: rest.parse()? })
            }
            _ => return Err(VlanModeError::NoMode(text.into())),
        })
    }
}

impl fmt::Display for VlanMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged => f.write_str("untagged"),
            Self::Access(vlan) => write!(f, "access={vlan}"),
            Self::Trunk(trunk) => write!(f, "trunk={}", trunk.allowed),
            Self::Isolated(Secondary { primary, secondary }) => write!(f, "isolated={primary},{secondary}"),
            Self::Community(Secondary { primary, secondary }) => write!(f, "community={primary},{secondary}"),
            Self::Promiscuous(p) => write!(f, "promiscuous={},{}", p.primary, p.secondaries),
        }
    }
}

/// Why a port cannot be in these VLANs
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message is the documentation")]
pub enum BadVlan {
    #[error("there is no VLAN {0}: they are numbered 1 to 4094")]
    NoVlan(u16),
    #[error("the trunk lets no VLAN pass: name those that it has, or all")]
    EmptyTrunk,
    #[error("the native VLAN {0} is pruned: nothing without tag would pass; take it off the prune list")]
    NativePruned(u16),
    #[error(
        "VLAN {0} is primary and secondary: a private VLAN has one number for promiscuous ports and others for the rest"
    )]
    PrimaryIsSecondary(u16),
    #[error(
        "a promiscuous port without secondary VLANs reaches nobody: name them, or make it an access port"
    )]
    NoSecondaries,
}

impl VlanMode {
    /// Checks what one port can be checked for.
    ///
    /// # Errors
    /// [`BadVlan`].
    pub fn check(&self) -> Result<(), BadVlan> {
        match self {
            Self::Untagged => Ok(()),
            Self::Access(vlan) => in_range(*vlan),
            Self::Trunk(trunk) => trunk.check(),
            Self::Isolated(Secondary { primary, secondary })
            | Self::Community(Secondary { primary, secondary }) => {
                in_range(*primary).and(in_range(*secondary))?;
                if primary == secondary { Err(BadVlan::PrimaryIsSecondary(*primary)) } else { Ok(()) }
            }
            Self::Promiscuous(Promiscuous { secondaries, .. }) if secondaries.is_empty() => {
                Err(BadVlan::NoSecondaries)
            }
            Self::Promiscuous(Promiscuous { primary, secondaries }) => {
                in_range(*primary)?;
                if secondaries.contains(*primary) {
                    Err(BadVlan::PrimaryIsSecondary(*primary))
                } else {
                    Ok(())
                }
            }
        }
    }
}

impl Trunk {
    fn check(&self) -> Result<(), BadVlan> {
        if self.native != 0 {
            in_range(self.native)?;
        }
        let mut passes = self.allowed.clone();
        passes.remove_all(&self.prune);
        match self.native {
            native if self.prune.contains(native) => Err(BadVlan::NativePruned(native)),
            0 if passes.is_empty() => Err(BadVlan::EmptyTrunk),
            _ => Ok(()),
        }
    }
}

fn in_range(vlan: u16) -> Result<(), BadVlan> {
    if VLANS.contains(&vlan) { Ok(()) } else { Err(BadVlan::NoVlan(vlan)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, vec::Vec};

    #[test]
    fn a_set_of_vlans_is_written_as_it_is_read() {
        for text in ["", "1", "4094", "10,20-29", "1-2,4,6-4094", "all"] {
            let set: VlanSet = text.parse().unwrap();
            assert_eq!(format!("{set}"), text);
        }
        let set: VlanSet = " 12, 10-11,11".parse().unwrap();
        assert_eq!((set.iter().collect::<Vec<_>>(), set.len()), ([10, 11, 12].to_vec(), 3));
        assert!(!set.contains(0) && !set.contains(4095) && VlanSet::all().len() == 4094);
    }

    #[test]
    fn what_is_no_set_of_vlans_is_refused() {
        let error = |text: &str| text.parse::<VlanSet>().unwrap_err();
        assert_eq!(error("0"), VlanSetError::NoVlan(0));
        assert_eq!(error("4094-4095"), VlanSetError::NoVlan(4095));
        assert_eq!(error("9-7"), VlanSetError::Backwards("9-7".into()));
        for text in ["ten", "-", "1-", "1 2", "65536"] {
            assert_eq!(error(text), VlanSetError::NoNumber(text.into()));
        }
    }

    #[test]
    fn a_mode_is_written_as_it_is_read() {
        let modes = ["untagged", "access=10", "trunk=10,20-29", "trunk=all", "isolated=100,101"];
        for text in modes.into_iter().chain(["community=100,102", "promiscuous=100,101-103"]) {
            let mode: VlanMode = text.parse().unwrap();
            assert_eq!((format!("{mode}").as_str(), mode.check()), (text, Ok(())));
        }
        for text in ["", "access", "access=x", "trunk", "untagged=1", "isolated=100", "vlan=1", "access=4095"]
        {
            let mode = text.parse::<VlanMode>();
            assert!(mode.is_err() || mode.unwrap().check().is_err() || text == "trunk", "{text}");
        }
    }

    #[test]
    fn modes_that_cannot_work_are_refused() {
        let check = |text: &str| text.parse::<VlanMode>().unwrap().check();
        assert_eq!(check("isolated=100,100"), Err(BadVlan::PrimaryIsSecondary(100)));
        assert_eq!(check("promiscuous=100,99-101"), Err(BadVlan::PrimaryIsSecondary(100)));
        assert_eq!(check("promiscuous=100,"), Err(BadVlan::NoSecondaries));
        let trunk = |allowed: &str, native, prune: &str| {
            let (allowed, prune) = (allowed.parse().unwrap(), prune.parse().unwrap());
            VlanMode::Trunk(Trunk { allowed, native, prune }).check()
        };
        assert_eq!(trunk("10-12", 0, "10-12"), Err(BadVlan::EmptyTrunk));
        assert_eq!(trunk("10-12", 12, "12"), Err(BadVlan::NativePruned(12)));
        assert_eq!(trunk("10-12", 4095, ""), Err(BadVlan::NoVlan(4095)));
        assert_eq!(trunk("", 5, ""), Ok(()));
    }
}
