//! A background process that does not outlive its guard.

use crate::run::wait_until;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A child process; dropping it kills it and waits for it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints is appended to the file `log`.
    pub fn spawn(command: &mut Command, log: &Path) -> Result<Process> {
        command.stdin(Stdio::null()).stdout(open(log)?);
        Self::spawn_with(command, log)
    }

    /// Starts `command`; what it prints goes to `out`, and only what it prints as error to the file `log`.
    pub fn spawn_to(command: &mut Command, log: &Path, out: impl Into<Stdio>) -> Result<Process> {
        Self::spawn_between(command, log, Stdio::null(), out)
    }

    /// Starts `command`, which reads from `input` and prints to `out`; only what it prints as error is in `log`.
    pub fn spawn_between(
        command: &mut Command,
        log: &Path,
        input: impl Into<Stdio>,
        out: impl Into<Stdio>,
    ) -> Result<Process> {
        command.stdin(input).stdout(out);
        Self::spawn_with(command, log)
    }

    /// Starts `command` with pipes to its standard input and output; only what it prints as error is in `log`.
    pub fn spawn_piped(command: &mut Command, log: &Path) -> Result<(Process, ChildStdin, ChildStdout)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Self::spawn_with(command, log)?;
        let stdin = process.child.stdin.take().context("no pipe to standard input")?;
        let stdout = process.child.stdout.take().context("no pipe from standard output")?;
        Ok((process, stdin, stdout))
    }

    fn spawn_with(command: &mut Command, log: &Path) -> Result<Process> {
        let name = format!("{command:?}");
        let child = command.stderr(open(log)?).spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Process { child, name, log: log.to_path_buf() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Its exit status, if it ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits until its log contains `marker`; an error if it ends before that.
    pub fn wait_for_log(&mut self, marker: &str, limit: Duration) -> Result<()> {
        let what = format!("{marker:?} in what {} prints", self.name);
        wait_until(&what, limit, || {
            // Asked first: a process that printed the marker and ended did what was waited for.
            let ended = self.ended()?;
            let found = self.log().contains(marker);
            match ended {
                Some(status) if !found => bail!("{} ended ({status}): {}", self.name, self.log()),
                _ => Ok(found),
            }
        })
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut status = None;
        let what = format!("end of {}", self.name);
        wait_until(&what, limit, || {
            status = self.ended()?;
            Ok(status.is_some())
        })?;
        status.context("a process that ended has a status")
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        let pid = Pid::from_raw(self.id() as i32).context("a process id is positive")?;
        kill_process(pid, Signal::TERM)?;
        self.wait(limit)
    }

    /// Kills it (SIGKILL) and waits for that.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means it ended and was waited for already.
        let _ = self.kill();
    }
}

fn open(log: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(log);
    file.with_context(|| format!("cannot open the log {}", log.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path) -> Process {
        Process::spawn(Command::new("sleep").arg("1000"), &dir.join("log")).unwrap()
    }

    #[test]
    fn dropping_kills_and_reaps() {
        let dir = crate::temp_dir().unwrap();
        let process = sleeper(dir.path());
        let entry = format!("/proc/{}", process.id());
        assert!(Path::new(&entry).exists());
        drop(process);
        assert!(!Path::new(&entry).exists());
    }

    #[test]
    fn a_panic_kills_too() {
        let dir = crate::temp_dir().unwrap();
        let pid = std::thread::scope(|scope| {
            let (send, receive) = std::sync::mpsc::channel();
            let path = dir.path();
            let panicked = scope.spawn(move || {
                let process = sleeper(path);
                send.send(process.id()).unwrap();
                panic!("on purpose");
            });
            assert!(panicked.join().is_err());
            receive.recv().unwrap()
        });
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_process_that_ends_too_early_is_reported_with_its_log() {
        let dir = crate::temp_dir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out of cheese >&2; exit 7"]);
        let mut process = Process::spawn(&mut command, &dir.path().join("log")).unwrap();
        let error = process.wait_for_log("ready", Duration::from_secs(10)).unwrap_err();
        assert!(format!("{error:#}").contains("out of cheese"), "{error:#}");
    }

    #[test]
    fn terminate_gives_the_exit_status() {
        let dir = crate::temp_dir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"]);
        let mut process = Process::spawn(&mut command, &dir.path().join("log")).unwrap();
        process.wait_for_log("ready", Duration::from_secs(10)).unwrap();
        assert_eq!(process.terminate(Duration::from_secs(10)).unwrap().code(), Some(5));
    }
}
