//! Access lists without state against a naive reading of their rules.

use crate::{
    frames::{Carries, Frame, Ip, Part, Tcp, Upper},
    naive::Naive,
};
use engine::{Acl, AclFrame, AclState, AclWay, Millis};
use model::{AclAction, AclAddress, AclDirection, AclMatch, AclRule, AclTraffic, DropReason};
use proptest::{collection::vec, prelude::*, sample::select};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};
use wire::MacAddr;

fn v4() -> impl Strategy<Value = IpAddr> {
    (select(vec![10u8, 10, 11, 192]), 0..2u8, 0..3u8, 0..4u8)
        .prop_map(|(a, b, c, d)| Ipv4Addr::new(a, b, c, d).into())
}

fn v6() -> impl Strategy<Value = IpAddr> {
    let high = select(vec![0xfe80u16, 0x2001, 0x2001]);
    let plain = (high, 0..2u16, 0..4u16).prop_map(|(a, b, c)| Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, c).into());
    let mapped = v4().prop_map(|v4| match v4 {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        v6 @ IpAddr::V6(_) => v6,
    });
    prop_oneof![12 => plain, 1 => mapped]
}

fn prefix() -> impl Strategy<Value = wire::IpPrefix> {
    let of_v4 = (v4(), select(vec![0u8, 1, 8, 15, 16, 24, 30, 31, 32]));
    let of_v6 = (v6(), select(vec![0u8, 1, 16, 31, 32, 126, 128]));
    prop_oneof![3 => of_v4, 1 => of_v6].prop_filter_map("mapped", |(address, len)| {
        let free = if address.is_ipv4() { 32 - u32::from(len) } else { 128 - u32::from(len) };
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        let first = match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask as u32)),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask)),
        };
        let is_mapped = matches!(first, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        wire::IpPrefix::new(first, len).filter(|_| !is_mapped)
    })
}

fn ports() -> impl Strategy<Value = (u16, u16)> {
    (select(vec![0u16, 22, 53, 80, 1000, 65_535]), select(vec![0u16, 0, 1, 100, 65_535]))
        .prop_map(|(first, more)| (first, first.saturating_add(more)))
}

fn direction() -> impl Strategy<Value = AclDirection> {
    select(vec![AclDirection::In, AclDirection::Out, AclDirection::Both])
}

fn end() -> impl Strategy<Value = AclAddress> {
    prop_oneof![1 => Just(AclAddress::Any), 3 => prefix().prop_map(AclAddress::Ip)]
}

fn mac() -> impl Strategy<Value = [u8; 6]> {
    (0..6u8).prop_map(|last| [2, 0, 0, 0, 0, last])
}

fn mac_end() -> impl Strategy<Value = AclAddress> {
    prop_oneof![1 => Just(AclAddress::AnyMac), 4 => mac().prop_map(|mac| AclAddress::Mac(MacAddr(mac)))]
}

fn basic() -> impl Strategy<Value = AclRule> {
    let ends = prop_oneof![4 => (end(), end(), any::<bool>()), 1 => (mac_end(), mac_end(), Just(false))];
    let action = select(vec![AclAction::Allow, AclAction::Deny, AclAction::Meter]);
    (direction(), ends, action).prop_map(|(direction, (local, remote, one), action)| {
        let local = if one { AclAddress::Any } else { local };
        let action = if remote.is_mac() && action == AclAction::Meter { AclAction::Deny } else { action };
        AclRule { name: None, direction, local, remote, action, extended: None }
    })
}

fn extended() -> impl Strategy<Value = AclRule> {
    let traffic = select(vec![
        AclTraffic::Any,
        AclTraffic::Ip,
        AclTraffic::Arp,
        AclTraffic::Protocol(6),
        AclTraffic::Protocol(6),
        AclTraffic::Protocol(17),
        AclTraffic::Protocol(17),
        AclTraffic::Protocol(1),
        AclTraffic::Protocol(47),
        AclTraffic::Icmp(1, 8),
        AclTraffic::Icmp(58, 128),
    ]);
    let action = select(vec![AclAction::Allow, AclAction::Deny]);
    let ports = (prop::option::of(ports()), prop::option::of(ports()));
    (direction(), end(), end(), action, any::<u16>(), traffic, ports).prop_map(
        |(direction, local, remote, action, weight, traffic, (local_ports, remote_ports))| {
            let has_ports = matches!(traffic, AclTraffic::Protocol(6 | 17));
            let (local_ports, remote_ports) =
                (local_ports.filter(|_| has_ports), remote_ports.filter(|_| has_ports));
            let (local, remote) =
                if traffic == AclTraffic::Arp { (AclAddress::Any, AclAddress::Any) } else { (local, remote) };
            let extended = Some(AclMatch { weight, traffic, local_ports, remote_ports });
            AclRule { name: None, direction, local, remote, action, extended }
        },
    )
}

