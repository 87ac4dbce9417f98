//! The take-over on real interfaces: a veth as the NIC, a TAP as the host vNIC.

mod host;

use control::action::undo_all;
use control::journal::{Journal, Now, Outcome, Phase, recover};
use control::takeover::{BindRequest, Plan, plan_bind, plan_give_back, plan_rejoin};
use host::{Host, in_namespace, name};

const BOOT: &str = "this boot";

fn request(host_vnic: Option<&str>) -> BindRequest {
    BindRequest {
        switch: "lan".parse().expect("a good name"),
        nic: name("nic0"),
        host_vnic: host_vnic.map(name),
        mtu: None,
        taken: Default::default(),
    }
}

/// A NIC with everything that a take-over has to carry over.
fn busy_nic(host: &Host) {
    host.sysctl("default", "ipv6/conf/IF/disable_ipv6", "1");
    for pair in ["nic0 type veth peer name far", "other type veth peer name far2"] {
        host.ip(&format!("link add {pair}"));
    }
    host.sysctl("nic0", "ipv6/conf/IF/disable_ipv6", "0");
    host.sysctl("nic0", "ipv6/conf/IF/accept_dad", "0");
    host.sysctl("nic0", "ipv6/conf/IF/accept_ra", "0");
    for dev in ["nic0", "far", "other", "far2"] {
        host.ip(&format!("link set {dev} up"));
    }
    host.ip("addr add 172.16.0.9/24 dev other");
    for address in ADDRESSES {
        host.ip(&format!("addr add {address} dev nic0"));
    }
    for neighbour in [
        "192.0.2.1 lladdr 02:00:00:00:00:01 nud permanent",
        "2001:db8:1::1 lladdr 02:00:00:00:00:02 nud permanent router",
        "proxy 192.0.2.99",
        "proxy 2001:db8:1::99",
    ] {
        host.ip(&format!("neigh add {neighbour} dev nic0"));
    }
    for route in ROUTES {
        host.ip(&format!("route add {route}"));
    }
    for route in ROUTES_6 {
        host.ip(&format!("-6 route add {route}"));
    }
    for (key, value) in [
        ("ipv4/conf/IF/rp_filter", "2"),
        ("ipv4/conf/IF/arp_ignore", "1"),
        ("ipv6/conf/IF/use_tempaddr", "0"),
        ("ipv6/conf/IF/accept_ra", "2"),
    ] {
        host.sysctl("nic0", key, value);
    }
}

const ADDRESSES: [&str; 7] = [
    "192.0.2.10/24 brd +",
    "192.0.2.11/24 brd + label nic0:1",
    "10.1.0.1 peer 10.1.0.2/32",
    "198.51.100.7/24 valid_lft 5000 preferred_lft 3000 metric 77",
    "2001:db8:1::10/64",
    "2001:db8:2::10/64 valid_lft 5000 preferred_lft 3000 noprefixroute",
    "2001:db8:3::10/128 nodad",
];

const ROUTES: [&str; 9] = [
    "default via 192.0.2.1 dev nic0 metric 100 proto dhcp src 192.0.2.10",
    "default via 192.0.2.254 dev nic0 metric 200",
    "203.0.113.0/24 via 192.0.2.1 dev nic0 table 100",
    "203.0.113.0/25 via 192.0.2.2 dev nic0 table 1000 src 192.0.2.11",
    "10.9.0.0/16 dev nic0 mtu 1400 advmss 1300 initcwnd 20",
    "10.10.0.0/16 via 10.99.99.1 dev nic0 onlink",
    "10.11.0.0/16 nexthop via 192.0.2.1 dev nic0 weight 2 nexthop via 172.16.0.1 dev other weight 1",
    "10.12.0.0/16 via inet6 2001:db8:1::1 dev nic0",
    "local 10.13.0.0/16 dev nic0 table 100",
];

const ROUTES_6: [&str; 6] = [
    "default via fe80::1 dev nic0 metric 512 proto static",
    "2001:db8:9::/48 via 2001:db8:1::1 dev nic0 table 200 metric 42",
    "2001:db8:a::/48 via 2001:db8:1::1 dev nic0 expires 5000",
    "2001:db8:b::/48 dev nic0 mtu 1400 pref high",
    "2001:db8:c::/48 nexthop via 2001:db8:1::1 dev nic0 nexthop via 2001:db8:1::2 dev nic0",
    "2001:db8:2::/64 dev nic0 metric 300",
];

