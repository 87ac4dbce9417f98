//! What a stage of the pipeline found, for whoever asks what becomes of a frame.

use crate::{AclFinding, AclWay, Audience, Learned, PortIndex};
use model::DropReason;
use wire::MacAddr;

/// One stage that a frame came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The frame is long enough to have addresses and not too long for its port, and its source can be one.
    Addresses {
        /// Whom it is for.
        destination: MacAddr,
        /// Whom it is from.
        source: MacAddr,
    },
    /// The guard of its port looked at the source.
    Guard {
        /// Whether the source is the port's MAC or on its allow list.
        passes: bool,
    },
    /// Its guard let the source in though it is not the port's own, and this came of it.
    Roamed(Roamed),
    /// In which VLAN it is: 0 is none; or why it is not let in.
    Vlan(Result<u16, DropReason>),
    /// The access lists of a port looked at it: of the one that it came from, or of one that it is to leave on.
    AccessLists {
        /// Whose they are.
        port: PortIndex,
        /// Which way it goes, as that port's vNIC sees it.
        way: AclWay,
        /// What they found.
        finding: AclFinding,
    },
    /// The port has policies that look into frames: DHCP guard, router guard.
    Policies {
        /// Why they do not let it in.
        refused: Option<DropReason>,
    },
    /// The port has an IP guard.
    IpGuard {
        /// Whether the frame speaks for the port's addresses only.
        passes: bool,
    },
    /// The port has no guard: where the MAC table has the source.
    Source(Option<PortIndex>),
    /// What is learned from it.
    Learned(Learned),
    /// It is for a group.
    Group,
    /// The switch snoops: who gets it, of those that a flood would reach.
    Audience(Audience),
    /// It is for one address: where the MAC table has that.
    Destination(Option<PortIndex>),
    /// The port that it came from has a storm limit, and it is to be flooded.
    Storm {
        /// Whether that lets it pass.
        passes: bool,
    },
    /// That port is not in its VLAN.
    NotInVlan(PortIndex),
    /// A copy goes to that port.
    Mirrored(PortIndex),
}

/// What comes of a source that a guard let in besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roamed {
    /// The address moves here from that port of its team.
    From(PortIndex),
    /// It is bound to the port.
    Bound,
    /// It would be, but the MAC table is full.
    NoPlace,
}
