//! vmswitchd is killed at every system call by which a take-over, a give-back, a conversion, or a host vNIC that comes or goes
//! changes the world, and started again: the host is then in one of the whole states, never in between.
//!
//! Which calls those are is not guessed: strace records one undisturbed run, and each call in it that changes something
//! is a place to die at in a run of its own.

use crate::confirm::end_time;
use crate::state::{Site, expect_hostless};
use anyhow::{Context, Result, ensure};
use lab::{Call, Daemon, Fate, KillAt, Place, Strace, World};
use std::collections::BTreeSet;

const ADD: &[&str] = &["switch", "add", "lan", "--external", "nic0"];
const REMOVE: &[&str] = &["switch", "remove", "lan"];
const TO_INTERNAL: &[&str] = &["switch", "set", "lan", "--internal"];
const TO_EXTERNAL: &[&str] = &["switch", "set", "lan", "--external", "nic0"];

const HOST_OFF: &[&str] = &["switch", "set", "lan", "--host", "off"];
const HOST_ON: &[&str] = &["switch", "set", "lan", "--host", "on"];

/// What changes the kernel's network settings or files.
const CALLS: &[&str] =
    &["sendto", "sendmsg", "ioctl", "write", "rename", "renameat2", "unlink", "unlinkat", "fsync"];

/// What the switch is, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    External,
    /// External, without a host vNIC.
    Hostless,
    Internal,
    Gone,
}

fn site() -> Result<Site> {
    let world = World::new()?;
    let host = &world.host;
    host.ip("route add default via 10.9.0.3 dev nic0 metric 50 src 10.9.0.1")?;
    host.ip("-6 route add default via fd00:9::3 dev nic0 metric 60")?;
    host.ip("route add 10.77.0.0/16 via 10.9.0.3 dev nic0 table 100")?;
    host.ip("neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 nud permanent dev nic0")?;
    Site::of(world)
}

impl Site {
    fn form(&self) -> Result<Form> {
        let switches = self.daemon.cli_json(&["switch", "list"])?;
        let has_host = switches[0]["ports"].as_array().is_some_and(|ports| ports.iter().any(|p| p == "host"));
        Ok(match switches[0]["kind"].as_str() {
            Some("external") if has_host => Form::External,
            Some("external") => Form::Hostless,
            Some(_) => Form::Internal,
            None => Form::Gone,
        })
    }

    /// The host is in one of the whole states, and the switch's form says in which.
    fn expect_whole(&self) -> Result<()> {
        match self.form()? {
            Form::External => self.expect_bound(),
            Form::Hostless => expect_hostless(&self.world, &self.daemon),
            Form::Internal => {
                let host = self.daemon.cli_json(&["port", "show", "lan/host"])?;
                ensure!(host["state"] == "up", "{host}");
                self.expect_free()
            }
            Form::Gone => self.expect_gone(),
        }
    }

    /// Brings the switch to a form in the ordinary way. What was kept of a host without a vNIC has to be there again, also after
    /// many a crash, so that is not made anew.
    fn bring_to(&self, form: Form) -> Result<()> {
        let run = |command: &[&str]| self.daemon.cli_ok(command).map(drop);
        match (self.form()?, form) {
            (now, _) if now == form => Ok(()),
            (_, Form::Gone) => self.remove_switch(),
            (Form::Hostless, Form::External) => run(HOST_ON),
            (Form::External, Form::Hostless) => run(HOST_OFF),
            (Form::Gone, Form::External) => run(ADD),
            (Form::Gone, Form::Internal) => run(&["switch", "add", "lan", "--internal"]),
            (_, Form::Hostless) => self.bring_to(Form::External).and_then(|()| self.bring_to(form)),
            _ => self.bring_to(Form::Gone).and_then(|()| self.bring_to(form)),
        }
    }

