//! Storm limit: as many flooded frames a second as a port may send.

use super::stage::Stage;
use anyhow::{Result, ensure};
use lab::Snapshot;
use std::thread;
use std::time::Duration;

/// Frames of 60 bytes and more, at once.
fn send(stage: &Stage, to: &str, count: u64) -> Result<()> {
    let line = format!("mausezahn eth0 -q -c {count} -p 100 -b {to} -B 10.0.0.99 -t udp dp=9");
    stage.vms[0].exec(&line.split_whitespace().collect::<Vec<_>>()).map(drop)
}

#[test]
fn root_a_vm_floods_no_more_frames_in_a_second_than_it_may_and_others_pass() -> Result<()> {
    // An open port gets what is for addresses that nobody has.
    let stage = Stage::new("", &["--storm-limit 100", "--guard off", ""])?;
    let known = stage.vms[2].mac("eth0")?;
    let mut before = Snapshot::take(&stage.daemon, "lab")?;
    for (to, copies) in [("ff:ff:ff:ff:ff:ff", 2), ("01:00:5e:01:02:03", 2), ("02:00:00:00:99:99", 1)] {
        // Each has a second of its own.
        thread::sleep(Duration::from_millis(1100));
        send(&stage, to, 250)?;
        let mut expected = vec![
            ("*", "drops.storm_limit", 150),
            ("*", "rx_bytes", 250 * 142),
            ("*", "rx_frames", 250),
            ("*", "tx_bytes", copies * 100 * 142),
            ("*", "tx_frames", copies * 100),
            ("vm1", "drops.storm_limit", 150),
            ("vm1", "rx_bytes", 250 * 142),
            ("vm1", "rx_frames", 250),
            ("vm2", "tx_bytes", 100 * 142),
            ("vm2", "tx_frames", 100),
        ];
        if copies == 2 {
            expected.extend([
                ("*", "copies", 100),
                ("vm3", "tx_bytes", 100 * 142),
                ("vm3", "tx_frames", 100),
            ]);
        }
        before = before.expect_delta(&stage.daemon, &expected)?;
    }
    // Whatever was flooded, what is for somebody passes.
    send(&stage, "ff:ff:ff:ff:ff:ff", 250)?;
    let before = Snapshot::take(&stage.daemon, "lab")?;
    send(&stage, &known, 250)?;
    let expected = [
        ("*", "rx_bytes", 250 * 142),
        ("*", "rx_frames", 250),
        ("*", "tx_bytes", 250 * 142),
        ("*", "tx_frames", 250),
        ("vm1", "rx_bytes", 250 * 142),
        ("vm1", "rx_frames", 250),
        ("vm3", "tx_bytes", 250 * 142),
        ("vm3", "tx_frames", 250),
    ];
    before.expect_delta(&stage.daemon, &expected)?;
    let told = stage.daemon.cli_ok(&["explain", "lab/vm1", "--to", "ff:ff:ff:ff:ff:ff"])?;
    ensure!(told.contains("storm limit"), "{told}");
    stage.close()
}
