//! What it costs workers to share a switch's tables: frames decided per second by one worker alone and by two at once, each
//! with tables of its own, or both with the same.
//!
//! Batches of 64 frames, each to another known address than the one before. `guarded`: from a guarded port, so that deciding
//! only reads. `learning`: from an uplink behind which every address is known and was stamped within the second, so that it
//! only reads, too. `moving`: every frame of a batch comes from an address that was last seen on the other worker's port, so
//! each batch is decided twice, the second time by a writer: the worst that guests without guard can do.
//!
//! ```text
//! cargo bench -p vmswitch-dataplane --bench shared_tables
//! ```

use dataplane::{Desk, Tables};
use engine::{FrameIn, Millis, PortIndex, PortPolicy, Role, Snapshot, TableConfig};
use std::{
    array,
    hint::black_box,
    sync::{Arc, Barrier},
    thread,
    time::Instant,
};
use wire::MacAddr;

const BATCH: usize = 64;
const BATCHES: u32 = 20_000;
const ROUNDS: usize = 7;
const ADDRESSES: u32 = 1024;

#[derive(Clone, Copy, PartialEq)]
enum Load {
    Guarded,
    Learning,
    Moving,
}

fn mac(kind: u8, number: u32) -> MacAddr {
    let [_, b, c, d] = number.to_be_bytes();
    MacAddr([2, kind, 0, b, c, d])
}

/// Two ports for the workers to receive from, and one behind which all destinations are.
fn tables(load: Load) -> Arc<Tables> {
    let guarded = |n| PortPolicy { mac: Some(mac(1, n)), ..PortPolicy::new(Role::Vnic) };
    let uplink = |_| PortPolicy::new(Role::Uplink);
    let policy: fn(u32) -> PortPolicy = if load == Load::Guarded { guarded } else { uplink };
    let ports = [policy(0), policy(1), PortPolicy::new(Role::Uplink)];
    let tables = Tables::new(TableConfig::default(), [1, 2]);
    tables.install(Arc::new(Snapshot::new((0..).map(PortIndex).zip(ports).collect())), Millis(0));
    let mut desk = Desk::default();
    for number in 0..ADDRESSES {
        let header = header(MacAddr::BROADCAST, mac(2, number));
        tables.decide(PortIndex(2), [FrameIn { header: &header, len: 60 }].into_iter(), Millis(0), &mut desk);
    }
    Arc::new(tables)
}

fn header(dst: MacAddr, src: MacAddr) -> [u8; 14] {
    let mut header = [0x08; 14];
    header[..6].copy_from_slice(&dst.0);
    header[6..12].copy_from_slice(&src.0);
    header
}

/// Nanoseconds that a frame takes worker `number`.
fn work(tables: &Tables, load: Load, number: u32, start: &Barrier) -> f64 {
    let port = PortIndex(number as u16);
    let source = |at: u32| match load {
        Load::Guarded => mac(1, number),
        Load::Learning => mac(3 + number as u8, at),
        Load::Moving => mac(3, at),
    };
    let headers: [[u8; 14]; BATCH] = array::from_fn(|at| header(mac(2, at as u32 * 16), source(at as u32)));
    let mut desk = Desk::default();
    let frames = || headers.iter().map(|header| FrameIn { header, len: 60 });
    start.wait();
    let began = Instant::now();
    for _ in 0..BATCHES {
        black_box(tables.decide(port, frames(), Millis(0), &mut desk));
    }
    began.elapsed().as_nanos() as f64 / f64::from(BATCHES) / BATCH as f64
}

/// Nanoseconds a frame, the mean of the workers'.
fn measure(load: Load, of_each: &[Arc<Tables>]) -> f64 {
    let start = Arc::new(Barrier::new(of_each.len()));
    let workers = of_each.iter().cloned().zip(0..).map(|(tables, number)| {
        let start = Arc::clone(&start);
        thread::spawn(move || work(&tables, load, number, &start))
    });
    let workers: Vec<_> = workers.collect();
    let taken: f64 = workers.into_iter().filter_map(|worker| worker.join().ok()).sum();
    taken / of_each.len() as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    println!("ns a frame, medians of {ROUNDS} alternating rounds");
    println!("{:10} {:>12} {:>16} {:>12}", "load", "one worker", "two, own tables", "two, shared");
    for (name, load) in [("guarded", Load::Guarded), ("learning", Load::Learning), ("moving", Load::Moving)] {
        let mut figures = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let shared = tables(load);
            figures[0].push(measure(load, &[tables(load)]));
            figures[1].push(measure(load, &[tables(load), tables(load)]));
            figures[2].push(measure(load, &[Arc::clone(&shared), shared]));
        }
        let [one, own, shared] = figures.map(median);
        println!("{name:10} {one:>12.1} {own:>16.1} {shared:>12.1}");
    }
}
