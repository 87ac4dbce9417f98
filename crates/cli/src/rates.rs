//! Rates: what passed between two looks at the counters.
//!
//! A counter that is lower than it was began anew in between: its port was made again, or vmswitchd was started again. What
//! it shows has passed since then, and so within the time between the looks.

use crate::{
    client::Client,
    failure::Failure,
    place::{Place, PortPlace},
    port, switch,
};
use model::{DropReason, Name, PortCounters, PortState, PortStatus, SwitchStatus, WorkerStatus};
use serde::Serialize;
use std::time::Instant;

/// What is told of frames that never were in the switch.
pub const MISSED: (&str, &str) =
    ("rx_missed", "The kernel lost the frames before the switch could receive them.");

/// One look at the counters.
#[derive(Clone, Debug)]
pub struct Sample {
    pub at: Instant,
    pub ports: Vec<PortStatus>,
    pub workers: Vec<WorkerStatus>,
}

/// What passed between two looks.
#[derive(Clone, Debug, Serialize)]
pub struct Rates {
    pub interval_s: f64,
    pub ports: Vec<PortRates>,
    pub workers: Vec<WorkerRates>,
}

/// Of a port. rx is what the switch received from the vNIC, tx what it delivered to it.
#[derive(Clone, Debug, Serialize)]
pub struct PortRates {
    pub switch: Name,
    pub port: Name,
    pub state: PortState,
    pub rx_frames_per_s: f64,
    pub rx_bits_per_s: f64,
    pub tx_frames_per_s: f64,
    pub tx_bits_per_s: f64,
    pub dropped_per_s: f64,
    pub dropped: u64,
    /// By reason: all that occurred since the counters began.
    pub losses: Vec<Loss>,
}

/// Frames that were not delivered, for one reason.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    pub reason: &'static str,
    #[serde(skip)]
    pub meaning: &'static str,
    pub frames_per_s: f64,
    pub frames: u64,
}

/// Of a worker.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerRates {
    pub worker: u32,
    pub cpu: Option<u32>,
    pub busy_percent: f64,
    pub frames_per_s: f64,
    pub batches_per_s: f64,
    pub frames_per_batch: f64,
}

impl Sample {
    /// Looks at all ports, those of a switch, or one.
    pub async fn take(place: Option<&Place>, client: &Client) -> Result<Self, Failure> {
        let ports = match place {
            None => {
                let switches: Vec<SwitchStatus> = client.get("/v1/switches").await?;
                let mut ports = Vec::new();
                for switch in switches {
                    ports.extend(still_there(port::of(&switch.name, client).await)?);
                }
                ports
            }
            Some(Place { switch, port: None }) => {
                client.get(&format!("{}/ports", switch::path(switch))).await?
            }
            Some(Place { switch, port: Some(port) }) => {
                let place = PortPlace { switch: switch.clone(), port: port.clone() };
                vec![client.get(&place.path()).await?]
            }
        };
        // What workers are asked may have to wait, and they count their own time.
        let at = Instant::now();
        let workers = client.get("/v1/workers").await?;
        Ok(Self { at, ports, workers })
    }
}

/// A switch that was removed since they were listed has no ports.
fn still_there(ports: Result<Vec<PortStatus>, Failure>) -> Result<Vec<PortStatus>, Failure> {
    match ports {
        Err(Failure::Refused(problem)) if problem.status == 404 => Ok(Vec::new()),
        ports => ports,
    }
}

impl Rates {
    pub fn between(last: &Sample, now: &Sample) -> Self {
        let seconds = now.at.duration_since(last.at).as_secs_f64().max(1e-3);
        let port = |port: &PortStatus| {
            let same = |other: &&PortStatus| (&other.switch, &other.name) == (&port.switch, &port.name);
            PortRates::of(port, last.ports.iter().find(same).map(|before| &before.stats), seconds)
        };
        let worker = |worker: &WorkerStatus| {
            WorkerRates::of(worker, last.workers.iter().find(|before| before.worker == worker.worker))
        };
        Self {
            interval_s: seconds,
            ports: now.ports.iter().map(port).collect(),
            workers: now.workers.iter().map(worker).collect(),
        }
    }
}

