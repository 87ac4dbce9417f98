extern crate std;
use super::*;
use std::{vec, vec::Vec};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const YOURS: [u8; 4] = [10, 9, 0, 100];
const OWN6: [u8; 16] = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

fn udp(ports: (u16, u16), message: &[u8]) -> Vec<u8> {
    let len = (8 + message.len()) as u16;
    [&ports.0.to_be_bytes()[..], &ports.1.to_be_bytes(), &len.to_be_bytes(), &[0, 0], message].concat()
}

fn over_v4(ports: (u16, u16), fragment: u8, message: &[u8]) -> Vec<u8> {
    let head = [8, 0, 0x45, 0, 0, 0, 0, 7, fragment, 0, 64, 17, 0, 0];
    [&[0xff; 6][..], &MAC, &head, &[10; 8], &udp(ports, message)].concat()
}

fn over_v6(ports: (u16, u16), message: &[u8]) -> Vec<u8> {
    let head = [0x86, 0xdd, 0x60, 0, 0, 0, 0, 99, 17, 255];
    [&[0x33; 6][..], &MAC, &head, &[0xfe; 32], &udp(ports, message)].concat()
}

fn message(op: u8, options: &[u8]) -> Vec<u8> {
    let mut fixed = vec![0; 236];
    fixed[..8].copy_from_slice(&[op, 1, 6, 0, 1, 2, 3, 4]);
    fixed[16..20].copy_from_slice(&YOURS);
    fixed[28..34].copy_from_slice(&MAC);
    [&fixed[..], &COOKIE, options].concat()
}

const ACK: [u8; 10] = [53, 1, 5, 51, 4, 0, 0, 0, 120, 255];

fn ack() -> Dhcp4 {
    let (has, yours) = ([0; 4], YOURS);
    Dhcp4 {
        is_reply: true,
        kind: 5,
        xid: 0x0102_0304,
        client: MacAddr(MAC),
        has,
        yours,
        requested: None,
        lease_s: Some(120),
    }
}

fn v4_of(frame: &[u8]) -> Option<Dhcp4> {
    parse(frame).map(|message| if let Dhcp::V4(message) = message { message } else { panic!("{message:?}") })
}

#[test]
fn an_acknowledgement_says_who_gets_what_for_how_long() {
    let frame = over_v4((67, 68), 0, &message(2, &ACK));
    assert_eq!(v4_of(&frame), Some(ack()));
    assert!(is_likely(&frame[..42]) && !is_likely(&frame[..41]));
    let padded = [&frame[..], &[0; 20]].concat();
    assert_eq!(v4_of(&padded), Some(ack()));
    let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
    assert_eq!(v4_of(&tagged), Some(ack()));
}

#[test]
fn a_request_names_an_address() {
    let options = [0, 0, 53, 1, 4, 50, 4, 10, 9, 0, 9, 255];
    let expected = Dhcp4 {
        is_reply: false,
        kind: kind4::DECLINE,
        requested: Some([10, 9, 0, 9]),
        lease_s: None,
        ..ack()
    };
    assert_eq!(v4_of(&over_v4((68, 67), 0, &message(1, &options))), Some(expected));
}

#[test]
fn options_go_on_in_the_names_where_they_are_said_to() {
    let mut overloaded = message(2, &[52, 1, 3, 53, 1, 5, 255]);
    overloaded[44..50].copy_from_slice(&[51, 4, 0, 0, 0, 120]);
    assert_eq!(v4_of(&over_v4((67, 68), 0, &overloaded)), Some(ack()));
    overloaded[242] = 1;
    assert_eq!(v4_of(&over_v4((67, 68), 0, &overloaded)), Some(Dhcp4 { lease_s: None, ..ack() }));
}

#[test]
fn what_is_no_whole_message_is_none() {
    let good = message(2, &ACK);
    let frame = over_v4((67, 68), 0, &good);
    for len in 0..frame.len() {
        assert_eq!(v4_of(&frame[..len]), None, "{len}");
    }
    assert_eq!(v4_of(&over_v4((67, 68), 0x20, &good)), None, "a fragment");
    assert_eq!(v4_of(&over_v4((68, 67), 0, &good)), None, "an answer to a server");
    assert_eq!(v4_of(&over_v4((67, 69), 0, &good)), None, "another port");
    assert_eq!(
        v4_of(&over_v4((67, 68), 0, &message(2, &[53, 9, 5, 255]))),
        None,
        "an option that does not fit"
    );
    for (at, value) in [(1, 6), (2, 8), (236, 0)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(v4_of(&over_v4((67, 68), 0, &bad)), None, "{at}");
    }
}

fn option(code: u8, value: &[u8]) -> Vec<u8> {
    [&[0, code, 0, value.len() as u8][..], value].concat()
}

fn v6_of(frame: &[u8]) -> Option<(Dhcp6<'_>, Vec<Lease6>)> {
    parse(frame).map(|message| {
        if let Dhcp::V6(message) = message {
            (message, message.leases().collect())
        } else {
            panic!("{message:?}")
        }
    })
}

#[test]
fn a_reply_of_dhcpv6_names_addresses_and_prefixes() {
    let address = option(5, &[&OWN6[..], &[0, 0, 0, 60, 0, 0, 0, 120]].concat());
    let prefix = option(26, &[&[0, 0, 0, 60, 0, 0, 1, 0, 56][..], &OWN6].concat());
    let options = [
        option(1, &[0, 3, 0, 1, 2, 3]),
        option(3, &[&[0; 12][..], &address, &option(13, &[0, 0]), &address].concat()),
        option(4, &[&[0; 4][..], &address, &prefix].concat()),
        option(25, &[&[0; 12][..], &address, &prefix].concat()),
    ];
    let frame = over_v6((547, 546), &[&[7, 1, 2, 3][..], &options.concat()].concat());
    let (message, leases) = v6_of(&frame).unwrap();
    assert_eq!((message.is_reply, message.kind, message.xid), (true, kind6::REPLY, 0x0001_0203));
    let address = Lease6 { address: OWN6, prefix_len: 128, valid_s: 120 };
    assert_eq!(leases, [address, address, address, Lease6 { prefix_len: 56, valid_s: 256, ..address }]);
    for len in 0..frame.len() {
        assert_eq!(v6_of(&frame[..len]), None, "{len}");
    }
}

#[test]
fn options_of_dhcpv6_end_before_one_that_does_not_fit() {
    let address = option(5, &[&OWN6[..], &[0; 8]].concat());
    let good = option(3, &[&[0; 12][..], &address].concat());
    for (bad, count) in [(&[0, 3, 0][..], 1), (&[0, 3, 0, 9, 1], 1), (&[0, 3, 0, 2, 1, 1], 1), (&good, 2)] {
        let frame = over_v6((546, 547), &[&[3, 0, 0, 1][..], &good, bad].concat());
        assert_eq!(v6_of(&frame).unwrap().1.len(), count, "{bad:?}");
    }
    let cut = option(3, &[&[0; 12][..], &address[..address.len() - 1]].concat());
    assert_eq!(v6_of(&over_v6((546, 547), &[&[3, 0, 0, 1][..], &cut].concat())).unwrap().1, []);
}
