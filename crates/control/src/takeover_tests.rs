//! Plans without a kernel: golden lists of sentences, every refusal, and undoing in a small simulated host.

use super::*;
use crate::action::undo_all;
use crate::facts::{Hop, Lifetime, MAIN_TABLE, Neighbour, Prefix, Route, Sysctl};
use model::MacAddr;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

fn link(index: u32, text: &str) -> Link {
    Link {
        index,
        name: name(text),
        kind: None,
        mac: Some(MacAddr([2, 0, 0, 0, 0, index as u8])),
        mtu: 1500,
        up: true,
        carrier: true,
        arp: true,
        promisc: false,
        loopback: false,
        wireless: false,
        master: None,
        parent: None,
    }
}

fn address(text: &str, prefix_len: u8, lifetime: Option<Lifetime>) -> Address {
    Address {
        ip: text.parse().unwrap(),
        prefix_len,
        peer: None,
        broadcast: None,
        scope: 0,
        label: None,
        flags: 0,
        lifetime,
        metric: None,
        protocol: None,
    }
}

fn route(dst: Option<(&str, u8)>, gateway: Option<&str>, table: u32, metric: u32) -> Route {
    let gateway = gateway.map(|g| g.parse().unwrap());
    let dst = dst.map(|(ip, len)| Prefix { ip: ip.parse().unwrap(), len });
    let family = dst.map(|d| d.ip).or(gateway).map_or(Family::Ipv4, |ip| Family::of(&ip));
    let hops = vec![Hop { dev: name("eth0"), gateway, weight: 0, onlink: false, other: vec![] }];
    let (from, prefsrc, expires_s) = (None, None, None);
    let (kind, scope, protocol, tos, other) = (1, 0, 4, 0, vec![]);
    Route { family, dst, from, table, kind, scope, protocol, tos, metric, prefsrc, expires_s, hops, other }
}

fn sysctls(values: &[(Family, &str, &str)]) -> Vec<Sysctl> {
    let one = |(family, key, value): &(Family, &str, &str)| Sysctl {
        family: *family,
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    };
    values.iter().map(one).collect()
}

const IPV6_ON: [(Family, &str, &str); 4] = [
    (Family::Ipv4, "rp_filter", "2"),
    (Family::Ipv6, "disable_ipv6", "0"),
    (Family::Ipv6, "accept_ra", "1"),
    (Family::Ipv6, "addr_gen_mode", "0"),
];

fn facts(settings: Settings) -> Facts {
    let links = vec![link(2, "eth0"), link(3, "eth1")];
    Facts { links, settings: BTreeMap::from([(name("eth0"), settings)]) }
}

fn request(host_vnic: Option<&str>) -> BindRequest {
    let (switch, nic, mtu, taken) = ("lan".parse().unwrap(), name("eth0"), None, BTreeMap::new());
    BindRequest { switch, nic, host_vnic: host_vnic.map(name), mtu, taken }
}

fn sentences(actions: &[Action]) -> Vec<String> {
    actions.iter().map(ToString::to_string).collect()
}

fn static_settings() -> Settings {
    Settings {
        addresses: vec![address("192.0.2.10", 24, None), address("2001:db8::10", 64, None)],
        routes: vec![
            route(None, Some("192.0.2.1"), MAIN_TABLE, 0),
            route(Some(("192.0.2.0", 24)), None, MAIN_TABLE, 0),
            route(Some(("2001:db8::", 64)), None, MAIN_TABLE, 256),
        ],
        neighbours: vec![Neighbour {
            ip: "192.0.2.1".parse().unwrap(),
            mac: Some(MacAddr([2, 0, 0, 0, 9, 9])),
            proxy: false,
            flags: 0,
        }],
        sysctls: sysctls(&IPV6_ON),
        rules: vec![],
    }
}

