//! A reader that does not read loses frames; nobody else does.

use crate::lan::{Lan, VM1, VM2};
use crate::tap::{PATIENCE, Tap};
use anyhow::{Context, Result, ensure};
use lab::{Snapshot, frames, wait_until};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Frames that are sent while the reader stands still: more than its queue and the sockets on the way hold.
const FRAMES: u64 = 40_000;
const LENGTH: usize = 1000;

#[test]
fn root_a_reader_that_stands_still_loses_frames_and_is_told_and_traffic_goes_on() -> Result<()> {
    let mut lan = Lan::new(&["--private"])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &[])?;
    lan.unwatch("vm1")?;
    lan.unwatch("vm2")?;
    // What a worker cannot take at once, who has to share its CPU, waits.
    lan.namespace("vm1").ip("link set eth0 txqueuelen 10000")?;
    let file = lan.daemon.scratch().join("slow.pcapng");
    let tap = Tap::start(&lan, "slow", &["capture", "lan", "-w", file.to_str().context("a path")?])?;
    signal("-STOP", tap.process.id())?;
    let before = lan.counters()?;
    let frame = frames::of_length(frames::mac(VM2), frames::mac(VM1), frames::EXPERIMENT, LENGTH);
    send_many(&lan, &frame)?;
    // All that came passed, and was counted, while nobody read.
    let passed = settled(&lan, &before)?;
    let bytes = passed * LENGTH as u64;
    let sums = [("rx_frames", passed), ("rx_bytes", bytes), ("tx_frames", passed), ("tx_bytes", bytes)];
    let sums = sums.map(|(name, by)| (lab::SWITCH, name, by));
    let ports = [
        ("vm1", "rx_frames", passed),
        ("vm1", "rx_bytes", bytes),
        ("vm2", "tx_frames", passed),
        ("vm2", "tx_bytes", bytes),
    ];
    before.expect_delta(&lan.daemon, &[&ports[..], &sums].concat())?;
    ensure!(passed > FRAMES / 2, "only {passed} frames came to the switch");
    signal("-CONT", tap.process.id())?;
    wait_until("what waited", PATIENCE, || Ok(lost_and_captured(&file)?.0 > 0))?;
    let (_, said) = tap.stop()?;
    let (lost, captured) = lost_and_captured(&file)?;
    ensure!(said.contains(&format!("{captured} captured, {lost} lost")), "{said}");
    ensure!(captured > 0 && captured + lost == 2 * passed, "{captured} and {lost} lost: {said}");
    Ok(())
}

/// How many frames came in on vm1, once no more do.
fn settled(lan: &Lan, before: &Snapshot) -> Result<u64> {
    let mut last = 0;
    wait_until("end of the stream", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(300));
        let moved = before.moved(&lan.daemon)?;
        let came = moved
            .iter()
            .find(|(port, name, _)| port == "vm1" && name == "rx_frames")
            .map_or(0, |(.., by)| *by);
        Ok(std::mem::replace(&mut last, came) == came && came > 0)
    })?;
    Ok(last)
}

/// Packets that the file says are missing in it, and those that are there.
fn lost_and_captured(file: &Path) -> Result<(u64, u64)> {
    let script = include_str!("statistics.py");
    let told = lab::text(Command::new("python3").args(["-c", script]).arg(file))?;
    let mut numbers = told.split_whitespace().map(str::parse);
    let mut next = || numbers.next().context("a number")?.context("a number");
    Ok((next()?, next()?))
}

fn send_many(lan: &Lan, frame: &[u8]) -> Result<()> {
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let script = "import socket, sys, time\n\
                  s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
                  s.bind(('eth0', 0))\n\
                  f = bytes.fromhex(sys.argv[1])\n\
                  for n in range(int(sys.argv[2])):\n    s.send(f)\n    n % 64 or time.sleep(0.001)\n";
    lan.namespace("vm1").exec(&["python3", "-c", script, &hex, &FRAMES.to_string()]).map(drop)
}

fn signal(which: &str, process: u32) -> Result<()> {
    lab::text(Command::new("kill").args([which, &process.to_string()])).map(drop)
}
