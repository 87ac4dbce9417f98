//! The text of a rule: one line of words.
//!
//! ```text
//! [name NAME] in|out|both allow|deny|meter [TRAFFIC] [from|to|local|remote WHERE]… [weight N] [stateful [idle SECONDS]]
//! TRAFFIC  any | ip | arp | tcp | udp | icmp [type N] | icmpv6 [type N] | 0..255
//! WHERE    [any | ADDRESS[/LENGTH] | mac MAC | mac any] [port N[-M]]
//! ```

use super::acl::{AclAction, AclAddress, AclDirection, AclMatch, AclRule, AclTraffic, DEFAULT_IDLE_S};
use alloc::{borrow::ToOwned, string::String, string::ToString};
use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    str::FromStr,
};
use wire::{IpPrefix, ip};

/// Why a text is no rule, and at which of its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRuleError {
    rule: String,
    at: usize,
    len: usize,
    why: String,
}

impl fmt::Display for AclRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.rule.get(..self.at).unwrap_or_default().chars().count();
        let under = self.rule.get(self.at..self.at + self.len).unwrap_or_default().chars().count();
        writeln!(f, "this is no rule:")?;
        writeln!(f, "  {}", self.rule)?;
        write!(f, "  {:before$}{:^<under$} {}", "", "", self.why, under = under.max(1))
    }
}

impl core::error::Error for AclRuleError {}

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message is the documentation")]
pub enum PrefixError {
    #[error("an address is one of IPv4 or IPv6, with a length where it stands for several: 10.0.0.0/8")]
    Address,
    #[error("the length of a prefix is 0 to {0} bits")]
    Length(u8),
    #[error("there are bits set behind the first {len}: write {first}/{len}, or leave the length out")]
    Bits { first: IpAddr, len: u8 },
    #[error("this is an IPv4 address in an IPv6 address, which no packet may have: write the IPv4 address")]
    Mapped,
}

/// The address as a number, and its width in bits.
fn number(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u32::from(v4).into(), 32),
        IpAddr::V6(v6) => (v6.into(), 128),
    }
}

/// An address or a prefix, with what is wrong with a text that is none.
fn prefix(text: &str) -> Result<IpPrefix, PrefixError> {
    let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let address: IpAddr = address.parse().map_err(|_| PrefixError::Address)?;
    if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(PrefixError::Mapped);
    }
    let (bits, width) = number(address);
    let len = len.map_or(Some(width), |len| whole(len).filter(|len: &u8| *len <= width));
    let len = len.ok_or(PrefixError::Length(width))?;
    IpPrefix::new(address, len).ok_or_else(|| {
        let first = bits & !u128::MAX.checked_shr(128 - u32::from(width - len)).unwrap_or(0);
        let first = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(first as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(first)),
        };
        PrefixError::Bits { first, len }
    })
}

/// A number without sign or anything else around it.
fn whole<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|c| c.is_ascii_digit()))
}

/// The words of a rule, and how far they are read.
struct Words<'a> {
    rule: &'a str,
    rest: &'a str,
    /// The word that was read last: an error points at it.
    last: &'a str,
}

type Parsed<T> = Result<T, AclRuleError>;

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.rest.split_whitespace().next()
    }

    fn next(&mut self) -> Option<&'a str> {
        self.last = self.peek()?;
        self.rest = self.rest.trim_start().get(self.last.len()..)?;
        Some(self.last)
    }

    /// Reads on if `word` comes next.
    fn take(&mut self, word: &str) -> bool {
        self.peek() == Some(word) && self.next().is_some()
    }

    /// The next word, of which has to become something.
    fn parse<T>(&mut self, what: &str, parse: impl FnOnce(&str) -> Option<T>) -> Parsed<T> {
        let Some(word) = self.next() else { return Err(self.ends(what)) };
        parse(word).ok_or_else(|| self.wrong(what))
    }

    fn number<T: FromStr + PartialOrd>(&mut self, what: &str, range: RangeInclusive<T>) -> Parsed<T> {
        self.parse(what, |word| whole(word).filter(|number| range.contains(number)))
    }

    /// An error at the word that was read last.
    fn wrong(&self, why: impl ToString) -> AclRuleError {
        let at = self.last.as_ptr() as usize - self.rule.as_ptr() as usize;
        AclRuleError { rule: self.rule.to_owned(), at, len: self.last.len(), why: why.to_string() }
    }

    /// An error behind the last word.
    fn ends(&self, what: &str) -> AclRuleError {
        let rule = self.rule.trim_end();
        let at = rule.len() + usize::from(!rule.is_empty());
        AclRuleError {
            rule: alloc::format!("{rule} "),
            at,
            len: 0,
            why: alloc::format!("something is missing: {what}"),
        }
    }
}

