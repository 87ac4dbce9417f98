//! What nobody confirms is put back.

use crate::state::{Before, PATIENCE, expect_hostless};
use anyhow::{Context, Result, ensure};
use lab::{Daemon, NIC, World, wait_until};
use std::time::{Duration, SystemTime};

const ADD: [&str; 7] = ["switch", "add", "lan", "--external", NIC, "--confirm", "6s"];

/// By when the daemon has seen that a time is over.
const SEEN: Duration = Duration::from_secs(1);

fn stage() -> Result<(World, Before, Daemon)> {
    let world = World::new()?;
    let (before, daemon) = (Before::of(&world.host)?, Daemon::start(&world.host)?);
    Ok((world, before, daemon))
}

/// Until when `lan` may be confirmed, as the daemon wrote it down.
pub fn deadline(daemon: &Daemon) -> Result<SystemTime> {
    let text = std::fs::read_to_string(daemon.state_dir().join("pending/lan.json"))?;
    let pending: serde_json::Value = serde_json::from_str(&text)?;
    let seconds = pending["confirm_by_s"].as_u64().context("no deadline")?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

pub fn wait_until_past(deadline: SystemTime) -> Result<()> {
    wait_until("end of the time to confirm", PATIENCE, || Ok(SystemTime::now() > deadline))
}

fn wait_for_roll_back(daemon: &Daemon) -> Result<()> {
    let pending = daemon.state_dir().join("pending/lan.json");
    wait_until("roll-back", PATIENCE, || Ok(!pending.exists()))
}

#[test]
fn root_a_switch_that_nobody_confirms_is_put_back() -> Result<()> {
    let (world, before, daemon) = stage()?;
    daemon.cli_ok(&ADD)?;
    before.expect_bound(&world, &daemon)?;
    ensure!(daemon.cli_json(&["switch", "show", "lan"])?["confirm_within_s"].is_u64());
    wait_for_roll_back(&daemon)?;
    before.expect_gone(&world, &daemon)
}

#[test]
fn root_a_switch_that_is_confirmed_stays_also_through_a_crash() -> Result<()> {
    let (world, before, mut daemon) = stage()?;
    daemon.cli_ok(&ADD)?;
    let deadline = deadline(&daemon)?;
    daemon.cli_ok(&["switch", "confirm", "lan"])?;
    ensure!(daemon.cli_json(&["switch", "show", "lan"])?["confirm_within_s"].is_null());
    let twice = daemon.cli_refused(1, &["switch", "confirm", "lan"])?;
    ensure!(twice.contains("kept already"), "{twice}");
    wait_until_past(deadline + SEEN)?;
    before.expect_bound(&world, &daemon)?;
    daemon.kill9()?;
    daemon.launch()?;
    before.expect_bound(&world, &daemon)?;
    daemon.cli_ok(&["switch", "remove", "lan"])?;
    before.expect_gone(&world, &daemon)
}

#[test]
fn root_a_crash_before_the_end_of_the_time_confirms_nothing() -> Result<()> {
    let (world, before, mut daemon) = stage()?;
    daemon.cli_ok(&ADD)?;
    daemon.kill9()?;
    wait_until_past(deadline(&daemon)?)?;
    daemon.launch()?;
    before.expect_gone(&world, &daemon)
}

#[test]
fn root_a_switch_can_be_confirmed_after_a_crash_in_time() -> Result<()> {
    let (world, before, mut daemon) = stage()?;
    let mut add = ADD;
    add[6] = "60s";
    daemon.cli_ok(&add)?;
    daemon.kill9()?;
    daemon.launch()?;
    before.expect_bound(&world, &daemon)?;
    ensure!(daemon.cli_json(&["switch", "show", "lan"])?["confirm_within_s"].is_u64());
    daemon.cli_ok(&["switch", "confirm", "lan"])?;
    daemon.restart()?;
    before.expect_bound(&world, &daemon)?;
    daemon.cli_ok(&["switch", "remove", "lan"])?;
    before.expect_gone(&world, &daemon)
}

#[test]
fn root_a_conversion_that_nobody_confirms_is_put_back() -> Result<()> {
    let (world, before, daemon) = stage()?;
    daemon.cli_ok(&ADD[..5])?;
    daemon.cli_ok(&["switch", "set", "lan", "--internal", "--confirm", "6s"])?;
    before.expect_free(&world)?;
    ensure!(daemon.cli_json(&["switch", "show", "lan"])?["kind"] == "internal");
    wait_for_roll_back(&daemon)?;
    ensure!(daemon.cli_json(&["switch", "show", "lan"])?["kind"] == "external");
    before.expect_bound(&world, &daemon)?;
    daemon.cli_ok(&["switch", "remove", "lan"])?;
    before.expect_gone(&world, &daemon)
}

#[test]
fn root_a_host_without_its_vnic_gets_it_back_unless_somebody_confirms() -> Result<()> {
    let (world, before, daemon) = stage()?;
    daemon.cli_ok(&ADD[..5])?;
    daemon.cli_ok(&["switch", "set", "lan", "--host", "off", "--confirm", "2s"])?;
    expect_hostless(&world, &daemon)?;
    wait_for_roll_back(&daemon)?;
    before.expect_bound(&world, &daemon)
}

#[test]
fn root_removing_a_switch_that_waits_to_be_confirmed_ends_the_waiting() -> Result<()> {
    let (world, before, daemon) = stage()?;
    daemon.cli_ok(&ADD)?;
    let deadline = deadline(&daemon)?;
    daemon.cli_ok(&["switch", "remove", "lan"])?;
    before.expect_gone(&world, &daemon)?;
    daemon.cli_ok(&ADD[..5])?;
    wait_until_past(deadline + SEEN)?;
    before.expect_bound(&world, &daemon)
}