fn plan(host: &mut Host, request: &BindRequest) -> (control::facts::Facts, Plan) {
    let facts = host.facts(&["nic0"]);
    let plan = plan_bind(request, &facts).expect("the NIC can be bound");
    (facts, plan)
}

fn assert_silent(host: &mut Host) {
    assert_eq!(host.state("nic0"), Vec::<String>::new());
    let flags = host.flags("nic0");
    assert!(flags.contains("PROMISC") && flags.contains("NOARP") && flags.contains("\"UP\""), "{flags}");
    assert!(host.netlink.is_ingress_detached(&name("nic0")).expect("filters"));
}

fn assert_free(host: &mut Host, before: &[String], flags: &str, after: &str) {
    assert_eq!(host.state("nic0"), before, "{after}");
    assert_eq!(host.flags("nic0"), flags, "{after}");
    assert!(!host.netlink.is_ingress_detached(&name("nic0")).expect("filters"), "{after}");
    assert!(host.json("link show").iter().all(|l| l["ifname"] != "lan"), "{after}");
    assert_eq!(host.run("tc", &["qdisc", "show", "dev", "nic0", "clsact"]), "", "{after}");
}

#[test]
fn root_everything_moves_to_the_host_vnic_and_back() {
    in_namespace(|host| {
        busy_nic(host);
        let (before, flags) = (host.state("nic0"), host.flags("nic0"));
        assert!(before.len() > 25, "{before:#?}");
        let request = request(Some("lan"));
        let (original, plan) = plan(host, &request);
        host.apply(&plan.actions);
        assert_eq!(host.state("lan"), before, "on the host vNIC");
        assert_silent(host);
        let now = host.facts(&["nic0", "lan"]);
        assert_eq!(now.settings[&name("lan")].sysctls, original.settings[&name("nic0")].sysctls);
        host.apply(&plan_give_back(&request, &now, &original));
        assert_free(host, &before, &flags, "after the give-back");
        let after = host.facts(&["nic0"]);
        assert_eq!(after.settings[&name("nic0")].sysctls, original.settings[&name("nic0")].sysctls);
    });
}

#[test]
fn root_what_changed_on_the_host_vnic_comes_back_changed() {
    in_namespace(|host| {
        busy_nic(host);
        let request = request(Some("lan"));
        let (original, plan) = plan(host, &request);
        host.apply(&plan.actions);
        host.ip("addr add 192.0.2.77/24 dev lan");
        host.ip("addr del 2001:db8:1::10/64 dev lan");
        host.ip("route add 10.77.0.0/16 via 192.0.2.1 dev lan");
        // The routes through 2001:db8:1::1 have lost the prefix they were added with; they must come along all the same.
        let routes =
            |state: Vec<String>| state.iter().map(|l| l.replace("\"onlink\"", "")).collect::<Vec<_>>();
        let changed = routes(host.state("lan"));
        let now = host.facts(&["nic0", "lan"]);
        host.apply(&plan_give_back(&request, &now, &original));
        assert_eq!(routes(host.state("nic0")), changed);
    });
}

#[test]
fn root_a_route_that_outlived_the_source_it_suggests_moves_without_it() {
    in_namespace(|host| {
        busy_nic(host);
        host.ip("addr add 192.0.2.50/24 dev nic0");
        let stale =
            ["203.0.113.64/26 dev nic0 table 300", "203.0.113.128/26 via 192.0.2.1 dev nic0 table 300"];
        stale.iter().for_each(|route| drop(host.ip(&format!("route add {route} src 192.0.2.50"))));
        host.ip("addr del 192.0.2.50/24 dev nic0");
        let before = host.state("nic0");
        let of_stale = |line: &String| line.contains("192.0.2.50");
        assert_eq!(before.iter().filter(|line| of_stale(line)).count(), 2, "{before:#?}");
        let request = request(Some("lan"));
        let (original, plan) = plan(host, &request);
        host.apply(&plan.actions);
        let now = host.facts(&["nic0", "lan"]);
        host.apply(&plan_give_back(&request, &now, &original));
        let after = host.state("nic0");
        assert_eq!(
            after.iter().filter(|line| line.contains("203.0.113.") && line.contains("300")).count(),
            2
        );
        let others = |state: &[String]| -> Vec<String> {
            state.iter().filter(|line| !line.contains("\"300\"")).cloned().collect()
        };
        assert_eq!((others(&after), after.iter().any(of_stale)), (others(&before), false));
    });
}

