//! The switching semantics, line by line. `model.rs` looks for what nobody thought of; these say what was meant.

use engine::{
    EngineEvent, Flood, FrameIn, MAX_EVENTS, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch,
    TableConfig, Verdict, Verdicts, Vlan,
};
use model::{
    DropReason, MacKind,
    policy::vlan::{Trunk, VlanMode},
};
use std::sync::Arc;
use wire::MacAddr;

const UPLINK: PortIndex = PortIndex(0);
const GUARDED: PortIndex = PortIndex(1);
const OTHER_GUARDED: PortIndex = PortIndex(2);
const OPEN: PortIndex = PortIndex(3);
const OTHER_OPEN: PortIndex = PortIndex(4);

const AGEING: u64 = 300_000;

/// The n-th address of nobody in particular.
fn mac(n: u32) -> MacAddr {
    let [a, b, c, d] = n.to_be_bytes();
    MacAddr([6, 0, a, b, c, d])
}

/// The address of a guarded port.
fn mac_of(port: PortIndex) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, port.0 as u8])
}

fn reserved(n: u8) -> MacAddr {
    MacAddr([0x01, 0x80, 0xc2, 0, 0, n])
}

fn policies() -> Vec<(PortIndex, PortPolicy)> {
    let guarded = |port| (port, PortPolicy { mac: Some(mac_of(port)), ..PortPolicy::new(Role::Vnic) });
    let open = |port| (port, PortPolicy { guard: false, ..PortPolicy::new(Role::Vnic) });
    let uplink = (UPLINK, PortPolicy::new(Role::Uplink));
    vec![uplink, guarded(GUARDED), guarded(OTHER_GUARDED), open(OPEN), open(OTHER_OPEN)]
}

/// A switch at a moment.
struct Bench {
    switch: Switch,
    policies: Vec<(PortIndex, PortPolicy)>,
    now: Millis,
}

impl Bench {
    /// An uplink, two guarded vNICs and two open ones.
    fn new() -> Self {
        Self::with_capacity(65_536)
    }

    fn with_capacity(capacity: u32) -> Self {
        let switch = Switch::new(TableConfig { capacity, ageing_ms: AGEING }, [1, 2]);
        let mut bench = Self { switch, policies: policies(), now: Millis(0) };
        bench.install();
        bench
    }

    fn install(&mut self) {
        self.switch.install(Arc::new(Snapshot::new(self.policies.clone())), self.now);
    }

    /// Changes the policy of one port.
    fn change(&mut self, port: PortIndex, change: impl FnOnce(&mut PortPolicy)) {
        let (_, policy) = self.policies.iter_mut().find(|(index, _)| *index == port).unwrap();
        change(policy);
        self.install();
    }

    fn process(&mut self, ingress: PortIndex, header: &[u8], len: u32) -> (Verdict, u32) {
        let mut out = Verdicts::default();
        let not_learned = self.switch.process(ingress, &[FrameIn { header, len }], self.now, &mut out);
        (out[0], not_learned)
    }

    fn send_counting(&mut self, ingress: PortIndex, src: MacAddr, dst: MacAddr) -> (Verdict, u32) {
        self.process(ingress, &[&dst.0[..], &src.0, &[0x08, 0]].concat(), 60)
    }

    fn send(&mut self, ingress: PortIndex, src: MacAddr, dst: MacAddr) -> Verdict {
        self.send_counting(ingress, src, dst).0
    }

    /// Where frames from the uplink to `dst` go.
    fn way_to(&mut self, dst: MacAddr) -> Verdict {
        self.send(UPLINK, mac(0xffff_ffff), dst)
    }

    fn learn(&mut self, port: PortIndex, macs: std::ops::Range<u32>) -> u32 {
        macs.map(|n| self.send_counting(port, mac(n), MacAddr::BROADCAST).1).sum()
    }

    fn learned_on(&self, port: PortIndex) -> Vec<MacAddr> {
        let entries = self.switch.entries(self.now).filter(|e| e.kind == MacKind::Learned && e.port == port);
        let mut macs: Vec<_> = entries.map(|entry| entry.mac).collect();
        macs.sort();
        macs
    }

    fn events(&mut self) -> Vec<EngineEvent> {
        self.switch.take_events().collect()
    }
}

