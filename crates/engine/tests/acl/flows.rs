//! Flows of stateful rules that are no connections, and how many there may be.

use crate::{
    frames::{ACK, FIN, Ip, Part, SYN, Tcp, Upper},
    port::{Port, ip, lists, segment},
};
use engine::{
    AclWay::{self, In, Out},
    Millis,
};
use model::DropReason::{self, ExtAclDenied, FlowTableFull, OutOfState};
use proptest::{collection::vec, prelude::*};
use std::collections::HashMap;

fn udp(way: AclWay, port: u16) -> Upper {
    if way == Out { Upper::Udp(port, 53) } else { Upper::Udp(53, port) }
}

#[test]
fn datagrams_come_back_until_nothing_came_for_too_long() {
    let mut port = Port::stateful();
    assert_eq!(port.send(In, udp(In, 9)), Some(ExtAclDenied));
    assert_eq!(port.send(Out, udp(Out, 9)), None);
    for _ in 0..3 {
        port.wait(99);
        assert_eq!(port.send(In, udp(In, 9)), None);
    }
    assert_eq!(port.send(In, udp(In, 10)), Some(ExtAclDenied), "of another flow");
    port.wait(100);
    assert_eq!(port.send(In, udp(In, 9)), Some(ExtAclDenied));
}

#[test]
fn flows_of_two_vlans_have_nothing_to_do_with_each_other() {
    let mut port = Port::stateful();
    port.vlan = 10;
    assert_eq!(port.send(Out, udp(Out, 9)), None);
    port.vlan = 20;
    assert_eq!(port.send(In, udp(In, 9)), Some(ExtAclDenied));
    port.vlan = 10;
    assert_eq!(port.send(In, udp(In, 9)), None);
}

#[test]
fn echo_replies_pass_to_who_asked_and_requests_do_not() {
    let mut port = Port::stateful();
    let echo = |kind, id| Upper::Icmp(kind, id, vec![]);
    assert_eq!(port.send(In, echo(0, 7)), Some(ExtAclDenied));
    assert_eq!(port.send(Out, echo(0, 7)), Some(OutOfState), "a reply opens nothing");
    assert_eq!(port.send(Out, echo(8, 7)), None);
    assert_eq!(port.send(In, echo(0, 7)), None);
    assert_eq!(port.send(In, echo(0, 8)), Some(ExtAclDenied));
    assert_eq!(port.send(In, echo(8, 7)), Some(OutOfState));
    assert_eq!(port.send(In, echo(13, 7)), Some(ExtAclDenied));
}

/// An ICMP message of that type about a packet that the VM sent.
fn about(kind: u8, quoted: Upper) -> Upper {
    Upper::Icmp(kind, 0, ip(Out, quoted).bytes())
}

#[test]
fn errors_about_what_is_on_its_way_pass_and_others_do_not() {
    let mut port = Port::stateful();
    assert_eq!(port.send(In, about(3, udp(Out, 9))), Some(ExtAclDenied));
    assert_eq!(port.send(Out, udp(Out, 9)), None);
    assert_eq!(port.send(Out, segment(Out, SYN, 1000, 0, 0)), None);
    for kind in [3, 11, 12] {
        assert_eq!(port.send(In, about(kind, udp(Out, 9))), None, "{kind}");
        assert_eq!(port.send(In, about(kind, segment(Out, SYN, 1000, 0, 0))), None, "{kind}");
    }
    assert_eq!(port.send(In, about(5, udp(Out, 9))), Some(ExtAclDenied), "a redirect");
    assert_eq!(port.send(In, about(3, udp(Out, 10))), Some(ExtAclDenied));
    assert_eq!(port.send(In, about(3, segment(Out, SYN, 500_000, 0, 0))), Some(OutOfState));
    let from_a_router = Ip { src: "198.51.100.1".parse().unwrap(), ..ip(In, about(11, udp(Out, 9))) };
    assert_eq!(port.send_ip(In, &from_a_router), None);
    let for_another = Ip { dst: "10.0.0.2".parse().unwrap(), ..from_a_router };
    assert_eq!(port.send_ip(In, &for_another), Some(ExtAclDenied), "who is told did not send it");
    let backwards = Upper::Icmp(3, 0, ip(In, udp(In, 9)).bytes());
    assert_eq!(port.send(In, backwards), Some(ExtAclDenied), "about what the peer would have sent");
}

