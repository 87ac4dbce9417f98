//! VLANs (IEEE 802.1Q): which one a frame is in, who else is in it, and with which tag the frame leaves.
//!
//! A port lets frames in of some VLANs, and lets out frames of some VLANs, some of them without their tag. Every mode is a case
//! of this, private VLANs too (the "asymmetric VLANs" of IEEE 802.1Q, F.1.3): an isolated port sends in a VLAN in which it
//! does not receive. All VLANs of a private VLAN share what is learned, under the number of the primary.
//!
//! Decided here, as Hyper-V documents no more than the modes:
//!
//! * **Untagged and access ports** take frames without tag, or with a tag of VLAN 0, which only carries a priority. Whatever
//!   else has a tag is refused, so nobody tags himself into a VLAN.
//! * **Service tags** (802.1ad) pass whole, inside of a VLAN. Where the port has none for what comes without customer tag, being
//!   untagged or a trunk of some VLANs without native one, they are refused: they would leave the uplink as they are. From a trunk of
//!   all VLANs, which is kept from nothing, and from the uplink they pass as they are.
//! * **Two tags**: what is behind the first one is cargo. A frame that would leave a trunk without its first tag, so that the second
//!   one would take its place and its VLAN, is dropped (`double_tag`), and so is one with a second tag behind one of VLAN 0.
//! * **VLAN 4095** is reserved and passes nowhere.
//! * **Priority** survives only from a port that is trusted to one that is; otherwise it is 0, as is the bit that lets a
//!   frame be dropped first. A tag that says nothing then is left out.

use crate::{PortIndex, PortPolicy, Role};
use alloc::{collections::BTreeMap, vec::Vec};
use model::{
    DropReason,
    policy::vlan::{VlanMode, VlanSet},
};
use wire::{ethernet::TYPE_OFFSET, vlan};

/// The VLAN that a frame is in, and whether it came with a tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vlan(u16);

/// A tag was there.
const TAGGED: u16 = 1 << 12;
const ID: u16 = 0xfff;

impl Vlan {
    /// None: the frame came without tag and leaves without.
    pub const NONE: Self = Self(0);

    /// The VLAN of that number; of none where it is 0.
    #[must_use]
    pub const fn new(id: u16, came_tagged: bool) -> Self {
        Self(id & ID | if came_tagged { TAGGED } else { 0 })
    }

    /// Its number.
    #[must_use]
    pub const fn id(self) -> u16 {
        self.0 & ID
    }

    /// True where the frame came with a tag.
    const fn came_tagged(self) -> bool {
        self.0 & TAGGED != 0
    }

    /// True where nothing has to be asked about the frame's tag when it leaves.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// What becomes of a frame's tag when it leaves on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retag {
    /// It stays, or there still is none.
    Keep,
    /// The frame leaves without.
    Untagged,
    /// The frame leaves with this control information (priority and VLAN).
    Tagged(u16),
}

/// In which VLANs a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    /// The VLAN of frames that come without tag.
    pub(crate) untagged: u16,
    /// The VLANs of frames that may come with a tag, and leave with one.
    tagged: Option<VlanSet>,
    /// The VLANs of frames that leave without tag; VLAN 0 only, where there is none.
    bare: Option<VlanSet>,
    /// Service tags may come from here without a VLAN's tag in front.
    service_tags: bool,
    trusted: bool,
}

impl Membership {
    pub(crate) fn new(policy: &PortPolicy) -> Self {
        let trusted = policy.trust_priority || policy.role == Role::Uplink;
        let bare = |vlans: &mut dyn Iterator<Item = u16>| Some(vlans.collect());
        let none = Self { untagged: 0, tagged: None, bare: None, service_tags: true, trusted };
        match &policy.vlan {
            VlanMode::Untagged => Self { service_tags: false, ..none },
            VlanMode::Access(vlan) => Self { untagged: *vlan, bare: bare(&mut [*vlan].into_iter()), ..none },
            VlanMode::Trunk(trunk) => {
                let mut tagged = trunk.allowed.clone();
                tagged.remove_all(&trunk.prune);
                let native = (trunk.native != 0).then_some(trunk.native);
                let bare = native.and_then(|native| bare(&mut [native].into_iter()));
                let service_tags =
                    native.is_some() || policy.role == Role::Uplink || tagged == VlanSet::all();
                Self { untagged: trunk.native, tagged: Some(tagged), bare, service_tags, ..none }
            }
            VlanMode::Isolated(vlan) => {
                Self { untagged: vlan.secondary, bare: bare(&mut [vlan.primary].into_iter()), ..none }
            }
            VlanMode::Community(vlan) => {
                let both = [vlan.primary, vlan.secondary];
                Self { untagged: vlan.secondary, bare: bare(&mut both.into_iter()), ..none }
            }
            VlanMode::Promiscuous(vlan) => {
                let all = &mut vlan.secondaries.iter().chain([vlan.primary]);
                Self { untagged: vlan.primary, bare: bare(all), ..none }
            }
        }
    }

