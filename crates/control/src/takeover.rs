//! The take-over: what is done to a NIC, and to the host, when an external switch is made on it, and how it is undone.
//!
//! The host may be reached over this very NIC, so the order is chosen for connectivity:
//!
//! 1. The host vNIC is made with the NIC's MAC and set up. The kernel must not put an address of its own on it, so
//!    `addr_gen_mode` is `none` and router advertisements are off for now.
//! 2. The data path connects NIC and host vNIC. From here a frame that comes in reaches the host's stack twice, for a
//!    few milliseconds, and either way out works. TCP discards the second copy; a gap would cost a retransmission.
//! 3. The host vNIC gets the addresses, then neighbours, then routes (those without a router first, because a route
//!    through a router is accepted only where the router can be reached). A socket is bound to an address, not to an
//!    interface, so it lives on as long as the address is on *some* interface: it must be added before it is removed.
//!    IPv6 addresses are added without duplicate address detection, for the NIC would defend its own against us.
//! 4. The NIC's ingress is cut off from the host's stack, which ends the doubling.
//! 5. Routes, neighbours and addresses are taken from the NIC, in reverse order (taking an IPv4 primary address away
//!    takes its secondaries with it), then IPv6 is switched off on it and it stops answering ARP.
//! 6. The host vNIC's own automatism (router advertisements, link-local addresses) is switched on where the NIC's was.
//!
//! Giving back is the same with the roles changed, from what is on the host vNIC at that moment.
//!
//! A host vNIC that is taken away while the NIC stays bound takes the host's addresses with it: a host without a vNIC has no
//! stack on that NIC. They are kept ([`kept`]) for the vNIC that it is given again, or for the NIC when that is given back.
//!
//! What cannot be moved, because it belongs to a process: sockets bound to the NIC itself (`SO_BINDTODEVICE`, packet
//! sockets: DHCP clients), multicast memberships joined on it, and connections between link-local IPv6 addresses, which
//! carry its number. Temporary IPv6 addresses arrive as ordinary ones that run out at the same time.

use crate::action::{Action, Flag, HostVnic};
use crate::facts::{Address, Facts, Family, Link, Settings};
use crate::move_settings::{Direction, automatism, moved, take_away, transfer};
use crate::refusal::{self, Refusal};
use model::{IfName, Name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindRequest {
    /// The switch.
    pub switch: Name,
    /// The NIC that becomes its uplink.
    pub nic: IfName,
    /// The host vNIC that stands in for the NIC; `None` leaves the host without one.
    pub host_vnic: Option<IfName>,
    /// The host vNIC's MTU, unless it is the NIC's.
    pub mtu: Option<u32>,
    /// Interfaces that belong to switches already, and to which port.
    #[serde(default)]
    pub taken: BTreeMap<IfName, String>,
}

/// A list of steps, and what its reader should know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps, in order.
    pub actions: Vec<Action>,
    /// What the steps leave undone, as sentences.
    pub warnings: Vec<String>,
}

/// How to take the NIC over. `facts` must hold the NIC's settings.
///
/// # Errors
/// The first reason for which the NIC cannot be an uplink.
pub fn plan_bind(request: &BindRequest, facts: &Facts) -> Result<Plan, Refusal> {
    let link = refusal::check_bind(request, facts)?;
    let settings = facts.settings.get(&request.nic).cloned().unwrap_or_default();
    refusal::check_settings(&request.nic, &settings)?;
    let mut actions = Vec::new();
    let vnic = request.host_vnic.as_ref().map(|ifname| host_vnic(ifname, request, link));
    if let Some(vnic) = &vnic {
        actions.push(Action::CreateHostVnic(vnic.clone()));
        actions.extend(prepare(&vnic.ifname, &settings));
    }
    actions.extend([flag(link, Flag::Up, true), flag(link, Flag::Promisc, true)]);
    actions.push(Action::ConnectUplink { nic: link.name.clone() });
    if let Some(vnic) = &vnic {
        actions.extend(transfer(&moved(&settings, &link.name, &vnic.ifname), &vnic.ifname));
    }
    actions.push(Action::DetachIngress { dev: link.name.clone() });
    actions.extend(silence(link, &settings));
    if let Some(vnic) = &vnic {
        actions.extend(automatism(&vnic.ifname, &settings, Direction::Bind));
    }
    let host = request.host_vnic.as_ref();
    Ok(Plan { actions, warnings: warnings(&link.name, host, &settings) })
}

