use super::*;
use model::{Attachment, STATE_VERSION, VhostRole, VhostUser};
use proptest::prelude::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn port(text: &str, attach: Attachment) -> PortConfig {
    PortConfig::new(name(text), attach)
}

fn switch(text: &str, kind: SwitchKind, ports: Vec<PortConfig>) -> SwitchConfig {
    SwitchConfig { ports: ports.into_iter().map(Into::into).collect(), ..SwitchConfig::new(name(text), kind) }
}

fn valid(switches: Vec<SwitchConfig>) -> DesiredState {
    let state = DesiredState { version: STATE_VERSION, switches };
    state.clone().validate().unwrap();
    state
}

fn tap(ifname: &str) -> Attachment {
    Attachment::Tap(ifname.parse().unwrap())
}

#[test]
fn removals_come_first_and_a_moved_attachment_is_removed_and_added() {
    let nic = || Attachment::Uplink("eth0".parse().unwrap());
    let old = valid(vec![
        switch("old", SwitchKind::Private, vec![port("a", tap("tap0"))]),
        switch("lan", SwitchKind::Internal, vec![port("b", tap("tap1")), port("c", tap("tap2"))]),
    ]);
    let mut c = port("c", tap("tap2"));
    c.guard = false;
    let mut lan = switch("lan", SwitchKind::External, vec![port("b", tap("tap0")), c, port("eth0", nic())]);
    lan.ageing_s = 60;
    let new = valid(vec![lan, switch("new", SwitchKind::Private, vec![port("a", tap("tap1"))])]);
    let wanted = [
        "remove port old/a",
        "remove switch old",
        "remove port lan/b",
        "convert switch lan from internal to external",
        "set switch lan to 65536 MAC table entries and 60 s of ageing",
        "add private switch new",
        "add tap port lan/b",
        "change the settings of port lan/c",
        "add uplink port lan/eth0",
        "add tap port new/a",
    ];
    let changes: Vec<_> = changes(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(changes, wanted);
}

#[test]
fn a_vhost_user_port_stays_where_only_its_role_changes() {
    let with = |socket: Option<&str>, role| {
        let attach = Attachment::VhostUser(VhostUser { socket: socket.map(Into::into), role });
        valid(vec![switch("lan", SwitchKind::Private, vec![port("vm1", attach)])])
    };
    let sentences = |old: &DesiredState, new: &DesiredState| -> Vec<_> {
        changes(old, new).iter().map(ToString::to_string).collect()
    };
    let old = with(None, VhostRole::Server);
    assert_eq!(sentences(&old, &with(None, VhostRole::Client)), ["change the settings of port lan/vm1"]);
    let moved = ["remove port lan/vm1", "add vhost-user port lan/vm1"];
    assert_eq!(sentences(&old, &with(Some("/run/vm1.sock"), VhostRole::Server)), moved);
}

fn any_port(index: usize) -> impl Strategy<Value = PortConfig> {
    (0..3_usize, any::<bool>()).prop_map(move |(place, guard)| {
        let mut port = port(&format!("p{index}"), Attachment::UnixStream(format!("/run/{index}/{place}")));
        port.guard = guard;
        port
    })
}

fn any_switch(index: usize) -> impl Strategy<Value = SwitchConfig> {
    let ports: Vec<_> = (0..4).map(|p| proptest::option::of(any_port(index * 10 + p))).collect();
    (ports, any::<bool>(), 1..4_u32).prop_map(move |(ports, private, ageing_s)| {
        let kind = if private { SwitchKind::Private } else { SwitchKind::Internal };
        let ports = ports.into_iter().flatten().collect();
        let multicast =
            MulticastConfig { snooping: ageing_s.is_multiple_of(2), ..MulticastConfig::default() };
        SwitchConfig { ageing_s, multicast, ..switch(&format!("s{index}"), kind, ports) }
    })
}

fn any_state() -> impl Strategy<Value = DesiredState> {
    let switches: Vec<_> = (0..3).map(|s| proptest::option::of(any_switch(s))).collect();
    switches.prop_map(|switches| valid(switches.into_iter().flatten().collect()))
}

/// The order of switches and ports has no meaning.
fn sorted(state: &DesiredState) -> DesiredState {
    let mut state = state.clone();
    state.switches.sort_by(|a, b| a.name.cmp(&b.name));
    state.switches.iter_mut().for_each(|s| s.ports.sort_by(|a, b| a.name.cmp(&b.name)));
    state
}

proptest! {
    #[test]
    fn applying_the_changes_to_the_old_state_gives_the_new_one(old in any_state(), new in any_state()) {
        let mut state = old.clone();
        let changes = changes(&old, &new);
        changes.iter().for_each(|c| c.apply(&mut state));
        prop_assert_eq!(sorted(&state), sorted(&new));
        let is_removal = |c: &Change| matches!(c, Change::RemovePort { .. } | Change::RemoveSwitch { .. });
        let first_other = changes.iter().position(|c| !is_removal(c)).unwrap_or(changes.len());
        prop_assert!(!changes[first_other..].iter().any(is_removal));
    }

    #[test]
    fn nothing_changes_between_equal_states(state in any_state()) {
        prop_assert_eq!(changes(&state, &state), vec![]);
    }
}
