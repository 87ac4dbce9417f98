//! Existing interfaces as ports (`--netdev`, `--tap`): the host's stack is kept off them while they are.
//!
//! Nothing is moved here: an interface that carries the host's addresses is refused, and that is what an external switch
//! is for.

use crate::action::{Action, Flag};
use crate::facts::{Address, Facts, Family, Link};
use crate::refusal::{Refusal, check_interface};
use crate::takeover::sysctl;
use model::IfName;
use std::net::IpAddr;

/// How to make an interface a port. `facts` must hold its settings; `taken` names the port that it is already.
///
/// # Errors
/// The first reason for which it cannot be one.
pub fn plan_attach(dev: &IfName, taken: Option<&String>, facts: &Facts) -> Result<Vec<Action>, Refusal> {
    let link = check_interface(dev, taken, facts)?;
    if let Some(address) = used_address(dev, facts) {
        return Err(Refusal::HasAddress { dev: dev.clone(), address: address.to_string() });
    }
    Ok(detach_steps(link, facts))
}

/// How to give an interface back to the host's stack: `attached` is what [`plan_attach`] gave.
#[must_use]
pub fn plan_detach(attached: &[Action]) -> Vec<Action> {
    crate::action::undo_all(attached)
}

/// The kernel's own link-local address is no address somebody would miss.
fn used_address<'a>(dev: &IfName, facts: &'a Facts) -> Option<&'a Address> {
    let is_own = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    facts.settings.get(dev)?.addresses.iter().find(|a| !is_own(&a.ip))
}

fn detach_steps(link: &Link, facts: &Facts) -> Vec<Action> {
    let dev = link.name.clone();
    let mut actions = vec![Action::DetachIngress { dev: dev.clone() }];
    let disabled = facts.settings.get(&dev).and_then(|s| s.sysctl(Family::Ipv6, "disable_ipv6"));
    if let Some(was) = disabled {
        actions.push(sysctl(&dev, Family::Ipv6, "disable_ipv6", "1", Some(was)));
    }
    actions.push(Action::SetFlag { dev, flag: Flag::Up, on: true, was: Some(link.up) });
    actions
}