/// One end as it is written.
#[derive(Default)]
struct End {
    address: Option<AclAddress>,
    ports: Option<(u16, u16)>,
}

/// Which end a word means; `None` where it is none of these words.
fn is_local(word: &str, direction: AclDirection) -> Option<Option<bool>> {
    Some(match (word, direction) {
        ("local", _) | ("to", AclDirection::In) | ("from", AclDirection::Out) => Some(true),
        ("remote", _) | ("from", AclDirection::In) | ("to", AclDirection::Out) => Some(false),
        ("from" | "to", AclDirection::Both) => None,
        _ => return None,
    })
}

impl FromStr for AclRule {
    type Err = AclRuleError;

    fn from_str(rule: &str) -> Parsed<Self> {
        let mut words = Words { rule, rest: rule, last: rule.get(..0).unwrap_or_default() };
        let name = if words.take("name") {
            Some(
                words
                    .parse("a name is 1 to 63 letters, digits, '-', '_' or '.'", |word| word.parse().ok())?,
            )
        } else {
            None
        };
        let direction = words.parse("a direction is in (to the vNIC), out (from it) or both", direction)?;
        let action = words.parse("an action is allow, deny or meter", action)?;
        let is_extended = rule.split_whitespace().any(|word| word == "weight");
        let traffic = traffic(&mut words, is_extended)?;
        let (local, remote) = ends(&mut words, direction, action, traffic, is_extended)?;
        let mut parsed = Self {
            name,
            direction,
            local: local.address.unwrap_or(AclAddress::Any),
            remote: remote.address.unwrap_or(AclAddress::Any),
            action,
            extended: None,
        };
        if is_extended {
            let weight = weight(&mut words, action)?;
            parsed.action = stateful(&mut words, action)?;
            let (local_ports, remote_ports) = (local.ports, remote.ports);
            parsed.extended = Some(AclMatch { weight, traffic, local_ports, remote_ports });
        }
        match words.next() {
            Some("stateful") => {
                Err(words.wrong("only a rule with a weight is stateful: weight 100 stateful"))
            }
            Some(_) => Err(words.wrong("nothing of a rule begins so here")),
            None => Ok(parsed),
        }
    }
}

fn direction(word: &str) -> Option<AclDirection> {
    [AclDirection::In, AclDirection::Out, AclDirection::Both].into_iter().find(|d| d.as_str() == word)
}

fn action(word: &str) -> Option<AclAction> {
    [AclAction::Allow, AclAction::Deny, AclAction::Meter].into_iter().find(|a| a.as_str() == word)
}

fn traffic(words: &mut Words<'_>, is_extended: bool) -> Parsed<AclTraffic> {
    let Some(word) = words.peek() else { return Ok(AclTraffic::Any) };
    if matches!(word, "from" | "to" | "local" | "remote" | "weight" | "stateful") {
        return Ok(AclTraffic::Any);
    }
    words.next();
    let traffic = traffic_word(word).ok_or_else(|| words.wrong(TRAFFIC_WORDS))?;
    if !is_extended && traffic != AclTraffic::Any {
        return Err(words.wrong("only a rule with a weight looks at what a frame carries: add weight 100"));
    }
    match traffic {
        AclTraffic::Protocol(protocol @ (ip::ICMP | ip::ICMPV6)) if words.take("type") => {
            Ok(AclTraffic::Icmp(protocol, words.number("a type has a number from 0 to 255", 0..=255)?))
        }
        traffic => Ok(traffic),
    }
}

const TRAFFIC_WORDS: &str = "here comes any, ip, arp, tcp, udp, icmp, icmpv6 or a protocol's number; or from, to, local, remote, weight";

