use super::*;
use crate::PortPolicy;
use alloc::vec;
use model::policy::{multicast::Querier, vlan::VlanMode};
use proptest::{collection::vec, prelude::*, sample::select};
use wire::multicast;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const UPLINK: PortIndex = PortIndex(0);
const PORTS: u16 = 5;

fn config() -> MulticastConfig {
    MulticastConfig { snooping: true, querier: Querier::On, ..MulticastConfig::default() }
}

/// An uplink and guarded vNICs.
fn policies() -> Vec<(PortIndex, PortPolicy)> {
    let vnics = (1..PORTS).map(|n| (PortIndex(n), PortPolicy::new(Role::Vnic)));
    core::iter::once((UPLINK, PortPolicy::new(Role::Uplink))).chain(vnics).collect()
}

fn snooping(config: MulticastConfig) -> Multicast {
    Multicast::new(config, MAC, &Snapshot::new(policies()), Millis(0))
}

fn group(n: u8) -> IpAddr {
    IpAddr::from([239, 0, 0, n])
}

/// A frame of IGMPv2 with this type, group and destination.
fn igmp(kind: u8, group: IpAddr, to: IpAddr) -> Vec<u8> {
    let (IpAddr::V4(group), IpAddr::V4(to)) = (group, to) else { panic!("not IPv4") };
    let sums = |bytes: &mut [u8], at: usize| {
        let sum = wire::Sum::default().bytes(bytes).checksum();
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    };
    let mut header =
        [&[0x46, 0, 0, 32, 0, 0, 0, 0, 1, 2, 0, 0, 192, 0, 2, 9][..], &to.octets(), &[148, 4, 0, 0]].concat();
    sums(&mut header, 10);
    let mut body = [&[kind, 0, 0, 0][..], &group.octets()].concat();
    sums(&mut body, 2);
    [&multicast::group_mac(&to.into()).0[..], &[2, 0, 0, 0, 0, 9, 8, 0], &header, &body].concat()
}

fn say(multicast: &mut Multicast, port: u16, frame: &[u8], now: u64) {
    match multicast::read(frame, frame.len()) {
        Cast::Message(message, _) => multicast.hear(0, PortIndex(port), message, Millis(now)),
        cast => panic!("no message: {cast:?}"),
    }
}

fn join(multicast: &mut Multicast, port: u16, group: IpAddr, now: u64) {
    say(multicast, port, &igmp(0x16, group, group), now);
}

fn leave(multicast: &mut Multicast, port: u16, group: IpAddr, now: u64) {
    say(multicast, port, &igmp(0x17, group, IpAddr::from([224, 0, 0, 2])), now);
}

fn query(source: &str) -> Query {
    let source = source.parse().unwrap();
    Query { source, group: None, max_response_ms: 10_000, interval_ms: None, suppressed: false }
}

/// The ports that a frame to `group` goes to, whatever port it comes from.
fn gets(multicast: &Multicast, group: IpAddr, now: u64) -> Vec<u16> {
    attending(multicast, &Cast::Group(group), now)
}

fn attending(multicast: &Multicast, cast: &Cast<'_>, now: u64) -> Vec<u16> {
    let audience = multicast.audience(0, cast, Millis(now));
    (0..PORTS).filter(|port| multicast.attends(0, audience, PortIndex(*port), Millis(now))).collect()
}

/// All queries that are due.
fn questions(multicast: &mut Multicast, now: u64) -> Vec<Question> {
    core::iter::from_fn(|| multicast.next_question(Millis(now))).collect()
}

/// By then hosts had the time to answer the switch's first query.
const SETTLED: u64 = 11_000;

