//! Running the steps of a plan.

use crate::error::NetlinkError;
use crate::socket::Netlink;
use crate::sysctl;
use control::action::Action;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}")]
pub struct ApplyError {
    /// The step, as a sentence.
    pub action: String,
    /// What the kernel said.
    pub source: NetlinkError,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It holds.
    Done,
    /// It concerns the data path (host vNIC, uplink) and is the caller's to run, at this point of the order.
    Callers,
}

/// Runs one step. Taking something from an interface that does not exist is done already.
///
/// When a step of a bind fails, the bind is undone. When a step of an undoing, a give-back or a recovery fails, the rest
/// must be run all the same: one route less is better than a host without a network.
///
/// # Errors
/// The kernel refuses.
pub fn apply(netlink: &mut Netlink, action: &Action) -> Result<Applied, ApplyError> {
    let result = match action {
        Action::CreateHostVnic(_)
        | Action::RemoveHostVnic(_)
        | Action::ConnectUplink { .. }
        | Action::DisconnectUplink { .. } => return Ok(Applied::Callers),
        Action::SetFlag { dev, flag, on, .. } => netlink.set_flag(dev, *flag, *on),
        Action::SetMtu { dev, mtu, .. } => netlink.set_mtu(dev, *mtu),
        Action::SetSysctl { dev, family, key, value, .. } => sysctl::write(*family, dev, key, value),
        Action::AddAddress { dev, address } => netlink.add_address(dev, address),
        Action::RemoveAddress { dev, address } => if_there(netlink.remove_address(dev, address)),
        Action::AddRoute(route) => netlink.add_route(route),
        Action::RemoveRoute(route) => if_there(netlink.remove_route(route)),
        Action::AddNeighbour { dev, neighbour } => netlink.add_neighbour(dev, neighbour),
        Action::RemoveNeighbour { dev, neighbour } => if_there(netlink.remove_neighbour(dev, neighbour)),
        Action::DetachIngress { dev } => netlink.detach_ingress(dev),
        Action::AttachIngress { dev } => if_there(netlink.attach_ingress(dev)),
    };
    result.map(|()| Applied::Done).map_err(|source| ApplyError { action: action.to_string(), source })
}

fn if_there(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(NetlinkError::NoInterface(_)) => Ok(()),
        other => other,
    }
}
