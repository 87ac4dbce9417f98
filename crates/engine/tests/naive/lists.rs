//! Access lists of ports and what they remember: flows in one list, oldest first.

use crate::{
    acl_naive::Naive,
    frames::{ACK, Carries, Frame, Ip, Part, SYN, Tcp, Upper},
};
use engine::AclWay;
use model::{AclAction, AclRule, DropReason};
use std::net::IpAddr;

/// How many flows a port with such lists may have: few, or so many that none ever has to make room.
pub fn most_flows(rules: &[AclRule]) -> u32 {
    if rules.len().is_multiple_of(2) { 4 } else { 100_000 }
}

/// Both ends as the vNIC sees them, with their ports, protocol and VLAN.
#[derive(Clone, Debug, PartialEq)]
struct Ends {
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    protocol: u8,
    vlan: u16,
}

#[derive(Clone, Debug)]
struct Flow {
    ends: Ends,
    opened: AclWay,
    answered: bool,
    idle: u64,
    expires: u64,
    /// The rules changed since its last frame.
    stale: bool,
}

/// The lists of one port.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    rules: Vec<AclRule>,
    flows: Vec<Flow>,
    /// Of each rule that is a meter: frames and bytes.
    meters: Vec<(AclRule, u64, u64)>,
}

enum Known {
    No,
    Belongs,
    Foreign,
}

fn is_stateful(rule: &AclRule) -> bool {
    matches!(rule.action, AclAction::Stateful(_))
}

impl Lists {
    /// True where something is remembered.
    pub fn remember(&self) -> bool {
        !self.meters.is_empty() || self.rules.iter().any(is_stateful)
    }

    /// Takes other rules. Meters that stay keep their counts.
    pub fn follow(&mut self, rules: &[AclRule]) {
        let former = std::mem::take(&mut self.meters);
        let count = |rule: &AclRule| former.iter().find(|(old, ..)| old.body() == rule.body());
        let is_meter = |rule: &&AclRule| rule.action == AclAction::Meter;
        let meters = rules.iter().filter(is_meter);
        self.meters = meters
            .map(|rule| {
                (rule.clone(), count(rule).map_or(0, |old| old.1), count(rule).map_or(0, |old| old.2))
            })
            .collect();
        self.rules = rules.to_vec();
        self.flows.iter_mut().for_each(|flow| flow.stale = true);
        if !self.remember() {
            self.flows.clear();
        }
    }

    pub fn meters(&self) -> Vec<(u64, u64)> {
        self.meters.iter().map(|(_, frames, bytes)| (*frames, *bytes)).collect()
    }

    /// Why a frame does not pass.
    pub fn judge(
        &mut self,
        way: AclWay,
        frame: &Frame,
        len: u32,
        vlan: u16,
        now: u64,
    ) -> Result<(), DropReason> {
        let rules = self.rules.clone();
        let naive = Naive { rules: &rules };
        naive.basic(way, frame).map_err(|(reason, _)| reason)?;
        self.flows.retain(|flow| flow.expires > now);
        let known = if rules.iter().any(is_stateful) { self.known(way, frame, vlan, now) } else { Known::No };
        let extended = naive.extended(way, frame).map(|at| rules[at].action);
        match (known, extended) {
            (Known::Belongs, _) => {}
            (Known::Foreign, Some(AclAction::Deny)) => return Err(DropReason::OutOfState),
            (Known::No, Some(AclAction::Deny)) => return Err(DropReason::ExtAclDenied),
            (Known::Foreign, Some(AclAction::Stateful(_))) => return Err(DropReason::OutOfState),
            (Known::No, Some(AclAction::Stateful(idle))) => self.open(way, frame, vlan, idle.into(), now)?,
            _ => {}
        }
        if let Some(at) = naive.meter(way, frame) {
            let of_rule = |(rule, ..): &&mut (AclRule, u64, u64)| *rule == rules[at];
            let (_, frames, bytes) = self.meters.iter_mut().find(of_rule).unwrap();
            *frames += 1;
            let is_believed = way == AclWay::Out && matches!(frame.carries, Carries::Ip(_));
            *bytes += if is_believed { u64::from(len).max(frame.header().len() as u64) } else { len.into() };
        }
        Ok(())
    }

