//! `cargo xtask fuzz`: every fuzz target for a while.
//!
//! cargo-fuzz and a nightly compiler would do the same with more to install: the compiler at hand can be told to do what
//! they do, and the targets are programs like any other.

use crate::{packages, steps};
use anyhow::{Context, Result};
use clap::Args;
use std::{env, fs, path::PathBuf, process::Command};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz");

/// What cargo-fuzz has the compiler do: coverage for libFuzzer, and each access to memory checked.
const FLAGS: &str = "-Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

#[derive(Args)]
pub struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only these targets [default: all]
    targets: Vec<String>,
}

/// The task.
pub fn run(options: &Options) -> Result<()> {
    packages::for_fuzz()?;
    let chosen = if options.targets.is_empty() { targets()? } else { options.targets.clone() };
    fuzz_each(&chosen, |_| options.seconds)
}

/// As a step of `cargo xtask test`.
pub fn check() -> Result<()> {
    // What guests can reach directly is the most of it.
    fuzz_each(&targets()?, |target| if target.starts_with("vhost") { 60 } else { 10 })
}

fn fuzz_each(targets: &[String], seconds: impl Fn(&str) -> u32) -> Result<()> {
    steps::header("Fuzz targets");
    steps::run(&mut cargo("build")?)?;
    targets.iter().try_for_each(|target| fuzz(target, seconds(target)))
}

/// Each file is one.
fn targets() -> Result<Vec<String>> {
    let listed = fs::read_dir(PathBuf::from(FOLDER).join("fuzz_targets"))?;
    let names =
        listed.filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()));
    let mut names: Vec<_> = names.collect();
    names.sort();
    Ok(names)
}

/// What is found new goes into `corpus`, and a crash into `artifacts`.
fn fuzz(target: &str, seconds: u32) -> Result<()> {
    steps::header(&format!("Fuzzing: {target}, {seconds} s"));
    let (corpus, artifacts) = (format!("corpus/{target}"), format!("artifacts/{target}/"));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(PathBuf::from(FOLDER).join(folder))?;
    }
    let mut command = cargo("run")?;
    command.args(["--bin", target, "--", &corpus, &format!("seeds/{target}")]);
    command.args([format!("-artifact_prefix={artifacts}"), format!("-max_total_time={seconds}")]);
    // Of time that passes, also where somebody else has the CPU: what does not end takes longer.
    command.args(["-timeout=60", "-print_final_stats=1", "-max_len=16384"]);
    let advice = "the input that did it is in fuzz/artifacts: make a named test of it";
    steps::run(&mut command).with_context(|| format!("{target} found something; {advice}"))
}

/// Runs a cargo command in the folder of the targets. As the platform is named, flags do not reach what building takes.
fn cargo(what: &str) -> Result<Command> {
    let mut command = steps::cargo(what);
    command.current_dir(FOLDER).args(["--quiet", "--release", "--target", &steps::host()?]);
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS);
    // A folder of its own also where others build to one: with other flags all would be built anew each time.
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    command.env("CARGO_TARGET_DIR", folder.join("fuzz"));
    Ok(command)
}