#[test]
fn a_group_goes_to_its_members_and_to_routers() {
    let mut multicast = snooping(config());
    assert_eq!(gets(&multicast, group(1), 0), [0, 1, 2, 3, 4], "nobody has asked yet");
    let asked = questions(&mut multicast, 0);
    assert_eq!(
        asked.iter().map(|q| (q.vlan, q.to, q.ask.source)).collect::<Vec<_>>(),
        [(0, None, "0.0.0.0".parse().unwrap()), (0, None, "fe80::ff:fe00:1".parse().unwrap()),]
    );
    join(&mut multicast, 2, group(1), 500);
    join(&mut multicast, 3, group(2), 500);
    assert_eq!(gets(&multicast, group(1), SETTLED - 1), [0, 1, 2, 3, 4]);
    assert_eq!(gets(&multicast, group(1), SETTLED), [0, 2]);
    assert_eq!(gets(&multicast, group(2), SETTLED), [0, 3]);
    assert_eq!(gets(&multicast, group(3), SETTLED), [0], "nobody wants it");
    say(&mut multicast, 4, &query_frame("192.0.2.4"), SETTLED);
    assert_eq!(gets(&multicast, group(1), SETTLED), [0, 2, 4], "a router is behind the port");
    say(&mut multicast, 4, &query_frame("192.0.2.4"), 200_000);
    assert_eq!(gets(&multicast, group(1), 266_500), [0, 4], "port 2 was not heard again");
}

fn query_frame(source: &str) -> Vec<u8> {
    let ask = Ask {
        version: Version::Single,
        mac: MAC,
        source: source.parse().unwrap(),
        group: None,
        max_response_ms: 10_000,
        interval_s: 125,
        robustness: 2,
    };
    let mut frame = [0; multicast::MAX_QUERY_LEN];
    let len = ask.write(&mut frame);
    frame[..len].to_vec()
}

#[test]
fn reports_go_to_routers_only_and_queries_to_everybody() {
    let mut multicast = snooping(config());
    questions(&mut multicast, 0);
    join(&mut multicast, 2, group(1), 0);
    let report = igmp(0x16, group(1), group(1));
    assert_eq!(attending(&multicast, &multicast::read(&report, report.len()), SETTLED), [0]);
    let query = query_frame("192.0.2.4");
    assert_eq!(attending(&multicast, &multicast::read(&query, query.len()), SETTLED), [0, 1, 2, 3, 4]);
    assert_eq!(attending(&multicast, &Cast::Local, SETTLED), [0, 1, 2, 3, 4]);
}

#[test]
fn settings_change_who_gets_what_nobody_wants() {
    let members = |config| {
        let mut multicast = snooping(config);
        questions(&mut multicast, 0);
        join(&mut multicast, 2, group(1), 0);
        (gets(&multicast, group(1), SETTLED), gets(&multicast, group(2), SETTLED))
    };
    assert_eq!(members(MulticastConfig { uplink_router: false, ..config() }), (vec![2], vec![]));
    let flooding = MulticastConfig { flood_unregistered: true, ..config() };
    assert_eq!(members(flooding), (vec![0, 2], vec![0, 1, 2, 3, 4]));
}

#[test]
fn other_settings_of_who_asks_begin_anew_and_others_do_not() {
    let mut multicast = snooping(config());
    questions(&mut multicast, 0);
    join(&mut multicast, 2, group(1), 0);
    multicast.configure(MulticastConfig { fast_leave: true, ..config() }, MAC);
    assert_eq!(
        (questions(&mut multicast, SETTLED).len(), gets(&multicast, group(1), SETTLED)),
        (0, vec![0, 2])
    );
    multicast.configure(MulticastConfig { query_interval_s: 60, ..config() }, MAC);
    multicast.follow(&Snapshot::new(policies()), &Snapshot::new(policies()), Millis(SETTLED));
    assert_eq!(gets(&multicast, group(1), SETTLED), [0, 1, 2, 3, 4]);
    assert_eq!(questions(&mut multicast, SETTLED).len(), 2);
}

#[test]
fn without_a_querier_nothing_is_filtered() {
    let mut multicast = snooping(MulticastConfig { querier: Querier::Off, ..config() });
    join(&mut multicast, 2, group(1), 0);
    assert_eq!(questions(&mut multicast, 1_000_000), []);
    assert_eq!(gets(&multicast, group(1), 1_000_000), [0, 1, 2, 3, 4]);
}