const fn dropped(reason: DropReason) -> Verdict {
    Verdict::Drop(reason)
}

#[test]
fn a_guarded_port_sends_from_its_own_addresses_only_and_learns_none() {
    let mut bench = Bench::new();
    bench.change(GUARDED, |policy| policy.allow_macs = vec![mac(7)]);
    let to = mac_of(OTHER_GUARDED);
    assert_eq!(bench.send(GUARDED, mac_of(GUARDED), to), Verdict::Forward(OTHER_GUARDED, Vlan::NONE));
    assert_eq!(bench.send(GUARDED, mac(7), to), Verdict::Forward(OTHER_GUARDED, Vlan::NONE));
    assert_eq!(bench.send(GUARDED, mac(8), to), dropped(DropReason::SpoofedMac));
    assert_eq!(bench.send(GUARDED, mac_of(OTHER_GUARDED), to), dropped(DropReason::SpoofedMac));
    assert_eq!(bench.learned_on(GUARDED), []);
    assert_eq!(bench.events(), []);
}

#[test]
fn a_guarded_ports_addresses_are_pinned_and_static() {
    let mut bench = Bench::new();
    bench.change(GUARDED, |policy| policy.allow_macs = vec![mac(7)]);
    let mut fixed: Vec<_> =
        bench.switch.entries(Millis(9 * AGEING)).map(|e| (e.mac, e.port, e.kind, e.age_ms)).collect();
    fixed.sort();
    assert_eq!(
        fixed,
        [
            (mac_of(GUARDED), GUARDED, MacKind::Pinned, 0),
            (mac_of(OTHER_GUARDED), OTHER_GUARDED, MacKind::Pinned, 0),
            (mac(7), GUARDED, MacKind::Static, 0),
        ]
    );
}

#[test]
fn nobody_else_can_claim_a_pinned_or_static_address() {
    let mut bench = Bench::new();
    bench.change(GUARDED, |policy| policy.allow_macs = vec![mac(7)]);
    for (port, claimed) in [(UPLINK, mac_of(GUARDED)), (OPEN, mac_of(GUARDED)), (OPEN, mac(7))] {
        assert_eq!(bench.send(port, claimed, MacAddr::BROADCAST), dropped(DropReason::MacPinnedElsewhere));
        assert_eq!(bench.learned_on(port), []);
        assert_eq!(
            bench.send(OTHER_GUARDED, mac_of(OTHER_GUARDED), claimed),
            Verdict::Forward(GUARDED, Vlan::NONE)
        );
    }
    let conflict =
        |claimed_by| EngineEvent::PinConflict { mac: mac_of(GUARDED), pinned_to: GUARDED, claimed_by };
    assert_eq!(bench.events(), [conflict(UPLINK), conflict(OPEN)]);
}

#[test]
fn an_address_that_becomes_pinned_leaves_the_port_that_it_was_learned_on() {
    let mut bench = Bench::new();
    bench.learn(UPLINK, 7..8);
    bench.change(GUARDED, |policy| policy.mac = Some(mac(7)));
    assert_eq!(bench.learned_on(UPLINK), []);
    assert_eq!(
        bench.send(OTHER_GUARDED, mac_of(OTHER_GUARDED), mac(7)),
        Verdict::Forward(GUARDED, Vlan::NONE)
    );
    assert_eq!(
        bench.send(OTHER_GUARDED, mac_of(OTHER_GUARDED), mac_of(GUARDED)),
        Verdict::Flood(Flood::Unknown, Vlan::NONE)
    );
}

#[test]
fn an_open_port_learns_up_to_its_limit_and_forwards_beyond_it() {
    let mut bench = Bench::new();
    bench.change(OPEN, |policy| policy.learn_limit = 3);
    assert_eq!(bench.learn(OPEN, 0..3), 0);
    assert_eq!(
        bench.send_counting(OPEN, mac(3), MacAddr::BROADCAST),
        (Verdict::Flood(Flood::Group, Vlan::NONE), 1)
    );
    assert_eq!(
        bench.send_counting(OPEN, mac(2), MacAddr::BROADCAST),
        (Verdict::Flood(Flood::Group, Vlan::NONE), 0)
    );
    assert_eq!(bench.learned_on(OPEN), [mac(0), mac(1), mac(2)]);
    assert_eq!(bench.learn(UPLINK, 100..5200), 0, "an uplink's limit is the table's");
}

