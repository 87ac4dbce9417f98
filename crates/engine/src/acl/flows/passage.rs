//! What a frame brings along from the port that it came in on to the one that it leaves on.

use super::{
    assurance::{Assurance, Issuer},
    key::{self, Role},
    places::{NIL, Slot},
};

/// By which flow a frame passed the lists of a port, as the port that it leaves on looks its own flow up by that.
#[derive(Clone, Copy, Debug)]
pub struct Passage {
    pub(super) key: [u64; 2],
    pub(super) own: Slot,
    pub(super) peer: Slot,
    pub(super) assured: Assurance,
}

impl Passage {
    /// By none.
    pub const NONE: Self = Self { key: [0; 2], own: NIL, peer: NIL, assured: Assurance::NONE };

    /// True where this issuer assures that the frame may leave.
    #[inline]
    pub(in crate::acl) const fn is_assured_by(&self, issuer: Issuer) -> bool {
        self.assured.is_of(issuer)
    }

    /// True where the flow by which a frame left is not where it was looked for.
    #[inline]
    pub(in crate::acl) const fn misses(&self, left_by: &Self) -> bool {
        self.own != NIL && self.peer != left_by.own
    }

    /// True where others of the flow by which it left may be assured: datagrams of IPv4, of whose flow the key is here.
    #[inline]
    pub(in crate::acl) fn can_be_assured(&self, left_by: &Self) -> bool {
        self.own != NIL && !key::is_v6(left_by.key) && key::role(left_by.key) == Role::Plain
    }
}
