//! `cargo xtask bench vhost`: switches on vhost-user ports side by side.
//!
//! ```text
//!   generator CPU                                switching CPU
//!   vNIC 0 ── ring in shared memory ── port ──┐
//!                                             switch
//!   vNIC 1 ── ring in shared memory ── port ──┘
//! ```
//!
//! The vNICs are in one program, `peers/ringgen.c`: one thread on one CPU that in each turn sends a burst from every sender
//! and takes up to two from every receiver, on a virtio driver of its own. Segments, and all with `--dpdk-vnics`, are
//! `peers/vnicgen.c`'s, on DPDK's virtio-user driver. The switch has the other CPU. For each sample both are started anew
//! and thrown away.
//!
//! **What limits the figures.** One core does both halves of the load: each frame costs it a send and a receive, and
//! both fetch rings, buffers and bytes from the cache of the switching core. On DPDK's driver that was about what a fast
//! switch costs at 64 B, so that it was the generator that was measured. Each generator tells what limits a run, and the
//! table shows it: `ceiling` is the rate of those turns in which it sent full bursts and took as much; `gen idle` the share
//! of time in which it found neither frames nor room; `kicks` the share that it spent in the kernel to notify a switch that
//! wants to be told of frames or buffers. Where a generator is never idle, the rate is its own: a switch that does less
//! work then gains only by making its cache misses fewer.
//!
//! **Near and far.** On a virtual machine the two CPUs may be two threads of a core at one minute and far apart at the
//! next, which alone changes ring speeds twofold. `peers/c2c.c` measures the distance before and after each sample;
//! samples are compared only with those of the same kind, and one that saw both is left out. Left out, too, is a sample
//! during which something else ran on one of the CPUs for more than 5 % of the time. Either is taken once more.
//!
//! **Verification.** Numbers of frames are checked all the time: what is lost, misdelivered, duplicated, or reordered
//! within a flow. Each sample ends with a phase in which every byte of every frame is written and checked, too.

mod bed;
mod changes;
mod contention;
mod distance;
mod generator;
mod policies;
mod report;
mod rows;
mod rules;
mod tools;
pub mod xdp;

use super::figures::machine;
use crate::{interrupt, packages, steps};
use anyhow::{Result, ensure};
pub use bed::Switch;
use bed::Vmswitches;
use clap::Args;
use lab::Binaries;
pub use policies::Policies;
use report::Report;
pub use rows::{PLAIN, Row, Suite};
pub use rules::Place;
use std::env;
use std::path::PathBuf;
use tools::Tools;

/// How to measure.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    measuring: Measuring,
    /// All vNICs on DPDK's virtio-user driver, not only those for segments: what it costs limits some rows
    #[arg(long)]
    dpdk_vnics: bool,
}

/// How to measure, whatever rows.
#[derive(Args)]
pub struct Measuring {
    /// How often each switch is measured in each row [default: 7]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds of each sample that count [default: 2]
    #[arg(long)]
    seconds: Option<f64>,
    /// Three rounds of a second: tells 10 %, not 3 %
    #[arg(long)]
    quick: bool,
    /// Seconds of each sample in which all bytes are checked
    #[arg(long, default_value_t = 0.5)]
    verify: f64,
    /// Only these rows
    #[arg(long, value_name = "ROW[,ROW...]", value_delimiter = ',')]
    only: Vec<String>,
    /// Which switches [default: all but baseline; vpp where VPP_BIN is set]
    #[arg(long, value_enum, value_delimiter = ',')]
    switches: Vec<Switch>,
    /// Folder with the vmswitchd and vmswitch to measure [default: a release build of this workspace]
    #[arg(long, value_name = "FOLDER")]
    vmswitch: Option<PathBuf>,
    /// Folder with another build, to be measured beside as `baseline`
    #[arg(long, value_name = "FOLDER")]
    baseline: Option<PathBuf>,
    /// The CPU that switches
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    switch_cpu: u32,
    /// The CPU that has all vNICs
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    generator_cpu: u32,
    /// Prints one JSON document instead of tables
    #[arg(long)]
    json: bool,
}

/// Where and how long a sample is taken.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub switch_cpu: u32,
    pub generator_cpu: u32,
    pub seconds: f64,
    pub verify: f64,
    pub dpdk_vnics: bool,
}