/// How to give the host a vNIC on a NIC that is bound without one. `original` are the facts that it was bound on, or what
/// [`kept`] made of them, aged.
///
/// # Errors
/// The first reason for which it cannot be made.
pub fn plan_add_host(request: &BindRequest, facts: &Facts, original: &Facts) -> Result<Vec<Action>, Refusal> {
    let Some(link) = facts.link(&request.nic).or_else(|| original.link(&request.nic)) else {
        return Err(Refusal::NoInterface(request.nic.clone()));
    };
    refusal::check_host(request, link, facts)?;
    Ok(make_host(request, facts, original))
}

/// Makes the host vNIC, at once with all that belongs on it: nothing of that is anywhere else.
#[must_use]
pub fn make_host(request: &BindRequest, facts: &Facts, original: &Facts) -> Vec<Action> {
    let nic = &request.nic;
    let link = facts.link(nic).or_else(|| original.link(nic));
    let Some((ifname, link)) = request.host_vnic.as_ref().zip(link) else { return vec![] };
    let settings = original.settings.get(nic).cloned().unwrap_or_default();
    let mut actions = vec![Action::CreateHostVnic(host_vnic(ifname, request, link))];
    actions.extend(prepare(ifname, &settings));
    actions.extend(transfer(&moved(&settings, nic, ifname), ifname));
    actions.extend(automatism(ifname, &settings, Direction::Bind));
    actions
}

/// How to take the host vNIC away from a NIC that stays bound; what is on it goes with it.
#[must_use]
pub fn plan_remove_host(request: &BindRequest, facts: &Facts) -> Plan {
    let Some((vnic, now)) = host(request, facts) else { return Plan::default() };
    let warnings = lost(&vnic.name, now).into_iter().collect();
    Plan { actions: vec![remove_host(vnic)], warnings }
}

fn remove_host(vnic: &Link) -> Action {
    let (ifname, mac, mtu) = (vnic.name.clone(), vnic.mac.unwrap_or_default(), vnic.mtu);
    Action::RemoveHostVnic(HostVnic { ifname, mac, mtu })
}

/// The host vNIC and what is on it, if there is one.
fn host<'a>(request: &BindRequest, facts: &'a Facts) -> Option<(&'a Link, &'a Settings)> {
    let vnic = request.host_vnic.as_ref()?;
    facts.link(vnic).zip(facts.settings.get(vnic))
}

/// What the NIC would have if it were given back now: what is on the host vNIC, if `facts` hold its settings, and else
/// what the NIC had. `original` are the facts that the bind was planned on, aged.
#[must_use]
pub fn kept(request: &BindRequest, facts: &Facts, original: &Facts) -> Facts {
    let mut kept = original.clone();
    let Some((vnic, now)) = host(request, facts) else { return kept };
    let mut settings = moved(now, &vnic.name, &request.nic);
    // Those of the host vNIC may be off only because the NIC's identity is another (see `automatism`).
    let before = original.settings.get(&request.nic).map_or(&[][..], |before| &before.sysctls);
    settings.sysctls.retain(|s| !is_automatism(&s.key));
    settings.sysctls.extend(before.iter().filter(|s| is_automatism(&s.key)).cloned());
    for nic in kept.links.iter_mut().filter(|link| link.name == request.nic) {
        nic.up = stays_up(vnic, &settings, nic.up);
    }
    kept.settings.insert(request.nic.clone(), settings);
    kept
}

