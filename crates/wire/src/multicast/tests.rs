extern crate std;

use super::*;
use crate::{Sum, checksum};
use std::vec::Vec;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
const HOST: [u8; 4] = [192, 0, 2, 7];
const GROUP: [u8; 4] = [239, 1, 2, 3];

fn v4(octets: [u8; 4]) -> IpAddr {
    octets.into()
}

fn v6(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An IGMP message with Router Alert and TTL 1, from [`HOST`].
fn igmp(to: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut frame =
        [&group_mac(&v4(to)).0[..], &MAC.0, &[0x08, 0, 0x46, 0xc0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0]].concat();
    frame.extend([&HOST[..], &to, &[148, 4, 0, 0], body].concat());
    finish_v4(&mut frame);
    frame
}

/// Writes length and checksums.
fn finish_v4(frame: &mut [u8]) {
    let len = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&len.to_be_bytes());
    let header = 14 + usize::from(frame[14] & 0xf) * 4;
    frame[24..26].fill(0);
    let sum = Sum::default().bytes(&frame[14..header]).checksum();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame[header + 2..header + 4].fill(0);
    let sum = Sum::default().bytes(&frame[header..]).checksum();
    frame[header + 2..header + 4].copy_from_slice(&sum.to_be_bytes());
}

/// An MLD message with Router Alert and hop limit 1.
fn mld(source: &str, to: &str, body: &[u8]) -> Vec<u8> {
    let (source, to): (Ipv6Addr, Ipv6Addr) = (source.parse().unwrap(), to.parse().unwrap());
    let mut frame = [&group_mac(&to.into()).0[..], &MAC.0, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend((body.len() as u16 + 8).to_be_bytes());
    frame.extend([&[0, 1][..], &source.octets(), &to.octets(), &[58, 0, 5, 2, 0, 0, 1, 0], body].concat());
    finish_v6(&mut frame);
    frame
}

fn finish_v6(frame: &mut [u8]) {
    frame[64..66].fill(0);
    let (source, to) = (frame[22..38].try_into().unwrap(), frame[38..54].try_into().unwrap());
    let pseudo = checksum::pseudo_v6(source, to, 58, (frame.len() - 62) as u32);
    let sum = pseudo.bytes(&frame[62..]).checksum();
    frame[64..66].copy_from_slice(&sum.to_be_bytes());
}

fn seen(frame: &[u8]) -> Cast<'_> {
    read(&frame[..frame.len().min(128)], frame.len())
}

/// What a report says, and whether it was cut.
fn said(frame: &[u8]) -> Option<(Vec<(IpAddr, Change)>, bool)> {
    let Cast::Message(Message::Report(mut records), _) = seen(frame) else { return None };
    let said = records.by_ref().map(|r| (r.group, r.change)).collect();
    Some((said, records.is_cut()))
}

fn asked(frame: &[u8]) -> Option<Query> {
    match seen(frame) {
        Cast::Message(Message::Query(query), _) => Some(query),
        _ => None,
    }
}

fn report(kind: u8, group: [u8; 4]) -> Vec<u8> {
    igmp(group, &[&[kind, 0, 0, 0][..], &group].concat())
}

fn v3_report(records: &[Vec<u8>]) -> Vec<u8> {
    let head = [0x22, 0, 0, 0, 0, 0, 0, records.len() as u8];
    igmp([224, 0, 0, 22], &[&head[..], &records.concat()].concat())
}

fn v3_record(kind: u8, group: [u8; 4], sources: &[[u8; 4]]) -> Vec<u8> {
    [&[kind, 0, 0, sources.len() as u8][..], &group, &sources.concat()].concat()
}

fn v2_report(source: &str, records: &[(u8, &str)]) -> Vec<u8> {
    let mut body = std::vec![143, 0, 0, 0, 0, 0, 0, records.len() as u8];
    for (kind, group) in records {
        body.extend([*kind, 0, 0, 0]);
        body.extend(group.parse::<Ipv6Addr>().unwrap().octets());
    }
    mld(source, "ff02::16", &body)
}

#[test]
fn reports_and_leaves_of_igmp_v1_and_v2_are_read() {
    let joins = Some((std::vec![(v4(GROUP), Change::Joins)], false));
    assert_eq!((said(&report(0x12, GROUP)), said(&report(0x16, GROUP))), (joins.clone(), joins));
    let leave = igmp([224, 0, 0, 2], &[&[0x17, 0, 0, 0][..], &GROUP].concat());
    assert_eq!(said(&leave), Some((std::vec![(v4(GROUP), Change::Leaves)], false)));
}

