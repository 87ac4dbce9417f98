//! Access lists by themselves: `cargo bench -p vmswitch-engine --bench acl`.
//!
//! The classifier with 1,000 basic and 1,000 extended rules, wherever in their order the rule is that matches, beside two others
//! that could have been taken: asking each rule, and tuple space search (Srinivasan, Suri and Varghese, 1999) pruned by weight. Then the
//! table of flows with 100,000 of them, and how many new ones a second it takes.

use engine::{Acl, AclFrame, AclState, AclWay, Asked, Millis};
use model::{AclAddress, AclRule};
use std::{
    collections::HashMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

const RULES: u32 = 1000;
const FRAMES: usize = 500_000;
const ROUNDS: usize = 7;
const FLOWS: u32 = 100_000;
const BATCH: usize = 64;

/// Numbers without a pattern that would help.
fn scattered(n: u32) -> u32 {
    n.wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(0x85eb_ca6b)
}

fn prefix(n: u32) -> String {
    let [_, b, c, d] = scattered(n).to_be_bytes();
    match n % 4 {
        0 => format!("10.{b}.{c}.0/24"),
        1 => format!("10.{b}.{}.0/20", c & 0xf0),
        2 => format!("10.{b}.{c}.{}/28", d & 0xf0),
        _ => format!("10.{b}.{c}.{d}"),
    }
}

/// Rule `n` of the extended ones has the `n`-th highest weight.
fn extended(n: u32) -> AclRule {
    let (protocol, port) = (["tcp", "udp"][n as usize % 2], 1000 + n % 500);
    let last = if n.is_multiple_of(3) { format!("-{}", port + 50) } else { String::new() };
    let weight = 60_000 - n;
    format!("in allow {protocol} from {} to any port {port}{last} weight {weight}", prefix(n))
        .parse()
        .unwrap()
}

fn basic(n: u32) -> AclRule {
    format!("in allow from {}", prefix(n + 500_000)).parse().unwrap()
}

fn rules() -> Vec<AclRule> {
    let mut rules: Vec<_> = (0..RULES).map(basic).chain((0..RULES).map(extended)).collect();
    rules.push("in deny weight 1".parse().unwrap());
    rules.sort();
    rules.dedup_by_key(|rule| rule.body());
    rules
}

/// A frame of 64 bytes that extended rule `n` matches.
fn frame(n: u32) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, [6, 17][n as usize % 2]]);
    let src: [u8; 4] = std::net::Ipv4Addr::to_bits(address_in(n)).to_be_bytes();
    frame[26..34].copy_from_slice(&[src[0], src[1], src[2], src[3], 10, 0, 0, 1]);
    frame[34..38].copy_from_slice(&[
        0x30,
        (n >> 3) as u8,
        ((1000 + n % 500) >> 8) as u8,
        (1000 + n % 500) as u8,
    ]);
    frame[46] = 0x50;
    frame
}

fn address_in(n: u32) -> std::net::Ipv4Addr {
    let AclAddress::Ip(prefix) = extended(n).remote else { unreachable!() };
    prefix.address().to_string().parse().unwrap()
}

/// Millions a second: the median of some rounds, and the best.
fn rate(count: usize, mut round: impl FnMut()) -> (f64, f64) {
    let mut rates: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            round();
            count as f64 / begun.elapsed().as_secs_f64() / 1e6
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    (rates[ROUNDS / 2], rates[ROUNDS - 1])
}

fn report(what: &str, (median, best): (f64, f64)) {
    println!("{what:<58} {median:>8.2} M/s  {:>7.1} ns  (best {best:.2} M/s)", 1000.0 / median);
}

/// What both other classifiers look at of a frame, and of a rule.
#[derive(Clone, Copy)]
struct Plain {
    src: u32,
    len: u32,
    protocol: u8,
    ports: (u16, u16),
    place: usize,
}

fn plain(place: usize, rule: &AclRule) -> Option<Plain> {
    let (AclAddress::Ip(prefix), Some(more)) = (rule.remote, rule.extended) else { return None };
    let model::AclTraffic::Protocol(protocol) = more.traffic else { return None };
    let (first, _) = prefix.range();
    Some(Plain { src: first as u32, len: prefix.len().into(), protocol, ports: more.local_ports?, place })
}

fn fields(frame: &[u8; 60]) -> (u32, u8, u16) {
    let src = u32::from_be_bytes([frame[26], frame[27], frame[28], frame[29]]);
    (src, frame[23], u16::from_be_bytes([frame[36], frame[37]]))
}

const fn masked(address: u32, len: u32) -> u32 {
    address & u32::MAX.wrapping_shl(32 - len)
}

fn linear(rules: &[Plain], frame: &[u8; 60]) -> Option<usize> {
    let (src, protocol, port) = fields(frame);
    let is_it = |rule: &&Plain| {
        masked(src, rule.len) == rule.src
            && rule.protocol == protocol
            && (rule.ports.0..=rule.ports.1).contains(&port)
    };
    rules.iter().find(is_it).map(|rule| rule.place)
}