    /// After all of it, host and switch are as they should be.
    fn end(&self) -> Result<()> {
        self.bring_to(Form::External)?;
        self.expect_whole()?;
        self.bring_to(Form::Gone)?;
        self.expect_whole()
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

/// Dies at every place of a command that starts with the switch being of form `from`.
fn die_everywhere(from: Form, command: &[&str], least: usize) -> Result<()> {
    let mut site = site()?;
    site.bring_to(from)?;
    let places = site.record(command)?;
    site.expect_whole()?;
    ensure!(places.len() > least, "too few places to die at: {places:?}");
    for place in &places {
        let at = || format!("killed at {place:?}; log:\n{}", log_of(&site));
        site.bring_to(from).with_context(at)?;
        let died = site.die_at(command, place).and_then(|()| {
            site.daemon.launch()?;
            site.expect_whole()
        });
        died.with_context(|| format!("killed at {place:?}; log:\n{}", log_of(&site)))?;
    }
    println!("{command:?}: killed at {} places", places.len());
    site.end()
}

fn log_of(site: &Site) -> String {
    let log = site.daemon.log();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(120)..].join("\n")
}

#[test]
fn root_a_take_over_that_is_killed_at_any_step_ends_whole() -> Result<()> {
    die_everywhere(Form::Gone, ADD, 20)
}

#[test]
fn root_a_give_back_that_is_killed_at_any_step_ends_whole() -> Result<()> {
    die_everywhere(Form::External, REMOVE, 20)
}

#[test]
fn root_a_conversion_to_internal_that_is_killed_at_any_step_ends_whole() -> Result<()> {
    die_everywhere(Form::External, TO_INTERNAL, 20)
}

#[test]
fn root_a_conversion_to_external_that_is_killed_at_any_step_ends_whole() -> Result<()> {
    die_everywhere(Form::Internal, TO_EXTERNAL, 20)
}

#[test]
fn root_a_host_vnic_that_goes_is_there_or_not_wherever_that_is_killed() -> Result<()> {
    die_everywhere(Form::External, HOST_OFF, 10)
}

#[test]
fn root_a_host_vnic_that_comes_is_there_or_not_wherever_that_is_killed() -> Result<()> {
    die_everywhere(Form::Hostless, HOST_ON, 20)
}

/// Dies in the middle of a command, and in each start that recovers from that.
fn die_again(from: Form, command: &[&str]) -> Result<()> {
    let mut site = site()?;
    site.bring_to(from)?;
    let places: Vec<_> = site.record(command)?.into_iter().filter(|place| place.name == "sendto").collect();
    site.bring_to(from)?;
    let place = &places[places.len() / 2];
    site.die_at(command, place)?;
    let killed = site.recover_dying("sendto")?;
    println!("{command:?}: killed at {place:?} and {killed} times while recovering");
    ensure!(killed > 10, "killed only {killed} times");
    site.expect_whole().with_context(|| log_of(&site))?;
    site.end()
}

#[test]
fn root_a_recovery_of_a_take_over_that_is_killed_again_and_again_ends_whole() -> Result<()> {
    die_again(Form::Gone, ADD)
}

#[test]
fn root_a_recovery_of_a_give_back_that_is_killed_again_and_again_ends_whole() -> Result<()> {
    die_again(Form::External, REMOVE)
}

#[test]
fn root_a_recovery_of_a_host_vnic_that_came_is_killed_again_and_again_and_ends_whole() -> Result<()> {
    die_again(Form::Hostless, HOST_ON)
}

#[test]
fn root_a_roll_back_that_is_killed_again_and_again_confirms_nothing() -> Result<()> {
    let mut site = site()?;
    for call in ["sendto", "rename", "unlink", "fsync"] {
        site.daemon.cli_ok(&[ADD, &["--confirm", "600s"]].concat())?;
        site.daemon.kill9()?;
        end_time(&site.daemon)?;
        let killed = site.recover_dying(call)?;
        ensure!(killed > 0, "not once killed at {call}");
        let gone = site.expect_gone();
        gone.with_context(|| format!("killed {killed} times at {call}; log:\n{}", log_of(&site)))?;
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

/// Each step of a command fails, in a run of its own. The command is refused, and all is as before.
fn fail_everywhere(from: Form, command: &[&str]) -> Result<()> {
    let mut site = site()?;
    site.bring_to(from)?;
    let places = site.record(command)?;
    for place in &places {
        site.bring_to(from)?;
        let call = place.name.as_str();
        let strace = Strace::inject(site.daemon.id()?, place, Fate::Fail(failure_of(call)))?;
        let done = site.daemon.cli(command)?;
        strace.detach()?;
        let mut undone = match (done.code(), site.form()?) {
            (1, form) if form == from => site.expect_whole(),
            // A TAP may have fewer offloads.
            (0, _) if call == "ioctl" => site.expect_whole(),
            (other, form) => {
                Err(anyhow::anyhow!("exit status {other}, {form:?}: {}{}", done.stdout, done.stderr))
            }
        };
        if undone.is_ok() && matches!(call, "fsync" | "rename" | "write") {
            site.daemon.restart()?;
            undone = site.expect_whole().context("after a restart");
            ensure!(site.form()? == from, "{:?} after a restart", site.form()?);
        }
        undone.with_context(|| format!("{place:?} failed; log:\n{}", log_of(&site)))?;
    }
    println!("{command:?}: {} calls failed, one at a time", places.len());
    site.end()
}

#[test]
fn root_a_take_over_in_which_any_step_fails_is_refused_and_undone() -> Result<()> {
    fail_everywhere(Form::Gone, ADD)
}

#[test]
fn root_a_host_vnic_that_cannot_go_at_any_step_stays() -> Result<()> {
    fail_everywhere(Form::External, HOST_OFF)
}

#[test]
fn root_a_host_vnic_that_cannot_come_at_any_step_is_undone() -> Result<()> {
    fail_everywhere(Form::Hostless, HOST_ON)
}
