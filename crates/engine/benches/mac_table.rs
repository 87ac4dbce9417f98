//! Look-ups and learns per second on one core, with a full table of the default size.
//!
//! The engine's figures are of the whole pipeline, frame by frame in batches of 64: a look-up is a frame from a guarded
//! port to a random known address; a learn is a frame from a source that the full table does not know, for which it has to
//! forget another. Beside it, in the same run and in turns, what a plain implementation would do: the standard library's
//! hash map with its default SipHash, no ports' policies, no ageing; its victims come from a queue.

use engine::{FrameIn, Millis, PortIndex, PortPolicy, Role, Snapshot, Switch, TableConfig, Verdicts};
use std::{
    collections::{HashMap, VecDeque},
    hint::black_box,
    sync::Arc,
    time::Instant,
};
use wire::MacAddr;

const ENTRIES: u64 = 65_536;
const BATCH: usize = 64;
const ROUNDS: usize = 7;
const FRAMES: u64 = 16 * ENTRIES;

const UPLINK: PortIndex = PortIndex(0);
const VNIC: PortIndex = PortIndex(1);
const VNIC_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0xff, 0xff]);

/// The n-th address: scattered over 46 bits, as the multiplier is odd, and never a group address.
fn mac(n: u64) -> MacAddr {
    let scattered = n.wrapping_mul(0x9e37_79b9_7f4b) & 0x3fff_ffff_ffff;
    MacAddr::from_u64((scattered >> 40) << 42 | 0x0200_0000_0000 | scattered & 0xff_ffff_ffff)
}

fn macs(numbers: impl Iterator<Item = u64>) -> Vec<u64> {
    numbers.map(|n| mac(n).to_u64()).collect()
}

/// Numbers below `ENTRIES` in random order: a full-period linear congruential generator.
fn shuffled() -> impl Iterator<Item = u64> {
    std::iter::successors(Some(1u64), |n| Some((n * 1_664_525 + 1_013_904_223) % ENTRIES))
        .take(ENTRIES as usize)
}

fn header(dst: MacAddr, src: MacAddr) -> [u8; 14] {
    let mut header = [0x08; 14];
    header[..6].copy_from_slice(&dst.0);
    header[6..12].copy_from_slice(&src.0);
    header
}

/// Lets the switch decide frames between `macs` and `other`, each header written into a batch's buffer as a port would.
fn process_all(switch: &mut Switch, ingress: PortIndex, macs: &[u64], header_of: fn(MacAddr) -> [u8; 14]) {
    let mut verdicts = Verdicts::default();
    let mut headers = [[0; 14]; BATCH];
    for macs in macs.chunks(BATCH) {
        headers.iter_mut().zip(macs).for_each(|(header, mac)| *header = header_of(MacAddr::from_u64(*mac)));
        let frames = headers.each_ref().map(|header| FrameIn { header, len: 60 });
        switch.process(ingress, &frames[..macs.len()], Millis(0), &mut verdicts);
        black_box(&verdicts);
    }
}

fn to_known(mac: MacAddr) -> [u8; 14] {
    header(mac, VNIC_MAC)
}

fn from_new(mac: MacAddr) -> [u8; 14] {
    header(MacAddr::BROADCAST, mac)
}

/// A switch whose table is full of what the uplink sent.
fn full_switch() -> Switch {
    let vnic = PortPolicy { mac: Some(VNIC_MAC), ..PortPolicy::new(Role::Vnic) };
    let snapshot = Snapshot::new(vec![(UPLINK, PortPolicy::new(Role::Uplink)), (VNIC, vnic)]);
    let mut switch = Switch::new(TableConfig::default(), [0x0123_4567, 0x89ab_cdef]);
    switch.install(Arc::new(snapshot), Millis(0));
    process_all(&mut switch, UPLINK, &macs(0..ENTRIES - 1), from_new);
    assert_eq!(switch.len() as u64, ENTRIES);
    switch
}

/// Millions of `work`'s items per second.
fn rate(items: u64, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    items as f64 / start.elapsed().as_secs_f64() / 1e6
}

fn engine_look_ups(switch: &mut Switch) -> f64 {
    let macs = macs(shuffled());
    rate(FRAMES, || (0..FRAMES / ENTRIES).for_each(|_| process_all(switch, VNIC, &macs, to_known)))
}

fn engine_learns(switch: &mut Switch, next: &mut u64) -> f64 {
    let macs = macs(*next..*next + FRAMES);
    *next += FRAMES;
    rate(FRAMES, || process_all(switch, UPLINK, &macs, from_new))
}

type Map = HashMap<u64, (u16, u32)>;

fn map_look_ups(map: &Map) -> f64 {
    let keys = macs(shuffled());
    rate(FRAMES, || {
        (0..FRAMES / ENTRIES).for_each(|_| {
            keys.iter().for_each(|key| {
                black_box(map.get(key));
            })
        });
    })
}

fn map_learns(map: &mut Map, oldest: &mut VecDeque<u64>, next: &mut u64) -> f64 {
    let keys = macs(*next..*next + FRAMES);
    *next += FRAMES;
    rate(FRAMES, || {
        for key in keys {
            if map.len() as u64 >= ENTRIES {
                oldest.pop_front().map(|victim| map.remove(&victim));
            }
            map.insert(key, (0, 0));
            oldest.push_back(key);
        }
    })
}

fn report(what: &str, mut engine: Vec<f64>, mut map: Vec<f64>) {
    engine.sort_by(f64::total_cmp);
    map.sort_by(f64::total_cmp);
    let (median, peer) = (engine[ROUNDS / 2], map[ROUNDS / 2]);
    let best = engine[ROUNDS - 1];
    println!(
        "{what:<8} {median:>8.1} M/s (best {best:.1})   std HashMap {peer:>6.1} M/s   ratio {:.2}",
        median / peer
    );
}

fn main() {
    let mut look_ups = (Vec::new(), Vec::new());
    let mut learns = (Vec::new(), Vec::new());
    let mut next = [ENTRIES; 2];
    for _ in 0..ROUNDS {
        let mut switch = full_switch();
        let mut map: Map = (0..ENTRIES).map(|n| (mac(n).to_u64(), (0, 0))).collect();
        let mut oldest: VecDeque<_> = (0..ENTRIES).map(|n| mac(n).to_u64()).collect();
        look_ups.0.push(engine_look_ups(&mut switch));
        look_ups.1.push(map_look_ups(&map));
        learns.0.push(engine_learns(&mut switch, &mut next[0]));
        learns.1.push(map_learns(&mut map, &mut oldest, &mut next[1]));
    }
    println!("{ENTRIES} entries, full, one core, median of {ROUNDS} rounds");
    report("look-ups", look_ups.0, look_ups.1);
    report("learns", learns.0, learns.1);
    let bytes = full_switch().table_bytes() as f64 / ENTRIES as f64;
    println!("memory   {bytes:>8.1} bytes an entry");
}
