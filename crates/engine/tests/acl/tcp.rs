//! Connections of stateful rules: what opens one, what belongs to it, what ends it.

use crate::{
    frames::{ACK, FIN, RST, SYN, Tcp, Upper},
    port::{Port, ip, segment},
};
use engine::AclWay::{self, In, Out};
use model::DropReason::{ExtAclDenied, OutOfState};
use proptest::{collection::vec, prelude::*};

/// The VM has sent a SYN of 1000, the peer one of 5000, and both have heard.
fn open() -> Port {
    let mut port = Port::stateful();
    for (way, flags, seq, ack) in [(Out, SYN, 1000, 0), (In, SYN | ACK, 5000, 1001), (Out, ACK, 1001, 5001)] {
        assert_eq!(port.send(way, segment(way, flags, seq, ack, 0)), None);
    }
    port
}

/// True where the connection that [`open`] made still stands, by its flow alone.
fn stands(port: &mut Port) -> bool {
    port.send(In, segment(In, ACK, 5001, 1001, 10)).is_none()
}

#[test]
fn a_connection_opens_by_its_handshake_and_passes_both_ways() {
    let mut port = open();
    for (way, seq, ack) in [(Out, 1001, 5001), (In, 5001, 1101), (Out, 1101, 5101), (In, 5101, 1201)] {
        assert_eq!(port.send(way, segment(way, ACK, seq, ack, 100)), None);
    }
    assert_eq!(port.state.flows(), 1);
}

#[test]
fn nothing_but_a_syn_opens_a_connection() {
    for flags in [ACK, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN, 0, SYN | FIN, SYN | RST, 0xff] {
        let mut port = Port::stateful();
        assert_eq!(port.send(Out, segment(Out, flags, 1000, 1, 0)), Some(OutOfState), "{flags:#x}");
        assert_eq!(port.state.flows(), 0);
        assert_eq!(port.send(In, segment(In, SYN | ACK, 5000, 1001, 0)), Some(ExtAclDenied));
    }
    assert_eq!(Port::stateful().send(In, segment(In, SYN, 1, 0, 0)), Some(ExtAclDenied));
}

#[test]
fn an_answer_has_to_acknowledge_the_syn() {
    for ack in [0, 999, 1000, 1002, 0x8000_0000] {
        let mut port = Port::stateful();
        assert_eq!(port.send(Out, segment(Out, SYN, 1000, 0, 0)), None);
        assert_eq!(port.send(In, segment(In, SYN | ACK, 5000, ack, 0)), Some(OutOfState), "{ack}");
        assert_eq!(port.send(In, segment(In, RST | ACK, 0, ack, 0)), Some(OutOfState), "{ack}");
        assert_eq!(port.send(In, segment(In, SYN | ACK, 5000, 1001, 0)), None, "the true one still passes");
    }
}

/// TCP Fast Open (RFC 7413): data comes with the SYN, and without it where that is sent again.
#[test]
fn an_answer_may_acknowledge_what_came_with_a_syn_before_it_was_sent_again() {
    for ack in [1001, 1051, 1101] {
        let mut port = Port::stateful();
        assert_eq!(port.send(Out, segment(Out, SYN, 1000, 0, 100)), None);
        assert_eq!(port.send(Out, segment(Out, SYN, 1000, 0, 0)), None);
        assert_eq!(port.send(In, segment(In, SYN | ACK, 5000, 1102, 0)), Some(OutOfState), "it was not sent");
        assert_eq!(port.send(In, segment(In, SYN | ACK, 5000, ack, 0)), None, "{ack}");
        assert_eq!(port.send(Out, segment(Out, ACK, ack, 5001, 100)), None, "{ack}");
    }
}

#[test]
fn an_answer_to_a_syn_does_not_acknowledge_what_came_with_one_of_another_number() {
    let mut port = Port::stateful();
    assert_eq!(port.send(Out, segment(Out, SYN, 1000, 0, 100)), None);
    assert_eq!(port.send(Out, segment(Out, SYN, 1050, 0, 0)), None);
    assert_eq!(port.send(In, segment(In, SYN | ACK, 5000, 1101, 0)), Some(OutOfState));
    assert_eq!(port.send(In, segment(In, SYN | ACK, 5000, 1051, 0)), None);
}

