//! Frames a second over rings, with the driver on another core: `ring_speed [SECONDS] [SIZE]`.
//!
//! `send`: the guest sends, the device copies 64 bytes out of each frame. `receive`: the device writes 76 bytes into
//! each. `through`: both rings, frames are copied from the one to the other. `busy` is the device's time for a frame, in
//! turns that found something to do.

#![allow(clippy::unwrap_used, reason = "an example")]

#[path = "support/mod.rs"]
mod support;

use io::vhost_rings::{Chains, Direction, Piece, Ring};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use support::{Driver, IN_ORDER, PACKED, SPLIT};

static STOP: AtomicBool = AtomicBool::new(false);

fn main() {
    FIRST.with(|_| ());
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(0.5, |text| text.parse().unwrap());
    let size = arguments.next().map_or(1024, |text| text.parse().unwrap());
    let names = [
        ("split", SPLIT),
        ("split in order", SPLIT | IN_ORDER),
        ("packed", PACKED),
        ("packed in order", PACKED | IN_ORDER),
    ];
    for (name, features) in names {
        for kind in ["send", "receive", "through"] {
            let (mpps, busy) = measure(kind, size, features, Duration::from_secs_f64(seconds));
            println!("{name:16} {kind:8} {mpps:6.2} Mpps  busy {busy:5.1} ns");
        }
    }
}

fn measure(kind: &str, size: u16, features: u64, time: Duration) -> (f64, f64) {
    let mut sender = (kind != "receive").then(|| Driver::new(Direction::Readable, size, features));
    let mut receiver = (kind != "send").then(|| Driver::new(Direction::Writable, size, features));
    let source = sender.as_ref().map(Driver::device);
    let target = receiver.as_ref().map(Driver::device);
    STOP.store(false, Ordering::Relaxed);
    let driver = thread::spawn(move || {
        io::pin_current_thread(1).unwrap();
        sender.iter().chain(&receiver).for_each(Driver::be_quiet);
        while !STOP.load(Ordering::Relaxed) {
            if let Some(receiver) = &mut receiver {
                let (_, sum) = receiver.reap(64);
                std::hint::black_box(sum);
                receiver.post(64);
            }
            if let Some(sender) = &mut sender {
                sender.reap(64);
                sender.post(32);
            }
        }
        (sender, receiver)
    });
    io::pin_current_thread(0).unwrap();
    let outcome = match (source, target) {
        (Some(source), None) => run(time, Device { source: Some(source), target: None, ..Device::default() }),
        (source, target) => run(time, Device { source, target, ..Device::default() }),
    };
    STOP.store(true, Ordering::Relaxed);
    drop(driver.join().unwrap());
    outcome
}

#[derive(Default)]
struct Device {
    source: Option<Ring>,
    target: Option<Ring>,
    taken: Chains,
    room: Chains,
}

fn run(time: Duration, mut device: Device) -> (f64, f64) {
    let start = Instant::now();
    let (mut frames, mut busy) = (0u64, 0u64);
    while start.elapsed() < time {
        for _ in 0..1000 {
            let before = stamp();
            let moved = device.turn();
            busy += if moved > 0 { stamp() - before } else { 0 };
            frames += moved;
        }
    }
    let ticks_per_ns = (stamp() as f64 - FIRST.with(|first| first.0) as f64)
        / FIRST.with(|first| first.1.elapsed().as_nanos()) as f64;
    (frames as f64 / start.elapsed().as_secs_f64() / 1e6, busy as f64 / ticks_per_ns / frames as f64)
}

thread_local! { static FIRST: (u64, Instant) = (stamp(), Instant::now()); }

fn stamp() -> u64 {
    // SAFETY: reads the time stamp counter, which every x86-64 has.
    unsafe { std::arch::x86_64::_rdtsc() }
}

impl Device {
    fn turn(&mut self) -> u64 {
        let Self { source, target, taken, room } = self;
        taken.clear();
        room.clear();
        let mut heads = [[0u8; 76]; 64];
        if let Some(source) = source {
            source.take(64, taken).unwrap();
            for (chain, head) in heads.iter_mut().enumerate().take(taken.len()) {
                read(taken.pieces(chain)[0], head);
            }
        }
        std::hint::black_box(&heads);
        let mut moved = taken.len();
        if let Some(target) = target {
            let wanted = if source.is_some() { taken.len() } else { 64 };
            if wanted > 0 {
                target.take(wanted, room).unwrap();
            }
            for (chain, head) in heads.iter().enumerate().take(room.len()) {
                write(room.pieces(chain)[0], head);
                room.set_written(chain, 76);
            }
            let _ = target.put(room, 0..room.len());
            moved = if source.is_some() { moved } else { room.len() };
        }
        if let Some(source) = source {
            let _ = source.put(taken, 0..taken.len());
        }
        moved as u64
    }
}

fn read(piece: Piece, into: &mut [u8; 76]) {
    // SAFETY: frames of the driver are 76 bytes with their header.
    unsafe { std::ptr::copy_nonoverlapping(piece.at.as_ptr(), into.as_mut_ptr(), 76) }
}

fn write(piece: Piece, from: &[u8; 76]) {
    // SAFETY: buffers of the driver are 2 KiB.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), piece.at.as_ptr(), 76) }
}
