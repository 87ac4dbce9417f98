//! What one port may do.

use crate::{Acl, AclWay, GuardAlso, IpGuard, Limits, Mirror};
use alloc::{sync::Arc, vec::Vec};
use model::policy::vlan::{Trunk, VlanMode};
use wire::MacAddr;

/// A port of one switch: a small dense number.
///
/// Whoever hands the number of a removed port to another one [flushes](crate::Switch::flush) it first, or lets a
/// snapshot without it be installed in between; otherwise the new port inherits what was learned on the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortIndex(pub u16);

/// On which side of the switch a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A physical NIC: the network outside is behind it.
    Uplink,
    /// A VM, a container or the host.
    Vnic,
}

/// The policy of a port, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPolicy {
    /// Uplink or vNIC.
    pub role: Role,
    /// The vNIC's MAC: pinned to the port while its guard is on, otherwise only what the vNIC is expected to use.
    pub mac: Option<MacAddr>,
    /// MAC spoofing protection. An uplink has none, whatever is set here.
    pub guard: bool,
    /// Further source MACs that the guard lets pass: static entries of the MAC table.
    pub allow_macs: Vec<MacAddr>,
    /// What the guard lets in besides.
    pub guard_also: GuardAlso,
    /// Bit i set: 01-80-C2-00-00-0i may be sent from this vNIC.
    pub allow_reserved: u16,
    /// Nothing that a DHCP server says may be sent from this vNIC. An uplink has no such guard, whatever is set here.
    pub dhcp_guard: bool,
    /// Neither router advertisements nor redirects may be sent from this vNIC. An uplink has no such guard, whatever is set here.
    pub router_guard: bool,
    /// Who may talk to the vNIC, and whom it may talk to. An uplink has no such lists, whatever is set here.
    pub acl: Option<Arc<Acl>>,
    /// The IP addresses that this vNIC may use, unless it may use any. An uplink has no such guard, whatever is set here.
    pub ip_guard: Option<IpGuard>,
    /// In which VLANs the port is.
    pub vlan: VlanMode,
    /// The priority in a frame's tag is kept. That of frames from and to an uplink is, whatever is set here.
    pub trust_priority: bool,
    /// Copies of the port's frames.
    pub mirror: Option<Mirror>,
    /// The most addresses that may be learned on a vNIC at once. An uplink has no limit but the table: at a full one it
    /// takes the place of what is oldest, like everybody.
    pub learn_limit: u32,
    /// Bytes of the largest layer 3 packet.
    pub mtu: u32,
    /// How fast frames may pass. An uplink has no limits, whatever is set here.
    pub limits: Limits,
    /// False: frames to this port are dropped.
    pub up: bool,
}

impl PortPolicy {
    /// A port as it is unless told otherwise: up, MTU 1500; a vNIC is guarded and in no VLAN, an uplink is in all.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            role,
            mac: None,
            guard: matches!(role, Role::Vnic),
            allow_macs: Vec::new(),
            guard_also: GuardAlso::default(),
            allow_reserved: 0,
            dhcp_guard: false,
            router_guard: false,
            acl: None,
            ip_guard: None,
            vlan: match role {
                Role::Uplink => VlanMode::Trunk(Trunk::all()),
                Role::Vnic => VlanMode::Untagged,
            },
            trust_priority: false,
            mirror: None,
            learn_limit: model::DEFAULT_LEARN_LIMIT,
            mtu: 1500,
            limits: Limits::default(),
            up: true,
        }
    }

    /// True where only the port's own addresses may be a source.
    #[must_use]
    pub const fn is_guarded(&self) -> bool {
        self.guard && matches!(self.role, Role::Vnic)
    }

    /// True where a policy remembers something of the port's frames.
    #[must_use]
    pub fn remembers(&self) -> bool {
        let limited = self.storm_limit().is_some() || self.most_leases() != 0;
        limited || self.acl().is_some_and(|acl| acl.keeps_state())
    }

    /// The most frames a second that the port may have flooded.
    pub(crate) const fn storm_limit(&self) -> Option<u32> {
        match (self.role, self.limits.storm) {
            (Role::Uplink, _) | (_, 0) => None,
            (Role::Vnic, limit) => Some(limit),
        }
    }

    /// The access lists of a vNIC.
    #[must_use]
    pub fn acl(&self) -> Option<&Arc<Acl>> {
        self.acl.as_ref().filter(|_| matches!(self.role, Role::Vnic))
    }

    /// The most addresses that the port's IP guard learns from its leases.
    #[must_use]
    pub const fn most_leases(&self) -> u16 {
        match (&self.ip_guard, self.role) {
            (Some(guard), Role::Vnic) => guard.most_leases,
            _ => 0,
        }
    }

    /// True where DHCP guard or router guard is on.
    #[must_use]
    pub const fn has_guards(&self) -> bool {
        (self.dhcp_guard || self.router_guard) && matches!(self.role, Role::Vnic)
    }

    /// True where it has to be known what frames carry.
    #[must_use]
    pub fn inspects(&self) -> bool {
        self.has_guards()
            || (self.ip_guard.is_some() && matches!(self.role, Role::Vnic))
            || self.acl().is_some_and(|acl| acl.judges(AclWay::Out))
    }
}
