use super::*;
use crate::VhostUser;
use alloc::{string::ToString, vec, vec::Vec};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}
fn ifname(text: &str) -> IfName {
    text.parse().unwrap()
}
fn tap(port: &str) -> PortConfig {
    PortConfig::new(name(port), Attachment::Tap(ifname(port)))
}
fn switch(kind: SwitchKind, ports: Vec<PortConfig>) -> SwitchConfig {
    SwitchConfig {
        ports: ports.into_iter().map(Into::into).collect(),
        ..SwitchConfig::new(name("lan"), kind)
    }
}
fn uplink(nic: &str) -> PortConfig {
    PortConfig::new(name(nic), Attachment::Uplink(ifname(nic)))
}
fn host(interface: &str) -> PortConfig {
    PortConfig::new(name("host"), Attachment::Host(ifname(interface)))
}
/// The outcome, which is the same whatever of the state was valid before.
fn check(switches: Vec<SwitchConfig>) -> Result<ValidState, Invalid> {
    let state = DesiredState { switches, ..Default::default() };
    let outcome = state.clone().validate();
    for former in formers(&state) {
        assert_eq!(state.clone().validate_after(&former), outcome, "after {former:#?}");
    }
    outcome
}
/// Valid states without one of the ports, and with another one in its place.
fn formers(state: &DesiredState) -> Vec<ValidState> {
    let mut formers = Vec::new();
    for (number, switch) in state.switches.iter().enumerate() {
        for (at, port) in switch.ports.iter().enumerate() {
            let (mut without, mut other) = (state.clone(), state.clone());
            without.switches[number].ports.remove(at);
            let place = Attachment::UnixDgram("/run/another".into());
            other.switches[number].ports[at] = PortConfig::new(port.name.clone(), place).into();
            formers.extend([without, other].into_iter().filter_map(|state| state.validate().ok()));
        }
    }
    formers
}
fn refused(switches: Vec<SwitchConfig>, part: &str) {
    let message = check(switches).unwrap_err().to_string();
    assert!(message.contains(part), "{message}");
}

#[test]
fn a_whole_external_switch_is_valid() {
    assert!(check(vec![switch(SwitchKind::External, vec![uplink("eth0"), host("lan"), tap("vm1")])]).is_ok());
}

#[test]
fn an_unknown_version_is_refused() {
    assert_eq!(DesiredState { version: 2, switches: vec![] }.validate(), Err(Invalid::Version(2)));
}

#[test]
fn duplicates_are_refused() {
    refused(vec![switch(SwitchKind::Private, vec![]), switch(SwitchKind::Private, vec![])], "two switches");
    refused(vec![switch(SwitchKind::Private, vec![tap("a"), tap("a")])], "two ports named 'a'");
    let own = MacAddr([2, 0, 0, 0, 0, 1]);
    let mac = Some(own);
    let ports = vec![PortConfig { mac, ..tap("a") }, PortConfig { mac, ..tap("b") }];
    refused(vec![switch(SwitchKind::Private, ports)], "port 'a' and to port 'b'");
    let allowed = PortConfig { allow_macs: vec![own], ..tap("b") };
    refused(
        vec![switch(SwitchKind::Private, vec![PortConfig { mac, ..tap("a") }, allowed])],
        "unique on a switch",
    );
    let other = PortConfig { name: name("b"), ..tap("a") };
    refused(vec![switch(SwitchKind::Private, vec![tap("a"), other])], "lan/a and by lan/b");
}

#[test]
fn a_switch_type_says_which_ports_it_has() {
    refused(vec![switch(SwitchKind::External, vec![tap("a")])], "has no uplink");
    refused(vec![switch(SwitchKind::External, vec![uplink("e0"), uplink("e1")])], "teams");
    refused(vec![switch(SwitchKind::Internal, vec![uplink("e0")])], "only an external switch");
    refused(vec![switch(SwitchKind::Private, vec![host("lan")])], "make it internal");
}

#[test]
fn a_switch_is_no_uplink() {
    let other = SwitchConfig { name: name("wan"), ..switch(SwitchKind::External, vec![uplink("lan")]) };
    refused(vec![switch(SwitchKind::Internal, vec![host("lan")]), other], "a switch is no uplink");
}

#[test]
fn addresses_that_no_vnic_can_have_are_refused() {
    let with = |mac| vec![switch(SwitchKind::Private, vec![PortConfig { mac: Some(mac), ..tap("a") }])];
    refused(with(MacAddr([1, 0, 0, 0, 0, 1])), "multicast");
    refused(with(MacAddr::default()), "zero");
}

#[test]
fn numbers_out_of_range_are_refused() {
    let one = |port| vec![switch(SwitchKind::Private, vec![port])];
    refused(one(PortConfig { mtu: Some(67), ..tap("a") }), "MTU 67 on 'a' is out of range: 68 to 65521");
    refused(one(PortConfig { queues: Some(0), ..tap("a") }), "queues");
    refused(
        vec![SwitchConfig { mac_table_size: 15, ..switch(SwitchKind::Private, vec![]) }],
        "MAC table size 15",
    );
    refused(vec![SwitchConfig { ageing_s: 0, ..switch(SwitchKind::Private, vec![]) }], "ageing");
}

#[test]
fn an_uplink_has_no_policies_of_a_vnic() {
    let with = |port| vec![switch(SwitchKind::External, vec![port])];
    refused(with(PortConfig { guard: true, ..uplink("e0") }), "no guard");
    refused(with(PortConfig { mtu: Some(1500), ..uplink("e0") }), "no MTU");
    refused(with(PortConfig { dhcp_guard: true, ..uplink("e0") }), "no DHCP guard: servers");
    refused(with(PortConfig { router_guard: true, ..uplink("e0") }), "no router guard: servers");
}

fn vhost(port: &str, socket: Option<&str>) -> PortConfig {
    let socket = socket.map(Into::into);
    PortConfig::new(name(port), Attachment::VhostUser(VhostUser { socket, ..VhostUser::default() }))
}

#[test]
fn socket_paths_are_absolute_and_fit() {
    let stream = |path: &str| PortConfig::new(name("a"), Attachment::UnixStream(path.into()));
    let vhost = |path: &str| vhost("a", Some(path));
    for port in [&stream as &dyn Fn(&str) -> PortConfig, &vhost] {
        let with = |path: &str| vec![switch(SwitchKind::Private, vec![port(path)])];
        refused(with("relative"), "no path of a socket");
        refused(with(&alloc::format!("/{}", "x".repeat(107))), "no path of a socket");
        assert!(check(with("/run/vm.sock")).is_ok());
    }
}

#[test]
fn a_socket_is_one_ports() {
    let stream = PortConfig::new(name("b"), Attachment::UnixStream("/run/a.sock".into()));
    let both = |a, b| vec![switch(SwitchKind::Private, vec![a, b])];
    refused(
        both(vhost("a", Some("/run/a.sock")), stream.clone()),
        "'/run/a.sock' is used by lan/a and by lan/b",
    );
    assert!(check(both(vhost("a", None), vhost("b", None))).is_ok());
}

#[test]
fn a_vhost_user_port_offers_all_queues_unless_told_otherwise() {
    assert_eq!((vhost("a", None).queues(), tap("a").queues()), (16, 1));
    let few = PortConfig { queues: Some(2), ..vhost("a", None) };
    assert_eq!(few.queues(), 2);
    refused(
        vec![switch(SwitchKind::Private, vec![PortConfig { queues: Some(17), ..few }])],
        "number of queues 17",
    );
}
