//! The engine against a naive switch: whatever happens, they give the same verdicts, events and tables.

#[allow(dead_code, reason = "it is the test of lists that needs all of it")]
#[path = "acl/naive.rs"]
mod acl_naive;
#[allow(dead_code, reason = "the same")]
#[path = "acl/frames.rs"]
mod frames;
mod naive;

use engine::{
    Acl, AclFrame, AclWay, Asked, EngineEvent, Entry, Flood, FrameIn, GuardAlso, Limits, Millis, Passage,
    PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Verdict, Verdicts, Vlan,
};
use frames::{ACK, Carries, Ip, Part, SYN, Tcp, Upper};
use model::{
    DropReason,
    policy::vlan::{Trunk, VlanMode},
};
use naive::{Frame, NaiveSwitch, lists::most_flows};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{select, subsequence},
};
use std::sync::Arc;
use wire::MacAddr;

const PORTS: u16 = 5;

#[derive(Clone, Debug)]
enum Op {
    Process {
        ingress: PortIndex,
        frames: Vec<Frame>,
    },
    Install(Vec<(PortIndex, PortPolicy)>),
    /// Installs the same again, but for whether one port is up.
    Toggle(PortIndex),
    /// The same, but for the access lists of one port.
    Relist(PortIndex, Option<Arc<Acl>>),
    SetTable(TableConfig),
    Age(usize),
    Flush(Option<PortIndex>),
    Step(u64),
    StepBack,
    TakeEvents,
}

fn port_index() -> impl Strategy<Value = PortIndex> {
    (0..PORTS).prop_map(PortIndex)
}

fn unicast() -> impl Strategy<Value = MacAddr> {
    let router = (1..4u8, 0..3u8).prop_map(|(version, i)| MacAddr([0, 0, 0x5e, 0, version, i]));
    prop_oneof![5 => (0..28u8).prop_map(|i| MacAddr([2, 0, 0, 0, 0, i])), 1 => router]
}

fn any_mac() -> impl Strategy<Value = MacAddr> {
    let group = select(vec![MacAddr::BROADCAST, MacAddr([0x33, 0x33, 0, 0, 0, 1]), MacAddr::default()]);
    let reserved = (0..17u8).prop_map(|i| MacAddr([1, 0x80, 0xc2, 0, 0, i]));
    prop_oneof![12 => unicast(), 1 => group, 1 => reserved]
}

fn frame() -> impl Strategy<Value = Frame> {
    let rest = select(vec![
        &[0x08, 0x00, 0x45, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00][..],
        &[0x81, 0x00, 0x00, 0x07, 0x08, 0x00, 0x45, 0x00, 0x00, 0x00],
        &[0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x08, 0x08, 0x00],
    ]);
    let tags = tags();
    let rest = prop_oneof![1 => rest.prop_map(<[u8]>::to_vec), 2 => naive::packets::packet()];
    let copied = prop_oneof![9 => Just(usize::MAX), 1 => 0..22usize];
    (any_mac(), any_mac(), tags, rest, copied, len()).prop_map(|(dst, src, tags, rest, copied, len)| {
        let mut header = [&dst.0[..], &src.0, &tags, &rest].concat();
        header.truncate(copied);
        Frame { header, len, described: None }
    })
}

fn tags() -> impl Strategy<Value = Vec<u8>> {
    let tag = (select(vec![0, 1, 10, 20, 100, 101, 102, 103, 4094, 4095]), select(vec![0u16, 1, 7, 15]));
    let tag = tag
        .prop_map(|(vlan, priority): (u16, _)| [[0x81, 0], (priority << 12 | vlan).to_be_bytes()].concat());
    vec(tag, 0..3).prop_map(|tags| tags.concat())
}

fn len() -> impl Strategy<Value = u32> {
    prop_oneof![9 => Just(60u32), 1 => select(vec![0, 13, 14, 1514, 1515, 1518, 1519, 1522, 1523])]
}