/// Rules of which no two contradict each other, as validation has it, nor have the same weight: then it is defined which counts.
pub fn rules(most: usize) -> impl Strategy<Value = Vec<AclRule>> {
    vec(prop_oneof![basic(), extended()], 0..most).prop_map(|mut rules| {
        rules.sort_by_key(|rule| {
            (rule.extended.map(|more| more.weight), rule.local, rule.remote, rule.action == AclAction::Meter)
        });
        rules.dedup_by(|one, two| match (one.extended, two.extended) {
            (Some(one), Some(two)) => one.weight == two.weight,
            (None, None) => {
                (one.local, one.remote, one.action == AclAction::Meter)
                    == (two.local, two.remote, two.action == AclAction::Meter)
            }
            _ => false,
        });
        rules
    })
}

fn upper() -> impl Strategy<Value = Upper> {
    let port = || select(vec![0u16, 22, 53, 54, 80, 81, 1000, 1100, 65_535]);
    prop_oneof![
        3 => (port(), port()).prop_map(|ports| Upper::Tcp(Tcp { ports, ..Tcp::default() })),
        3 => (port(), port()).prop_map(|(src, dst)| Upper::Udp(src, dst)),
        2 => select(vec![0u8, 8, 128, 22]).prop_map(|kind| Upper::Icmp(kind, 1, vec![])),
        1 => select(vec![47u8, 50]).prop_map(Upper::Other),
        1 => select(vec![6u8, 17, 1, 58]).prop_map(Upper::Cut),
    ]
}

fn carries() -> impl Strategy<Value = Carries> {
    let part = select(vec![Part::Whole, Part::Whole, Part::Whole, Part::First(7), Part::Later(7, 3)]);
    let ip = (prop_oneof![3 => (v4(), v4()), 1 => (v6(), v6())], part, upper());
    prop_oneof![
        20 => ip.prop_map(|((src, dst), part, upper)| Carries::Ip(Ip { src, dst, part, upper })),
        1 => Just(Carries::Arp),
        1 => Just(Carries::Lldp),
        1 => Just(Carries::Nothing),
        1 => select(vec![4u8, 6]).prop_map(Carries::BadIp),
    ]
}

pub fn frame() -> impl Strategy<Value = Frame> {
    let tags = select(vec![vec![], vec![], vec![0x81, 0, 0, 7], vec![0x88, 0xa8, 0, 1, 0x81, 0, 0, 0]]);
    (mac(), mac(), tags, carries()).prop_map(|(src_mac, dst_mac, tags, carries)| Frame {
        src_mac,
        dst_mac,
        tags,
        carries,
    })
}

fn check(rules: &[AclRule], frames: &[Frame]) -> Result<(), TestCaseError> {
    let acl = Arc::new(Acl::new(rules, 64));
    let mut state = AclState::new(Arc::clone(&acl), [1, 2]);
    let naive = Naive { rules };
    let mut metered = vec![(0u64, 0u64); rules.len()];
    for (at, frame) in frames.iter().enumerate() {
        let way = if at % 2 == 0 { AclWay::In } else { AclWay::Out };
        let header = frame.header();
        let expected = naive.judge(way, frame);
        let finding = acl.judge(way, &header);
        prop_assert_eq!(finding.refused, expected.err().map(|(reason, _)| reason), "{:?} {:?}", way, frame);
        if let Err((_, rule)) = expected {
            prop_assert_eq!(finding.rule, Some(rule as u16), "{:?}", frame);
        }
        let seen = AclFrame { header: &header, len: 100 + at as u32, vlan: 0 };
        prop_assert_eq!(state.judge(way, &seen, Millis(0)), finding);
        if let Ok(Some(meter)) = expected {
            metered[meter].0 += 1;
            metered[meter].1 += 100 + at as u64;
        }
    }
    let is_meter = |rule: &AclRule| rule.action == AclAction::Meter;
    let expected: Vec<_> =
        rules.iter().zip(&metered).filter(|(rule, _)| is_meter(rule)).map(|(_, counts)| *counts).collect();
    let counted: Vec<_> = state.meters().map(|(_, meter)| (meter.frames, meter.bytes)).collect();
    prop_assert_eq!(counted, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2 * ProptestConfig::default().cases, max_local_rejects: u32::MAX, ..ProptestConfig::default() })]

    #[test]
    fn lists_decide_as_a_naive_reading_of_their_rules_does(rules in rules(150), frames in vec(frame(), 1..80)) {
        check(&rules, &frames)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_local_rejects: u32::MAX, ..ProptestConfig::with_cases(3) })]

    #[test]
    fn thousands_of_rules_decide_as_a_naive_reading_does(rules in rules(3000), frames in vec(frame(), 500)) {
        check(&rules, &frames)?;
    }
}

