//! A snapshot shares with the one before what has not changed, and what follows is as if there had been none before.

use engine::{
    FrameIn, GuardAlso, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Verdicts,
};
use model::policy::vlan::{Promiscuous, Secondary, Trunk, VlanMode};
use std::sync::Arc;
use wire::MacAddr;

const A: PortIndex = PortIndex(0);
const B: PortIndex = PortIndex(1);

const fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

type Ports = Vec<(PortIndex, PortPolicy)>;

fn vnic(last: u8) -> PortPolicy {
    PortPolicy { mac: Some(mac(last)), ..PortPolicy::new(Role::Vnic) }
}

/// Two vNICs and an uplink.
fn usual() -> Ports {
    vec![(A, vnic(1)), (B, vnic(2)), (PortIndex(2), PortPolicy::new(Role::Uplink))]
}

fn with(change: impl Fn(&mut PortPolicy, &mut PortPolicy)) -> Ports {
    let mut ports = usual();
    let (a, b) = ports.split_at_mut(1);
    change(&mut a[0].1, &mut b[0].1);
    ports
}

fn private(primary: u16) -> Ports {
    with(|a, b| {
        a.vlan = VlanMode::Isolated(Secondary { primary: 5, secondary: 6 });
        b.vlan = VlanMode::Promiscuous(Promiscuous { primary, secondaries: [6].into_iter().collect() });
    })
}

fn team(of_b: &[PortIndex]) -> GuardAlso {
    GuardAlso { team_with: of_b.to_vec(), ..GuardAlso::default() }
}

/// Ports that differ in one thing or another.
fn variants() -> Vec<Ports> {
    let (mut fewer, mut more) = (usual(), usual());
    fewer.remove(1);
    more.push((PortIndex(3), vnic(1)));
    vec![
        usual(),
        with(|a, _| a.mac = Some(mac(9))),
        with(|_, b| b.mac = Some(mac(3))),
        with(|a, _| a.mac = None),
        with(|a, _| a.allow_macs = vec![mac(7)]),
        with(|_, b| b.allow_macs = vec![mac(7), mac(1)]),
        with(|a, _| a.guard = false),
        with(|a, _| a.up = false),
        with(|a, _| a.mtu = 9000),
        with(|a, _| a.vlan = VlanMode::Access(6)),
        with(|a, _| a.vlan = VlanMode::Trunk(Trunk::all())),
        // B is in the same VLANs, and which one is whose primary is another matter.
        with(|a, b| {
            a.vlan = VlanMode::Access(6);
            b.vlan = VlanMode::Community(Secondary { primary: 6, secondary: 5 });
        }),
        with(|a, b| {
            a.vlan = VlanMode::Access(6);
            b.vlan =
                VlanMode::Promiscuous(Promiscuous { primary: 5, secondaries: [6].into_iter().collect() });
        }),
        private(5),
        private(8),
        with(|_, b| b.guard_also = team(&[A])),
        with(|a, b| (a.up, b.guard_also) = (false, team(&[A]))),
        with(|a, b| (a.mac, b.guard_also) = (Some(mac(9)), team(&[A]))),
        with(|a, b| (a.guard, b.guard_also) = (false, team(&[A]))),
        fewer,
        more,
    ]
}

fn entries(switch: &Switch) -> Vec<engine::Entry> {
    let mut entries: Vec<_> = switch.entries(Millis(0)).collect();
    entries.sort();
    entries
}

fn installed(ports: &Ports) -> Switch {
    let mut switch = Switch::new(TableConfig::default(), [1, 2]);
    install(&mut switch, ports);
    switch
}

fn install(switch: &mut Switch, ports: &Ports) {
    switch.install(Arc::new(switch.snapshot().next(ports.clone())), Millis(0));
}

fn at(switch: &Switch, mac: MacAddr) -> Option<PortIndex> {
    entries(switch).iter().find(|entry| entry.mac == mac).map(|entry| entry.port)
}

fn send(switch: &mut Switch, ingress: PortIndex, from: MacAddr) {
    let header = [&mac(2).0[..], &from.0, &[8, 0]].concat();
    switch.process(ingress, &[FrameIn { header: &header, len: 60 }], Millis(0), &mut Verdicts::default());
}

#[test]
fn what_was_before_makes_no_difference_to_a_snapshot_and_the_entries_that_follow_from_it() {
    for (before, after) in
        variants().iter().flat_map(|before| variants().into_iter().map(move |v| (before, v)))
    {
        let (mut switch, fresh) = (installed(before), installed(&after));
        install(&mut switch, &after);
        assert_eq!(format!("{:?}", switch.snapshot()), format!("{:?}", Snapshot::new(after.clone())));
        assert_eq!(entries(&switch), entries(&fresh), "{before:?}\n{after:?}");
    }
}

