//! Access lists as one would explain them: every rule is asked, one after the other.

use crate::frames::{Carries, Frame, Ip, Part, Upper};
use engine::AclWay;
use model::{AclAction, AclAddress, AclDirection, AclRule, AclTraffic, DropReason};
use std::{cmp::Reverse, net::IpAddr};

/// Whether a rule is about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    No,
    Perhaps,
    Yes,
}

use About::{No, Perhaps, Yes};

fn yes_if(condition: bool) -> About {
    if condition { Yes } else { No }
}

/// What judges the frame.
pub struct Naive<'a> {
    pub rules: &'a [AclRule],
}

impl Naive<'_> {
    /// Why the frame does not pass, by which rule, or what meter counts it.
    pub fn judge(&self, way: AclWay, frame: &Frame) -> Result<Option<usize>, (DropReason, usize)> {
        self.basic(way, frame)?;
        match self.extended(way, frame) {
            Some(at) if self.rules[at].action == AclAction::Deny => Err((DropReason::ExtAclDenied, at)),
            _ => Ok(self.meter(way, frame)),
        }
    }

    /// What the basic rules say, those at MAC addresses first.
    pub fn basic(&self, way: AclWay, frame: &Frame) -> Result<(), (DropReason, usize)> {
        let is_mac = |rule: &AclRule| rule.is_of_mac_class();
        let is_basic = |rule: &AclRule| {
            rule.extended.is_none() && !rule.is_of_mac_class() && rule.action != AclAction::Meter
        };
        for best in [self.best(way, frame, is_mac), self.best(way, frame, is_basic)] {
            if let Some(at) = best.filter(|at| self.rules[*at].action == AclAction::Deny) {
                return Err((DropReason::AclDenied, at));
            }
        }
        Ok(())
    }

    /// The extended rule that decides.
    pub fn extended(&self, way: AclWay, frame: &Frame) -> Option<usize> {
        self.best(way, frame, |rule| rule.extended.is_some())
    }

    /// The meter that counts the frame, if it passes.
    pub fn meter(&self, way: AclWay, frame: &Frame) -> Option<usize> {
        self.best(way, frame, |rule| rule.action == AclAction::Meter)
    }

    fn best(&self, way: AclWay, frame: &Frame, wanted: impl Fn(&AclRule) -> bool) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (at, rule) in self.rules.iter().enumerate().filter(|(_, rule)| wanted(rule)) {
            let counts = match about(rule, way, frame) {
                Yes => true,
                Perhaps => rule.action == AclAction::Deny,
                No => false,
            };
            if counts && best.is_none_or(|best| comes_first(rule) < comes_first(&self.rules[best])) {
                best = Some(at);
            }
        }
        best
    }
}

/// Less is earlier.
fn comes_first(rule: &AclRule) -> (Reverse<u16>, Reverse<u8>, Reverse<u8>, u8) {
    let bits = |address| match address {
        AclAddress::Any | AclAddress::AnyMac => 0,
        AclAddress::Mac(_) => 48,
        AclAddress::Ip(prefix) => 1 + prefix.len(),
    };
    let kind = match rule.action {
        AclAction::Deny => 0,
        AclAction::Stateful(_) => 1,
        _ => 2,
    };
    match rule.extended {
        Some(more) => (Reverse(more.weight), Reverse(0), Reverse(0), kind),
        None => (Reverse(0), Reverse(bits(rule.remote)), Reverse(bits(rule.local)), 0),
    }
}

fn about(rule: &AclRule, way: AclWay, frame: &Frame) -> About {
    let direction = if way == AclWay::In { AclDirection::In } else { AclDirection::Out };
    if rule.direction != direction && rule.direction != AclDirection::Both {
        return No;
    }
    if rule.is_of_mac_class() {
        let (local, remote) = ends(way, frame.src_mac, frame.dst_mac);
        let is = |wanted, mac| match wanted {
            AclAddress::Mac(wanted) => yes_if(wanted.0 == mac),
            _ => Yes,
        };
        return is(rule.local, local).min(is(rule.remote, remote));
    }
    let (src, dst) = addresses(&frame.carries);
    let (local, remote) = ends(way, src, dst);
    is_in(rule.local, local).min(is_in(rule.remote, remote)).min(matches(rule, &frame.carries, way))
}

/// The vNIC's end first.
fn ends<T>(way: AclWay, src: T, dst: T) -> (T, T) {
    if way == AclWay::Out { (src, dst) } else { (dst, src) }
}

