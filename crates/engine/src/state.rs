//! What the policies of a port remember of its frames.

use crate::{acl::PortAcl, ip_guard::Leases, storm::Storm};

/// What the policies of one port remember, where [they do](crate::PortPolicy::remembers). Whoever decides on frames of such a
/// port has the switch for himself.
#[derive(Clone, Debug, Default)]
pub(crate) struct PortState {
    /// Flows and meters of its access lists.
    pub(crate) acl: PortAcl,
    /// The addresses that the vNIC leases.
    pub(crate) leases: Leases,
    pub(crate) storm: Storm,
}