#[test]
fn root_without_a_host_vnic_the_settings_are_remembered() {
    in_namespace(|host| {
        busy_nic(host);
        let (before, flags) = (host.state("nic0"), host.flags("nic0"));
        let request = request(None);
        let (original, plan) = plan(host, &request);
        host.apply(&plan.actions);
        assert_silent(host);
        let now = host.facts(&["nic0"]);
        host.apply(&plan_give_back(&request, &now, &original));
        assert_free(host, &before, &flags, "after the give-back");
    });
}

#[test]
fn root_every_step_can_be_run_again() {
    in_namespace(|host| {
        busy_nic(host);
        let (before, flags) = (host.state("nic0"), host.flags("nic0"));
        let (_, plan) = plan(host, &request(Some("lan")));
        for action in &plan.actions {
            host.apply(&[action.clone(), action.clone()]);
        }
        assert_eq!(host.state("lan"), before);
        for action in undo_all(&plan.actions) {
            host.apply(&[action.clone(), action]);
        }
        assert_free(host, &before, &flags, "after undoing each step twice");
    });
}

/// As the daemon finds it after a crash: through the file on disk.
fn reread(journal: &Journal) -> Journal {
    serde_json::from_str(&serde_json::to_string(journal).expect("written")).expect("read")
}

fn recover_from(host: &mut Host, journal: &Journal, wanted: Outcome) {
    let facts = host.facts(&["nic0", "lan"]);
    let recovery = recover(&reread(journal), &Now { boot_id: BOOT, time_s: 1000, facts: &facts });
    assert_eq!(recovery.outcome, wanted);
    host.apply(&recovery.actions);
}

#[test]
fn root_a_bind_killed_at_any_step_is_undone() {
    in_namespace(|host| {
        busy_nic(host);
        let (before, flags) = (host.state("nic0"), host.flags("nic0"));
        let request = request(Some("lan"));
        let steps = plan(host, &request).1.actions.len();
        for killed_at in 0..=steps {
            let (original, plan) = plan(host, &request);
            let journal = Journal::begin(request.clone(), original, plan.actions.clone(), BOOT.into(), 1000);
            host.apply(&plan.actions[..killed_at]);
            recover_from(host, &journal, Outcome::Free);
            assert_free(host, &before, &flags, &format!("killed at step {killed_at} of {steps}"));
        }
    });
}

#[test]
fn root_a_give_back_killed_at_any_step_is_completed() {
    in_namespace(|host| {
        busy_nic(host);
        let (before, flags) = (host.state("nic0"), host.flags("nic0"));
        let request = request(Some("lan"));
        for killed_at in 0.. {
            let (original, plan) = plan(host, &request);
            let mut journal =
                Journal::begin(request.clone(), original, plan.actions.clone(), BOOT.into(), 1000);
            host.apply(&plan.actions);
            let facts = host.facts(&["nic0", "lan"]);
            let actions = journal.give_back(&facts, 1000);
            if killed_at > actions.len() {
                return;
            }
            host.apply(&actions[..killed_at]);
            journal.phase = Phase::GivingBack { actions, since_s: 1000 };
            recover_from(host, &journal, Outcome::Free);
            assert_free(host, &before, &flags, &format!("killed at step {killed_at}"));
        }
    });
}

#[test]
fn root_a_bound_nic_stays_bound_through_a_restart_and_without_its_host_vnic() {
    in_namespace(|host| {
        busy_nic(host);
        let before = host.state("nic0");
        let request = request(Some("lan"));
        let (original, plan) = plan(host, &request);
        let mut journal = Journal::begin(request, original, plan.actions.clone(), BOOT.into(), 1000);
        journal.phase = Phase::Bound;
        host.apply(&plan.actions);
        recover_from(host, &journal, Outcome::Bound);
        assert_eq!(host.state("lan"), before);
        assert_silent(host);
        host.ip("link del lan");
        recover_from(host, &journal, Outcome::Bound);
        assert_eq!(host.state("lan"), before);
        assert_silent(host);
    });
}

#[test]
fn root_a_nic_that_comes_back_is_taken_again() {
    in_namespace(|host| {
        busy_nic(host);
        let (_, plan) = plan(host, &request(Some("lan")));
        host.apply(&plan.actions);
        let before = host.state("lan");
        host.ip("link del nic0");
        host.ip("link add nic0 type veth peer name far");
        host.sysctl("nic0", "ipv6/conf/IF/disable_ipv6", "0");
        host.ip("link set far up");
        host.ip("link set nic0 up");
        host.ip("addr add 192.0.2.10/24 dev nic0");
        let facts = host.facts(&["nic0"]);
        host.apply(&plan_rejoin(&name("nic0"), &facts));
        assert_silent(host);
        assert_eq!(host.state("lan"), before);
    });
}
