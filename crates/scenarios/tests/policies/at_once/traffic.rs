//! VMs that send as fast as they can, and one that reads every frame that it gets.

use anyhow::{Context, Result, bail, ensure};
use lab::vnic::{Queue, SLOTS, Vnic};
use lab::{Daemon, wait_until};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const RING: u16 = 1024;
const PATIENCE: Duration = Duration::from_secs(20);

/// Connects to a vhost-user port of the switch `lab`.
fn connect(daemon: &Daemon, port: &str) -> Result<Vnic> {
    let vnic = Vnic::connect(&daemon.run_dir().join(format!("vhost/lab/{port}.sock")), RING)?;
    let place = format!("lab/{port}");
    wait_until("port up", PATIENCE, || Ok(daemon.cli_json(&["port", "show", &place])?["state"] == "up"))?;
    Ok(vnic)
}

/// What runs until it is told to stop.
#[derive(Debug)]
pub struct Running<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<T>>,
}

impl<T: Send + 'static> Running<T> {
    fn start(work: impl FnOnce(&AtomicBool) -> Result<T> + Send + 'static) -> Running<T> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Running { stop, thread: thread::spawn(move || work(&told)) }
    }

    /// Stops it, and says what it has found.
    pub fn stop(self) -> Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        let Ok(found) = self.thread.join() else { bail!("a thread of the test panicked") };
        found
    }
}

/// Frame `n` of these in turn, again and again. How many were sent in all: the switch has received each of them.
pub fn flood(daemon: &Daemon, port: &str, frames: &[[u8; 60]]) -> Result<Running<u64>> {
    let mut vnic = connect(daemon, port)?;
    vnic.load(|slot| frames[usize::from(slot) % frames.len()])?;
    Ok(Running::start(move |stop| {
        let mut posted = 0;
        while !stop.load(Ordering::Relaxed) {
            posted += u64::from(vnic.refill(Queue::Transmit)?);
            vnic.kick(Queue::Transmit);
            thread::sleep(Duration::from_micros(100));
        }
        wait_until("all frames", PATIENCE, || Ok(vnic.waiting(Queue::Transmit)? == 0))?;
        Ok(posted)
    }))
}

/// How many of `sent` were frame `n` of so many.
pub fn share(sent: u64, n: usize, of: usize) -> u64 {
    let slots = u64::from(SLOTS);
    let of_slot = |slot: u64| sent / slots + u64::from(slot < sent % slots);
    (0..slots).filter(|slot| *slot as usize % of == n).map(of_slot).sum()
}

/// How often the vNIC of a port got each beginning of a frame.
pub type Seen = BTreeMap<[u8; 40], u64>;

/// Reads every frame that reaches a port. While it reads there is no room for others: those are `receiver_full`.
pub fn read(daemon: &Daemon, port: &str) -> Result<Running<Seen>> {
    let mut vnic = connect(daemon, port)?;
    Ok(Running::start(move |stop| {
        let mut seen = Seen::new();
        loop {
            vnic.post(Queue::Receive, SLOTS)?;
            let mut waiting = SLOTS;
            while waiting > 0 && !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_micros(50));
                waiting = vnic.waiting(Queue::Receive)?;
            }
            (0..SLOTS - waiting).try_for_each(|slot| -> Result<()> {
                *seen.entry(vnic.received(slot)?).or_default() += 1;
                Ok(())
            })?;
            if waiting > 0 {
                return Ok(seen);
            }
        }
    }))
}

/// Fails unless every worker has had something to do.
pub fn all_workers_worked(daemon: &Daemon) -> Result<()> {
    let workers = daemon.cli_json(&["workers"])?;
    let frames = workers.as_array().context("no list")?.iter().map(|worker| worker["frames"].as_u64());
    ensure!(
        frames.clone().count() == 2 && frames.flatten().all(|n| n > 0),
        "a worker had nothing: {workers}"
    );
    Ok(())
}
