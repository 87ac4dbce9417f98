//! vmswitchd ends and starts again: everything is taken up where it was.

use crate::confirm::{deadline, wait_until_past};
use crate::state::{Before, PATIENCE, expect_hostless, reboot, settings};
use crate::stream::Stream;
use anyhow::{Result, ensure};
use lab::{Daemon, FAR_IPV4, NIC, Namespace, Snapshot, World};

const VM_IPV4: &str = "10.9.0.50";

fn survives(end: impl Fn(&mut Daemon) -> Result<()>) -> Result<()> {
    let (world, vm) = (World::new()?, Namespace::new("vm")?);
    let (before, mut daemon) = (Before::of(&world.host)?, Daemon::start(&world.host)?);
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC])?;
    daemon.cli_ok(&["port", "add", "lan", "vm", "--netns", vm.name()])?;
    vm.add_address("eth0", &format!("{VM_IPV4}/24"))?;
    vm.ip(&format!("route add default via {FAR_IPV4} dev eth0"))?;
    vm.ip("neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 nud permanent dev eth0")?;
    vm.wait_ping(FAR_IPV4, PATIENCE)?;
    let (in_vm, mac) = (settings(&vm, "eth0")?, vm.mac("eth0")?);
    let mut stream = Stream::start(&world.host, &world.far, FAR_IPV4, 7000)?;
    for _ in 0..2 {
        stream.wait_for_more(2_000_000)?;
        end(&mut daemon)?;
        daemon.launch()?;
        stream.wait_for_more(4_000_000)?;
        vm.wait_ping(FAR_IPV4, PATIENCE)?;
        world.far.wait_ping(VM_IPV4, PATIENCE)?;
        before.expect_bound(&world, &daemon)?;
        ensure!(settings(&vm, "eth0")? == in_vm && vm.mac("eth0")? == mac, "the VM's vNIC has changed");
    }
    stream.finish()?;
    Snapshot::take(&daemon, "lan")?;
    daemon.cli_ok(&["switch", "remove", "lan"])?;
    vm.wait_empty()?;
    before.expect_gone(&world, &daemon)
}

#[test]
fn root_a_stop_and_a_start_are_survived_by_addresses_and_connections() -> Result<()> {
    survives(Daemon::stop)
}

#[test]
fn root_a_crash_is_survived_by_addresses_and_connections() -> Result<()> {
    survives(Daemon::kill9)
}

#[test]
fn root_a_host_vnic_that_somebody_removed_meanwhile_is_made_again() -> Result<()> {
    let world = World::new()?;
    let (before, mut daemon) = (Before::of(&world.host)?, Daemon::start(&world.host)?);
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC])?;
    daemon.stop()?;
    world.host.ip("link del lan")?;
    daemon.launch()?;
    before.expect_bound(&world, &daemon)?;
    daemon.cli_ok(&["switch", "remove", "lan"])?;
    before.expect_gone(&world, &daemon)
}

#[test]
fn root_what_was_on_a_host_vnic_that_is_off_is_kept_through_a_crash() -> Result<()> {
    let world = World::new()?;
    let (before, mut daemon) = (Before::of(&world.host)?, Daemon::start(&world.host)?);
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC])?;
    daemon.cli_ok(&["switch", "set", "lan", "--host", "off"])?;
    daemon.kill9()?;
    daemon.launch()?;
    expect_hostless(&world, &daemon)?;
    daemon.cli_ok(&["switch", "set", "lan", "--host", "on"])?;
    before.expect_bound(&world, &daemon)?;
    daemon.cli_ok(&["switch", "remove", "lan"])?;
    before.expect_gone(&world, &daemon)
}

#[test]
fn root_after_a_reboot_the_nic_is_taken_over_anew() -> Result<()> {
    let world = World::new()?;
    let (before, mut daemon) = (Before::of(&world.host)?, Daemon::start(&world.host)?);
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC])?;
    daemon.kill9()?;
    reboot(&world, &daemon)?;
    daemon.launch()?;
    before.expect_bound(&world, &daemon)?;
    daemon.cli_ok(&["switch", "remove", "lan"])?;
    before.expect_gone(&world, &daemon)
}

#[test]
fn root_after_a_reboot_an_unconfirmed_switch_is_not_made_again() -> Result<()> {
    let world = World::new()?;
    let (before, mut daemon) = (Before::of(&world.host)?, Daemon::start(&world.host)?);
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC, "--confirm", "1s"])?;
    daemon.kill9()?;
    reboot(&world, &daemon)?;
    wait_until_past(deadline(&daemon)?)?;
    daemon.launch()?;
    before.expect_gone(&world, &daemon)
}
