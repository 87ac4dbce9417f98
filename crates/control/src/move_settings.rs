//! Moving IP settings from one interface to another: what changes on the way, and in which order it is set.

use crate::action::Action;
use crate::facts::{Family, Route, Settings};
use crate::takeover::sysctl;
use model::IfName;

/// `RTPROT_RA`: routes from router advertisements.
const FROM_ROUTER_ADVERTISEMENT: u8 = 9;
/// The protocol number of routes that stand in for the kernel's own (`ip route` shows it as a number).
pub const STAND_IN: u8 = 118;
const LABEL_MAX: usize = 15;

/// Which way settings move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the NIC to the host vNIC.
    Bind,
    /// From the host vNIC to the NIC.
    GiveBack,
}

/// The settings of `from`, as they shall be on `to`.
#[must_use]
pub fn moved(settings: &Settings, from: &IfName, to: &IfName) -> Settings {
    let mut moved = settings.clone();
    for address in &mut moved.addresses {
        address.label = address.label.as_deref().and_then(|l| renamed_label(l, from, to));
    }
    moved.routes = moved_routes(settings);
    for hop in moved.routes.iter_mut().flat_map(|r| &mut r.hops).filter(|h| &h.dev == from) {
        hop.dev = to.clone();
    }
    moved
}

/// `eth0:1` becomes `lan:1`; a label that then is too long is dropped.
fn renamed_label(label: &str, from: &IfName, to: &IfName) -> Option<String> {
    let renamed = match label.strip_prefix(from.as_str()) {
        Some(rest) => format!("{to}{rest}"),
        None => label.to_owned(),
    };
    (renamed.len() <= LABEL_MAX).then_some(renamed)
}

fn moved_routes(settings: &Settings) -> Vec<Route> {
    if !accepts_advertisements(settings) {
        return settings.routes.clone();
    }
    let is_the_kernels = |r: &Route| r.family == Family::Ipv6 && r.protocol == FROM_ROUTER_ADVERTISEMENT;
    let (kernels, mut routes): (Vec<_>, Vec<_>) = settings.routes.iter().cloned().partition(is_the_kernels);
    for stand_in in kernels.iter().map(stand_in) {
        routes.retain(|r| !r.same_place(&stand_in));
        routes.push(stand_in);
    }
    routes
}

fn accepts_advertisements(settings: &Settings) -> bool {
    settings.sysctl(Family::Ipv6, "accept_ra").is_some_and(|v| v != "0")
}

/// The kernel knows its router advertisement routes by a flag that cannot be set from outside. It refuses to add one
/// where an equal route stands, and then ignores the whole advertisement, addresses and all
/// (`ndisc_router_discovery`). So a route that is one step worse takes its place until the next advertisement comes.
fn stand_in(route: &Route) -> Route {
    Route { protocol: STAND_IN, metric: route.metric.saturating_add(1), ..route.clone() }
}

/// Puts addresses, neighbours and routes on an interface; the routes' hops name it already.
#[must_use]
pub fn transfer(settings: &Settings, to: &IfName) -> Vec<Action> {
    let mut actions = Vec::new();
    for address in &settings.addresses {
        actions.push(Action::AddAddress { dev: to.clone(), address: address.clone() });
    }
    for neighbour in &settings.neighbours {
        actions.push(Action::AddNeighbour { dev: to.clone(), neighbour: neighbour.clone() });
    }
    actions.extend(in_order(&settings.routes).into_iter().map(Action::AddRoute));
    actions
}

/// Takes all that away again, last things first.
#[must_use]
pub fn take_away(settings: &Settings, from: &IfName) -> Vec<Action> {
    let mut actions: Vec<_> = transfer(settings, from).iter().filter_map(Action::undo).collect();
    actions.reverse();
    actions
}

/// Routes that others depend on first: those without a router, then those to small networks.
fn in_order(routes: &[Route]) -> Vec<Route> {
    let mut routes = routes.to_vec();
    routes.sort_by_key(|r| (r.has_gateway(), std::cmp::Reverse(r.dst.map_or(0, |d| d.len))));
    routes
}

/// Switches router advertisements and automatic link-local addresses on where they were on.
///
/// A host vNIC that stands in for a NIC with stable private addresses (modes 2 and 3) keeps `none`: the kernel would make
/// another link-local address from the other interface's identity, beside the one that was moved.
#[must_use]
pub fn automatism(dev: &IfName, settings: &Settings, direction: Direction) -> Vec<Action> {
    let mut actions = Vec::new();
    let was = |off| (direction == Direction::GiveBack).then_some(off);
    if let Some(mode) = settings.sysctl(Family::Ipv6, "addr_gen_mode") {
        let mode = if direction == Direction::Bind && mode != "0" { "1" } else { mode };
        actions.push(sysctl(dev, Family::Ipv6, "addr_gen_mode", mode, was("1")));
    }
    if let Some(accept) = settings.sysctl(Family::Ipv6, "accept_ra") {
        actions.push(sysctl(dev, Family::Ipv6, "accept_ra", accept, was("0")));
    }
    actions
}
