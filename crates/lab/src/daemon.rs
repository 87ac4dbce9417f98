//! vmswitchd under test.

use crate::binaries::Binaries;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::run::{Finished, output, wait_until};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Kills the daemon where it enters a system call, which then does not take place.
#[derive(Debug, Clone)]
pub struct KillAt {
    /// Name of the system call, as strace knows it (`sendmsg`, `rename`, `fsync`…).
    pub syscall: String,
    /// At which of its calls, from 1; strace counts for each thread by itself.
    pub nth: u32,
}

/// How a daemon is started.
#[derive(Debug, Clone, Default)]
pub struct DaemonOptions {
    /// The programs; those that [`Binaries::find`] finds if `None`.
    pub binaries: Option<Binaries>,
    /// Further arguments, for example `--workers 0`.
    pub arguments: Vec<String>,
    /// The user and group that it runs as, without any capability; root if `None`.
    pub user: Option<u32>,
}

/// vmswitchd in a namespace, with directories of its own; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    process: Option<Process>,
    namespace: String,
    binaries: Binaries,
    arguments: Vec<String>,
    user: Option<u32>,
    dir: tempfile::TempDir,
}

impl Daemon {
    /// Starts it and waits until it answers.
    pub fn start(namespace: &Namespace) -> Result<Daemon> {
        Self::start_with(namespace, DaemonOptions::default())
    }

    /// Starts it with options and waits until it answers.
    pub fn start_with(namespace: &Namespace, options: DaemonOptions) -> Result<Daemon> {
        let mut daemon = Self::prepare(namespace, options)?;
        daemon.launch()?;
        Ok(daemon)
    }

    /// Makes its directories but does not start it: a test may want to put a state file there first.
    pub fn prepare(namespace: &Namespace, options: DaemonOptions) -> Result<Daemon> {
        let binaries = options.binaries.map_or_else(Binaries::find, Ok)?;
        let DaemonOptions { arguments, user, .. } = options;
        let (namespace, dir) = (namespace.name().to_owned(), crate::temp_dir()?);
        let binaries = match user {
            Some(user) => hand_over(&binaries, dir.path(), user)?,
            None => binaries,
        };
        Ok(Daemon { process: None, namespace, binaries, arguments, user, dir })
    }

    /// The socket of its API.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    /// Its `--run-dir`.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Its `--state-dir`.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A directory that lives as long as this value, for sockets and files of the test.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Everything it logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Its process id.
    pub fn id(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("vmswitchd is not running")?.id())
    }

    /// Starts it (again) and waits until it answers.
    pub fn launch(&mut self) -> Result<()> {
        self.spawn(&[])?;
        wait_until("answer of vmswitchd", PATIENCE, || {
            if let Some(status) = self.ended()? {
                bail!("vmswitchd ended ({status}); its log:\n{}", self.log());
            }
            self.answers()
        })
        .with_context(|| format!("log of vmswitchd:\n{}", self.log()))
    }

    /// Starts it so that it is killed at a system call. Returns whether it lived long enough to answer.
    pub fn launch_to_die(&mut self, kill: &KillAt) -> Result<bool> {
        let trace = format!("trace={}", kill.syscall);
        let inject = format!("inject={}:signal=SIGKILL:when={}", kill.syscall, kill.nth);
        let output = self.dir.path().join("strace").display().to_string();
        // With -D the tracer is a grandchild and the daemon our child: killed and waited for as without strace.
        self.spawn(&["strace", "-D", "-f", "-qq", "-e", &trace, "-e", &inject, "-o", &output])?;
        wait_until("answer or death of vmswitchd", PATIENCE, || {
            Ok(self.ended()?.is_some() || self.answers()?)
        })?;
        Ok(self.ended()?.is_none())
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.as_mut().context("vmswitchd was never started")?.ended()
    }

    fn spawn(&mut self, before: &[&str]) -> Result<()> {
        self.process = None;
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .args(before)
            .args(self.user.iter().flat_map(become_user));
        command.arg(self.binaries.daemon());
        command.arg("--socket").arg(self.socket()).arg("--run-dir").arg(self.run_dir());
        command.arg("--state-dir").arg(self.state_dir()).args(&self.arguments);
        self.process = Some(Process::spawn(&mut command, &self.log_path())?);
        Ok(())
    }

    fn answers(&self) -> Result<bool> {
        Ok(self.socket().exists() && self.cli(&["switch", "list"])?.status.success())
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// `vmswitch --socket … ARGS`, whatever its exit status.
    pub fn cli(&self, args: &[&str]) -> Result<Finished> {
        // Outside the namespace: a unix socket with a path is reached from everywhere, and entering takes longer
        // than the command.
        output(Command::new(self.binaries.cli()).arg("--socket").arg(self.socket()).args(args))
    }

    /// The command line `vmswitch --socket … ARGS`, for whoever runs it otherwise.
    pub fn cli_argv(&self, args: &[&str]) -> Vec<String> {
        let cli =
            [self.binaries.cli(), "--socket".into(), self.socket()].map(|word| word.display().to_string());
        cli.into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect()
    }

    /// `vmswitch … ARGS` that has to succeed; its standard output.
    pub fn cli_ok(&self, args: &[&str]) -> Result<String> {
        let done = self.cli(args)?;
        ensure!(
            done.status.success(),
            "vmswitch {args:?}: {}{}\nvmswitchd:\n{}",
            done.stdout,
            done.stderr,
            self.log()
        );
        Ok(done.stdout)
    }

    /// `vmswitch … ARGS` that has to be refused with this exit status; its standard error.
    pub fn cli_refused(&self, status: i32, args: &[&str]) -> Result<String> {
        let done = self.cli(args)?;
        ensure!(
            done.code() == status,
            "vmswitch {args:?}: {}, not {status}: {}{}",
            done.status,
            done.stdout,
            done.stderr
        );
        Ok(done.stderr)
    }

    /// `vmswitch --json … ARGS`, parsed.
    pub fn cli_json(&self, args: &[&str]) -> Result<Value> {
        let out = self.cli_ok(&[&["--json"], args].concat())?;
        serde_json::from_str(&out).with_context(|| format!("vmswitch --json {args:?} printed no JSON: {out}"))
    }

    /// Kills it as the kernel would when memory runs out; it gets no chance to tidy up.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.as_mut().context("vmswitchd is not running")?.kill().map(drop)
    }

    /// Asks it to end, which it has to do with exit status 0.
    pub fn stop(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("vmswitchd is not running")?;
        let status = process.terminate(PATIENCE)?;
        ensure!(status.success(), "vmswitchd ended with {status}; its log:\n{}", process.log());
        Ok(())
    }

    /// Stops it and starts it again on the same state.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }
}

/// `setpriv` for a user that has nothing: no group, no capability, and none to be had.
fn become_user(user: &u32) -> [String; 6] {
    let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
    let fixed = |argument: &str| argument.to_owned();
    let nothing = ["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"].map(fixed);
    let [groups, inherited, bound] = nothing;
    [fixed("setpriv"), user, group, groups, inherited, bound]
}

/// Gives the directory to a user, with a copy of the programs: the build may be where only root gets to.
fn hand_over(binaries: &Binaries, dir: &Path, user: u32) -> Result<Binaries> {
    for program in [binaries.daemon(), binaries.cli()] {
        let name = program.file_name().context("a program has a name")?;
        std::fs::copy(&program, dir.join(name))?;
    }
    std::os::unix::fs::chown(dir, Some(user), Some(user))?;
    Binaries::in_folder(dir)
}