/// A frame that access lists can be asked about naively: it hides nothing.
fn described() -> impl Strategy<Value = Frame> {
    let carries =
        prop_oneof![1 => Just(Carries::Arp), 1 => Just(Carries::Lldp), 12 => ip().prop_map(Carries::Ip)];
    // Few addresses, so that frames often pass and their flows meet.
    let mac = || prop_oneof![1 => any_mac(), 3 => (0..4u8).prop_map(|i| MacAddr([2, 0, 0, 0, 0, i]))];
    let tags = prop_oneof![3 => Just(vec![]), 1 => tags()];
    (mac(), mac(), tags, carries, len()).prop_map(|(dst, src, tags, carries, len)| {
        let described = frames::Frame { src_mac: src.0, dst_mac: dst.0, tags, carries };
        Frame { header: described.header(), len, described: Some(described) }
    })
}

fn ip() -> impl Strategy<Value = Ip> {
    let v4 = select(vec!["10.0.0.1", "10.0.0.2", "192.0.2.1"]);
    let v6 = select(vec!["2001:db8::1", "2001:db8::2"]);
    let addresses = prop_oneof![4 => (v4.clone(), v4), 1 => (v6.clone(), v6)];
    (addresses, upper()).prop_map(|((src, dst), upper)| {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        Ip { src, dst, part: Part::Whole, upper }
    })
}

/// Segments do not get further than a SYN: what acknowledges is not about it. Connections have tests of their own.
fn upper() -> impl Strategy<Value = Upper> {
    let port = select(vec![53u16, 53, 68, 80, 546]);
    let ports = (port.clone(), port);
    let tcp = (ports.clone(), select(vec![(SYN, 0), (SYN, 0), (ACK, 0x7000_0000), (SYN | ACK, 0x7000_0000)]));
    prop_oneof![
        4 => ports.prop_map(|(src, dst)| Upper::Udp(src, dst)),
        2 => tcp.prop_map(|(ports, (flags, ack))| Upper::Tcp(Tcp { ports, flags, seq: 7, ack, window: 9, ..Tcp::default() })),
        2 => (select(vec![0u8, 8, 13, 128, 129, 134]), 0..2u16).prop_map(|(kind, id)| Upper::Icmp(kind, id, vec![])),
        1 => Just(Upper::Other(50)),
    ]
}

/// Of which no two contradict each other.
const RULES: [&str; 18] = [
    "in deny from 10.0.0.2",
    "in allow from 10.0.0.0/24",
    "in deny from 10.0.0.0/8",
    "out deny to 192.0.2.0/24",
    "both deny remote 2001:db8::2",
    "both meter remote 10.0.0.0/8",
    "both meter",
    "in deny from mac 02:00:00:00:00:03",
    "out deny to mac 02:00:00:00:00:05",
    "out deny tcp to any port 68 weight 70",
    "in allow arp weight 90",
    "in allow udp to any port 53 weight 60 stateful idle 5",
    "in allow icmp type 8 weight 60 stateful idle 100",
    "both allow tcp local any port 80 weight 55 stateful idle 90",
    "out allow ip weight 50 stateful idle 20",
    "both allow ip weight 40 stateful idle 1000",
    "in deny ip weight 1",
    "out deny weight 2",
];

/// Often none, and always where there are to be none: to prepare lists takes most of a scenario's time.
fn acl(with_lists: bool) -> impl Strategy<Value = Option<Arc<Acl>>> {
    let rules = prop::option::weighted(0.7, subsequence(RULES.to_vec(), 0..=8));
    rules.prop_map(move |rules| {
        let rules: Vec<_> = rules.filter(|_| with_lists)?.iter().map(|rule| rule.parse().unwrap()).collect();
        Some(Arc::new(Acl::new(&rules, most_flows(&rules))))
    })
}

