//! A trace has a line for each frame.

use crate::lan::{Lan, VM1, VM2, VM3, frame};
use crate::tap::{PATIENCE, Tap, packets};
use anyhow::{Context, Result, ensure};
use lab::vnic::{Queue, SLOTS, Vnic};
use lab::{NIC, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;

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
fn root_what_the_switch_itself_sends_is_told_where_it_leaves() -> Result<()> {
    let lan = lan()?;
    let file = lan.daemon.scratch().join("queries.pcapng");
    let path = file.to_str().context("a path")?;
    let traced = Tap::start(&lan, "queries", &["--json", "trace", "lan", "-c", "1", "igmp"])?;
    let captured = Tap::start(&lan, "captured", &["capture", "lan/vm1", "-c", "1", "-w", path, "igmp"])?;
    let on = "switch set lan --multicast-snooping on --querier on --query-interval 1h --query-response 1s";
    lan.daemon.cli_ok(&on.split_whitespace().collect::<Vec<_>>())?;
    let query: Value = serde_json::from_str(traced.wait()?.trim())?;
    let mut leaves: Vec<_> =
        query["leaves"].as_array().context("ports")?.iter().filter_map(Value::as_str).collect();
    leaves.sort_unstable();
    ensure!(query["port"].is_null() && leaves == [NIC, "vm1", "vm2"], "{query}");
    captured.wait()?;
    let seen = packets(&file)?;
    ensure!(
        seen.len() == 1 && (seen[0].interface.as_str(), seen[0].direction) == ("lan/vm1", "out"),
        "{seen:?}"
    );
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

/// From an address that has the frame's number.
fn numbered(number: u16) -> [u8; 60] {
    let mut frame = [0x88; 60];
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 0x0b, 2, 0, 0, 0, 0x77, number as u8]);
    frame
}

#[test]
fn root_a_trace_names_the_frames_that_a_port_had_no_room_for_and_no_others() -> Result<()> {
    let lan = Lan::new(&["--private"])?;
    for (port, mac) in [("many", "02:00:00:00:00:0a"), ("few", "02:00:00:00:00:0b")] {
        lan.daemon.cli_ok(&["port", "add", "lan", port, "--vhost-user", "--mac", mac])?;
    }
    lan.daemon.cli_ok(&["port", "set", "lan/many", "--guard", "off"])?;
    let connect =
        |port: &str| Vnic::connect(&lan.daemon.run_dir().join(format!("vhost/lan/{port}.sock")), 256);
    let (mut many, mut few) = (connect("many")?, connect("few")?);
    many.load(numbered)?;
    for port in ["lan/many", "lan/few"] {
        wait_until("port up", PATIENCE, || {
            Ok(lan.daemon.cli_json(&["port", "show", port])?["state"] == "up")
        })?;
    }
    let (room, all) = (20, SLOTS.to_string());
    let tap = Tap::start(&lan, "full", &["--json", "trace", "lan", "-c", &all])?;
    few.post(Queue::Receive, room)?;
    many.post(Queue::Transmit, SLOTS)?;
    many.kick(Queue::Transmit);
    let traced = tap.wait()?;
    let source = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let came = (0..room).map(|slot| Ok(source(few.received::<12>(slot)?[6..].try_into()?)));
    let came = came.collect::<Result<BTreeSet<String>>>()?;
    ensure!(came.len() == usize::from(room), "{came:?}");
    for line in traced.lines() {
        let told: Value = serde_json::from_str(line)?;
        let passed = told["source"].as_str().is_some_and(|source| came.contains(source));
        let (leaves, drops) = match passed {
            true => (json!(["few"]), json!([])),
            false => (json!([]), json!([{"port": "few", "reason": "receiver_full"}])),
        };
        let list = |name: &str| told.get(name).cloned().unwrap_or_else(|| json!([]));
        ensure!((list("leaves"), list("drops")) == (leaves, drops), "{told}");
    }
    ensure!(traced.lines().count() == usize::from(SLOTS), "{traced}");
    Ok(())
}

#[test]
fn root_a_trace_of_a_port_ends_when_another_port_takes_its_place() -> Result<()> {
    let mut lan = lan()?;
    let mut tap = Tap::start(&lan, "gone", &["trace", "lan/vm1"])?;
    lan.send("vm1", &frame(VM2, VM1))?;
    lan.daemon.cli_ok(&["port", "remove", "lan/vm1"])?;
    lan.vm("vm9", VM1, &[])?;
    lan.send("vm9", &frame(VM2, VM1))?;
    tap.process.wait(PATIENCE)?;
    let log = tap.process.log();
    ensure!(!log.contains("vm9"), "{log}");
    Ok(())
}
