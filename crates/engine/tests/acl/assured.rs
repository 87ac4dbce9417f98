//! Datagrams that are not judged again on the port that they leave on, since that is assured.

use crate::{
    frames::{ACK, Ip, Part, RST, SYN, Tcp, Upper},
    port::{ip, lists, segment},
};
use engine::{
    AclFrame,
    AclWay::{self, In, Out},
    Asked, FrameIn, Leaving, Millis, Passage, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig,
    Verdicts,
};
use model::DropReason;
use std::{ops::Range, sync::Arc};
use wire::MacAddr;

/// Where the VM is that asks, and those that may answer.
const ASKER: PortIndex = PortIndex(0);
const OTHERS: [PortIndex; 2] = [PortIndex(1), PortIndex(2)];
const ANSWERER: PortIndex = OTHERS[0];
/// For how long the answerer's lists remember a flow.
const IDLE: u64 = 3;

/// What became of a frame on the port that it was to leave on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Became {
    Assured,
    Judged,
    Refused(DropReason),
}
use Became::{Assured, Judged};

struct Stage {
    switch: Switch,
    policies: Vec<(PortIndex, PortPolicy)>,
    now: Millis,
}

fn mac(port: PortIndex) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, port.0 as u8])
}

fn policies(asker: &[&str], answerer: &[&str], quota: u32) -> Vec<(PortIndex, PortPolicy)> {
    let vnic = |port, acl| PortPolicy { mac: Some(mac(port)), acl: Some(acl), ..PortPolicy::new(Role::Vnic) };
    let others = OTHERS.map(|port| (port, vnic(port, lists(answerer, quota))));
    [vec![(ASKER, vnic(ASKER, lists(asker, 1000)))], others.to_vec()].concat()
}

fn allowing(quota: u32) -> Vec<(PortIndex, PortPolicy)> {
    let (asker, answerer) =
        ("both allow ip weight 2 stateful idle 100", format!("in allow ip weight 2 stateful idle {IDLE}"));
    policies(&[asker], &[&answerer, "both deny ip weight 1"], quota)
}

impl Stage {
    fn new(quota: u32) -> Self {
        let switch = Switch::new(TableConfig::default(), [1, 2]);
        let mut stage = Self { switch, policies: allowing(quota), now: Millis(1) };
        stage.install();
        stage
    }

    fn install(&mut self) {
        self.switch.install(Arc::new(Snapshot::new(self.policies.clone())), self.now);
    }

    /// The ports that answer go and come, and remember nothing.
    fn forgets(&mut self) {
        let others = self.policies.split_off(1);
        self.install();
        self.policies.extend(others);
        self.install();
    }

    fn wait(&mut self, ms: u64) {
        self.now.0 += ms;
    }

    fn sends(&mut self, from: PortIndex, to: PortIndex, way: AclWay, upper: Upper) -> Became {
        self.sends_ip(from, to, &ip(way, upper))
    }

    /// Sends a packet as the data path does.
    fn sends_ip(&mut self, from: PortIndex, to: PortIndex, ip: &Ip) -> Became {
        let ethertype = if ip.src.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
        let header = [&mac(to).0[..], &mac(from).0, &ethertype, &ip.bytes()].concat();
        let mut verdicts = Verdicts::default();
        self.switch.process(from, &[FrameIn { header: &header, len: 60 }], self.now, &mut verdicts);
        if let engine::Verdict::Drop(reason) = verdicts[0] {
            return Became::Refused(reason);
        }
        let passage = *verdicts.passages().first().unwrap_or(&Passage::NONE);
        let frame = AclFrame { header: &header, len: 60, vlan: 0 };
        let (mut asked, mut found) = (Asked::default(), None);
        let leaving: Leaving<'_> = self.switch.leaving(from, to, self.now).unwrap();
        assert!(leaving.ask(&passage, &mut asked, 0, || frame));
        if asked.is_empty() {
            return Assured;
        }
        if leaving.judge_known(&mut asked, |_| &passage, |_, finding| found = Some(finding)) == 0 {
            let state = self.switch.acl_state_mut(to).unwrap();
            state.judge_all(In, &mut asked, 0, self.now, |_, finding, _| found = Some(finding));
        }
        found.unwrap().refused.map_or(Judged, Became::Refused)
    }

    /// A datagram of the asker.
    fn asks(&mut self, port: u16) -> Became {
        self.sends(ASKER, ANSWERER, Out, Upper::Udp(port, 53))
    }

    fn answers(&mut self, port: u16) -> Became {
        self.sends(ANSWERER, ASKER, In, Upper::Udp(53, port))
    }

    /// With one flow, of which the next datagram need not be judged.
    fn assured(quota: u32) -> Self {
        let mut stage = Self::new(quota);
        assert_eq!([(); 3].map(|()| stage.asks(1000)), [Judged, Judged, Assured]);
        stage
    }
}

#[test]
fn a_datagram_is_not_judged_again_where_it_leaves_for_a_moment_after_another_one() {
    let mut stage = Stage::assured(1000);
    for _ in 0..3 {
        stage.wait(1025);
        assert_eq!([(); 2].map(|()| stage.asks(1000)), [Judged, Assured]);
    }
    assert_eq!([(); 3].map(|()| stage.answers(1000)), [Judged, Judged, Assured], "the first one answers");
    assert_eq!(stage.asks(1001), Judged, "another flow");
    assert_eq!(stage.sends(ASKER, OTHERS[1], Out, Upper::Udp(1000, 53)), Judged, "to another port");
}

