extern crate std;
use super::*;
use alloc::{vec, vec::Vec};
use proptest::{collection::vec as some, prelude::*, sample::select};
use std::collections::BTreeMap;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn at(n: u8) -> [u8; 4] {
    [10, 9, 0, n]
}

/// A request, or, where it says so, an answer with a lease of two minutes.
fn message(kind: u8, xid: u32, n: u8) -> Dhcp4 {
    let (is_reply, lease_s) = (kind == kind4::ACK, Some(120));
    Dhcp4 { is_reply, kind, xid, client: MAC, has: at(n), yours: at(n), requested: Some(at(n)), lease_s }
}

const REQUEST: u8 = 3;

fn leases(most: u16) -> Leases {
    let mut leases = Leases::default();
    leases.limit(most);
    leases
}

fn ask(leases: &mut Leases, kind: u8, xid: u32, n: u8, now: u64) {
    leases.hear_client(MAC, Dhcp::V4(message(kind, xid, n)), Millis(now));
}

fn answer(leases: &mut Leases, message: Dhcp4, now: u64) {
    leases.hear_server(MAC, OTHER, Dhcp::V4(message), Millis(now));
}

fn held(leases: &Leases, now: u64) -> Vec<u8> {
    (0..=255).filter(|n| leases.holds(IpAddr::from(at(*n)), Millis(now))).collect()
}

#[test]
fn an_acknowledged_address_is_held_until_its_lease_ends() {
    let mut leases = leases(4);
    ask(&mut leases, REQUEST, 7, 0, 1000);
    answer(&mut leases, message(kind4::ACK, 7, 100), 2000);
    assert_eq!(
        (held(&leases, 2000), held(&leases, 121_999), held(&leases, 122_000)),
        (vec![100], vec![100], vec![])
    );
    answer(&mut leases, message(kind4::ACK, 7, 100), 100_000);
    assert_eq!((held(&leases, 219_999), held(&leases, 220_000)), (vec![100], vec![]));
    answer(&mut leases, Dhcp4 { lease_s: Some(u32::MAX), ..message(kind4::ACK, 7, 101) }, 100_000);
    assert_eq!(held(&leases, u64::MAX), [101]);
}

#[test]
fn an_answer_that_nobody_asked_for_is_not_believed() {
    let mut leases = leases(4);
    ask(&mut leases, REQUEST, 7, 0, 0);
    let ack = message(kind4::ACK, 7, 100);
    for bad in [
        Dhcp4 { xid: 8, ..ack },
        Dhcp4 { client: OTHER, ..ack },
        Dhcp4 { kind: 2, ..ack },
        Dhcp4 { kind: 6, ..ack },
        Dhcp4 { is_reply: false, ..ack },
        Dhcp4 { lease_s: None, ..ack },
        Dhcp4 { lease_s: Some(0), ..ack },
        Dhcp4 { yours: [0; 4], ..ack },
        Dhcp4 { yours: [255; 4], ..ack },
        Dhcp4 { yours: [224, 0, 0, 1], ..ack },
    ] {
        answer(&mut leases, bad, 1);
        assert_eq!(leases.held, [], "{bad:?}");
    }
    answer(&mut leases, ack, 120_001);
    assert_eq!(leases.held, [], "too late");
    answer(&mut leases, ack, 120_000);
    assert_eq!(leases.held.len(), 1);
}

#[test]
fn a_request_counts_for_the_ports_own_mac_only() {
    let mut leases = leases(4);
    leases.hear_client(MAC, Dhcp::V4(Dhcp4 { client: OTHER, ..message(REQUEST, 7, 0) }), Millis(0));
    leases.hear_client(MAC, Dhcp::V4(message(kind4::ACK, 7, 0)), Millis(0));
    answer(&mut leases, message(kind4::ACK, 7, 100), 0);
    assert_eq!(leases.held, []);
}

#[test]
fn what_is_released_or_declined_is_held_no_longer() {
    for kind in [kind4::RELEASE, kind4::DECLINE] {
        let mut leases = leases(4);
        ask(&mut leases, REQUEST, 7, 0, 0);
        answer(&mut leases, message(kind4::ACK, 7, 100), 0);
        answer(&mut leases, message(kind4::ACK, 7, 101), 0);
        ask(&mut leases, kind, 9, 100, 0);
        assert_eq!(held(&leases, 0), [101]);
    }
}

#[test]
fn of_more_than_may_be_held_that_goes_which_was_confirmed_longest_ago() {
    let mut leases = leases(2);
    ask(&mut leases, REQUEST, 7, 0, 0);
    for n in [1, 2, 1, 3] {
        answer(&mut leases, message(kind4::ACK, 7, n), 0);
    }
    assert_eq!(held(&leases, 0), [1, 3]);
    leases.limit(1);
    assert_eq!(held(&leases, 0), [3]);
    leases.limit(0);
    answer(&mut leases, message(kind4::ACK, 7, 1), 0);
    assert_eq!(leases.held, []);
}

#[test]
fn transactions_are_remembered_up_to_a_number_the_latest() {
    let mut leases = leases(4);
    (0..9).for_each(|xid| ask(&mut leases, REQUEST, xid, 0, 0));
    answer(&mut leases, message(kind4::ACK, 0, 100), 0);
    assert_eq!(leases.held, []);
    answer(&mut leases, message(kind4::ACK, 1, 100), 0);
    assert_eq!((leases.held.len(), leases.asked.len()), (1, TRANSACTIONS));
}