/// RFC 9293 section 3.5.1: the opener forgot a connection, or ended it, and so did the switch; the other end did not.
#[test]
fn a_connection_that_the_other_end_remembers_from_before_is_reset_and_begins_anew() {
    for reset in [RST, RST | ACK] {
        let mut port = Port::stateful();
        assert_eq!(port.send(Out, segment(Out, SYN, 99, 0, 0)), None);
        assert_eq!(port.send(In, segment(In, ACK, 5001, 1001, 0)), None, "it says what it remembers");
        assert_eq!(port.send(Out, segment(Out, reset, 1001, 0, 0)), None, "it is told to forget that");
        assert_eq!(port.state.flows(), 1);
        assert_eq!(port.send(Out, segment(Out, SYN, 99, 0, 0)), None);
        assert_eq!(port.send(In, segment(In, SYN | ACK, 90_000, 100, 0)), None);
        assert_eq!(port.send(Out, segment(Out, ACK, 100, 90_001, 10)), None);
    }
}

#[test]
fn what_a_blind_ack_in_answer_to_a_syn_brings_about_neither_opens_nor_prolongs_a_connection() {
    let mut port = Port::stateful();
    assert_eq!(port.send(Out, segment(Out, SYN, 1000, 0, 0)), None);
    for (flags, payload) in [(ACK, 1), (FIN | ACK, 0), (SYN, 0), (RST, 0), (RST | ACK, 0), (0, 0)] {
        let blind = port.send(In, segment(In, flags, 5001, 77, payload));
        assert_eq!(blind, Some(OutOfState), "{flags:#x} with {payload}");
    }
    port.wait(59);
    for ack in [0, 77, 1000, 1001] {
        assert_eq!(port.send(In, segment(In, ACK, 5001, ack, 0)), None);
        assert_eq!(port.send(In, segment(In, ACK, 5001, ack, 10)), Some(OutOfState), "it opened nothing");
    }
    assert_eq!(port.send(Out, segment(Out, RST, 77, 0, 0)), None);
    for flags in [ACK, FIN | ACK, RST | FIN] {
        assert_eq!(port.send(Out, segment(Out, flags, 1001, 5001, 0)), Some(OutOfState), "{flags:#x}");
    }
    port.wait(1);
    assert_eq!(port.send(In, segment(In, SYN | ACK, 5000, 1001, 0)), Some(ExtAclDenied), "its time was over");
}

#[test]
fn a_reset_of_the_opener_ends_what_it_opened_where_it_stands_behind_its_syn() {
    let mut port = Port::stateful();
    assert_eq!(port.send(Out, segment(Out, SYN, 1000, 0, 0)), None);
    assert_eq!(port.send(Out, segment(Out, RST, 1001, 0, 0)), None);
    assert_eq!(port.state.flows(), 0);
}

#[test]
fn a_refusal_passes_and_ends_the_connection() {
    let mut port = Port::stateful();
    assert_eq!(port.send(Out, segment(Out, SYN, 1000, 0, 0)), None);
    assert_eq!(port.send(In, segment(In, RST | ACK, 0, 1001, 0)), None);
    assert_eq!(port.state.flows(), 0);
}

#[test]
fn a_blind_reset_ends_nothing() {
    let mut port = open();
    // 5001 to 6001 is what the VM takes.
    for seq in [0, 1, 5001_u32.wrapping_sub(70_000), 4000, 6002, 7000, 0x8000_0000, u32::MAX] {
        assert_eq!(port.send(In, segment(In, RST, seq, 0, 0)), Some(OutOfState), "{seq}");
        assert_eq!(port.state.flows(), 1);
    }
    assert_eq!(port.send(In, segment(In, RST, 5500, 0, 0)), None, "in the window, for the VM to challenge");
    assert!(stands(&mut port), "which ends nothing");
    assert_eq!(
        port.send(In, segment(In, RST | ACK, 5011, 999_999, 0)),
        Some(OutOfState),
        "it acknowledges what was not sent"
    );
    assert_eq!(port.send(In, segment(In, RST, 5011, 0, 0)), None, "the true one");
    assert!(!stands(&mut port));
}

