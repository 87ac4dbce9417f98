//! Two vNICs that send to each other as fast as the switch lets them, beside a third port on the same switch and worker.
//!
//! The switch is the limit: a ring of theirs holds more frames than a worker moves while this program is not running. A
//! frame of 64 is for everybody, so that the third port's rings are looked at, too.
//!
//! What is measured is the worker's rate while it had its CPU, as machines have other work; and the processor time of all
//! other threads of vmswitchd counts as if they had taken it from the worker. So the share of the rate that is left beside
//! a hostile port can be compared with a number on any machine.

use super::{Attack, Case, pin, prefer, this_thread};
use crate::namespace::Namespace;
use crate::vnic::{Queue, Vnic};
use crate::{Daemon, DaemonOptions, wait_until};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at the rings.
const PAUSE: Duration = Duration::from_micros(200);
/// Descriptors of a neighbour's rings: two milliseconds of a worker's time.
const SIZE: u16 = 32_768;
const SWITCH: &str = "lab";
/// The port of the hostile front end.
const HOSTILE: &str = "lab/hostile";
/// After a hostile front end has begun: it gets more at first.
const SETTLE: Duration = Duration::from_millis(300);
/// At a sample that says something.
const ATTEMPTS: u32 = 10;

/// The switch, its neighbours at work, and the port beside them.
#[derive(Debug)]
pub struct Neighbours {
    thread: Option<JoinHandle<Result<()>>>,
    traffic: Arc<Traffic>,
    daemon: Daemon,
    cpu: usize,
    _host: Namespace,
}

/// What was left of the neighbours' rate beside a hostile port.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Millions of frames a second that the neighbours received beside a silent port.
    pub silent_mpps: f64,
    /// And beside a hostile one.
    pub hostile_mpps: f64,
    /// Which part of its rate the worker keeps for each second that it runs: a median, as all of these are.
    pub worker: f64,
    /// Processor time that vmswitchd's other threads take more than beside a silent port, in parts of a CPU.
    pub others: f64,
    /// What is left where the others take it from the worker.
    pub left: f64,
    /// How often a second it was done.
    pub times: f64,
}

/// One stretch of time.
struct Sample {
    /// Frames a nanosecond of the worker's processor time.
    rate: f64,
    /// Millions of frames a second.
    wall_mpps: f64,
    /// Processor time of vmswitchd's other threads, in parts of the time.
    others: f64,
}

/// What was counted until now.
struct Counts {
    at: Instant,
    received: u64,
    dry: u64,
    /// Nanoseconds for which the worker ran.
    ran: u64,
    /// Nanoseconds for which vmswitchd's other threads did.
    others: u64,
}

/// What the neighbours' thread tells, and is told.
#[derive(Debug, Default)]
struct Traffic {
    received: AtomicU64,
    /// How often a ring was found without a frame that the switch could take.
    dry: AtomicU64,
    stop: AtomicBool,
}

