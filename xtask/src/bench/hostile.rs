//! `cargo xtask bench hostile`: what two vNICs keep of their throughput beside a front end that breaks the rules.
//!
//! ```text
//!   CPU 1: vNIC one ══ vNIC two, as fast as it goes     CPU 0: the worker
//!          a front end that does one wrong thing again and again
//! ```
//!
//! Each kind of wrong has its line: in turns with a silent port, medians. `silent` and `hostile` are rates by the clock, in
//! Mpps, which fall also where other work runs on these CPUs. `worker` is what the worker keeps of its rate for each second
//! that it runs, `others` is the CPU time that vmswitchd's other threads take more than before, and `left` is the one
//! without the other: as if these had run on the worker's CPU.

use super::figures::{at_least, machine, verdict_json, verdict_table};
use crate::{packages, steps};
use anyhow::{Result, ensure};
use clap::Args;
use lab::DaemonOptions;
use lab::hostile::{Case, Neighbours, Share, cases};
use serde_json::json;
use std::time::Duration;

/// What neighbours are to keep.
const LEFT: f64 = 95.0;

/// How to measure.
#[derive(Args)]
pub struct Options {
    /// How often each case is measured
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Milliseconds of the worker's time that each sample takes
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(10..))]
    stretch: u64,
    /// Only cases whose names hold this
    #[arg(long, default_value = "")]
    only: String,
    /// The CPU that switches
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    switch_cpu: usize,
    /// The CPU that has the vNICs and the hostile front end
    #[arg(long, value_name = "CPU", default_value_t = 1)]
    generator_cpu: usize,
    /// Prints one JSON document instead of tables
    #[arg(long)]
    json: bool,
}

type Line = (&'static Case, Share);

/// Measures and prints. An error if a measurement failed; a missed target is a result, not an error.
pub fn run(options: &Options) -> Result<()> {
    steps::demand_root("bench hostile")?;
    packages::for_hostile()?;
    let binaries = Some(super::release_build()?);
    let start = DaemonOptions { binaries, ..DaemonOptions::default() };
    let mut neighbours = Neighbours::start(start, options.switch_cpu, options.generator_cpu)?;
    let (mut lines, mut failures): (Vec<Line>, Vec<String>) = (Vec::new(), Vec::new());
    for case in cases().into_iter().filter(|case| case.name.contains(&options.only)) {
        match neighbours.share(case, options.rounds, Duration::from_millis(options.stretch)) {
            Ok(share) => {
                eprintln!("{}", text(case, &share));
                lines.push((case, share));
            }
            Err(error) => failures.push(format!("{}: {error:#}", case.name)),
        }
    }
    neighbours.stop()?;
    match options.json {
        true => println!("{}", document(&lines)),
        false => print!("{}", tables(&lines)),
    }
    ensure!(failures.is_empty(), "measurements failed:\n{}", failures.join("\n"));
    Ok(())
}

fn text(case: &Case, share: &Share) -> String {
    let [worker, others, left] = [share.worker, share.others, share.left].map(|part| part * 100.0);
    format!(
        "{:60} {:>7.2} {:>7.2} {worker:>6.1} % {others:>6.1} % {left:>6.1} % {:>9.0}",
        case.name, share.silent_mpps, share.hostile_mpps, share.times
    )
}

fn tables(lines: &[Line]) -> String {
    let head = format!(
        "{}\n\n{:60} {:>7} {:>7} {:>8} {:>8} {:>8} {:>9}\n",
        machine(),
        "a front end that",
        "silent",
        "hostile",
        "worker",
        "others",
        "left",
        "times/s"
    );
    let rows: String = lines.iter().map(|(case, share)| text(case, share) + "\n").collect();
    head + &rows + &verdict_table(&verdicts(lines))
}

fn verdicts(lines: &[Line]) -> Vec<super::figures::Verdict> {
    let worst = lines.iter().min_by(|(_, one), (_, other)| one.left.total_cmp(&other.left));
    worst
        .map(|(case, share)| at_least(case.name.to_owned(), share.left * 100.0, LEFT, "%"))
        .into_iter()
        .collect()
}

fn document(lines: &[Line]) -> serde_json::Value {
    let rows: Vec<_> = lines
        .iter()
        .map(|(case, share)| {
            let Share { silent_mpps, hostile_mpps, worker, others, left, times } = share;
            json!({"case": case.name, "silent_mpps": silent_mpps, "hostile_mpps": hostile_mpps, "worker": worker,
                   "others": others, "left": left, "times_a_second": times})
        })
        .collect();
    json!({"machine": machine(), "cases": rows, "targets": verdict_json(&verdicts(lines))})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_case_is_judged() {
        let share =
            |left| Share { silent_mpps: 9.0, hostile_mpps: 8.0, worker: 1.0, others: 0.0, left, times: 50.0 };
        let all = cases();
        let judged = verdicts(&[(all[0], share(0.99)), (all[1], share(0.94))]);
        assert_eq!((judged[0].what.as_str(), judged[0].met), (all[1].name, false));
        assert_eq!(verdicts(&[]), []);
    }

    #[test]
    fn names_of_cases_are_unique() {
        let names: std::collections::BTreeSet<_> = cases().into_iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases().len());
    }
}
