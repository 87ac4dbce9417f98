//! Frames that are judged together get what they would get one by one.

use crate::{
    frames::{ACK, FIN, Frame, Ip, Part, RST, SYN, Tcp, Upper},
    port::lists,
};
use engine::{
    AclFinding, AclFrame, AclState,
    AclWay::{self, In, Out},
    Asked, Leaving, Millis, Passage, PortIndex,
};
use proptest::{collection::vec, prelude::*, sample::select};

/// A packet of one of some flows.
#[derive(Clone, Debug)]
struct Sent {
    v6: bool,
    flow: u16,
    kind: Kind,
    part: Part,
    seq: u32,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Udp,
    Tcp(u8),
    Echo(u8),
}

/// Batches of frames of one way, and how long nothing comes before them.
type Batch = (bool, u64, Vec<Sent>);

fn kind() -> impl Strategy<Value = Kind> {
    let flags = select(vec![SYN, SYN | ACK, ACK, ACK, ACK, FIN | ACK, RST]);
    prop_oneof![
        4 => Just(Kind::Udp),
        4 => flags.prop_map(Kind::Tcp),
        1 => select(vec![8, 0]).prop_map(Kind::Echo),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let part = prop_oneof![9 => Just(Part::Whole), 1 => Just(Part::First(3)), 1 => Just(Part::Later(3, 2))];
    let flow = prop_oneof![3 => 0..6u16, 1 => 0..2000u16];
    (any::<bool>(), flow, kind(), part, 0..3u32).prop_map(|(v6, flow, kind, part, seq)| Sent {
        v6,
        flow,
        kind,
        part,
        seq,
    })
}

fn batches(long_waits: Vec<u64>) -> impl Strategy<Value = Vec<Batch>> {
    let waits = prop_oneof![4 => 0..3u64, 1 => select(long_waits)];
    vec((any::<bool>(), waits, vec(sent(), 1..=Asked::MOST)), 1..40)
}

/// Both ends count from one, so that connections come about by chance.
fn header(way: AclWay, sent: &Sent) -> Vec<u8> {
    let ends = if sent.v6 { ["2001:db8::1", "2001:db8::2"] } else { ["10.0.0.1", "10.0.0.2"] };
    let ports = (1000 + sent.flow, 80);
    let ([src, dst], ports) =
        if way == Out { (ends, ports) } else { ([ends[1], ends[0]], (ports.1, ports.0)) };
    let upper = match sent.kind {
        Kind::Udp => Upper::Udp(ports.0, ports.1),
        Kind::Echo(kind) => Upper::Icmp(kind, sent.flow, vec![]),
        Kind::Tcp(flags) => {
            let (seq, ack) = (sent.seq, if flags & ACK == 0 { 0 } else { 1 });
            Upper::Tcp(Tcp { ports, flags, seq, ack, window: 1000, scale: None, payload: 0 })
        }
    };
    Frame::of(Ip { src: src.parse().unwrap(), dst: dst.parse().unwrap(), part: sent.part, upper }).header()
}

/// By reading as far as that goes, and by writing from there on.
fn together(
    state: &mut AclState,
    way: AclWay,
    frames: &[AclFrame<'_>],
    now: Millis,
) -> Vec<(u16, AclFinding)> {
    let (mut asked, mut found) = (Asked::default(), Vec::new());
    (0..).zip(frames).for_each(|(at, frame)| assert!(state.ask(way, &mut asked, at, *frame)));
    let known = state.judge_known(way, &mut asked, now, |at, finding, _| found.push((at, finding)));
    assert_eq!(known, found.len());
    state.judge_all(way, &mut asked, known, now, |at, finding, _| found.push((at, finding)));
    found
}

/// Where frames come in, and where they leave.
fn ends([one, other]: &mut [AclState; 2], forth: bool) -> [&mut AclState; 2] {
    if forth { [one, other] } else { [other, one] }
}

/// What is found of a frame that need not be judged.
const OF_FLOW: AclFinding = AclFinding { refused: None, rule: None, of_flow: true };

/// What both ports find of frames that go from one to the other, which looks for their flows where those of the first one say.
fn across(
    [from, to]: [&mut AclState; 2],
    [frames, leaving]: [&[AclFrame<'_>]; 2],
    now: Millis,
) -> Vec<(AclFinding, Option<AclFinding>)> {
    let (mut asked, mut found) = (Asked::default(), vec![]);
    let mut passages = vec![Passage::NONE; frames.len()];
    (0..).zip(frames).for_each(|(at, frame)| assert!(from.ask(Out, &mut asked, at, *frame)));
    from.judge_all(Out, &mut asked, 0, now, |at, finding, passage| {
        found.push((finding, None));
        passages[usize::from(at)] = passage.unwrap_or(Passage::NONE);
    });
    let mut asked = Asked::default();
    let leaves = Leaving::new(PortIndex(0), to, Some(from), now);
    for (at, (finding, left)) in
        found.iter_mut().enumerate().filter(|(_, (finding, _))| finding.refused.is_none())
    {
        let before = asked.len();
        assert!(leaves.ask(&passages[at], &mut asked, at as u16, || leaving[at]), "{finding:?}");
        *left = (asked.len() == before).then_some(OF_FLOW);
    }
    let known = leaves.judge_known(
        &mut asked,
        |at| &passages[usize::from(at)],
        |at, finding| found[usize::from(at)].1 = Some(finding),
    );
    to.judge_all(In, &mut asked, known, now, |at, finding, _| found[usize::from(at)].1 = Some(finding));
    found
}

proptest! {
    /// Both have flows that come and go, so that what one remembers of the other's places, and what is assured, is true, or not any more.
    /// No wait ends in the second for which a flow is kept longer where that is assured.
    #[test]
    fn frames_that_leave_get_what_they_get_without_a_hint_of_where_they_came_in(
        batches in batches(vec![9000, 22_000, 30_000]),
        quotas in select(vec![[40, 100_000], [100_000, 40], [40, 30], [100_000, 100_000]]),
        vlan in select(vec![7, 9]),
    ) {
        let rules = ["both allow ip weight 9 stateful idle 20", "both deny ip weight 1"];
        let new = || quotas.map(|quota| AclState::new(lists(&rules, quota), [quota.into(), 2]));
        let (mut ones, mut alls, mut now) = (new(), new(), Millis(1));
        for (forth, wait, batch) in &batches {
            now.0 += wait;
            let headers: Vec<_> =
                batch.iter().map(|sent| header(if *forth { Out } else { In }, sent)).collect();
            let on = |vlan| headers.iter().map(|header| AclFrame { header, len: 60, vlan }).collect::<Vec<_>>();
            let (frames, leaving) = (on(7), on(vlan));
            let [from, to] = ends(&mut ones, *forth);
            let entered: Vec<_> = frames.iter().map(|frame| from.judge(Out, frame, now)).collect();
            let expected: Vec<_> = entered
                .iter()
                .zip(&leaving)
                .map(|(finding, frame)| (*finding, finding.refused.is_none().then(|| to.judge(In, frame, now))))
                .collect();
            prop_assert_eq!(across(ends(&mut alls, *forth), [&frames, &leaving], now), expected);
        }
        prop_assert_eq!(alls.each_ref().map(AclState::flows), ones.each_ref().map(AclState::flows));
    }

    #[test]
    fn frames_judged_together_get_what_they_get_one_by_one(
        batches in batches((9000..30_000).collect()),
        more in select(vec![vec![], vec!["both deny remote 10.0.0.2 local 10.0.0.9"], vec!["out meter remote 10.0.0.2"]]),
        quota in select(vec![40, 100_000]),
    ) {
        let mut rules = vec!["both allow ip weight 9 stateful idle 20", "both deny ip weight 1"];
        rules.extend(more);
        let new = || AclState::new(lists(&rules, quota), [1, 2]);
        let (mut one, mut all, mut now) = (new(), new(), Millis(1));
        for (out, wait, batch) in &batches {
            now.0 += wait;
            let way = if *out { Out } else { In };
            let headers: Vec<_> = batch.iter().map(|sent| header(way, sent)).collect();
            let frames: Vec<_> =
                headers.iter().map(|header| AclFrame { header, len: 60, vlan: 7 }).collect();
            let expected: Vec<_> =
                (0..).zip(&frames).map(|(at, frame)| (at, one.judge(way, frame, now))).collect();
            prop_assert_eq!(together(&mut all, way, &frames, now), expected);
            prop_assert_eq!(all.flows(), one.flows());
            prop_assert!(all.meters().eq(one.meters()));
        }
    }
}
