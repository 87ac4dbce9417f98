//! Captures are files that others read.

use crate::lan::{Lan, NOBODY, OUTSIDE, VM1, VM2, VM3, frame};
use crate::round::Round;
use crate::tap::{FIELDS, PATIENCE, Tap, packet, packets, seen, vmswitch};
use anyhow::{Context, Result, ensure};
use lab::{NIC, Process, text, wait_until};
use std::process::{Command, Stdio};

const BROADCAST: &str = "ff:ff:ff:ff:ff:ff";

fn lan() -> Result<Lan> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &[])?;
    Ok(lan)
}

/// A frame to all, one that is spoofed, and one that only vm2 gets.
fn three_frames() -> Round {
    Round::default()
        .sends("vm1", &frame(BROADCAST, VM1))
        .reaches(&[NIC, "vm2"])
        .sends("vm1", &frame(VM2, VM3))
        .drops("vm1", "spoofed_mac")
        .sends("vm1", &frame(VM2, VM1))
        .reaches(&["vm2"])
}

#[test]
fn root_a_capture_has_each_frame_at_each_port_with_direction_and_drop_reason() -> Result<()> {
    let mut lan = lan()?;
    let file = lan.daemon.scratch().join("all.pcapng");
    let tap = Tap::start(&lan, "all", &["capture", "lan", "-w", file.to_str().context("a path")?])?;
    // Being captured changes nothing that is counted.
    lan.run(three_frames())?;
    let dropped = "dropped: spoofed_mac at lan/vm1";
    let uplink = format!("lan/{NIC}");
    let expected = [
        seen("lan/vm1", "in", VM1, ""),
        seen(&uplink, "out", VM1, ""),
        seen("lan/vm2", "out", VM1, ""),
        seen("lan/vm1", "in", VM3, dropped),
        seen("lan/vm1", "in", VM1, ""),
        seen("lan/vm2", "out", VM1, ""),
    ];
    wait_until("packets in the file", PATIENCE, || {
        Ok(packets(&file).is_ok_and(|found| found.len() >= expected.len()))
    })?;
    let (_, said) = tap.stop()?;
    ensure!(said.contains("6 captured, 0 lost"), "{said}");
    let mut found = packets(&file)?;
    // Destinations of one frame come in no particular order.
    found[1..3].sort_by_key(|packet| packet.interface != uplink);
    ensure!(found == expected, "{found:#?}");
    // Another reader, and what it says of the interfaces.
    let told = text(Command::new("tcpdump").args(["-n", "-e", "-r"]).arg(&file))?;
    ensure!(told.matches("ethertype Unknown (0x88b5), length 60").count() == 6, "{told}");
    let info = text(Command::new("capinfos").arg(&file))?;
    for part in
        ["Number of interfaces in file: 3", "Name = lan/vm1", "nanoseconds", "Number of stat entries = 1"]
    {
        ensure!(info.contains(part), "no {part:?} in {info}");
    }
    lan.finish()
}

#[test]
fn root_a_capture_pipes_into_tshark_live() -> Result<()> {
    let mut lan = lan()?;
    let (out, log) = (lan.daemon.scratch().join("live.out"), lan.daemon.scratch().join("live.log"));
    let mut capture = vmswitch(&lan)?;
    let mut capture = capture
        .args(["capture", "lan/vm2", "-w", "-"])
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log)?)
        .spawn()?;
    let piped = capture.stdout.take().context("a pipe")?;
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-l", "-T", "fields", "-E", "separator=|"]);
    tshark.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let tshark_log = lan.daemon.scratch().join("tshark.log");
    let mut reader =
        Process::spawn_between(tshark.args(["-r", "-"]), &tshark_log, piped, std::fs::File::create(&out)?)?;
    // It holds the end of the pipe that is read.
    drop(tshark);
    wait_until("start of the capture", PATIENCE, || Ok(std::fs::read_to_string(&log)?.contains("Ctrl-C")))?;
    lan.run(three_frames())?;
    let lines =
        || std::fs::read_to_string(&out).map(|text| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>());
    wait_until("packets from tshark", PATIENCE, || Ok(lines()?.len() >= 2))?;
    let told: Vec<_> = lines()?.iter().map(|line| packet(line)).collect::<Result<_>>()?;
    ensure!(told == [seen("lan/vm2", "out", VM1, ""), seen("lan/vm2", "out", VM1, "")], "{told:#?}");
    // Whoever reads has enough: the capture ends with the next frame.
    reader.kill()?;
    wait_until("end of the capture", PATIENCE, || {
        lan.send("vm1", &frame(VM2, VM1))?;
        Ok(capture.try_wait()?.is_some())
    })?;
    Ok(())
}

