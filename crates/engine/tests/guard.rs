//! Guards that let more in than the port's own addresses: VRRP, learning N, teams.

use engine::{
    EngineEvent, Flood, FrameIn, GuardAlso, Millis, PortIndex, PortPolicy, Roamed, Role, Snapshot, Step,
    Switch, TableConfig, Verdict, Verdicts, Vlan,
};
use model::{DropReason, MacKind};
use std::sync::Arc;
use wire::MacAddr;

const UPLINK: PortIndex = PortIndex(0);
const A: PortIndex = PortIndex(1);
const B: PortIndex = PortIndex(2);
const OTHER: PortIndex = PortIndex(3);
const OPEN: PortIndex = PortIndex(4);
const AGEING: u64 = 300_000;

const fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

/// A port's own MAC has its number.
fn own(port: PortIndex) -> MacAddr {
    mac(port.0 as u8)
}

fn virtual_router(n: u8) -> MacAddr {
    MacAddr([0, 0, 0x5e, 0, 1, n])
}

fn vnic(port: PortIndex, guard_also: GuardAlso) -> (PortIndex, PortPolicy) {
    (port, PortPolicy { mac: Some(own(port)), guard_also, ..PortPolicy::new(Role::Vnic) })
}

/// Ports A and B with what their guards let in, one whose guard lets nothing in besides, one without guard, and the uplink.
fn ports(a: GuardAlso, b: GuardAlso) -> Vec<(PortIndex, PortPolicy)> {
    let (_, open) = vnic(OPEN, GuardAlso::default());
    let open = (OPEN, PortPolicy { guard: false, ..open });
    let uplink = (UPLINK, PortPolicy::new(Role::Uplink));
    vec![uplink, vnic(A, a), vnic(B, b), vnic(OTHER, GuardAlso::default()), open]
}

fn install(switch: &mut Switch, ports: &[(PortIndex, PortPolicy)], now: u64) {
    switch.install(Arc::new(Snapshot::new(ports.to_vec())), Millis(now));
}

fn switch(a: GuardAlso, b: GuardAlso) -> Switch {
    let mut switch = Switch::new(TableConfig::default(), [1, 2]);
    install(&mut switch, &ports(a, b), 0);
    switch
}

fn vrrp() -> GuardAlso {
    GuardAlso { vrrp: true, ..GuardAlso::default() }
}

fn learn(learn: u32) -> GuardAlso {
    GuardAlso { learn, ..GuardAlso::default() }
}

fn team(port: PortIndex) -> GuardAlso {
    GuardAlso { team_with: vec![port], ..GuardAlso::default() }
}

/// What becomes of one frame.
fn send(switch: &mut Switch, from: PortIndex, src: MacAddr, dst: MacAddr, now: u64) -> Verdict {
    let header = [&dst.0[..], &src.0, &[0x88, 0xb5]].concat();
    let mut out = Verdicts::default();
    switch.process(from, &[FrameIn { header: &header, len: 60 }], Millis(now), &mut out);
    out[0]
}

/// Whether a frame from that source comes in.
fn passes(switch: &mut Switch, from: PortIndex, src: MacAddr, now: u64) -> bool {
    match send(switch, from, src, MacAddr::BROADCAST, now) {
        Verdict::Flood(Flood::Group, _) => true,
        Verdict::Drop(DropReason::SpoofedMac) => false,
        other => panic!("{other:?}"),
    }
}

/// Where a frame from outside to that address goes.
fn place(switch: &mut Switch, dst: MacAddr) -> Option<PortIndex> {
    match send(switch, UPLINK, mac(200), dst, 0) {
        Verdict::Forward(port, _) => Some(port),
        Verdict::Flood(Flood::Unknown, _) | Verdict::Drop(DropReason::NoDestination) => None,
        other => panic!("{other:?}"),
    }
}

fn kind(switch: &Switch, mac: MacAddr) -> Option<MacKind> {
    switch.entries(Millis(0)).find(|entry| entry.mac == mac).map(|entry| entry.kind)
}

fn moved(mac: MacAddr, from: PortIndex, to: PortIndex) -> EngineEvent {
    EngineEvent::Moved { mac, from, to }
}

fn events(switch: &mut Switch) -> Vec<EngineEvent> {
    switch.take_events().collect()
}

#[test]
fn a_virtual_router_moves_to_who_sent_last() {
    let mut switch = switch(vrrp(), vrrp());
    let router = virtual_router(7);
    assert!(passes(&mut switch, A, router, 0));
    assert_eq!((place(&mut switch, router), kind(&switch, router)), (Some(A), Some(MacKind::Learned)));
    assert!(passes(&mut switch, B, router, 0));
    assert_eq!((place(&mut switch, router), events(&mut switch)), (Some(B), vec![moved(router, A, B)]));
    // One outside is a virtual router as well.
    send(&mut switch, UPLINK, router, MacAddr::BROADCAST, 0);
    assert_eq!(send(&mut switch, OTHER, own(OTHER), router, 0), Verdict::Forward(UPLINK, Vlan::NONE));
    assert!(passes(&mut switch, A, own(A), 0) && !passes(&mut switch, A, mac(99), 0));
}

