//! A real guest with VLAN interfaces of its own on a trunk, and machines in those VLANs.

use crate::site::Site;
use anyhow::{Context, Result, ensure};
use lab::transfer::Endpoint;
use lab::{Guest, GuestOptions, Namespace, Netdev, Nic, Snapshot, VhostUser};

const BYTES: u64 = 30_000_000;

/// Machines in VLAN 10 and 20, which know nothing of VLANs.
fn machines(site: &Site) -> Result<[Namespace; 2]> {
    let machine = |vlan: u8| {
        let port = format!("vlan{vlan}");
        let machine = site.vm(&port)?;
        site.daemon.cli_ok(&["port", "set", &format!("lan/{port}"), "--vlan", &format!("access={vlan}")])?;
        machine.add_address("eth0", &format!("10.{vlan}.0.2/24"))?;
        Ok::<_, anyhow::Error>(machine)
    };
    Ok([machine(10)?, machine(20)?])
}

fn speaks_in_both_vlans(site: &Site, options: &GuestOptions) -> Result<()> {
    let machines = machines(site)?;
    let mut guest = Guest::boot(&site.world.host, options)?;
    guest.run("ip link set eth0 up")?;
    for vlan in [10, 20] {
        guest.run(&format!(
            "ip link add link eth0 name v{vlan} type vlan id {vlan} || vconfig add eth0 {vlan}"
        ))?;
        let interface = guest.run("ls /sys/class/net")?;
        let interface = interface.split_whitespace().find(|name| name.ends_with(&vlan.to_string()));
        let interface = interface.context("no VLAN interface")?;
        guest.run(&format!("ip addr add 10.{vlan}.0.1/24 dev {interface}; ip link set {interface} up"))?;
        guest.run(&format!("ping -c 2 -W 5 10.{vlan}.0.2"))?;
    }
    let before = Snapshot::take(&site.daemon, "lan")?;
    for (machine, vlan) in machines.iter().zip([10, 20]) {
        let sink = Endpoint::sink(machine, 5000)?;
        let sent = guest.send_stream(&format!("10.{vlan}.0.2"), 5000, BYTES)?;
        assert_eq!((sent.bytes, &sent), (BYTES, &sink.finish()?));
        let source = Endpoint::source(machine, 5001, BYTES)?;
        let received = guest.receive_stream(&format!("10.{vlan}.0.2"), 5001)?;
        assert_eq!((received.bytes, &received), (BYTES, &source.finish()?));
    }
    let after = Snapshot::take(&site.daemon, "lan")?;
    let mean = |way: &str| {
        let moved = |counter: String| after.get("vm1", &counter) - before.get("vm1", &counter);
        moved(format!("{way}_bytes")) / moved(format!("{way}_frames")).max(1)
    };
    ensure!(
        mean("rx") > 1514 && mean("tx") > 1514,
        "segments do not pass whole: {} {}",
        mean("rx"),
        mean("tx")
    );
    Ok(())
}

#[test]
fn root_a_real_guest_on_a_tap_trunk_speaks_in_each_of_its_vlans() -> Result<()> {
    let site = Site::ipv4_only()?;
    let added = ["port", "add", "lan", "vm1", "--tap", "tap1", "--vlan", "trunk=10,20"];
    let printed = site.daemon.cli_ok(&added)?;
    let (_, options) = printed.split_once("QEMU options:\n").with_context(|| printed.clone())?;
    speaks_in_both_vlans(&site, &GuestOptions::connected(options))?;
    site.close()
}

#[test]
fn root_a_real_guest_on_a_vhost_user_trunk_speaks_in_each_of_its_vlans() -> Result<()> {
    let site = Site::ipv4_only()?;
    let socket = site.daemon.scratch().join("vm1.sock");
    let path = socket.display().to_string();
    let added = ["port", "add", "lan", "vm1", "--vhost-user", &path, "--vlan", "trunk=10,20"];
    let added = site.daemon.cli_json(&added)?;
    let vhost = VhostUser { socket, listens: false, queues: 1, packed: false, ring: 256 };
    let nic = Nic::new(Netdev::VhostUser(vhost), added["mac"].as_str().context("no MAC")?);
    speaks_in_both_vlans(&site, &GuestOptions::new(vec![nic]))?;
    site.close()
}