/// The largest MTU that the kernel gives a TAP (64 KiB less an Ethernet header); a veth's can be larger.
const TAP_MTU_MAX: u32 = 65_521;

fn host_vnic(ifname: &IfName, request: &BindRequest, link: &Link) -> HostVnic {
    let mtu = request.mtu.unwrap_or(link.mtu).min(TAP_MTU_MAX);
    HostVnic { ifname: ifname.clone(), mac: link.mac.unwrap_or_default(), mtu }
}

/// Sets the new host vNIC up without letting the kernel put anything on it.
fn prepare(vnic: &IfName, settings: &Settings) -> Vec<Action> {
    let mut actions = vec![];
    if settings.sysctl(Family::Ipv6, "disable_ipv6").is_some() {
        actions.push(sysctl(vnic, Family::Ipv6, "addr_gen_mode", "1", None));
        actions.push(sysctl(vnic, Family::Ipv6, "accept_ra", "0", None));
    }
    for copied in settings.sysctls.iter().filter(|s| !is_automatism(&s.key)) {
        actions.push(sysctl(vnic, copied.family, &copied.key, &copied.value, None));
    }
    actions.push(Action::SetFlag { dev: vnic.clone(), flag: Flag::Up, on: true, was: None });
    actions
}

/// Sysctls that make the kernel add addresses and routes by itself: they are off while those are moved.
pub(crate) fn is_automatism(key: &str) -> bool {
    matches!(key, "addr_gen_mode" | "accept_ra")
}

/// Takes everything from the NIC that would let the host's stack use it.
fn silence(link: &Link, settings: &Settings) -> Vec<Action> {
    let mut actions = vec![];
    for (key, value) in [("addr_gen_mode", "1"), ("accept_ra", "0")] {
        actions.extend(changed(&link.name, settings, key, value));
    }
    actions.extend(take_away(&moved(settings, &link.name, &link.name), &link.name));
    actions.extend(changed(&link.name, settings, "disable_ipv6", "1"));
    actions.push(flag(link, Flag::Arp, false));
    actions
}

fn changed(dev: &IfName, settings: &Settings, key: &str, value: &str) -> Option<Action> {
    let was = settings.sysctl(Family::Ipv6, key)?;
    Some(sysctl(dev, Family::Ipv6, key, value, Some(was)))
}

/// How to put everything on the NIC that is [`kept`] for it. `original` are the facts that the bind was planned on, aged.
#[must_use]
pub fn plan_give_back(request: &BindRequest, facts: &Facts, original: &Facts) -> Vec<Action> {
    let nic = &request.nic;
    let before = original.settings.get(nic).cloned().unwrap_or_default();
    let kept = kept(request, facts, original);
    let settings = kept.settings.get(nic).cloned().unwrap_or_default();
    let was = kept.link(nic);
    let host = host(request, facts);
    let mut actions = wake(nic, &before, &settings, was);
    actions.extend(transfer(&settings, nic));
    actions.push(Action::AttachIngress { dev: nic.clone() });
    if let Some((vnic, now)) = host {
        actions.extend(take_away(now, &vnic.name));
    }
    actions.push(Action::DisconnectUplink { nic: nic.clone() });
    actions.extend(host.map(|(vnic, _)| remove_host(vnic)));
    actions.extend(rest(nic, &settings, was));
    actions
}

