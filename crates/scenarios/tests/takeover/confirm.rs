//! What nobody confirms is put back.

use crate::state::{PATIENCE, Site, expect_hostless};
use anyhow::{Context, Result, ensure};
use lab::{Daemon, wait_until};
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// So long that what is looked at before it ends has been looked at.
const CONFIRM: [&str; 2] = ["--confirm", "10s"];

/// By when the daemon has seen that a time is over.
const SEEN: Duration = Duration::from_secs(1);

/// Until when `lan` may be confirmed, as the daemon wrote it down.
fn deadline(daemon: &Daemon) -> Result<SystemTime> {
    let text = std::fs::read_to_string(pending(daemon))?;
    let pending: Value = serde_json::from_str(&text)?;
    let seconds = pending["confirm_by_s"].as_u64().context("no deadline")?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Ends the time to confirm of a daemon that does not run: that it ends while one does is tested by itself.
pub fn end_time(daemon: &Daemon) -> Result<()> {
    let mut text: Value = serde_json::from_str(&std::fs::read_to_string(pending(daemon))?)?;
    text["confirm_by_s"] = 1.into();
    Ok(std::fs::write(pending(daemon), text.to_string())?)
}

fn pending(daemon: &Daemon) -> PathBuf {
    daemon.state_dir().join("pending/lan.json")
}

fn wait_until_past(deadline: SystemTime) -> Result<()> {
    wait_until("end of the time to confirm", PATIENCE, || Ok(SystemTime::now() > deadline))
}

fn wait_for_roll_back(daemon: &Daemon) -> Result<()> {
    wait_until("roll-back", PATIENCE, || Ok(!pending(daemon).exists()))
}

#[test]
fn root_a_switch_that_nobody_confirms_is_put_back() -> Result<()> {
    let site = Site::new()?;
    site.add_switch(&CONFIRM)?;
    site.expect_bound()?;
    ensure!(site.daemon.cli_json(&["switch", "show", "lan"])?["confirm_within_s"].is_u64());
    wait_for_roll_back(&site.daemon)?;
    site.expect_gone()
}

#[test]
fn root_a_switch_that_is_confirmed_stays_also_through_a_crash() -> Result<()> {
    let mut site = Site::new()?;
    site.add_switch(&CONFIRM)?;
    let deadline = deadline(&site.daemon)?;
    site.daemon.cli_ok(&["switch", "confirm", "lan"])?;
    ensure!(site.daemon.cli_json(&["switch", "show", "lan"])?["confirm_within_s"].is_null());
    let twice = site.daemon.cli_refused(1, &["switch", "confirm", "lan"])?;
    ensure!(twice.contains("kept already"), "{twice}");
    wait_until_past(deadline + SEEN)?;
    site.expect_bound()?;
    site.daemon.kill9()?;
    site.daemon.launch()?;
    site.expect_bound()?;
    site.remove_switch()
}

#[test]
fn root_a_crash_before_the_end_of_the_time_confirms_nothing() -> Result<()> {
    let mut site = Site::new()?;
    site.add_switch(&CONFIRM)?;
    site.daemon.kill9()?;
    wait_until_past(deadline(&site.daemon)?)?;
    site.daemon.launch()?;
    site.expect_gone()
}

#[test]
fn root_a_switch_can_be_confirmed_after_a_crash_in_time() -> Result<()> {
    let mut site = Site::new()?;
    site.add_switch(&["--confirm", "60s"])?;
    site.daemon.kill9()?;
    site.daemon.launch()?;
    site.expect_bound()?;
    ensure!(site.daemon.cli_json(&["switch", "show", "lan"])?["confirm_within_s"].is_u64());
    site.daemon.cli_ok(&["switch", "confirm", "lan"])?;
    site.daemon.restart()?;
    site.expect_bound()?;
    site.remove_switch()
}

#[test]
fn root_a_conversion_that_nobody_confirms_is_put_back() -> Result<()> {
    let site = Site::new()?;
    site.add_switch(&[])?;
    site.daemon.cli_ok(&[&["switch", "set", "lan", "--internal"], &CONFIRM[..]].concat())?;
    site.expect_free()?;
    ensure!(site.daemon.cli_json(&["switch", "show", "lan"])?["kind"] == "internal");
    wait_for_roll_back(&site.daemon)?;
    ensure!(site.daemon.cli_json(&["switch", "show", "lan"])?["kind"] == "external");
    site.expect_bound()?;
    site.remove_switch()
}

#[test]
fn root_a_host_without_its_vnic_gets_it_back_unless_somebody_confirms() -> Result<()> {
    let site = Site::new()?;
    site.add_switch(&[])?;
    site.daemon.cli_ok(&[&["switch", "set", "lan", "--host", "off"], &CONFIRM[..]].concat())?;
    expect_hostless(&site.world, &site.daemon)?;
    wait_for_roll_back(&site.daemon)?;
    site.expect_bound()
}

#[test]
fn root_removing_a_switch_that_waits_to_be_confirmed_ends_the_waiting() -> Result<()> {
    let site = Site::new()?;
    site.add_switch(&CONFIRM)?;
    let deadline = deadline(&site.daemon)?;
    site.remove_switch()?;
    site.add_switch(&[])?;
    wait_until_past(deadline + SEEN)?;
    site.expect_bound()
}
