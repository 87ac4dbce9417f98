//! The storm limit, against a naive one that keeps every frame that passed.

use engine::{
    Flood, FrameIn, Limits, Millis, PortIndex, PortPolicy, Role, Snapshot, Step, Switch, TableConfig,
    Verdict, Verdicts,
};
use model::DropReason;
use proptest::prelude::*;
use std::sync::Arc;
use wire::MacAddr;

const VM: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const NOBODY: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const GROUP: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
const TABLE: TableConfig = TableConfig { capacity: 64, ageing_ms: 300_000 };

/// A VM with a limit, another one, and an uplink.
fn switch(storm: u32, guard: bool) -> Switch {
    let limits = Limits { storm, ..Limits::default() };
    let vm = PortPolicy { mac: Some(VM), guard, limits, ..PortPolicy::new(Role::Vnic) };
    let other = PortPolicy { mac: Some(OTHER), ..PortPolicy::new(Role::Vnic) };
    let ports = [vm, other, PortPolicy::new(Role::Uplink)];
    let mut switch = Switch::new(TABLE, [1, 2]);
    switch.install(Arc::new(Snapshot::new((0..).map(PortIndex).zip(ports).collect())), Millis(0));
    switch
}

fn header(to: MacAddr) -> Vec<u8> {
    [&to.0[..], &VM.0, &[0x88, 0xb5, 0, 0]].concat()
}

fn process(switch: &mut Switch, to: &[MacAddr], now: u64) -> Vec<Verdict> {
    let headers: Vec<_> = to.iter().map(|to| header(*to)).collect();
    let frames: Vec<_> = headers.iter().map(|header| FrameIn { header, len: 60 }).collect();
    let mut out = Verdicts::default();
    // A reader cannot decide what has to be counted.
    assert!(switch.process_known(PortIndex(0), &frames, Millis(now), &mut out).is_none());
    switch.process(PortIndex(0), &frames, Millis(now), &mut out);
    out.to_vec()
}

const LIMITED: Verdict = Verdict::Drop(DropReason::StormLimit);

fn destinations() -> impl Strategy<Value = Vec<MacAddr>> {
    prop::collection::vec(prop::sample::select(vec![OTHER, NOBODY, GROUP, MacAddr::BROADCAST]), 1..64)
}

proptest! {
    #[test]
    fn a_port_floods_as_many_frames_in_a_second_as_its_limit_says(
        limit in 1_u32..100,
        guard in any::<bool>(),
        batches in prop::collection::vec((0_u64..700, destinations()), 1..20),
    ) {
        let (mut switch, mut now) = (switch(limit, guard), 0);
        let (mut second, mut passed) = (None, 0);
        for (later, to) in batches {
            now += later;
            let verdicts = process(&mut switch, &to, now);
            for (to, verdict) in to.iter().zip(verdicts) {
                if *to == OTHER {
                    prop_assert!(matches!(verdict, Verdict::Forward(PortIndex(1), _)));
                    continue;
                }
                if second.is_none_or(|begun| now >= begun + 1000) {
                    (second, passed) = (Some(now), 0);
                }
                passed += 1;
                let which = if *to == NOBODY { Flood::Unknown } else { Flood::Group };
                let flooded = matches!(verdict, Verdict::Flood(flood, _) if flood == which);
                prop_assert!(if passed <= limit { flooded } else { verdict == LIMITED }, "{verdict:?}");
            }
        }
    }
}

#[test]
fn what_is_refused_before_does_not_count_and_what_reaches_nobody_is_no_flood() {
    let mut switch = switch(2, true);
    let reserved = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0]);
    let verdicts = process(&mut switch, &[reserved, reserved, reserved, GROUP, GROUP, GROUP], 0);
    assert_eq!(verdicts[..3], [Verdict::Drop(DropReason::ReservedMulticast); 3]);
    assert!(matches!(verdicts[3..], [Verdict::Flood(..), Verdict::Flood(..), LIMITED]), "{verdicts:?}");
}

#[test]
fn an_uplink_has_no_storm_limit() {
    let limits = Limits { storm: 1, ..Limits::default() };
    let uplink = PortPolicy { limits, ..PortPolicy::new(Role::Uplink) };
    let vm = PortPolicy { mac: Some(OTHER), ..PortPolicy::new(Role::Vnic) };
    let mut switch = Switch::new(TABLE, [1, 2]);
    let ports = vec![(PortIndex(0), uplink), (PortIndex(1), vm)];
    switch.install(Arc::new(Snapshot::new(ports)), Millis(0));
    let (header, mut out) = (header(MacAddr::BROADCAST), Verdicts::default());
    let frames = [FrameIn { header: &header, len: 60 }; 5];
    switch.process(PortIndex(0), &frames, Millis(0), &mut out);
    assert!(out.iter().all(|verdict| matches!(verdict, Verdict::Flood(..))), "{out:?}");
}

#[test]
fn who_asks_is_told_of_the_limit_and_uses_nothing_up() {
    let mut switch = switch(1, true);
    let header = header(MacAddr::BROADCAST);
    let explain =
        |switch: &Switch| switch.explain(PortIndex(0), FrameIn { header: &header, len: 60 }, Millis(5));
    for _ in 0..2 {
        let (steps, verdict) = explain(&switch);
        assert!(steps.contains(&Step::Storm { passes: true }) && matches!(verdict[0], Verdict::Flood(..)));
    }
    process(&mut switch, &[GROUP], 5);
    let (steps, verdict) = explain(&switch);
    assert!(steps.contains(&Step::Storm { passes: false }) && verdict[0] == LIMITED, "{steps:?}");
}

#[test]
fn a_port_in_the_place_of_one_that_is_gone_or_had_no_limit_meanwhile_begins_anew() {
    for meanwhile in [0, 1] {
        let mut switch = switch(2, true);
        assert_eq!(process(&mut switch, &[GROUP; 3], 0)[2], LIMITED);
        let with_limit = Arc::clone(switch.snapshot());
        let mut ports: Vec<_> =
            (0..3).map(|i| (PortIndex(i), with_limit.policy(PortIndex(i)).unwrap().clone())).collect();
        match meanwhile {
            0 => drop(ports.remove(0)),
            _ => ports[0].1.limits.storm = 0,
        }
        for next in [Arc::new(with_limit.next(ports)), with_limit] {
            switch.install(next, Millis(1));
        }
        let passed = process(&mut switch, &[GROUP; 3], 2);
        assert!(matches!(passed[1], Verdict::Flood(..)) && passed[2] == LIMITED, "{passed:?}");
    }
}