#[test]
fn an_address_that_a_team_has_moved_stays_where_it_is_until_a_change_forbids_that() {
    let teamed = || with(|_, b| b.guard_also = team(&[A]));
    let at = |switch: &Switch| at(switch, mac(1));
    let change = |change: &dyn Fn(&mut Ports)| {
        let mut switch = installed(&teamed());
        send(&mut switch, B, mac(1));
        assert_eq!(at(&switch), Some(B));
        let mut ports = teamed();
        change(&mut ports);
        install(&mut switch, &ports);
        at(&switch)
    };
    assert_eq!(change(&|_| ()), Some(B));
    assert_eq!(change(&|ports| ports[0].1.mtu = 9000), Some(B));
    assert_eq!(change(&|ports| ports[1].1.mtu = 9000), Some(B));
    assert_eq!(change(&|ports| ports[1].1.up = false), Some(A));
    assert_eq!(change(&|ports| ports[1].1.guard_also = GuardAlso::default()), Some(A));
    assert_eq!(change(&|ports| ports[0].1.mac = None), None);
}

/// A port that is down may not have it after a change, so it does not get it before one either.
#[test]
fn an_address_moves_to_where_it_could_stay_and_a_change_of_nothing_leaves_it_there() {
    let of_a_team = |up| with(move |_, b| (b.guard_also, b.up) = (team(&[A]), up));
    let of_both_with = |up| {
        with(move |a, b| {
            (a.allow_macs, b.allow_macs, b.up) = (vec![mac(7)], vec![mac(7)], up);
            b.guard_also.vrrp = true;
        })
    };
    let cases = [
        (of_a_team(true), 1, B),
        (of_a_team(false), 1, A),
        (of_both_with(true), 7, B),
        (of_both_with(false), 7, A),
    ];
    for (ports, moved, stays) in cases {
        let mut switch = installed(&ports);
        assert_eq!(at(&switch, mac(moved)), Some(A));
        send(&mut switch, B, mac(moved));
        assert_eq!(at(&switch, mac(moved)), Some(stays));
        let mut other = ports.clone();
        other[0].1.allow_macs.push(mac(8));
        for next in [&ports, &other] {
            install(&mut switch, next);
            assert_eq!(at(&switch, mac(moved)), Some(stays));
        }
    }
}

/// What would leave there for the address is of a VLAN that the port is not in.
#[test]
fn an_address_goes_back_when_the_port_it_has_moved_to_leaves_its_vlan() {
    let in_vlans = |of_a: VlanMode, of_b: VlanMode| {
        with(|a, b| (a.vlan, b.vlan, b.guard_also) = (of_a.clone(), of_b.clone(), team(&[A])))
    };
    let mode = |text: &str| -> VlanMode { text.parse().unwrap() };
    let cases = [
        ("untagged", "untagged", "access=10", A),
        ("access=10", "access=10", "access=20", A),
        ("access=10", "access=10", "untagged", A),
        ("access=10", "access=10", "trunk=10,20", B),
        ("trunk=10", "access=10", "trunk=10-12", B),
        ("isolated=100,101", "isolated=100,101", "promiscuous=100,101", B),
        ("isolated=100,101", "isolated=100,101", "trunk=101", B),
        ("isolated=100,101", "isolated=100,101", "trunk=102", A),
    ];
    for (of_a, of_b, then, stays) in cases {
        let mut switch = installed(&in_vlans(mode(of_a), mode(of_b)));
        send(&mut switch, B, mac(1));
        assert_eq!(at(&switch, mac(1)), Some(B), "{of_a}, {of_b}");
        install(&mut switch, &in_vlans(mode(of_a), mode(then)));
        assert_eq!(at(&switch, mac(1)), Some(stays), "{of_a}, {of_b}, {then}");
    }
}

/// A binding from before the address was given to a trunk hides the trunk's.
#[test]
fn an_address_moves_from_behind_a_binding_with_the_frame_that_ends_the_binding() {
    let (trunk, access) = (VlanMode::Trunk(Trunk::all()), VlanMode::Access(10));
    let with_a = |of_a| {
        let learns = GuardAlso { learn: 1, ..GuardAlso::default() };
        let z = PortPolicy { guard_also: learns, vlan: access.clone(), ..vnic(5) };
        let mut ports = with(|a, b| {
            (a.mac, a.vlan) = (of_a, trunk.clone());
            (b.vlan, b.guard_also) = (access.clone(), team(&[A]));
        });
        ports.push((PortIndex(3), z));
        ports
    };
    let mut switch = installed(&with_a(None));
    send(&mut switch, PortIndex(3), mac(1));
    install(&mut switch, &with_a(Some(mac(1))));
    let ports = |switch: &Switch| -> Vec<_> {
        let of_it = |entry: &engine::Entry| (entry.mac == mac(1)).then_some((entry.vlan, entry.port));
        entries(switch).iter().filter_map(of_it).collect()
    };
    assert_eq!(ports(&switch), [(None, A), (Some(10), PortIndex(3))]);
    send(&mut switch, B, mac(1));
    assert_eq!(ports(&switch), [(None, B)]);
}