#[test]
fn a_static_host_keeps_both_ways_until_the_new_one_stands() {
    let plan = plan_bind(&request(Some("lan")), &facts(static_settings())).unwrap();
    let wanted = [
        "make the host vNIC lan with MAC 02:00:00:00:00:02 and MTU 1500",
        "set ipv6 addr_gen_mode of lan to 1",
        "set ipv6 accept_ra of lan to 0",
        "set ipv4 rp_filter of lan to 2",
        "set ipv6 disable_ipv6 of lan to 0",
        "set lan up",
        "set eth0 up",
        "make eth0 promiscuous",
        "forward between eth0 and the switch",
        "give lan the address 192.0.2.10/24",
        "give lan the address 2001:db8::10/64",
        "give lan the neighbour 192.0.2.1 at 02:00:00:00:09:09",
        "add the route 2001:db8::/64 dev lan metric 256",
        "add the route 192.0.2.0/24 dev lan",
        "add the route default via 192.0.2.1 dev lan",
        "keep frames that come in by eth0 from the host's stack",
        "set ipv6 addr_gen_mode of eth0 to 1",
        "set ipv6 accept_ra of eth0 to 0",
        "remove the route default via 192.0.2.1 dev eth0",
        "remove the route 192.0.2.0/24 dev eth0",
        "remove the route 2001:db8::/64 dev eth0 metric 256",
        "take the neighbour 192.0.2.1 at 02:00:00:00:09:09 from eth0",
        "take the address 2001:db8::10/64 from eth0",
        "take the address 192.0.2.10/24 from eth0",
        "set ipv6 disable_ipv6 of eth0 to 1",
        "keep eth0 from answering ARP and neighbour discovery",
        "set ipv6 addr_gen_mode of lan to 0",
        "set ipv6 accept_ra of lan to 1",
    ];
    assert_eq!(sentences(&plan.actions), wanted);
    assert_eq!(plan.warnings, Vec::<String>::new());
}

#[test]
fn the_give_back_is_the_same_with_roles_changed() {
    let original = facts(static_settings());
    let now = with_vnic(&original, static_settings());
    let steps = sentences(&plan_give_back(&request(Some("lan")), &now, &original));
    let at =
        |sentence: &str| steps.iter().position(|s| s == sentence).unwrap_or_else(|| panic!("{sentence}"));
    let order = [
        "set ipv6 addr_gen_mode of eth0 to 1",
        "set ipv6 disable_ipv6 of eth0 to 0",
        "let eth0 answer ARP and neighbour discovery",
        "give eth0 the address 192.0.2.10/24",
        "add the route 192.0.2.0/24 dev eth0",
        "add the route default via 192.0.2.1 dev eth0",
        "let frames that come in by eth0 reach the host's stack",
        "remove the route default via 192.0.2.1 dev lan",
        "take the address 192.0.2.10/24 from lan",
        "stop forwarding between eth0 and the switch",
        "remove the host vNIC lan",
        "set ipv6 addr_gen_mode of eth0 to 0",
        "set ipv6 accept_ra of eth0 to 1",
        "make eth0 not promiscuous",
    ];
    let places: Vec<_> = order.map(at).to_vec();
    assert!(places.is_sorted(), "{steps:#?}");
    assert_eq!((steps[0].as_str(), steps.last().unwrap().as_str()), ("set eth0 up", "set eth0 up"));
}

#[test]
fn a_host_vnic_that_is_added_gets_what_was_kept() {
    let original = facts(static_settings());
    let steps = plan_add_host(&request(Some("lan")), &facts(Settings::default()), &original).unwrap();
    let wanted = [
        "make the host vNIC lan with MAC 02:00:00:00:00:02 and MTU 1500",
        "set ipv6 addr_gen_mode of lan to 1",
        "set ipv6 accept_ra of lan to 0",
        "set ipv4 rp_filter of lan to 2",
        "set ipv6 disable_ipv6 of lan to 0",
        "set lan up",
        "give lan the address 192.0.2.10/24",
        "give lan the address 2001:db8::10/64",
        "give lan the neighbour 192.0.2.1 at 02:00:00:00:09:09",
        "add the route 2001:db8::/64 dev lan metric 256",
        "add the route 192.0.2.0/24 dev lan",
        "add the route default via 192.0.2.1 dev lan",
        "set ipv6 addr_gen_mode of lan to 0",
        "set ipv6 accept_ra of lan to 1",
    ];
    assert_eq!(sentences(&steps), wanted);
    let refused = plan_add_host(&request(Some("eth1")), &original, &original);
    assert_eq!(refused, Err(Refusal::NameInUse(name("eth1"))));
}