pub fn acl(rules: &[&str]) -> Acl {
    Acl::new(&rules.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>(), 64)
}

pub fn ip(src: &str, dst: &str, upper: Upper) -> Frame {
    Frame::of(Ip { src: src.parse().unwrap(), dst: dst.parse().unwrap(), part: Part::Whole, upper })
}

fn reason(acl: &Acl, way: AclWay, frame: &Frame) -> Option<DropReason> {
    acl.judge(way, &frame.header()).refused
}

#[test]
fn of_basic_rules_the_longest_prefix_decides_whatever_their_order() {
    let (deny, allow, one) = ("in deny", "in allow from 10.0.0.0/8", "in deny from 10.1.2.3");
    for rules in [[deny, allow, one], [one, allow, deny], [allow, deny, one]] {
        let acl = acl(&rules);
        for (src, expected) in [
            ("10.1.2.3", Some(DropReason::AclDenied)),
            ("10.1.2.4", None),
            ("11.0.0.1", Some(DropReason::AclDenied)),
        ] {
            assert_eq!(reason(&acl, AclWay::In, &ip(src, "10.9.9.9", Upper::Udp(1, 2))), expected, "{src}");
        }
        assert_eq!(reason(&acl, AclWay::Out, &ip("10.1.2.3", "11.0.0.1", Upper::Udp(1, 2))), None);
    }
}

#[test]
fn basic_and_extended_lists_are_not_merged() {
    let acl = acl(&[
        "in allow from 10.0.0.1",
        "in deny udp weight 10",
        "in deny from 10.0.0.2",
        "in allow weight 9",
    ]);
    assert_eq!(
        reason(&acl, AclWay::In, &ip("10.0.0.1", "10.9.9.9", Upper::Udp(1, 2))),
        Some(DropReason::ExtAclDenied)
    );
    assert_eq!(
        reason(&acl, AclWay::In, &ip("10.0.0.2", "10.9.9.9", Upper::Other(47))),
        Some(DropReason::AclDenied)
    );
}

#[test]
fn a_frame_has_to_pass_the_mac_class_and_the_ip_class() {
    let acl = acl(&["in deny from mac any", "in allow from mac 02:02:02:02:02:02", "in deny from 10.0.0.2"]);
    let mut frame = ip("10.0.0.1", "10.9.9.9", Upper::Udp(1, 2));
    assert_eq!(reason(&acl, AclWay::In, &frame), None);
    assert_eq!(
        reason(&acl, AclWay::In, &ip("10.0.0.2", "10.9.9.9", Upper::Udp(1, 2))),
        Some(DropReason::AclDenied)
    );
    frame.src_mac[5] = 9;
    assert_eq!(reason(&acl, AclWay::In, &frame), Some(DropReason::AclDenied));
}

#[test]
fn of_equal_weights_a_deny_comes_first() {
    for rules in
        [["in allow udp weight 5", "in deny ip weight 5"], ["in deny ip weight 5", "in allow udp weight 5"]]
    {
        assert_eq!(
            reason(&acl(&rules), AclWay::In, &ip("10.0.0.1", "10.0.0.2", Upper::Udp(1, 2))),
            Some(DropReason::ExtAclDenied)
        );
    }
}

#[test]
fn any_is_whatever_a_frame_carries_and_ip_leaves_arp_alone() {
    let arp = Frame { carries: Carries::Arp, ..ip("10.0.0.1", "10.0.0.2", Upper::Udp(1, 2)) };
    let snap_arp = [&[2u8; 12][..], &[0, 40, 0xaa, 0xaa, 3, 0, 0, 0, 8, 6, 0, 1]].concat();
    for (rules, expected) in [
        (&["in deny weight 1"][..], Some(DropReason::ExtAclDenied)),
        (&["in deny ip weight 1"], None),
        (&["in deny weight 1", "in allow arp weight 2"], None),
        (&["in deny"], Some(DropReason::AclDenied)),
        (&["in deny from 0.0.0.0/0"], None),
    ] {
        let acl = acl(rules);
        assert_eq!(reason(&acl, AclWay::In, &arp), expected, "{rules:?}");
        assert_eq!(acl.judge(AclWay::In, &snap_arp).refused, expected, "{rules:?} in SNAP");
    }
}

