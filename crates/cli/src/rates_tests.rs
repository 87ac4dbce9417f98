use super::*;
use crate::port::samples;
use std::time::Duration;

fn worker() -> WorkerStatus {
    WorkerStatus {
        worker: 0,
        cpu: Some(2),
        uptime_ns: 10_000_000_000,
        busy_ns: 1_000,
        frames: 100,
        batches: 50,
    }
}

fn at(start: Instant, seconds: u64, ports: Vec<PortStatus>) -> Sample {
    let workers = vec![worker()];
    Sample { at: start + Duration::from_secs(seconds), ports, workers }
}

/// The rates of the only port, which had these counters two seconds apart.
fn between(before: PortCounters, now: PortCounters) -> PortRates {
    let (start, port) = (Instant::now(), |stats| vec![PortStatus { stats, ..samples::vm1() }]);
    let rates = Rates::between(&at(start, 0, port(before)), &at(start, 2, port(now)));
    rates.ports.into_iter().next().unwrap()
}

fn counted(frames: u64) -> PortCounters {
    let mut stats = PortCounters { rx_frames: frames, rx_bytes: 100 * frames, ..PortCounters::default() };
    stats.drops.add(DropReason::SpoofedMac, frames / 10);
    stats
}

#[test]
fn rates_are_differences_over_time() {
    let rates = between(counted(1000), counted(3000));
    assert_eq!((rates.rx_frames_per_s, rates.rx_bits_per_s, rates.tx_frames_per_s), (1000.0, 800_000.0, 0.0));
    assert_eq!((rates.dropped_per_s, rates.dropped), (100.0, 300));
    let [loss] = &rates.losses[..] else { panic!("{:?}", rates.losses) };
    assert_eq!((loss.reason, loss.frames_per_s, loss.frames), ("spoofed_mac", 100.0, 300));
}

#[test]
fn counters_that_began_anew_give_what_passed_since_and_never_less_than_nothing() {
    // A port was removed and made again, or vmswitchd was started anew.
    let rates = between(counted(5_000_000), counted(40));
    assert_eq!((rates.rx_frames_per_s, rates.rx_bits_per_s, rates.dropped_per_s), (20.0, 16_000.0, 2.0));
    // Only the drops tell: the new port has received more already than the former one had.
    let mut dropped = counted(10);
    dropped.drops.add(DropReason::Runt, 7);
    assert_eq!(between(dropped, counted(50)).rx_frames_per_s, 25.0);
}

#[test]
fn a_port_that_was_not_there_before_has_the_rates_of_all_that_passed() {
    let (start, vm1) = (Instant::now(), samples::vm1());
    let rates = Rates::between(&at(start, 0, vec![samples::eth0()]), &at(start, 2, vec![vm1]));
    assert_eq!((rates.ports.len(), rates.ports[0].rx_frames_per_s), (1, 6.0));
}

#[test]
fn ports_of_one_name_on_two_switches_are_two() {
    let (start, on) = (Instant::now(), |switch: &str, frames| PortStatus {
        switch: switch.parse().unwrap(),
        stats: counted(frames),
        ..samples::vm1()
    });
    let before = at(start, 0, vec![on("lan", 100), on("lab", 900)]);
    let rates = Rates::between(&before, &at(start, 2, vec![on("lan", 300), on("lab", 900)]));
    assert_eq!(rates.ports.iter().map(|port| port.rx_frames_per_s).collect::<Vec<_>>(), [100.0, 0.0]);
}

#[test]
fn a_workers_load_is_of_its_own_clock() {
    let mut now = worker();
    now.uptime_ns += 2_000_000_000;
    now.busy_ns += 500_000_000;
    now.frames += 6400;
    now.batches += 200;
    let rates = WorkerRates::of(&now, Some(&worker()));
    assert_eq!((rates.busy_percent, rates.frames_per_s), (25.0, 3200.0));
    assert_eq!((rates.batches_per_s, rates.frames_per_batch), (100.0, 32.0));
    // Another worker has the number since vmswitchd was started anew.
    let fresh =
        WorkerStatus { uptime_ns: 1_000_000_000, busy_ns: 100_000_000, frames: 10, batches: 10, ..worker() };
    let rates = WorkerRates::of(&fresh, Some(&now));
    assert_eq!((rates.busy_percent, rates.frames_per_s, rates.frames_per_batch), (10.0, 10.0, 1.0));
    let silent = WorkerRates::of(&now, Some(&now));
    assert_eq!((silent.busy_percent, silent.frames_per_batch), (0.0, 0.0));
}

#[test]
fn rates_are_short() {
    let cases = [
        (0.0, "0"),
        (0.5, "0.5"),
        (12.4, "12"),
        (999.4, "999"),
        (999.9, "1.0k"),
        (1000.0, "1.0k"),
        (99_990.0, "100k"),
        (123_456.0, "123k"),
        (999_999.0, "1.0M"),
        (14.88e6, "14.9M"),
        (1e10, "10.0G"),
    ];
    for (rate, expected) in cases {
        assert_eq!(short(rate), expected);
    }
}
