//! vmswitch with many ports: what they cost when idle, and whether anything of them stays.

use super::traffic::TICKS;
use anyhow::{Context, Result};
use lab::{Binaries, Daemon, DaemonOptions, Namespace};
use std::fs;
use std::time::{Duration, Instant};

const IDLE_PORTS: usize = 100;
const IDLE_SECONDS: f64 = 10.0;
const CHURN_PORTS: usize = 500;

/// What idle ports cost.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// Per cent of one core.
    pub cpu_percent: f64,
    /// Resident memory in MB.
    pub resident_mb: f64,
}

/// What the daemon holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    /// Open file descriptors.
    pub descriptors: usize,
    /// Interfaces in its namespace and that of the VMs.
    pub interfaces: usize,
    /// Resident memory in MB.
    pub resident_mb: f64,
}

/// What adding and removing ports took and left.
#[derive(Debug, Clone, Copy)]
pub struct Churn {
    /// Seconds to add and remove all, one command each.
    pub seconds: f64,
    /// Before any port.
    pub before: Held,
    /// After the first round of adding and removing.
    pub first: Held,
    /// After the second one. What the first one left is kept by the allocator; what this one adds has leaked.
    pub second: Held,
}

struct Bed {
    daemon: Daemon,
    vms: Namespace,
    host: Namespace,
}

impl Bed {
    fn new(binaries: &Binaries) -> Result<Bed> {
        let (host, vms) = (Namespace::new("host")?, Namespace::new("vms")?);
        // A hundred stacks that announce themselves are not idle.
        vms.disable_ipv6()?;
        let options = DaemonOptions { binaries: Some(binaries.clone()), ..DaemonOptions::default() };
        let daemon = Daemon::start_with(&host, options)?;
        daemon.cli_ok(&["switch", "add", "lan", "--private"])?;
        Ok(Bed { daemon, vms, host })
    }

    fn add(&self, ports: usize) -> Result<()> {
        (0..ports).try_for_each(|n| {
            let (port, interface) = (format!("vm{n}"), format!("e{n}"));
            let netns = ["--netns", self.vms.name(), "--ifname", &interface];
            self.daemon.cli_ok(&[&["port", "add", "lan", &port][..], &netns].concat()).map(drop)
        })
    }

    fn remove(&self, ports: usize) -> Result<()> {
        (0..ports).try_for_each(|n| self.daemon.cli_ok(&["port", "remove", &format!("lan/vm{n}")]).map(drop))
    }

    fn held(&self) -> Result<Held> {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.daemon.id()?))?.count();
        let interfaces = self.host.interfaces()?.len() + self.vms.interfaces()?.len();
        Ok(Held { descriptors, interfaces, resident_mb: self.resident_mb()? })
    }

    fn resident_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id()?))?;
        let kib = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.context("no VmRSS")? * 1024.0 / 1e6)
    }

    /// CPU seconds the daemon has spent.
    fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.daemon.id()?))?;
        // Behind the program's name, which may hold spaces, utime and stime are the 12th and 13th field.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat names no program")?;
        let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok());
        Ok(ticks.sum::<f64>() / TICKS)
    }
}

/// What 100 ports cost while nothing passes.
pub fn idle(binaries: &Binaries) -> Result<Idle> {
    let bed = Bed::new(binaries)?;
    bed.add(IDLE_PORTS)?;
    std::thread::sleep(Duration::from_secs(3));
    let (start, before) = (Instant::now(), bed.cpu_seconds()?);
    std::thread::sleep(Duration::from_secs_f64(IDLE_SECONDS));
    let cpu_percent = (bed.cpu_seconds()? - before) / start.elapsed().as_secs_f64() * 100.0;
    Ok(Idle { cpu_percent, resident_mb: bed.resident_mb()? })
}

/// Adds and removes 500 ports, twice.
pub fn churn(binaries: &Binaries) -> Result<Churn> {
    let bed = Bed::new(binaries)?;
    let before = bed.held()?;
    let start = Instant::now();
    bed.add(CHURN_PORTS)?;
    bed.remove(CHURN_PORTS)?;
    let seconds = start.elapsed().as_secs_f64();
    let first = settled(&bed)?;
    bed.add(CHURN_PORTS)?;
    bed.remove(CHURN_PORTS)?;
    Ok(Churn { seconds, before, first, second: settled(&bed)? })
}

/// What is held once the kernel, which takes interfaces down in the background, has done so.
fn settled(bed: &Bed) -> Result<Held> {
    std::thread::sleep(Duration::from_secs(2));
    bed.held()
}
