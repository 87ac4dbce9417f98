//! Frames of hostile guests and strangers through access lists with state: whatever they are, nobody panics, the flows stay within their
//! quota, and what no vNIC opened does not come in.

#![no_main]

use engine::{Acl, AclFrame, AclState, AclWay, Millis};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

const QUOTA: u32 = 16;
const RULES: [&str; 8] = [
    "out allow ip weight 100 stateful idle 30",
    "in allow tcp to any port 22 weight 90 stateful",
    "in deny weight 1",
    "out deny udp to any port 53 weight 200",
    "out deny icmp type 5 weight 200",
    "out deny to 10.66.0.0/16",
    "in deny from mac 02:00:00:00:00:66",
    "both meter",
];

// Each frame: which way, seconds gone by, length, bytes.
fuzz_target!(|input: &[u8]| {
    let rules: Vec<_> = RULES.iter().map(|text| text.parse().unwrap()).collect();
    let acl = Arc::new(Acl::new(&rules, QUOTA));
    let mut state = AclState::new(Arc::clone(&acl), [1, 2]);
    let (mut rest, mut now, mut passed_out, mut passed) = (input, Millis(0), 0, 0);
    while let [way, seconds, len, tail @ ..] = rest {
        let (header, next) = tail.split_at(usize::from(*len).min(tail.len()).min(128));
        (rest, now) = (next, Millis(now.0 + 1000 * u64::from(*seconds)));
        let way = if way % 2 == 0 { AclWay::Out } else { AclWay::In };
        let frame = AclFrame { header, len: header.len() as u32, vlan: 0 };
        let before = state.flows();
        let finding = state.judge(way, &frame, now);
        assert!(state.flows() <= QUOTA as usize);
        passed += u64::from(finding.refused.is_none());
        match (way, finding.refused) {
            (AclWay::Out, None) => {
                passed_out += 1;
                assert!(!is_blunt_dns(header), "a denied datagram passed");
            }
            (AclWay::In, None) if finding.of_flow => assert!(before != 0, "it belongs to a flow that there is not"),
            (AclWay::In, None) => assert!(is_blunt_ssh(header) || finding.rule.is_some(), "something came in that nobody opened"),
            _ => {}
        }
        // By rules alone more is never refused for the lists' basic part.
        let stateless = acl.judge(way, header);
        assert_eq!(
            stateless.refused == Some(model::DropReason::AclDenied),
            finding.refused == Some(model::DropReason::AclDenied)
        );
    }
    let counted: u64 = state.meters().map(|(_, meter)| meter.frames).sum();
    assert_eq!(counted, passed);
    assert!(passed_out <= passed);
});

/// A datagram for port 53 that hides nothing, told apart without the parser under test.
fn is_blunt_dns(frame: &[u8]) -> bool {
    frame.len() >= 42 && frame[12..15] == [8, 0, 0x45] && frame[20] & 0x3f == 0 && frame[21] == 0 && frame[23] == 17 && frame[36..38] == [0, 53]
}

/// A segment for port 22 that hides nothing but what is before IP.
fn is_blunt_ssh(frame: &[u8]) -> bool {
    frame.windows(2).any(|word| word == [0, 22])
}
