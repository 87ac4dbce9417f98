//! What the policies of a port remember of its frames.

use crate::{AclFrame, AclWay, Millis, acl::PortAcl, ip_guard::Leases, storm::Storm};

/// What the policies of one port remember, where [they do](crate::PortPolicy::remembers). Whoever decides on frames of such a
/// port has the switch for himself.
#[derive(Debug, Default)]
pub(crate) struct PortState {
    /// Flows and meters of its access lists.
    pub(crate) acl: PortAcl,
    /// The addresses that the vNIC leases.
    pub(crate) leases: Leases,
    pub(crate) storm: Storm,
}

impl PortState {
    /// A copy of what a frame could have to do with. Of a million flows these are three.
    pub(crate) fn excerpt(&self, way: AclWay, frame: &AclFrame<'_>, now: Millis) -> Self {
        let acl = self.acl.get().map(|state| state.excerpt(way, frame, now));
        Self { acl: PortAcl::of(acl), leases: self.leases.clone(), storm: self.storm }
    }
}
