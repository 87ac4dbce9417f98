//! One run of a generator: `peers/ringgen.c`, whose vNICs are on a driver of its own, or `peers/vnicgen.c`, on DPDK's
//! virtio-user driver, for segments and where that is asked for.

use super::Setting;
use super::bed::{Attachment, Bed, vnic_mac};
use super::rows::Row;
use crate::bench::TIED;
use crate::interrupt;
use anyhow::{Context, Result, ensure};
use lab::{Namespace, Process};
use serde::Deserialize;
use std::io::{BufRead, BufReader, Lines};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command};
use std::time::Duration;
use tempfile::TempDir;

const WARM_UP_SECONDS: f64 = 0.5;
/// To start, to be heard by the switch, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it prints. Frame counts of the counted phase, or of all phases where something is wrong with a frame.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Figures {
    /// Millions of frames a second that arrived.
    pub rx_mpps: f64,
    /// The bits of these, without FCS.
    pub rx_gbps: f64,
    /// The share of frames sent that never arrived.
    pub loss: f64,
    /// Microseconds from sending to receiving.
    pub p50_us: f64,
    /// The same for the slowest hundredth.
    pub p99_us: f64,
    /// The share of time in which the generator had nothing to do.
    pub idle: f64,
    /// What the generator could do with a switch that never makes it wait; 0 if it always had to.
    pub ceiling_mpps: f64,
    /// The share of time in which something else ran on the generator's CPU.
    pub waited: f64,
    /// The share of time that it spent on notifying the switch.
    pub kernel: f64,
    /// Frames of which every byte was checked.
    pub verified: u64,
    pub corrupt: u64,
    pub misdelivered: u64,
    pub reordered: u64,
    pub duplicated: u64,
    /// Frames that it never sent, or cannot recognise any more.
    pub foreign: u64,
}

impl Figures {
    /// Frames that should not have come, or not so.
    pub fn wrong(&self) -> u64 {
        self.corrupt + self.misdelivered + self.reordered + self.duplicated + self.foreign
    }
}

/// The two programs.
#[derive(Debug)]
pub struct Generators {
    pub ringgen: PathBuf,
    pub vnicgen: PathBuf,
}

/// What a generator is to send, and through which switch.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    pub generators: &'a Generators,
    pub namespace: &'a Namespace,
    pub bed: &'a Bed,
    pub row: &'a Row,
    pub setting: &'a Setting,
}

/// A generator that runs until this is dropped, and tells when the second of two flows is gone and passes again.
#[derive(Debug)]
pub struct Watcher {
    _process: Process,
    events: Lines<BufReader<ChildStdout>>,
    /// When its CPU was held up, in nanoseconds of CLOCK_MONOTONIC.
    held: Vec<Range<u64>>,
    _dir: TempDir,
}

impl Watcher {
    pub fn start(load: &Load<'_>) -> Result<Self> {
        let dir = lab::temp_dir()?;
        let mut command = load.ringgen();
        command.arg("--watch");
        let (_process, _, out) = Process::spawn_piped(&mut command, &dir.path().join("log"))?;
        let mut watcher = Watcher { _process, events: BufReader::new(out).lines(), held: vec![], _dir: dir };
        watcher.next("passes")?;
        Ok(watcher)
    }

    /// When that happened next, in nanoseconds of CLOCK_MONOTONIC. A generator that is silent for as long as it has to run ends.
    pub fn next(&mut self, what: &str) -> Result<u64> {
        loop {
            let line = self.events.next().context("the generator ended")??;
            let Some((from, to)) = line.strip_prefix("held ").and_then(|held| held.split_once(' ')) else {
                let at = line.strip_prefix(what).with_context(|| format!("{line}, and not {what}"))?;
                return Ok(at.trim().parse()?);
            };
            self.held.push(from.parse()?..to.parse()?);
        }
    }

    /// For how long of this time the CPU was held up that the generator shares with all of vmswitchd but its worker: by the host, or by what
    /// the kernel does not interrupt, system calls of vmswitchd among it.
    pub fn held_up(&self, time: Range<u64>) -> u64 {
        let part = |held: &Range<u64>| held.end.min(time.end).saturating_sub(held.start.max(time.start));
        self.held.iter().map(part).sum()
    }
}