/// Measures and prints. An error if a measurement failed; a missed target is a result, not an error.
pub fn run(options: &Options) -> Result<()> {
    steps::demand_root("bench vhost")?;
    packages::for_bench_vhost()?;
    measure_suite(&rows::VHOST, &options.measuring, options.dpdk_vnics)
}

/// Measures all of a suite and prints it.
pub fn measure_suite(suite: &'static Suite, options: &Measuring, dpdk_vnics: bool) -> Result<()> {
    let setting = options.setting(dpdk_vnics);
    ensure!(setting.switch_cpu != setting.generator_cpu, "switch and generator need a CPU each");
    let (rows, switches) = (options.rows(suite)?, options.switches(suite));
    let change = suite.change.filter(|row| options.wants(row));
    interrupt::catch()?;
    let tools = Tools::build(&setting)?;
    let builds = options.builds(&switches)?;
    let mut report = Report::new(suite, setting, machine());
    let rounds = options.rounds();
    let measured = (1..=rounds).try_for_each(|round| {
        steps::header(&format!("Round {round} of {rounds}"));
        measure_round(&rows, &switches, &tools, &builds, &mut report)?;
        if let Some(row) = change {
            report.keep_changes(tools.changes(row, &builds));
        }
        interrupt::check()
    });
    // Of a run that is interrupted, too.
    match options.json {
        true => println!("{}", report.json()),
        false => print!("{}", report.tables()),
    }
    measured?;
    ensure!(report.failures.is_empty(), "measurements failed:\n{}", report.failures.join("\n"));
    Ok(())
}

fn measure_round(
    rows: &[&'static Row],
    switches: &[Switch],
    tools: &Tools,
    builds: &Vmswitches,
    report: &mut Report,
) -> Result<()> {
    for row in rows {
        for &switch in switches.iter().filter(|s| s.does(row)) {
            // Once more where the machine had other ideas.
            let _ =
                measure(switch, row, tools, builds, report)? || measure(switch, row, tools, builds, report)?;
        }
    }
    Ok(())
}

/// Whether the sample can be compared, or failed for reasons of its own.
fn measure(
    switch: Switch,
    row: &'static Row,
    tools: &Tools,
    builds: &Vmswitches,
    report: &mut Report,
) -> Result<bool> {
    let outcome = tools.sample(switch, row, builds);
    // What failed then failed because of that.
    interrupt::check()?;
    Ok(report.keep(row, switch, outcome))
}

impl Measuring {
    fn setting(&self, dpdk_vnics: bool) -> Setting {
        let seconds = self.seconds.unwrap_or(if self.quick { 1.0 } else { 2.0 });
        let (switch_cpu, generator_cpu, verify) = (self.switch_cpu, self.generator_cpu, self.verify);
        Setting { switch_cpu, generator_cpu, seconds, verify, dpdk_vnics }
    }

    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 7 })
    }

    fn wants(&self, row: &Row) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == row.name)
    }

    fn rows(&self, suite: &'static Suite) -> Result<Vec<&'static Row>> {
        let names: Vec<_> = suite.rows.iter().chain(suite.change).map(|row| row.name).collect();
        let unknown = self.only.iter().find(|name| !names.contains(&name.as_str()));
        ensure!(unknown.is_none(), "there is no row {unknown:?}; there are {}", names.join(", "));
        Ok(suite.rows.iter().filter(|row| self.wants(row)).collect())
    }

    fn switches(&self, suite: &Suite) -> Vec<Switch> {
        let mut chosen = match self.switches.is_empty() {
            true => suite.switches.to_vec(),
            false => self.switches.clone(),
        };
        let wanted = [
            (Switch::Vpp, self.switches.is_empty() && env::var_os("VPP_BIN").is_some()),
            (Switch::Baseline, self.baseline.is_some()),
        ];
        chosen.extend(wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(switch, _)| switch));
        chosen.sort();
        chosen.dedup();
        chosen
    }

    fn builds(&self, switches: &[Switch]) -> Result<Vmswitches> {
        let in_folder = |folder: &PathBuf| Binaries::in_folder(folder);
        let ours = match &self.vmswitch {
            Some(folder) => Some(in_folder(folder)?),
            None => switches.contains(&Switch::Vmswitch).then(super::release_build).transpose()?,
        };
        Ok(Vmswitches { ours, baseline: self.baseline.as_ref().map(in_folder).transpose()? })
    }
}
