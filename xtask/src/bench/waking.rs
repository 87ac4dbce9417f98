//! `cargo xtask bench waking`: the first frame after silence, beside what the kernel takes to wake a thread. How that is
//! measured is in `lab::waking`.

use super::figures::{at_most, machine, verdict_table};
use crate::{packages, steps};
use anyhow::Result;
use clap::Args;
use lab::{DaemonOptions, waking};
use std::time::Duration;

/// What the switch may add to the wake-up, in microseconds.
const ADDED: f64 = 50.0;

/// How to measure.
#[derive(Args)]
pub struct Options {
    /// How often either is measured
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(10..))]
    turns: u64,
    /// The CPU that switches
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    switch_cpu: usize,
    /// The CPU that sends and waits
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    generator_cpu: usize,
}

/// Measures and prints. An error if the measurement failed; a missed target is a result, not an error.
pub fn run(options: &Options) -> Result<()> {
    steps::demand_root("bench waking")?;
    packages::for_hostile()?;
    let start = DaemonOptions { binaries: Some(super::release_build()?), ..DaemonOptions::default() };
    let Options { turns, switch_cpu, generator_cpu } = *options;
    let measured = waking::measure(start, switch_cpu, generator_cpu, turns as usize)?;
    println!("{}\n\n{turns} times each, in turns, {:?} apart", machine(), waking::SILENCE);
    println!("\n{:>10} {:>15} {:>15} {:>9}", "quantile", "thread woken µs", "frame there µs", "added");
    for hundredths in [25, 50, 90, 99] {
        let [thread, frame] = measured.quantile(hundredths)?.map(micros);
        println!("{hundredths:>8} % {thread:>15.1} {frame:>15.1} {:>9.1}", frame - thread);
    }
    let [thread, frame] = measured.quantile(50)?.map(micros);
    let verdict = at_most("first frame after silence, median".to_owned(), frame - thread, ADDED, "µs");
    print!("{}", verdict_table(&[verdict]));
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}