/// What is known of an address.
#[derive(Clone, Copy)]
enum Known {
    Address(IpAddr),
    /// It is one of IPv4, or of IPv6.
    Version(bool),
    Nothing,
    /// There is none.
    None,
}

fn addresses(carries: &Carries) -> (Known, Known) {
    match carries {
        Carries::Arp | Carries::Lldp => (Known::None, Known::None),
        Carries::Nothing => (Known::Nothing, Known::Nothing),
        Carries::BadIp(version) => (Known::Version(*version == 4), Known::Version(*version == 4)),
        Carries::Ip(ip) if is_mapped(ip) => (Known::Version(false), Known::Version(false)),
        Carries::Ip(ip) => (Known::Address(ip.src), Known::Address(ip.dst)),
    }
}

fn is_mapped(ip: &Ip) -> bool {
    [ip.src, ip.dst].iter().any(|address| matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()))
}

fn is_in(wanted: AclAddress, known: Known) -> About {
    let AclAddress::Ip(prefix) = wanted else { return Yes };
    match known {
        Known::Address(address) => yes_if(has_prefix(address, prefix)),
        Known::Version(is_v4) if is_v4 == prefix.address().is_ipv4() => Perhaps,
        Known::Nothing => Perhaps,
        Known::Version(_) | Known::None => No,
    }
}

fn has_prefix(address: IpAddr, prefix: wire::IpPrefix) -> bool {
    let bits = |address: IpAddr| -> Vec<bool> {
        let bytes = match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
    };
    let (address, of) = (bits(address), bits(prefix.address()));
    address.len() == of.len() && address[..prefix.len().into()] == of[..prefix.len().into()]
}

fn matches(rule: &AclRule, carries: &Carries, way: AclWay) -> About {
    let Some(more) = rule.extended else { return Yes };
    let Carries::Ip(ip) = carries else { return matches_no_ip(more.traffic, carries) };
    let protocol = protocol(ip);
    let is_protocol = |wanted| protocol.map_or(Perhaps, |protocol| yes_if(protocol == wanted));
    let carried = match more.traffic {
        AclTraffic::Any | AclTraffic::Ip => Yes,
        AclTraffic::Arp => No,
        AclTraffic::Protocol(wanted) => is_protocol(wanted),
        AclTraffic::Icmp(wanted, kind) => is_protocol(wanted).min(match (tells(ip), &ip.upper) {
            (false, _) => Perhaps,
            (true, Upper::Icmp(of, ..)) => yes_if(*of == kind),
            _ => No,
        }),
    };
    let has = |range: Option<(u16, u16)>, is_src: bool| match (range, tells(ip), &ip.upper) {
        (None, ..) => Yes,
        (Some(_), false, _) => Perhaps,
        (Some((first, last)), true, Upper::Udp(src, dst)) => {
            yes_if((first..=last).contains(if is_src { src } else { dst }))
        }
        (Some((first, last)), true, Upper::Tcp(tcp)) => {
            let port = if is_src { tcp.ports.0 } else { tcp.ports.1 };
            yes_if((first..=last).contains(&port))
        }
        _ => No,
    };
    carried.min(has(more.local_ports, way == AclWay::Out)).min(has(more.remote_ports, way == AclWay::In))
}

fn matches_no_ip(traffic: AclTraffic, carries: &Carries) -> About {
    let is_ip = matches!(carries, Carries::BadIp(_));
    match traffic {
        AclTraffic::Any => Yes,
        _ if *carries == Carries::Nothing => Perhaps,
        AclTraffic::Arp => yes_if(*carries == Carries::Arp),
        AclTraffic::Ip => yes_if(is_ip),
        AclTraffic::Protocol(_) | AclTraffic::Icmp(..) => {
            if is_ip {
                Perhaps
            } else {
                No
            }
        }
    }
}

/// True where the transport header is at hand.
fn tells(ip: &Ip) -> bool {
    !matches!(ip.part, Part::Later(..)) && !matches!(ip.upper, Upper::Cut(6 | 17)) && !is_cut_icmp(ip)
}

fn is_cut_icmp(ip: &Ip) -> bool {
    ip.upper == Upper::Cut(if ip.is_v4() { 1 } else { 58 })
}

fn protocol(ip: &Ip) -> Option<u8> {
    (ip.is_v4() || !matches!(ip.part, Part::Later(..))).then(|| ip.protocol())
}