#[test]
fn who_leaves_is_asked_twice_whether_somebody_is_left_and_then_forgotten() {
    let mut multicast = snooping(config());
    questions(&mut multicast, 0);
    join(&mut multicast, 2, group(1), SETTLED);
    leave(&mut multicast, 2, group(1), 20_000);
    leave(&mut multicast, 2, group(1), 20_001);
    let asked = |questions: Vec<Question>| questions.iter().map(|q| (q.to, q.ask.group)).collect::<Vec<_>>();
    let expected = [(Some(PortIndex(2)), Some(group(1)))];
    assert_eq!(asked(questions(&mut multicast, 20_002)), expected);
    assert_eq!(asked(questions(&mut multicast, 20_900)), []);
    assert_eq!(asked(questions(&mut multicast, 21_002)), expected);
    assert_eq!(asked(questions(&mut multicast, 23_000)), []);
    assert_eq!(gets(&multicast, group(1), 23_999), [0, 2]);
    assert_eq!(gets(&multicast, group(1), 24_000), [0]);
}

#[test]
fn who_answers_that_somebody_is_left_stays_a_member() {
    let mut multicast = snooping(config());
    questions(&mut multicast, 0);
    join(&mut multicast, 2, group(1), SETTLED);
    leave(&mut multicast, 2, group(1), 20_000);
    assert_eq!(questions(&mut multicast, 20_000).len(), 1);
    join(&mut multicast, 2, group(1), 20_500);
    assert_eq!(questions(&mut multicast, 21_000), []);
    assert_eq!(gets(&multicast, group(1), 25_000), [0, 2]);
}

#[test]
fn where_it_is_asked_for_the_first_leave_counts() {
    let mut multicast = snooping(MulticastConfig { fast_leave: true, ..config() });
    questions(&mut multicast, 0);
    join(&mut multicast, 2, group(1), SETTLED);
    leave(&mut multicast, 2, group(1), 20_000);
    assert_eq!((questions(&mut multicast, 20_000), gets(&multicast, group(1), 20_000)), (vec![], vec![0]));
}

#[test]
fn more_leaves_than_are_asked_about_run_out_by_time() {
    let mut multicast = snooping(config());
    questions(&mut multicast, 0);
    let all = 0..MAX_LEFT as u8 + 1;
    all.clone().for_each(|n| join(&mut multicast, 2, group(n), SETTLED));
    all.for_each(|n| leave(&mut multicast, 2, group(n), 20_000));
    assert_eq!(questions(&mut multicast, 20_000).len(), MAX_LEFT);
    assert_eq!(gets(&multicast, group(0), 30_000), [0]);
    assert_eq!(gets(&multicast, group(MAX_LEFT as u8), 30_000), [0, 2]);
}

#[test]
fn a_port_with_a_router_guard_is_no_routers() {
    let mut ports = policies();
    ports[3].1.router_guard = true;
    let mut multicast = Multicast::new(config(), MAC, &Snapshot::new(ports), Millis(0));
    questions(&mut multicast, 0);
    multicast.hear(0, PortIndex(3), Message::Query(query("192.0.2.1")), Millis(SETTLED));
    multicast.hear(0, PortIndex(3), Message::Router(IpVersion::V4), Millis(SETTLED));
    assert_eq!(gets(&multicast, group(1), SETTLED), [0]);
    assert!(multicast.segments[0].is_own(Millis(SETTLED)));
    multicast.hear(0, PortIndex(2), Message::Router(IpVersion::V4), Millis(SETTLED));
    assert_eq!(gets(&multicast, group(1), SETTLED), [0, 2]);
}

#[test]
fn a_switch_that_asks_in_a_routers_stead_is_no_router_and_no_querier() {
    let mut multicast = snooping(MulticastConfig { querier: Querier::Off, ..config() });
    multicast.hear(0, PortIndex(3), Message::Query(query("0.0.0.0")), Millis(0));
    assert_eq!(gets(&multicast, group(1), SETTLED), [0, 1, 2, 3, 4]);
}

#[test]
fn a_port_that_has_come_up_gets_everything_until_it_was_asked() {
    let mut multicast = snooping(config());
    questions(&mut multicast, 0);
    let mut ports = policies();
    ports[3].1.up = false;
    let (up, down) = (Snapshot::new(policies()), Snapshot::new(ports));
    multicast.follow(&up, &down, Millis(20_000));
    assert_eq!(gets(&multicast, group(1), 20_000), [0]);
    multicast.follow(&down, &up, Millis(30_000));
    assert_eq!(gets(&multicast, group(1), 295_999), [0, 3]);
    assert_eq!(gets(&multicast, group(1), 296_000), [0]);
}