#[test]
fn virtual_routers_are_let_in_from_no_other_port_and_age_like_what_is_learned() {
    let mut switch = switch(vrrp(), GuardAlso::default());
    let router = virtual_router(7);
    assert!(!passes(&mut switch, B, router, 0) && passes(&mut switch, A, router, 0));
    assert!(!passes(&mut switch, B, router, 0));
    switch.age(Millis(AGEING), 10);
    assert_eq!(place(&mut switch, router), None);
}

#[test]
fn a_virtual_router_that_belongs_to_a_port_is_that_ports() {
    let router = virtual_router(7);
    let mut switch = switch(vrrp(), GuardAlso::default());
    let mut with_static = ports(vrrp(), GuardAlso::default());
    with_static[2].1.allow_macs = vec![router];
    install(&mut switch, &with_static, 0);
    assert!(!passes(&mut switch, A, router, 0) && passes(&mut switch, B, router, 0));
    assert_eq!((place(&mut switch, router), kind(&switch, router)), (Some(B), Some(MacKind::Static)));
}

#[test]
fn a_port_holds_512_virtual_routers_at_most() {
    let mut switch = switch(vrrp(), GuardAlso::default());
    let router = |n: u16| MacAddr([0, 0, 0x5e, 0, 1 + (n >> 8) as u8, n as u8]);
    assert!((0..512).all(|n| passes(&mut switch, A, router(n), 0)));
    assert_eq!(switch.flush(Some(A), Millis(0)), 512);
}

#[test]
fn what_a_port_learned_without_guard_is_forgotten_when_only_virtual_routers_may_be_learned() {
    let mut switch = switch(GuardAlso::default(), GuardAlso::default());
    send(&mut switch, OPEN, mac(50), MacAddr::BROADCAST, 0);
    assert_eq!(place(&mut switch, mac(50)), Some(OPEN));
    let mut guarded = ports(GuardAlso::default(), GuardAlso::default());
    guarded[4] = vnic(OPEN, vrrp());
    install(&mut switch, &guarded, 0);
    assert_eq!(place(&mut switch, mac(50)), None);
}

#[test]
fn the_first_sources_are_bound_to_their_port_and_others_are_spoofed() {
    let mut switch = switch(learn(2), GuardAlso::default());
    assert!(
        passes(&mut switch, A, mac(50), 0)
            && passes(&mut switch, A, own(A), 0)
            && passes(&mut switch, A, mac(51), 0)
    );
    assert!(!passes(&mut switch, A, mac(52), 0) && passes(&mut switch, A, mac(50), 0));
    assert_eq!((place(&mut switch, mac(51)), kind(&switch, mac(51))), (Some(A), Some(MacKind::Bound)));
    assert!(passes(&mut switch, A, mac(51), 10 * AGEING) && !passes(&mut switch, A, mac(52), 10 * AGEING));
}

#[test]
fn what_is_bound_is_nobody_elses() {
    let mut switch = switch(learn(2), learn(2));
    assert!(passes(&mut switch, A, mac(50), 0) && !passes(&mut switch, B, mac(50), 0));
    for from in [OPEN, UPLINK] {
        let verdict = send(&mut switch, from, mac(50), MacAddr::BROADCAST, 0);
        assert_eq!(verdict, Verdict::Drop(DropReason::MacPinnedElsewhere));
    }
    let conflict = |claimed_by| EngineEvent::PinConflict { mac: mac(50), pinned_to: A, claimed_by };
    assert_eq!(events(&mut switch), [conflict(OPEN), conflict(UPLINK)]);
    assert_eq!(place(&mut switch, mac(50)), Some(A));
}

#[test]
fn what_another_port_has_is_not_learned() {
    let mut switch = switch(learn(9), learn(9));
    send(&mut switch, UPLINK, mac(60), MacAddr::BROADCAST, 0);
    send(&mut switch, OPEN, mac(61), MacAddr::BROADCAST, 0);
    assert!(passes(&mut switch, B, mac(62), 0));
    for source in [own(B), own(OTHER), mac(60), mac(61), mac(62)] {
        assert!(!passes(&mut switch, A, source, 0), "{source}");
    }
    assert!(passes(&mut switch, A, mac(60), AGEING), "nobody has it any more");
}

