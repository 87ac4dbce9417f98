//! `cargo xtask test`: every check and every test.

use crate::{asan, fuzz, instructions, packages, steps};
use anyhow::Result;
use std::time::Instant;

/// Runs all steps; the first that fails ends it.
pub fn run() -> Result<()> {
    let start = Instant::now();
    steps::demand_root("test")?;
    packages::for_test()?;
    step("Formatting", "fmt --all --check")?;
    step("Clippy", "clippy --workspace --all-targets -- -D warnings")?;
    steps::header("Documentation");
    steps::run(steps::cargo("doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))?;
    step("Programs", "build --workspace --bins")?;
    step("Tests", "test --workspace --no-fail-fast")?;
    asan::check()?;
    instructions::check()?;
    fuzz::check()?;
    steps::header(&format!("All passed, in {} s", start.elapsed().as_secs()));
    Ok(())
}

fn step(what: &str, args: &str) -> Result<()> {
    let start = Instant::now();
    steps::header(&format!("{what}: cargo {args}"));
    steps::run(&mut steps::cargo(args))?;
    eprintln!("--- {what}: {} s", start.elapsed().as_secs());
    Ok(())
}
