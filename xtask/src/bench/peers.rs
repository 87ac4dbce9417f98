//! The switches that are measured, each in namespace `host`, joining two vNICs and perhaps the NIC.

use super::ovs::Ovs;
use anyhow::{Context, Result};
use clap::ValueEnum;
use lab::{Binaries, Daemon, DaemonOptions, NIC, Namespace, World, WorldOptions};
use std::process::Command;
use std::time::Duration;

/// A switch that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Peer {
    /// A Linux bridge and veth pairs.
    Bridge,
    /// OVS's userspace datapath on the same veth pairs.
    Ovs,
    /// vmswitch, from this workspace.
    Vmswitch,
}

impl Peer {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Bridge => "bridge",
            Peer::Ovs => "ovs",
            Peer::Vmswitch => "vmswitch",
        }
    }
}

/// What has to live as long as the switch. Fields are dropped in this order: programs before their namespaces.
#[derive(Debug)]
pub struct Bed {
    _switch: Switch,
    /// One VM, 10.9.0.1.
    pub a: Namespace,
    /// Another one, 10.9.0.2.
    pub b: Namespace,
    /// The host, and the far machine 10.9.0.3.
    pub world: World,
}

#[derive(Debug)]
enum Switch {
    Kernel,
    Ovs { _running: Ovs },
    Vmswitch { _daemon: Daemon },
}

/// Makes the world with this switch in it; `wire` says whether the NIC is one of its ports.
pub fn start(peer: Peer, wire: bool, ours: Option<&Binaries>) -> Result<Bed> {
    let world = World::with(&WorldOptions { host_addresses: false, ..WorldOptions::default() })?;
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    let switch = match peer {
        Peer::Bridge => bridge(&world, [&a, &b], wire)?,
        Peer::Ovs => ovs(&world, [&a, &b], wire)?,
        Peer::Vmswitch => vmswitch(&world, [&a, &b], wire, ours.context("vmswitch was not built")?)?,
    };
    a.add_address("eth0", "10.9.0.1/24")?;
    b.add_address("eth0", "10.9.0.2/24")?;
    Ok(Bed { _switch: switch, a, b, world })
}

/// A veth pair: `eth0` in the VM, `v0`, `v1`… in the host.
fn veth(host: &Namespace, vm: &Namespace, number: usize) -> Result<String> {
    let port = format!("v{number}");
    let (vm, host_name) = (vm.name(), host.name());
    let pair =
        ["link", "add", "eth0", "netns", vm, "type", "veth", "peer", "name", &port, "netns", host_name];
    lab::text(Command::new("ip").args(pair))?;
    host.ip(&format!("link set {port} up"))?;
    Ok(port)
}

fn bridge(world: &World, vms: [&Namespace; 2], wire: bool) -> Result<Switch> {
    let host = &world.host;
    host.ip("link add br0 type bridge")?;
    host.ip("link set br0 up")?;
    for (number, vm) in vms.into_iter().enumerate() {
        let port = veth(host, vm, number)?;
        host.ip(&format!("link set {port} master br0"))?;
    }
    if wire {
        host.ip(&format!("link set {NIC} master br0"))?;
    }
    Ok(Switch::Kernel)
}

fn vmswitch(world: &World, vms: [&Namespace; 2], wire: bool, ours: &Binaries) -> Result<Switch> {
    let options = DaemonOptions { binaries: Some(ours.clone()), ..DaemonOptions::default() };
    let daemon = Daemon::start_with(&world.host, options)?;
    let kind: &[&str] = if wire { &["--external", NIC] } else { &["--private"] };
    daemon.cli_ok(&[&["switch", "add", "lan"], kind].concat())?;
    for (vm, port) in vms.into_iter().zip(["vm0", "vm1"]) {
        daemon.cli_ok(&["port", "add", "lan", port, "--netns", vm.name(), "--ifname", "eth0"])?;
    }
    Ok(Switch::Vmswitch { _daemon: daemon })
}

fn ovs(world: &World, vms: [&Namespace; 2], wire: bool) -> Result<Switch> {
    let (host, ovs) = (&world.host, Ovs::start(&world.host, "ovs-vswitchd", &[])?);
    ovs.control("add-br obr0 -- set bridge obr0 datapath_type=netdev")?;
    for (number, vm) in vms.into_iter().enumerate() {
        ovs.control(&format!("add-port obr0 {}", veth(host, vm, number)?))?;
        finish_checksums(vm)?;
    }
    if wire {
        ovs.control(&format!("add-port obr0 {NIC}"))?;
        finish_checksums(&world.far)?;
    }
    // It has answered before its threads poll the new ports.
    std::thread::sleep(Duration::from_secs(1));
    Ok(Switch::Ovs { _running: ovs })
}

/// OVS's userspace datapath does not finish partial checksums, so the senders have to.
fn finish_checksums(vm: &Namespace) -> Result<()> {
    vm.exec(&["ethtool", "-K", "eth0", "tx", "off"]).map(drop)
}
