//! What lists found lately is what they would find.

use crate::{
    frames::{Frame, Upper},
    lists::{self, acl, ip, rules},
};
use engine::{Acl, AclWay, Findings, PortIndex, PortPolicy, Role, Snapshot};
use model::DropReason;
use proptest::{collection::vec, prelude::*};
use std::sync::Arc;

const PORTS: u16 = 3;
/// So often a packet is judged that what was found of it is surely kept.
const OFTEN: usize = 5;

fn snapshot(lists: &[Arc<Acl>]) -> Arc<Snapshot> {
    let vnic = |acl: &Arc<Acl>| PortPolicy { acl: Some(Arc::clone(acl)), ..PortPolicy::new(Role::Vnic) };
    Arc::new(Snapshot::new((0..).map(PortIndex).zip(lists.iter().map(vnic)).collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 2))]

    #[test]
    fn they_are_what_the_lists_of_that_port_and_that_snapshot_find(
        changes in vec(vec(rules(40), usize::from(PORTS)), 1..4),
        frames in vec(lists::frame(), 1..20),
    ) {
        let mut findings = Findings::default();
        for lists in changes {
            let lists: Vec<_> = lists.iter().map(|rules| Arc::new(Acl::new(rules, 0))).collect();
            let snapshot = snapshot(&lists);
            for (frame, _) in frames.iter().flat_map(|frame| (0..OFTEN).map(move |again| (frame.header(), again))) {
                for (port, way) in (0..PORTS).flat_map(|port| [(port, AclWay::In), (port, AclWay::Out)]) {
                    let acl = &lists[usize::from(port)];
                    findings.follow(&snapshot);
                    prop_assert_eq!(findings.judge(PortIndex(port), acl, way, &frame), acl.judge(way, &frame));
                }
            }
        }
    }
}

#[test]
fn a_packet_that_differs_only_in_what_no_tuple_has_is_judged_by_itself() {
    let lists = acl(&["in deny icmp type 8 weight 9", "in deny tcp to any port 22 weight 8"]);
    let (mut findings, snapshot) = (Findings::default(), snapshot(&[Arc::new(lists.clone())]));
    findings.follow(&snapshot);
    let mut judge = |frame: &Frame| findings.judge(PortIndex(0), &lists, AclWay::In, &frame.header()).refused;
    let kinds = [(8, Some(DropReason::ExtAclDenied)), (0, None)];
    for _ in 0..OFTEN {
        for (kind, expected) in kinds {
            let echo = ip("10.0.0.1", "10.0.0.2", Upper::Icmp(kind, 0, Vec::new()));
            assert_eq!(judge(&echo), expected);
        }
        assert_eq!(judge(&ip("10.0.0.1", "10.0.0.2", Upper::Udp(5, 22))), None);
        assert_eq!(judge(&ip("10.0.0.1", "10.0.0.2", Upper::Cut(6))), Some(DropReason::ExtAclDenied));
    }
}

#[test]
fn packets_that_share_a_place_are_told_apart() {
    let lists = acl(&["in deny udp from any port 32768-65535 weight 1"]);
    let (mut findings, snapshot) = (Findings::default(), snapshot(&[Arc::new(lists.clone())]));
    findings.follow(&snapshot);
    // Many times as many as there are places.
    for port in (0..u16::MAX).step_by(3).flat_map(|port| [port; OFTEN]) {
        let packet = ip("10.0.0.1", "10.0.0.2", Upper::Udp(port, 9)).header();
        let refused = findings.judge(PortIndex(0), &lists, AclWay::In, &packet).refused;
        assert_eq!(refused.is_some(), port >= 32_768, "{port}");
    }
}
