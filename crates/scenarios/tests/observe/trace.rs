//! A trace has a line for each frame.

use crate::lan::{Lan, VM1, VM2, VM3, frame};
use crate::tap::Tap;
use anyhow::{Context, Result, ensure};
use lab::NIC;
use serde_json::{Value, json};

fn lan() -> Result<Lan> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &[])?;
    Ok(lan)
}

#[test]
fn root_a_trace_tells_of_each_frame_what_became_of_it() -> Result<()> {
    let mut lan = lan()?;
    let tap = Tap::start(&lan, "trace", &["trace", "lan", "-c", "3"])?;
    lan.send("vm1", &frame("ff:ff:ff:ff:ff:ff", VM1))?;
    lan.send("vm1", &frame(VM2, VM3))?;
    lan.send("vm2", &frame(VM1, VM2))?;
    let text = tap.wait()?;
    let lines: Vec<_> =
        text.lines().map(|line| line.split_once("Z ").map_or(line, |(_, rest)| rest)).collect();
    let what = "EtherType 0x88b5, 60 bytes";
    let to_all = [format!("{NIC}, vm2"), format!("vm2, {NIC}")];
    let to_all = to_all.map(|ports| format!("vm1: {VM1} > ff:ff:ff:ff:ff:ff, {what}: to {ports}"));
    ensure!(to_all.iter().any(|line| line == lines[0]), "{text}");
    ensure!(lines[1] == format!("vm1: {VM3} > {VM2}, {what}: dropped at vm1: spoofed_mac"), "{text}");
    ensure!(lines[2] == format!("vm2: {VM2} > {VM1}, {what}: to vm1"), "{text}");
    lan.daemon.cli_ok(&["port", "show", "lan/vm1"])?;
    Ok(())
}

#[test]
fn root_a_trace_is_narrowed_by_port_filter_drops_and_sampled() -> Result<()> {
    let mut lan = lan()?;
    let traced = |lan: &mut Lan, arguments: &[&str], send: &mut dyn FnMut(&mut Lan) -> Result<()>| {
        let tap = Tap::start(lan, "narrow", &[&["--json", "trace"], arguments].concat())?;
        send(lan)?;
        tap.wait()?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<Vec<Value>>>()
    };
    let mut some = |lan: &mut Lan| {
        lan.send("vm1", &frame(VM2, VM3))?;
        lan.send("vm1", &frame(VM2, VM1))?;
        lan.send("vm2", &frame(VM1, VM2))?;
        lan.send("vm2", &frame(VM3, VM2))
    };
    let dropped = traced(&mut lan, &["lan", "-c", "1", "--dropped"], &mut some)?;
    ensure!(dropped[0]["drops"] == json!([{"port": "vm1", "reason": "spoofed_mac"}]), "{dropped:?}");
    let at_uplink = traced(&mut lan, &[&format!("lan/{NIC}"), "-c", "1"], &mut some)?;
    ensure!(at_uplink[0]["leaves"] == json!([NIC]) && at_uplink[0]["destination"] == VM3, "{at_uplink:?}");
    let filtered = traced(&mut lan, &["lan", "-c", "1", "ether", "src", VM2], &mut some)?;
    ensure!(filtered[0]["source"] == VM2 && filtered[0]["destination"] == VM1, "{filtered:?}");
    let mut many = |lan: &mut Lan| {
        (0..20).try_for_each(|number: u8| lan.send("vm1", &[&frame(VM2, VM1)[..], &[number]].concat()))
    };
    let sampled = traced(&mut lan, &["lan", "-c", "2", "--sample", "10"], &mut many)?;
    let times: Vec<_> = sampled.iter().filter_map(|line| line["time_ns"].as_u64()).collect();
    ensure!(times.len() == 2 && times.is_sorted(), "{sampled:?}");
    Ok(())
}

#[test]
fn root_what_explain_says_of_a_packet_is_what_a_trace_tells_of_it() -> Result<()> {
    let mut lan = lan()?;
    lan.daemon.cli_ok(&["port", "set", "lan/vm1", "--dhcp-guard", "on"])?;
    let ends = ["10.0.0.1:67", "10.0.0.2:68"];
    let explain = ["explain", "lan/vm1", "--to", "vm2", "--udp", ends[0], ends[1]];
    let explained = lan.daemon.cli_json(&explain)?;
    ensure!(explained["drops"] == json!([{"port": "vm1", "reason": "dhcp_guard"}]), "{explained}");
    let passes = lan.daemon.cli_json(&[
        "explain",
        "lan/vm1",
        "--to",
        "vm2",
        "--tcp",
        "10.0.0.1:4000",
        "10.0.0.2:80",
    ])?;
    ensure!(passes["leaves"] == json!(["vm2"]), "{passes}");
    let asks = lan.daemon.cli_json(&["explain", "lan/vm1", "--arp", "10.0.0.1", "10.0.0.2"])?;
    ensure!(asks["leaves"].as_array().context("ports")?.len() == 2, "{asks}");
    let udp = [frame(VM2, VM1)[..12].to_vec(), udp(67, 68)].concat();
    let tap = Tap::start(&lan, "udp", &["trace", "lan", "-c", "1", "udp"])?;
    lan.send("vm1", &udp)?;
    let line = tap.wait()?;
    ensure!(line.contains("UDP 10.0.0.1:67 > 10.0.0.2:68, 60 bytes: dropped at vm1: dhcp_guard"), "{line}");
    Ok(())
}

fn udp(from: u16, to: u16) -> Vec<u8> {
    let ip = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    [&[8, 0][..], &ip, &from.to_be_bytes(), &to.to_be_bytes(), &[0, 8, 0, 0], &[0; 18]].concat()
}