#[test]
fn later_fragments_pass_behind_a_first_one_that_did() {
    let mut port = Port::stateful();
    let fragment = |way, part, upper: Upper| Ip { part, ..ip(way, upper) };
    let later = |way, id| fragment(way, Part::Later(id, 185), Upper::Other(17));
    assert_eq!(port.send_ip(In, &later(In, 7)), Some(ExtAclDenied));
    assert_eq!(port.send_ip(Out, &later(Out, 7)), Some(OutOfState), "there was no first one");
    assert_eq!(port.send_ip(Out, &fragment(Out, Part::First(7), udp(Out, 9))), None);
    assert_eq!(port.send_ip(Out, &later(Out, 7)), None);
    assert_eq!(port.send_ip(Out, &later(Out, 8)), Some(OutOfState));
    assert_eq!(port.send_ip(In, &later(In, 7)), Some(ExtAclDenied), "nor does it let others back");
    assert_eq!(port.send_ip(In, &fragment(In, Part::First(9), udp(In, 9))), None, "of an answer");
    assert_eq!(port.send_ip(In, &later(In, 9)), None);
    assert_eq!(port.send_ip(In, &fragment(In, Part::First(10), udp(In, 99))), Some(ExtAclDenied));
    assert_eq!(port.send_ip(In, &later(In, 10)), Some(ExtAclDenied));
    port.wait(60);
    assert_eq!(port.send_ip(In, &later(In, 9)), Some(ExtAclDenied));
}

#[test]
fn a_segment_in_fragments_opens_nothing_and_belongs_to_nothing() {
    let mut port = Port::stateful();
    let first = Ip { part: Part::First(7), ..ip(Out, segment(Out, SYN, 1000, 0, 0)) };
    assert_eq!(port.send_ip(Out, &first), Some(OutOfState));
    assert_eq!(port.state.flows(), 0);
}

#[test]
fn a_later_fragment_may_not_overlap_the_header_of_a_segment() {
    let mut port = Port::new(
        &["in allow tcp to any port 80 weight 9", "in deny ip weight 1", "out allow udp weight 1 stateful"],
        100,
    );
    let upper = Upper::Tcp(Tcp { ports: (5, 80), ..Tcp::default() });
    assert_eq!(port.send_ip(In, &Ip { part: Part::First(7), ..ip(In, upper) }), None);
    for (offset, expected) in [(1, Some(OutOfState)), (2, Some(OutOfState)), (3, None), (185, None)] {
        let later = Ip { part: Part::Later(7, offset), ..ip(In, Upper::Other(6)) };
        assert_eq!(port.send_ip(In, &later), expected, "{offset}");
    }
}

#[test]
fn what_is_hidden_opens_nothing() {
    let mut port = Port::stateful();
    for upper in [Upper::Cut(6), Upper::Cut(17)] {
        assert_eq!(port.send(Out, upper), Some(OutOfState));
    }
    assert_eq!(port.state.flows(), 0);
}

#[test]
fn a_change_of_rules_applies_to_flows_that_are_there() {
    let mut port = Port::stateful();
    assert_eq!(port.send(Out, udp(Out, 9)), None);
    let still = ["out allow udp weight 5 stateful idle 7", "in deny ip weight 1"];
    port.state.follow(&lists(&still, 1000));
    assert_eq!(port.send(In, udp(In, 9)), None, "another rule lets it begin");
    port.wait(7);
    assert_eq!(port.send(In, udp(In, 9)), Some(ExtAclDenied), "by whose idle time it goes");
    assert_eq!(port.send(Out, udp(Out, 9)), None);
    port.state.follow(&lists(&["out deny udp weight 10", still[0], still[1]], 1000));
    assert_eq!(port.send(In, udp(In, 9)), Some(ExtAclDenied), "none does any more");
    assert_eq!(port.state.flows(), 0);
}

#[test]
fn basic_rules_judge_what_belongs_to_a_flow_too() {
    let mut port = Port::new(
        &["out allow ip weight 1 stateful", "in deny ip weight 1", "in deny from 192.0.2.0/24"],
        10,
    );
    assert_eq!(port.send(Out, udp(Out, 9)), None);
    assert_eq!(port.send(In, udp(In, 9)), Some(DropReason::AclDenied));
}

#[test]
fn at_the_quota_the_oldest_flow_without_answer_makes_room_and_no_other() {
    let mut port = Port::new(&["out allow ip weight 1 stateful", "in deny ip weight 1"], 3);
    for number in [1, 2, 3] {
        assert_eq!(port.send(Out, udp(Out, number)), None);
    }
    assert_eq!(port.send(In, udp(In, 1)), None);
    assert_eq!(port.send(Out, udp(Out, 4)), None, "in place of 2");
    assert_eq!(port.send(In, udp(In, 2)), Some(ExtAclDenied));
    for number in [3, 4] {
        assert_eq!(port.send(In, udp(In, number)), None);
    }
    assert_eq!(port.send(Out, udp(Out, 5)), Some(FlowTableFull), "all are answered");
    assert_eq!(port.send(In, udp(In, 1)), None);
    port.wait(255);
    assert_eq!(port.send(Out, udp(Out, 5)), None);
}