#[test]
fn a_segment_out_of_its_window_neither_passes_nor_moves_the_window() {
    let mut port = open();
    for (seq, ack) in
        [(6002, 1001), (3000, 1001), (5001, 1002), (5001, 1001_u32.wrapping_sub(66_002)), (0x8000_0000, 1001)]
    {
        assert_eq!(port.send(In, segment(In, ACK, seq, ack, 10)), Some(OutOfState), "{seq} {ack}");
        assert_eq!(port.send(In, segment(In, FIN | ACK, seq, ack, 10)), Some(OutOfState), "{seq} {ack}");
    }
    assert!(stands(&mut port));
}

#[test]
fn a_blind_syn_in_a_connection_changes_nothing() {
    let mut port = open();
    assert_eq!(port.send(In, segment(In, SYN, 777, 0, 0)), Some(OutOfState));
    assert_eq!(port.send(Out, segment(Out, SYN, 99, 0, 0)), None, "a VM that forgot asks, and is challenged");
    assert!(stands(&mut port));
    assert_eq!(port.send(Out, segment(Out, RST, 1001, 0, 0)), None);
    assert_eq!(port.send(Out, segment(Out, SYN, 99, 0, 0)), None);
    assert_eq!(port.send(In, segment(In, SYN | ACK, 5000, 100, 0)), None);
}

/// The same with window scales.
fn open_with(scale: Option<u8>, answer: Option<u8>) -> Port {
    let with = |way: AclWay, flags, seq, ack, scale| match segment(way, flags, seq, ack, 0) {
        Upper::Tcp(tcp) => Upper::Tcp(Tcp { scale, ..tcp }),
        other => other,
    };
    let mut port = Port::stateful();
    assert_eq!(port.send(Out, with(Out, SYN, 1000, 0, scale)), None);
    assert_eq!(port.send(In, with(In, SYN | ACK, 5000, 1001, answer)), None);
    assert_eq!(port.send(Out, segment(Out, ACK, 1001, 5001, 0)), None);
    port
}

#[test]
fn windows_of_later_segments_are_scaled_by_who_offers_them() {
    let mut port = open_with(Some(7), Some(2));
    assert_eq!(port.send(In, segment(In, ACK, 5001, 1001, 100)), None);
    assert_eq!(port.send(Out, segment(Out, ACK, 1002 + 4000, 5101, 0)), Some(OutOfState));
    assert_eq!(port.send(Out, segment(Out, ACK, 1001 + 4000, 5101, 0)), None);
    assert_eq!(port.send(In, segment(In, ACK, 5102 + 128_000, 1001, 0)), Some(OutOfState));
    assert_eq!(port.send(In, segment(In, ACK, 5101 + 128_000, 1001, 0)), None);
}

#[test]
fn a_segment_with_the_numbers_of_the_other_end_is_no_part_of_a_connection() {
    let mut port = open();
    assert_eq!(port.send(In, segment(In, ACK, 1001, 5001, 10)), Some(OutOfState));
    assert_eq!(port.send(Out, segment(Out, ACK, 5001, 1001, 10)), Some(OutOfState));
    assert!(stands(&mut port));
}

#[test]
fn windows_are_scaled_as_both_agreed_and_not_where_one_did_not() {
    for (scale, answer, reach) in [
        (Some(7), Some(2), 128_000),
        (Some(7), None, 1000),
        (None, Some(2), 1000),
        (Some(15), Some(0), 16_384_000),
    ] {
        let mut port = open_with(scale, answer);
        assert_eq!(
            port.send(In, segment(In, ACK, 5002 + reach, 1001, 0)),
            Some(OutOfState),
            "{scale:?} {answer:?}"
        );
        assert_eq!(port.send(In, segment(In, ACK, 5001 + reach, 1001, 0)), None, "{scale:?} {answer:?}");
    }
}

