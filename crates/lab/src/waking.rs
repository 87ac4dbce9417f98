//! The first frame after silence, beside what the kernel takes to wake a thread: what a frame waits for is that, and what
//! the switch adds.
//!
//! In turns: an eventfd wakes a thread on the worker's CPU that does nothing else; and a vNIC's kick has a frame carried to
//! another one. All threads run before others' (SCHED_FIFO), so that what else the machine does is not measured. It still
//! takes the lines of a switch that is silent out of the caches.

use crate::hostile::{pin, prefer, this_thread};
use crate::run::patience;
use crate::vnic::{Queue, Vnic};
use crate::{Daemon, DaemonOptions, Namespace};
use anyhow::{Context, Result, bail, ensure};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use std::fs;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than a worker polls.
pub const SILENCE: Duration = Duration::from_millis(12);
/// Each vNIC's buffers were used once before anything is measured.
const WARM_UP: usize = 64;
const LONG: Duration = patience(Duration::from_secs(5));

/// What was measured, the quickest first.
#[derive(Debug, Clone)]
pub struct Waking {
    /// From writing to an eventfd until the thread that slept on it has noticed.
    pub thread: Vec<Duration>,
    /// From a kick until the frame is in the ring of its receiver.
    pub frame: Vec<Duration>,
}

impl Waking {
    /// What so many hundredths of each are below.
    pub fn quantile(&self, hundredths: usize) -> Result<[Duration; 2]> {
        let of = |all: &Vec<Duration>| all.get(all.len() * hundredths / 100).copied().context("no samples");
        Ok([of(&self.thread)?, of(&self.frame)?])
    }
}

/// Measures `turns` times, with the worker on CPU `worker` and the one who waits on CPU `sender`.
pub fn measure(options: DaemonOptions, worker: usize, sender: usize, turns: usize) -> Result<Waking> {
    let host = Namespace::new("waking")?;
    let arguments = vec!["--workers".to_owned(), worker.to_string()];
    let mut daemon = Daemon::start_with(&host, DaemonOptions { arguments, ..options })?;
    let (wake, mut pair) = (sleeper(worker)?, Pair::start(&daemon)?);
    let id = worker_thread(&daemon)?;
    let measured = thread::spawn(move || -> Result<Waking> {
        pin(sender)?;
        prefer(this_thread())?;
        prefer(id)?;
        (0..WARM_UP).try_for_each(|_| pair.send().map(drop))?;
        let (mut thread, mut frame) = (Vec::new(), Vec::new());
        for _ in 0..turns {
            thread::sleep(SILENCE);
            thread.push(wake()?);
            thread::sleep(SILENCE);
            frame.push(pair.send()?);
        }
        thread.sort();
        frame.sort();
        Ok(Waking { thread, frame })
    });
    let Ok(outcome) = measured.join() else { bail!("the measurement panicked") };
    daemon.stop()?;
    outcome
}

fn worker_thread(daemon: &Daemon) -> Result<u32> {
    for task in fs::read_dir(format!("/proc/{}/task", daemon.id()?))? {
        let task = task?;
        if fs::read_to_string(task.path().join("comm"))?.starts_with("worker") {
            return Ok(task.file_name().to_string_lossy().parse()?);
        }
    }
    bail!("vmswitchd has no worker")
}

/// Waits for it without sleeping.
fn until(began: Instant, so: impl Fn() -> Result<bool>) -> Result<Duration> {
    while !so()? {
        ensure!(began.elapsed() < LONG, "nobody woke up");
        spin_loop();
    }
    Ok(began.elapsed())
}

/// A thread on a CPU that sleeps until it is woken, and counts how often that was. It ends with the process.
fn sleeper(cpu: usize) -> Result<impl Fn() -> Result<Duration>> {
    let (event, woken) = (Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?), Arc::new(AtomicU64::new(0)));
    let (theirs, count) = (Arc::clone(&event), Arc::clone(&woken));
    thread::spawn(move || -> Result<()> {
        pin(cpu)?;
        prefer(this_thread())?;
        loop {
            read(&*theirs, &mut [0; 8])?;
            count.fetch_add(1, Ordering::Release);
        }
    });
    Ok(move || {
        let before = woken.load(Ordering::Acquire);
        let began = Instant::now();
        write(&*event, &1_u64.to_ne_bytes())?;
        until(began, || Ok(woken.load(Ordering::Acquire) > before))
    })
}

/// Two vNICs, of which one sends to the other.
struct Pair {
    one: Vnic,
    two: Vnic,
}

impl Pair {
    fn start(daemon: &Daemon) -> Result<Pair> {
        daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
        for (port, mac) in [("one", "02:00:00:00:00:01"), ("two", "02:00:00:00:00:02")] {
            daemon.cli_ok(&["port", "add", "lab", port, "--vhost-user", "--mac", mac])?;
        }
        let vnic = |port| Vnic::connect(&daemon.run_dir().join(format!("vhost/lab/{port}.sock")), 256);
        let (one, two) = (vnic("one")?, vnic("two")?);
        let mut frame = [0; 60];
        frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
        one.load(|_| frame)?;
        Ok(Pair { one, two })
    }

    /// A worker that sleeps does not see the frame before the kick.
    fn send(&mut self) -> Result<Duration> {
        let Pair { one, two } = self;
        two.refill(Queue::Receive)?;
        let (before, _) = two.used(Queue::Receive)?;
        one.post(Queue::Transmit, 1)?;
        let began = Instant::now();
        one.kick(Queue::Transmit);
        until(began, || Ok(two.used(Queue::Receive)?.0 != before))
    }
}
