//! Unix socket ports work without root: vmswitchd as a user with no capability at all.

use crate::peers::{Datagrams, Peer, Stream, wait_until_up};
use anyhow::Result;
use lab::counters::SWITCH;
use lab::frames::{BROADCAST, EXPERIMENT, Mac, mac, of_length};
use lab::{Daemon, DaemonOptions, Namespace, Snapshot};

/// Debian's `nobody`.
const NOBODY: u32 = 65_534;
const ONE: &str = "02:00:00:09:00:11";
const TWO: &str = "02:00:00:09:00:12";
const LENGTHS: [usize; 4] = [60, 61, 1000, 1514];

fn exchange(from: &mut dyn Peer, source: Mac, to: &mut dyn Peer, destination: Mac) -> Result<()> {
    for length in LENGTHS {
        let frame = of_length(destination, source, EXPERIMENT, length);
        from.send(&frame)?;
        assert_eq!(to.receive()?, frame);
    }
    Ok(())
}

#[test]
fn root_a_daemon_without_root_switches_between_unix_sockets() -> Result<()> {
    let namespace = Namespace::new("user")?;
    let options = DaemonOptions { user: Some(NOBODY), ..DaemonOptions::default() };
    let mut daemon = Daemon::start_with(&namespace, options)?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id()?))?;
    let is = |line: &str| assert!(status.contains(line), "no {line:?} in {status}");
    is(&format!("Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}"));
    is("CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000");

    let (stream, dgram) = (daemon.scratch().join("one.sock"), daemon.scratch().join("two.sock"));
    let [one, two] = [&stream, &dgram].map(|path| path.display().to_string());
    daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    daemon.cli_ok(&["port", "add", "lab", "one", "--unix-stream", &one, "--mac", ONE])?;
    daemon.cli_ok(&["port", "add", "lab", "two", "--unix-dgram", &two, "--mac", TWO])?;
    let (mut one, mut two) = (Stream::connect(&stream)?, Datagrams::connect(&dgram)?);
    wait_until_up(&daemon, "lab/one")?;
    let before = Snapshot::take(&daemon, "lab")?;
    // The first datagram tells the port where its peer is.
    let hello = of_length(BROADCAST, mac(TWO), EXPERIMENT, 60);
    two.send(&hello)?;
    assert_eq!(one.receive()?, hello);
    wait_until_up(&daemon, "lab/two")?;
    exchange(&mut one, mac(ONE), &mut two, mac(TWO))?;
    exchange(&mut two, mac(TWO), &mut one, mac(ONE))?;

    let (frames, bytes) = (LENGTHS.len() as u64, LENGTHS.iter().sum::<usize>() as u64);
    let (two_frames, two_bytes) = (frames + 1, bytes + 60);
    let rows = [("one", frames, bytes, two_frames, two_bytes), ("two", two_frames, two_bytes, frames, bytes)];
    let sums = (SWITCH, frames + two_frames, bytes + two_bytes, frames + two_frames, bytes + two_bytes);
    let row = |(name, rx, rx_bytes, tx, tx_bytes)| {
        [("rx_frames", rx), ("rx_bytes", rx_bytes), ("tx_frames", tx), ("tx_bytes", tx_bytes)]
            .map(|(counter, by)| (name, counter, by))
    };
    let expected: Vec<_> = rows.into_iter().chain([sums]).flat_map(row).collect();
    before.expect_delta(&daemon, &expected)?;

    let refused = daemon.cli_refused(1, &["switch", "add", "other", "--internal"])?;
    assert!(refused.contains("CAP_NET_ADMIN"), "{refused}");
    daemon.cli_ok(&["switch", "remove", "lab"])?;
    daemon.stop()?;
    assert!(!stream.exists() && !dgram.exists(), "its sockets are left");
    Ok(())
}