/// A segment of the connection that the VM's port of that number has with port 80: the VM counts from 10, the other end from 20.
fn of_connection(number: u16, way: AclWay, flags: u8, seq: u32, ack: u32) -> Upper {
    let ports = if way == Out { (number, 80) } else { (80, number) };
    Upper::Tcp(Tcp { ports, flags, seq, ack, window: 1000, ..Tcp::default() })
}

/// Opens one by its whole handshake.
fn open(port: &mut Port, number: u16) {
    for (way, flags, seq, ack) in [(Out, SYN, 10, 0), (In, SYN | ACK, 20, 11), (Out, ACK, 11, 21)] {
        assert_eq!(port.send(way, of_connection(number, way, flags, seq, ack)), None, "{number}");
    }
}

/// Has both ends finish one.
fn finish(port: &mut Port, number: u16) {
    for (way, seq, ack) in [(Out, 11, 21), (In, 21, 12)] {
        assert_eq!(port.send(way, of_connection(number, way, FIN | ACK, seq, ack)), None, "{number}");
    }
}

/// What becomes of a FIN that the other end sends again.
fn finishes_again(port: &mut Port, number: u16) -> Option<DropReason> {
    port.send(In, of_connection(number, In, FIN | ACK, 21, 12))
}

#[test]
fn at_the_quota_connections_that_both_ends_finished_make_room_oldest_first_and_no_live_one() {
    let mut port = Port::new(&["out allow ip weight 1 stateful", "in deny ip weight 1"], 3);
    [1, 2, 3].into_iter().for_each(|number| open(&mut port, number));
    assert_eq!(port.send(Out, of_connection(4, Out, SYN, 10, 0)), Some(FlowTableFull), "all are live");
    [2, 3, 1].into_iter().for_each(|number| finish(&mut port, number));
    assert_eq!([1, 2, 3].map(|number| finishes_again(&mut port, number)), [None; 3], "no place is needed");
    open(&mut port, 4);
    assert_eq!(
        [1, 2, 3].map(|number| finishes_again(&mut port, number)),
        [None, Some(ExtAclDenied), None],
        "the one finished first has gone"
    );
    open(&mut port, 5);
    assert_eq!([1, 3].map(|number| finishes_again(&mut port, number)), [None, Some(ExtAclDenied)]);
    open(&mut port, 6);
    assert_eq!(port.send(Out, of_connection(7, Out, SYN, 10, 0)), Some(FlowTableFull), "all are live");
    for number in [4, 5, 6] {
        assert_eq!(port.send(In, of_connection(number, In, ACK, 21, 11)), None, "{number}");
    }
}

#[test]
fn at_the_quota_a_connection_finished_before_it_was_seen_to_open_makes_room_once() {
    let mut port = Port::new(&["out allow ip weight 1 stateful", "in deny ip weight 1"], 2);
    // The other end finishes at once, so that the flow is dispensable without a break.
    for (way, flags, seq, ack) in
        [(Out, SYN, 10, 0), (In, SYN | ACK, 20, 11), (In, FIN | ACK, 21, 11), (Out, FIN | ACK, 11, 22)]
    {
        assert_eq!(port.send(way, of_connection(1, way, flags, seq, ack)), None);
    }
    [2, 3].into_iter().for_each(|number| open(&mut port, number));
    assert_eq!(port.send(Out, of_connection(4, Out, SYN, 10, 0)), Some(FlowTableFull));
    assert_eq!(port.state.flows(), 2);
}

#[test]
fn at_the_quota_a_connection_makes_room_of_which_nothing_came_but_an_ack_of_an_older_one() {
    let mut port = Port::new(&["out allow ip weight 1 stateful", "in deny ip weight 1"], 1);
    assert_eq!(port.send(Out, of_connection(1, Out, SYN, 10, 0)), None);
    assert_eq!(port.send(In, of_connection(1, In, ACK, 99, 11)), None);
    assert_eq!(port.send(Out, of_connection(2, Out, SYN, 10, 0)), None);
    assert_eq!(port.send(In, of_connection(1, In, ACK, 99, 11)), Some(ExtAclDenied));
}