#[test]
fn expired_entries_do_not_count_towards_the_limit() {
    let mut bench = Bench::new();
    bench.change(OPEN, |policy| policy.learn_limit = 2);
    bench.learn(OPEN, 0..1);
    bench.now = Millis(1);
    bench.learn(OPEN, 1..2);
    bench.now = Millis(AGEING - 1);
    assert_eq!(bench.learn(OPEN, 2..3), 1);
    bench.now = Millis(AGEING);
    assert_eq!(bench.learn(OPEN, 2..3), 0);
    assert_eq!(bench.learned_on(OPEN), [mac(1), mac(2)]);
}

#[test]
fn an_open_ports_own_mac_is_learned_and_not_pinned() {
    let mut bench = Bench::new();
    bench.change(OPEN, |policy| policy.mac = Some(mac(7)));
    assert_eq!(bench.way_to(mac(7)), Verdict::Flood(Flood::Unknown, Vlan::NONE));
    assert_eq!(bench.send(UPLINK, mac(7), MacAddr::BROADCAST), Verdict::Flood(Flood::Group, Vlan::NONE));
    bench.learn(OPEN, 7..8);
    assert_eq!(bench.way_to(mac(7)), Verdict::Forward(OPEN, Vlan::NONE));
}

#[test]
fn a_learned_address_moves_and_the_move_is_told() {
    let mut bench = Bench::new();
    bench.learn(OPEN, 0..1);
    assert_eq!(bench.events(), []);
    bench.learn(OTHER_OPEN, 0..1);
    assert_eq!(bench.way_to(mac(0)), Verdict::Forward(OTHER_OPEN, Vlan::NONE));
    assert_eq!(bench.events(), [EngineEvent::Moved { mac: mac(0), from: OPEN, to: OTHER_OPEN }]);
    assert_eq!(bench.learned_on(OPEN), []);
}

#[test]
fn an_address_does_not_move_to_a_port_at_its_limit() {
    let mut bench = Bench::new();
    bench.change(OTHER_OPEN, |policy| policy.learn_limit = 0);
    bench.learn(OPEN, 0..1);
    assert_eq!(bench.learn(OTHER_OPEN, 0..1), 1);
    assert_eq!(bench.way_to(mac(0)), Verdict::Forward(OPEN, Vlan::NONE));
}

#[test]
fn an_entry_expires_to_the_millisecond_swept_or_not() {
    for sweep in [false, true] {
        let mut bench = Bench::new();
        bench.now = Millis(500);
        bench.learn(OPEN, 0..1);
        for (now, verdict) in [
            (AGEING + 499, Verdict::Forward(OPEN, Vlan::NONE)),
            (AGEING + 500, Verdict::Flood(Flood::Unknown, Vlan::NONE)),
        ] {
            bench.now = Millis(now);
            if sweep {
                bench.switch.age(bench.now, 10);
            }
            assert_eq!(bench.send(GUARDED, mac_of(GUARDED), mac(0)), verdict, "at {now}, swept: {sweep}");
        }
        assert_eq!(bench.learned_on(OPEN), []);
    }
}

#[test]
fn a_source_that_is_seen_again_does_not_expire() {
    let mut bench = Bench::new();
    for minute in 0..20 {
        bench.now = Millis(minute * 60_000);
        bench.learn(OPEN, 0..1);
    }
    assert_eq!(bench.way_to(mac(0)), Verdict::Forward(OPEN, Vlan::NONE));
    let ages: Vec<_> = bench.switch.entries(bench.now).filter(|e| e.port == OPEN).map(|e| e.age_ms).collect();
    assert_eq!(ages, [0]);
}