#[test]
fn what_is_bound_is_let_go_when_the_port_goes_down_is_flushed_or_may_have_less() {
    let also = || learn(3);
    let mut switch = switch(also(), GuardAlso::default());
    let bind = |switch: &mut Switch| (50..53).for_each(|n| assert!(passes(switch, A, mac(n), 0)));
    let bound = |switch: &Switch| {
        let mut bound: Vec<_> =
            switch.entries(Millis(0)).filter(|e| e.kind == MacKind::Bound).map(|e| e.mac).collect();
        bound.sort();
        bound
    };
    bind(&mut switch);
    install(&mut switch, &ports(also(), GuardAlso::default()), 0);
    assert_eq!(bound(&switch), [mac(50), mac(51), mac(52)], "another snapshot changes nothing");
    install(&mut switch, &ports(learn(2), GuardAlso::default()), 0);
    assert_eq!(bound(&switch), [mac(51), mac(52)]);
    install(&mut switch, &ports(also(), GuardAlso::default()), 0);
    assert_eq!(switch.flush(Some(A), Millis(0)), 2);
    bind(&mut switch);
    let mut down = ports(also(), GuardAlso::default());
    down[1].1.up = false;
    install(&mut switch, &down, 0);
    assert_eq!(bound(&switch), []);
}

#[test]
fn a_frame_that_a_policy_refuses_binds_nothing() {
    let mut switch = switch(learn(1), GuardAlso::default());
    assert_eq!(
        send(&mut switch, A, mac(50), MacAddr([1, 0x80, 0xc2, 0, 0, 0]), 0),
        Verdict::Drop(DropReason::ReservedMulticast)
    );
    assert!(passes(&mut switch, A, mac(51), 0));
}

#[test]
fn a_teams_mac_moves_to_the_port_that_sent_from_it_last() {
    let mut switch = switch(GuardAlso::default(), team(A));
    assert_eq!(place(&mut switch, own(A)), Some(A));
    assert!(passes(&mut switch, B, own(A), 0));
    assert_eq!((place(&mut switch, own(A)), kind(&switch, own(A))), (Some(B), Some(MacKind::Pinned)));
    assert!(passes(&mut switch, A, own(A), 0));
    assert_eq!(place(&mut switch, own(A)), Some(A));
    assert_eq!(events(&mut switch), [moved(own(A), A, B), moved(own(A), B, A)]);
    // Named is one way.
    assert!(!passes(&mut switch, A, own(B), 0) && passes(&mut switch, B, own(B), 0));
}

#[test]
fn a_teams_mac_is_nobody_elses_wherever_it_is() {
    let mut switch = switch(GuardAlso::default(), team(A));
    for at in [A, B] {
        assert!(passes(&mut switch, at, own(A), 0));
        assert!(!passes(&mut switch, OTHER, own(A), 0));
        for from in [OPEN, UPLINK] {
            let verdict = send(&mut switch, from, own(A), MacAddr::BROADCAST, 0);
            assert_eq!(verdict, Verdict::Drop(DropReason::MacPinnedElsewhere));
        }
        assert_eq!(place(&mut switch, own(A)), Some(at));
    }
}

#[test]
fn a_teams_mac_stays_where_it_is_over_snapshots_until_that_port_goes_down_or_leaves_the_team() {
    let also = || ports(GuardAlso::default(), team(A));
    let mut switch = switch(GuardAlso::default(), team(A));
    let fail_over = |switch: &mut Switch| assert!(passes(switch, B, own(A), 0));
    fail_over(&mut switch);
    let mut owner_down = also();
    owner_down[1].1.up = false;
    install(&mut switch, &owner_down, 0);
    assert_eq!(place(&mut switch, own(A)), Some(B));
    install(&mut switch, &also(), 0);
    assert_eq!(place(&mut switch, own(A)), Some(B));
    let mut mate_down = also();
    mate_down[2].1.up = false;
    install(&mut switch, &mate_down, 0);
    assert_eq!(place(&mut switch, own(A)), Some(A));
    install(&mut switch, &also(), 0);
    fail_over(&mut switch);
    install(&mut switch, &ports(GuardAlso::default(), GuardAlso::default()), 0);
    assert_eq!(place(&mut switch, own(A)), Some(A));
    assert!(!passes(&mut switch, B, own(A), 0));
}

#[test]
fn a_team_without_a_guarded_owner_lets_nothing_in() {
    let mut switch = switch(GuardAlso::default(), team(OPEN));
    assert!(!passes(&mut switch, B, own(OPEN), 0));
}

#[test]
fn explain_says_what_would_come_of_a_source() {
    let mut switch = switch(learn(1), team(A));
    let steps = |switch: &Switch, from, source: MacAddr| {
        let header = [&[0xff; 6][..], &source.0, &[0x88, 0xb5]].concat();
        let (steps, _) = switch.explain(from, FrameIn { header: &header, len: 60 }, Millis(0));
        steps[1..].to_vec()
    };
    let guard = |passes| Step::Guard { passes };
    assert_eq!(steps(&switch, A, mac(50)), [guard(true), Step::Roamed(Roamed::Bound), Step::Group]);
    assert_eq!(steps(&switch, B, own(A)), [guard(true), Step::Roamed(Roamed::From(A)), Step::Group]);
    assert_eq!(steps(&switch, B, mac(50)), [guard(false)]);
    assert_eq!((kind(&switch, mac(50)), place(&mut switch, own(A))), (None, Some(A)));
}