fn traffic_word(word: &str) -> Option<AclTraffic> {
    Some(match word {
        "any" => AclTraffic::Any,
        "ip" => AclTraffic::Ip,
        "arp" => AclTraffic::Arp,
        "tcp" => AclTraffic::Protocol(ip::TCP),
        "udp" => AclTraffic::Protocol(ip::UDP),
        "icmp" => AclTraffic::Protocol(ip::ICMP),
        "icmpv6" => AclTraffic::Protocol(ip::ICMPV6),
        number => AclTraffic::Protocol(whole(number)?),
    })
}

fn ends(
    words: &mut Words<'_>,
    direction: AclDirection,
    action: AclAction,
    traffic: AclTraffic,
    is_extended: bool,
) -> Parsed<(End, End)> {
    let (mut local, mut remote) = (End::default(), End::default());
    while let Some(which) = words.peek().and_then(|word| is_local(word, direction)) {
        words.next();
        let Some(which) = which else {
            return Err(words.wrong("with both directions, say local (the vNIC's end) or remote"));
        };
        let (end, other) = if which { (&mut local, &remote) } else { (&mut remote, &local) };
        if end.address.is_some() || end.ports.is_some() {
            return Err(words.wrong("this end is described already"));
        }
        read_end(words, end, traffic, is_extended)?;
        check_pair(words, end.address, other.address, action)?;
    }
    Ok((local, remote))
}

fn read_end(words: &mut Words<'_>, end: &mut End, traffic: AclTraffic, is_extended: bool) -> Parsed<()> {
    if words.peek() != Some("port") {
        end.address = Some(address(words)?);
        check_address(words, end.address, traffic, is_extended)?;
    }
    if words.take("port") {
        if !is_extended {
            return Err(words.wrong("only a rule with a weight looks at ports: add weight 100"));
        }
        if !matches!(traffic, AclTraffic::Protocol(ip::TCP | ip::UDP)) {
            return Err(words.wrong("only tcp and udp have ports: say which behind the action"));
        }
        end.ports = Some(words.parse("a port is 0 to 65535, or several are 1000-2000", ports)?);
    }
    Ok(())
}

fn address(words: &mut Words<'_>) -> Parsed<AclAddress> {
    let what = "here comes any, an address like 10.0.0.0/8, mac and a MAC address, or port";
    let Some(word) = words.next() else { return Err(words.ends(what)) };
    match word {
        "any" => Ok(AclAddress::Any),
        "mac" if words.take("any") => Ok(AclAddress::AnyMac),
        "mac" => words
            .parse("a MAC address is six bytes in hexadecimal, or any", |word| word.parse().ok())
            .map(AclAddress::Mac),
        word => prefix(word).map(AclAddress::Ip).map_err(|error: PrefixError| words.wrong(error)),
    }
}

fn check_address(
    words: &Words<'_>,
    address: Option<AclAddress>,
    traffic: AclTraffic,
    is_extended: bool,
) -> Parsed<()> {
    let version = |prefix: IpPrefix| if prefix.address().is_ipv4() { ip::ICMP } else { ip::ICMPV6 };
    match (address, traffic) {
        (Some(AclAddress::Mac(_) | AclAddress::AnyMac), _) if is_extended => {
            Err(words.wrong("a rule with a weight looks at IP addresses: leave the weight out"))
        }
        (Some(AclAddress::Ip(_)), AclTraffic::Arp) => {
            Err(words.wrong("a rule for arp looks at no IP address"))
        }
        (
            Some(AclAddress::Ip(prefix)),
            AclTraffic::Protocol(number @ (ip::ICMP | ip::ICMPV6)) | AclTraffic::Icmp(number, _),
        ) if number != version(prefix) => Err(words.wrong("icmp is IPv4's and icmpv6 is IPv6's")),
        _ => Ok(()),
    }
}

fn check_pair(
    words: &Words<'_>,
    new: Option<AclAddress>,
    other: Option<AclAddress>,
    action: AclAction,
) -> Parsed<()> {
    match (new, other) {
        (Some(AclAddress::Ip(one)), Some(AclAddress::Ip(two)))
            if one.address().is_ipv4() != two.address().is_ipv4() =>
        {
            Err(words.wrong("one end has an IPv4 address and the other one of IPv6"))
        }
        (Some(mac), _) if mac.is_mac() && action == AclAction::Meter => {
            Err(words.wrong("a meter counts by IP addresses"))
        }
        (Some(one), Some(two))
            if one != AclAddress::Any && two != AclAddress::Any && one.is_mac() != two.is_mac() =>
        {
            Err(words.wrong("one rule looks at MAC addresses or at IP addresses: make two"))
        }
        _ => Ok(()),
    }
}