#[test]
fn root_a_filter_a_port_a_snaplen_and_a_count_narrow_a_capture() -> Result<()> {
    let mut lan = lan()?;
    let file = lan.daemon.scratch().join("some.pcapng");
    let path = file.to_str().context("a path")?;
    let filter = format!("ether src {VM2} and ether proto 0x88b5");
    let arguments = ["--json", "capture", "lan/vm1", "-w", path, "-s", "20", "-c", "2", &filter];
    let tap = Tap::start(&lan, "some", &arguments)?;
    for to in [VM1, NOBODY, BROADCAST] {
        lan.send("vm1", &frame(to, VM1))?;
        lan.send("vm2", &frame(to, VM2))?;
    }
    ensure!(tap.wait()?.trim() == r#"{"captured":2,"lost":0}"#);
    let found = packets(&file)?;
    ensure!(found == [seen("lan/vm1", "out", VM2, ""), seen("lan/vm1", "out", VM2, "")], "{found:#?}");
    let lengths =
        text(Command::new("tshark").args(["-T", "fields", "-e", "frame.cap_len", "-r"]).arg(&file))?;
    ensure!(lengths == "20\n20\n", "{lengths}");
    Ok(())
}

#[test]
fn root_a_capture_of_drops_has_nothing_else() -> Result<()> {
    let mut lan = lan()?;
    lan.daemon.cli_ok(&["port", "set", "lan/vm2", "--mtu", "1000"])?;
    let file = lan.daemon.scratch().join("drops.pcapng");
    let path = file.to_str().context("a path")?;
    let tap = Tap::start(&lan, "drops", &["capture", "lan", "--dropped", "-c", "3", "-w", path])?;
    let long = [frame(BROADCAST, VM1), vec![0; 1400]].concat();
    lan.run(
        Round::default()
            .sends("vm1", &frame(VM2, VM3))
            .drops("vm1", "spoofed_mac")
            .sends("vm1", &long)
            .reaches(&[NIC])
            .drops("vm2", "oversize")
            .sends(NIC, &frame(NOBODY, OUTSIDE))
            .drops(NIC, "no_destination"),
    )?;
    tap.wait()?;
    let mut oversize = seen("lan/vm2", "out", VM1, "dropped: oversize at lan/vm2");
    oversize.length = long.len().to_string();
    let uplink = format!("lan/{NIC}");
    let expected = [
        seen("lan/vm1", "in", VM3, "dropped: spoofed_mac at lan/vm1"),
        oversize,
        seen(&uplink, "in", OUTSIDE, &format!("dropped: no_destination at {uplink}")),
    ];
    let found = packets(&file)?;
    ensure!(found == expected, "{found:#?}");
    lan.finish()
}

#[test]
fn root_frames_are_captured_with_the_tags_that_they_have_at_each_port() -> Result<()> {
    let mut lan = lan()?;
    lan.daemon.cli_ok(&["port", "set", "lan/vm1", "--vlan", "access=7"])?;
    lan.daemon.cli_ok(&["port", "set", "lan/vm2", "--vlan", "access=7"])?;
    let file = lan.daemon.scratch().join("tags.pcapng");
    let tap =
        Tap::start(&lan, "tags", &["capture", "lan", "-c", "3", "-w", file.to_str().context("a path")?])?;
    lan.send("vm1", &frame(BROADCAST, VM1))?;
    tap.wait()?;
    let uplink = format!("lan/{NIC}");
    let mut tagged = seen(&uplink, "out", VM1, "");
    (tagged.vlan, tagged.length) = ("7".into(), "64".into());
    let mut found = packets(&file)?;
    found.sort_by_key(|packet| packet.interface.clone());
    ensure!(found == [tagged, seen("lan/vm1", "in", VM1, ""), seen("lan/vm2", "out", VM1, "")], "{found:#?}");
    Ok(())
}

#[test]
fn root_a_port_that_is_made_while_a_switch_is_captured_is_an_interface_more() -> Result<()> {
    let mut lan = lan()?;
    let file = lan.daemon.scratch().join("more.pcapng");
    let tap =
        Tap::start(&lan, "more", &["capture", "lan", "-c", "6", "-w", file.to_str().context("a path")?])?;
    lan.send("vm1", &frame(VM2, VM1))?;
    // The number of the port that goes is the new port's: names tell them apart.
    lan.unwatch("vm1")?;
    lan.daemon.cli_ok(&["port", "remove", "lan/vm1"])?;
    lan.vm("vm3", VM3, &[])?;
    lan.send("vm3", &frame(VM2, VM3))?;
    lan.send("vm2", &frame(VM3, VM2))?;
    tap.wait()?;
    let expected = [
        seen("lan/vm1", "in", VM1, ""),
        seen("lan/vm2", "out", VM1, ""),
        seen("lan/vm3", "in", VM3, ""),
        seen("lan/vm2", "out", VM3, ""),
        seen("lan/vm2", "in", VM2, ""),
        seen("lan/vm3", "out", VM2, ""),
    ];
    let found = packets(&file)?;
    ensure!(found == expected, "{found:#?}");
    Ok(())
}

#[test]
fn root_a_bad_filter_or_place_is_refused_before_anything_starts() -> Result<()> {
    let lan = lan()?;
    let file = lan.daemon.scratch().join("none.pcapng");
    let path = file.to_str().context("a path")?;
    let refused = lan.daemon.cli_refused(1, &["capture", "lan", "-w", path, "tcp", "prot", "80"])?;
    ensure!(refused.contains("'tcp prot 80' is no filter: can't parse filter expression"), "{refused}");
    ensure!(!file.exists());
    lan.daemon.cli_refused(1, &["capture", "lan/nobody", "-w", path])?;
    lan.daemon.cli_refused(1, &["trace", "nowhere"])?;
    lan.daemon.cli_refused(1, &["capture", "lan", "-w", "/nowhere/x"])?;
    lan.finish()
}

#[test]
fn root_a_capture_ends_with_its_switch_and_says_so() -> Result<()> {
    let mut lan = lan()?;
    let file = lan.daemon.scratch().join("end.pcapng");
    let mut tap = Tap::start(&lan, "end", &["capture", "lan", "-w", file.to_str().context("a path")?])?;
    lan.send("vm1", &frame(VM2, VM1))?;
    lan.daemon.cli_ok(&["switch", "remove", "lan"])?;
    let status = tap.process.wait(PATIENCE)?;
    let log = tap.process.log();
    ensure!(status.code() == Some(1) && log.contains("2 captured, 0 lost"), "{status}: {log}");
    ensure!(log.contains("it ended by itself"), "{log}");
    ensure!(packets(&file)?.len() == 2);
    Ok(())
}
