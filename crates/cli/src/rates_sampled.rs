use super::*;
use crate::port::samples;
use std::time::Duration;

/// Two seconds on a switch: the uplink receives much, the VM's port drops some.
pub fn rates() -> Rates {
    let workers = [Some(2), None].into_iter().zip(0..);
    let workers = workers.map(|(cpu, worker)| WorkerStatus {
        worker,
        cpu,
        uptime_ns: 10_000_000_000,
        busy_ns: 0,
        frames: 0,
        batches: 0,
    });
    let ports = vec![samples::eth0(), samples::host(), samples::vm1()];
    let before = Sample { at: Instant::now(), ports, workers: workers.collect() };
    let mut now = before.clone();
    now.at += Duration::from_secs(2);
    let [eth0, _, vm1] = &mut now.ports[..] else { panic!("three ports") };
    eth0.stats.rx_frames += 4_000_000;
    eth0.stats.rx_bytes += 500_000_000;
    vm1.stats.tx_frames += 30;
    vm1.stats.drops.add(DropReason::SpoofedMac, 100);
    now.workers.iter_mut().for_each(|worker| worker.uptime_ns += 2_000_000_000);
    let first = &mut now.workers[0];
    (first.busy_ns, first.frames, first.batches) = (500_000_000, 6400, 200);
    Rates::between(&before, &now)
}