/// Readies the NIC for addresses. It has neither addresses nor automatism yet.
fn wake(nic: &IfName, before: &Settings, settings: &Settings, was: Option<&Link>) -> Vec<Action> {
    let mut actions = vec![Action::SetFlag { dev: nic.clone(), flag: Flag::Up, on: true, was: Some(true) }];
    if before.sysctl(Family::Ipv6, "disable_ipv6").is_some() {
        actions.push(sysctl(nic, Family::Ipv6, "addr_gen_mode", "1", Some("1")));
        actions.push(sysctl(nic, Family::Ipv6, "accept_ra", "0", Some("0")));
    }
    for now in settings.sysctls.iter().filter(|s| !is_automatism(&s.key)) {
        let bound = if now.key == "disable_ipv6" { Some("1") } else { before.sysctl(now.family, &now.key) };
        actions.push(sysctl(nic, now.family, &now.key, &now.value, bound));
    }
    let arp = was.is_none_or(|l| l.arp);
    actions.push(Action::SetFlag { dev: nic.clone(), flag: Flag::Arp, on: arp, was: Some(false) });
    actions
}

/// Restores what the bind changed and the host vNIC knows nothing of.
fn rest(nic: &IfName, settings: &Settings, was: Option<&Link>) -> Vec<Action> {
    let mut actions = automatism(nic, settings, Direction::GiveBack);
    let set = |flag, on| Action::SetFlag { dev: nic.clone(), flag, on, was: Some(true) };
    actions.push(set(Flag::Promisc, was.is_some_and(|l| l.promisc)));
    actions.push(set(Flag::Up, was.is_none_or(|l| l.up)));
    actions
}

/// A NIC that was down before, and whose host vNIC nobody used, goes down again; a host vNIC that was set down says that
/// the NIC shall be down.
fn stays_up(vnic: &Link, settings: &Settings, was_up: bool) -> bool {
    let used = settings.addresses.iter().any(|a| !is_link_local(a));
    vnic.up && (was_up || used)
}

fn is_link_local(address: &Address) -> bool {
    matches!(address.ip, std::net::IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// What shall be so of a NIC that came back after it was gone, while its switch is bound: as the bind left it.
/// `facts` must hold the NIC's settings as they are now.
#[must_use]
pub fn plan_rejoin(nic: &IfName, facts: &Facts) -> Vec<Action> {
    let Some(link) = facts.link(nic) else { return vec![] };
    let settings = facts.settings.get(nic).cloned().unwrap_or_default();
    let mut actions = vec![Action::DetachIngress { dev: nic.clone() }];
    actions.extend([flag(link, Flag::Up, true), flag(link, Flag::Promisc, true)]);
    actions.extend(silence(link, &settings));
    actions.push(Action::ConnectUplink { nic: nic.clone() });
    actions
}

fn flag(link: &Link, flag: Flag, on: bool) -> Action {
    let was = match flag {
        Flag::Up => link.up,
        Flag::Arp => link.arp,
        Flag::Promisc => link.promisc,
    };
    Action::SetFlag { dev: link.name.clone(), flag, on, was: Some(was) }
}

pub(crate) fn sysctl(dev: &IfName, family: Family, key: &str, value: &str, was: Option<&str>) -> Action {
    let was = was.map(str::to_owned);
    Action::SetSysctl { dev: dev.clone(), family, key: key.to_owned(), value: value.to_owned(), was }
}

fn warnings(nic: &IfName, host: Option<&IfName>, settings: &Settings) -> Vec<String> {
    let mut warnings: Vec<String> = settings
        .rules
        .iter()
        .map(|rule| format!("the policy rule '{rule}' names {nic} and is left as it is: change it by hand"))
        .collect();
    if host.is_none() {
        warnings.extend(lost(nic, settings));
    }
    warnings
}

/// What the host has to do without, as a sentence.
fn lost(dev: &IfName, settings: &Settings) -> Option<String> {
    let list: Vec<_> = settings.addresses.iter().map(|a| format!("{}/{}", a.ip, a.prefix_len)).collect();
    let list = Some(list.join(", ")).filter(|list| !list.is_empty())?;
    Some(format!("the host loses {list} on {dev} until it has a vNIC there again, or the switch is removed"))
}

#[cfg(test)]
#[path = "takeover_tests.rs"]
mod tests;