fn vlan() -> impl Strategy<Value = VlanMode> {
    let modes = [
        "access=10",
        "access=20",
        "trunk=all",
        "trunk=10,20,100-103",
        "isolated=100,101",
        "community=100,102",
        "community=100,103",
        "promiscuous=100,101-103",
        "promiscuous=100,101",
    ];
    let modes = modes.map(|mode| mode.parse().unwrap()).to_vec();
    let trunk = |allowed: &str, native, prune: &str| {
        let (allowed, prune) = (allowed.parse().unwrap(), prune.parse().unwrap());
        VlanMode::Trunk(Trunk { allowed, native, prune })
    };
    let native = vec![trunk("all", 10, "20-99"), trunk("20,100", 1, ""), trunk("10-20", 20, "11")];
    prop_oneof![1 => Just(VlanMode::Untagged), 1 => select(modes), 1 => select(native)]
}

/// What a guard lets in besides: often nothing, as then it decides alone.
fn guard_also() -> impl Strategy<Value = GuardAlso> {
    let some = (any::<bool>(), select(vec![0, 0, 1, 2, 5]), vec(port_index(), 0..3))
        .prop_map(|(vrrp, learn, team_with)| GuardAlso { vrrp, learn, team_with });
    prop_oneof![1 => Just(GuardAlso::default()), 1 => some]
}

fn policy() -> impl Strategy<Value = PortPolicy> {
    let role = prop_oneof![1 => Just(Role::Uplink), 3 => Just(Role::Vnic)];
    let limit = select(vec![0, 1, 3, 10, 4096]);
    let guards = (any::<bool>(), any::<bool>(), any::<bool>(), guard_also());
    let vlan = (prop::option::weighted(0.7, vlan()), any::<bool>());
    (role, prop::option::of(unicast()), guards, vec(any_mac(), 0..3), any::<u16>(), limit, any::<u8>(), vlan)
        .prop_map(|(role, mac, guards, allow_macs, allow_reserved, learn_limit, up, vlan)| PortPolicy {
            role,
            mac,
            vlan: vlan.0.unwrap_or_else(|| PortPolicy::new(role).vlan),
            trust_priority: vlan.1,
            mirror: None,
            guard: guards.0,
            guard_also: guards.3,
            ip_guard: None,
            allow_macs,
            allow_reserved,
            dhcp_guard: guards.1,
            router_guard: guards.2,
            acl: None,
            learn_limit,
            mtu: 1500,
            limits: Limits::default(),
            up: up > 40,
        })
}

fn table() -> impl Strategy<Value = TableConfig> {
    let capacity = select(vec![0, 1, 4, 16, 16, 16, 64]);
    let ageing_ms = select(vec![1, 100, 1000, 10_000, 300_000]);
    (capacity, ageing_ms).prop_map(|(capacity, ageing_ms)| TableConfig { capacity, ageing_ms })
}

fn install(with_lists: bool) -> impl Strategy<Value = Op> {
    let policy = (policy(), acl(with_lists)).prop_map(|(policy, acl)| PortPolicy { acl, ..policy });
    vec((port_index(), policy), 1..8).prop_map(Op::Install)
}

fn op(with_lists: bool) -> impl Strategy<Value = Op> {
    let frame = if with_lists { described().boxed() } else { frame().boxed() };
    let relisted = (port_index(), acl(with_lists)).prop_map(|(port, acl)| Op::Relist(port, acl));
    // Where a datagram leaves, its flow is kept for up to a second longer than the lists say: no sum of a few of the first steps is in
    // there of any of them.
    let step = select(match with_lists {
        true => vec![1, 3, 9, 8000, 31_500, 150_000, 410_000],
        false => vec![1, 3, 39, 100, 500, 999, 1000, 5000, 10_000, 150_000, 299_999, 300_000],
    });
    prop_oneof![
        12 => (port_index(), vec(frame, 0..if with_lists { 60 } else { 150 })).prop_map(|(ingress, frames)| Op::Process { ingress, frames }),
        6 => step.prop_map(Op::Step),
        1 => Just(Op::StepBack),
        2 => install(with_lists),
        2 => port_index().prop_map(Op::Toggle),
        2 => relisted,
        1 => table().prop_map(Op::SetTable),
        1 => (0..20usize).prop_map(Op::Age),
        1 => prop::option::of(port_index()).prop_map(Op::Flush),
        2 => Just(Op::TakeEvents),
    ]
}

