//! Frames of settled sources are decided together, whatever the sources: none that is not settled may slip in among them.

use engine::{
    FrameIn, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Verdict, Verdicts, Vlan,
};
use model::DropReason;
use std::sync::Arc;
use wire::MacAddr;

const HERE: PortIndex = PortIndex(0);
const ELSEWHERE: PortIndex = PortIndex(1);
const PINNED: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
/// A stamp that is so old is worth a new one.
const GRAIN: u64 = 1000;

fn mac(n: u8) -> MacAddr {
    MacAddr([6, 0, 0, 0, 0, n])
}

/// Two ports without guard, and one that is guarded, of a switch; and what the worker that reads has.
struct Bench {
    switch: Switch,
    out: Verdicts,
}

impl Bench {
    fn new() -> Self {
        let open = PortPolicy { guard: false, ..PortPolicy::new(Role::Vnic) };
        let guarded = PortPolicy { mac: Some(PINNED), ..PortPolicy::new(Role::Vnic) };
        let mut switch = Switch::new(TableConfig { capacity: 100, ageing_ms: 300_000 }, [1, 2]);
        let ports = vec![(HERE, open.clone()), (ELSEWHERE, open), (PortIndex(2), guarded)];
        switch.install(Arc::new(Snapshot::new(ports)), Millis(0));
        Self { switch, out: Verdicts::default() }
    }

    fn learn(&mut self, port: PortIndex, sources: &[MacAddr], now: u64) {
        with_frames(sources, |frames| self.switch.process(port, frames, Millis(now), &mut self.out));
    }

    /// What reading alone says of frames from [`HERE`] to the guarded port.
    fn read(&mut self, sources: &[MacAddr], now: u64) -> Option<Vec<Verdict>> {
        with_frames(sources, |frames| self.switch.process_known(HERE, frames, Millis(now), &mut self.out))?;
        Some(self.out.to_vec())
    }

    /// Has the worker know where these are.
    fn settle(&mut self, sources: &[MacAddr]) {
        self.learn(HERE, sources, 0);
        assert_eq!(self.read(sources, 0), Some(passed(sources.len())));
    }
}

fn with_frames<T>(sources: &[MacAddr], f: impl FnOnce(&[FrameIn<'_>]) -> T) -> T {
    let headers: Vec<_> = sources.iter().map(|src| [&PINNED.0[..], &src.0, &[8, 0]].concat()).collect();
    f(&headers.iter().map(|header| FrameIn { header, len: 60 }).collect::<Vec<_>>())
}

fn passed(frames: usize) -> Vec<Verdict> {
    vec![Verdict::Forward(PortIndex(2), Vlan::NONE); frames]
}

#[test]
fn frames_of_many_known_sources_pass_by_reading_alone_and_as_one_run() {
    let mut bench = Bench::new();
    let sources: Vec<_> = (1..65).map(mac).collect();
    bench.settle(&sources);
    assert_eq!(bench.read(&sources, GRAIN - 1), Some(passed(64)));
    let runs: Vec<_> = bench.out.by_run().collect();
    assert_eq!(runs, [(Verdict::Forward(PortIndex(2), Vlan::NONE), 64)]);
}

#[test]
fn a_source_that_is_elsewhere_is_seen_to_move_in_the_middle_of_settled_ones() {
    let mut bench = Bench::new();
    bench.settle(&[mac(1), mac(2), mac(3)]);
    bench.learn(ELSEWHERE, &[mac(2)], 1);
    assert_eq!(bench.read(&[mac(1), mac(2), mac(3)], 1), None);
    bench.learn(HERE, &[mac(1), mac(2), mac(3)], 1);
    assert_eq!(bench.switch.take_events().count(), 2);
    assert_eq!(bench.read(&[mac(1), mac(2), mac(3)], 1), Some(passed(3)));
}

#[test]
fn a_source_whose_stamp_is_old_is_stamped_anew_in_the_middle_of_fresh_ones() {
    let mut bench = Bench::new();
    bench.settle(&[mac(1), mac(2), mac(3)]);
    bench.learn(HERE, &[mac(1), mac(3)], GRAIN);
    assert_eq!(bench.read(&[mac(1), mac(3)], GRAIN), Some(passed(2)));
    assert_eq!(bench.read(&[mac(1), mac(2), mac(3)], GRAIN), None);
}

#[test]
fn a_new_source_is_learned_in_the_middle_of_known_ones() {
    let mut bench = Bench::new();
    bench.settle(&[mac(1), mac(3)]);
    assert_eq!(bench.read(&[mac(1), mac(2), mac(3)], 0), None);
}

#[test]
fn a_source_that_was_flushed_is_not_settled_though_its_slot_is_remembered() {
    let mut bench = Bench::new();
    bench.settle(&[mac(1), mac(2), mac(3)]);
    bench.switch.flush(Some(HERE), Millis(0));
    bench.learn(HERE, &[mac(1), mac(3)], 0);
    assert_eq!(bench.read(&[mac(1), mac(3)], 0), Some(passed(2)));
    assert_eq!(bench.read(&[mac(1), mac(2), mac(3)], 0), None);
}

#[test]
fn an_address_of_a_guarded_port_is_refused_in_the_middle_of_settled_ones() {
    let mut bench = Bench::new();
    bench.settle(&[mac(1), mac(3)]);
    // That somebody claims it is told once in a while; then reading is enough.
    bench.learn(HERE, &[PINNED], 0);
    let mut expected = passed(3);
    expected[1] = Verdict::Drop(DropReason::MacPinnedElsewhere);
    assert_eq!(bench.read(&[mac(1), PINNED, mac(3)], 0), Some(expected));
}

#[test]
fn hints_of_another_switch_do_no_harm() {
    let (mut one, mut other) = (Bench::new(), Bench::new());
    let sources: Vec<_> = (1..65).map(mac).collect();
    one.settle(&sources);
    other.settle(&sources.iter().rev().copied().collect::<Vec<_>>());
    std::mem::swap(&mut one.out, &mut other.out);
    assert_eq!(one.read(&sources, 0), Some(passed(64)));
    assert_eq!(other.read(&sources, 0), Some(passed(64)));
}
