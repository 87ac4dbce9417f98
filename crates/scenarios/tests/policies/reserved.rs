//! LLDP, LACP, EAPOL and STP from a VM: each passes where it is allowed, and only there.

use crate::lan::{Lan, VM1, VM2};
use crate::round::Round;
use anyhow::{Context, Result, ensure};
use lab::NIC;
use serde_json::json;
use std::path::Path;
use std::process::Command;

const NAMES: [&str; 4] = ["lldp", "lacp", "eapol", "stp"];

/// Frames that Scapy makes, each with the name of what it is.
fn frames(from: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies/reserved.py");
    let printed = lab::text(Command::new("/usr/bin/python3").arg(script).arg(from))?;
    let frames: Vec<_> = printed.lines().map(parse).collect::<Result<_>>()?;
    ensure!(NAMES.iter().all(|name| frames.iter().any(|(known, _)| known == name)), "{printed}");
    Ok(frames)
}

fn parse(line: &str) -> Result<(String, Vec<u8>)> {
    let (name, hex) = line.split_once(' ').with_context(|| line.to_owned())?;
    let digits = hex.as_bytes().chunks(2);
    let bytes = digits.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    Ok((name.to_owned(), bytes.collect::<Result<_>>()?))
}

/// All of them, of which those with these names pass.
fn round(allowed: &[&str]) -> Result<Round> {
    Ok(frames(VM1)?.iter().fold(Round::default(), |round, (name, frame)| {
        let round = round.sends("vm1", frame);
        if allowed.contains(&name.as_str()) {
            round.reaches(&["vm2", NIC])
        } else {
            round.drops("vm1", "reserved_multicast")
        }
    }))
}

#[test]
fn root_lldp_lacp_eapol_and_stp_of_a_vm_pass_where_they_are_allowed_by_name_or_by_address() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &["--allow-reserved", "lldp"])?;
    lan.run(round(&[])?)?;
    for name in NAMES {
        lan.daemon.cli_ok(&["port", "set", "lan/vm1", "--allow-reserved", name])?;
        lan.run(round(&[name])?)?;
    }
    lan.daemon.cli_ok(&["port", "set", "lan/vm1", "--allow-reserved", "lldp,01:80:c2:00:00:02"])?;
    lan.run(round(&["lldp", "lacp"])?)?;
    let shown = lan.daemon.cli_json(&["port", "show", "lan/vm1"])?;
    assert_eq!(shown["config"]["allow_reserved"], json!(["01:80:c2:00:00:0e", "01:80:c2:00:00:02"]));
    let text = lan.daemon.cli_ok(&["port", "show", "lan/vm1"])?;
    ensure!(text.contains("Allowed reserved:  lldp, lacp\n"), "{text}");
    lan.daemon.cli_ok(&["port", "set", "lan/vm1", "--allow-reserved", "lldp,lacp,eapol,stp"])?;
    lan.run(round(&NAMES)?)?;
    lan.daemon.cli_ok(&["port", "set", "lan/vm1", "--allow-reserved", ""])?;
    lan.run(round(&[])?)?;
    lan.finish()
}