fn ports(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let range = (whole(first)?, whole(last)?);
    (range.0 <= range.1).then_some(range)
}

fn weight(words: &mut Words<'_>, action: AclAction) -> Parsed<u16> {
    if !words.take("weight") {
        let Some(_) = words.next() else { return Err(words.ends("weight and a number")) };
        return Err(words.wrong("nothing of a rule begins so here"));
    }
    if action == AclAction::Meter {
        return Err(words.wrong("a meter has no weight"));
    }
    words.number("a weight is 0 to 65535, and the highest comes first", 0..=u16::MAX)
}

fn stateful(words: &mut Words<'_>, action: AclAction) -> Parsed<AclAction> {
    if !words.take("stateful") {
        return Ok(action);
    }
    if action != AclAction::Allow {
        return Err(words.wrong("only an allow is stateful"));
    }
    let idle = if words.take("idle") {
        words.number("an idle time is 1 to 65535 seconds", 1..=u16::MAX)?
    } else {
        DEFAULT_IDLE_S
    };
    Ok(AclAction::Stateful(idle))
}

impl AclDirection {
    /// The word in a rule.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        }
    }

    /// What the vNIC's end and the other one are called.
    const fn ends(self) -> [&'static str; 2] {
        match self {
            Self::In => ["to", "from"],
            Self::Out => ["from", "to"],
            Self::Both => ["local", "remote"],
        }
    }
}

impl AclAction {
    /// The word in a rule; a stateful one has more of them at its end.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow | Self::Stateful(_) => "allow",
            Self::Deny => "deny",
            Self::Meter => "meter",
        }
    }
}

impl fmt::Display for AclTraffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Ip => f.write_str("ip"),
            Self::Arp => f.write_str("arp"),
            Self::Protocol(ip::TCP) => f.write_str("tcp"),
            Self::Protocol(ip::UDP) => f.write_str("udp"),
            Self::Protocol(ip::ICMP) => f.write_str("icmp"),
            Self::Protocol(ip::ICMPV6) => f.write_str("icmpv6"),
            Self::Protocol(number) => write!(f, "{number}"),
            Self::Icmp(protocol, kind) => write!(f, "{} type {kind}", Self::Protocol(*protocol)),
        }
    }
}

impl fmt::Display for AclAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::AnyMac => f.write_str("mac any"),
            Self::Mac(mac) => write!(f, "mac {mac}"),
            Self::Ip(prefix) => write!(f, "{prefix}"),
        }
    }
}

impl fmt::Display for AclRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "name {name} ")?;
        }
        write!(f, "{} {}", self.direction.as_str(), self.action.as_str())?;
        let ports = self.extended.map_or((None, None), |more| (more.local_ports, more.remote_ports));
        if let Some(more) = self.extended.filter(|more| more.traffic != AclTraffic::Any) {
            write!(f, " {}", more.traffic)?;
        }
        let [local, remote] = self.direction.ends();
        let mut ends = [(local, self.local, ports.0), (remote, self.remote, ports.1)];
        ends.sort_by_key(|(word, ..)| !matches!(*word, "from" | "local"));
        for (word, address, ports) in ends {
            write_end(f, word, address, ports)?;
        }
        if let Some(more) = self.extended {
            write!(f, " weight {}", more.weight)?;
        }
        match self.action {
            AclAction::Stateful(idle) => write!(f, " stateful idle {idle}"),
            _ => Ok(()),
        }
    }
}

fn write_end(
    f: &mut fmt::Formatter<'_>,
    word: &str,
    address: AclAddress,
    ports: Option<(u16, u16)>,
) -> fmt::Result {
    if address == AclAddress::Any && ports.is_none() {
        return Ok(());
    }
    write!(f, " {word} {address}")?;
    match ports {
        Some((first, last)) if first == last => write!(f, " port {first}"),
        Some((first, last)) => write!(f, " port {first}-{last}"),
        None => Ok(()),
    }
}

impl TryFrom<String> for AclRule {
    type Error = AclRuleError;
    fn try_from(text: String) -> Parsed<Self> {
        text.parse()
    }
}

impl From<AclRule> for String {
    fn from(rule: AclRule) -> Self {
        rule.to_string()
    }
}
