//! What a frame's source has to do with the flow that it could begin.

use crate::{
    frames::Upper,
    port::{ip, lists},
};
use engine::{
    AclWay::Out, FrameIn, GuardAlso, Millis, PortIndex, PortPolicy, Role, Snapshot, Step, Switch,
    TableConfig, Verdict, Verdicts,
};
use model::{
    DropReason::{MacPinnedElsewhere, SpoofedMac},
    policy::vlan::{Trunk, VlanMode},
};
use std::sync::Arc;
use wire::MacAddr;

const UPLINK: PortIndex = PortIndex(0);
const VM: PortIndex = PortIndex(1);
const OTHER: PortIndex = PortIndex(2);
const PASSES: Verdict = Verdict::Flood(engine::Flood::Group, engine::Vlan::NONE);

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

/// A switch whose port 1 has stateful lists, and where MAC 2 is pinned to port 2.
fn switch(capacity: u32, policy: PortPolicy) -> Switch {
    let acl = Some(lists(&["out allow ip weight 1 stateful"], 100));
    let other = PortPolicy { mac: Some(mac(2)), ..PortPolicy::new(Role::Vnic) };
    let ports =
        vec![(UPLINK, PortPolicy::new(Role::Uplink)), (VM, PortPolicy { acl, ..policy }), (OTHER, other)];
    let mut switch = Switch::new(TableConfig { capacity, ageing_ms: 1000 }, [1, 2]);
    switch.install(Arc::new(Snapshot::new(ports)), Millis(0));
    switch
}

/// The verdicts on datagrams from these MACs, in one batch, each from a UDP port of its own; and how many flows there are then.
fn send(switch: &mut Switch, macs: &[u8]) -> (Vec<Verdict>, usize) {
    let frame = |(port, n): (u16, &u8)| {
        let packet = ip(Out, Upper::Udp(port, 53)).bytes();
        [&MacAddr::BROADCAST.0[..], &mac(*n).0, &[8, 0], &packet].concat()
    };
    let frames: Vec<_> = (1000..).zip(macs).map(frame).collect();
    let frames: Vec<_> = frames.iter().map(|header| FrameIn { header, len: 60 }).collect();
    let mut out = Verdicts::default();
    switch.process(VM, &frames, Millis(1), &mut out);
    (out.to_vec(), switch.flows(VM))
}

#[test]
fn what_is_explained_of_a_frame_in_a_vlan_is_by_the_flows_of_that_vlan() {
    let vlan =
        VlanMode::Trunk(Trunk { allowed: "7,8".parse().unwrap(), native: 8, prune: "".parse().unwrap() });
    let mut switch = switch(16, PortPolicy { guard: false, vlan, ..PortPolicy::new(Role::Vnic) });
    let frame = |tag: &[u8]| {
        [&MacAddr::BROADCAST.0[..], &mac(9).0, tag, &[8, 0], &ip(Out, Upper::Udp(1, 2)).bytes()].concat()
    };
    let by_flow = |switch: &Switch, header: &[u8]| {
        let (steps, _) = switch.explain(VM, FrameIn { header, len: 60 }, Millis(1));
        let lists = steps
            .iter()
            .find_map(|step| if let Step::AccessLists { finding, .. } = step { Some(finding) } else { None });
        lists.unwrap().of_flow
    };
    let headers = [&[0x81, 0, 0, 7][..], &[]].map(frame);
    for header in &headers {
        assert!(!by_flow(&switch, header));
        switch.process(VM, &[FrameIn { header, len: 60 }], Millis(1), &mut Verdicts::default());
        assert!(by_flow(&switch, header));
    }
    assert_eq!(switch.flows(VM), 2);
}

#[test]
fn a_pinned_source_begins_no_flow_on_a_port_without_guard() {
    let mut switch = switch(16, PortPolicy { guard: false, ..PortPolicy::new(Role::Vnic) });
    let refused = Verdict::Drop(MacPinnedElsewhere);
    assert_eq!(send(&mut switch, &[2, 9, 2, 8]), (vec![refused, PASSES, refused, PASSES], 2));
}

#[test]
fn a_source_that_there_is_no_room_for_begins_no_flow_even_behind_the_one_that_took_it() {
    let guard_also = GuardAlso { learn: 1, ..GuardAlso::default() };
    let mut switch = switch(16, PortPolicy { guard_also, ..PortPolicy::new(Role::Vnic) });
    let refused = Verdict::Drop(SpoofedMac);
    assert_eq!(send(&mut switch, &[9, 8, 9, 2]), (vec![PASSES, refused, PASSES, refused], 2));
}

#[test]
fn a_source_that_a_full_table_has_no_place_for_begins_no_flow() {
    let guard_also = GuardAlso { learn: 5, ..GuardAlso::default() };
    let mut bound = switch(2, PortPolicy { guard_also, ..PortPolicy::new(Role::Vnic) });
    let refused = Verdict::Drop(SpoofedMac);
    assert_eq!(send(&mut bound, &[9, 8]), (vec![PASSES, refused], 1));
}
