//! The options that `port add` prints are all that QEMU needs.

use anyhow::{Context, Result};
use lab::{Daemon, FAR_IPV4, Guest, GuestOptions, NIC, Snapshot, World, WorldOptions};

#[test]
fn root_a_guest_comes_up_with_the_options_that_port_add_prints_in_either_role() -> Result<()> {
    let world = World::with(&WorldOptions { mtu: 9000, ..WorldOptions::default() })?;
    let mut daemon = Daemon::start(&world.host)?;
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC])?;
    for role in ["server", "client"] {
        let socket = daemon.scratch().join(format!("{role}.sock")).display().to_string();
        let add = ["port", "add", "lan", role, "--vhost-user", &socket, "--vhost-role", role];
        let printed = daemon.cli_ok(&add)?;
        let (_, printed) = printed.split_once("QEMU options:\n").with_context(|| printed.clone())?;
        let mut options = GuestOptions::connected(printed);
        // Without KVM QEMU 7.2 needs that besides, see docs/vhost-user.md.
        options.arguments.extend(["-global", "virtio-net-pci.vectors=0"].map(str::to_owned));
        let mut guest = Guest::boot(&world.host, &options)?;
        guest.run("ip addr add 10.9.0.21/24 dev eth0 && ip link set eth0 up")?;
        guest.run(&format!("ping -c 1 -W 5 -s 8972 {FAR_IPV4}"))?;
    }
    Snapshot::take(&daemon, "lan")?;
    daemon.cli_ok(&["switch", "remove", "lan"])?;
    daemon.stop()
}
