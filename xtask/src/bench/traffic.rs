//! One measurement of one switch.

use super::figures::median;
use super::peers::{self, Peer};
use anyhow::{Context, Result};
use clap::ValueEnum;
use lab::services::{Direction, iperf3};
use lab::{Binaries, FAR_IPV4};
use std::fs;
use std::time::Duration;

const ECHOES: u32 = 2000;

/// Which way the traffic takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Topology {
    /// Between two VMs.
    VmVm,
    /// Between a VM and a machine outside.
    VmWire,
}

impl Topology {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Topology::VmVm => "vm-vm",
            Topology::VmWire => "vm-wire",
        }
    }
}

/// What was measured, or the medians of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// One TCP stream away from VM `a`, in Gbit/s.
    pub tcp: f64,
    /// One TCP stream towards it.
    pub tcp_back: f64,
    /// CPU seconds of the whole machine for each gigabyte of the first stream.
    pub cpu: f64,
    /// Mean round trip in microseconds.
    pub rtt: f64,
}

impl Sample {
    /// The median of each number; `None` without samples.
    pub fn median(samples: &[Sample]) -> Option<Sample> {
        let of = |pick: fn(&Sample) -> f64| median(samples.iter().map(pick).collect());
        Some(Sample {
            tcp: of(|s| s.tcp)?,
            tcp_back: of(|s| s.tcp_back)?,
            cpu: of(|s| s.cpu)?,
            rtt: of(|s| s.rtt)?,
        })
    }

    /// In one line.
    pub fn describe(&self) -> String {
        format!(
            "{:.2} and {:.2} Gbit/s, {:.2} CPU s/GB, {:.1} µs",
            self.tcp, self.tcp_back, self.cpu, self.rtt
        )
    }
}

/// Sets a switch up, measures it, and takes it down.
pub fn measure(peer: Peer, topology: Topology, seconds: u32, ours: Option<&Binaries>) -> Result<Sample> {
    let bed = peers::start(peer, topology == Topology::VmWire, ours)?;
    let (server, address) = match topology {
        Topology::VmVm => (&bed.b, "10.9.0.2"),
        Topology::VmWire => (&bed.world.far, FAR_IPV4),
    };
    bed.a.wait_ping(address, Duration::from_secs(15))?;
    let echoes = bed.a.try_ping(address, ECHOES, 0.001)?;
    let before = cpu_seconds()?;
    let forth = iperf3(&bed.a, server, address, seconds, Direction::Forth)?;
    let cpu = (cpu_seconds()? - before) / (forth.bytes / 1e9);
    let back = iperf3(&bed.a, server, address, seconds, Direction::Back)?;
    let rtt = echoes.mean_us.context("no echo was answered")?;
    Ok(Sample { tcp: forth.gbit_s, tcp_back: back.gbit_s, cpu, rtt })
}

/// Ticks a second in `/proc`: 100 on every architecture that Linux has today but Alpha.
pub const TICKS: f64 = 100.0;

/// CPU seconds that the machine has spent on anything but idling.
fn cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let first = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<f64> = first.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    let (idle, waiting) = (ticks.get(3).context("no idle time")?, ticks.get(4).context("no waiting time")?);
    Ok((ticks.iter().sum::<f64>() - idle - waiting) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_spends_time() {
        let before = cpu_seconds().unwrap();
        let end = std::time::Instant::now() + Duration::from_millis(200);
        while std::time::Instant::now() < end {}
        assert!(cpu_seconds().unwrap() > before);
    }
}
