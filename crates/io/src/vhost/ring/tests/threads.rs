//! Driver and device at the same time, in two threads: a well-behaved one, and one that rewrites whatever it can.

use super::guest::{APART, DESCRIPTORS, DRIVER, Driver, Guest, HIGH, REGION, Shape, Wish};
use super::*;
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    thread,
    time::{Duration, Instant},
};

fn shapes() -> impl Iterator<Item = Shape> {
    let both = [false, true];
    both.into_iter().flat_map(move |packed| {
        both.into_iter().map(move |event_idx| Shape {
            packed,
            direction: Direction::Readable,
            size: if packed { 48 } else { 32 },
            event_idx,
            in_order: event_idx,
        })
    })
}

/// Both sides sleep when there is nothing to do, and wake only when they are notified: a notification that got lost would
/// leave both asleep. Each frame says which one it is.
#[test]
fn frames_come_in_order_and_no_wake_up_is_lost() {
    const FRAMES: usize = 30_000;
    for shape in shapes() {
        let guest = Arc::new(Guest::default());
        let mut ring = Ring::new(&shape.config(), &guest.memory()).unwrap();
        let (kicks, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let driver = thread::spawn({
            let (kicks, calls) = (Arc::clone(&kicks), Arc::clone(&calls));
            move || drive(guest, shape, FRAMES, &kicks, &calls)
        });
        let mut chains = Chains::default();
        let (mut seen, mut told) = (0, 0);
        while seen < FRAMES {
            if !ring.pending() && !ring.arm() {
                told = wait_for_more(&kicks, told);
            }
            chains.clear();
            ring.take(1 + seen % 40, &mut chains).unwrap();
            for chain in 0..chains.len() {
                let mut number = [0; 8];
                // SAFETY: the piece is in mapped guest memory.
                unsafe { chains.pieces(chain)[0].read(&mut number) };
                assert_eq!(usize::from_le_bytes(number), seen);
                seen += 1;
            }
            if ring.put(&chains, 0..chains.len()) {
                calls.fetch_add(1, Ordering::SeqCst);
                driver.thread().unpark();
            }
        }
        calls.fetch_add(1, Ordering::SeqCst);
        driver.thread().unpark();
        driver.join().unwrap();
    }
}

/// Sleeps until the counter moved; a hundred seconds say that it never will.
fn wait_for_more(counter: &AtomicUsize, before: usize) -> usize {
    let deadline = Instant::now() + Duration::from_secs(100);
    loop {
        let now = counter.load(Ordering::SeqCst);
        if now != before {
            return now;
        }
        assert!(Instant::now() < deadline, "a notification got lost");
        thread::yield_now();
    }
}

fn drive(guest: Arc<Guest>, shape: Shape, frames: usize, kicks: &AtomicUsize, calls: &AtomicUsize) {
    let mut driver = Driver::new(&guest, shape);
    let (mut sent, mut done, mut told) = (0usize, 0, 0);
    while done < frames {
        let slot = HIGH + 64 * (sent as u64 % 64);
        guest.write(slot, &sent.to_le_bytes());
        if sent < frames && driver.post(&[(slot, 8)], false) {
            sent += 1;
            fence(Ordering::SeqCst);
            if driver.kicks() {
                kicks.fetch_add(1, Ordering::SeqCst);
            }
            continue;
        }
        driver.wish(if shape.event_idx { Wish::After(0) } else { Wish::Always });
        fence(Ordering::SeqCst);
        let collected = driver.collect().len();
        done += collected;
        if collected == 0 && done < frames {
            told = wait_for_more(calls, told);
        }
    }
}

/// The guest rewrites descriptors, index and heads while we read: whatever is taken lies in its memory, or the ring breaks.
#[test]
fn whatever_a_guest_rewrites_while_we_read_what_is_taken_lies_in_its_memory() {
    for packed in [false, true] {
        let shape =
            Shape { packed, direction: Direction::Writable, size: 64, event_idx: false, in_order: false };
        let guest = Arc::new(Guest::default());
        let stop = AtomicBool::new(false);
        let memory = guest.memory();
        let within = |piece: &crate::piece::Piece| {
            // SAFETY: only a number is made of it.
            let last = std::ptr::NonNull::new(piece.at.as_ptr().wrapping_add(piece.len - 1)).unwrap();
            memory.guest_address(piece.at).is_some() && memory.guest_address(last).is_some()
        };
        thread::scope(|scope| {
            scope.spawn(|| scribble(&guest, packed, &stop));
            let (mut taken, mut broken) = (0usize, 0usize);
            let deadline = Instant::now() + Duration::from_secs(300);
            let mut chains = Chains::default();
            while (taken < 2_000 || broken < 50) && Instant::now() < deadline {
                let mut ring = Ring::new(&shape.config(), &memory).unwrap();
                for _ in 0..50 {
                    chains.clear();
                    let outcome = ring.take(64, &mut chains);
                    for chain in 0..chains.len() {
                        assert!(chains.pieces(chain).iter().all(within), "outside of the guest's memory");
                        assert!(
                            !chains.pieces(chain).is_empty()
                                && chains.pieces(chain).iter().all(|p| p.len > 0)
                        );
                    }
                    taken += chains.len();
                    let _ = ring.put(&chains, 0..chains.len());
                    if outcome.is_err() {
                        broken += 1;
                        break;
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
            assert!(taken >= 2_000 && broken >= 50, "taken {taken}, broken {broken}");
        });
    }
}

/// Mostly right descriptors, now and then one that is not.
fn scribble(guest: &Guest, packed: bool, stop: &AtomicBool) {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    while !stop.load(Ordering::Relaxed) {
        let (slot, dice) = (next() % 64, next());
        let address = match dice % 2048 {
            0 => APART + REGION - 1,
            1 => u64::MAX - 5,
            2 => 0,
            _ => APART + next() % (REGION - 4096),
        };
        let len = if dice >> 8 & 2047 == 0 { next() as u32 } else { 1 + next() as u32 % 2048 };
        let extra = (next() % 8) as u16 & if dice >> 20 & 511 == 0 { 5 } else { 0 };
        let lap = if packed { if dice >> 30 & 1 == 0 { 1 << 7 } else { 1 << 15 } } else { 0 };
        let (flags, link) = (2 | extra | lap, (next() % 66) as u16 % 65);
        let last = if packed { [link, flags] } else { [flags, link] };
        guest.descriptor(DESCRIPTORS + 16 * slot, address, len, last);
        if !packed {
            let index = guest.load(DRIVER + 2);
            guest.store(DRIVER + 4 + 2 * slot, (next() % 64) as u16 + u16::from(dice >> 32 & 2047 == 0));
            let used = guest.load(super::guest::DEVICE + 2);
            guest.store(
                DRIVER + 2,
                if dice >> 44 & 2047 == 0 { index.wrapping_add(200) } else { used.wrapping_add(40) },
            );
        }
    }
}