/// A frame of DHCPv6 with one address and one prefix, as it is parsed.
fn dhcpv6(kind: u8, xid: u8, valid_s: u32) -> Vec<u8> {
    let address = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let subnet = [0xfd, 0, 0, 9, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let valid = valid_s.to_be_bytes();
    let na = [&[0, 3, 0, 40][..], &[0; 12], &[0, 5, 0, 24], &address, &[0; 4], &valid].concat();
    let pd = [&[0, 25, 0, 41][..], &[0; 12], &[0, 26, 0, 25], &[0; 4], &valid, &[48 + 16], &subnet].concat();
    let message = [&[kind, 0, 0, xid][..], &na, &pd].concat();
    let ports = if kind == kind6::REPLY { [2, 35, 2, 34] } else { [2, 34, 2, 35] };
    let udp = [&ports[..], &(8 + message.len() as u16).to_be_bytes(), &[0, 0], &message].concat();
    [&[0; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 17, 64], &[0xfe; 32], &udp].concat()
}

fn held6(leases: &Leases, now: u64) -> [bool; 3] {
    ["fd00:9::100", "fd00:9:7:0:1::1", "fd00:9:8::1"]
        .map(|text| leases.holds(text.parse().unwrap(), Millis(now)))
}

#[test]
fn addresses_and_delegated_prefixes_of_dhcpv6_are_held_until_they_are_valid_no_longer() {
    let mut leases = leases(4);
    let hear = |leases: &mut Leases, kind, to, valid_s| {
        let frame = dhcpv6(kind, 7, valid_s);
        let message = wire::dhcp::parse(&frame).unwrap();
        match kind {
            kind6::REPLY => leases.hear_server(MAC, to, message, Millis(0)),
            _ => leases.hear_client(MAC, message, Millis(0)),
        }
    };
    hear(&mut leases, kind6::REPLY, MAC, 120);
    assert_eq!(leases.held, [], "nobody asked");
    hear(&mut leases, 3, MAC, 0);
    hear(&mut leases, kind6::REPLY, OTHER, 120);
    assert_eq!(leases.held, [], "for another");
    hear(&mut leases, kind6::REPLY, MAC, 120);
    assert_eq!((held6(&leases, 119_999), held6(&leases, 120_000)), ([true, true, false], [false; 3]));
    hear(&mut leases, kind6::REPLY, MAC, u32::MAX);
    assert_eq!(held6(&leases, u64::MAX), [true, true, false]);
    hear(&mut leases, kind6::REPLY, MAC, 0);
    assert_eq!(leases.held, []);
    hear(&mut leases, kind6::REPLY, MAC, 120);
    hear(&mut leases, kind6::RELEASE, MAC, 0);
    assert_eq!(leases.held, []);
}

/// The naive leases: a map of everything that was ever said, searched from end to end.
#[derive(Default)]
struct Naive {
    /// By transaction: when it was asked last.
    asked: BTreeMap<u32, (u64, u64)>,
    /// By address: order of confirmation, end.
    held: BTreeMap<u8, (u64, u64)>,
    steps: u64,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Ask(u8, u32, u8),
    Answer(u32, u8, u32),
    Step(u64),
}

impl Naive {
    fn apply(&mut self, op: Op, most: usize, now: u64) {
        self.steps += 1;
        match op {
            Op::Ask(kind, xid, n) => {
                self.asked.insert(xid, (self.steps, now));
                while self.asked.len() > 8 {
                    let oldest = *self.asked.iter().min_by_key(|(_, (step, _))| *step).unwrap().0;
                    self.asked.remove(&oldest);
                }
                if kind == kind4::RELEASE || kind == kind4::DECLINE {
                    self.held.remove(&n);
                }
            }
            Op::Answer(xid, n, seconds) => {
                if self.asked.get(&xid).is_none_or(|(_, at)| now - at > 120_000) {
                    return;
                }
                self.held.remove(&n);
                if self.held.len() >= most {
                    self.held.retain(|_, (_, end)| now < *end);
                }
                if self.held.len() >= most && most > 0 {
                    let oldest = *self.held.iter().min_by_key(|(_, (step, _))| *step).unwrap().0;
                    self.held.remove(&oldest);
                }
                if most > 0 {
                    self.held.insert(n, (self.steps, now + 1000 * u64::from(seconds)));
                }
            }
            Op::Step(_) => {}
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let kind = select(vec![REQUEST, REQUEST, 1, kind4::RELEASE, kind4::DECLINE]);
    prop_oneof![
        (kind, 0..12u32, 0..6u8).prop_map(|(kind, xid, n)| Op::Ask(kind, xid, n)),
        (0..12u32, 0..6u8, select(vec![1u32, 60, 600])).prop_map(|(xid, n, s)| Op::Answer(xid, n, s)),
        select(vec![1u64, 999, 1000, 60_000, 119_999, 120_000, 120_001]).prop_map(Op::Step),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2 * ProptestConfig::default().cases, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn leases_are_what_the_naive_ones_are(ops in some(op(), 0..120), most in 0..4u16) {
        let (mut leases, mut naive, mut now) = (leases(most), Naive::default(), 0);
        let (memory, transactions) = (leases.held.capacity(), leases.asked.capacity());
        for op in ops {
            match op {
                Op::Ask(kind, xid, n) => ask(&mut leases, kind, xid, n, now),
                Op::Answer(xid, n, s) => answer(&mut leases, Dhcp4 { lease_s: Some(s), ..message(kind4::ACK, xid, n) }, now),
                Op::Step(ms) => now += ms,
            }
            naive.apply(op, usize::from(most), now);
            let expected: Vec<_> = naive.held.iter().filter(|(_, (_, end))| now < *end).map(|(n, _)| *n).collect();
            prop_assert_eq!(held(&leases, now), expected, "after {:?} at {}", op, now);
        }
        prop_assert_eq!((memory, transactions), (leases.held.capacity(), leases.asked.capacity()), "allocated");
    }
}