#[test]
fn a_nic_whose_host_vnic_was_used_or_set_down_is_remembered_so() {
    let up_again = |was_up: bool, vnic_up: bool, settings: Settings| {
        let mut original = facts(settings.clone());
        original.links[0].up = was_up;
        let mut now = with_vnic(&original, settings);
        now.links.last_mut().unwrap().up = vnic_up;
        kept(&request(Some("lan")), &now, &original).link(&name("eth0")).unwrap().up
    };
    assert!(up_again(true, true, Settings::default()) && up_again(false, true, static_settings()));
    assert!(!up_again(false, true, Settings::default()) && !up_again(true, false, static_settings()));
}

/// Those facts, and a host vNIC with these settings in the NIC's place.
fn with_vnic(original: &Facts, settings: Settings) -> Facts {
    let mut facts = original.clone();
    facts.links.push(link(4, "lan"));
    facts.settings.insert(name("lan"), moved(&settings, &name("eth0"), &name("lan")));
    facts
}

#[test]
fn a_lease_and_several_tables_go_along() {
    let lease = Some(Lifetime { valid_s: 3600, preferred_s: 1800 });
    let mut settings = Settings { addresses: vec![address("192.0.2.10", 24, lease)], ..Settings::default() };
    settings.addresses[0].label = Some("eth0:1".into());
    settings.routes = vec![route(Some(("10.0.0.0", 8)), Some("192.0.2.1"), 100, 42)];
    let plan = plan_bind(&request(Some("lan")), &facts(settings)).unwrap();
    let steps = sentences(&plan.actions);
    assert!(steps.contains(&"give lan the address 192.0.2.10/24 (valid for 3600 s)".into()), "{steps:#?}");
    assert!(steps.contains(&"add the route 10.0.0.0/8 via 192.0.2.1 dev lan table 100 metric 42".into()));
    let labelled = |a: &Action| matches!(a, Action::AddAddress { address, .. } if address.label.as_deref() == Some("lan:1"));
    assert!(plan.actions.iter().any(labelled));
}

#[test]
fn a_router_advertisements_route_is_stood_in_for() {
    let mut settings = static_settings();
    let from_router = Route { protocol: 9, ..route(None, Some("fe80::1"), MAIN_TABLE, 1024) };
    settings.routes = vec![from_router.clone()];
    let routes = moved(&settings, &name("eth0"), &name("lan")).routes;
    assert_eq!((routes.len(), routes[0].protocol, routes[0].metric), (1, 118, 1025));
    settings.routes = vec![from_router.clone(), routes[0].clone()];
    settings.routes[1].hops[0].dev = name("eth0");
    assert_eq!(moved(&settings, &name("eth0"), &name("lan")).routes.len(), 1, "one stand-in, not two");
    settings.sysctls.retain(|s| s.key != "accept_ra");
    let by_hand = Settings { routes: vec![from_router], ..settings };
    assert_eq!(
        moved(&by_hand, &name("eth0"), &name("lan")).routes[0].protocol,
        9,
        "a daemon's route stays as it is"
    );
}

#[test]
fn the_host_vnics_mtu_is_the_nics_or_the_one_asked_for() {
    let mtu = |nic, asked| {
        let mut facts = facts(static_settings());
        facts.links[0].mtu = nic;
        let request = BindRequest { mtu: asked, ..request(Some("lan")) };
        match plan_bind(&request, &facts).unwrap().actions.remove(0) {
            Action::CreateHostVnic(vnic) => vnic.mtu,
            other => panic!("{other}"),
        }
    };
    assert_eq!([mtu(9000, None), mtu(9000, Some(1500)), mtu(65_535, None)], [9000, 1500, 65_521]);
}

