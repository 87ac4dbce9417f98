//! What nobody confirms is put back.

use crate::state::{PATIENCE, Site, expect_hostless};
use anyhow::{Context, Result, ensure};
use lab::vnic::Vnic;
use lab::{Daemon, NIC, Namespace, wait_until};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
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

/// Moves the switch to a second NIC.
fn move_away(site: &Site, confirm: &[&str]) -> Result<()> {
    site.world.plug("nic1", "02:00:00:09:00:11", "p11")?;
    let set = ["switch", "set", "lan", "--external", "nic1"];
    site.daemon.cli_ok(&[&set, confirm].concat()).map(drop)
}

fn uplink(daemon: &Daemon) -> Result<String> {
    let shown = daemon.cli_json(&["switch", "show", "lan"])?;
    Ok(shown["uplinks"][0].as_str().context("no uplink")?.to_owned())
}

#[test]
fn root_what_nobody_confirms_is_put_back_though_a_port_of_before_cannot_be_opened_any_more() -> Result<()> {
    let site = Site::new()?;
    let web = Namespace::new("web")?;
    site.add_switch(&[])?;
    site.daemon.cli_ok(&["port", "add", "lan", "web", "--netns", web.name()])?;
    move_away(&site, &CONFIRM)?;
    ensure!(uplink(&site.daemon)? == "nic1");
    site.daemon.cli_ok(&["port", "remove", "lan/web"])?;
    drop(web);
    wait_for_roll_back(&site.daemon)?;
    ensure!(uplink(&site.daemon)? == NIC);
    let shown = site.daemon.cli_json(&["port", "show", "lan/web"])?;
    ensure!(shown["state"] == "down", "{shown}");
    site.expect_bound()?;
    site.world.unplug("nic1")?;
    site.remove_switch()
}

#[test]
fn root_nobody_takes_what_a_switch_may_have_to_go_back_to() -> Result<()> {
    let mut site = Site::new()?;
    site.add_switch(&[])?;
    move_away(&site, &["--confirm", "600s"])?;
    let refused = site.daemon.cli_refused(1, &["switch", "add", "wan", "--external", NIC])?;
    for part in ["unless switch 'lan' is confirmed", "interface 'nic0' is used by", "confirm it first"] {
        ensure!(refused.contains(part), "{refused}");
    }
    // Somebody who edits the file is not asked: then it stays as it is, and the daemon starts.
    site.daemon.kill9()?;
    let file = site.daemon.state_dir().join("state.toml");
    let state = std::fs::read_to_string(&file)?;
    let wan = "\n[[switch]]\nname = \"wan\"\nkind = \"external\"\n[[switch.port]]\nname = \"nic0\"\nattach = { uplink = \"nic0\" }\nguard = false\n";
    std::fs::write(&file, state + wan)?;
    end_time(&site.daemon)?;
    site.daemon.launch()?;
    ensure!(uplink(&site.daemon)? == "nic1");
    let log = site.daemon.log();
    ensure!(log.contains("cannot be rolled back") && !log.contains("SwitchRolledBack"), "{log}");
    site.daemon.cli_ok(&["switch", "remove", "wan"])?;
    site.daemon.cli_ok(&["switch", "remove", "lan"]).map(drop)
}

/// Each time that a VMM comes and goes there is something to hear.
#[test]
fn root_a_vmm_that_comes_and_goes_without_a_pause_keeps_nothing_from_being_put_back() -> Result<()> {
    let site = Site::new()?;
    site.daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    site.daemon.cli_ok(&["port", "add", "lab", "vm1", "--vhost-user"])?;
    let socket = site.daemon.run_dir().join("vhost/lab/vm1.sock");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let coming = scope.spawn(|| {
            let mut came = 0;
            while !over.load(Ordering::Relaxed) {
                came += u32::from(Vnic::connect(&socket, 256).is_ok());
            }
            came
        });
        let set = ["switch", "set", "lab", "--internal", "--confirm", "1s"];
        let put_back = site.daemon.cli_ok(&set).and_then(|_| {
            let pending = site.daemon.state_dir().join("pending/lab.json");
            wait_until("roll-back", PATIENCE, || Ok(!pending.exists()))
        });
        over.store(true, Ordering::Relaxed);
        let came = coming.join().map_err(|_| anyhow::anyhow!("the VMM panicked"))?;
        ensure!(came > 10, "it came {came} times only");
        put_back
    })?;
    ensure!(site.daemon.cli_json(&["switch", "show", "lab"])?["kind"] == "private");
    site.daemon.cli_ok(&["switch", "remove", "lab"]).map(drop)
}