#[test]
fn what_hides_its_ports_is_taken_for_what_is_denied_and_never_for_what_is_allowed() {
    let (deny, allow) = (
        acl(&["in deny tcp to any port 22 weight 1"]),
        acl(&["in allow udp to any port 53 weight 2", "in deny weight 1"]),
    );
    for upper in [Upper::Cut(6), Upper::Cut(17)] {
        let frame = ip("10.0.0.1", "10.0.0.2", upper.clone());
        assert_eq!(reason(&deny, AclWay::In, &frame).is_some(), upper == Upper::Cut(6));
        assert_eq!(reason(&allow, AclWay::In, &frame), Some(DropReason::ExtAclDenied));
    }
    let later = |src: &str, dst: &str| {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        Frame::of(Ip { src, dst, part: Part::Later(1, 4), upper: Upper::Other(17) })
    };
    assert_eq!(reason(&allow, AclWay::In, &later("10.0.0.1", "10.0.0.2")), Some(DropReason::ExtAclDenied));
    assert_eq!(reason(&deny, AclWay::In, &later("10.0.0.1", "10.0.0.2")), None, "it is UDP's");
    assert_eq!(
        reason(&deny, AclWay::In, &later("fe80::1", "fe80::2")),
        Some(DropReason::ExtAclDenied),
        "it may be TCP's"
    );
}

#[test]
fn a_mapped_address_is_hidden_from_both_versions() {
    let frame = ip("::ffff:10.0.0.1", "2001::1", Upper::Udp(1, 2));
    assert_eq!(reason(&acl(&["in deny from 2001::/16"]), AclWay::In, &frame), Some(DropReason::AclDenied));
    assert_eq!(
        reason(&acl(&["in deny", "in allow from ::/0"]), AclWay::In, &frame),
        Some(DropReason::AclDenied)
    );
    assert_eq!(reason(&acl(&["in deny from 10.0.0.0/8"]), AclWay::In, &frame), None, "it is no IPv4 packet");
}

#[test]
fn meters_keep_their_counts_when_other_rules_change() {
    let parse = |rules: &[&str]| Arc::new(acl(rules));
    let first = parse(&["in meter from 10.0.0.0/8", "in deny from 10.0.0.2"]);
    let mut state = AclState::new(Arc::clone(&first), [1, 2]);
    let send = |state: &mut AclState, src: &str| {
        let header = ip(src, "10.9.9.9", Upper::Udp(1, 2)).header();
        let _ = state.judge(AclWay::In, &AclFrame { header: &header, len: 60, vlan: 0 }, Millis(0));
    };
    for src in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
        send(&mut state, src);
    }
    state.follow(&parse(&["name x in meter from 10.0.0.1", "out deny", "name y in meter from 10.0.0.0/8"]));
    for src in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
        send(&mut state, src);
    }
    let counted: Vec<_> =
        state.meters().map(|(rule, meter)| (rule.to_string(), meter.frames, meter.bytes)).collect();
    assert_eq!(
        counted,
        [
            ("name x in meter from 10.0.0.1".to_owned(), 1, 60),
            ("name y in meter from 10.0.0.0/8".to_owned(), 4, 240),
        ]
    );
}

/// Another VM's word is no bytes that somebody pays for.
#[test]
fn a_meter_counts_what_leaves_and_not_what_the_packet_says_of_itself() {
    let lists = Arc::new(acl(&["both meter remote 0.0.0.0/0"]));
    let mut header = ip("10.0.0.1", "10.9.9.9", Upper::Udp(1, 2)).header();
    header[16..18].copy_from_slice(&[0xff, 0xff]);
    for (way, bytes) in [(AclWay::In, 60), (AclWay::Out, 14 + 65_535)] {
        let mut state = AclState::new(Arc::clone(&lists), [1, 2]);
        let _ = state.judge(way, &AclFrame { header: &header, len: 60, vlan: 0 }, Millis(0));
        let counted: Vec<_> = state.meters().map(|(_, meter)| meter.bytes).collect();
        assert_eq!(counted, [bytes], "{way:?}");
    }
}
