//! Judges frames by 1,000 basic and 1,000 extended rules, or by a flow, and nothing else: for counting instructions under callgrind. What
//! two counts of frames differ in is the frames' own.
//!
//! `acl_instructions none|rules|flow FRAMES`

use engine::{Acl, AclFrame, AclState, AclWay, Millis};
use std::{env, hint::black_box, sync::Arc};

fn frame(n: u32) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17]);
    frame[26..34].copy_from_slice(&[10, (n / 256) as u8, n as u8, 1, 10, 0, 0, 1]);
    frame[34..38].copy_from_slice(&[0x30, 7, 4, (n % 256) as u8]);
    frame
}

fn rules() -> Vec<model::AclRule> {
    let basic = (0..1000).map(|n| format!("in allow from 10.{}.{}.0/24", n / 256, n % 256));
    let port = |n| 1024 + n % 256;
    let extended = (0..1000).map(|n| {
        format!(
            "in allow udp from 10.{}.{}.0/24 to any port {} weight {}",
            n / 256,
            n % 256,
            port(n),
            9000 - n
        )
    });
    basic.chain(extended).chain(["in deny weight 1".to_owned()]).map(|text| text.parse().unwrap()).collect()
}

fn main() {
    let arguments: Vec<_> = env::args().collect();
    let frames: usize = arguments[2].parse().unwrap();
    let all: Vec<_> = (0..1000).map(frame).collect();
    let rules = match &*arguments[1] {
        "none" => vec![],
        "rules" => rules(),
        _ => vec!["in allow ip weight 9 stateful".parse().unwrap()],
    };
    let acl = Arc::new(Acl::new(&rules, 65_536));
    let mut state = AclState::new(Arc::clone(&acl), [1, 2]);
    for header in all.iter().cycle().take(frames) {
        let refused = if acl.keeps_state() {
            state
                .judge(AclWay::In, &AclFrame { header: black_box(header), len: 60, vlan: 0 }, Millis(1))
                .refused
        } else {
            acl.judge(AclWay::In, black_box(header)).refused
        };
        assert_eq!(black_box(refused), None);
    }
}
