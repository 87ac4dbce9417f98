//! Copies for a port that watches others: which are made, which are not, and that all are counted.

use crate::lan::{Lan, NOBODY, OUTSIDE, VM1, VM2, VM3, frame};
use crate::round::Round;
use crate::tap::{Tap, packets};
use anyhow::{Context, Result, ensure};
use lab::NIC;
use serde_json::json;

const BROADCAST: &str = "ff:ff:ff:ff:ff:ff";
const IDS: &str = VM3;

/// Two VMs, and one that watches.
fn lan() -> Result<Lan> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &[])?;
    lan.vm("ids", IDS, &[])?;
    Ok(lan)
}

fn mirror(lan: &Lan, port: &str, what: &str) -> Result<()> {
    lan.daemon.cli_ok(&["port", "set", &format!("lan/{port}"), "--mirror", what]).map(drop)
}

#[test]
fn root_what_a_port_sends_or_gets_or_both_is_copied_and_nothing_else() -> Result<()> {
    let mut lan = lan()?;
    let from = |copied: bool| {
        let reached: &[&str] = if copied { &["vm2", "ids"] } else { &["vm2"] };
        Round::default().sends("vm1", &frame(VM2, VM1)).reaches(reached)
    };
    let to = |copied: bool| {
        let reached: &[&str] = if copied { &["vm1", "ids"] } else { &["vm1"] };
        Round::default().sends("vm2", &frame(VM1, VM2)).reaches(reached)
    };
    for (what, sent, got) in [
        ("off", false, false),
        ("to=ids,in", true, false),
        ("to=ids,out", false, true),
        ("to=ids", true, true),
        ("off", false, false),
    ] {
        mirror(&lan, "vm1", what)?;
        lan.run(from(sent)).with_context(|| format!("vm1 sends, {what}"))?;
        lan.run(to(got)).with_context(|| format!("vm1 gets, {what}"))?;
        // Frames of others are nobody's business.
        lan.run(Round::default().sends("vm2", &frame(OUTSIDE, VM2)).reaches(&[NIC]))?;
    }
    lan.finish()
}

#[test]
fn root_the_uplink_is_mirrored_like_a_port() -> Result<()> {
    let mut lan = lan()?;
    mirror(&lan, NIC, "to=ids")?;
    lan.run(
        Round::default()
            .sends(NIC, &frame(VM1, OUTSIDE))
            .reaches(&["vm1", "ids"])
            .sends(NIC, &frame(VM2, OUTSIDE))
            .reaches(&["vm2", "ids"]),
    )?;
    lan.run(
        Round::default()
            .sends("vm1", &frame(OUTSIDE, VM1))
            .reaches(&[NIC, "ids"])
            .sends("vm1", &frame(VM2, VM1))
            .reaches(&["vm2"]),
    )?;
    lan.finish()
}

#[test]
fn root_nobody_gets_a_frame_twice_or_one_that_he_sent() -> Result<()> {
    let mut lan = lan()?;
    for port in ["vm1", "vm2", NIC] {
        mirror(&lan, port, "to=ids")?;
    }
    // Both ends are mirrored: one copy.
    lan.run(Round::default().sends("vm1", &frame(VM2, VM1)).reaches(&["vm2", "ids"]))?;
    // It gets these anyway.
    lan.run(
        Round::default()
            .sends("vm1", &frame(IDS, VM1))
            .reaches(&["ids"])
            .sends("vm1", &frame(BROADCAST, VM1))
            .reaches(&[NIC, "vm2", "ids"]),
    )?;
    // And these are its own.
    lan.run(
        Round::default()
            .sends("ids", &frame(VM1, IDS))
            .reaches(&["vm1"])
            .sends("ids", &frame(BROADCAST, IDS))
            .reaches(&[NIC, "vm1", "vm2"])
            .sends("ids", &frame(NOBODY, IDS))
            .reaches(&[NIC]),
    )?;
    lan.finish()
}

