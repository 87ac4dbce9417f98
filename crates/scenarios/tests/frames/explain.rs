//! What `vmswitch explain` says is what happens, and asking changes nothing.

use crate::lan::{Lan, NOBODY, OUTSIDE, VM1, VM2, VM3, frame};
use anyhow::{Context, Result, ensure};
use lab::NIC;
use serde_json::{Value, json};

fn explain(lan: &Lan, port: &str, arguments: &[&str]) -> Result<Value> {
    lan.daemon.cli_json(&[&["explain", port], arguments].concat())
}

fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Ports that a frame leaves on, and where and why it is dropped.
type Outcome<'a> = (Vec<&'a str>, Vec<(&'a str, &'a str)>);

/// What a frame moved, as `explain` would say it: the ports whose `tx_frames` grew, and drops with port and reason.
fn outcome(moved: &[(String, String, u64)]) -> Outcome<'_> {
    let moved = || moved.iter().filter(|(port, ..)| port != lab::SWITCH);
    let leaves = moved().filter(|(_, name, _)| name == "tx_frames").map(|(port, ..)| port.as_str());
    let drops = moved().filter_map(|(port, name, _)| Some((port.as_str(), name.strip_prefix("drops.")?)));
    (leaves.collect(), drops.collect())
}

fn explained(explanation: &Value) -> Result<Outcome<'_>> {
    let list = |key: &str| explanation[key].as_array().with_context(|| format!("no {key} in {explanation}"));
    let mut leaves: Vec<_> = list("leaves")?.iter().filter_map(Value::as_str).collect();
    let drops = list("drops")?.iter().filter_map(|d| Some((d["port"].as_str()?, d["reason"].as_str()?)));
    leaves.sort_unstable();
    Ok((leaves, drops.collect()))
}

#[test]
fn root_what_explain_says_of_a_frame_is_what_becomes_of_it() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &[])?;
    lan.vm("vm3", VM3, &["--guard", "off", "--mtu", "1000"])?;
    let long = |to, from| [frame(to, from), vec![0; 1400]].concat();
    let cases = [
        ("vm1", frame(VM2, VM1)),
        ("vm1", frame(VM2, VM3)),
        ("vm1", frame("ff:ff:ff:ff:ff:ff", VM1)),
        ("vm1", frame(NOBODY, VM1)),
        ("vm1", frame(VM1, VM1)),
        ("vm1", frame("01:80:c2:00:00:02", VM1)),
        ("vm3", frame(VM1, VM2)),
        ("vm3", frame(OUTSIDE, "01:00:00:00:00:01")),
        // Nobody knows VM3 until it has sent something; then long frames to it do not fit.
        ("vm2", frame(VM3, VM2)),
        ("vm3", frame(VM1, VM3)),
        ("vm2", frame(VM3, VM2)),
        ("vm2", long(VM3, VM2)),
        ("vm1", long("ff:ff:ff:ff:ff:ff", VM1)),
    ];
    for (port, frame) in &cases {
        let before = lab::Snapshot::take(&lan.daemon, "lan")?;
        let explanation = explain(&lan, &format!("lan/{port}"), &["--frame", &hex(frame)])?;
        before.expect_delta(&lan.daemon, &[])?;
        lan.send(port, frame)?;
        let moved = before.moved(&lan.daemon)?;
        let (mut real, said) = (outcome(&moved), explained(&explanation)?);
        real.0.sort_unstable();
        ensure!(real == said, "{port} sent {frame:02x?}: {real:?}, but explained was {explanation}");
    }
    Ok(())
}

#[test]
fn root_explaining_a_frame_learns_nothing_and_says_what_each_stage_finds() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &[])?;
    let before = lan.macs()?;
    let learned = explain(&lan, &format!("lan/{NIC}"), &["--to", VM1, "--from", OUTSIDE])?;
    let steps = json!([
        {"stage": "addresses", "finding": format!("from {OUTSIDE} to {VM1}")},
        {"stage": "source", "finding": format!("{NIC} has no guard, and the source is not known yet")},
        {"stage": "learn", "finding": format!("the source is on {NIC}")},
        {"stage": "destination", "finding": "is known on vm1"},
    ]);
    ensure!(learned == json!({"steps": steps, "leaves": ["vm1"], "drops": []}), "{learned}");
    ensure!(lan.macs()? == before, "an address was learned");
    let spoofed = explain(&lan, "lan/vm1", &["--to", OUTSIDE, "--from", VM2])?;
    ensure!(spoofed["drops"] == json!([{"port": "vm1", "reason": "spoofed_mac"}]), "{spoofed}");
    lan.daemon.cli_refused(1, &["explain", "lan/nobody", "--to", VM1])?;
    lan.daemon.cli_refused(2, &["explain", "lan/vm1", "--frame", "0"])?;
    lan.finish()
}
