//! vmswitchd ends and starts again: everything is taken up where it was.

use crate::confirm::end_time;
use crate::state::{PATIENCE, Site, expect_hostless, settings};
use crate::stream::Stream;
use anyhow::{Result, ensure};
use lab::{Daemon, FAR_IPV4, Namespace, Snapshot};

const VM_IPV4: &str = "10.9.0.50";

fn survives(end: impl Fn(&mut Daemon) -> Result<()>) -> Result<()> {
    let (mut site, vm) = (Site::new()?, Namespace::new("vm")?);
    site.add_switch(&[])?;
    site.daemon.cli_ok(&["port", "add", "lan", "vm", "--netns", vm.name()])?;
    vm.add_address("eth0", &format!("{VM_IPV4}/24"))?;
    vm.ip(&format!("route add default via {FAR_IPV4} dev eth0"))?;
    vm.ip("neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 nud permanent dev eth0")?;
    vm.wait_ping(FAR_IPV4, PATIENCE)?;
    let (in_vm, mac) = (settings(&vm, "eth0")?, vm.mac("eth0")?);
    let mut stream = Stream::start(&site.world.host, &site.world.far, FAR_IPV4, 7000)?;
    for _ in 0..2 {
        stream.wait_for_more(2_000_000)?;
        end(&mut site.daemon)?;
        site.daemon.launch()?;
        stream.wait_for_more(4_000_000)?;
        vm.wait_ping(FAR_IPV4, PATIENCE)?;
        site.world.far.wait_ping(VM_IPV4, PATIENCE)?;
        site.expect_bound()?;
        ensure!(settings(&vm, "eth0")? == in_vm && vm.mac("eth0")? == mac, "the VM's vNIC has changed");
    }
    stream.finish()?;
    Snapshot::take(&site.daemon, "lan")?;
    site.daemon.cli_ok(&["switch", "remove", "lan"])?;
    vm.wait_empty()?;
    site.expect_gone()
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
    let mut site = Site::new()?;
    site.add_switch(&[])?;
    site.daemon.stop()?;
    site.world.host.ip("link del lan")?;
    site.daemon.launch()?;
    site.expect_bound()?;
    site.remove_switch()
}

#[test]
fn root_what_was_on_a_host_vnic_that_is_off_is_kept_through_a_crash() -> Result<()> {
    let mut site = Site::new()?;
    site.add_switch(&[])?;
    site.daemon.cli_ok(&["switch", "set", "lan", "--host", "off"])?;
    site.daemon.kill9()?;
    site.daemon.launch()?;
    expect_hostless(&site.world, &site.daemon)?;
    site.daemon.cli_ok(&["switch", "set", "lan", "--host", "on"])?;
    site.expect_bound()?;
    site.remove_switch()
}

#[test]
fn root_after_a_reboot_the_nic_is_taken_over_anew() -> Result<()> {
    let mut site = Site::new()?;
    site.add_switch(&[])?;
    site.daemon.kill9()?;
    site.reboot()?;
    site.daemon.launch()?;
    site.expect_bound()?;
    site.remove_switch()
}

#[test]
fn root_after_a_reboot_an_unconfirmed_switch_is_not_made_again() -> Result<()> {
    let mut site = Site::new()?;
    site.add_switch(&["--confirm", "600s"])?;
    site.daemon.kill9()?;
    site.reboot()?;
    end_time(&site.daemon)?;
    site.daemon.launch()?;
    site.expect_gone()
}