#[test]
fn root_of_frames_that_are_dropped_there_are_no_copies_and_a_copy_that_does_not_fit_is_counted() -> Result<()>
{
    let mut lan = lan()?;
    lan.daemon.cli_ok(&["port", "set", "lan/ids", "--mtu", "1000"])?;
    mirror(&lan, "vm1", "to=ids")?;
    let long = [frame(VM2, VM1), vec![0; 1400]].concat();
    lan.run(
        Round::default()
            .sends("vm1", &frame(VM2, VM3))
            .drops("vm1", "spoofed_mac")
            .sends("vm1", &frame(VM1, VM1))
            .drops("vm1", "hairpin")
            .sends("vm1", &long)
            .reaches(&["vm2"])
            .drops("ids", "oversize"),
    )?;
    lan.finish()
}

#[test]
fn root_a_copy_has_the_vlan_of_its_frame() -> Result<()> {
    let mut lan = lan()?;
    for port in ["vm1", "vm2"] {
        lan.daemon.cli_ok(&["port", "set", &format!("lan/{port}"), "--vlan", "access=7"])?;
    }
    mirror(&lan, "vm1", "to=ids,in")?;
    let file = lan.daemon.scratch().join("mirror.pcapng");
    let tap = Tap::start(
        &lan,
        "mirror",
        &["capture", "lan/ids", "-c", "1", "-w", file.to_str().context("a path")?],
    )?;
    let sent = frame(VM2, VM1);
    lan.send("vm1", &sent)?;
    lan.settle("vm2", std::slice::from_ref(&sent))?;
    let tagged = [&sent[..12], &[0x81, 0, 0, 7], &sent[12..]].concat();
    lan.settle("ids", &[tagged])?;
    tap.wait()?;
    let seen = packets(&file)?;
    ensure!(seen.len() == 1 && seen[0].vlan == "7" && seen[0].direction == "out", "{seen:?}");
    lan.finish()
}

#[test]
fn root_what_explain_says_of_copies_is_what_is_made() -> Result<()> {
    let mut lan = lan()?;
    mirror(&lan, "vm1", "to=ids,in")?;
    let explained = lan.daemon.cli_json(&["explain", "lan/vm1", "--to", VM2])?;
    ensure!(explained["leaves"] == json!(["vm2", "ids"]), "{explained}");
    let told = lan.daemon.cli_ok(&["explain", "lan/vm1", "--to", VM2])?;
    ensure!(told.contains("mirror       a copy goes to ids"), "{told}");
    lan.run(Round::default().sends("vm1", &frame(VM2, VM1)).reaches(&["vm2", "ids"]))?;
    lan.finish()
}

#[test]
fn root_mirrors_go_to_another_port_that_is_there_and_is_not_mirrored_itself() -> Result<()> {
    let lan = lan()?;
    let refused =
        |port: &str, what: &str| lan.daemon.cli_refused(1, &["port", "set", port, "--mirror", what]);
    ensure!(refused("lan/vm1", "to=vm1")?.contains("its own frames"));
    ensure!(refused("lan/vm1", "to=nobody")?.contains("there is no such port"));
    ensure!(refused("lan/vm1", &format!("to={NIC}"))?.contains("that is the uplink"));
    mirror(&lan, "vm1", "to=ids")?;
    ensure!(refused("lan/ids", "to=vm2")?.contains("copies of copies"));
    ensure!(refused("lan/vm2", "to=vm1")?.contains("copies of copies"));
    ensure!(lan.daemon.cli_refused(1, &["port", "remove", "lan/ids"])?.contains("turn the mirror off first"));
    let shown = lan.daemon.cli_ok(&["port", "show", "lan/vm1"])?;
    ensure!(shown.contains("to=ids,both"), "{shown}");
    let state = lan.daemon.cli_ok(&["export"])?;
    ensure!(state.contains("mirror") && state.contains("to = \"ids\""), "{state}");
    Ok(())
}