#[test]
fn records_of_igmp_v3_are_joins_leaves_or_nothing() {
    let sources = [[10, 0, 0, 1], [10, 0, 0, 2]];
    let group = |last| [239, 0, 0, last];
    let records: Vec<_> = (1..=7)
        .flat_map(|kind| [v3_record(kind, group(kind), &[]), v3_record(kind, group(kind + 10), &sources)])
        .collect();
    // No more of them fit into 128 bytes, so the report is read as a whole.
    let frame = v3_report(&records);
    let Cast::Message(Message::Report(all), to) = read(&frame, frame.len()) else { panic!("no report") };
    let all: Vec<_> = all.map(|r| (r.group, r.change)).collect();
    let joins = |last| (v4(group(last)), Change::Joins);
    let leaves = (v4(group(3)), Change::Leaves);
    assert_eq!(all, [joins(11), joins(2), joins(12), leaves, joins(13), joins(4), joins(14), joins(15)]);
    assert_eq!(to, v4([224, 0, 0, 22]));
}

#[test]
fn a_report_longer_than_the_header_copy_is_read_as_far_as_it_goes_and_said_to_be_cut() {
    let records: Vec<_> = (0..20).map(|n| v3_record(4, [239, 0, 0, n], &[])).collect();
    let (groups, cut) = said(&v3_report(&records)).unwrap();
    assert_eq!((groups.len(), cut), (10, true));
    let records = [(4, "ff05::1"), (4, "ff05::2"), (4, "ff05::3")];
    let (groups, cut) = said(&v2_report("fe80::7", &records)).unwrap();
    assert_eq!((groups.len(), cut), (2, true));
    // Of a record with more sources than are at hand the group counts.
    let (groups, cut) = said(&v3_report(&[v3_record(5, GROUP, &[[10, 0, 0, 1]; 40])])).unwrap();
    assert_eq!((groups, cut), (std::vec![(v4(GROUP), Change::Joins)], false));
}

#[test]
fn a_whole_report_whose_records_do_not_fit_is_none() {
    let mut frame = v3_report(&[v3_record(4, GROUP, &[])]);
    frame[14 + 24 + 7] = 2;
    finish_v4(&mut frame);
    assert_eq!(said(&frame), None);
    let mut frame = v3_report(&[v3_record(4, GROUP, &[])]);
    frame[14 + 24 + 8 + 3] = 1;
    finish_v4(&mut frame);
    assert_eq!(said(&frame), None);
}

#[test]
fn reports_of_mld_are_read_and_groups_of_the_link_are_left_out() {
    let records = [(4, "ff02::1:ff00:7"), (2, "ff05::1:3")];
    let joins = (v6("ff05::1:3"), Change::Joins);
    assert_eq!(said(&v2_report("fe80::7", &records)), Some((std::vec![joins], false)));
    let body = [&[131, 0, 0, 0, 0, 0, 0, 0][..], &"ff05::9".parse::<Ipv6Addr>().unwrap().octets()].concat();
    assert_eq!(
        said(&mld("fe80::7", "ff05::9", &body)),
        Some((std::vec![(v6("ff05::9"), Change::Joins)], false))
    );
    let done = [&[132][..], &body[1..]].concat();
    assert_eq!(
        said(&mld("fe80::7", "ff02::2", &done)),
        Some((std::vec![(v6("ff05::9"), Change::Leaves)], false))
    );
}

#[test]
fn a_host_without_an_address_may_join_but_not_leave_or_ask() {
    assert_eq!(
        said(&v2_report("::", &[(4, "ff05::1"), (3, "ff05::2")])).unwrap().0,
        [(v6("ff05::1"), Change::Joins)]
    );
    let body = [&[132, 0, 0, 0, 0, 0, 0, 0][..], &"ff05::9".parse::<Ipv6Addr>().unwrap().octets()].concat();
    assert_eq!(said(&mld("::", "ff02::2", &body)), None);
    assert_eq!(asked(&mld("::", "ff02::1", &[[130].as_slice(), &[0; 23]].concat())), None);
}

fn ask(source: &str, version: Version, group: Option<&str>) -> Vec<u8> {
    let (source, group) = (source.parse().unwrap(), group.map(|group| group.parse().unwrap()));
    let ask =
        Ask { version, mac: MAC, source, group, max_response_ms: 10_000, interval_s: 125, robustness: 2 };
    let mut frame = [0xee; MAX_QUERY_LEN];
    let len = ask.write(&mut frame);
    frame[..len].to_vec()
}

#[test]
fn queries_that_are_written_are_read_again() {
    for (source, group) in [("0.0.0.0", "239.1.2.3"), ("fe80::1", "ff05::1")] {
        for (version, interval_ms) in [(Version::Single, None), (Version::Listed, Some(125_000))] {
            for group in [None, Some(group)] {
                let frame = ask(source, version, group);
                let group = group.map(|group| group.parse().unwrap());
                let source = source.parse().unwrap();
                let expected =
                    Query { source, group, max_response_ms: 10_000, interval_ms, suppressed: false };
                assert_eq!(asked(&frame), Some(expected), "{frame:02x?}");
            }
        }
    }
}

#[test]
fn codes_are_the_largest_not_above_their_value() {
    for value in 0..40_000 {
        let code = to_float8(value);
        assert!(float8(code) <= value);
        assert!(code == 255 || float8(code + 1) > value, "{value}");
    }
    assert_eq!(
        (float8(0x80), float8(0xff), float16(0x8000), float16(0xffff)),
        (128, 31_744, 32_768, 8_387_584)
    );
}