/// Tables by prefix length, those with the highest weight first; ranges of ports are compared in their buckets.
type Tuples = Vec<(usize, u32, HashMap<(u32, u8), Vec<Plain>>)>;

fn tuples(rules: &[Plain]) -> Tuples {
    let mut tuples: Tuples = Vec::new();
    for rule in rules {
        let at = tuples.iter().position(|(_, len, _)| *len == rule.len).unwrap_or_else(|| {
            tuples.push((rule.place, rule.len, HashMap::new()));
            tuples.len() - 1
        });
        tuples[at].2.entry((rule.src, rule.protocol)).or_default().push(*rule);
    }
    tuples
}

fn tuple_space(tuples: &Tuples, frame: &[u8; 60]) -> Option<usize> {
    let (src, protocol, port) = fields(frame);
    let mut best: Option<usize> = None;
    for (first, len, table) in tuples {
        if best.is_some_and(|best| best < *first) {
            break;
        }
        let bucket = table.get(&(masked(src, *len), protocol)).into_iter().flatten();
        let found =
            bucket.filter(|rule| (rule.ports.0..=rule.ports.1).contains(&port)).map(|rule| rule.place).min();
        best = best.into_iter().chain(found).min();
    }
    best
}

fn classifiers() {
    let rules = rules();
    let acl = Acl::new(&rules, 1);
    let ordered: Vec<_> = (0..RULES).map(extended).collect();
    let plains: Vec<_> = ordered.iter().enumerate().filter_map(|(place, rule)| plain(place, rule)).collect();
    let tuples = tuples(&plains);
    println!("{} rules, {} KiB", rules.len(), acl.bytes() / 1024);
    let empty = Acl::new(&[], 1);
    let one = [frame(5)];
    report(
        "no rules",
        rate(FRAMES, || (0..FRAMES).for_each(|_| _ = black_box(empty.judge(AclWay::In, black_box(&one[0]))))),
    );
    for (what, from, until) in [
        ("the first rule", 0, 1),
        ("the middle one", 500, 501),
        ("the last one", 999, 1000),
        ("any of the 1,000 in turn", 0, 1000),
    ] {
        let frames: Vec<_> = (from..until).map(frame).collect();
        let each = |judge: &dyn Fn(&[u8; 60])| {
            let frames = frames.iter().cycle().take(FRAMES);
            frames.for_each(|frame| judge(black_box(frame)));
        };
        report(
            &format!("rows of bits (both lists, headers read): {what}"),
            rate(FRAMES, || each(&|frame| _ = black_box(acl.judge(AclWay::In, frame)))),
        );
        report(
            &format!("tuple space (extended list only): {what}"),
            rate(FRAMES, || each(&|frame| _ = black_box(tuple_space(&tuples, frame)))),
        );
        report(
            &format!("each rule (extended list only): {what}"),
            rate(FRAMES, || each(&|frame| _ = black_box(linear(&plains, frame)))),
        );
    }
    for count in [100, 1000] {
        let some: Vec<_> = (0..count).map(extended).collect();
        let (median, _) = rate(20, || (0..20).for_each(|_| drop(black_box(Acl::new(&some, 1)))));
        println!("{:<58} {:>8.1} µs", format!("preparing {count} extended rules"), 1.0 / median);
    }
    let (median, _) = rate(3, || (0..3).for_each(|_| drop(black_box(Acl::new(&rules, 1)))));
    println!("{:<58} {:>8.1} µs", "preparing all of them", 1.0 / median);
}

/// A segment of flow `n` from the vNIC.
fn segment(n: u32, flags: u8, seq: u32) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    let [a, b, c, d] = n.to_be_bytes();
    frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, b, c, d]);
    frame[34..38].copy_from_slice(&[0x30, a, 0, 80]);
    frame[38..42].copy_from_slice(&seq.to_be_bytes());
    (frame[46], frame[47], frame[48]) = (0x50, flags, 0xff);
    frame
}

/// The same from the other end.
fn answer(n: u32, flags: u8, seq: u32, ack: u32) -> [u8; 60] {
    let mut frame = segment(n, flags, seq);
    let (addresses, ports): ([u8; 8], [u8; 4]) =
        (frame[26..34].try_into().unwrap(), frame[34..38].try_into().unwrap());
    frame[26..30].copy_from_slice(&addresses[4..]);
    frame[30..34].copy_from_slice(&addresses[..4]);
    frame[34..36].copy_from_slice(&ports[2..]);
    frame[36..38].copy_from_slice(&ports[..2]);
    frame[42..46].copy_from_slice(&ack.to_be_bytes());
    frame
}

fn judge(state: &mut AclState, way: AclWay, header: &[u8]) -> bool {
    let frame = AclFrame { header, len: 60, vlan: 0 };
    black_box(state.judge(way, &frame, Millis(1))).refused.is_none()
}