#[test]
fn sweeping_reclaims_at_most_its_budget_and_only_what_expired() {
    let mut bench = Bench::new();
    bench.learn(OPEN, 0..10);
    bench.learn(UPLINK, 10..20);
    bench.now = Millis(1000);
    bench.learn(UPLINK, 20..25);
    assert_eq!(bench.switch.age(Millis(AGEING - 1), 100), 0);
    assert_eq!(bench.switch.age(Millis(AGEING), 7), 7);
    assert_eq!(bench.switch.age(Millis(AGEING), 100), 13);
    assert_eq!(bench.switch.len(), 5 + 2);
    assert_eq!(bench.switch.age(Millis(AGEING + 1000), 100), 5);
}

#[test]
fn a_full_table_takes_the_oldest_from_the_port_that_holds_most_and_never_a_pinned_entry() {
    let mut bench = Bench::with_capacity(10);
    bench.learn(OPEN, 0..2);
    bench.learn(UPLINK, 2..8);
    assert_eq!(bench.switch.len(), 10);
    assert_eq!(bench.learn(OPEN, 100..102), 0);
    assert_eq!(bench.learned_on(UPLINK), [4, 5, 6, 7].map(mac));
    assert_eq!(bench.learned_on(OPEN), [0, 1, 100, 101].map(mac));
    assert_eq!(bench.learn(OTHER_OPEN, 200..201), 0, "of equals, the lower number gives");
    assert_eq!(bench.learned_on(UPLINK), [5, 6, 7].map(mac));
    assert_eq!(bench.learn(UPLINK, 300..1300), 0);
    assert_eq!(bench.learned_on(OTHER_OPEN), [mac(200)], "a flood takes from itself");
    assert_eq!(bench.switch.entries(bench.now).filter(|e| e.kind == MacKind::Pinned).count(), 2);
}

#[test]
fn a_table_full_of_pinned_entries_learns_nothing_and_says_so() {
    let mut bench = Bench::with_capacity(2);
    assert_eq!(bench.learn(UPLINK, 0..3), 3);
    assert_eq!(bench.switch.len(), 2);
}

#[test]
fn known_unicast_goes_to_its_port_only_and_never_back() {
    let mut bench = Bench::new();
    bench.learn(UPLINK, 0..2);
    assert_eq!(bench.send(GUARDED, mac_of(GUARDED), mac(0)), Verdict::Forward(UPLINK, Vlan::NONE));
    assert_eq!(bench.send(UPLINK, mac(1), mac(0)), dropped(DropReason::Hairpin));
    assert_eq!(bench.send(GUARDED, mac_of(GUARDED), mac_of(GUARDED)), dropped(DropReason::Hairpin));
}

#[test]
fn known_unicast_to_a_port_that_is_down_is_dropped_there() {
    let mut bench = Bench::new();
    bench.change(GUARDED, |policy| policy.up = false);
    assert_eq!(bench.way_to(mac_of(GUARDED)), Verdict::DropAt(GUARDED, DropReason::PortDown));
}

#[test]
fn unknown_unicast_goes_to_the_uplink_and_to_open_ports() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(OPEN, mac(0), mac(1)), Verdict::Flood(Flood::Unknown, Vlan::NONE));
    let flood = |bench: &Bench, ingress| {
        bench.switch.snapshot().flood(ingress, Flood::Unknown, Vlan::NONE).collect::<Vec<_>>()
    };
    assert_eq!(flood(&bench, OPEN), [UPLINK, OTHER_OPEN]);
    assert_eq!(flood(&bench, GUARDED), [UPLINK, OPEN, OTHER_OPEN]);
    bench.change(OTHER_OPEN, |policy| policy.up = false);
    assert_eq!(flood(&bench, OPEN), [UPLINK]);
    bench.change(OPEN, |policy| policy.up = false);
    assert_eq!(bench.send(UPLINK, mac(2), mac(1)), dropped(DropReason::NoDestination));
}

#[test]
fn broadcast_and_multicast_go_to_every_other_port() {
    let mut bench = Bench::new();
    let solicited_node = MacAddr([0x33, 0x33, 0xff, 0, 0, 1]);
    for group in [MacAddr::BROADCAST, solicited_node, MacAddr([0x01, 0, 0x5e, 0, 0, 1])] {
        assert_eq!(bench.send(GUARDED, mac_of(GUARDED), group), Verdict::Flood(Flood::Group, Vlan::NONE));
    }
    let reached: Vec<_> = bench.switch.snapshot().flood(GUARDED, Flood::Group, Vlan::NONE).collect();
    assert_eq!(reached, [UPLINK, OTHER_GUARDED, OPEN, OTHER_OPEN]);
    bench.policies.truncate(1);
    bench.install();
    assert_eq!(bench.send(UPLINK, mac(0), MacAddr::BROADCAST), dropped(DropReason::NoDestination));
}