#[test]
fn a_flood_of_syns_does_not_close_connections() {
    let mut port =
        Port::new(&["in allow tcp to any port 80 weight 9 stateful", "both deny ip weight 1"], 100);
    let from = |client: u16, flags, seq, ack| {
        Upper::Tcp(Tcp { ports: (client, 80), flags, seq, ack, window: 1000, ..Tcp::default() })
    };
    let answer = |client: u16, flags, seq, ack| {
        Upper::Tcp(Tcp { ports: (80, client), flags, seq, ack, window: 1000, ..Tcp::default() })
    };
    assert_eq!(port.send(In, from(1, SYN, 10, 0)), None);
    assert_eq!(port.send(Out, answer(1, SYN | 16, 20, 11)), None);
    assert_eq!(port.send(In, from(1, 16, 11, 21)), None);
    for client in 2..60_000 {
        assert_eq!(port.send(In, from(client, SYN, 10, 0)), None);
    }
    assert_eq!(port.state.flows(), 100);
    assert_eq!(port.send(Out, answer(1, 16, 21, 11)), None);
}

#[test]
fn memory_is_taken_when_flows_come_and_given_back_when_they_are_gone() {
    let mut port = Port::new(&["out allow udp weight 1 stateful idle 5"], 65_536);
    assert_eq!(port.state.bytes(), 0);
    for number in 0..20_000 {
        assert_eq!(port.send(Out, udp(Out, number)), None);
    }
    let bytes = port.state.bytes();
    assert!((20_000 * 80..20_000 * 250).contains(&bytes), "{bytes}");
    port.wait(5);
    assert_eq!(port.state.sweep(1_000_000, port.now), 20_000);
    assert_eq!(port.state.bytes(), 0);
}

/// A flow of datagrams as one would explain it.
#[derive(Clone, Debug)]
struct Naive {
    opened: AclWay,
    expires: u64,
    answered: bool,
    made: usize,
}

#[derive(Clone, Debug)]
enum Op {
    Send(bool, u16),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![8 => (any::<bool>(), 0..40u16).prop_map(|(out, port)| Op::Send(out, port)), 1 => (1..15_000u64).prop_map(Op::Wait)]
}

proptest! {
    /// Either side may open flows, for 20 s; so each is answered or not, runs out, or makes room.
    #[test]
    fn flows_come_and_go_as_in_a_naive_table(ops in vec(op(), 1..400), quota in 1..24u32) {
        let mut port = Port::new(&["both allow udp weight 1 stateful idle 20"], quota);
        let mut naive: HashMap<u16, Naive> = HashMap::new();
        for (at, op) in ops.iter().enumerate() {
            let (way, number) = match op {
                Op::Wait(millis) => {
                    port.now = Millis(port.now.0 + millis);
                    continue;
                }
                Op::Send(out, number) => (if *out { Out } else { In }, *number),
            };
            let now = port.now.0;
            naive.retain(|_, flow| flow.expires > now);
            let expected = match naive.get_mut(&number) {
                Some(flow) => {
                    flow.expires = now + 20_000;
                    flow.answered |= flow.opened != way;
                    None
                }
                None => {
                    let oldest = naive.iter().filter(|(_, flow)| !flow.answered).min_by_key(|(_, flow)| flow.made);
                    let oldest = oldest.map(|(number, _)| *number);
                    let is_full = naive.len() >= quota as usize;
                    if is_full && oldest.is_none() {
                        Some(FlowTableFull)
                    } else {
                        oldest.filter(|_| is_full).map(|number| naive.remove(&number));
                        naive.insert(number, Naive { opened: way, expires: now + 20_000, answered: false, made: at });
                        None
                    }
                }
            };
            prop_assert_eq!(port.send(way, udp(way, number)), expected, "{} {:?}", at, op);
            prop_assert!(port.state.flows() <= quota as usize);
        }
        port.now = Millis(port.now.0 + 20_000);
        port.state.sweep(1000, port.now);
        prop_assert_eq!(port.state.flows(), 0);
    }
}

#[test]
fn ipv6_flows_are_told_apart_by_all_their_bits() {
    let mut port = Port::stateful();
    let between = |way, src: &str, dst: &str| Ip {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        part: Part::Whole,
        upper: udp(way, 9),
    };
    assert_eq!(port.send_ip(Out, &between(Out, "2001:db8::1", "2001:db8:1::2")), None);
    assert_eq!(port.send_ip(In, &between(In, "2001:db8:1::2", "2001:db8::1")), None);
    assert_eq!(port.send_ip(In, &between(In, "2001:db8:2::2", "2001:db8::1")), Some(ExtAclDenied));
    assert_eq!(port.send_ip(In, &between(In, "2001:db8:1::2", "2001:db8::2")), Some(ExtAclDenied));
}
