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

/// How to make an interface a port. `facts` must hold its settings; `taken` names the port that it is already, and `mtu` is
/// what the interface is to have while it is a port, where that is not its owner's to say.
///
/// # Errors
/// The first reason for which it cannot be one.
pub fn plan_attach(
    dev: &IfName,
    taken: Option<&String>,
    mtu: Option<u32>,
    facts: &Facts,
) -> Result<Vec<Action>, Refusal> {
    let link = check_interface(dev, taken, facts)?;
    if let Some(address) = used_address(dev, facts) {
        return Err(Refusal::HasAddress { dev: dev.clone(), address: address.to_string() });
    }
    Ok(detach_steps(link, mtu, facts))
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

fn detach_steps(link: &Link, mtu: Option<u32>, facts: &Facts) -> Vec<Action> {
    let dev = link.name.clone();
    let mut actions = vec![Action::DetachIngress { dev: dev.clone() }];
    actions.extend(mtu.map(|mtu| Action::SetMtu { dev: dev.clone(), mtu, was: link.mtu }));
    let disabled = facts.settings.get(&dev).and_then(|s| s.sysctl(Family::Ipv6, "disable_ipv6"));
    if let Some(was) = disabled {
        actions.push(sysctl(&dev, Family::Ipv6, "disable_ipv6", "1", Some(was)));
    }
    actions.push(Action::SetFlag { dev, flag: Flag::Up, on: true, was: Some(link.up) });
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Settings, Sysctl};

    fn facts(ip: &str) -> Facts {
        let name: IfName = "tap0".parse().unwrap();
        let address = serde_json::json!({"ip": ip, "prefix_len": 64, "scope": 0, "flags": 0});
        let link = serde_json::json!({
            "index": 5, "name": "tap0", "mac": "02:00:00:00:00:05", "mtu": 1500, "up": false, "carrier": true,
            "arp": true, "promisc": false, "loopback": false, "wireless": false,
        });
        let sysctl = Sysctl { family: Family::Ipv6, key: "disable_ipv6".into(), value: "0".into() };
        let settings = Settings {
            addresses: vec![serde_json::from_value(address).unwrap()],
            sysctls: vec![sysctl],
            ..Settings::default()
        };
        Facts { links: vec![serde_json::from_value(link).unwrap()], settings: [(name, settings)].into() }
    }

    #[test]
    fn the_hosts_stack_is_kept_off_and_let_on_again() {
        let dev = "tap0".parse().unwrap();
        let attached = plan_attach(&dev, None, Some(9000), &facts("fe80::1")).unwrap();
        let sentences = |actions: &[Action]| actions.iter().map(ToString::to_string).collect::<Vec<_>>();
        let wanted = [
            "keep frames that come in by tap0 from the host's stack",
            "set the MTU of tap0 to 9000",
            "set ipv6 disable_ipv6 of tap0 to 1",
            "set tap0 up",
        ];
        assert_eq!(sentences(&attached), wanted);
        let wanted = [
            "set tap0 down",
            "set ipv6 disable_ipv6 of tap0 to 0",
            "set the MTU of tap0 to 1500",
            "let frames that come in by tap0 reach the host's stack",
        ];
        assert_eq!(sentences(&plan_detach(&attached)), wanted);
    }

    #[test]
    fn an_interface_in_use_is_refused() {
        let dev: IfName = "tap0".parse().unwrap();
        let refused = plan_attach(&dev, None, None, &facts("2001:db8::1")).unwrap_err();
        assert!(refused.to_string().starts_with("'tap0' has the address 2001:db8::1/64"), "{refused}");
        let taken = "port 'a' of switch 'lan'".to_owned();
        assert!(matches!(
            plan_attach(&dev, Some(&taken), None, &facts("fe80::1")),
            Err(Refusal::Taken { .. })
        ));
    }
}