/// A scenario begins with ports, so that most of it is about switching.
fn scenario() -> impl Strategy<Value = Vec<Op>> {
    let ops = any::<bool>().prop_flat_map(|lists| (install(lists), vec(op(lists), 1..50)));
    ops.prop_map(|(first, rest)| {
        let mut ports = Vec::new();
        let mut settled = |op| match op {
            Op::Toggle(toggled) => {
                let of_port = ports.iter_mut().filter(|(port, _)| *port == toggled);
                of_port.for_each(|(_, policy): &mut (_, PortPolicy)| policy.up = !policy.up);
                Op::Install(ports.clone())
            }
            Op::Relist(changed, acl) => {
                let of_port = ports.iter_mut().filter(|(port, _)| *port == changed);
                of_port.for_each(|(_, policy): &mut (_, PortPolicy)| policy.acl.clone_from(&acl));
                Op::Install(ports.clone())
            }
            Op::Install(new) => {
                ports.clone_from(&new);
                Op::Install(new)
            }
            other => other,
        };
        [vec![first], rest].concat().into_iter().map(&mut settled).collect()
    })
}

/// What can be seen of a step.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    verdicts: Vec<Verdict>,
    /// What became of each frame, and of its copies: left on that port, or dropped there.
    outcomes: Vec<Vec<(PortIndex, Option<DropReason>)>>,
    /// Frames and bytes of each port's meters.
    meters: Vec<Vec<(u64, u64)>>,
    not_learned: u32,
    events: Vec<EngineEvent>,
    flushed: usize,
    entries: Vec<Entry>,
}

