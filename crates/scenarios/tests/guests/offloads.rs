//! The offload matrix: what each kind of receiver gets of frames that are still to be segmented.

use crate::gso::{VnetSender, Whole, kinds};
use crate::ledger::assert_finished;
use crate::peers::{Datagrams, Peer, wait_until_up};
use crate::site::{Site, without_offloads};
use anyhow::{Context, Result};
use lab::counters::SWITCH;
use lab::frames::{BROADCAST, EXPERIMENT, Mac, mac, of_length};
use lab::{Capture, Captured, FAR_MAC, NIC, Namespace, Snapshot};

const PEER: &str = "02:00:00:09:00:62";
/// No more than a unix socket queues by default (net.unix.max_dgram_qlen).
const SEGMENTS: usize = 8;

/// Adds the port `peer` on a datagram socket, whose peer takes no offloads.
fn peer(site: &Site) -> Result<Datagrams> {
    let path = site.daemon.scratch().join("port.sock");
    let socket = path.display().to_string();
    site.daemon.cli_ok(&["port", "add", "lan", "peer", "--unix-dgram", &socket, "--mac", PEER])?;
    site.make_trunk("peer")?;
    let mut peer = Datagrams::connect(&path)?;
    peer.send(&of_length(BROADCAST, mac(PEER), EXPERIMENT, 60))?;
    wait_until_up(&site.daemon, "lan/peer")?;
    Ok(peer)
}

/// Counters of a frame that came in whole at `from` and left at `to` as `count` frames of `bytes` bytes together.
fn passed<'a>(whole: &Whole, from: &'a str, to: &'a str, frames: &[Vec<u8>]) -> Vec<(&'a str, &'a str, u64)> {
    let (rx_bytes, count) = (whole.frame.len() as u64, frames.len() as u64);
    let tx_bytes = frames.iter().map(|frame| frame.len() as u64).sum();
    let rx = |port| [(port, "rx_frames", 1), (port, "rx_bytes", rx_bytes)];
    let tx = |port| [(port, "tx_frames", count), (port, "tx_bytes", tx_bytes)];
    [&rx(from)[..], &rx(SWITCH), &tx(to), &tx(SWITCH), &[(SWITCH, "copies", count - 1)]].concat()
}

fn incoming(from: Mac) -> impl Fn(&Captured) -> bool {
    move |frame| !frame.outgoing && frame.bytes[6..12] == from
}

/// Sends every kind of whole frame from an interface and has `receive` judge what arrives.
fn send_every_kind(
    site: &Site,
    (namespace, from, source): (&Namespace, &str, Mac),
    (to, destination): (&str, Mac),
    mut receive: impl FnMut(&Whole) -> Result<Vec<Vec<u8>>>,
) -> Result<()> {
    let mut sender = VnetSender::open(namespace, "eth0")?;
    for kind in kinds() {
        let whole = Whole::new(kind, destination, source, SEGMENTS);
        let before = Snapshot::take(&site.daemon, "lan")?;
        sender.send(&whole)?;
        let arrived = receive(&whole).with_context(|| format!("{kind:?} from {from} to {to}"))?;
        let expected = passed(&whole, from, to, &arrived);
        before.expect_delta(&site.daemon, &expected).with_context(|| format!("{kind:?}"))?;
    }
    Ok(())
}

#[test]
fn root_whole_segments_are_cut_for_a_receiver_without_offloads() -> Result<()> {
    let site = Site::ipv4_only()?;
    let vm = site.trunk_vm("vm1")?;
    let mut peer = peer(&site)?;
    let vm_mac = mac(&vm.mac("eth0")?);
    for from in [(&vm, "vm1", vm_mac), (&site.world.far, "nic0", mac(FAR_MAC))] {
        send_every_kind(&site, from, ("peer", mac(PEER)), |whole| {
            let segments = (0..whole.segments()).map(|_| peer.receive()).collect::<Result<Vec<_>>>()?;
            whole.assert_cut_into(&segments)?;
            Ok(segments)
        })?;
    }
    drop(vm);
    site.close()
}

#[test]
fn root_whole_segments_pass_whole_to_receivers_with_offloads() -> Result<()> {
    let site = Site::ipv4_only()?;
    let (vm1, vm2) = (site.trunk_vm("vm1")?, site.trunk_vm("vm2")?);
    let [mac1, mac2] = [&vm1, &vm2].map(|vm| vm.mac("eth0").map(|text| mac(&text)));
    let (mac1, mac2, far_mac) = (mac1?, mac2?, mac(FAR_MAC));
    let far = &site.world.far;
    let ways = [
        (&vm1, "vm1", mac1, far, "nic0", far_mac),
        (far, "nic0", far_mac, &vm1, "vm1", mac1),
        (&vm1, "vm1", mac1, &vm2, "vm2", mac2),
    ];
    for (sender, from, source, receiver, to, destination) in ways {
        let capture = Capture::start(receiver, "eth0")?;
        let mut count = 0;
        send_every_kind(&site, (sender, from, source), (to, destination), |whole| {
            count += 1;
            let frames = capture.wait_for(count, incoming(source))?;
            let last = frames.last().context("nothing came")?;
            assert!(last.bytes == whole.frame, "{:?} was changed on its way", whole.kind);
            assert!(last.checksum_missing, "{:?} was completed on its way", whole.kind);
            Ok(vec![last.bytes.clone()])
        })?;
    }
    site.close()
}

#[test]
fn root_a_wire_without_offloads_gets_finished_segments() -> Result<()> {
    let site = Site::ipv4_only()?;
    let (world, vm) = (&site.world, site.trunk_vm("vm1")?);
    for (namespace, interface) in
        [(&world.host, NIC), (&world.phys, "p1"), (&world.phys, "p2"), (&world.far, "eth0")]
    {
        without_offloads(namespace, interface)?;
    }
    let source = mac(&vm.mac("eth0")?);
    let capture = Capture::start(&world.far, "eth0")?;
    let mut sender = VnetSender::open(&vm, "eth0")?;
    let mut seen = 0;
    for kind in kinds() {
        let whole = Whole::new(kind, mac(FAR_MAC), source, SEGMENTS);
        sender.send(&whole)?;
        seen += SEGMENTS;
        let frames = capture.wait_for(seen, incoming(source))?;
        let segments = &frames[seen - SEGMENTS..];
        assert_finished(segments)?;
        let bytes: Vec<_> = segments.iter().map(|frame| frame.bytes.clone()).collect();
        whole.assert_cut_into(&bytes).with_context(|| format!("{kind:?}"))?;
    }
    site.close()
}
