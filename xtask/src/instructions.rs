//! `cargo xtask instructions`: what a frame from one vhost-user guest to another costs, in instructions.
//!
//! A rate of frames varies by half on machines that others use too; a count of instructions is the same each time, so it
//! shows a change of three per cent that no benchmark would. What it cannot show is cache misses: `cargo xtask bench vhost`
//! does.
//!
//! Streams are those of dataplane's example `frame_instructions`, counts are callgrind's, and `expected.json` beside the
//! example holds what they were when somebody last accepted them, and with which compiler.

use crate::{packages, steps};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, env::consts::ARCH, fmt::Write, fs, path::Path, process::Command};

const EXPECTED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/dataplane/examples/frame_instructions/expected.json");
/// How much more a frame may cost than it did.
const TOLERANCE: f64 = 0.03;
/// The C library copies with what the CPU has; this makes it take the same way on all of them.
const SAME_COPIES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-ERMS");

#[derive(Args)]
pub struct Options {
    /// Writes down what was counted as what is expected from now on
    #[arg(long)]
    accept: bool,
}

/// Instructions for each frame, by stream.
type Counts = BTreeMap<String, f64>;

/// What was accepted.
#[derive(Serialize, Deserialize)]
struct Expected {
    /// As `rustc --version` has it: another compiler makes other instructions.
    compiler: String,
    /// By architecture.
    instructions: BTreeMap<String, Counts>,
}

/// The task.
pub fn run(options: &Options) -> Result<()> {
    packages::for_instructions()?;
    let counts = count()?;
    if options.accept { accept(counts) } else { compare(&counts) }
}

/// As a step of `cargo xtask test`.
pub fn check() -> Result<()> {
    compare(&count()?)
}

fn count() -> Result<Counts> {
    steps::header("Instructions for each frame from guest to guest");
    steps::run(&mut steps::cargo(
        "build --release --package vmswitch-dataplane --example frame_instructions",
    ))?;
    let program = steps::profile_folder("release")?.join("examples/frame_instructions");
    let streams = lab::text(&mut Command::new(&program))?;
    let parsed = streams.lines().filter_map(|line| line.split_once(' '));
    parsed
        .map(|(stream, frames)| Ok((stream.to_owned(), count_one(&program, stream, frames.parse()?)?)))
        .collect()
}

fn count_one(program: &Path, stream: &str, frames: f64) -> Result<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted_turn*"]);
    let output = valgrind.arg(program).arg(stream).env(SAME_COPIES.0, SAME_COPIES.1).output();
    let output = output.context("cannot start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {stream} failed under valgrind:\n{said}", program.display());
    let counted = collected(&said).filter(|counted| *counted > 0.0);
    let counted = counted.with_context(|| format!("valgrind counted nothing in {stream}:\n{said}"))?;
    Ok((10.0 * counted / frames).round() / 10.0)
}

/// The number in callgrind's line `==1234== Collected : 3463936`.
fn collected(said: &str) -> Option<f64> {
    said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

fn expected() -> Result<Expected> {
    let text = fs::read_to_string(EXPECTED).with_context(|| format!("cannot read {EXPECTED}"))?;
    serde_json::from_str(&text).with_context(|| format!("{EXPECTED} is not what `--accept` writes"))
}

fn compiler() -> Result<String> {
    Ok(lab::text(Command::new("rustc").arg("--version"))?.trim().to_owned())
}

/// Counts of other architectures stay; they cannot be counted here.
fn accept(counts: Counts) -> Result<()> {
    let mut instructions = expected().map_or_else(|_| BTreeMap::new(), |expected| expected.instructions);
    eprint!("{}", table(&counts, instructions.get(ARCH).unwrap_or(&Counts::new())));
    instructions.insert(ARCH.to_owned(), counts);
    let text = serde_json::to_string_pretty(&Expected { compiler: compiler()?, instructions })?;
    fs::write(EXPECTED, text + "\n").with_context(|| format!("cannot write {EXPECTED}"))
}

fn compare(counts: &Counts) -> Result<()> {
    let Expected { compiler: accepted, instructions } = expected()?;
    let compiler = compiler()?;
    let Some(expected) = instructions.get(ARCH) else {
        bail!("nobody has accepted figures for {ARCH} yet; `cargo xtask instructions --accept` does it");
    };
    eprint!("{}", table(counts, expected));
    let failures = failures(counts, expected);
    if failures.is_empty() {
        return Ok(());
    }
    let other = if compiler == accepted {
        String::new()
    } else {
        format!(
            "\nThe figures are from {accepted}, and this is {compiler}: see whether the commit before differs too."
        )
    };
    bail!(
        "frames cost more instructions than they did:\n{}{other}\n\
         Find out where: valgrind --tool=callgrind --toggle-collect='*counted_turn*' \
         target/release/examples/frame_instructions STREAM, then callgrind_annotate --auto=yes.\n\
         If they are worth it, say in the commit message what for, and commit what \
         `cargo xtask instructions --accept` writes.",
        failures.join("\n")
    )
}

/// Streams that cost too much, or that nothing is known of.
fn failures(counts: &Counts, expected: &Counts) -> Vec<String> {
    let judge = |(stream, now): (&String, &f64)| match expected.get(stream) {
        Some(then) if *now <= then * (1.0 + TOLERANCE) => None,
        Some(then) => {
            Some(format!("  {stream}: {now}, and {then} before ({:+.1} %)", 100.0 * (now / then - 1.0)))
        }
        None => Some(format!("  {stream}: {now}, and not known before")),
    };
    counts.iter().filter_map(judge).collect()
}

fn table(counts: &Counts, expected: &Counts) -> String {
    let mut text = format!("{:26}{:>12}{:>12}{:>10}\n", "stream", "instructions", "expected", "change");
    for (stream, now) in counts {
        let _ = match expected.get(stream) {
            Some(then) => {
                writeln!(text, "{stream:26}{now:12.1}{then:12.1}{:+9.1} %", 100.0 * (now / then - 1.0))
            }
            None => writeln!(text, "{stream:26}{now:12.1}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(count: f64) -> Counts {
        Counts::from([("split".to_owned(), count)])
    }

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        let said = "==7== Using Valgrind\n==7== Events    : Ir\n==7== Collected : 3463936\n";
        assert_eq!(collected(said), Some(3_463_936.0));
        assert_eq!(collected("==7== Using Valgrind\n"), None);
    }

    #[test]
    fn three_per_cent_more_pass_and_what_is_above_fails_with_its_figures() {
        assert!(failures(&counts(412.0), &counts(400.0)).is_empty());
        let failed = failures(&counts(412.4), &counts(400.0));
        assert_eq!(failed, ["  split: 412.4, and 400 before (+3.1 %)"]);
    }

    #[test]
    fn a_stream_that_nobody_accepted_fails() {
        assert_eq!(failures(&counts(1.0), &Counts::new()).len(), 1);
    }
}
