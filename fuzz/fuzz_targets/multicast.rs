//! Hosts, queriers and liars at a switch that snoops: whatever they say, what it knows stays within its bounds, and groups of the
//! link go to everybody.

#![no_main]

use engine::{FrameIn, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Verdict, Verdicts};
use libfuzzer_sys::fuzz_target;
use model::{
    DropReason,
    policy::multicast::{MulticastConfig, Querier},
};
use std::sync::Arc;
use wire::MacAddr;

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 1, 0]);

fn switch(settings: u8) -> Switch {
    let config = MulticastConfig {
        snooping: true,
        querier: [Querier::Off, Querier::On, Querier::Auto][usize::from(settings % 3)],
        query_interval_s: 8,
        query_response_s: 2,
        fast_leave: settings & 0x10 != 0,
        flood_unregistered: settings & 0x20 != 0,
        uplink_router: settings & 0x40 != 0,
        ..MulticastConfig::default()
    };
    let open = PortPolicy { guard: false, ..PortPolicy::new(Role::Vnic) };
    let guarded = PortPolicy { router_guard: settings & 0x80 != 0, ..open.clone() };
    let ports = vec![
        (PortIndex(0), PortPolicy::new(Role::Uplink)),
        (PortIndex(1), guarded),
        (PortIndex(2), open),
    ];
    let mut switch = Switch::new(TableConfig { capacity: 16, ageing_ms: 5000 }, [1, 2]);
    switch.install(Arc::new(Snapshot::new(ports).with_multicast(config, OWN)), Millis(0));
    switch
}

// Settings, then for each frame: ingress, seconds gone by, length, bytes.
fuzz_target!(|input: &[u8]| {
    let [settings, input @ ..] = input else { return };
    let mut switch = switch(*settings);
    let (mut rest, mut now, mut verdicts) = (input, Millis(0), Verdicts::default());
    while let [ingress, seconds, len, tail @ ..] = rest {
        let (frame, next) = tail.split_at(usize::from(*len).min(tail.len()));
        (rest, now) = (next, Millis(now.0 + 1000 * u64::from(*seconds)));
        let ingress = PortIndex(u16::from(ingress % 3));
        let header = &frame[..frame.len().min(128)];
        let frames = [FrameIn { header, len: frame.len() as u32 }];
        let read = switch.process_known(ingress, &frames, now, &mut verdicts).map(|_| outcome(&verdicts));
        switch.process(ingress, &frames, now, &mut verdicts);
        assert!(read.is_none_or(|read| read == outcome(&verdicts)), "who reads decides otherwise");
        check(ingress, frame, &verdicts);
        let questions = std::iter::from_fn(|| switch.next_question(now)).count();
        assert!(questions <= 64, "{questions} queries at once");
        let known = switch.multicast(now).expect("the switch snoops");
        assert!(known.members.len() <= 2 * 512 + 512);
    }
});

fn outcome(verdicts: &Verdicts) -> (Option<Verdict>, Vec<PortIndex>) {
    let listed = match verdicts.first() {
        Some(Verdict::List(list, _)) => verdicts.listed(*list).to_vec(),
        _ => Vec::new(),
    };
    (verdicts.first().copied(), listed)
}

fn check(ingress: PortIndex, frame: &[u8], verdicts: &Verdicts) {
    let narrowed = match verdicts[0] {
        Verdict::List(list, _) => {
            let listed = verdicts.listed(list);
            assert!(!listed.is_empty() && !listed.contains(&ingress), "{listed:?}");
            true
        }
        verdict => verdict == Verdict::Drop(DropReason::NoListener),
    };
    assert!(!narrowed || !is_bluntly_local(frame), "a group of the link was filtered");
}

/// What everybody has to get, told apart without the parser under test: neighbour discovery and mDNS.
fn is_bluntly_local(frame: &[u8]) -> bool {
    match frame {
        [0x33, 0x33, _, _, _, _, _, _, _, _, _, _, 0x86, 0xdd, 0x60, rest @ ..] if rest.len() >= 40 => {
            rest[5] == 58 && rest[23..25] == [0xff, 2] && matches!(rest[39], 133..=137)
        }
        [1, 0, 0x5e, 0, 0, 251, _, _, _, _, _, _, 8, 0, 0x45, rest @ ..] if rest.len() >= 19 => {
            rest[8] == 17 && rest[15..19] == [224, 0, 0, 251]
        }
        _ => false,
    }
}
