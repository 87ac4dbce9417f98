//! What a hostile VMM or guest can do to its vhost-user port, as a table, and the neighbours that must not feel it.

mod messages;
mod neighbours;
mod rings;

pub use neighbours::{Neighbours, Share};

use crate::vnic::Vnic;
use anyhow::Result;
use rustix::thread::gettid;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

/// Descriptors of a hostile guest's rings.
const SIZE: u16 = 256;

/// One kind of wrong.
#[derive(Debug)]
pub struct Case {
    /// What it does, as a sentence without its subject.
    pub name: &'static str,
    /// What the port's reason speaks of; empty where nothing is wrong with it but how much it is.
    pub reason: &'static str,
    /// Whether it goes on until it is stopped.
    pub endless: bool,
    wrong: fn(&Attack) -> Result<()>,
}

const fn case(name: &'static str, reason: &'static str, wrong: fn(&Attack) -> Result<()>) -> Case {
    Case { name, reason, endless: false, wrong }
}

const fn endless(name: &'static str, reason: &'static str, wrong: fn(&Attack) -> Result<()>) -> Case {
    Case { endless: true, ..case(name, reason, wrong) }
}

/// All of them.
pub fn cases() -> Vec<&'static Case> {
    rings::CASES.iter().chain(messages::CASES).collect()
}

/// Whom it is done to, and for how long.
#[derive(Debug, Clone)]
pub struct Attack {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    /// How often it was done.
    times: Arc<AtomicU64>,
}

impl Attack {
    /// On the port that listens there.
    pub fn new(socket: &Path) -> Attack {
        Attack { socket: socket.to_owned(), stop: Arc::default(), times: Arc::default() }
    }

    /// Does it once: what ends by itself until the port has closed the connection, what does not until it is stopped.
    pub fn once(&self, case: &Case) -> Result<()> {
        (case.wrong)(self)
    }

    /// Does it again and again, as fast as the port lets it, in a thread of its own on `cpu`.
    pub fn start(&self, case: &'static Case, cpu: usize) -> Running {
        let (attack, times, stop) = (self.clone(), Arc::clone(&self.times), Arc::clone(&self.stop));
        let thread = thread::spawn(move || -> Result<()> {
            pin(cpu)?;
            while attack.goes_on() {
                attack.once(case)?;
                attack.count();
            }
            Ok(())
        });
        Running { thread: Some(thread), stop, times }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.times.fetch_add(1, Ordering::Relaxed);
    }

    fn vnic(&self) -> Result<Vnic> {
        Vnic::connect(&self.socket, SIZE)
    }
}

/// A hostile front end at work.
#[derive(Debug)]
pub struct Running {
    thread: Option<JoinHandle<Result<()>>>,
    stop: Arc<AtomicBool>,
    times: Arc<AtomicU64>,
}

impl Running {
    /// How often it was done so far.
    pub fn times(&self) -> u64 {
        self.times.load(Ordering::Relaxed)
    }

    /// Whether it has ended, since something went wrong with it.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it; an error where it could not do what it wanted.
    pub fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => anyhow::bail!("the hostile front end panicked"),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Keeps the calling thread on one CPU.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Has a thread run before those of others (SCHED_FIFO).
pub fn prefer(thread: u32) -> Result<()> {
    crate::text(Command::new("chrt").args(["--fifo", "--pid", "1", &thread.to_string()])).map(drop)
}

/// The calling thread, as the kernel knows it.
pub fn this_thread() -> u32 {
    gettid().as_raw_nonzero().get().unsigned_abs()
}
