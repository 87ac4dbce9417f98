//! External, internal and private switches, and one that becomes the other.

use crate::lan::{Lan, NOBODY, VM1, VM2, frame};
use crate::round::Round;
use anyhow::Result;
use lab::{Capture, Daemon, NIC, NIC_MAC, Pinged, Pinger, wait_until};
use std::time::Duration;

const EVERYBODY: &str = "ff:ff:ff:ff:ff:ff";

/// Everything that came in from the NIC's cable.
fn left(wire: Capture) -> Result<Vec<Vec<u8>>> {
    Ok(wire.stop()?.into_iter().filter(|frame| !frame.outgoing).map(|frame| frame.bytes).collect())
}

#[test]
fn root_an_internal_switch_joins_vms_and_host_and_nothing_leaves() -> Result<()> {
    let mut lan = Lan::new(&["--internal"])?;
    let wire = Capture::start(&lan.world.phys, "p1")?;
    lan.watch_host("host", "lan")?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &[])?;
    let host = lan.world.host.mac("lan")?;
    lan.run(
        Round::default()
            .sends("vm1", &frame(VM2, VM1))
            .reaches(&["vm2"])
            .sends("vm1", &frame(&host, VM1))
            .reaches(&["host"])
            .sends("vm1", &frame(EVERYBODY, VM1))
            .reaches(&["host", "vm2"])
            .sends("vm1", &frame(NOBODY, VM1))
            .drops("vm1", "no_destination"),
    )?;
    lan.run(
        Round::default()
            .sends("host", &frame(VM1, &host))
            .reaches(&["vm1"])
            .sends("host", &frame(EVERYBODY, &host))
            .reaches(&["vm1", "vm2"]),
    )?;
    assert_eq!(left(wire)?, Vec::<Vec<u8>>::new());
    lan.finish()
}

#[test]
fn root_a_private_switch_joins_vms_only_and_nothing_leaves() -> Result<()> {
    let mut lan = Lan::new(&["--private"])?;
    let wire = Capture::start(&lan.world.phys, "p1")?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &[])?;
    assert_eq!(lan.world.host.interfaces()?, [NIC]);
    lan.run(
        Round::default()
            .sends("vm1", &frame(VM2, VM1))
            .reaches(&["vm2"])
            .sends("vm2", &frame(EVERYBODY, VM2))
            .reaches(&["vm1"])
            .sends("vm2", &frame(NOBODY, VM2))
            .drops("vm2", "no_destination"),
    )?;
    let refused = lan.daemon.cli_refused(1, &["port", "add", "lan", "host", "--host", "lan"])?;
    assert!(refused.contains("private"), "{refused}");
    assert_eq!(left(wire)?, Vec::<Vec<u8>>::new());
    lan.finish()
}

#[test]
fn root_frames_leave_while_a_converted_switch_is_external_and_not_before_or_after() -> Result<()> {
    let mut lan = Lan::new(&["--internal"])?;
    let wire = Capture::start(&lan.world.phys, "p1")?;
    lan.vm("vm1", VM1, &[])?;
    let unknown = frame(NOBODY, VM1);
    lan.run(Round::default().sends("vm1", &unknown).drops("vm1", "no_destination"))?;
    lan.daemon.cli_ok(&["switch", "set", "lan", "--external", NIC])?;
    assert_eq!(lan.world.host.mac("lan")?, NIC_MAC);
    lan.run(Round::default().sends("vm1", &unknown).reaches(&[NIC]))?;
    assert_eq!(lan.world.phys_fdb()?.get(VM1).map(String::as_str), Some("p1"));
    lan.daemon.cli_ok(&["switch", "set", "lan", "--private"])?;
    lan.send("vm1", &unknown)?;
    let dropped = || -> Result<u64> {
        let port = lan.daemon.cli_json(&["port", "show", "lan/vm1"])?;
        Ok(port["stats"]["drops"]["no_destination"].as_u64().unwrap_or_default())
    };
    wait_until("the drop", Duration::from_secs(10), || Ok(dropped()? == 2))?;
    assert_eq!(left(wire)?, [unknown]);
    lan.finish()
}

/// Waits until some more echoes have been answered.
fn goes_on(daemon: &Daemon) -> Result<()> {
    let answers = || -> Result<u64> { Ok(lab::Snapshot::read(daemon, "lan")?.get("vm2", "rx_frames")) };
    let until = answers()? + 20;
    wait_until("answers", Duration::from_secs(10), || Ok(answers()? >= until))
}

#[test]
fn root_a_switch_converts_between_its_kinds_in_place_and_its_vms_notice_nothing() -> Result<()> {
    let mut lan = Lan::new(&["--private"])?;
    for (name, mac, peer) in [("vm1", VM1, ("10.8.0.2", VM2)), ("vm2", VM2, ("10.8.0.1", VM1))] {
        lan.vm(name, mac, &[])?;
        let own = if name == "vm1" { "10.8.0.1/24" } else { "10.8.0.2/24" };
        lan.namespace(name).add_address("eth0", own)?;
        lan.namespace(name).ip(&format!("neigh replace {} lladdr {} dev eth0", peer.0, peer.1))?;
        lan.unwatch(name)?;
    }
    let vnic =
        || -> Result<_> { Ok(lan.namespace("vm1").ip_json("link show dev eth0")?[0]["ifindex"].clone()) };
    let (first, wire, before) =
        (vnic()?, Capture::start(&lan.world.phys, "p1")?, lab::Snapshot::take(&lan.daemon, "lan")?);

    let pinger = Pinger::start(lan.namespace("vm1"), "10.8.0.2", Duration::from_millis(10))?;
    let steps = [
        (&["--internal"][..], &["lan", NIC][..]),
        (&["--external", NIC], &["lan", NIC]),
        (&["--internal"], &["lan", NIC]),
        (&["--private"], &[NIC]),
        (&["--external", NIC], &["lan", NIC]),
        (&["--private"], &[NIC]),
    ];
    for (kind, interfaces) in steps {
        lan.daemon.cli_ok(&[&["switch", "set", "lan"], kind].concat())?;
        let mut found = lan.world.host.interfaces()?;
        found.sort();
        assert_eq!(found, interfaces, "after {kind:?}");
        goes_on(&lan.daemon)?;
    }
    let pinged = pinger.stop()?;
    let sent = pinged.sent as u64;
    assert_eq!(pinged, Pinged { twice: 0, lost: vec![], ..pinged.clone() });

    assert_eq!(vnic()?, first, "the vNIC is still the same");
    assert_eq!(left(wire)?, Vec::<Vec<u8>>::new());
    let (frames, bytes) = (2 * sent, 2 * sent * 98);
    let half = |port| {
        [("rx_frames", sent), ("rx_bytes", sent * 98), ("tx_frames", sent), ("tx_bytes", sent * 98)]
            .map(|(n, by)| (port, n, by))
    };
    let all = [("rx_frames", frames), ("rx_bytes", bytes), ("tx_frames", frames), ("tx_bytes", bytes)]
        .map(|(n, by)| ("*", n, by));
    before.expect_delta(&lan.daemon, &[half("vm1"), half("vm2"), all].concat())?;
    lan.finish()
}