    /// What a frame is to the flows that there are.
    fn known(&mut self, way: AclWay, frame: &Frame, vlan: u16, now: u64) -> Known {
        let Some((ends, upper)) = ends(way, frame, vlan) else { return Known::No };
        let Some(at) = self.flows.iter().position(|flow| flow.ends == ends) else { return Known::No };
        if self.flows[at].stale && !self.still_opens(at) {
            self.flows.remove(at);
            return Known::No;
        }
        let flow = &mut self.flows[at];
        let by_opener = flow.opened == way;
        let belongs = match upper {
            // By it who is asked says that it remembers an older connection. That is no answer, and prolongs nothing.
            Upper::Tcp(tcp) if !by_opener && tcp.flags == ACK && tcp.payload == 0 => return Known::Belongs,
            Upper::Tcp(tcp) => by_opener && tcp.flags == SYN,
            Upper::Icmp(kind, ..) => by_opener == matches!(kind, 8 | 128),
            _ => true,
        };
        if !belongs {
            return Known::Foreign;
        }
        flow.answered |= !by_opener;
        flow.expires = now + lasts(&flow.ends, flow.idle);
        Known::Belongs
    }

    /// Whether the rules would let a flow begin that is there, and for how long it is remembered by them.
    fn still_opens(&mut self, at: usize) -> bool {
        let flow = &mut self.flows[at];
        let first = first_frame(flow);
        let by = Naive { rules: &self.rules }.extended(flow.opened, &first).map(|at| self.rules[at].action);
        let Some(AclAction::Stateful(idle)) = by else { return false };
        (flow.idle, flow.stale) = (idle.into(), false);
        true
    }

    fn open(&mut self, way: AclWay, frame: &Frame, vlan: u16, idle: u64, now: u64) -> Result<(), DropReason> {
        let Carries::Ip(_) = &frame.carries else { return Ok(()) };
        // ICMP that is no echo passes without a flow.
        let Some((ends, upper)) = ends(way, frame, vlan) else { return Ok(()) };
        match upper {
            Upper::Tcp(tcp) if tcp.flags != SYN => return Err(DropReason::OutOfState),
            Upper::Icmp(0 | 129, ..) => return Err(DropReason::OutOfState),
            _ => {}
        }
        if self.flows.len() >= most_flows(&self.rules) as usize {
            let oldest = self.flows.iter().position(|flow| !flow.answered);
            self.flows.remove(oldest.ok_or(DropReason::FlowTableFull)?);
        }
        let expires = now + lasts(&ends, idle);
        self.flows.push(Flow { ends, opened: way, answered: false, idle, expires, stale: false });
        Ok(())
    }
}

/// No connection of these tests is ever open, and then a minute is the most.
fn lasts(ends: &Ends, idle: u64) -> u64 {
    1000 * if ends.protocol == 6 { idle.min(60) } else { idle }
}

/// The ends of the flow that a frame could be of.
fn ends(way: AclWay, frame: &Frame, vlan: u16) -> Option<(Ends, Upper)> {
    let Carries::Ip(ip) = &frame.carries else { return None };
    let (src, dst) = match &ip.upper {
        Upper::Udp(src, dst) => (*src, *dst),
        Upper::Tcp(tcp) => tcp.ports,
        Upper::Icmp(kind, id, _) if [[8, 0], [128, 129]][usize::from(!ip.is_v4())].contains(kind) => {
            (*id, *id)
        }
        Upper::Icmp(..) => return None,
        Upper::Other(_) | Upper::Cut(_) => (0, 0),
    };
    let (src, dst) = ((ip.src, src), (ip.dst, dst));
    let (local, remote) = if way == AclWay::Out { (src, dst) } else { (dst, src) };
    Some((Ends { local, remote, protocol: ip.protocol(), vlan }, ip.upper.clone()))
}

/// A frame as the one that opened a flow.
fn first_frame(flow: &Flow) -> Frame {
    let Ends { local, remote, protocol, .. } = flow.ends;
    let (src, dst) = if flow.opened == AclWay::Out { (local, remote) } else { (remote, local) };
    let ports = (src.1, dst.1);
    let upper = match protocol {
        6 => Upper::Tcp(Tcp { ports, ..Tcp::default() }),
        17 => Upper::Udp(ports.0, ports.1),
        1 => Upper::Icmp(8, ports.0, vec![]),
        58 => Upper::Icmp(128, ports.0, vec![]),
        other => Upper::Other(other),
    };
    Frame::of(Ip { src: src.0, dst: dst.0, part: Part::Whole, upper })
}
