//! Running a command to its end, and waiting for something to become true.

use anyhow::{Context, Result, bail};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a command that ended left.
#[derive(Debug, Clone)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Its standard error, likewise.
    pub stderr: String,
}

impl Finished {
    /// The exit status, or -1 if a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
}

/// Runs a command to its end with nothing on its standard input; a failing exit status is not an error here.
pub fn output(command: &mut Command) -> Result<Finished> {
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    Ok(Finished {
        status: out.status,
        stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
    })
}

/// Runs a command that has to succeed, and returns its standard output.
pub fn text(command: &mut Command) -> Result<String> {
    let done = output(command)?;
    if !done.status.success() {
        bail!("{command:?} failed ({}): {}{}", done.status, done.stdout, done.stderr);
    }
    Ok(done.stdout)
}

/// How long is waited for what takes no longer than `limit` on a machine that does nothing else: programs may be built to check
/// each access to memory, and run beside others. Nobody waits longer than it takes, so a test is none the slower.
pub const fn patience(limit: Duration) -> Duration {
    limit.saturating_mul(10)
}

/// Asks `test` again and again until it says yes, for as long as [`patience`] says; an error names `what` was waited for.
pub fn wait_until(what: &str, limit: Duration, test: impl FnMut() -> Result<bool>) -> Result<()> {
    let limit = patience(limit);
    match comes_within(limit, test).with_context(|| format!("while waiting for {what}"))? {
        true => Ok(()),
        false => bail!("{what}: not so after {limit:?}"),
    }
}

/// Asks `test` again and again until it says yes, or for this time; says whether it did.
pub fn comes_within(time: Duration, mut test: impl FnMut() -> Result<bool>) -> Result<bool> {
    let end = Instant::now() + time;
    while !test()? {
        if Instant::now() >= end {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(true)
}

/// Whether this process may make namespaces: it runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_reported_with_what_it_said() {
        let error = text(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("no such thing"), "{error}");
        assert!(error.to_string().contains('3'), "{error}");
    }

    #[test]
    fn waiting_ends_with_the_name_of_what_was_missing() {
        let error = wait_until("the moon", Duration::from_millis(30), || Ok(false)).unwrap_err();
        assert!(error.to_string().contains("the moon"), "{error}");
    }
}
