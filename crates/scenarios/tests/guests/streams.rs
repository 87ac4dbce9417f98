//! What the stacks of VMs and of the far machine send by themselves, both ways, with offloads on and off.

use crate::ledger::assert_finished;
use crate::site::{Site, without_offloads};
use anyhow::{Context, Result};
use lab::transfer::Endpoint;
use lab::{Capture, Captured, FAR_IPV4, FAR_IPV6, NIC, Namespace, Process, Snapshot, WorldOptions};
use std::time::Duration;

const BYTES: u64 = 4_000_000;
/// Ethernet with an MTU of 1500.
const LONGEST: usize = 1514;
const VM_IPV4: &str = "10.9.0.11";
const VM_IPV6: &str = "fd00:9::11";

/// Moves bytes over TCP; what arrives is what was sent.
fn tcp(from: &Namespace, to: &Namespace, address: &str) -> Result<()> {
    let sink = Endpoint::sink(to, 5000)?;
    let connect = "import hashlib, os, socket, sys\n\
                   data = os.urandom(int(sys.argv[2]))\n\
                   with socket.create_connection((sys.argv[1], 5000)) as out: out.sendall(data)\n\
                   print(hashlib.sha256(data).hexdigest())";
    let sent = from.exec(&["python3", "-c", connect, address, &BYTES.to_string()])?;
    let arrived = sink.finish()?;
    assert_eq!((arrived.bytes, arrived.sha256.as_str()), (BYTES, sent.trim()));
    Ok(())
}

/// Moves datagrams whose segmentation the sender leaves to whoever can do it; what arrives is what was sent.
fn udp(from: &Namespace, to: &Namespace, address: &str) -> Result<()> {
    let dir = lab::temp_dir()?;
    let script = include_str!("datagrams.py");
    let mut sink = to.spawn(&["python3", "-c", script, "sink"], &dir.path().join("log"))?;
    sink.wait_for_log("listening", Duration::from_secs(10))?;
    let sent = from.exec(&["python3", "-c", script, "source", address])?;
    let arrived = finish(&mut sink)?;
    assert_eq!(arrived.lines().last(), sent.lines().last(), "datagrams and their hash");
    Ok(())
}

fn finish(process: &mut Process) -> Result<String> {
    process.wait(Duration::from_secs(10)).with_context(|| process.log())?;
    Ok(process.log())
}

/// TCP and UDP over both versions of IP, both ways.
fn exchange(vm: &Namespace, other: &Namespace, [v4, v6]: [&str; 2]) -> Result<()> {
    for (own, address) in [(VM_IPV4, v4), (VM_IPV6, v6)] {
        tcp(vm, other, address)?;
        tcp(other, vm, own)?;
        udp(vm, other, address)?;
        udp(other, vm, own)?;
    }
    Ok(())
}

/// Frames of TCP and UDP that came in above the MTU and still without their checksum: (TCP, UDP).
fn whole(frames: &[Captured]) -> (usize, usize) {
    let is = |frame: &&Captured, protocol| {
        let of = crate::checksums::Transport::of(&frame.bytes).map(|t| t.protocol);
        !frame.outgoing && frame.checksum_missing && frame.bytes.len() > LONGEST && of == Some(protocol)
    };
    let count = |protocol| frames.iter().filter(|frame| is(frame, protocol)).count();
    (count(crate::checksums::TCP), count(crate::checksums::UDP))
}

fn assert_whole(capture: Capture, at: &str) -> Result<()> {
    let (tcp, udp) = whole(&capture.stop()?);
    assert!(tcp > 10 && udp > 10, "at {at} {tcp} TCP and {udp} UDP frames came whole");
    Ok(())
}

#[test]
fn root_streams_between_a_vm_and_outside_pass_whole_where_both_can() -> Result<()> {
    let site = Site::new()?;
    let vm = site.vm_with_addresses("vm1", 11)?;
    let far = &site.world.far;
    let before = Snapshot::take(&site.daemon, "lan")?;
    let (at_vm, at_far) = (Capture::start(&vm, "eth0")?, Capture::start(far, "eth0")?);
    exchange(&vm, far, [FAR_IPV4, FAR_IPV6])?;
    let after = Snapshot::take(&site.daemon, "lan")?;
    assert_whole(at_vm, "the VM")?;
    assert_whole(at_far, "the far machine")?;
    assert_eq!(after.get("vm1", "drops.receiver_full"), before.get("vm1", "drops.receiver_full"));
    site.close()
}

#[test]
fn root_streams_between_a_vm_and_outside_are_cut_and_complete_on_an_af_xdp_uplink() -> Result<()> {
    for mtu in [1500, 9000] {
        let site = Site::with(&WorldOptions { mtu, ..WorldOptions::default() })?.by_af_xdp()?;
        let vm = site.vm_with_addresses("vm1", 11)?;
        let (at_vm, at_far) = (Capture::start(&vm, "eth0")?, Capture::start(&site.world.far, "eth0")?);
        exchange(&vm, &site.world.far, [FAR_IPV4, FAR_IPV6])?;
        for (capture, at) in [(at_vm, "the VM"), (at_far, "the far machine")] {
            let came: Vec<_> = capture.stop()?.into_iter().filter(|frame| !frame.outgoing).collect();
            let longest = came.iter().map(|frame| frame.bytes.len()).max().unwrap_or(0);
            assert_eq!(longest, mtu as usize + 14, "at {at}");
            // The VM's vNIC takes checksums that are left to it.
            if at != "the VM" {
                assert_finished(&came)?;
            }
        }
        site.close()?;
    }
    Ok(())
}

#[test]
fn root_streams_between_vms_pass_whole() -> Result<()> {
    let site = Site::new()?;
    let (vm1, vm2) = (site.vm_with_addresses("vm1", 11)?, site.vm_with_addresses("vm2", 12)?);
    let (at_1, at_2) = (Capture::start(&vm1, "eth0")?, Capture::start(&vm2, "eth0")?);
    exchange(&vm1, &vm2, ["10.9.0.12", "fd00:9::12"])?;
    assert_whole(at_1, "vm1")?;
    assert_whole(at_2, "vm2")?;
    site.close()
}

#[test]
fn root_streams_between_a_vm_and_a_wire_without_offloads_are_segmented_and_complete() -> Result<()> {
    let site = Site::new()?;
    let vm = site.vm_with_addresses("vm1", 11)?;
    let world = &site.world;
    let cables = [(&world.host, NIC), (&world.phys, "p1"), (&world.phys, "p2"), (&world.far, "eth0")];
    for (namespace, interface) in cables {
        without_offloads(namespace, interface)?;
    }
    let at_far = Capture::start(&world.far, "eth0")?;
    exchange(&vm, &world.far, [FAR_IPV4, FAR_IPV6])?;
    let frames = at_far.stop()?;
    let longest = frames.iter().map(|frame| frame.bytes.len()).max().unwrap_or(0);
    assert_eq!(longest, LONGEST);
    assert_finished(&frames)?;
    site.close()
}