#[test]
fn no_host_takes_the_addresses_away_and_says_so() {
    let mut settings = static_settings();
    settings.rules = vec!["1000: iif eth0".into()];
    let plan = plan_bind(&request(None), &facts(settings)).unwrap();
    assert!(!sentences(&plan.actions).iter().any(|s| s.contains("lan")));
    assert!(sentences(&plan.actions).contains(&"take the address 192.0.2.10/24 from eth0".into()));
    assert_eq!(
        plan.warnings,
        [
            "the policy rule '1000: iif eth0' names eth0 and is left as it is: change it by hand",
            "the host loses 192.0.2.10/24, 2001:db8::10/64 on eth0 until it has a vNIC there again, or the switch is removed",
        ]
    );
}

#[test]
fn bad_input_is_refused() {
    let refused = |change: &dyn Fn(&mut BindRequest, &mut Facts)| {
        let (mut request, mut facts) = (request(Some("lan")), facts(static_settings()));
        change(&mut request, &mut facts);
        plan_bind(&request, &facts).unwrap_err()
    };
    let eth0 = || name("eth0");
    assert_eq!(refused(&|r, _| r.nic = name("nope")), Refusal::NoInterface(name("nope")));
    assert_eq!(refused(&|_, f| f.links[0].loopback = true), Refusal::Loopback(eth0()));
    assert_eq!(refused(&|_, f| f.links[0].wireless = true), Refusal::Wireless(eth0()));
    assert_eq!(refused(&|_, f| f.links[0].mac = None), Refusal::NotEthernet(eth0()));
    assert_eq!(refused(&|_, f| f.links[0].kind = Some("bridge".into())), Refusal::IsBridge(eth0()));
    let enslaved = refused(&|_, f| {
        f.links[0].master = Some(3);
        f.links[1].kind = Some("bond".into());
    });
    assert!(enslaved.to_string().starts_with("'eth0' belongs to 'eth1', a bond: take it out"), "{enslaved}");
    let taken = refused(&|r, _| drop(r.taken.insert(eth0(), "port 'eth0' of switch 'wan'".into())));
    assert!(taken.to_string().starts_with("'eth0' is port 'eth0' of switch 'wan' already"), "{taken}");
    let with_vlan = refused(&|_, f| f.links[1].parent = Some(2));
    assert_eq!(with_vlan, Refusal::HasUpper { nic: eth0(), upper: name("eth1") });
    assert_eq!(refused(&|r, _| r.host_vnic = Some(eth0())), Refusal::NameOfNic(eth0()));
    assert_eq!(refused(&|r, _| r.host_vnic = Some(name("eth1"))), Refusal::NameInUse(name("eth1")));
    let mtu = refused(&|r, _| r.mtu = Some(9000));
    assert_eq!(mtu, Refusal::MtuAboveNic { nic: eth0(), mtu: 9000, limit: 1500 });
    let object = refused(&|_, f| {
        let other = crate::facts::RawAttribute { kind: 30, value: vec![1, 0, 0, 0] };
        f.settings.get_mut(&eth0()).unwrap().routes[0].other.push(other);
    });
    assert_eq!(object, Refusal::NextHopObject(eth0()));
}

#[test]
fn the_other_end_of_a_veth_does_not_stand_on_it() {
    let mut facts = facts(static_settings());
    facts.links[1].parent = Some(2);
    facts.links[1].kind = Some("veth".into());
    assert!(plan_bind(&request(Some("lan")), &facts).is_ok());
}

/// What a host looks like to plans: the kernel's side of every action, with its side effects.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Simulated {
    interfaces: BTreeMap<IfName, Simulation>,
    routes: Vec<Route>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Simulation {
    flags: BTreeMap<&'static str, bool>,
    sysctls: BTreeMap<String, String>,
    addresses: Vec<Address>,
    neighbours: Vec<Neighbour>,
    detached: bool,
    forwarding: bool,
}

fn flag_name(flag: Flag) -> &'static str {
    match flag {
        Flag::Up => "up",
        Flag::Arp => "arp",
        Flag::Promisc => "promisc",
    }
}