#[test]
fn a_connection_that_both_ends_finished_makes_room_for_the_next() {
    let mut port = open();
    assert_eq!(port.send(Out, segment(Out, FIN | ACK, 1001, 5001, 0)), None);
    assert_eq!(port.send(In, segment(In, ACK, 5001, 1002, 100)), None, "half of it is open");
    assert_eq!(port.send(In, segment(In, FIN | ACK, 5101, 1002, 0)), None);
    assert_eq!(port.send(Out, segment(Out, ACK, 1002, 5102, 0)), None);
    assert_eq!(port.send(In, segment(In, SYN, 9, 0, 0)), Some(OutOfState), "not for the other end");
    assert_eq!(port.send(Out, segment(Out, SYN, 70_000, 0, 0)), None);
    assert_eq!(port.send(In, segment(In, SYN | ACK, 90_000, 70_001, 0)), None);
}

#[test]
fn a_connection_is_forgotten_when_it_was_idle_for_too_long() {
    let mut port = open();
    port.wait(99);
    assert!(stands(&mut port));
    port.wait(100);
    assert!(!stands(&mut port));
    assert_eq!(
        port.send(Out, segment(Out, ACK, 1001, 5011, 0)),
        Some(OutOfState),
        "and does not come back by itself"
    );
}

/// Both ends have forgotten it: the other one takes the SYN, but its answer is at no place of the connection that there was.
#[test]
fn syns_in_a_connection_do_not_keep_it_alive() {
    let mut port = open();
    for _ in 0..9 {
        port.wait(11);
        assert_eq!(port.send(Out, segment(Out, SYN, 800_000, 0, 0)), None);
        assert_eq!(port.send(In, segment(In, SYN | ACK, 900_000, 800_001, 0)), Some(OutOfState));
    }
    port.wait(1);
    assert_eq!(port.send(Out, segment(Out, SYN, 800_000, 0, 0)), None);
    assert_eq!(port.send(In, segment(In, SYN | ACK, 900_000, 800_001, 0)), None, "its time has come");
}

#[test]
fn a_handshake_goes_on_for_as_long_as_the_syn_is_answered() {
    let mut port = Port::stateful();
    for _ in 0..5 {
        assert_eq!(port.send(Out, segment(Out, SYN, 1000, 0, 0)), None);
        port.wait(10);
        assert_eq!(port.send(In, segment(In, SYN | ACK, 5000, 1001, 0)), None);
        port.wait(49);
    }
    assert_eq!(port.send(Out, segment(Out, ACK, 1001, 5001, 0)), None);
    assert!(stands(&mut port));
}

#[test]
fn a_handshake_that_nobody_answers_is_forgotten_after_a_minute() {
    let mut port = Port::stateful();
    assert_eq!(port.send(Out, segment(Out, SYN, 1000, 0, 0)), None);
    port.wait(60);
    assert_eq!(port.send(In, segment(In, SYN | ACK, 5000, 1001, 0)), Some(ExtAclDenied));
}

#[test]
fn numbers_wrap_around() {
    let mut port = Port::stateful();
    let (vm, peer) = (u32::MAX - 5, u32::MAX - 50);
    assert_eq!(port.send(Out, segment(Out, SYN, vm, 0, 0)), None);
    assert_eq!(port.send(In, segment(In, SYN | ACK, peer, vm.wrapping_add(1), 0)), None);
    let (mut vm, mut peer) = (vm.wrapping_add(1), peer.wrapping_add(1));
    for _ in 0..200 {
        assert_eq!(port.send(Out, segment(Out, ACK, vm, peer, 100)), None);
        vm = vm.wrapping_add(100);
        assert_eq!(port.send(In, segment(In, ACK, peer, vm, 900)), None);
        peer = peer.wrapping_add(900);
    }
}

