use super::*;
use model::{
    VhostUser,
    policy::multicast::{ChangeMulticast, MulticastConfig},
};

fn name<T: std::str::FromStr<Err = NameError>>(text: &str) -> T {
    text.parse().unwrap()
}

fn new(kind: SwitchKind, uplinks: &[&str]) -> NewSwitch {
    NewSwitch::new(name("lan"), kind, uplinks.iter().map(|nic| name(nic)).collect())
}

fn made(kind: SwitchKind, uplinks: &[&str]) -> ValidState {
    Editor::new(&ValidState::default(), 1).add_switch(new(kind, uplinks)).unwrap()
}

fn ports(state: &ValidState) -> Vec<&str> {
    state.switch("lan").unwrap().ports.iter().map(|p| p.name.as_str()).collect()
}

fn host(state: &ValidState) -> &PortConfig {
    state.switch("lan").unwrap().port(HOST_PORT).unwrap()
}

#[test]
fn an_external_switch_has_the_nic_and_a_host_vnic_that_takes_its_mac() {
    let state = made(SwitchKind::External, &["eth0"]);
    assert_eq!(ports(&state), ["eth0", "host"]);
    assert_eq!((host(&state).mac, &host(&state).attach), (None, &Attachment::Host(name("lan"))));
}

#[test]
fn no_host_leaves_the_host_out() {
    let request = NewSwitch { host: Some(false), ..new(SwitchKind::External, &["eth0"]) };
    assert_eq!(ports(&Editor::new(&ValidState::default(), 1).add_switch(request).unwrap()), ["eth0"]);
}

#[test]
fn a_vhost_user_port_is_moved_to_another_socket_or_role_and_others_have_none() {
    let state = made(SwitchKind::Private, &[]);
    let vhost = PortConfig::new(name("vm1"), Attachment::VhostUser(VhostUser::default()));
    let state = Editor::new(&state, 1).add_port("lan", vhost).unwrap();
    let tap = PortConfig::new(name("vm2"), Attachment::Tap(name("tap2")));
    let state = Editor::new(&state, 1).add_port("lan", tap).unwrap();
    let client = ChangePort { vhost_role: Some(VhostRole::Client), ..Default::default() };
    let path = ChangePort { vhost_socket: Some("/run/vm1.sock".into()), ..Default::default() };
    let refused = Editor::new(&state, 1).change_port("lan", "vm2", client.clone());
    assert_eq!(refused, Err(EditError::NotVhostUser(name("vm2"))));
    let state = Editor::new(&state, 1).change_port("lan", "vm1", client).unwrap();
    let state = Editor::new(&state, 1).change_port("lan", "vm1", path).unwrap();
    let wanted = VhostUser { socket: Some("/run/vm1.sock".into()), role: VhostRole::Client };
    assert_eq!(state.switch("lan").unwrap().port("vm1").unwrap().attach, Attachment::VhostUser(wanted));
}

#[test]
fn an_internal_switch_has_a_host_vnic_with_a_mac_of_the_pool_and_a_private_one_has_none() {
    let state = made(SwitchKind::Internal, &[]);
    assert!(host(&state).mac.is_some_and(|mac| mac.is_valid_source()));
    assert_eq!(ports(&made(SwitchKind::Private, &[])), [""; 0]);
}

#[test]
fn a_name_too_long_for_an_interface_is_refused_with_advice() {
    let request = NewSwitch { name: name("sixteen-letters-"), ..new(SwitchKind::Internal, &[]) };
    let message = Editor::new(&ValidState::default(), 1).add_switch(request).unwrap_err().to_string();
    assert!(message.contains("--host-ifname"), "{message}");
}

#[test]
fn a_switch_converts_between_the_three_kinds() {
    let convert = |state: &ValidState, kind, nics: &[&str]| {
        let uplinks = nics.iter().map(|nic| name(nic)).collect();
        let change = ChangeSwitch { kind: Some(kind), uplinks, ..Default::default() };
        Editor::new(state, 2).change_switch("lan", &change).unwrap()
    };
    let private = made(SwitchKind::Private, &[]);
    let internal = convert(&private, SwitchKind::Internal, &[]);
    assert_eq!(ports(&internal), ["host"]);
    let external = convert(&internal, SwitchKind::External, &["eth0"]);
    assert_eq!((ports(&external), host(&external).mac), (vec!["eth0", "host"], None));
    let back = convert(&external, SwitchKind::Internal, &[]);
    assert_eq!(ports(&back), ["host"]);
    assert!(host(&back).mac.is_some());
    assert_eq!(ports(&convert(&back, SwitchKind::Private, &[])), [""; 0]);
}