#[test]
fn what_came_from_off_the_link_or_is_damaged_is_no_message() {
    let spoil = |mut frame: Vec<u8>, at: usize, value: u8, finish: fn(&mut [u8])| {
        frame[at] = value;
        finish(&mut frame);
        frame
    };
    let good = report(0x16, GROUP);
    assert!(said(&good).is_some());
    assert_eq!(seen(&spoil(good.clone(), 22, 2, finish_v4)), Cast::Group(v4(GROUP)), "TTL 2");
    assert_eq!(seen(&spoil(good.clone(), 20, 0x20, finish_v4)), Cast::Group(v4(GROUP)), "a fragment");
    assert_eq!(seen(&spoil(good.clone(), 38, 0, |_| ())), Cast::Group(v4(GROUP)), "the message's checksum");
    assert_eq!(seen(&spoil(good.clone(), 26, 9, |_| ())), Cast::Group(v4(GROUP)), "the header's checksum");
    assert_eq!(seen(&spoil(good, 17, 200, |_| ())), Cast::Group(v4(GROUP)), "longer than the frame");
    let good = v2_report("fe80::7", &[(4, "ff05::1")]);
    assert!(said(&good).is_some());
    assert_eq!(seen(&spoil(good.clone(), 21, 2, finish_v6)), Cast::Local, "hop limit 2");
    assert_eq!(seen(&spoil(good.clone(), 22, 0x20, finish_v6)), Cast::Local, "a global source");
    assert_eq!(seen(&spoil(good.clone(), 56, 1, finish_v6)), Cast::Local, "no Router Alert");
    assert_eq!(seen(&spoil(good.clone(), 65, good[65] ^ 1, |_| ())), Cast::Local, "the checksum");
}

#[test]
fn without_router_alert_hosts_may_join_and_nobody_may_ask_or_leave() {
    let without = |mut frame: Vec<u8>| {
        frame[34..38].fill(1);
        finish_v4(&mut frame);
        frame
    };
    assert!(said(&without(report(0x16, GROUP))).is_some());
    assert_eq!(said(&without(igmp([224, 0, 0, 2], &[&[0x17, 0, 0, 0][..], &GROUP].concat()))), None);
    assert_eq!(said(&without(v3_report(&[v3_record(3, GROUP, &[])]))), Some((std::vec![], false)));
    assert_eq!(asked(&without(ask("192.0.2.1", Version::Single, None))), None);
    let v1 = without(igmp([224, 0, 0, 1], &[0x11, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(asked(&v1).map(|query| query.max_response_ms), Some(10_000));
}

#[test]
fn hellos_of_pim_and_advertisements_of_routers_are_read() {
    let mut hello = igmp([224, 0, 0, 13], &[0x20, 0, 0, 0, 0, 1, 0, 2, 0, 105]);
    hello[23] = 103;
    finish_v4(&mut hello);
    assert!(matches!(seen(&hello), Cast::Message(Message::Router(IpVersion::V4), _)));
    let advertisement = igmp([224, 0, 0, 106], &[0x30, 20, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(seen(&advertisement), Cast::Message(Message::Router(IpVersion::V4), _)));
    let advertisement = mld("fe80::1", "ff02::6a", &[151, 20, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(seen(&advertisement), Cast::Message(Message::Router(IpVersion::V6), _)));
}

#[test]
fn what_is_never_filtered_is_told_apart() {
    let data = |to: &str| {
        let to: IpAddr = to.parse().unwrap();
        let mut frame = [&group_mac(&to).0[..], &MAC.0].concat();
        match to {
            IpAddr::V4(to) => frame.extend(
                [&[8, 0, 0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0][..], &HOST, &to.octets()].concat(),
            ),
            IpAddr::V6(to) => frame
                .extend([&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64][..], &[0; 16], &to.octets()].concat()),
        }
        frame.extend([0; 10]);
        frame
    };
    for local in ["224.0.0.251", "224.0.0.1", "ff02::1", "ff02::1:ff00:7", "ff01::5", "192.0.2.255"] {
        assert_eq!(seen(&data(local)), Cast::Local, "{local}");
    }
    for group in ["224.0.1.1", "239.255.255.250", "ff05::1:3", "ff0e::1", "ff3e::8000:1"] {
        assert_eq!(seen(&data(group)), Cast::Group(group.parse().unwrap()), "{group}");
    }
    let mut other_mac = data("224.0.1.1");
    other_mac[5] ^= 1;
    assert_eq!(seen(&other_mac), Cast::Local);
    let mut tagged = data("224.0.1.1");
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    assert_eq!(seen(&tagged), Cast::Group(v4([224, 0, 1, 1])));
    let mut twice = tagged.clone();
    twice.splice(12..12, [0x81, 0, 0, 5]);
    assert_eq!(seen(&twice), Cast::Local);
    tagged[12..14].copy_from_slice(&[0x88, 0xa8]);
    assert_eq!(seen(&tagged), Cast::Local, "a service tag");
}