#[test]
fn reserved_multicast_stops_at_the_vnic_unless_it_is_allowed() {
    let mut bench = Bench::new();
    bench.change(GUARDED, |policy| policy.allow_reserved = 1 << 2 | 1 << 14);
    for n in 0..=0x10 {
        let passes = matches!(n, 2 | 14 | 0x10);
        let expected = if passes {
            Verdict::Flood(Flood::Group, Vlan::NONE)
        } else {
            dropped(DropReason::ReservedMulticast)
        };
        assert_eq!(bench.send(GUARDED, mac_of(GUARDED), reserved(n)), expected, "{n:x}");
        assert_eq!(
            bench.send(UPLINK, mac(0), reserved(n)),
            Verdict::Flood(Flood::Group, Vlan::NONE),
            "{n:x}"
        );
    }
    assert_eq!(bench.send(OPEN, mac(5), reserved(0)), dropped(DropReason::ReservedMulticast));
    assert_eq!(bench.learned_on(OPEN), [], "what is not switched is not learned from");
}

#[test]
fn runts_and_invalid_sources_are_dropped() {
    let mut bench = Bench::new();
    let header = [&mac(0).0[..], &mac(1).0, &[0x08, 0]].concat();
    assert_eq!(bench.process(UPLINK, &header, 13).0, dropped(DropReason::Runt));
    assert_eq!(bench.process(UPLINK, &header[..13], 60).0, dropped(DropReason::Runt));
    assert_eq!(bench.process(UPLINK, &[], 0).0, dropped(DropReason::Runt));
    assert_eq!(bench.process(UPLINK, &header, 14).0, Verdict::Flood(Flood::Unknown, Vlan::NONE));
    for src in [MacAddr::default(), MacAddr::BROADCAST, MacAddr([3, 0, 0, 0, 0, 1])] {
        assert_eq!(bench.send(UPLINK, src, mac(0)), dropped(DropReason::InvalidSource));
    }
    assert_eq!(bench.learned_on(UPLINK), [mac(1)]);
}

#[test]
fn frames_longer_than_the_mtu_allows_are_dropped_and_tags_do_not_count() {
    let mut bench = Bench::new();
    bench.change(OPEN, |policy| policy.vlan = "trunk=5".parse().unwrap());
    let untagged: &[u8] = &[0x08, 0x00];
    let tagged: &[u8] = &[0x81, 0, 0, 5, 0x08, 0x00];
    let twice: &[u8] = &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 5];
    let thrice: &[u8] = &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 5, 0x81, 0, 0, 5];
    for (rest, longest) in [(untagged, 1514), (tagged, 1518), (twice, 1522), (thrice, 1522)] {
        let header = [&mac(0).0[..], &mac(1).0, rest].concat();
        assert!(matches!(bench.process(UPLINK, &header, longest).0, Verdict::Flood(Flood::Unknown, _)));
        assert_eq!(bench.process(UPLINK, &header, longest + 1).0, dropped(DropReason::Oversize));
        let snapshot = bench.switch.snapshot();
        assert!(snapshot.fits(OPEN, longest, &header) && !snapshot.fits(OPEN, longest + 1, &header));
    }
    assert!(!bench.switch.snapshot().fits(PortIndex(99), 60, &[]));
}