#[test]
fn naming_a_nic_makes_a_switch_external() {
    let change = ChangeSwitch { uplinks: vec![name("eth1")], ..Default::default() };
    let state = Editor::new(&made(SwitchKind::Private, &[]), 1).change_switch("lan", &change).unwrap();
    assert_eq!(
        (state.switch("lan").unwrap().kind, ports(&state)),
        (SwitchKind::External, vec!["eth1", "host"])
    );
}

#[test]
fn host_vnics_go_and_come_by_request() {
    let set = |state: &ValidState, host| {
        let change = ChangeSwitch { host: Some(host), ..Default::default() };
        Editor::new(state, 3).change_switch("lan", &change).unwrap()
    };
    let without = set(&made(SwitchKind::External, &["eth0"]), false);
    assert_eq!(ports(&without), ["eth0"]);
    assert_eq!(ports(&set(&without, true)), ["eth0", "host"]);
}

#[test]
fn ports_come_change_and_go() {
    let tap = |port: &str| PortConfig::new(name(port), Attachment::Tap(name(port)));
    let state = Editor::new(&made(SwitchKind::Private, &[]), 1).add_port("lan", tap("a")).unwrap();
    let state = Editor::new(&state, 1).add_port("lan", tap("b")).unwrap();
    let macs: BTreeSet<_> = state.switch("lan").unwrap().ports.iter().map(|p| p.mac).collect();
    assert_eq!(macs.len(), 2, "the same seed must not give the same address twice");
    let open = ChangePort { guard: Some(false), ..Default::default() };
    let state = Editor::new(&state, 1).change_port("lan", "a", open).unwrap();
    assert!(!state.switch("lan").unwrap().port("a").unwrap().guard);
    let guards = ChangePort { dhcp_guard: Some(true), router_guard: Some(true), ..Default::default() };
    let state = Editor::new(&state, 1).change_port("lan", "a", guards).unwrap();
    let state = Editor::new(&state, 1).change_port("lan", "a", ChangePort::default()).unwrap();
    let port = state.switch("lan").unwrap().port("a").unwrap();
    assert!(port.dhcp_guard && port.router_guard && !port.guard, "what is not named stays");
    let state = Editor::new(&state, 1).remove_port("lan", "a").unwrap();
    assert_eq!(ports(&state), ["b"]);
}

#[test]
fn a_change_of_one_port_copies_no_other() {
    let tap = |port: &str| PortConfig::new(name(port), Attachment::Tap(name(port)));
    let add = |state: ValidState, port| Editor::new(&state, 1).add_port("lan", tap(port)).unwrap();
    let state = ["a", "b", "c"].into_iter().fold(made(SwitchKind::Private, &[]), add);
    let open = ChangePort { guard: Some(false), ..Default::default() };
    let next = Editor::new(&state, 1).change_port("lan", "b", open).unwrap();
    let pairs = state.switch("lan").unwrap().ports.iter().zip(&next.switch("lan").unwrap().ports);
    let shared: Vec<_> = pairs.map(|(former, now)| Arc::ptr_eq(former, now)).collect();
    assert_eq!(shared, [true, false, true]);
}

#[test]
fn of_what_a_switch_does_with_multicast_only_what_is_named_changes() {
    let lan = made(SwitchKind::Internal, &[]);
    let multicast =
        ChangeMulticast { snooping: Some(true), query_interval_s: Some(60), ..Default::default() };
    let change = ChangeSwitch { multicast, ..Default::default() };
    let next = Editor::new(&lan, 1).change_switch("lan", &change).unwrap();
    let expected = MulticastConfig { snooping: true, query_interval_s: 60, ..MulticastConfig::default() };
    assert_eq!(next.switch("lan").unwrap().multicast, expected);
    let multicast = ChangeMulticast { query_response_s: Some(60), ..Default::default() };
    let change = ChangeSwitch { multicast, ..Default::default() };
    let error = Editor::new(&next, 1).change_switch("lan", &change).unwrap_err().to_string();
    assert!(error.contains("hosts get 1 to 25 s to answer"), "{error}");
}

#[test]
fn what_is_not_there_or_there_already_is_refused() {
    let state = made(SwitchKind::External, &["eth0"]);
    let edit = || Editor::new(&state, 1);
    let tap = PortConfig::new(name("host"), Attachment::Tap(name("t")));
    assert!(matches!(edit().remove_switch("x"), Err(EditError::NoSwitch(_))));
    assert!(matches!(edit().add_switch(new(SwitchKind::Private, &[])), Err(EditError::SwitchExists(_))));
    assert!(matches!(edit().add_port("lan", tap), Err(EditError::PortExists { .. })));
    assert!(matches!(edit().remove_port("lan", "x"), Err(EditError::NoPort { .. })));
    assert!(matches!(edit().remove_port("lan", "eth0"), Err(EditError::UplinkIsTheSwitchs(_))));
    let guard = ChangePort { dhcp_guard: Some(true), ..Default::default() };
    assert!(matches!(edit().change_port("lan", "eth0", guard), Err(EditError::Invalid(_))));
    let mac = ChangePort { mac: Some(MacAddr([2, 0, 0, 0, 0, 9])), ..Default::default() };
    assert!(matches!(edit().change_port("lan", "host", mac), Err(EditError::MacIsTheNics(_))));
}

