//! `cargo xtask bench kernel`: switches on kernel interfaces side by side.
//!
//! ```text
//!   vm-vm    namespace a ── switch ── namespace b
//!   vm-wire  namespace a ── switch ── NIC ═ cable ═ physical switch ── far machine
//! ```
//!
//! Machines are shared and noisy. So the switches take turns within each round, and medians are compared.

mod figures;
pub mod hostile;
mod ovs;
mod peers;
pub mod policies;
mod ports;
mod report;
mod traffic;
pub mod vhost;
pub mod waking;

use crate::{packages, steps};
use anyhow::{Result, ensure};
use clap::Args;
use lab::Binaries;
use peers::Peer;
use report::Report;
use traffic::Topology;

/// Before a program that polls: it dies with this one, even if that is killed.
const TIED: [&str; 3] = ["setpriv", "--pdeathsig", "KILL"];

/// How to measure.
#[derive(Args)]
pub struct Options {
    /// How often each switch is measured.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each TCP stream.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Which switches.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "bridge,ovs,vmswitch")]
    switches: Vec<Peer>,
    /// Which paths.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "vm-vm,vm-wire")]
    topologies: Vec<Topology>,
    /// Prints one JSON document instead of tables.
    #[arg(long)]
    json: bool,
}

/// Measures and prints. An error if a measurement failed; a missed target is a result, not an error.
pub fn run(options: &Options) -> Result<()> {
    steps::demand_root("bench kernel")?;
    packages::for_bench()?;
    let mut report = Report::default();
    let ours = options.switches.contains(&Peer::Vmswitch).then(release_build).transpose()?;
    for round in 1..=options.rounds {
        steps::header(&format!("Round {round} of {}", options.rounds));
        measure_round(options, ours.as_ref(), &mut report);
    }
    if let Some(binaries) = &ours {
        steps::header("vmswitch with many ports");
        report.idle = report.keep("idle", ports::idle(binaries));
        report.churn = report.keep("churn", ports::churn(binaries));
    }
    match options.json {
        true => println!("{}", report.json(options.seconds)),
        false => print!("{}", report.tables()),
    }
    if ours.is_some() && !options.json {
        steps::header("MAC table, beside the standard library's hash map");
        steps::run(&mut steps::cargo("bench --quiet --package vmswitch-engine --bench mac_table"))?;
    }
    ensure!(report.failures.is_empty(), "measurements failed:\n{}", report.failures.join("\n"));
    Ok(())
}

fn measure_round(options: &Options, ours: Option<&Binaries>, report: &mut Report) {
    for &topology in &options.topologies {
        for &peer in &options.switches {
            let what = format!("{} {}", topology.name(), peer.name());
            if let Some(sample) = report.keep(&what, traffic::measure(peer, topology, options.seconds, ours))
            {
                eprintln!("{what}: {}", sample.describe());
                report.samples.entry((topology, peer)).or_default().push(sample);
            }
        }
    }
}

fn release_build() -> Result<Binaries> {
    steps::header("Release build of vmswitchd and vmswitch");
    steps::run(&mut steps::cargo("build --release --workspace --bin vmswitchd --bin vmswitch"))?;
    Binaries::in_folder(&steps::profile_folder("release")?)
}
