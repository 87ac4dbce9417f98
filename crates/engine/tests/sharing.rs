//! A congested uplink in virtual time: ports that send as fast as they may, or at rates of their own, and what each gets.

use engine::{Nanos, PortIndex, Share, Shares, Uplink};

const SECOND: u64 = 1_000_000_000;
const MEGABIT: u64 = 1_000_000;
const GIGABIT: u64 = 1_000_000_000;

/// A port.
#[derive(Clone, Copy)]
struct Sender {
    weight: Option<u64>,
    /// Bits a second; as many as it can without.
    wants: Option<u64>,
    frame: u64,
    from: u64,
}

const fn greedy(weight: Option<u64>) -> Sender {
    Sender { weight, wants: None, frame: 1538, from: 0 }
}

/// What a worker does: each port in turn, until it has to wait or has nothing, up to 64 frames or 192 KiB.
struct World {
    uplink: Uplink,
    senders: Vec<Sender>,
    /// Until when each waits, and what each has sent.
    until: Vec<u64>,
    sent: Vec<u64>,
    /// How late a worker is woken, now and then: others use its CPU.
    lateness: u64,
    /// What the cable takes a second, where it refuses what is more.
    cable: Option<(u64, u64)>,
    now: u64,
}

impl World {
    fn new(capacity: Option<u64>, others: u64, senders: &[Sender]) -> World {
        let shares = Shares { capacity, others };
        let mut uplink = Uplink::new(shares, Nanos(0));
        let ports = senders.iter().enumerate().map(|(at, sender)| (PortIndex(at as u16), sender.weight));
        uplink.follow(shares, ports, Nanos(0));
        let zeros = || vec![0; senders.len()];
        World {
            uplink,
            senders: senders.to_vec(),
            until: zeros(),
            sent: zeros(),
            lateness: 0,
            cable: None,
            now: 0,
        }
    }

    fn turn(&mut self, at: usize) {
        let (sender, port) = (self.senders[at], PortIndex(at as u16));
        let budget = match self.uplink.share(port, Nanos(self.now)) {
            Share::Wait(wait) => {
                // Woken late, as everybody is.
                let late = if self.now.is_multiple_of(7) { self.lateness } else { 50_000 };
                self.until[at] = self.now + wait.0.min(SECOND / 10) + late;
                self.uplink.was_read(port, true);
                return;
            }
            Share::Bytes(bytes) => bytes,
            Share::All => u64::MAX,
        };
        let waiting = match sender.wants {
            None => u64::MAX,
            Some(bits) => {
                let due = u128::from(bits) * u128::from(self.now - sender.from) / u128::from(8 * SECOND);
                (due as u64).saturating_sub(self.sent[at]) / sender.frame
            }
        };
        let frames = budget.min(192 * 1024).div_ceil(sender.frame).min(64);
        let bytes = frames.min(waiting) * sender.frame;
        self.uplink.was_read(port, frames <= waiting && budget != u64::MAX);
        if bytes == 0 {
            self.until[at] = self.now + 20_000;
            return;
        }
        let refused = self.cable.as_mut().is_some_and(|(bits, queued)| {
            *queued += bytes;
            let refused = *queued > *bits / 8 / 1000 + 192 * 1024;
            *queued -= if refused { bytes } else { 0 };
            refused
        });
        if !refused {
            self.sent[at] += bytes;
        }
        self.uplink.carried(port, bytes, if refused { bytes } else { 0 }, Nanos(self.now));
        // 20 Gbit/s is what this worker can.
        self.pass(bytes * 8 / 20 + 200);
    }

    fn pass(&mut self, nanos: u64) {
        self.now += nanos;
        if let Some((bits, queued)) = &mut self.cable {
            *queued = queued
                .saturating_sub((u128::from(*bits) * u128::from(nanos) / u128::from(8 * SECOND)) as u64);
        }
    }

    fn run_until(&mut self, end: u64) {
        while self.now < end {
            let mut idle = true;
            for at in 0..self.senders.len() {
                if self.until[at] <= self.now && self.senders[at].from <= self.now {
                    self.turn(at);
                    idle = false;
                }
            }
            if idle {
                self.pass(5_000);
            }
        }
    }

    /// Bits a second of each, over the second that begins now.
    fn second(&mut self) -> Vec<f64> {
        let (before, begun) = (self.sent.clone(), self.now);
        self.run_until(begun + SECOND);
        let took = (self.now - begun) as f64 / SECOND as f64;
        self.sent.iter().zip(before).map(|(after, before)| (after - before) as f64 * 8.0 / took).collect()
    }

    /// After a second, each has what it is to have within five per cent, and all together what there is within two.
    #[track_caller]
    fn expect(&mut self, expected: &[u64]) {
        self.run_until(self.now + SECOND);
        for _ in 0..2 {
            let got = self.second();
            for (one, part) in got.iter().zip(expected) {
                assert!((one / *part as f64 - 1.0).abs() < 0.05, "{got:.0?} of {expected:?}");
            }
            let (sum, all) = (got.iter().sum::<f64>(), expected.iter().sum::<u64>() as f64);
            assert!((sum / all - 1.0).abs() < 0.02, "{sum:.0} of {all:.0}");
        }
    }
}

