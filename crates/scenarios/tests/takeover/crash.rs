//! vmswitchd is killed at every system call by which a take-over, a give-back or a conversion changes the world, and
//! started again: the host is then in one of two whole states, never in between.
//!
//! Which calls those are is not guessed: strace records one undisturbed run, and each call in it that changes something
//! is a place to die at in a run of its own.

use crate::confirm::{deadline, wait_until_past};
use crate::state::Before;
use anyhow::{Context, Result, ensure};
use lab::{Call, Daemon, Fate, KillAt, Place, Strace, World};
use std::collections::BTreeSet;

const ADD: &[&str] = &["switch", "add", "lan", "--external", "nic0"];
const REMOVE: &[&str] = &["switch", "remove", "lan"];
const TO_INTERNAL: &[&str] = &["switch", "set", "lan", "--internal"];
const TO_EXTERNAL: &[&str] = &["switch", "set", "lan", "--external", "nic0"];

/// What changes the kernel's network settings or files.
const CALLS: &[&str] =
    &["sendto", "sendmsg", "ioctl", "write", "rename", "renameat2", "unlink", "unlinkat", "fsync"];

/// A world, its host's daemon, and what the host had on its NIC before.
struct Stage {
    world: World,
    daemon: Daemon,
    before: Before,
}

impl Stage {
    fn new() -> Result<Stage> {
        let world = World::new()?;
        let host = &world.host;
        host.ip("route add default via 10.9.0.3 dev nic0 metric 50 src 10.9.0.1")?;
        host.ip("-6 route add default via fd00:9::3 dev nic0 metric 60")?;
        host.ip("route add 10.77.0.0/16 via 10.9.0.3 dev nic0 table 100")?;
        host.ip("neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 nud permanent dev nic0")?;
        let (before, daemon) = (Before::of(host)?, Daemon::start(host)?);
        Ok(Stage { world, daemon, before })
    }

    fn kind(&self) -> Result<Option<String>> {
        let switches = self.daemon.cli_json(&["switch", "list"])?;
        Ok(switches[0]["kind"].as_str().map(str::to_owned))
    }

    /// The host is in one of the whole states, and the switch's kind says in which.
    fn expect_whole(&self) -> Result<()> {
        match self.kind()?.as_deref() {
            Some("external") => self.before.expect_bound(&self.world, &self.daemon),
            Some("internal") => {
                let host = self.daemon.cli_json(&["port", "show", "lan/host"])?;
                ensure!(host["state"] == "up", "{host}");
                self.before.expect_free(&self.world)
            }
            _ => self.before.expect_gone(&self.world, &self.daemon),
        }
    }

    /// Brings the switch to the given kind in the ordinary way.
    fn bring_to(&self, kind: Option<&str>) -> Result<()> {
        let now = self.kind()?;
        if now.as_deref() == kind {
            return Ok(());
        }
        if now.is_some() {
            self.daemon.cli_ok(REMOVE)?;
            self.before.expect_gone(&self.world, &self.daemon)?;
        }
        match kind {
            Some("external") => self.daemon.cli_ok(ADD).map(drop),
            Some(_) => self.daemon.cli_ok(&["switch", "add", "lan", "--internal"]).map(drop),
            None => Ok(()),
        }
    }

    /// The calls of an undisturbed run that change something.
    fn record(&self, command: &[&str]) -> Result<BTreeSet<Place>> {
        let strace = Strace::record(self.daemon.id()?, CALLS)?;
        self.daemon.cli_ok(command)?;
        let calls = strace.detach()?;
        let places = calls.iter().filter(|call| changes_something(call, &self.daemon));
        Ok(places.map(|call| call.place.clone()).collect())
    }

    /// Dies at one call of the command.
    fn die_at(&mut self, command: &[&str], place: &Place) -> Result<()> {
        let strace = Strace::inject(self.daemon.id()?, place, Fate::Kill)?;
        // What it answers, if it does, is no matter.
        self.daemon.cli(command)?;
        strace.wait_for_end()?;
        ensure!(self.daemon.ended()?.is_some(), "vmswitchd lived on");
        Ok(())
    }

    /// Starts, but is killed at call 1 of that name, then at call 3, and so on until it lives to serve. (Every change is
    /// two calls at least: one that finds the interface and one that changes it.) Returns how often it was killed.
    fn recover_dying(&mut self, call: &str) -> Result<u32> {
        for killed in 0.. {
            let at = KillAt { syscall: call.to_owned(), nth: 2 * killed + 1 };
            if self.daemon.launch_to_die(&at)? {
                self.daemon.kill9()?;
                self.daemon.launch()?;
                return Ok(killed);
            }
        }
        unreachable!("it lives before the numbers end")
    }
}

fn changes_something(call: &Call, daemon: &Daemon) -> bool {
    let state_dir = daemon.state_dir().display().to_string();
    match call.place.name.as_str() {
        "sendto" | "sendmsg" => call.text.contains("nlmsg_type=RTM_") && !call.text.contains("RTM_GET"),
        "ioctl" => call.text.contains("TUNSET") || call.text.contains("SIOCS"),
        "write" => call.text.contains("/proc/sys/net") || call.text.contains(&state_dir),
        _ => true,
    }
}

