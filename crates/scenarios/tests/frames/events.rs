//! What `vmswitch events` tells while a test runs.

use crate::lan::Lan;
use anyhow::{Context, Result};
use lab::{Binaries, Process, wait_until};
use serde_json::Value;
use std::cell::Cell;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// `vmswitch events`, running.
pub struct Events {
    process: Process,
    marks: Cell<u32>,
}

impl Events {
    /// Follows from now on.
    pub fn follow(lan: &Lan) -> Result<Events> {
        let mut command = Command::new(Binaries::find()?.cli());
        command.arg("--socket").arg(lan.daemon.socket()).args(["--json", "events"]);
        let process = Process::spawn(&mut command, &lan.daemon.scratch().join("events"))?;
        let events = Events { process, marks: Cell::new(0) };
        // It prints nothing until something happens.
        wait_until("the first event", PATIENCE, || events.mark(lan))?;
        Ok(events)
    }

    /// Makes something happen; whether it is told of yet.
    fn mark(&self, lan: &Lan) -> Result<bool> {
        let told = self.of("switch-changed")?.len();
        // Another each time, for setting what is set is no change; the first is other than the default.
        self.marks.set(self.marks.get() + 1);
        let ageing = format!("{}m", 5 + self.marks.get());
        lan.daemon.cli_ok(&["switch", "set", "lan", "--ageing", &ageing])?;
        Ok(self.of("switch-changed")?.len() > told)
    }

    /// Waits for that many events of that kind; all there are of it, without what differs from run to run.
    pub fn wait_for(&self, lan: &Lan, kind: &str, count: usize) -> Result<Vec<Value>> {
        wait_until(kind, PATIENCE, || Ok(self.of(kind)?.len() >= count))?;
        // What was told before this mark has been read when the mark has.
        wait_until("the last event", PATIENCE, || self.mark(lan))?;
        let mut found = self.of(kind)?;
        for event in found.iter_mut().filter_map(Value::as_object_mut) {
            event.remove("id").context("an event has a number")?;
            event.remove("time_ms").context("an event has a time")?;
        }
        Ok(found)
    }

    fn of(&self, kind: &str) -> Result<Vec<Value>> {
        let log = self.process.log();
        // The last line may be half written.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let events = whole.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
        Ok(events.into_iter().filter(|event| event["event"] == kind).collect())
    }
}