#[test]
fn weights_are_kept_whatever_the_capacity_and_the_frames() {
    for capacity in [10 * MEGABIT, 100 * MEGABIT, GIGABIT, 10 * GIGABIT] {
        for frame in [88, 1538, 9038, 66_000] {
            // A frame is not divided: there have to be some for a share to be seen.
            if capacity / 10 / 8 / frame < 50 {
                continue;
            }
            let senders = [1, 3, 6].map(|weight| Sender { frame, ..greedy(Some(weight)) });
            let parts = [1, 3, 6].map(|weight| capacity / 10 * weight);
            World::new(Some(capacity), 1, &senders).expect(&parts);
        }
    }
}

#[test]
fn whoever_sends_small_frames_and_whoever_sends_segments_have_the_same() {
    let senders = [88, 1538, 66_000].map(|frame| Sender { frame, ..greedy(Some(1)) });
    World::new(Some(GIGABIT), 1, &senders).expect(&[GIGABIT / 3; 3]);
}

#[test]
fn shares_are_kept_and_the_uplink_is_filled_by_a_worker_that_is_often_late() {
    let senders = [greedy(Some(3)), greedy(Some(1))];
    let mut world = World::new(Some(100 * MEGABIT), 1, &senders);
    world.lateness = 60_000_000;
    world.run_until(SECOND);
    // What is late at the end of one second comes in the next.
    let seconds: Vec<_> = (0..4).map(|_| world.second()).collect();
    let got = [0, 1].map(|sender| seconds.iter().map(|second| second[sender]).sum::<f64>() / 4.0);
    let (sum, part) = (got[0] + got[1], got[0] / (got[0] + got[1]));
    assert!((sum / 100e6 - 1.0).abs() < 0.02 && (part - 0.75).abs() < 0.0375, "{got:?}");
}

#[test]
fn ports_without_a_minimum_share_one_part_evenly() {
    let senders = [greedy(Some(9)), greedy(None), greedy(None)];
    World::new(Some(GIGABIT), 1, &senders).expect(&[900 * MEGABIT, 50 * MEGABIT, 50 * MEGABIT]);
}

#[test]
fn what_is_reserved_is_there_and_the_rest_is_shared_in_proportion() {
    let senders = [greedy(Some(200 * MEGABIT)), greedy(Some(100 * MEGABIT)), greedy(None)];
    let parts = [500 * MEGABIT, 250 * MEGABIT, 250 * MEGABIT];
    World::new(Some(GIGABIT), 100 * MEGABIT, &senders).expect(&parts);
    let parts = [GIGABIT / 3 * 2, GIGABIT / 3];
    World::new(Some(GIGABIT), 100 * MEGABIT, &senders[..2]).expect(&parts);
}

#[test]
fn what_one_does_not_use_goes_to_the_others_in_proportion() {
    let modest = Sender { wants: Some(100 * MEGABIT), ..greedy(Some(5)) };
    let senders = [modest, greedy(Some(1)), greedy(Some(2))];
    World::new(Some(GIGABIT), 1, &senders).expect(&[100 * MEGABIT, 300 * MEGABIT, 600 * MEGABIT]);
}

#[test]
fn an_uplink_that_is_not_congested_holds_nobody_back() {
    let senders = [300, 400].map(|rate| Sender { wants: Some(rate * MEGABIT), ..greedy(Some(1)) });
    let mut world = World::new(Some(GIGABIT), 1, &senders);
    world.expect(&[300 * MEGABIT, 400 * MEGABIT]);
    assert_eq!(world.uplink.share(PortIndex(0), Nanos(world.now)), Share::All);
    // And one alone has all of it, whatever its weight.
    World::new(Some(GIGABIT), 1, &[greedy(None), Sender { wants: Some(0), ..greedy(Some(100)) }]).second();
    let alone = [greedy(Some(1)), Sender { wants: Some(0), ..greedy(Some(100)) }];
    let got = {
        let mut world = World::new(Some(GIGABIT), 1, &alone);
        world.second();
        world.second()
    };
    assert!((got[0] / GIGABIT as f64 - 1.0).abs() < 0.02, "{got:?}");
}

#[test]
fn who_begins_has_its_part_within_a_second_and_leaves_it_again() {
    let late = Sender { from: 3 * SECOND, ..greedy(Some(3)) };
    let mut world = World::new(Some(GIGABIT), 1, &[greedy(Some(1)), late]);
    world.run_until(2 * SECOND);
    assert!(world.second()[0] > 980e6);
    world.expect(&[250 * MEGABIT, 750 * MEGABIT]);
    world.senders[1].wants = Some(0);
    world.run_until(world.now + SECOND);
    let got = world.second();
    assert!(got[0] > 980e6 && got[1] == 0.0, "{got:?}");
}

#[test]
fn an_uplink_that_refuses_frames_is_shared_by_what_it_takes() {
    let mut world = World::new(None, 1, &[greedy(Some(1)), greedy(Some(3))]);
    world.cable = Some((400 * MEGABIT, 0));
    world.run_until(SECOND);
    for _ in 0..3 {
        let got = world.second();
        let (sum, part) = (got[0] + got[1], got[1] / (got[0] + got[1]));
        assert!(sum > 0.85 * 400e6 && sum < 1.02 * 400e6 && (part - 0.75).abs() < 0.0375, "{got:?}");
    }
}
