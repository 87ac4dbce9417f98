//! What frames say of addresses, and what is learned of leases: whatever comes, the guard lets no bluntly foreign source in, what is told of
//! the first bytes is so of the whole frame, and no port holds more than it may.

#![no_main]

use engine::{FrameIn, IpGuard, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Verdicts};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use wire::{
    Claim, MacAddr, claim,
    dhcp::{self, Dhcp},
};

const UPLINK: PortIndex = PortIndex(0);
const VM: PortIndex = PortIndex(1);
const VM_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const MOST: u16 = 2;

fn snapshot() -> Snapshot {
    let ip_guard = Some(IpGuard { addresses: Vec::new(), most_leases: MOST });
    let vm = PortPolicy { mac: Some(VM_MAC), guard: false, learn_limit: 4, ip_guard, ..PortPolicy::new(Role::Vnic) };
    Snapshot::new(vec![(UPLINK, PortPolicy::new(Role::Uplink)), (VM, vm)])
}

// Each frame: whether the VM sent it, seconds gone by, length in two bytes, bytes.
fuzz_target!(|input: &[u8]| {
    let mut switch = Switch::new(TableConfig { capacity: 16, ageing_ms: 5000 }, [1, 2]);
    switch.install(Arc::new(snapshot()), Millis(0));
    let (mut rest, mut now, mut verdicts) = (input, Millis(0), Verdicts::default());
    while let [sent, seconds, high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (frame, next) = tail.split_at(len.min(tail.len()));
        (rest, now) = (next, Millis(now.0 + 1000 * u64::from(*seconds)));
        reading(frame);
        if sent % 2 == 0 {
            switch.hear_sent(VM, frame, now);
        } else {
            switch.hear_delivered(UPLINK, VM, frame, now);
        }
        let held: Vec<_> = switch.leases(VM, now).collect();
        assert!(held.len() <= usize::from(MOST));
        let header = &frame[..frame.len().min(128)];
        switch.process(VM, &[FrameIn { header, len: frame.len() as u32 }], now, &mut verdicts);
        if verdicts[0].passes() && let Some(source) = blunt_source(header) {
            let source = std::net::IpAddr::from(source);
            assert!(held.iter().any(|lease| lease.address.contains(source)), "{source} passed, of {held:?}");
        }
    }
});

/// The source of an IPv4 packet without tags and options that is no request, no IGMP.
fn blunt_source(frame: &[u8]) -> Option<[u8; 4]> {
    let packet = frame.get(12..)?.strip_prefix(&[8, 0, 0x45])?;
    let source: [u8; 4] = packet.get(11..15)?.try_into().ok()?;
    (source != [0; 4] && packet.len() >= 19).then_some(source)
}

fn reading(frame: &[u8]) {
    let whole = claim(frame);
    for end in 0..frame.len().min(128) {
        match claim(&frame[..end]) {
            Claim::Hidden => {}
            // Whether a datagram is a request may be seen only further on.
            Claim::V4 { source, .. } => assert!(matches!(whole, Claim::V4 { source: all, .. } if all == source)),
            part => assert_eq!(part, whole),
        }
    }
    match dhcp::parse(frame) {
        Some(Dhcp::V6(message)) => assert!(message.leases().count() <= frame.len() / 25),
        Some(Dhcp::V4(_)) => assert!(frame.len() >= 282, "a message that does not fit"),
        None => return,
    }
    assert!(frame.len() > 128 || dhcp::is_likely(frame), "a message that the data path would not hand over");
}