impl Load<'_> {
    /// Runs a generator to its end.
    pub fn run(&self) -> Result<Figures> {
        let dir = lab::temp_dir()?;
        let by_dpdk = self.row.is_segments() || self.setting.dpdk_vnics;
        let mut command = if by_dpdk { self.vnicgen(dir.path()) } else { self.ringgen() };
        let mut process = Process::spawn(&mut command, &dir.path().join("log"))?;
        let seconds = self.setting.seconds + self.setting.verify + WARM_UP_SECONDS;
        lab::wait_until("the end of the generator", PATIENCE + Duration::from_secs_f64(seconds), || {
            interrupt::check()?;
            Ok(process.ended()?.is_some())
        })
        .with_context(|| process.log())?;
        result(&process.log())
    }

    /// Where ringgen runs and what its vNICs are attached to.
    fn ringgen(&self) -> Command {
        let (row, mut command) = (self.row, self.program(&self.generators.ringgen));
        command.args(["--cpu", &self.setting.generator_cpu.to_string()]);
        for (n, socket) in self.bed.attachment.sockets().iter().enumerate() {
            command.args(["--vnic", &format!("{},{}", vnic_mac(n), socket.display())]);
        }
        command.args(["--flows", &row.flows.to_string()]);
        add_flags(&mut command, &[("--packed", row.packed), ("--tcp", row.tcp), ("--fresh", row.fresh)]);
        self.add_to(&mut command);
        command
    }

    /// DPDK's own options: memory that vanishes with the process, no PCI device, nothing beside its folder.
    fn vnicgen(&self, dir: &Path) -> Command {
        let (switch_cpu, cpu) = (self.setting.switch_cpu, self.setting.generator_cpu);
        let lcores = match self.bed.attachment {
            Attachment::Sockets(_) => format!("0@{cpu}"),
            Attachment::Memcpy => format!("0@{cpu},1@{switch_cpu}"),
        };
        let mut command = self.program(&self.generators.vnicgen);
        command.env("RUNTIME_DIRECTORY", dir).args(["--lcores", &lcores, "--no-pci", "--in-memory"]);
        // With a file for each page there would be more memory regions than vhost-user has room for.
        command.args(["--single-file-segments", "-m", "256", "--log-level", "lib.eal:error"]);
        command.arg("--no-telemetry");
        let rings = if self.row.packed { ",packed_vq=1" } else { "" };
        for (n, socket) in self.bed.attachment.sockets().iter().enumerate() {
            let (mac, path) = (vnic_mac(n), socket.display());
            let vnic = format!("net_virtio_user{n},mac={mac},path={path},queue_size=1024{rings}");
            command.args(["--vdev", &vnic]);
        }
        command.arg("--");
        self.add_to(&mut command);
        command
    }

    fn program(&self, program: &Path) -> Command {
        let [first, rest @ ..] = TIED;
        let mut command = self.namespace.command(first);
        command.args(rest).arg(program);
        command
    }

    /// What both generators are told.
    fn add_to(&self, command: &mut Command) {
        let (row, setting) = (self.row, self.setting);
        let mut number = |option: &str, value: f64| {
            command.args([option, &value.to_string()]);
        };
        number("--size", row.size.into());
        number("--macs", row.macs.into());
        number("--burst", row.burst.into());
        number("--seconds", setting.seconds);
        number("--warmup", WARM_UP_SECONDS);
        number("--verify", setting.verify);
        number("--rate", row.rate.unwrap_or(0).into());
        let copies = matches!(self.bed.attachment, Attachment::Memcpy);
        add_flags(command, &[("--both-ways", row.both_ways), ("--copy", copies)]);
    }
}

fn add_flags(command: &mut Command, flags: &[(&str, bool)]) {
    command.args(flags.iter().filter(|(_, wanted)| *wanted).map(|(flag, _)| flag));
}

fn result(log: &str) -> Result<Figures> {
    let line = log.lines().rfind(|l| l.starts_with('{')).with_context(|| format!("no result:\n{log}"))?;
    let figures: Figures = serde_json::from_str(line).with_context(|| line.to_owned())?;
    ensure!(figures.rx_mpps > 0.0, "nothing arrived: {line}");
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"size":64,"rx_mpps":11.5,"rx_gbps":5.5,"loss":0,"p50_us":87,"p99_us":152,"idle":0.03,
        "ceiling_mpps":12,"waited":0.01,"kernel":0,"verified":9,
        "corrupt":1,"misdelivered":2,"reordered":3,"duplicated":4,"foreign":5}"#;

    #[test]
    fn the_last_line_of_json_is_the_result() {
        let line = LINE.replace('\n', "");
        let figures = result(&format!("EAL: hello\n{line}\nbye")).unwrap();
        assert_eq!((figures.rx_mpps, figures.wrong()), (11.5, 15));
    }

    #[test]
    fn a_run_without_result_shows_what_was_printed() {
        assert!(result("vNIC 0 does not start").unwrap_err().to_string().contains("vNIC 0 does not start"));
    }

    #[test]
    fn a_run_in_which_nothing_arrived_is_a_failure() {
        let line = LINE.replace('\n', "").replace("11.5", "0");
        assert!(result(&line).unwrap_err().to_string().contains("nothing arrived"));
    }
}