impl Simulated {
    fn of(facts: &Facts) -> Self {
        let mut host = Self { interfaces: BTreeMap::new(), routes: vec![] };
        for link in &facts.links {
            let settings = facts.settings.get(&link.name).cloned().unwrap_or_default();
            let interface = Simulation {
                flags: BTreeMap::from([("up", link.up), ("arp", link.arp), ("promisc", link.promisc)]),
                sysctls: settings
                    .sysctls
                    .iter()
                    .map(|s| (format!("{} {}", s.family, s.key), s.value.clone()))
                    .collect(),
                addresses: settings.addresses,
                neighbours: settings.neighbours,
                ..Simulation::default()
            };
            host.interfaces.insert(link.name.clone(), interface);
            host.routes.extend(settings.routes);
        }
        host
    }

    fn run(&mut self, action: &Action) {
        match action {
            Action::CreateHostVnic(vnic) => drop(self.interfaces.entry(vnic.ifname.clone()).or_default()),
            Action::RemoveHostVnic(vnic) => {
                self.interfaces.remove(&vnic.ifname);
                self.routes.retain(|r| r.hops.iter().all(|h| h.dev != vnic.ifname));
            }
            Action::AddRoute(route) if !self.routes.iter().any(|r| r.same_place(route)) => {
                self.routes.push(route.clone());
            }
            Action::RemoveRoute(route) => self.routes.retain(|r| !r.same_place(route)),
            Action::AddRoute(_) => {}
            on_interface => self.run_on_interface(on_interface),
        }
    }

    fn run_on_interface(&mut self, action: &Action) {
        let dev = action.interfaces()[0].clone();
        let Some(interface) = self.interfaces.get_mut(&dev) else { return };
        match action {
            Action::SetFlag { flag, on, .. } => drop(interface.flags.insert(flag_name(*flag), *on)),
            Action::SetSysctl { family, key, value, .. } => {
                interface.sysctls.insert(format!("{family} {key}"), value.clone());
                if key == "disable_ipv6" && value == "1" {
                    interface.addresses.retain(|a| a.ip.is_ipv4());
                    let own = |r: &Route| r.family == Family::Ipv6 && r.hops.iter().any(|h| h.dev == dev);
                    self.routes.retain(|r| !own(r));
                }
            }
            Action::AddAddress { address, .. } if !interface.addresses.contains(address) => {
                interface.addresses.push(address.clone());
            }
            Action::RemoveAddress { address, .. } => interface.addresses.retain(|a| a != address),
            Action::AddNeighbour { neighbour, .. } if !interface.neighbours.contains(neighbour) => {
                interface.neighbours.push(neighbour.clone());
            }
            Action::RemoveNeighbour { neighbour, .. } => interface.neighbours.retain(|n| n != neighbour),
            Action::DetachIngress { .. } => interface.detached = true,
            Action::AttachIngress { .. } => interface.detached = false,
            Action::ConnectUplink { .. } => interface.forwarding = true,
            Action::DisconnectUplink { .. } => interface.forwarding = false,
            _ => {}
        }
    }

    fn run_all(mut self, actions: &[Action]) -> Self {
        actions.iter().for_each(|a| self.run(a));
        self
    }

    /// In an order of its own, since undoing may reorder equals.
    fn sorted(&self) -> BTreeSet<String> {
        let mut lines: BTreeSet<_> = self.routes.iter().map(|r| format!("{r:?}")).collect();
        for (dev, i) in &self.interfaces {
            lines.extend(i.addresses.iter().map(|a| format!("{dev} {a:?}")));
            lines.extend(i.neighbours.iter().map(|n| format!("{dev} {n:?}")));
            let rest = Simulation { addresses: vec![], neighbours: vec![], ..i.clone() };
            lines.insert(format!("{dev} {rest:?}"));
        }
        lines
    }
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let addresses = proptest::sample::subsequence(vec![0, 1, 2, 3, 4], 0..=5);
    let routes = proptest::sample::subsequence(vec![0, 1, 2, 3, 4], 0..=5);
    (addresses, routes, any::<bool>(), any::<bool>()).prop_map(|(addresses, routes, ipv6, neighbour)| {
        let lease = Some(Lifetime { valid_s: 900, preferred_s: 600 });
        let mut all = static_settings();
        all.addresses.extend([
            address("192.0.2.11", 24, lease),
            address("fe80::1:2", 64, None),
            address("2001:db8:1::1", 128, lease),
        ]);
        all.routes.extend([
            route(Some(("10.0.0.0", 8)), Some("192.0.2.1"), 100, 5),
            route(None, Some("fe80::1"), MAIN_TABLE, 512),
        ]);
        let usable = |ip: &std::net::IpAddr| ipv6 || ip.is_ipv4();
        Settings {
            addresses: addresses
                .iter()
                .map(|i| all.addresses[*i].clone())
                .filter(|a| usable(&a.ip))
                .collect(),
            routes: routes
                .iter()
                .map(|i| all.routes[*i].clone())
                .filter(|r| ipv6 || r.family == Family::Ipv4)
                .collect(),
            neighbours: if neighbour { all.neighbours } else { vec![] },
            sysctls: if ipv6 { all.sysctls } else { all.sysctls[..1].to_vec() },
            rules: vec![],
        }
    })
}

