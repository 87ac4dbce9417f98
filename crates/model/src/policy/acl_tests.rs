extern crate std;
use super::*;
use crate::{Attachment, DesiredState, SwitchConfig, SwitchKind};
use std::{format, string::String, vec};

fn rule(text: &str) -> AclRule {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn config(rules: &[&str]) -> AclConfig {
    AclConfig { rules: rules.iter().map(|text| rule(text)).collect(), ..AclConfig::default() }
}

fn validated(attach: Attachment, acl: AclConfig) -> Result<(), Invalid> {
    let name: Name = "p".parse().unwrap();
    let port = PortConfig { acl, ..PortConfig::new(name.clone(), attach) };
    let kind =
        if matches!(port.attach, Attachment::Uplink(_)) { SwitchKind::External } else { SwitchKind::Private };
    let switch = SwitchConfig { ports: vec![port.into()], ..SwitchConfig::new(name, kind) };
    DesiredState { switches: vec![switch], ..DesiredState::default() }.validate().map(drop)
}

fn checked(rules: &[&str]) -> Result<(), String> {
    let tap = Attachment::Tap("t".parse().unwrap());
    validated(tap, config(rules)).map_err(|error| error.to_string())
}

#[test]
fn rules_round_trip_through_their_text() {
    for text in [
        "in deny",
        "both deny",
        "out deny to 10.0.0.0/8",
        "in allow from 2001:db8::/32",
        "both meter remote 0.0.0.0/0",
        "name m1 in meter from 10.1.2.3",
        "in deny from mac 02:00:00:00:00:01",
        "out deny from mac any to mac 02:00:00:00:00:01",
        "in allow weight 0",
        "name web in allow tcp from 10.0.0.0/8 to any port 22 weight 100 stateful idle 300",
        "out allow udp from any port 1000-2000 to fe80::/10 port 53 weight 65535",
        "both deny icmp type 8 local 10.0.0.1 remote 10.0.0.2 weight 1",
        "in allow arp weight 9",
        "in allow ip weight 9",
        "in deny 132 weight 9",
    ] {
        assert_eq!(rule(text).to_string(), text);
        assert_eq!(AclRule::try_from(String::from(rule(text))), Ok(rule(text)));
    }
}

#[test]
fn words_that_say_the_same_are_the_same() {
    assert_eq!(rule("in deny any from any to any"), rule("in deny"));
    assert_eq!(rule(" in  allow local any "), rule("in allow"));
    assert_eq!(rule("in allow tcp local port 22 weight 1"), rule("in allow tcp to any port 22-22 weight 1"));
    assert_eq!(rule("out allow to 10.0.0.1/32"), rule("out allow remote 10.0.0.1"));
    assert_eq!(rule("in allow tcp weight 5 stateful"), rule("in allow 6 weight 5 stateful idle 255"));
}

/// What an error says, and the word that it points at.
fn refused(text: &str) -> (String, String) {
    let error = text.parse::<AclRule>().expect_err(text).to_string();
    let lines: Vec<_> = error.lines().collect();
    let from = lines[2].find('^').unwrap();
    let until = lines[2].rfind('^').unwrap() + 1;
    (lines[1].get(from..until).unwrap_or_default().into(), lines[2][until + 1..].into())
}

#[test]
fn an_error_points_at_the_word() {
    for (text, word, why) in [
        ("inn allow", "inn", "a direction"),
        ("in alow tcp weight 1", "alow", "an action"),
        ("in allow tpc weight 1", "tpc", "here comes any, ip"),
        ("in allow tcp", "tcp", "add weight"),
        ("in allow 256 weight 1", "256", "here comes any, ip"),
        ("in allow from 10.0.0.0/40", "10.0.0.0/40", "the length of a prefix is 0 to 32"),
        ("in allow from 10.0.0.1/8", "10.0.0.1/8", "write 10.0.0.0/8"),
        ("in allow from ::ffff:10.0.0.1", "::ffff:10.0.0.1", "write the IPv4 address"),
        ("in allow from 10.0.0.", "10.0.0.", "an address is one of"),
        ("both allow from 10.0.0.1", "from", "say local"),
        ("in allow from 10.0.0.1 from 10.0.0.2", "from", "described already"),
        ("in allow from 10.0.0.1 to ::1", "::1", "the other one of IPv6"),
        ("in allow from mac 02:00:00:00:00:01 to 10.0.0.1", "10.0.0.1", "make two"),
        ("in meter from mac any", "any", "a meter counts by IP"),
        ("in allow from mac 02:00", "02:00", "a MAC address"),
        ("in allow from 10.0.0.1 port 22", "port", "add weight"),
        ("in allow from any port 22 weight 1", "port", "only tcp and udp"),
        ("in allow tcp from any port 22-21 weight 1", "22-21", "a port is"),
        ("in allow tcp from any port +22 weight 1", "+22", "a port is"),
        ("in allow tcp from any port 65536 weight 1", "65536", "a port is"),
        ("in allow tcp from mac any weight 1", "any", "leave the weight out"),
        ("in allow icmp from ::1 weight 1", "::1", "icmp is IPv4's"),
        ("in allow arp from 10.0.0.1 weight 1", "10.0.0.1", "no IP address"),
        ("in allow icmp type 300 weight 1", "300", "a type has"),
        ("in allow tcp weight 65536", "65536", "a weight is"),
        ("in meter weight 1", "weight", "a meter has no weight"),
        ("in deny tcp weight 1 stateful", "stateful", "only an allow"),
        ("in allow stateful", "stateful", "only a rule with a weight"),
        ("in allow tcp weight 1 stateful idle 0", "0", "an idle time"),
        ("in allow tcp weight 1 banana", "banana", "nothing of a rule"),
        ("in allow tcp banana weight 1", "banana", "nothing of a rule"),
        ("name -x in allow", "-x", "a name is"),
        ("", "", "something is missing: a direction"),
        ("in", "", "something is missing: an action"),
        ("in allow from", "", "something is missing: here comes any"),
        ("in allow tcp weight", "", "something is missing: a weight"),
    ] {
        let (pointed, said) = refused(text);
        assert!(pointed.trim() == word && said.contains(why), "{text}: '{pointed}' {said}");
    }
}

#[test]
fn rules_that_cannot_both_be_there_are_refused_whatever_lies_between() {
    let clash = |rules: &[&str]| checked(rules).unwrap_err();
    assert!(clash(&["name a in deny", "name a out deny"]).contains("have the same name"));
    assert!(
        clash(&["in deny from 10.0.0.1", "in deny", "name x in deny from 10.0.0.1"]).contains("are the same")
    );
    let error = clash(&["in deny from 10.0.0.1", "out allow", "both allow remote 10.0.0.1"]);
    assert!(
        error.contains("contradict each other") && error.contains("'both allow remote 10.0.0.1'"),
        "{error}"
    );
    assert!(clash(&["in deny weight 1", "in deny any weight 1"]).contains("are the same"));
}

#[test]
fn rules_that_differ_in_what_they_do_or_where_stand_beside_each_other() {
    assert_eq!(
        checked(&["in deny from 10.0.0.1", "in meter from 10.0.0.1", "out allow to 10.0.0.1"]),
        Ok(())
    );
    assert_eq!(checked(&["in deny weight 1", "in allow weight 1", "in allow weight 1 stateful"]), Ok(()));
}

#[test]
fn an_uplink_has_no_lists_and_a_port_not_too_many() {
    let uplink = Attachment::Uplink("eth0".parse().unwrap());
    assert!(matches!(validated(uplink, config(&["in deny"])), Err(Invalid::NoAclOnUplink(_))));
    let rules: Vec<_> =
        (0..=MAX_ACL_RULES).map(|n| format!("in deny from {}.{}.0.0", n / 256, n % 256)).collect();
    let texts: Vec<_> = rules.iter().map(String::as_str).collect();
    assert_eq!(checked(&texts[1..]), Ok(()));
    assert!(checked(&texts).unwrap_err().contains("has 3501 rules"));
    let tap = Attachment::Tap("t".parse().unwrap());
    for flows in [0, MAX_FLOWS + 1] {
        assert!(validated(tap.clone(), AclConfig { flows, ..AclConfig::default() }).is_err());
    }
}

fn names(config: &AclConfig) -> Vec<String> {
    config.rules.iter().map(|rule| rule.name.as_ref().map(ToString::to_string).unwrap_or_default()).collect()
}

#[test]
fn rules_are_named_and_keep_their_names() {
    let mut first = config(&["in deny", "name r1 out deny", "in meter from 10.0.0.1"]);
    first.name_rules(&[]);
    assert_eq!(names(&first), ["r2", "r1", "r3"]);
    let mut next = config(&["out meter to 10.0.0.1", "in meter from 10.0.0.1"]);
    next.name_rules(&first.rules);
    assert_eq!(names(&next), ["r1", "r3"]);
}

#[test]
fn a_change_takes_away_and_adds_and_names() {
    let mut before = config(&["name a in deny", "name b out deny"]);
    before.name_rules(&[]);
    let change = |remove: &str, add: &str| ChangeAcl {
        remove: vec![remove.parse().unwrap()],
        add: vec![rule(add)],
        ..ChangeAcl::default()
    };
    assert_eq!(names(&before.changed(change("a", "in allow")).unwrap()), ["b", "r1"]);
    assert_eq!(before.changed(change("c", "in allow")), Err(NoSuchRule("c".parse().unwrap())));
    let replaced = ChangeAcl { rules: Some(vec![]), flows: Some(9), ..ChangeAcl::default() };
    assert_eq!(before.changed(replaced), Ok(AclConfig { rules: AclRules::default(), flows: 9 }));
}

#[test]
fn prefixes_are_ranges() {
    let range = |text: &str| text.parse::<wire::IpPrefix>().unwrap().range();
    assert_eq!(range("10.0.0.0/8"), (0x0a00_0000, 0x0aff_ffff));
    assert_eq!(range("0.0.0.0/0"), (0, 0xffff_ffff));
    assert_eq!(range("10.0.0.1"), (0x0a00_0001, 0x0a00_0001));
    assert_eq!(range("::/0"), (0, u128::MAX));
    assert_eq!(range("::1"), (1, 1));
    assert_eq!(range("8000::/1"), (1 << 127, u128::MAX));
}