impl PortRates {
    fn of(port: &PortStatus, before: Option<&PortCounters>, seconds: f64) -> Self {
        let now = &port.stats;
        let before = before.filter(|before| !began_anew(before, now)).copied().unwrap_or_default();
        let rate = |of: fn(&PortCounters) -> u64| (of(now) - of(&before)) as f64 / seconds;
        Self {
            switch: port.switch.clone(),
            port: port.name.clone(),
            state: port.state,
            rx_frames_per_s: rate(|c| c.rx_frames),
            rx_bits_per_s: rate(|c| c.rx_bytes) * 8.0,
            tx_frames_per_s: rate(|c| c.tx_frames),
            tx_bits_per_s: rate(|c| c.tx_bytes) * 8.0,
            dropped_per_s: rate(|c| c.drops.total()),
            dropped: now.drops.total(),
            losses: losses(&before, now, seconds),
        }
    }

    pub fn place(&self) -> String {
        format!("{}/{}", self.switch, self.port)
    }
}

fn losses(before: &PortCounters, now: &PortCounters, seconds: f64) -> Vec<Loss> {
    let loss = |(reason, meaning), frames: u64, was: u64| Loss {
        reason,
        meaning,
        frames_per_s: (frames - was) as f64 / seconds,
        frames,
    };
    let told = |reason: DropReason| (reason.as_str(), reason.explanation());
    let dropped = now.drops.iter().map(|(reason, n)| loss(told(reason), n, before.drops.get(reason)));
    let missed = (now.rx_missed > 0).then(|| loss(MISSED, now.rx_missed, before.rx_missed));
    dropped.chain(missed).collect()
}

fn began_anew(before: &PortCounters, now: &PortCounters) -> bool {
    let counts =
        |c: &PortCounters| [c.rx_frames, c.rx_bytes, c.tx_frames, c.tx_bytes, c.not_learned, c.rx_missed];
    let fell = counts(before).iter().zip(counts(now)).any(|(before, now)| *before > now);
    fell || before.drops.iter().any(|(reason, frames)| frames > now.drops.get(reason))
}

impl WorkerRates {
    fn of(now: &WorkerStatus, before: Option<&WorkerStatus>) -> Self {
        let began_anew = |before: &&WorkerStatus| {
            before.uptime_ns > now.uptime_ns || before.busy_ns > now.busy_ns || before.frames > now.frames
        };
        let before = before.filter(|before| !began_anew(before));
        let more = |of: fn(&WorkerStatus) -> u64| of(now).saturating_sub(before.map_or(0, of)) as f64;
        let (time, batches) = (more(|w| w.uptime_ns).max(1.0), more(|w| w.batches));
        Self {
            worker: now.worker,
            cpu: now.cpu,
            busy_percent: (more(|w| w.busy_ns) / time * 100.0).min(100.0),
            frames_per_s: more(|w| w.frames) / time * 1e9,
            batches_per_s: batches / time * 1e9,
            frames_per_batch: if batches > 0.0 { more(|w| w.frames) / batches } else { 0.0 },
        }
    }

    /// The CPU that it is pinned to.
    pub fn cpu_text(&self) -> String {
        self.cpu.map_or_else(|| "any".into(), |cpu| cpu.to_string())
    }
}

/// A rate in at most five characters.
pub fn short(rate: f64) -> String {
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    // What would be rounded up to the next step belongs there.
    match steps.iter().find(|(step, _)| rate >= step * 0.9995) {
        Some((step, unit)) if rate / step >= 99.95 => format!("{:.0}{unit}", rate / step),
        Some((step, unit)) => format!("{:.1}{unit}", rate / step),
        None if rate > 0.0 && rate < 9.95 => format!("{rate:.1}"),
        None => format!("{rate:.0}"),
    }
}

/// Data for tests of what is shown.
#[cfg(test)]
#[path = "rates_sampled.rs"]
pub mod sampled;
#[cfg(test)]
#[path = "rates_tests.rs"]
mod tests;