fn flows() {
    let rules = ["out allow ip weight 9 stateful", "in deny ip weight 1"].map(|text| text.parse().unwrap());
    let acl = Arc::new(Acl::new(&rules, 1 << 20));
    let mut state = AclState::new(Arc::clone(&acl), [1, 2]);
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    for n in 0..FLOWS {
        assert!(judge(&mut state, AclWay::Out, &segment(n, SYN, 1)));
        assert!(judge(&mut state, AclWay::In, &answer(n, SYN | ACK, 7, 2)));
        let mut ack = segment(n, ACK, 2);
        ack[42..46].copy_from_slice(&8u32.to_be_bytes());
        assert!(judge(&mut state, AclWay::Out, &ack));
    }
    println!("{} flows, {} bytes each", state.flows(), state.bytes() / state.flows());
    for (what, live) in
        [("one flow", 1), ("1,000 live flows in turn", 1000), ("100,000 live flows in no order", FLOWS)]
    {
        let frames: Vec<_> = (0..live)
            .map(|n| answer(if live == FLOWS { scattered(n) % FLOWS } else { n }, ACK, 8, 2))
            .collect();
        let round =
            || (0..FRAMES).for_each(|at| assert!(judge(&mut state, AclWay::In, &frames[at % frames.len()])));
        report(&format!("{what}, one by one"), rate(FRAMES, round));
        let frames: Vec<_> = (0..FRAMES).map(|at| framed(&frames[at % frames.len()])).collect();
        let round = || {
            for batch in frames.chunks(BATCH) {
                let mut asked = ask(&state, AclWay::In, batch);
                let known =
                    state.judge_known(AclWay::In, &mut asked, Millis(1), |_, found, _| _ = black_box(found));
                assert_eq!(known, batch.len());
            }
        };
        report(&format!("{what}, batches of {BATCH}, by reading"), rate(FRAMES, round));
    }
    let (syns, most): (Vec<_>, u32) = ((0..1 << 20).map(|n| segment(n, SYN, 1)).collect(), 1 << 20);
    let syns: Vec<_> = syns.iter().map(framed).collect();
    let fresh = || _ = begin(&mut AclState::new(Arc::clone(&acl), [3, 4]), &syns[..500_000]);
    report("new flows, in a table that grows", rate(500_000, fresh));
    let small = Arc::new(Acl::new(&["out allow ip weight 9 stateful".parse().unwrap()], 65_536));
    let mut state = AclState::new(small, [3, 4]);
    let flood = || _ = begin(&mut state, &syns[..500_000]);
    report("new flows, each in place of one without answer", rate(500_000, flood));
    longest_waits(&acl, &syns, most);
}

fn framed(header: &[u8; 60]) -> AclFrame<'_> {
    AclFrame { header, len: 60, vlan: 0 }
}

fn ask<'f>(state: &AclState, way: AclWay, frames: &[AclFrame<'f>]) -> Asked<'f> {
    let mut asked = Asked::default();
    frames.iter().for_each(|frame| assert!(state.ask(way, &mut asked, 0, *frame)));
    asked
}

/// Begins flows in batches; says how long each batch took.
fn begin(state: &mut AclState, frames: &[AclFrame<'_>]) -> Vec<Duration> {
    let took = |batch: &[AclFrame<'_>]| {
        let begun = Instant::now();
        let mut asked = ask(state, AclWay::Out, batch);
        state.judge_all(AclWay::Out, &mut asked, 0, Millis(1), |_, found, _| {
            assert!(black_box(found).refused.is_none());
        });
        begun.elapsed()
    };
    frames.chunks(BATCH).map(took).collect()
}

/// What a batch may wait for, up to a million flows: each is the shortest of some rounds, so what interrupts us is not counted.
fn longest_waits(acl: &Arc<Acl>, frames: &[AclFrame<'_>], most: u32) {
    let mut least = vec![Duration::MAX; frames.len() / BATCH];
    let mut gone = Duration::MAX;
    for _ in 0..ROUNDS {
        let mut state = AclState::new(Arc::clone(acl), [3, 4]);
        let took = begin(&mut state, frames);
        least.iter_mut().zip(took).for_each(|(least, took)| *least = took.min(*least));
        assert_eq!(state.flows(), most as usize);
        state.sweep(most as usize - 1, Millis(10_000_000));
        let begun = Instant::now();
        state.sweep(2, Millis(10_000_000));
        gone = gone.min(begun.elapsed());
    }
    least.sort_unstable();
    let (median, longest) = (least[least.len() / 2], least[least.len() - 1]);
    let late = least.iter().filter(|least| **least > Duration::from_micros(50)).count();
    println!(
        "batches of {BATCH} new flows up to {most}: median {median:?}, longest {longest:?}, {late} above 50 µs"
    );
    println!("the last of them gone: {gone:?}");
}

fn main() {
    classifiers();
    flows();
}