#[test]
fn a_replaced_state_keeps_the_macs_that_it_leaves_open() {
    let tap = |name: &str| PortConfig::new(self::name(name), Attachment::Tap(self::name(name)));
    let first = Editor::new(&made(SwitchKind::Private, &[]), 1).add_port("lan", tap("vm1")).unwrap();
    let mac = first.switch("lan").unwrap().port("vm1").unwrap().mac;
    let mut open = first.desired().clone();
    Arc::make_mut(&mut open.switches[0].ports[0]).mac = None;
    assert_eq!(Editor::new(&first, 7).replace(open.clone()).unwrap(), first);
    // One that was given to another port meanwhile is not kept.
    open.switches[0].ports.push(PortConfig { mac, ..tap("vm2") }.into());
    let moved = Editor::new(&first, 7).replace(open).unwrap();
    let mac_of = |port| moved.switch("lan").unwrap().port(port).unwrap().mac;
    assert!(mac_of("vm1").is_some_and(|other| Some(other) != mac) && mac_of("vm2") == mac);
}

#[test]
fn io_is_chosen_for_the_uplink_and_stays_with_its_nic() {
    let io = |state: &ValidState| state.switch("lan").unwrap().port("eth0").map(|p| p.io);
    let set = |state: &ValidState, change| Editor::new(state, 1).change_switch("lan", &change).unwrap();
    let request = NewSwitch { io: Some(IoChoice::AfXdp), ..new(SwitchKind::External, &["eth0"]) };
    let made = Editor::new(&ValidState::default(), 1).add_switch(request).unwrap();
    assert_eq!(io(&made), Some(IoChoice::AfXdp));
    let again = ChangeSwitch { uplinks: vec![name("eth0")], ..Default::default() };
    assert_eq!(io(&set(&made, again)), Some(IoChoice::AfXdp));
    let other = ChangeSwitch { uplinks: vec![name("eth1")], ..Default::default() };
    let moved = set(&made, other);
    assert_eq!(moved.switch("lan").unwrap().port("eth1").unwrap().io, IoChoice::Auto);
    let packet = ChangeSwitch { io: Some(IoChoice::AfPacket), ..Default::default() };
    assert_eq!(io(&set(&made, packet)), Some(IoChoice::AfPacket));
    let port = ChangePort { io: Some(IoChoice::Auto), ..Default::default() };
    assert_eq!(io(&Editor::new(&made, 1).change_port("lan", "eth0", port).unwrap()), Some(IoChoice::Auto));
}

#[test]
fn the_uplinks_policies_stay_when_its_nic_is_named_again_or_another_one_takes_its_place() {
    let request = new(SwitchKind::External, &["eth0"]);
    let made = Editor::new(&ValidState::default(), 1).add_switch(request).unwrap();
    let policies = ChangePort { vlan: Some("trunk=10,20".parse().unwrap()), mtu: None, ..Default::default() };
    let made = Editor::new(&made, 1).change_port("lan", "eth0", policies).unwrap();
    let vlan = |state: &ValidState, port: &str| state.switch("lan").unwrap().port(port).unwrap().vlan();
    let chosen = vlan(&made, "eth0");
    for nic in ["eth0", "eth1"] {
        let change = ChangeSwitch { uplinks: vec![name(nic)], ageing_s: Some(600), ..Default::default() };
        let changed = Editor::new(&made, 1).change_switch("lan", &change).unwrap();
        assert_eq!(vlan(&changed, nic), chosen, "{nic}");
    }
}

#[test]
fn io_is_refused_where_there_is_no_choice_of_it() {
    let lab = NewSwitch { io: Some(IoChoice::AfXdp), ..new(SwitchKind::Internal, &[]) };
    let refused = Editor::new(&ValidState::default(), 1).add_switch(lab).unwrap_err();
    assert_eq!(refused, EditError::NoUplinkForIo(name("lan")));
    let made =
        Editor::new(&ValidState::default(), 1).add_switch(new(SwitchKind::External, &["eth0"])).unwrap();
    let io = ChangePort { io: Some(IoChoice::AfPacket), ..Default::default() };
    let refused = Editor::new(&made, 1).change_port("lan", "host", io).unwrap_err();
    assert!(matches!(refused, EditError::Invalid(Invalid::NoIoChoice { .. })), "{refused}");
}