/// An end of a connection that keeps to what the other one said.
#[derive(Clone, Debug)]
struct End {
    /// Next to send, acknowledged by the other end, expected of it, and what it said it takes.
    next: u32,
    acked: u32,
    expects: u32,
    takes: u32,
}

impl End {
    /// What it may still send.
    fn room(&self) -> u32 {
        self.acked.wrapping_add(self.takes).wrapping_sub(self.next).min(0x7fff_ffff)
    }
}

/// What an end does: how much it sends of what it may, whether that gets there, whether it is sent again later.
#[derive(Clone, Debug)]
struct Turn {
    by_vm: bool,
    bytes: u16,
    arrives: bool,
    again: bool,
}

fn turn() -> impl Strategy<Value = Turn> {
    (any::<bool>(), 0..1500u16, any::<bool>(), any::<bool>()).prop_map(|(by_vm, bytes, arrives, again)| {
        Turn { by_vm, bytes, arrives: arrives || bytes % 3 != 0, again }
    })
}

proptest! {
    /// Ends that keep to the rules, over a network that loses and repeats, never notice the switch. Whoever guesses does.
    #[test]
    fn what_honest_ends_say_passes_and_what_strangers_guess_does_not(
        starts in (any::<u32>(), any::<u32>()), turns in vec(turn(), 1..200), guesses in vec((any::<bool>(), any::<u32>(), any::<u32>(), 0..64u8), 200),
    ) {
        const WINDOW: u16 = 30_000;
        let mut port = Port::stateful();
        let say = |port: &mut Port, by_vm: bool, flags, seq, ack, payload| {
            let way = if by_vm { Out } else { In };
            let Upper::Tcp(tcp) = segment(way, flags, seq, ack, payload) else { unreachable!() };
            port.send_ip(way, &ip(way, Upper::Tcp(Tcp { window: WINDOW, ..tcp })))
        };
        prop_assert_eq!(say(&mut port, true, SYN, starts.0, 0, 0), None);
        prop_assert_eq!(say(&mut port, false, SYN | ACK, starts.1, starts.0.wrapping_add(1), 0), None);
        let takes = u32::from(WINDOW);
        let (vm, peer) = (starts.0.wrapping_add(1), starts.1.wrapping_add(1));
        let mut ends = [End { next: vm, acked: vm, expects: peer, takes }, End { next: peer, acked: peer, expects: vm, takes }];
        prop_assert_eq!(say(&mut port, true, ACK, vm, peer, 0), None);
        for (turn, guess) in turns.iter().zip(guesses) {
            let (from, to) = if turn.by_vm { (0, 1) } else { (1, 0) };
            let bytes = u32::from(turn.bytes).min(ends[from].room());
            // What was lost is sent again from where the other end has heard to.
            let seq = if turn.again { ends[from].acked } else { ends[from].next };
            let bytes = if turn.again { bytes.min(ends[from].next.wrapping_sub(seq)) } else { bytes };
            let said = say(&mut port, turn.by_vm, ACK, seq, ends[from].expects, bytes as u16);
            prop_assert_eq!(said, None, "{:?} {:?}", turn, ends);
            if !turn.again {
                ends[from].next = seq.wrapping_add(bytes);
            }
            if turn.arrives {
                if seq == ends[to].expects || (turn.again && bytes > 0 && ends[to].expects.wrapping_sub(seq) <= bytes) {
                    ends[to].expects = seq.wrapping_add(bytes);
                }
                ends[to].acked = ends[from].expects;
            }
            let (by_vm, seq, ack, flags) = guess;
            let end = &ends[usize::from(!by_vm)];
            let is_far = |a: u32, b: u32| a.wrapping_sub(b).wrapping_add(200_000) > 400_000;
            if is_far(seq, end.next) && is_far(ack, end.expects) && flags & SYN == 0 {
                prop_assert_eq!(say(&mut port, by_vm, flags, seq, ack, 9), Some(OutOfState), "{:?}", guess);
            }
        }
        prop_assert_eq!(port.state.flows(), 1);
    }
}
