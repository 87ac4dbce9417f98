//! A port with access lists, and what passes it.

use crate::frames::{Frame, Ip, Part, Tcp, Upper};
use engine::{Acl, AclFrame, AclState, AclWay, Millis};
use model::DropReason;
use std::sync::Arc;

pub const VM: &str = "10.0.0.1";
pub const PEER: &str = "192.0.2.9";

pub struct Port {
    pub state: AclState,
    pub now: Millis,
    pub vlan: u16,
}

pub fn lists(rules: &[&str], flows: u32) -> Arc<Acl> {
    Arc::new(Acl::new(&rules.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>(), flows))
}

impl Port {
    pub fn new(rules: &[&str], flows: u32) -> Self {
        Self { state: AclState::new(lists(rules, flows), [1, 2]), now: Millis(0), vlan: 0 }
    }

    /// A VM that may open what it likes, and to which nobody else may.
    pub fn stateful() -> Self {
        Self::new(&["out allow ip weight 100 stateful idle 100", "in deny ip weight 1"], 1000)
    }

    /// Why a packet does not pass. `way` says from whom it is, where both are the ends of a flow.
    pub fn send(&mut self, way: AclWay, upper: Upper) -> Option<DropReason> {
        self.send_ip(way, &ip(way, upper))
    }

    pub fn send_ip(&mut self, way: AclWay, ip: &Ip) -> Option<DropReason> {
        let header = Frame::of(ip.clone()).header();
        let frame = AclFrame { header: &header, len: 60, vlan: self.vlan };
        let excerpt = self.state.excerpt(way, &frame, self.now).judge(way, &frame, self.now);
        let finding = self.state.judge(way, &frame, self.now);
        assert_eq!(excerpt, finding, "what it would be, and what it is");
        finding.refused
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now.0 += seconds * 1000;
    }
}

/// A packet from the VM, or to it.
pub fn ip(way: AclWay, upper: Upper) -> Ip {
    let (src, dst) = if way == AclWay::Out { (VM, PEER) } else { (PEER, VM) };
    Ip { src: src.parse().unwrap(), dst: dst.parse().unwrap(), part: Part::Whole, upper }
}

/// A segment of the connection that the VM's port 1000 has with port 80.
pub fn segment(way: AclWay, flags: u8, seq: u32, ack: u32, payload: u16) -> Upper {
    let ports = if way == AclWay::Out { (1000, 80) } else { (80, 1000) };
    Upper::Tcp(Tcp { ports, flags, seq, ack, window: 1000, scale: None, payload })
}