    /// The VLAN of a frame that comes in, or why it does not come in.
    #[inline(never)]
    pub(crate) fn classify(&self, header: &[u8]) -> Result<Vlan, DropReason> {
        let Some(tci) = tci(header) else {
            let refused = !self.service_tags && ethertype(header, TYPE_OFFSET) == Some(vlan::TPID_8021AD);
            return if refused {
                Err(DropReason::VlanNotAllowed)
            } else {
                Ok(Vlan::new(self.untagged, false))
            };
        };
        match (tci & ID, ethertype(header, TYPE_OFFSET + vlan::TAG_LEN)) {
            (_, None) => Err(DropReason::Runt),
            (0, Some(vlan::TPID_8021Q)) => Err(DropReason::DoubleTag),
            (0, Some(vlan::TPID_8021AD)) if !self.service_tags => Err(DropReason::VlanNotAllowed),
            (0, _) => Ok(Vlan::new(self.untagged, true)),
            (id, _) if self.leaves_tagged(id) => Ok(Vlan::new(id, true)),
            _ => Err(DropReason::VlanNotAllowed),
        }
    }

    fn leaves_tagged(&self, id: u16) -> bool {
        self.tagged.as_ref().is_some_and(|vlans| vlans.contains(id))
    }

    fn leaves_bare(&self, id: u16) -> bool {
        self.bare.as_ref().map_or(id == 0 && self.untagged == 0, |vlans| vlans.contains(id))
    }

    /// True where frames of that VLAN leave on the port.
    #[inline]
    pub(crate) fn has(&self, id: u16) -> bool {
        self.leaves_bare(id) || self.leaves_tagged(id)
    }

    pub(crate) const fn is_trunk(&self) -> bool {
        self.tagged.is_some()
    }

    /// The VLANs whose frames leave here, but VLAN 0. `None` where they are too many to be listed.
    pub(crate) fn listed(&self) -> Option<VlanSet> {
        let mut all: VlanSet = self.bare.clone().unwrap_or_default();
        if let Some(tagged) = &self.tagged {
            if tagged.len() > MOST_LISTED {
                return None;
            }
            tagged.iter().for_each(|vlan| all.insert(vlan));
        }
        Some(all)
    }

    /// True where frames of that VLAN leave here as they came, without a look at each.
    #[inline]
    pub(crate) fn keeps(&self, vlan: Vlan) -> bool {
        vlan.is_none() || (!vlan.came_tagged() && self.leaves_bare(vlan.id()))
    }

    /// What becomes of the tag of a frame of that VLAN, which came from `from` and begins with `header`, when it leaves here.
    ///
    /// # Errors
    /// Without its tag it would get into another VLAN.
    pub(crate) fn retag(&self, from: &Self, vlan: Vlan, header: &[u8]) -> Result<Retag, DropReason> {
        let came_with = tci(header);
        let kept = came_with.filter(|_| self.trusted && from.trusted);
        let priority = kept.map_or(0, |tci| tci & !ID);
        let leaves_with = match self.leaves_bare(vlan.id()) {
            true => (priority != 0 || kept == Some(0)).then_some(priority),
            false => Some(priority | vlan.id()),
        };
        if leaves_with.is_none() && came_with.is_some() && self.is_trunk() {
            let next = ethertype(header, TYPE_OFFSET + vlan::TAG_LEN);
            if next.is_some_and(vlan::is_tpid) {
                return Err(DropReason::DoubleTag);
            }
        }
        Ok(match leaves_with {
            same if same == came_with => Retag::Keep,
            None => Retag::Untagged,
            Some(tci) => Retag::Tagged(tci),
        })
    }
}

/// A port with more VLANs is asked for each flooded frame, and is not in the list of each of its VLANs: so a change of a port
/// takes no time in the product of ports and VLANs.
const MOST_LISTED: usize = 64;

/// True where a tag is the first thing behind the addresses.
#[inline]
pub(crate) fn is_tagged(header: &[u8; 14]) -> bool {
    vlan::is_tpid(u16::from_be_bytes([header[TYPE_OFFSET], header[TYPE_OFFSET + 1]]))
}

/// The control information of the customer tag that a frame begins with.
fn tci(header: &[u8]) -> Option<u16> {
    (ethertype(header, TYPE_OFFSET)? == vlan::TPID_8021Q)
        .then(|| ethertype(header, TYPE_OFFSET + 2).unwrap_or_default())
}

fn ethertype(header: &[u8], at: usize) -> Option<u16> {
    header.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// The ports of each VLAN, which flooded frames go to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    /// Ports by VLAN, but VLAN 0, where they list them.
    listed: BTreeMap<u16, Vec<PortIndex>>,
    /// The others.
    wide: Vec<PortIndex>,
}

impl Members {
    pub(crate) fn add(&mut self, port: PortIndex, membership: &Membership) {
        match membership.listed() {
            Some(vlans) => vlans.iter().for_each(|vlan| self.listed.entry(vlan).or_default().push(port)),
            None => self.wide.push(port),
        }
    }

    /// The ports that list a VLAN, and those that may be in it.
    pub(crate) fn of(&self, vlan: u16) -> (&[PortIndex], &[PortIndex]) {
        (self.listed.get(&vlan).map_or(&[], |ports| ports), &self.wide)
    }
}