#[test]
fn segments_are_judged_each() {
    let mut stage = Stage::new(1000);
    let mut sends = |way, flags, seq, ack, payload| {
        let (from, to) = if way == Out { (ASKER, ANSWERER) } else { (ANSWERER, ASKER) };
        stage.sends(from, to, way, segment(way, flags, seq, ack, payload))
    };
    let opening = [(Out, SYN, 1, 0), (In, SYN | ACK, 7, 2), (Out, ACK, 2, 8)];
    assert_eq!(opening.map(|(way, flags, seq, ack)| sends(way, flags, seq, ack, 0)), [Judged; 3]);
    for at in (0..1000).step_by(100) {
        assert_eq!(sends(Out, ACK, 2 + at, 8 + at, 100), Judged);
        assert_eq!(sends(In, ACK, 8 + at, 102 + at, 100), Judged);
    }
}

#[test]
fn datagrams_of_ipv6_are_judged_each_as_a_passage_has_a_part_of_their_key() {
    let mut stage = Stage::new(1000);
    let (src, dst) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    let ip = Ip { src, dst, part: Part::Whole, upper: Upper::Udp(1000, 53) };
    assert_eq!([(); 4].map(|()| stage.sends_ip(ASKER, ANSWERER, &ip)), [Judged; 4]);
}

#[test]
fn a_flow_is_kept_for_its_time_after_its_last_datagram_and_a_second_at_most() {
    for (late, outcome) in [(0, Judged), (1025, Became::Refused(DropReason::ExtAclDenied))] {
        let mut stage = Stage::assured(1000);
        stage.wait(700);
        assert_eq!(stage.asks(1000), Assured);
        stage.wait(1000 * IDLE - 1 + late);
        let answered = stage.answers(1000);
        assert_eq!(answered, outcome, "{late} ms late");
    }
}

#[test]
fn whatever_is_installed_ends_what_was_assured() {
    let mut stage = Stage::assured(1000);
    stage.install();
    assert_eq!([(); 2].map(|()| stage.asks(1000)), [Judged, Assured]);
    stage.policies[1].1.acl = Some(lists(&["in deny ip weight 2", "out allow ip weight 1 stateful"], 1000));
    stage.install();
    assert_eq!(stage.asks(1000), Became::Refused(DropReason::ExtAclDenied));
}

#[test]
fn what_was_assured_before_other_policies_does_not_hold_again_where_a_table_has_run_empty() {
    let mut stage = Stage::assured(1000);
    let runs_empty = |stage: &mut Stage| {
        stage.switch.age(stage.now, 1000);
        assert_eq!(stage.switch.flows(ANSWERER), 0);
    };
    stage.wait(1000 * IDLE + 2000);
    runs_empty(&mut stage);
    assert_eq!([(); 3].map(|()| stage.asks(1000)), [Judged, Judged, Assured]);
    for port in &mut stage.policies[1..] {
        port.1.acl = Some(lists(&["in deny ip weight 2", "out allow ip weight 1 stateful"], 1000));
    }
    stage.install();
    for _ in 0..2 {
        assert_eq!(stage.asks(1000), Became::Refused(DropReason::ExtAclDenied));
        runs_empty(&mut stage);
    }
}

/// The first segment of a connection to the answerer, and its refusal.
fn tcp(way: AclWay, port: u16) -> Upper {
    let (ports, flags, ack) = if way == Out { ((port, 80), SYN, 0) } else { ((80, port), RST | ACK, 2) };
    Upper::Tcp(Tcp { ports, flags, seq: 1, ack, window: 1000, scale: None, payload: 0 })
}

#[test]
fn a_flow_that_has_to_make_room_takes_with_it_what_was_assured() {
    const QUOTA: u16 = 300;
    let mut stage = Stage::assured(QUOTA.into());
    // Each frame of a batch could begin a flow, and that of its fragments.
    let room = QUOTA - 2 * Asked::MOST as u16;
    let open = |stage: &mut Stage, flows: Range<u16>| {
        flows.for_each(|flow| assert_eq!(stage.sends(ASKER, ANSWERER, Out, tcp(Out, flow)), Judged));
    };
    open(&mut stage, 1..room);
    assert_eq!(stage.asks(1000), Assured);
    open(&mut stage, room..room + 1);
    assert_eq!(stage.asks(1000), Judged, "it might have to go while the batch is judged");
    open(&mut stage, room + 1..QUOTA + 2);
    assert_eq!(stage.switch.flows(ANSWERER), usize::from(QUOTA));
    for flow in 2..QUOTA + 2 {
        assert_eq!(stage.sends(ANSWERER, ASKER, In, tcp(In, flow)), Judged);
    }
    assert_eq!((stage.switch.flows(ANSWERER), stage.now), (0, Millis(1)));
    assert_eq!(
        [(); 3].map(|()| stage.asks(1000)),
        [Judged, Judged, Assured],
        "it was the oldest, and has gone"
    );
    // Two have had to make room, and policies are installed twice.
    stage.forgets();
    assert_eq!([(); 3].map(|()| stage.asks(1000)), [Judged, Judged, Assured], "it has gone again");
}
