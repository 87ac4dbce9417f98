//! Why an interface cannot become a port: what, why, what to do.

use crate::facts::{Facts, Link, Settings};
use crate::takeover::BindRequest;
use model::IfName;

/// `RTA_NH_ID` of rtnetlink: the route uses a next hop object.
const NEXT_HOP_OBJECT: u16 = 30;

/// Why a plan was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message is the documentation")]
pub enum Refusal {
    #[error("there is no interface '{0}': `ip link` shows those that are")]
    NoInterface(IfName),
    #[error("'{0}' is the loopback interface, which no frame leaves: name a NIC")]
    Loopback(IfName),
    #[error("'{0}' is a wireless NIC: access points carry frames of the NIC's own MAC only; use a wired NIC")]
    Wireless(IfName),
    #[error("'{0}' has no Ethernet address: only Ethernet interfaces can be ports")]
    NotEthernet(IfName),
    #[error("'{0}' is a bridge: name the NIC behind it, after removing it from the bridge")]
    IsBridge(IfName),
    #[error(
        "'{nic}' belongs to '{master}'{kind}: take it out first with `ip link set {nic} nomaster`, and mind the connection you use"
    )]
    HasMaster { nic: IfName, master: String, kind: String },
    #[error("'{nic}' is {port} already: an interface can be one port only; remove that port first")]
    Taken { nic: IfName, port: String },
    #[error(
        "'{upper}' stands on '{nic}' and would lose its connection: remove it, and make it again on the host vNIC"
    )]
    HasUpper { nic: IfName, upper: IfName },
    #[error("the host vNIC cannot be named '{0}': that is the NIC's name; choose another name")]
    NameOfNic(IfName),
    #[error("the host vNIC cannot be named '{0}': there is an interface of that name; choose another name")]
    NameInUse(IfName),
    #[error("MTU {mtu} is above the {limit} of '{nic}': use at most {limit}, or raise the NIC's first")]
    MtuAboveNic { nic: IfName, mtu: u32, limit: u32 },
    #[error(
        "a route of '{0}' uses a next hop object (`ip nexthop`), which cannot be moved: make it a plain route first"
    )]
    NextHopObject(IfName),
    #[error(
        "'{dev}' has the address {address}: the host would lose it; take it away first, or make an external switch on '{dev}'"
    )]
    HasAddress { dev: IfName, address: String },
}

/// The NIC, if it can be an uplink.
pub(crate) fn check_bind<'a>(request: &BindRequest, facts: &'a Facts) -> Result<&'a Link, Refusal> {
    let link = check_interface(&request.nic, request.taken.get(&request.nic), facts)?;
    check_host(request, link, facts)?;
    Ok(link)
}

/// Refuses a host vNIC that cannot be made in place of the NIC.
pub(crate) fn check_host(request: &BindRequest, link: &Link, facts: &Facts) -> Result<(), Refusal> {
    if let Some(vnic) = &request.host_vnic {
        check_host_name(vnic, &request.nic, facts)?;
    }
    match request.mtu {
        Some(mtu) if mtu > link.mtu => {
            Err(Refusal::MtuAboveNic { nic: link.name.clone(), mtu, limit: link.mtu })
        }
        _ => Ok(()),
    }
}

/// The interface, if it can be a port at all.
pub(crate) fn check_interface<'a>(
    name: &IfName,
    taken: Option<&String>,
    facts: &'a Facts,
) -> Result<&'a Link, Refusal> {
    let link = facts.link(name).ok_or_else(|| Refusal::NoInterface(name.clone()))?;
    if link.loopback {
        return Err(Refusal::Loopback(name.clone()));
    }
    if let Some(port) = taken {
        return Err(Refusal::Taken { nic: name.clone(), port: port.clone() });
    }
    if link.wireless {
        return Err(Refusal::Wireless(name.clone()));
    }
    if link.kind.as_deref() == Some("bridge") {
        return Err(Refusal::IsBridge(name.clone()));
    }
    if link.mac.is_none() {
        return Err(Refusal::NotEthernet(name.clone()));
    }
    check_neighbourhood(link, facts)?;
    Ok(link)
}

fn check_neighbourhood(link: &Link, facts: &Facts) -> Result<(), Refusal> {
    let nic = link.name.clone();
    if let Some(index) = link.master {
        let master = facts.links.iter().find(|l| l.index == index);
        let kind = master.and_then(|m| m.kind.as_deref()).map_or(String::new(), |k| format!(", a {k}"));
        let master = master.map_or_else(|| format!("interface {index}"), |m| m.name.to_string());
        return Err(Refusal::HasMaster { nic, master, kind });
    }
    // A veth's parent is its other end, which loses nothing.
    let stands_on = |l: &&Link| l.parent == Some(link.index) && l.kind.as_deref() != Some("veth");
    match facts.links.iter().find(stands_on) {
        Some(upper) => Err(Refusal::HasUpper { nic, upper: upper.name.clone() }),
        None => Ok(()),
    }
}

fn check_host_name(vnic: &IfName, nic: &IfName, facts: &Facts) -> Result<(), Refusal> {
    if vnic == nic {
        return Err(Refusal::NameOfNic(vnic.clone()));
    }
    if facts.link(vnic).is_some() { Err(Refusal::NameInUse(vnic.clone())) } else { Ok(()) }
}

/// Refuses settings that could not be put on another interface.
pub(crate) fn check_settings(nic: &IfName, settings: &Settings) -> Result<(), Refusal> {
    let is_object = |r: &crate::facts::Route| r.other.iter().any(|a| a.kind == NEXT_HOP_OBJECT);
    if settings.routes.iter().any(is_object) { Err(Refusal::NextHopObject(nic.clone())) } else { Ok(()) }
}
