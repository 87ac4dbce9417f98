//! What no two ports may have. Of those that a valid state has had together no two do, so each that is new is looked for among
//! the others: to put a thousand into order for each change of one takes longer than all the rest.

use super::{Invalid, socket};
use crate::{Attachment, IfName, Name, PortConfig, SwitchConfig};
use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    string::ToString,
};
use core::fmt;

/// A port where it is.
#[derive(Clone, Copy)]
pub(super) struct Seat<'a> {
    /// The number of its switch, and its own there.
    pub(super) at: (usize, usize),
    pub(super) switch: &'a SwitchConfig,
    pub(super) port: &'a PortConfig,
    /// The former state, which was valid, does not have it.
    pub(super) is_new: bool,
}

/// What a port has for itself that is no interface of the host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place<'a> {
    Vnic(&'a Name, &'a IfName),
    Socket(&'a str),
}

pub(super) fn check(seats: &[Seat<'_>]) -> Result<(), Invalid> {
    let names = seats.iter().map(|seat| ((seat.at.0, &seat.port.name), *seat));
    if let Some((_, [first, _])) = clash(names) {
        let (switch, port) = (first.switch.name.clone(), first.port.name.clone());
        return Err(Invalid::DuplicatePort { switch, port });
    }
    let macs = seats.iter().flat_map(|seat| {
        seat.port.mac.iter().chain(&seat.port.allow_macs).map(|mac| ((seat.at.0, *mac), *seat))
    });
    if let Some(((_, mac), [first, second])) = clash(macs) {
        let switch = first.switch.name.clone();
        let (first, second) = (first.port.name.clone(), second.port.name.clone());
        return Err(Invalid::DuplicateMac { switch, mac, first, second });
    }
    let interfaces = seats.iter().filter_map(|seat| Some((seat.port.attach.host_interface()?, *seat)));
    if let Some((ifname, seats)) = clash(interfaces) {
        return Err(interface_clash(ifname, seats));
    }
    let places = seats.iter().filter_map(|seat| Some((place(&seat.port.attach)?, *seat)));
    clash(places).map_or(Ok(()), |(place, [first, second])| {
        let (first, second) = (first.to_string(), second.to_string());
        Err(Invalid::DuplicatePlace { place: place.to_string(), first, second })
    })
}

/// What two of them have, and which two: the one that comes first first.
fn clash<'a, K: Ord>(all: impl Iterator<Item = (K, Seat<'a>)> + Clone) -> Option<(K, [Seat<'a>; 2])> {
    let mut new: BTreeMap<K, Seat<'a>> = BTreeMap::new();
    for (key, seat) in all.clone().filter(|(_, seat)| seat.is_new) {
        match new.entry(key) {
            Entry::Vacant(vacant) => drop(vacant.insert(seat)),
            Entry::Occupied(taken) => {
                let (key, first) = taken.remove_entry();
                return Some((key, [first, seat]));
            }
        }
    }
    all.filter(|(_, seat)| !seat.is_new).find_map(|(key, seat)| {
        let mut both = [seat, *new.get(&key)?];
        both.sort_by_key(|seat| seat.at);
        Some((key, both))
    })
}

fn interface_clash(ifname: &IfName, [a, b]: [Seat<'_>; 2]) -> Invalid {
    let is_host = |seat: &Seat<'_>| matches!(seat.port.attach, Attachment::Host(_));
    let own_uplink = |owner: &Seat<'_>, user: &Seat<'_>| Invalid::OwnUplink {
        switch: user.switch.name.clone(),
        nic: ifname.clone(),
        owner: owner.switch.name.clone(),
    };
    match (is_host(&a), is_host(&b)) {
        (true, false) => own_uplink(&a, &b),
        (false, true) => own_uplink(&b, &a),
        _ => Invalid::DuplicateInterface {
            ifname: ifname.clone(),
            first: a.to_string(),
            second: b.to_string(),
        },
    }
}

fn place(attach: &Attachment) -> Option<Place<'_>> {
    match attach {
        Attachment::Netns { netns, ifname } => Some(Place::Vnic(netns, ifname)),
        _ => socket(attach).map(|path| Place::Socket(path)),
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vnic(netns, ifname) => write!(f, "{ifname} in namespace {netns}"),
            Self::Socket(path) => f.write_str(path),
        }
    }
}

impl fmt::Display for Seat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.switch.name, self.port.name)
    }
}