/// Dies at every place of a command that starts with the switch being of kind `from`.
fn die_everywhere(from: Option<&str>, command: &[&str]) -> Result<()> {
    let mut stage = Stage::new()?;
    stage.bring_to(from)?;
    let places = stage.record(command)?;
    stage.expect_whole()?;
    ensure!(places.len() > 20, "too few places to die at: {places:?}");
    for place in &places {
        let at = || format!("killed at {place:?}; log:\n{}", stage_log(&stage));
        stage.bring_to(from).with_context(at)?;
        let died = stage.die_at(command, place).and_then(|()| {
            stage.daemon.launch()?;
            stage.expect_whole()
        });
        died.with_context(|| format!("killed at {place:?}; log:\n{}", stage_log(&stage)))?;
    }
    println!("{command:?}: killed at {} places", places.len());
    stage.bring_to(Some("external"))?;
    stage.expect_whole()?;
    stage.bring_to(None)?;
    stage.before.expect_gone(&stage.world, &stage.daemon)
}

fn stage_log(stage: &Stage) -> String {
    let log = stage.daemon.log();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(120)..].join("\n")
}

#[test]
fn root_a_take_over_that_is_killed_at_any_step_ends_whole() -> Result<()> {
    die_everywhere(None, ADD)
}

#[test]
fn root_a_give_back_that_is_killed_at_any_step_ends_whole() -> Result<()> {
    die_everywhere(Some("external"), REMOVE)
}

#[test]
fn root_a_conversion_to_internal_that_is_killed_at_any_step_ends_whole() -> Result<()> {
    die_everywhere(Some("external"), TO_INTERNAL)
}

#[test]
fn root_a_conversion_to_external_that_is_killed_at_any_step_ends_whole() -> Result<()> {
    die_everywhere(Some("internal"), TO_EXTERNAL)
}

/// Dies in the middle of a command, and in each start that recovers from that.
fn die_again(from: Option<&str>, command: &[&str]) -> Result<()> {
    let mut stage = Stage::new()?;
    stage.bring_to(from)?;
    let places: Vec<_> = stage.record(command)?.into_iter().filter(|place| place.name == "sendto").collect();
    stage.bring_to(from)?;
    let place = &places[places.len() / 2];
    stage.die_at(command, place)?;
    let killed = stage.recover_dying("sendto")?;
    println!("{command:?}: killed at {place:?} and {killed} times while recovering");
    ensure!(killed > 10, "killed only {killed} times");
    stage.expect_whole().with_context(|| stage_log(&stage))?;
    stage.bring_to(None)?;
    stage.before.expect_gone(&stage.world, &stage.daemon)
}

#[test]
fn root_a_recovery_of_a_take_over_that_is_killed_again_and_again_ends_whole() -> Result<()> {
    die_again(None, ADD)
}

#[test]
fn root_a_recovery_of_a_give_back_that_is_killed_again_and_again_ends_whole() -> Result<()> {
    die_again(Some("external"), REMOVE)
}

#[test]
fn root_a_roll_back_that_is_killed_again_and_again_confirms_nothing() -> Result<()> {
    let mut stage = Stage::new()?;
    for call in ["sendto", "rename", "unlink", "fsync"] {
        stage.daemon.cli_ok(&[ADD, &["--confirm", "1s"]].concat())?;
        stage.daemon.kill9()?;
        wait_until_past(deadline(&stage.daemon)?)?;
        let killed = stage.recover_dying(call)?;
        ensure!(killed > 0, "not once killed at {call}");
        let gone = stage.before.expect_gone(&stage.world, &stage.daemon);
        gone.with_context(|| format!("killed {killed} times at {call}; log:\n{}", stage_log(&stage)))?;
    }
    Ok(())
}

/// How a call fails where the machine has run out of something.
fn failure_of(call: &str) -> &'static str {
    match call {
        "sendto" | "sendmsg" => "ENOBUFS",
        "ioctl" => "EPERM",
        "fsync" => "EIO",
        _ => "ENOSPC",
    }
}

#[test]
fn root_a_take_over_in_which_any_step_fails_is_refused_and_undone() -> Result<()> {
    let mut stage = Stage::new()?;
    let places = stage.record(ADD)?;
    stage.bring_to(None)?;
    for place in &places {
        let call = place.name.as_str();
        let strace = Strace::inject(stage.daemon.id()?, place, Fate::Fail(failure_of(call)))?;
        let done = stage.daemon.cli(ADD)?;
        strace.detach()?;
        let mut undone = match done.code() {
            1 => stage.before.expect_gone(&stage.world, &stage.daemon),
            // A TAP may have fewer offloads.
            0 if call == "ioctl" => stage.expect_whole().and_then(|()| stage.bring_to(None)),
            other => Err(anyhow::anyhow!("exit status {other}: {}{}", done.stdout, done.stderr)),
        };
        if undone.is_ok() && matches!(call, "fsync" | "rename" | "write") {
            stage.daemon.restart()?;
            undone = stage.before.expect_gone(&stage.world, &stage.daemon).context("after a restart");
        }
        undone.with_context(|| format!("{place:?} failed; log:\n{}", stage_log(&stage)))?;
    }
    println!("{} calls failed, one at a time", places.len());
    stage.bring_to(Some("external"))?;
    stage.expect_whole()?;
    stage.bring_to(None)?;
    stage.before.expect_gone(&stage.world, &stage.daemon)
}
