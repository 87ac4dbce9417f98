//! Frames of hostile guests through a switch: whatever they are, the guard holds and the tables stay within their bounds.

#![no_main]

use engine::{FrameIn, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Verdict, Verdicts};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use wire::{MacAddr, ethernet};

const CAPACITY: u32 = 16;
const GUARDED: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

fn snapshot() -> Snapshot {
    let inspected = PortPolicy { dhcp_guard: true, router_guard: true, ..PortPolicy::new(Role::Vnic) };
    let open = PortPolicy { guard: false, learn_limit: 4, ..inspected };
    let guarded = PortPolicy { mac: Some(GUARDED), ..PortPolicy::new(Role::Vnic) };
    Snapshot::new(vec![
        (PortIndex(0), PortPolicy::new(Role::Uplink)),
        (PortIndex(1), guarded),
        (PortIndex(2), open),
    ])
}

// Each frame: ingress, seconds gone by, length, bytes.
fuzz_target!(|input: &[u8]| {
    let mut switch = Switch::new(TableConfig { capacity: CAPACITY, ageing_ms: 5000 }, [1, 2]);
    switch.install(Arc::new(snapshot()), Millis(0));
    let (mut rest, mut now, mut verdicts) = (input, Millis(0), Verdicts::default());
    while let [ingress, seconds, len, tail @ ..] = rest {
        let (frame, next) = tail.split_at(usize::from(*len).min(tail.len()));
        (rest, now) = (next, Millis(now.0 + 1000 * u64::from(*seconds)));
        let ingress = PortIndex(u16::from(ingress % 3));
        switch.process(ingress, &[FrameIn { header: frame, len: frame.len() as u32 }], now, &mut verdicts);
        check(ingress, frame, verdicts[0]);
        assert!(switch.len() <= CAPACITY as usize);
    }
});

fn check(ingress: PortIndex, frame: &[u8], verdict: Verdict) {
    let passes = matches!(verdict, Verdict::Forward(..) | Verdict::Flood(..));
    let Some((destination, source)) = ethernet::addresses(frame) else {
        return assert!(!passes, "a runt passed");
    };
    if passes {
        assert!(source.is_valid_source());
        assert_eq!(source == GUARDED, ingress == PortIndex(1), "only the guarded port uses its MAC, and no other");
        assert!(ingress == PortIndex(0) || !destination.is_bridge_reserved());
        assert!(ingress != PortIndex(2) || !is_blunt(&frame[12..]), "a guard let a server's or router's message pass");
    }
    assert!(!matches!(verdict, Verdict::Forward(to, _) if to == ingress));
}

/// What a server or a router would say without hiding it, told apart without the parser under test.
fn is_blunt(packet: &[u8]) -> bool {
    match packet {
        [0x08, 0x00, 0x45, rest @ ..] if rest.len() >= 29 => match (&rest[5..7], rest[8]) {
            ([0, 0], 17) => rest[21..23] == [0, 68],
            ([0, 0], 1) => matches!(rest[19], 5 | 9),
            _ => false,
        },
        [0x86, 0xdd, 0x60..=0x6f, rest @ ..] if rest.len() >= 47 => match rest[5] {
            17 => rest[41..43] == [2, 34],
            58 => matches!(rest[39], 134 | 137),
            _ => false,
        },
        _ => false,
    }
}