impl Traffic {
    fn run(&self, mut vnics: [Vnic; 2]) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            for vnic in &mut vnics {
                self.received.fetch_add(vnic.refill(Queue::Receive)?.into(), Ordering::Relaxed);
                let dry = vnic.refill(Queue::Transmit)? == SIZE;
                self.dry.fetch_add(dry.into(), Ordering::Relaxed);
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Neighbours {
    /// Starts all of it: the worker on CPU `worker`, the neighbours on CPU `cpu`.
    pub fn start(options: DaemonOptions, worker: usize, cpu: usize) -> Result<Neighbours> {
        let host = Namespace::new("hostile")?;
        let arguments = vec!["--workers".to_owned(), worker.to_string()];
        let daemon = Daemon::start_with(&host, DaemonOptions { arguments, ..options })?;
        daemon.cli_ok(&["switch", "add", SWITCH, "--private"])?;
        for (name, mac) in [("one", mac(1)), ("two", mac(2)), ("hostile", mac(3))] {
            daemon.cli_ok(&["port", "add", SWITCH, name, "--vhost-user", "--mac", &text(mac)])?;
        }
        let mut neighbours = Neighbours { thread: None, traffic: Arc::default(), daemon, cpu, _host: host };
        neighbours.begin()?;
        Ok(neighbours)
    }

    fn begin(&mut self) -> Result<()> {
        let one = Vnic::connect(&self.socket("one"), SIZE)?;
        let two = Vnic::connect(&self.socket("two"), SIZE)?;
        one.load(|slot| frame(mac(1), if slot == 0 { [0xff; 6] } else { mac(2) }))?;
        two.load(|slot| frame(mac(2), if slot == 0 { [0xff; 6] } else { mac(1) }))?;
        let (traffic, cpu) = (Arc::clone(&self.traffic), self.cpu);
        self.thread = Some(thread::spawn(move || {
            pin(cpu)?;
            // Whatever else runs here must not keep the switch waiting.
            prefer(this_thread())?;
            traffic.run([one, two])
        }));
        wait_until("frames between the neighbours", PATIENCE, || Ok(self.received() > 10 * u64::from(SIZE)))
    }

    /// Frames that the neighbours received so far.
    pub fn received(&self) -> u64 {
        self.traffic.received.load(Ordering::Relaxed)
    }

    /// The socket of a port.
    fn socket(&self, port: &str) -> PathBuf {
        self.daemon.run_dir().join(format!("vhost/{SWITCH}/{port}.sock"))
    }

    /// What can be done to the port beside them.
    pub fn attack(&self) -> Attack {
        Attack::new(&self.socket("hostile"))
    }

    /// Measures in turns, `rounds` times, beside a silent and beside a hostile port.
    pub fn share(&self, case: &'static Case, rounds: u32, stretch: Duration) -> Result<Share> {
        let [mut silent, mut hostile, mut worker, mut others] = [const { Vec::new() }; 4];
        let (mut times, mut attacked) = (0, Duration::ZERO);
        for _ in 0..rounds {
            let quiet = self.sample(stretch)?;
            let (attack, began) = (self.attack().start(case, self.cpu), Instant::now());
            thread::sleep(SETTLE);
            let beside = self.sample(stretch)?;
            (times, attacked) = (times + attack.times(), attacked + began.elapsed());
            attack.stop().context(case.name)?;
            worker.push(beside.rate / quiet.rate);
            others.push((beside.others - quiet.others).max(0.0));
            silent.push(quiet.wall_mpps);
            hostile.push(beside.wall_mpps);
        }
        let (silent_mpps, hostile_mpps) = (median(silent), median(hostile));
        let times = times as f64 / attacked.as_secs_f64();
        let (worker, others) = (median(worker), median(others));
        Ok(Share { silent_mpps, hostile_mpps, worker, others, left: worker - others, times })
    }

    /// Until the worker has run for `stretch`. One during which the worker ran out of frames, since this program did not get
    /// its CPU, says nothing, and is taken again.
    fn sample(&self, stretch: Duration) -> Result<Sample> {
        for _ in 0..ATTEMPTS {
            let (before, limit) = (self.counts()?, Instant::now() + PATIENCE);
            let after = loop {
                thread::sleep(stretch / 8);
                let now = self.counts()?;
                if now.ran - before.ran >= stretch.as_nanos() as u64 || Instant::now() > limit {
                    break now;
                }
            };
            let (whole, ran) = (after.at.duration_since(before.at).as_nanos() as f64, after.ran - before.ran);
            let (frames, others) =
                (after.received - before.received, after.others.saturating_sub(before.others));
            if after.dry == before.dry {
                let wall_mpps = frames as f64 / whole * 1e3;
                return Ok(Sample {
                    rate: frames as f64 / ran.max(1) as f64,
                    wall_mpps,
                    others: others as f64 / whole,
                });
            }
        }
        bail!("the neighbours had too little of CPU {} to keep the switch busy", self.cpu)
    }

    fn counts(&self) -> Result<Counts> {
        let (mut ran, mut others) = (0, 0);
        for task in fs::read_dir(format!("/proc/{}/task", self.daemon.id()?))? {
            let path = task?.path();
            // A thread may have ended meanwhile.
            let read = |file| fs::read_to_string(path.join(file)).unwrap_or_default();
            let time = read("schedstat").split(' ').next().and_then(|ran| ran.parse().ok()).unwrap_or(0);
            let of = if read("comm").starts_with("worker") { &mut ran } else { &mut others };
            *of += time;
        }
        let (received, dry) = (self.received(), self.traffic.dry.load(Ordering::Relaxed));
        Ok(Counts { at: Instant::now(), received, dry, ran, others })
    }

    /// The hostile port as `port show` has it.
    pub fn port(&self) -> Result<Value> {
        self.daemon.cli_json(&["port", "show", HOSTILE])
    }

    /// Waits until the hostile port is in a state for a reason.
    pub fn wait_state(&self, state: &str, reason: &str) -> Result<()> {
        wait_until(&format!("port {state}: {reason}"), PATIENCE, || {
            let port = self.port()?;
            Ok(port["state"] == state && port["reason"].as_str().unwrap_or_default().contains(reason))
        })
        .with_context(|| format!("{:?}", self.port()))
    }

    /// A well-behaved front end on the hostile port sends a frame to a neighbour, and gets one for everybody.
    pub fn works_again(&self) -> Result<()> {
        let counted = |counter: &str| -> Result<u64> {
            self.port()?["stats"][counter].as_u64().with_context(|| format!("no {counter}"))
        };
        let (sent, got) = (counted("rx_frames")?, counted("tx_frames")?);
        let mut vnic = Vnic::connect(&self.socket("hostile"), super::SIZE)?;
        vnic.load(|_| frame(mac(3), mac(1)))?;
        self.wait_state("up", "")?;
        vnic.refill(Queue::Receive)?;
        vnic.post(Queue::Transmit, 1)?;
        vnic.kick(Queue::Transmit);
        wait_until("frames of a front end that does as it should", PATIENCE, || {
            Ok(vnic.waiting(Queue::Transmit)? == 0 && vnic.used(Queue::Receive)?.0 > 0)
        })?;
        ensure!(counted("rx_frames")? == sent + 1 && counted("tx_frames")? > got, "not counted");
        drop(vnic);
        self.wait_state("down", "no VMM is connected")
    }

    /// How many descriptors vmswitchd has open.
    pub fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.daemon.id()?))?.count())
    }

    /// Ends the traffic; an error where it could not go on.
    pub fn stop(&mut self) -> Result<()> {
        self.traffic.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => bail!("the neighbours panicked"),
            None => Ok(()),
        }
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        // What went wrong is told by who asks for it.
        let _ = self.stop();
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

const fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn frame(from: [u8; 6], to: [u8; 6]) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
    // An EtherType for experiments (IEEE 802, 9.2.4).
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

/// From the hostile port.
pub fn frame_to_neighbour() -> [u8; 60] {
    frame(mac(3), mac(1))
}