/// Decides as workers do that share the switch: by reading alone where that is enough, which must make no difference.
fn process_shared(
    switch: &mut Switch,
    ingress: PortIndex,
    frames: &[FrameIn<'_>],
    now: Millis,
    out: &mut Verdicts,
) -> u32 {
    let explained = frames.first().map(|first| switch.explain(ingress, *first, now).1[0]);
    let known = switch.process_known(ingress, frames, now, out);
    let read = out.to_vec();
    let written = switch.process(ingress, frames, now, out);
    assert_eq!(explained, out.first().copied(), "what is explained is what happens");
    if let Some(known) = known {
        assert_eq!((known, &read[..]), (written, &out[..]));
    }
    written
}

/// Has frames leave as the data path does, and says what became of each.
fn deliver(
    switch: &mut Switch,
    ingress: PortIndex,
    frames: &[FrameIn<'_>],
    verdicts: &Verdicts,
    now: Millis,
) -> Vec<Vec<(PortIndex, Option<DropReason>)>> {
    let snapshot = Arc::clone(switch.snapshot());
    let mut refused = |frame: &FrameIn<'_>, to, vlan: Vlan, passage: &Passage| {
        if !snapshot.fits(to, frame.len, frame.header) {
            return Some(DropReason::Oversize);
        }
        if let Err(reason) = snapshot.retag(ingress, to, vlan, frame.header) {
            return Some(reason);
        }
        let acl = snapshot.leaving_acl(to)?;
        let frame = AclFrame { header: frame.header, len: frame.len, vlan: vlan.id() };
        if !acl.keeps_state() {
            return acl.judge(AclWay::In, frame.header).refused;
        }
        let (mut asked, mut found, leaving) =
            (Asked::default(), None, switch.leaving(ingress, to, now).unwrap());
        let explained = switch.explain_leaving(to, &frame, now).unwrap();
        assert!(leaving.ask(passage, &mut asked, 7, || frame));
        if asked.is_empty() {
            assert!(explained.of_flow, "{explained:?}");
            return None;
        }
        let known = leaving.judge_known(&mut asked, |_| passage, |at, finding| found = Some((at, finding)));
        assert_eq!(known == 1, found.is_some());
        if known == 0 {
            let now = switch.moment(now);
            let state = switch.acl_state_mut(to).unwrap();
            state.judge_all(AclWay::In, &mut asked, 0, now, |at, finding, _| found = Some((at, finding)));
        }
        let (at, finding) = found.unwrap();
        assert_eq!((at, finding), (7, explained));
        finding.refused
    };
    let outcome = |(at, (frame, verdict)): (usize, (&FrameIn<'_>, &Verdict))| match *verdict {
        Verdict::Drop(reason) => vec![(ingress, Some(reason))],
        Verdict::DropAt(port, reason) => vec![(port, Some(reason))],
        Verdict::Forward(to, vlan) => {
            let passage = verdicts.passages().get(at).unwrap_or(&Passage::NONE);
            vec![(to, refused(frame, to, vlan, passage))]
        }
        Verdict::Flood(which, vlan) => {
            let mut to: Vec<_> = snapshot.flood(ingress, which, vlan).collect();
            to.sort();
            to.into_iter().map(|to| (to, refused(frame, to, vlan, &Passage::NONE))).collect()
        }
        Verdict::List(..) => unreachable!("nobody snoops"),
    };
    frames.iter().zip(verdicts.iter()).enumerate().map(outcome).collect()
}

/// `out` is kept, as workers keep it: it has hints that turn wrong when the table changes.
fn apply(switch: &mut Switch, out: &mut Verdicts, op: &Op, now: Millis, batch: usize) -> Seen {
    let mut seen = Seen::default();
    match op {
        Op::Process { ingress, frames } => {
            let frames: Vec<_> = frames.iter().map(|f| FrameIn { header: &f.header, len: f.len }).collect();
            // The model lets time pass with an empty list of frames too.
            for frames in frames.chunks(batch).chain([&[][..]]) {
                seen.not_learned += process_shared(switch, *ingress, frames, now, out);
                seen.verdicts.extend_from_slice(out);
                seen.outcomes.extend(deliver(switch, *ingress, frames, out, now));
            }
            let ended = |of_frame: &Vec<_>| !of_frame.is_empty();
            assert!(
                seen.outcomes.len() == frames.len() && seen.outcomes.iter().all(ended),
                "a frame got lost"
            );
        }
        Op::Install(ports) => switch.install(Arc::new(switch.snapshot().next(ports.clone())), now),
        Op::SetTable(config) => switch.set_table(*config, now),
        Op::Age(budget) => assert!(switch.age(now, *budget) <= *budget),
        Op::Flush(port) => seen.flushed = switch.flush(*port, now),
        Op::TakeEvents => seen.events = switch.take_events().collect(),
        Op::Toggle(_) | Op::Relist(..) | Op::Step(_) | Op::StepBack => {}
    }
    let meters = |port| switch.meters(port).map(|(_, meter)| (meter.frames, meter.bytes)).collect();
    seen.meters = (0..PORTS).map(PortIndex).map(meters).collect();
    seen.entries = switch.entries(now).collect();
    seen.entries.sort();
    seen.events.sort_by_key(|event| format!("{event:?}"));
    seen
}

fn apply_naively(naive: &mut NaiveSwitch, op: &Op, now: Millis) -> Seen {
    let mut seen = Seen::default();
    match op {
        Op::Process { ingress, frames } => {
            naive.advance(now);
            for frame in frames {
                let (verdict, not_learned) = naive.decide(*ingress, frame);
                seen.verdicts.push(verdict);
                seen.outcomes.push(naive.deliver(*ingress, frame, verdict));
                seen.not_learned += u32::from(not_learned);
            }
        }
        Op::Install(ports) => naive.install(ports, now),
        Op::SetTable(config) => naive.set_table(*config, now),
        Op::Age(_) => naive.advance(now),
        Op::Flush(port) => seen.flushed = naive.flush(*port, now),
        Op::TakeEvents => seen.events = naive.take_events(),
        Op::Toggle(_) | Op::Relist(..) | Op::Step(_) | Op::StepBack => {}
    }
    seen.meters = (0..PORTS).map(|port| naive.meters(PortIndex(port))).collect();
    seen.entries = naive.entries(now);
    seen.events.sort_by_key(|event| format!("{event:?}"));
    seen
}

fn later(now: Millis, op: &Op) -> Millis {
    match op {
        Op::Step(ms) => Millis(now.0 + ms),
        Op::StepBack => Millis(now.0.saturating_sub(7)),
        _ => now,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2 * ProptestConfig::default().cases, max_global_rejects: u32::MAX, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_does_what_the_naive_switch_does(
        ops in scenario(),
        config in table(),
        seed in any::<[u64; 2]>(),
        batch in select(vec![1usize, 2, 63, 64]),
    ) {
        let mut naive = NaiveSwitch::new(config);
        let mut switch = Switch::new(config, seed);
        let (mut now, mut out) = (Millis(0), Verdicts::default());
        for op in &ops {
            now = later(now, op);
            let expected = apply_naively(&mut naive, op, now);
            prop_assert_eq!(apply(&mut switch, &mut out, op, now, batch), expected, "after {:?} at {:?}", op, now);
            let Op::Install(ports) = op else { continue };
            let snapshot = Snapshot::new(ports.clone());
            for (ingress, which) in (0..PORTS).flat_map(|i| [(PortIndex(i), Flood::Group), (PortIndex(i), Flood::Unknown)]) {
                for vlan in [0, 1, 10, 20, 100, 101, 102, 103, 104, 4094] {
                    let mut reached: Vec<_> = snapshot.flood(ingress, which, Vlan::new(vlan, false)).collect();
                    reached.sort();
                    prop_assert_eq!(reached, naive.flood(ingress, which, vlan));
                }
            }
        }
    }

    /// What several workers rely on: a batch that was decided by reading alone leaves nothing undone.
    #[test]
    fn a_batch_that_can_be_decided_by_reading_needs_no_writing(
        ops in scenario(),
        config in table(),
        batch in select(vec![1usize, 2, 63, 64]),
    ) {
        let (mut writer, mut reader) = (Switch::new(config, [3, 4]), Switch::new(config, [3, 4]));
        let (mut now, mut out) = (Millis(0), Verdicts::default());
        // A clock that several workers read goes on for all of them.
        for op in ops.iter().filter(|op| !matches!(op, Op::StepBack)) {
            now = later(now, op);
            let Op::Process { ingress, frames } = op else {
                let read = apply(&mut reader, &mut out, op, now, batch);
                prop_assert_eq!(read, apply(&mut writer, &mut out, op, now, batch));
                continue;
            };
            let frames: Vec<_> = frames.iter().map(|f| FrameIn { header: &f.header, len: f.len }).collect();
            for frames in frames.chunks(batch) {
                let written = (writer.process(*ingress, frames, now, &mut out), out.to_vec());
                let known = reader.process_known(*ingress, frames, now, &mut out);
                let known = known.unwrap_or_else(|| reader.process(*ingress, frames, now, &mut out));
                prop_assert_eq!((known, out.to_vec()), written);
            }
        }
    }

    #[test]
    fn a_frame_leaves_with_the_tag_that_the_modes_of_both_ports_ask_for(
        from in policy(),
        to in policy(),
        frame in frame(),
    ) {
        let Ok(vlan) = naive::vlans::classify(&from, &[&frame.header[..], &[0; 14]].concat()) else { return Ok(()) };
        prop_assume!(frame.header.len() >= 18 && naive::vlans::has(&to, vlan.id()));
        let snapshot = Snapshot::new(vec![(PortIndex(0), from.clone()), (PortIndex(1), to.clone())]);
        let retagged = snapshot.retag(PortIndex(0), PortIndex(1), vlan, &frame.header);
        prop_assert_eq!(retagged, naive::vlans::retag(&from, &to, vlan, &frame.header));
    }

    #[test]
    fn the_size_of_batches_changes_nothing(ops in scenario(), config in table()) {
        let run = |batch| {
            let mut switch = Switch::new(config, [3, 4]);
            let (mut now, mut out) = (Millis(0), Verdicts::default());
            let step = |op| {
                now = later(now, op);
                apply(&mut switch, &mut out, op, now, batch)
            };
            ops.iter().map(step).collect::<Vec<_>>()
        };
        let expected = run(64);
        for batch in [1, 2, 63] {
            prop_assert_eq!(&run(batch), &expected, "batches of {}", batch);
        }
    }
}
