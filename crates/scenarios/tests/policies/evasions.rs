//! Every way past the guards that is known, and what has to pass: each frame at whom it reaches, and in the counters.

use crate::lan::{Lan, TRUNK, VM1, VM2};
use crate::round::Round;
use anyhow::{Context, Result, ensure};
use lab::{NIC, NIC_MAC};
use serde_json::json;
use std::path::Path;
use std::process::Command;

const GUARDS: [&str; 4] = ["--dhcp-guard", "on", "--router-guard", "on"];

/// A frame that `evasions.py` made, with what it is.
struct Evasion {
    kind: String,
    frame: Vec<u8>,
}

/// Frames that Scapy makes, which shares no code with what judges them. Debian's Python has it.
fn evasions(from: &str) -> Result<Vec<Evasion>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies/evasions.py");
    let printed = lab::text(Command::new("/usr/bin/python3").arg(script).arg(from))?;
    let evasions: Vec<_> = printed.lines().map(parse).collect::<Result<_>>()?;
    ensure!(evasions.len() > 70, "only {} frames:\n{printed}", evasions.len());
    Ok(evasions)
}

/// Kind, name (of several words) and bytes.
fn parse(line: &str) -> Result<Evasion> {
    let (kind, rest) = line.split_once(' ').with_context(|| line.to_owned())?;
    let (_name, hex) = rest.rsplit_once(' ').with_context(|| line.to_owned())?;
    let digits = hex.as_bytes().chunks(2);
    let frame = digits.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    Ok(Evasion { kind: kind.to_owned(), frame: frame.collect::<Result<_>>()? })
}

/// All of them, where the guards drop what `reason` gives for their kind; others reach `everybody`.
fn round(
    from: &str,
    mac: &str,
    everybody: &[&str],
    reason: impl Fn(&str) -> Option<&'static str>,
) -> Result<Round> {
    let all = evasions(mac)?;
    Ok(all.iter().fold(Round::default(), |round, Evasion { kind, frame }| {
        let round = round.sends(from, frame);
        match wherever(kind).or(reason(kind)) {
            Some(reason) => round.drops(from, reason),
            None => round.reaches(everybody),
        }
    }))
}

/// Why a frame passes nowhere, whatever guards are on.
fn wherever(kind: &str) -> Option<&'static str> {
    ["vlan_not_allowed", "double_tag"].into_iter().find(|reason| *reason == kind)
}

fn both(kind: &str) -> Option<&'static str> {
    match kind {
        "dhcp" | "hidden" => Some("dhcp_guard"),
        "router" => Some("router_guard"),
        _ => None,
    }
}

/// The guards as they are set, one after the other, on a port at work.
#[test]
fn root_no_known_evasion_gets_past_the_guards_and_all_passes_without() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, TRUNK)?;
    lan.vm("vm2", VM2, TRUNK)?;
    let everybody = [NIC, "vm2"];
    let set = |lan: &Lan, dhcp: &str, router: &str| {
        let guards = ["--dhcp-guard", dhcp, "--router-guard", router];
        lan.daemon.cli_ok(&[&["port", "set", "lan/vm1"], &guards[..]].concat()).map(drop)
    };
    lan.run(round("vm1", VM1, &everybody, |_| None)?).context("without guards")?;
    set(&lan, "on", "on")?;
    lan.run(round("vm1", VM1, &everybody, both)?).context("with both")?;
    set(&lan, "on", "off")?;
    lan.run(round("vm1", VM1, &everybody, |kind| both(kind).filter(|_| kind != "router"))?)
        .context("with the DHCP guard")?;
    set(&lan, "off", "on")?;
    let routers = |kind: &str| ["router", "hidden"].contains(&kind).then_some("router_guard");
    lan.run(round("vm1", VM1, &everybody, routers)?).context("with the router guard")?;
    set(&lan, "off", "off")?;
    lan.run(round("vm1", VM1, &everybody, |_| None)?).context("without guards again")?;
    lan.finish()
}

#[test]
fn root_explain_says_of_every_evasion_what_becomes_of_it() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &[&GUARDS, TRUNK].concat())?;
    for Evasion { kind, frame } in evasions(VM1)? {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let said = lan.daemon.cli_json(&["explain", "lan/vm1", "--frame", &hex])?;
        let drops: Vec<_> = wherever(&kind)
            .or(both(&kind))
            .iter()
            .map(|reason| json!({"port": "vm1", "reason": reason}))
            .collect();
        let vlan = |kind: &str| {
            let finding = match kind {
                "double_tag" => "behind a tag without VLAN comes one that has one",
                _ => "vm1 may not send with this tag",
            };
            json!({"stage": "vlan", "finding": finding})
        };
        let policies = |may: &str| json!({"stage": "policies", "finding": format!("vm1 {may}")});
        let finding = match drops.is_empty() {
            _ if wherever(&kind).is_some() => vlan(&kind),
            true => policies("may send what the frame carries"),
            false => policies("may not send what the frame carries or hides"),
        };
        let steps = said["steps"].as_array().context("steps")?;
        ensure!(said["drops"] == json!(drops) && steps.contains(&finding), "{kind} {hex}: {said}");
    }
    lan.finish()
}

#[test]
fn root_the_host_vnic_has_the_guards_of_any_port() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.watch_host("host", "lan")?;
    lan.vm("vm2", VM2, TRUNK)?;
    lan.daemon.cli_ok(&[&["port", "set", "lan/host"], &GUARDS[..], TRUNK].concat())?;
    lan.run(round("host", NIC_MAC, &[NIC, "vm2"], both)?)?;
    lan.finish()
}

#[test]
fn root_guards_judge_what_a_vnic_sends_and_not_what_it_gets() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &[&GUARDS, TRUNK].concat())?;
    lan.run(round(NIC, VM2, &["vm1"], |_| None)?)?;
    lan.finish()
}

#[test]
fn root_guards_are_off_by_default_shown_and_refused_on_an_uplink() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, TRUNK)?;
    let guards = |lan: &Lan, port: &str| -> Result<String> {
        let config = &lan.daemon.cli_json(&["port", "show", port])?["config"];
        Ok(format!("{} {}", config["dhcp_guard"], config["router_guard"]))
    };
    assert_eq!(guards(&lan, "lan/vm1")?, "false false");
    lan.daemon.cli_ok(&["port", "set", "lan/vm1", "--router-guard", "on"])?;
    assert_eq!(guards(&lan, "lan/vm1")?, "false true");
    let shown = lan.daemon.cli_ok(&["port", "show", "lan/vm1"])?;
    assert!(shown.contains("DHCP guard:        off\nRouter guard:      on\n"), "{shown}");
    let refused = lan.daemon.cli_refused(1, &["port", "set", &format!("lan/{NIC}"), "--dhcp-guard", "on"])?;
    assert!(refused.contains("is an uplink and has no DHCP guard: servers and routers outside"), "{refused}");
    let export = lan.daemon.cli_ok(&["export"])?;
    assert!(export.contains("router_guard = true"), "{export}");
    lan.finish()
}
