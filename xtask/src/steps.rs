//! Running cargo and others step by step, so that one sees where a task is.

use anyhow::{Context, Result, ensure};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says what comes next. On standard error: standard output is for results.
pub fn header(what: &str) {
    eprintln!("\n=== {what}");
}

/// Runs a command with its output shown; it has to succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

/// A cargo command in the workspace; the arguments are separated by spaces.
pub fn cargo(args: &str) -> Command {
    // Cargo names itself to what it runs, which keeps a chosen toolchain.
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args.split_whitespace()).current_dir(workspace());
    // Incremental state costs time and space, and pays only in the next build.
    command.env("CARGO_INCREMENTAL", "0");
    command
}

/// Fails with the way out unless this is root.
pub fn demand_root(task: &str) -> Result<()> {
    let advice = format!("sudo --preserve-env=HOME env \"PATH=$PATH\" cargo xtask {task}");
    ensure!(lab::is_root(), "this needs root, for it makes network namespaces. Run:\n  {advice}");
    Ok(())
}

/// The folder that builds with this profile (`debug`, `release`) go to.
pub fn profile_folder(profile: &str) -> Result<PathBuf> {
    let exe = env::current_exe().context("cannot tell where this program is")?;
    let target = exe.parent().and_then(Path::parent).context("this program is not in a target folder")?;
    Ok(target.join(profile))
}

/// The platform that is compiled for where nobody names one.
pub fn host() -> Result<String> {
    let said = lab::text(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it compiles for")?.to_owned())
}

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