#[test]
fn a_port_that_comes_into_another_vlan_gets_everything_until_it_was_asked() {
    let mut multicast = snooping(config());
    let mut ports = policies();
    ports[3].1.vlan = VlanMode::Access(7);
    let (before, after) = (Snapshot::new(policies()), Snapshot::new(ports));
    multicast.follow(&before, &after, Millis(0));
    questions(&mut multicast, 0);
    let gets = |now| {
        let audience = multicast.audience(7, &Cast::Group(group(1)), Millis(now));
        (0..PORTS)
            .filter(|port| multicast.attends(7, audience, PortIndex(*port), Millis(now)))
            .collect::<Vec<_>>()
    };
    assert_eq!(gets(SETTLED), [0, 3]);
    assert_eq!(gets(266_000), [0]);
}

#[test]
fn a_port_that_is_gone_wants_nothing_any_more() {
    let mut multicast = snooping(config());
    questions(&mut multicast, 0);
    join(&mut multicast, 4, group(1), SETTLED);
    let (all, fewer) = (Snapshot::new(policies()), Snapshot::new(policies()[..4].to_vec()));
    multicast.follow(&all, &fewer, Millis(SETTLED));
    assert_eq!(multicast.memberships.iter(Millis(SETTLED)).count(), 0);
}

#[test]
fn a_port_that_wants_more_than_can_be_noted_gets_everything() {
    let mut multicast = snooping(config());
    questions(&mut multicast, 0);
    for n in 0..=memberships::MAX_OF_PORT as u16 {
        let [high, low] = n.to_be_bytes();
        join(&mut multicast, 2, IpAddr::from([239, 7, high, low]), 10_000);
    }
    assert_eq!(gets(&multicast, group(1), SETTLED), [0, 2]);
    assert_eq!(gets(&multicast, group(1), 276_000), [0]);
}

#[test]
fn a_report_that_is_cut_makes_its_port_get_everything() {
    let mut multicast = snooping(config());
    questions(&mut multicast, 0);
    let mut head = igmp(0x22, IpAddr::from([0, 0, 0, 2]), IpAddr::from([224, 0, 0, 22]));
    // Two records, of which one is at hand; the packet is longer than what there is of it.
    head.extend([4, 0, 0, 0, 239, 0, 0, 1]);
    head[17] = 48;
    head[24..26].fill(0);
    let sum = wire::Sum::default().bytes(&head[14..38]).checksum();
    head[24..26].copy_from_slice(&sum.to_be_bytes());
    let Cast::Message(message, _) = multicast::read(&head, 62) else { panic!("no message") };
    multicast.hear(0, PortIndex(2), message, Millis(10_000));
    assert_eq!(gets(&multicast, group(1), SETTLED), [0, 2]);
    assert_eq!(gets(&multicast, group(9), SETTLED), [0, 2]);
    assert_eq!(gets(&multicast, group(9), 276_000), [0]);
}

/// Hosts as they are, of which two share a port, and one that is hostile.
#[derive(Default)]
struct Hosts {
    now: u64,
    wanted: Vec<(usize, IpAddr)>,
    /// When which port will answer for which group, if that is wanted still.
    answers: Vec<(u64, usize, IpAddr)>,
}

const HOST_PORTS: [u16; 3] = [1, 1, 2];
const HOSTILE: u16 = 3;