proptest! {
    #[test]
    fn undoing_any_part_of_a_bind_restores_the_host(settings in any_settings(), host in any::<bool>(), part in 0.0..=1.0) {
        let facts = facts(settings);
        let before = Simulated::of(&facts);
        let actions = plan_bind(&request(host.then_some("lan")), &facts).unwrap().actions;
        let part = (part * actions.len() as f64) as usize;
        let stopped = before.clone().run_all(&actions[..part]);
        prop_assert_eq!(stopped.clone().run_all(&undo_all(&actions[..part])).sorted(), before.sorted());
        prop_assert_eq!(stopped.run_all(&undo_all(&actions)).sorted(), before.sorted(), "undoing all of it");
    }

    #[test]
    fn a_bound_nic_is_empty_and_nothing_is_lost(settings in any_settings()) {
        let facts = facts(settings.clone());
        let actions = plan_bind(&request(Some("lan")), &facts).unwrap().actions;
        let bound = Simulated::of(&facts).run_all(&actions);
        let (nic, vnic) = (&bound.interfaces["eth0"], &bound.interfaces["lan"]);
        prop_assert!(nic.addresses.is_empty() && nic.neighbours.is_empty() && nic.detached && nic.forwarding);
        prop_assert!(!nic.flags["arp"] && nic.flags["promisc"] && nic.flags["up"]);
        prop_assert_eq!(&vnic.addresses, &settings.addresses);
        prop_assert_eq!(bound.routes.len(), settings.routes.len());
        prop_assert!(bound.routes.iter().all(|r| r.hops.iter().all(|h| h.dev == name("lan"))));
    }

    #[test]
    fn a_host_that_leaves_comes_back_with_everything(settings in any_settings()) {
        let (request, original) = (request(Some("lan")), facts(settings.clone()));
        let before = Simulated::of(&original);
        let bound = before.clone().run_all(&plan_bind(&request, &original).unwrap().actions);
        let now = with_vnic(&original, settings);
        let kept = kept(&request, &now, &original);
        let alone = bound.clone().run_all(&plan_remove_host(&request, &now).actions);
        prop_assert!(alone.routes.is_empty() && !alone.interfaces.contains_key("lan"));
        prop_assert!(alone.interfaces["eth0"] == bound.interfaces["eth0"], "the NIC is left alone");
        let again = alone.clone().run_all(&plan_add_host(&request, &original, &kept).unwrap());
        prop_assert_eq!(again.sorted(), bound.sorted());
        let without = BindRequest { host_vnic: None, ..request };
        let free = alone.run_all(&plan_give_back(&without, &original, &kept));
        prop_assert_eq!(free.sorted(), before.sorted());
    }

    #[test]
    fn an_address_is_always_somewhere(settings in any_settings()) {
        let facts = facts(settings.clone());
        let mut host = Simulated::of(&facts);
        for action in plan_bind(&request(Some("lan")), &facts).unwrap().actions {
            host.run(&action);
            for address in &settings.addresses {
                prop_assert!(host.interfaces.values().any(|i| i.addresses.contains(address)), "{action}");
            }
            let ways = |r: &&Route| host.routes.iter().any(|h| (h.dst, h.table) == (r.dst, r.table));
            prop_assert!(settings.routes.iter().all(|r| ways(&r)), "{action}");
        }
    }
}
