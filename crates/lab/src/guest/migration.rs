//! Moving a running guest from one QEMU to another, and QEMU's monitor, by which it is asked to.
//!
//! Both QEMUs must be started alike but for where their NICs are connected. The memory goes through a unix socket, which
//! is reached from every network namespace.

use super::console::Console;
use super::{Guest, GuestOptions, image, qemu};
use crate::namespace::Namespace;
use crate::process::Process;
use crate::run::{patience, wait_until};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const MIGRATION_LIMIT: Duration = Duration::from_secs(120);

impl GuestOptions {
    pub(super) fn monitor_arguments(&self) -> Vec<String> {
        let argument = |socket: &PathBuf| format!("unix:{},server=on,wait=off", socket.display());
        self.monitor.iter().flat_map(|socket| ["-qmp".to_owned(), argument(socket)]).collect()
    }

    /// How much memory the guest has. One that can be moved has a little less, so that it is no multiple of 256 KiB: of
    /// memory that is, QEMU before 9.0 under TCG forgets pages that the guest writes to while it is moved. (It reads its
    /// own dirty bitmap in whole words then, and does not have further writes to these pages set bits again.)
    pub(super) fn memory_kib(&self) -> u32 {
        1024 * self.memory_mib - if self.monitor.is_some() { 8 } else { 0 }
    }
}

impl Guest {
    /// Starts a QEMU to which a guest with these options moves, through the socket `from`. What the guest answers to
    /// commands from then on comes here.
    pub fn await_migration(namespace: &Namespace, options: &GuestOptions, from: &Path) -> Result<Guest> {
        let dir = crate::temp_dir()?;
        let mut command = qemu(namespace, options, &image::prepare(options.kernel)?);
        command.args(["-incoming", &uri(from)]);
        let (process, stdin, stdout) = Process::spawn_piped(&mut command, &dir.path().join("log"))?;
        let guest = Guest { console: Console::new(stdin, stdout), process, _huge_pages: None, _dir: dir };
        wait_until("socket of the QEMU that a guest is to move to", PATIENCE, || Ok(from.exists()))
            .with_context(|| format!("QEMU said: {}", guest.process.log()))?;
        Ok(guest)
    }
}

fn uri(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

/// What QEMU says of a migration that was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// How long the guest stood still, as the QEMU that it left reckons.
    pub downtime: Duration,
    /// From the request to the end.
    pub total: Duration,
    /// Rounds in which pages were sent that had been written to meanwhile.
    pub rounds: u64,
}

/// A connection to QEMU's monitor (QMP).
#[derive(Debug)]
pub struct Monitor {
    stream: BufReader<UnixStream>,
    events: Vec<Value>,
}

impl Monitor {
    /// Connects to a QEMU that was started with [`GuestOptions::monitor`].
    pub fn connect(socket: &Path) -> Result<Monitor> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("no QEMU at {}", socket.display()))?;
        stream.set_read_timeout(Some(patience(PATIENCE)))?;
        let mut monitor = Monitor { stream: BufReader::new(stream), events: Vec::new() };
        monitor.read()?;
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Has a command executed; what it returns.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(self.stream.get_mut(), "{request}")?;
        loop {
            let mut message = self.read()?;
            if message["event"].is_string() {
                self.events.push(message);
                continue;
            }
            ensure!(message["error"].is_null(), "QEMU: {command}: {}", message["error"]);
            return Ok(message["return"].take());
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.stream.read_line(&mut line).context("QEMU's monitor does not answer")?;
        serde_json::from_str(&line).with_context(|| format!("QEMU's monitor said {line:?}"))
    }

    /// When an event was last seen, since 1970; those are seen that came before the answer to the last command.
    pub fn event(&self, name: &str) -> Option<Duration> {
        let event = self.events.iter().rfind(|event| event["event"] == name)?;
        let part = |unit: &str| event["timestamp"][unit].as_u64();
        Some(Duration::from_secs(part("seconds")?) + Duration::from_micros(part("microseconds")?))
    }

    /// Whether the guest runs, is paused, has moved away …: QEMU's own word.
    pub fn status(&mut self) -> Result<String> {
        let answer = self.execute("query-status", json!({}))?;
        Ok(answer["status"].as_str().context("a guest has a status")?.to_owned())
    }

    /// Moves the guest to a QEMU that waits for it, and waits until it has left.
    pub fn migrate(&mut self, to: &Path) -> Result<Migrated> {
        self.execute("migrate", json!({"uri": uri(to)}))?;
        let mut told = Value::Null;
        wait_until("end of the migration", MIGRATION_LIMIT, || {
            told = self.execute("query-migrate", json!({}))?;
            match told["status"].as_str() {
                Some("completed") => Ok(true),
                Some("failed" | "cancelled") => bail!("the migration failed: {told}"),
                _ => Ok(false),
            }
        })
        .with_context(|| format!("QEMU: {told}"))?;
        let time = |name: &str| told[name].as_u64().map(Duration::from_millis);
        let rounds = told["ram"]["dirty-sync-count"].as_u64();
        let found = time("downtime").zip(time("total-time")).zip(rounds);
        let ((downtime, total), rounds) = found.with_context(|| format!("QEMU: {told}"))?;
        Ok(Migrated { downtime, total, rounds })
    }

    /// Writes the guest's memory into a file, from its first byte on.
    pub fn save_memory(&mut self, file: &Path) -> Result<()> {
        let size = self.execute("query-memory-size-summary", json!({}))?["base-memory"].take();
        self.execute("pmemsave", json!({"val": 0, "size": size, "filename": file}))?;
        Ok(())
    }
}
