//! `cargo xtask bench xdp`: from a VM to the wire, by AF_XDP on a veth.
//!
//! ```text
//!   generator CPU                                      switching CPU
//!   vNIC (virtio-user) ── ring in shared memory ── port ── switch ── AF_XDP ── veth ── XDP_DROP
//! ```
//!
//! DPDK's testpmd sends frames of 64 bytes (with FCS) as fast as it can; what arrives at the far end of the veth is
//! counted there. The kernel's part of the veth, both ends of it, runs on the switching CPU as well: it is most of the
//! work. testpmd forwards between `net_af_xdp` and `net_vhost` without looking at frames; it is measured with busy polling,
//! as it does by default, and without, and what is better counts.
//!
//! Each sample starts all programs anew. One during which something else ran on one of the CPUs for more than 5 % of the
//! time is left out, and taken once more.

mod bed;

use super::contention::{TOLERATED, Times};
use super::tools::HugePages;
use crate::bench::figures::{at_least, machine, median, verdict_table};
use crate::{interrupt, packages, steps};
use anyhow::{Context, Result, ensure};
use bed::{Bed, Switch, Wire};
use clap::Args;
use lab::Binaries;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const WARM_UP: Duration = Duration::from_secs(1);
/// Of a frame of 64 bytes with FCS, what the kernel counts at the far end: without FCS and Ethernet header.
const COUNTED_BYTES: u64 = 64 - 4 - 14;

/// How to measure.
#[derive(Args)]
pub struct Options {
    /// How often each switch is measured
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each sample that count
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Counts samples that other work on the CPUs disturbed, too: for a look only
    #[arg(long)]
    disturbed: bool,
    /// Folder with the vmswitchd and vmswitch to measure [default: a release build of this workspace]
    #[arg(long, value_name = "FOLDER")]
    vmswitch: Option<PathBuf>,
    /// The CPU that switches
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    switch_cpu: u32,
    /// The CPU that has the vNIC
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    generator_cpu: u32,
}

/// What was measured, in millions of frames a second, and how many samples were left out.
#[derive(Debug, Default)]
struct Measured {
    mpps: BTreeMap<Switch, Vec<f64>>,
    left_out: u32,
    failures: Vec<String>,
}

/// Measures and prints. An error if a measurement failed; a missed target is a result, not an error.
pub fn run(options: &Options) -> Result<()> {
    steps::demand_root("bench xdp")?;
    packages::for_bench_xdp()?;
    ensure!(options.switch_cpu != options.generator_cpu, "switch and generator need a CPU each");
    interrupt::catch()?;
    let binaries = match &options.vmswitch {
        Some(folder) => Binaries::in_folder(folder)?,
        None => crate::bench::release_build()?,
    };
    let (wire, _pages) = (Wire::prepare()?, HugePages::reserve()?);
    let mut measured = Measured::default();
    for round in 1..=options.rounds {
        steps::header(&format!("Round {round} of {}", options.rounds));
        for switch in Switch::ALL {
            // Once more where the machine had other ideas.
            let _ = measured.keep(switch, sample(switch, options, &wire, &binaries), options)
                || measured.keep(switch, sample(switch, options, &wire, &binaries), options);
            interrupt::check()?;
        }
    }
    print!("{}", measured.table());
    ensure!(measured.failures.is_empty(), "measurements failed:\n{}", measured.failures.join("\n"));
    Ok(())
}

/// Millions of frames a second that reached the end of the wire, and the share of time in which other work ran.
fn sample(switch: Switch, options: &Options, wire: &Wire, binaries: &Binaries) -> Result<(f64, f64)> {
    let bed = Bed::start(switch, options, wire, binaries)?;
    bed.wait_for_frames(wire).with_context(|| bed.log())?;
    std::thread::sleep(WARM_UP);
    let (before, started, times) = (wire.arrived()?, Instant::now(), bed.times()?);
    std::thread::sleep(Duration::from_secs_f64(options.seconds));
    let (after, seconds) = (wire.arrived()?, started.elapsed().as_secs_f64());
    let [switching, generating] = since(&bed.times()?, &times);
    let (frames, bytes) = (after.frames - before.frames, after.bytes - before.bytes);
    ensure!(frames > 0, "nothing arrived:\n{}", bed.log());
    ensure!(bytes == frames * COUNTED_BYTES, "{frames} frames of {bytes} bytes arrived, and not those sent");
    Ok((frames as f64 / seconds / 1e6, switching.disturbed(generating.waited)))
}

fn since(now: &[Times; 2], before: &[Times; 2]) -> [super::contention::Work; 2] {
    [now[0].since(&before[0]), now[1].since(&before[1])]
}

impl Measured {
    /// Whether the sample can be compared, or failed for reasons of its own.
    fn keep(&mut self, switch: Switch, outcome: Result<(f64, f64)>, options: &Options) -> bool {
        match outcome {
            Ok((mpps, disturbed)) => {
                eprintln!("{:13} {mpps:.3} Mpps, disturbed for {:.0} %", switch.name(), disturbed * 100.0);
                let good = disturbed <= TOLERATED || options.disturbed;
                if good {
                    self.mpps.entry(switch).or_default().push(mpps);
                } else {
                    self.left_out += 1;
                }
                good
            }
            Err(error) => {
                eprintln!("{:13} failed: {error:#}", switch.name());
                self.failures.push(format!("{}: {error:#}", switch.name()));
                true
            }
        }
    }

    fn median(&self, switch: Switch) -> Option<f64> {
        median(self.mpps.get(&switch)?.clone())
    }

    fn table(&self) -> String {
        let mut text = format!("VM to wire, 64 B, AF_XDP on a veth. {}\n\n", machine());
        for (switch, samples) in &self.mpps {
            let median = self.median(*switch).unwrap_or_default();
            text += &format!("{:13} {median:.3} Mpps, median of {}\n", switch.name(), samples.len());
        }
        text += &format!("{} samples were disturbed and left out\n", self.left_out);
        let best = [Switch::Testpmd, Switch::TestpmdBusy].into_iter().filter_map(|s| self.median(s));
        let best = best.max_by(f64::total_cmp);
        let ours = self.median(Switch::Vmswitch).zip(best);
        let what = "vmswitch, VM to wire by AF_XDP, of testpmd's".to_owned();
        let verdict = ours.map(|(ours, best)| at_least(what, ours / best, 1.0, "x"));
        text + &verdict_table(verdict.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_testpmd_is_what_counts() {
        let samples = |switch, mpps: &[f64]| (switch, mpps.to_vec());
        let mpps = [
            samples(Switch::Testpmd, &[0.4, 0.5, 0.6]),
            samples(Switch::TestpmdBusy, &[0.3]),
            samples(Switch::Vmswitch, &[0.6]),
        ];
        let measured = Measured { mpps: mpps.into(), ..Measured::default() };
        let table = measured.table();
        assert!(table.contains("testpmd       0.500 Mpps, median of 3"), "{table}");
        assert!(table.contains("1.20 x") && table.contains("met"), "{table}");
        assert!(!Measured::default().table().contains("target"));
    }
}
