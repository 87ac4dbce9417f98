//! `cargo xtask asan`: the tests with each access to memory checked.
//!
//! What guests can reach is in `io` and what it is driven by, so their tests are a step of `cargo xtask test`; the whole
//! suite takes longer than that may.
//!
//! AddressSanitizer wants to handle SIGBUS itself, and so does `io`, where a VMM cuts its memory short: that is ours.

use crate::{packages, steps};
use anyhow::Result;
use clap::Args;
use std::{env, path::PathBuf, process::Command};

const FLAG: &str = "-Zsanitizer=address";
/// Of `io` and of what stands between it and the tests, and who calls it.
const REACHABLE: &str = "--package vmswitch-io --package vmswitch-dataplane --package vmswitch-wire \
                         --package vmswitch-engine";
/// Leaks are told at the end of each program, where they fail it.
const OPTIONS: &str = "handle_sigbus=0:detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1";

#[derive(Args)]
pub struct Options {
    /// Only the tests of the crates that guests can reach, as `cargo xtask test` does
    #[arg(long)]
    reachable: bool,
    /// What `cargo test` is told besides [default: everything]
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// The task.
pub fn run(options: &Options) -> Result<()> {
    if options.reachable {
        packages::for_instructions()?;
        return check();
    }
    steps::demand_root("asan")?;
    packages::for_test()?;
    // Scenarios start these.
    build("build --workspace --bins")?;
    steps::header("All tests under AddressSanitizer");
    let mut command = cargo("test --workspace --exclude xtask --no-fail-fast")?;
    steps::run(command.args(&options.arguments))
}

/// As a step of `cargo xtask test`.
pub fn check() -> Result<()> {
    steps::header("Tests of what guests can reach under AddressSanitizer");
    steps::run(&mut cargo(&format!("test --quiet --no-fail-fast {REACHABLE}"))?)
}

fn build(args: &str) -> Result<()> {
    steps::header("Programs with AddressSanitizer");
    steps::run(&mut cargo(args)?)
}

/// As the platform is named, flags do not reach what building takes. With other flags all would be built anew each time, so
/// it goes to a folder of its own.
fn cargo(args: &str) -> Result<Command> {
    let mut command = steps::cargo(args);
    command.args(["--target", &steps::host()?]);
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAG).env("RUSTDOCFLAGS", FLAG);
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    command.env("CARGO_TARGET_DIR", folder.join("asan")).env("ASAN_OPTIONS", OPTIONS);
    Ok(command)
}