#[test]
fn service_tags_pass_inside_of_a_vlan_and_without_one_from_the_uplink_and_trunks_of_all_vlans_only() {
    let mut bench = Bench::new();
    let service: &[u8] = &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 5];
    let [behind_priority, in_ten] =
        [[0x81, 0, 0xe0, 0], [0x81, 0, 0, 10]].map(|tag| [&tag[..], service].concat());
    let native = VlanMode::Trunk(Trunk { native: 10, ..Trunk::all() });
    let mode = |vlan: &str| vlan.parse::<VlanMode>().unwrap();
    let mut send = |port, vlan: &VlanMode, rest: &[u8]| {
        bench.change(port, |policy| policy.vlan = vlan.clone());
        bench.process(port, &[&mac(0).0[..], &mac(1).0, rest].concat(), 60).0
    };
    let (refused, passes) = (dropped(DropReason::VlanNotAllowed), |id, came_tagged| {
        Verdict::Flood(Flood::Unknown, Vlan::new(id, came_tagged))
    });
    for vlan in ["untagged", "trunk=1-4093", "trunk=10"].map(mode) {
        assert_eq!(send(OPEN, &vlan, service), refused, "{vlan:?}");
        assert_eq!(send(OPEN, &vlan, &behind_priority), refused, "{vlan:?}");
    }
    for vlan in [mode("trunk=all"), mode("trunk=10"), native.clone()] {
        assert_eq!(send(OPEN, &vlan, &in_ten), passes(10, true), "{vlan:?}");
    }
    for vlan in [mode("access=10"), native] {
        assert_eq!(send(OPEN, &vlan, service), passes(10, false), "{vlan:?}");
        assert_eq!(send(OPEN, &vlan, &behind_priority), passes(10, true), "{vlan:?}");
    }
    for (port, vlan) in [(UPLINK, "trunk=10"), (UPLINK, "trunk=all"), (OPEN, "trunk=all")] {
        assert_eq!(send(port, &mode(vlan), service), passes(0, false));
        assert_eq!(send(port, &mode(vlan), &behind_priority), passes(0, true));
    }
}

#[test]
fn the_checks_come_in_the_order_of_the_pipeline() {
    let mut bench = Bench::new();
    let mut last = None;
    let broken = MacAddr::BROADCAST;
    let frames = [
        (GUARDED, broken, 13, DropReason::Runt),
        (GUARDED, broken, 9999, DropReason::Oversize),
        (GUARDED, broken, 60, DropReason::InvalidSource),
        (GUARDED, mac(0), 60, DropReason::SpoofedMac),
        (OPEN, mac_of(GUARDED), 60, DropReason::MacPinnedElsewhere),
        (GUARDED, mac_of(GUARDED), 60, DropReason::ReservedMulticast),
    ];
    for (port, src, len, reason) in frames {
        let header = [&reserved(0).0[..], &src.0, &[0x08, 0]].concat();
        assert_eq!(bench.process(port, &header, len).0, dropped(reason));
        assert!(last < Some(reason), "the reasons are listed in that order too");
        last = Some(reason);
    }
}

#[test]
fn frames_of_a_port_that_is_not_there_are_dropped() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(PortIndex(99), mac(0), mac(1)), dropped(DropReason::PortDown));
    assert_eq!(bench.switch.flush(Some(PortIndex(99)), bench.now), 0);
}

#[test]
fn flushing_forgets_what_was_learned_and_nothing_else() {
    let mut bench = Bench::new();
    bench.learn(OPEN, 0..5);
    bench.learn(UPLINK, 5..8);
    assert_eq!(bench.switch.flush(Some(OPEN), bench.now), 5);
    assert_eq!(bench.learned_on(UPLINK).len(), 3);
    assert_eq!(bench.switch.flush(None, bench.now), 3);
    assert_eq!(bench.switch.len(), 2, "the pinned ones stay");
}

#[test]
fn what_was_learned_on_a_port_goes_when_the_port_goes_or_becomes_guarded() {
    let mut bench = Bench::new();
    bench.learn(OPEN, 0..5);
    bench.learn(OTHER_OPEN, 5..8);
    bench.learn(UPLINK, 8..10);
    bench.change(OPEN, |policy| policy.guard = true);
    bench.policies.retain(|(port, _)| *port != OTHER_OPEN);
    bench.install();
    assert_eq!((bench.learned_on(OPEN), bench.learned_on(OTHER_OPEN)), (vec![], vec![]));
    assert_eq!(bench.learned_on(UPLINK), [mac(8), mac(9)]);
}