#[derive(Clone, Debug)]
enum Op {
    Join(usize, u8),
    Leave(usize, u8),
    /// Of the hostile one. Hosts hear it, too.
    Query {
        query: Query,
        delay: u64,
    },
    NoiseJoin(u8),
    NoiseLeave(u8),
    Wait {
        time: u64,
        delay: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let query = (
        1..4u8,
        prop::option::of(0..3u8),
        select(vec![0, 100, 1000, 10_000]),
        any::<bool>(),
        select(vec![None, Some(1000), Some(4000), Some(60_000)]),
    );
    let query = query.prop_map(|(source, of, max_response_ms, suppressed, interval_ms)| Query {
        source: IpAddr::from([192, 0, 2, source]),
        group: of.map(group),
        max_response_ms,
        interval_ms,
        suppressed,
    });
    prop_oneof![
        3 => (0..3usize, 0..3u8).prop_map(|(host, n)| Op::Join(host, n)),
        2 => (0..3usize, 0..3u8).prop_map(|(host, n)| Op::Leave(host, n)),
        2 => (query, 0..10_000u64).prop_map(|(query, delay)| Op::Query { query, delay }),
        1 => (0..3u8).prop_map(Op::NoiseJoin),
        1 => (0..3u8).prop_map(Op::NoiseLeave),
        4 => (0..20_000u64, 0..10_000u64).prop_map(|(time, delay)| Op::Wait { time, delay }),
    ]
}

impl Hosts {
    /// All that hear a query answer it in time.
    fn are_asked(&mut self, to: Option<PortIndex>, of: Option<IpAddr>, max_response_ms: u32, delay: u64) {
        let at = self.now + delay.min(u64::from(max_response_ms));
        let hears = |host: usize| to.is_none_or(|port| port.0 == HOST_PORTS[host]);
        let asked =
            self.wanted.iter().filter(|(host, group)| hears(*host) && of.is_none_or(|of| of == *group));
        self.answers.extend(asked.map(|(host, group)| (at, *host, *group)));
    }

    /// Time goes by: the switch looks once a second what it has to send, and answers come when they are due.
    fn wait(&mut self, multicast: &mut Multicast, time: u64, delay: u64) {
        let end = self.now + time;
        while self.now < end {
            let next =
                self.answers.iter().map(|answer| answer.0).chain([end, (self.now / 1000 + 1) * 1000]).min();
            self.now = next.unwrap().max(self.now);
            let (now, wanted) = (self.now, self.wanted.clone());
            for (_, host, group) in self.answers.extract_if(.., |answer| answer.0 <= now) {
                if wanted.contains(&(host, group)) {
                    join(multicast, HOST_PORTS[host], group, now);
                }
            }
            if now.is_multiple_of(1000) {
                for question in questions(multicast, now) {
                    self.are_asked(question.to, question.ask.group, question.ask.max_response_ms, delay);
                }
            }
            self.check(multicast);
        }
    }

    fn check(&self, multicast: &Multicast) {
        for (host, group) in &self.wanted {
            let ports = gets(multicast, *group, self.now);
            assert!(
                ports.contains(&HOST_PORTS[*host]),
                "host {host} does not get {group} at {}: {ports:?}",
                self.now
            );
        }
    }
}

proptest! {
    /// Whoever asks and whatever a hostile host says.
    #[test]
    fn a_host_that_keeps_the_rules_gets_what_it_wants_at_any_time(
        querier in select(vec![Querier::Off, Querier::On, Querier::Auto]),
        ops in vec(op(), 0..80),
    ) {
        let times = MulticastConfig { query_interval_s: 8, query_response_s: 3, ..config() };
        let (mut multicast, mut hosts) = (snooping(MulticastConfig { querier, ..times }), Hosts::default());
        for op in ops {
            match op {
                Op::Join(host, n) if !hosts.wanted.contains(&(host, group(n))) => {
                    hosts.wanted.push((host, group(n)));
                    join(&mut multicast, HOST_PORTS[host], group(n), hosts.now);
                }
                Op::Leave(host, n) if hosts.wanted.contains(&(host, group(n))) => {
                    hosts.wanted.retain(|wanted| *wanted != (host, group(n)));
                    leave(&mut multicast, HOST_PORTS[host], group(n), hosts.now);
                }
                Op::Join(..) | Op::Leave(..) => {}
                Op::Query { query, delay } => {
                    multicast.hear(0, PortIndex(HOSTILE), Message::Query(query), Millis(hosts.now));
                    hosts.are_asked(None, query.group, query.max_response_ms, delay);
                }
                Op::NoiseJoin(n) => join(&mut multicast, HOSTILE, group(n), hosts.now),
                Op::NoiseLeave(n) => leave(&mut multicast, HOSTILE, group(n), hosts.now),
                Op::Wait { time, delay } => hosts.wait(&mut multicast, time, delay),
            }
            hosts.check(&multicast);
        }
    }
}
