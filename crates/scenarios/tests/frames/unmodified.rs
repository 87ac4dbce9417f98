//! Frames pass byte for byte as they were sent, in both directions.

use crate::lan::{Lan, NOBODY, OUTSIDE, TRUNK, VM1, VM2, frame};
use crate::round::Round;
use anyhow::Result;
use lab::frames::{self, EXPERIMENT, of_every_kind};
use lab::{HOST_IPV4, NIC, NIC_MAC, WorldOptions, wait_until};
use std::time::Duration;

/// A round in which each frame goes from one port to one other.
pub fn one_way(from: &str, to: &str, frames: &[Vec<u8>]) -> Round {
    frames.iter().fold(Round::default(), |round, frame| round.sends(from, frame).reaches(&[to]))
}

#[test]
fn root_a_frame_leaves_the_nic_unmodified() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.vm("vm1", VM1, TRUNK)?;
    lan.vm("vm2", VM2, TRUNK)?;
    lan.run(one_way("vm1", NIC, &of_every_kind(NOBODY, VM1)))?;
    lan.finish()
}

#[test]
fn root_a_frame_comes_in_unmodified() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.vm("vm1", VM1, TRUNK)?;
    lan.vm("vm2", VM2, TRUNK)?;
    lan.run(one_way(NIC, "vm1", &of_every_kind(VM1, OUTSIDE)))?;
    lan.run(one_way("vm2", "vm1", &of_every_kind(VM1, VM2)))?;
    lan.finish()
}

/// Jumbo frames pass an uplink that is made with these further arguments.
pub fn jumbo_frames_pass(arguments: &[&str]) -> Result<()> {
    let options = WorldOptions { mtu: 9000, host_addresses: false, ..WorldOptions::default() };
    let mut lan = Lan::in_world(&options, &[&["--external", NIC], arguments].concat())?;
    lan.watch_uplink()?;
    lan.vm("vm1", VM1, TRUNK)?;
    let jumbo = |to, from| {
        let frame = frames::of_length(frames::mac(to), frames::mac(from), EXPERIMENT, 9014);
        [frames::tagged(&frame, 2, 100), frame]
    };
    lan.run(one_way("vm1", NIC, &jumbo(NOBODY, VM1)))?;
    lan.run(one_way(NIC, "vm1", &jumbo(VM1, OUTSIDE)))?;
    lan.finish()
}

#[test]
fn root_a_jumbo_frame_passes_unmodified_where_the_mtu_allows() -> Result<()> {
    jumbo_frames_pass(&[])
}

#[test]
fn root_the_physical_switch_learns_the_vm_and_the_nic_only_when_the_host_speaks() -> Result<()> {
    let mut lan = Lan::in_world(&WorldOptions::default(), &["--external", NIC])?;
    lan.vm("vm1", VM1, TRUNK)?;
    assert_eq!(lan.world.phys_fdb()?.get(NIC_MAC), None, "taking the NIC over made it speak");
    lan.run(Round::default().sends("vm1", &frame(NOBODY, VM1)).reaches(&[NIC]))?;
    wait_until("the VM learned outside", Duration::from_secs(5), || {
        Ok(lan.world.phys_fdb()?.get(VM1).is_some_and(|port| port == "p1"))
    })?;
    assert_eq!(lan.world.phys_fdb()?.get(NIC_MAC), None, "the host has not spoken yet");

    let before = lan.counters()?;
    lan.world.far.ping(HOST_IPV4)?;
    let fdb = lan.world.phys_fdb()?;
    assert_eq!((fdb.get(NIC_MAC), fdb.get(VM1)), (Some(&"p1".to_owned()), Some(&"p1".to_owned())));
    // The far machine asks everybody for the address and sends one echo; the host answers both.
    let (arp, echo) = (42, 98);
    let moved = [
        (NIC, "rx_frames", 2),
        (NIC, "rx_bytes", arp + echo),
        (NIC, "tx_frames", 2),
        (NIC, "tx_bytes", arp + echo),
        ("host", "rx_frames", 2),
        ("host", "rx_bytes", arp + echo),
        ("host", "tx_frames", 2),
        ("host", "tx_bytes", arp + echo),
        ("vm1", "tx_frames", 1),
        ("vm1", "tx_bytes", arp),
        ("*", "rx_frames", 4),
        ("*", "rx_bytes", 2 * (arp + echo)),
        ("*", "tx_frames", 5),
        ("*", "tx_bytes", 2 * (arp + echo) + arp),
        ("*", "copies", 1),
    ];
    before.expect_delta(&lan.daemon, &moved)?;
    // Not finished by `finish`: the VM got the question, which no round expected.
    lan.daemon.cli_ok(&["switch", "remove", "lan"])?;
    lan.world.far.ping(HOST_IPV4)
}
