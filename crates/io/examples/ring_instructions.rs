//! Instructions for a frame, take and put, under callgrind: `ring_instructions split|packed send|receive [in-order]`.
//!
//! ```text
//! valgrind --tool=callgrind --toggle-collect='*turn_of_the_device*' ring_instructions split send
//! ```
//!
//! The count divided by [`FRAMES`] is the figure. Nothing is copied; the driver's part is not counted.

#![allow(clippy::unwrap_used, reason = "an example")]

#[path = "support/mod.rs"]
mod support;

use io::vhost_rings::{Chains, Direction, Ring};
use support::{Driver, IN_ORDER, PACKED, SPLIT};

const BATCH: u16 = 64;
/// Frames that are moved in all.
const FRAMES: u32 = 64_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let direction = if has("receive") { Direction::Writable } else { Direction::Readable };
    let features = if has("packed") { PACKED } else { SPLIT } | if has("in-order") { IN_ORDER } else { 0 };
    let mut driver = Driver::new(direction, 256, features);
    let (mut device, mut chains) = (driver.device(), Chains::default());
    driver.be_quiet();
    for _ in 0..FRAMES / u32::from(BATCH) {
        driver.post(BATCH);
        turn_of_the_device(&mut device, &mut chains);
        assert_eq!(driver.reap(BATCH).0, BATCH);
    }
    println!("{FRAMES} frames");
}

#[inline(never)]
fn turn_of_the_device(ring: &mut Ring, chains: &mut Chains) {
    chains.clear();
    ring.take(usize::from(BATCH), chains).unwrap();
    for chain in 0..chains.len() {
        chains.set_written(chain, 76);
    }
    assert!(!ring.put(chains, 0..chains.len()));
}