#[test]
fn a_lower_limit_and_a_smaller_table_keep_the_youngest() {
    let mut bench = Bench::new();
    bench.learn(OPEN, 0..5);
    bench.change(OPEN, |policy| policy.learn_limit = 3);
    assert_eq!(bench.learned_on(OPEN), [2, 3, 4].map(mac));
    bench.learn(UPLINK, 100..105);
    bench.switch.set_table(TableConfig { capacity: 6, ageing_ms: AGEING }, bench.now);
    assert_eq!(bench.learned_on(UPLINK), [103, 104].map(mac));
    assert_eq!(bench.learned_on(OPEN), [3, 4].map(mac));
    bench.switch.set_table(TableConfig { capacity: 1000, ageing_ms: AGEING }, bench.now);
    assert_eq!(bench.learn(UPLINK, 200..900), 0);
    assert_eq!(bench.switch.len(), 706);
}

#[test]
fn what_a_shorter_ageing_time_lets_expire_goes_before_what_does_not_fit() {
    let mut bench = Bench::new();
    bench.learn(OTHER_OPEN, 0..2);
    bench.now = Millis(1000);
    bench.learn(OPEN, 2..6);
    bench.switch.age(bench.now, 1);
    bench.switch.set_table(TableConfig { capacity: 6, ageing_ms: 1000 }, bench.now);
    assert_eq!((bench.learned_on(OTHER_OPEN).len(), bench.learned_on(OPEN).len()), (0, 4));
}

#[test]
fn a_longer_ageing_time_does_not_bring_back_what_has_expired() {
    let mut bench = Bench::new();
    bench.learn(OPEN, 0..1);
    bench.now = Millis(AGEING);
    bench.learn(OPEN, 1..2);
    bench.switch.set_table(TableConfig { capacity: 100, ageing_ms: 10 * AGEING }, bench.now);
    assert_eq!(bench.learned_on(OPEN), [mac(1)]);
    bench.switch.set_table(TableConfig { capacity: 100, ageing_ms: 10 }, bench.now);
    bench.now = Millis(AGEING + 10);
    assert_eq!(bench.learned_on(OPEN), []);
}

#[test]
fn events_are_told_once_per_interval_and_pair_of_ports() {
    let mut bench = Bench::new();
    let moves = |bench: &mut Bench, now| {
        bench.now = Millis(now);
        bench.learn(OPEN, 0..50);
        bench.learn(OTHER_OPEN, 0..50);
        bench.events().len()
    };
    assert_eq!(moves(&mut bench, 0), 1);
    assert_eq!(moves(&mut bench, 1), 1, "the way back is another pair");
    assert_eq!(moves(&mut bench, 9_999), 0);
    assert_eq!(moves(&mut bench, 10_000), 1);
    assert_eq!(moves(&mut bench, 10_001), 1);
}

#[test]
fn no_more_events_wait_than_there_is_room_for() {
    let mut bench = Bench::new();
    let open = (0..40).map(|i| (PortIndex(i), PortPolicy { guard: false, ..PortPolicy::new(Role::Vnic) }));
    bench.policies = open.collect();
    bench.install();
    (0..40).for_each(|port| assert_eq!(bench.learn(PortIndex(port), 0..1), 0));
    assert_eq!(bench.events().len(), MAX_EVENTS);
    assert_eq!(bench.events(), []);
}

#[test]
fn a_table_that_churns_finds_exactly_what_it_lists() {
    let mut bench = Bench::with_capacity(4096);
    for n in 0..40_000u32 {
        bench.now = Millis(u64::from(n) * 20);
        bench.learn(
            UPLINK,
            n.wrapping_mul(2_654_435_761) % 20_000..n.wrapping_mul(2_654_435_761) % 20_000 + 1,
        );
    }
    let listed = bench.learned_on(UPLINK);
    assert_eq!(listed.len(), 4094);
    for n in 0..20_000 {
        let known = bench.send(GUARDED, mac_of(GUARDED), mac(n)) == Verdict::Forward(UPLINK, Vlan::NONE);
        assert_eq!(known, listed.binary_search(&mac(n)).is_ok(), "{n}");
    }
}

#[test]
fn a_full_table_takes_32_bytes_an_entry() {
    for capacity in [65_536, 100_000, 1_048_576] {
        let switch = Switch::new(TableConfig { capacity, ageing_ms: AGEING }, [0; 2]);
        assert!(switch.table_bytes() <= 32 * capacity as usize, "{capacity}");
    }
}
