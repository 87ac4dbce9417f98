//! strace on a process that runs already: to see what it asks of the kernel, and to kill it there or let it fail.

use crate::process::Process;
use crate::run::wait_until;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// What happens to a system call of the traced process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The process is killed where it enters the call, which then does not take place.
    Kill,
    /// The call fails with this error (`ENOSPC`) and does nothing.
    Fail(&'static str),
}

/// One system call of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Which of the thread's calls of that name since tracing began it is, from 1.
    pub nth: u32,
    /// The thread.
    pub thread: u32,
    /// Its arguments and result as strace prints them, descriptors with their paths.
    pub text: String,
}

/// A tracer; it lets go of the process when dropped.
#[derive(Debug)]
pub struct Strace {
    process: Process,
    output: PathBuf,
    _dir: tempfile::TempDir,
}

impl Strace {
    /// Records all calls of these names.
    pub fn record(pid: u32, names: &[&str]) -> Result<Strace> {
        Self::attach(pid, &[format!("trace={}", names.join(","))])
    }

    /// Does something to one call of a name: in each thread, the `nth` of its own that it makes from now on.
    pub fn inject(pid: u32, name: &str, nth: u32, fate: Fate) -> Result<Strace> {
        let fate = match fate {
            Fate::Kill => "signal=SIGKILL".to_owned(),
            Fate::Fail(error) => format!("error={error}"),
        };
        Self::attach(pid, &[format!("trace={name}"), format!("inject={name}:{fate}:when={nth}")])
    }

    fn attach(pid: u32, expressions: &[String]) -> Result<Strace> {
        let dir = crate::temp_dir()?;
        let (output, log) = (dir.path().join("calls"), dir.path().join("log"));
        // Inside the process's network namespace: elsewhere strace cannot tell what its netlink sockets are for.
        let (mut command, pid) = (Command::new("nsenter"), pid.to_string());
        command.args(["--target", &pid, "--net", "strace", "-f", "-y", "-s", "200", "-p", &pid, "-o"]);
        command.arg(&output);
        for expression in expressions {
            command.args(["-e", expression]);
        }
        let mut process = Process::spawn(&mut command, &log)?;
        process.wait_for_log("attached", PATIENCE)?;
        Ok(Strace { process, output, _dir: dir })
    }

    /// Lets go of the process, which runs on; what was recorded.
    pub fn detach(mut self) -> Result<Vec<Call>> {
        // strace detaches when asked to end, and ends by itself when what it traces has.
        self.process.terminate(PATIENCE)?;
        let text = std::fs::read(&self.output).context("strace wrote nothing")?;
        Ok(calls(&String::from_utf8_lossy(&text)))
    }

    /// Waits until nothing is left to trace: every thread of the process has ended.
    pub fn wait_for_end(mut self) -> Result<()> {
        wait_until("end of the traced process", PATIENCE, || Ok(self.process.ended()?.is_some()))
    }
}

fn calls(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else { continue };
        // A call that another thread interrupted in the listing is resumed on a line of its own, without its name.
        let (Ok(thread), true) =
            (thread.parse(), name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        else {
            continue;
        };
        let nth = 1 + calls.iter().filter(|c| c.thread == thread && c.name == name).count() as u32;
        calls.push(Call { name: name.to_owned(), nth, thread, text: arguments.to_owned() });
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_numbered_for_each_thread_and_name() {
        let text = "12 sendto(3, \"x\", 1) = 1\n13 sendto(3, \"y\", 1 <unfinished ...>\n12 rename(\"a\", \"b\") = 0\n\
                    13 <... sendto resumed>) = 1\n13 sendto(3, \"z\", 1) = 1\n12 +++ exited with 0 +++\n";
        let found: Vec<_> = calls(text).into_iter().map(|c| (c.thread, c.name, c.nth)).collect();
        let call = |thread, name: &str, nth| (thread, name.to_owned(), nth);
        assert_eq!(
            found,
            [call(12, "sendto", 1), call(13, "sendto", 1), call(12, "rename", 1), call(13, "sendto", 2)]
        );
    }
}
