//! A world with a daemon, and everything of it that a refusal must leave as it is.

use anyhow::{Context, Result, ensure};
use lab::{Daemon, DaemonOptions, Snapshot, World, output, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the host looks like: interfaces, addresses, routes, filters, and the kernel's settings of each interface.
const HOST: &str = "ip -j link; ip -j addr; ip -j route show table all; ip -6 -j route show table all; ip -j rule; \
    ip -j neigh show nud permanent; tc qdisc show; \
    for d in $(ls /sys/class/net); do tc filter show dev $d ingress; done; \
    grep -rs '' /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf; true";

/// curl's argument for a JSON body.
pub const JSON: &str = "-HContent-Type: application/json";

/// The host, the files, the state: text by name.
pub type Traces = BTreeMap<String, String>;

/// A refusal over REST.
#[derive(Debug)]
pub struct Problem {
    pub status: u16,
    pub kind: String,
    pub detail: String,
}

/// A world with a daemon.
#[derive(Debug)]
pub struct Stage {
    pub world: World,
    pub daemon: Daemon,
    host_at_first: String,
}

impl Stage {
    pub fn new() -> Result<Stage> {
        Self::of(World::new()?)
    }

    /// The daemon has not started yet when the host is looked at.
    pub fn of(world: World) -> Result<Stage> {
        let host_at_first = resting_host(&world)?;
        let mut daemon = Daemon::prepare(&world.host, DaemonOptions::default())?;
        daemon.launch()?;
        Ok(Stage { world, daemon, host_at_first })
    }

    /// What was done to the host on purpose is as it should be in the end, too.
    pub fn prepare(&mut self, commands: &[&str]) -> Result<()> {
        commands.iter().try_for_each(|command| self.world.host.ip(command).map(drop))?;
        self.host_at_first = resting_host(&self.world)?;
        Ok(())
    }

    /// Everything that a refusal must leave as it is.
    pub fn traces(&self) -> Result<Traces> {
        let mut traces = files(self.daemon.scratch())?;
        traces.insert("host".into(), host(&self.world)?);
        traces.insert("export".into(), self.daemon.cli_ok(&["export"])?);
        Ok(traces)
    }

    /// A command that has to be refused: exit status, every part of the message, and nothing changed.
    pub fn refused(&self, status: i32, command: &str, parts: &[&str]) -> Result<String> {
        let args: Vec<_> = command.split_whitespace().collect();
        let before = self.traces()?;
        let message = self.daemon.cli_refused(status, &args)?;
        says(&message, parts).with_context(|| format!("vmswitch {command}"))?;
        same(&before, &self.traces()?).with_context(|| format!("vmswitch {command}"))?;
        Ok(message)
    }

    /// A request that has to be refused with a problem document; nothing changed.
    pub fn problem(&self, method: &str, path: &str, body: &Value) -> Result<Problem> {
        let before = self.traces()?;
        let problem = self.send(method, path, &[JSON, "-d", &body.to_string()])?;
        same(&before, &self.traces()?).with_context(|| format!("{method} {path} {body}"))?;
        Ok(problem)
    }

    /// As [`Stage::problem`], with curl's own arguments and without a look at what changed.
    pub fn send(&self, method: &str, path: &str, args: &[&str]) -> Result<Problem> {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-m", "20", "-w", "\n%{http_code} %{content_type}", "-X", method, "--unix-socket"]);
        curl.arg(self.daemon.socket()).args(args);
        let done = output(curl.arg(format!("http://vmswitch{path}")))?;
        let (body, line) = done.stdout.rsplit_once('\n').context("curl printed nothing")?;
        let (status, kind) = line.split_once(' ').with_context(|| format!("no status in {line:?}"))?;
        ensure!(kind == "application/problem+json", "{method} {path}: {line}: {body}");
        problem(status.parse()?, &serde_json::from_str(body)?)
    }

    /// Removes every switch, and expects the host to be as at first: with nothing of vmswitch left on it or on disk.
    /// Before that, the frames of each switch have to add up.
    pub fn finish(mut self) -> Result<()> {
        for switch in self.daemon.cli_json(&["switch", "list"])?.as_array().context("a list")? {
            let name = switch["name"].as_str().context("a name")?;
            Snapshot::take(&self.daemon, name)?;
            self.daemon.cli_ok(&["switch", "remove", name])?;
        }
        unchanged(&self.host_at_first, &host(&self.world)?).context("in the end")?;
        self.daemon.stop()?;
        for place in ["state/takeovers", "state/attachments", "state/pending", "run/vhost"] {
            let left = list(&self.daemon.scratch().join(place))?;
            ensure!(left.is_empty(), "left in {place}: {left:?}");
        }
        ensure!(!self.daemon.socket().exists(), "the API's socket is left");
        Ok(())
    }
}

/// What the host's namespace looks like.
pub fn host(world: &World) -> Result<String> {
    Ok(operable(&world.host.exec(&["sh", "-c", HOST])?))
}

/// A TAP's carrier is away while the daemon is. Whether the kernel noticed decides whether it says UP afterwards, or
/// still UNKNOWN, as of an interface that never told of its carrier; both mean that frames pass.
pub fn operable(links: &str) -> String {
    links.replace(r#""operstate":"UNKNOWN""#, r#""operstate":"UP""#)
}

/// The same once the kernel is done with addresses and carriers that came or went.
pub fn resting_host(world: &World) -> Result<String> {
    let mut last = host(world)?;
    wait_until("rest of the host", Duration::from_secs(10), || {
        std::thread::sleep(Duration::from_millis(50));
        let resting = host(world)?;
        Ok(std::mem::replace(&mut last, resting.clone()) == resting && !resting.contains("\"tentative\""))
    })?;
    Ok(last)
}

/// Fails where the host is not as it was.
pub fn unchanged(before: &str, after: &str) -> Result<()> {
    ensure!(before == after, "the host changed: {}", differ(before, after));
    Ok(())
}

/// Fails unless the text has every part.
pub fn says(message: &str, parts: &[&str]) -> Result<()> {
    let missing: Vec<_> = parts.iter().filter(|part| !message.contains(**part)).collect();
    ensure!(missing.is_empty(), "no {missing:?} in: {message}");
    Ok(())
}

/// Fails where something changed, and says what.
pub fn same(before: &Traces, after: &Traces) -> Result<()> {
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for name in names {
        let text = |traces: &Traces| traces.get(name).cloned().unwrap_or_else(|| "(not there)".into());
        let (before, after) = (text(before), text(after));
        ensure!(before == after, "{name} changed: {}", differ(&before, &after));
    }
    Ok(())
}

fn differ(before: &str, after: &str) -> String {
    let lines = |a: &str, b: &str, mark: char| -> String {
        a.lines().filter(|l| !b.lines().any(|other| other == *l)).map(|l| format!("\n{mark} {l}")).collect()
    };
    lines(before, after, '-') + &lines(after, before, '+')
}

fn problem(status: u16, document: &Value) -> Result<Problem> {
    let text =
        |key: &str| document[key].as_str().map(str::to_owned).with_context(|| format!("{key}: {document}"));
    ensure!(document["status"] == status, "status {status}, but {document}");
    ensure!(!text("title")?.is_empty(), "no title: {document}");
    let kind = text("type")?.strip_prefix("/problems/").map(str::to_owned);
    Ok(Problem { status, kind: kind.with_context(|| format!("type: {document}"))?, detail: text("detail")? })
}

impl Problem {
    /// Fails unless it is of this status and kind and has every part.
    pub fn expect(&self, status: u16, kind: &str, parts: &[&str]) -> Result<()> {
        ensure!((self.status, self.kind.as_str()) == (status, kind), "not {status} {kind}: {self:?}");
        says(&self.detail, parts)
    }
}

/// Every file below a directory with its content; of sockets and of the log only that they are there.
pub fn files(dir: &Path) -> Result<Traces> {
    let mut found = Traces::new();
    for path in list(dir)? {
        let name = path.display().to_string();
        let kind = path.symlink_metadata()?.file_type();
        if kind.is_dir() {
            found.append(&mut files(&path)?);
        } else if kind.is_file() && !path.ends_with("log") {
            let bytes = std::fs::read(&path)?;
            found.insert(name, String::from_utf8_lossy(&bytes).into_owned());
        } else {
            found.insert(name, "(there)".into());
        }
    }
    Ok(found)
}

fn list(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    Ok(entries.collect::<std::io::Result<Vec<_>>>()?.into_iter().map(|entry| entry.path()).collect())
}
