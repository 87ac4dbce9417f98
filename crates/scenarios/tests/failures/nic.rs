//! The NIC of the switch fails, and the host vNIC that stands in for it.

use crate::stage::{PATIENCE, Stage};
use anyhow::{Result, ensure};
use lab::{FAR_IPV4, HOST_IPV4, NIC, NIC_MAC, World};

/// The NIC has no address, and its ingress is closed to the host's stack.
fn expect_silent(world: &World) -> Result<()> {
    let shown = world.host.ip(&format!("addr show dev {NIC}"))?;
    ensure!(!shown.contains("inet") && shown.contains("PROMISC") && shown.contains("NOARP"), "{shown}");
    let filters = world.host.exec(&["tc", "filter", "show", "dev", NIC, "ingress"])?;
    ensure!(filters.contains("bpf"), "the NIC's ingress is open");
    Ok(())
}

#[test]
fn root_a_nic_that_is_switched_off_and_on_takes_only_its_own_port_along() -> Result<()> {
    let stage = Stage::new()?;
    stage.expect_reach()?;
    stage.undisturbed_by(|| {
        stage.world.host.ip(&format!("link set {NIC} down"))?;
        stage.wait_down(NIC, "switched off")?;
        ensure!(stage.port("host")?["state"] == "up");
        stage.world.host.ip(&format!("link set {NIC} up"))?;
        stage.wait_up(NIC)
    })?;
    expect_silent(&stage.world)?;
    stage.expect_reach()?;
    stage.end()
}

#[test]
fn root_a_cable_that_is_cut_at_its_far_end_and_mended() -> Result<()> {
    let stage = Stage::new()?;
    stage.undisturbed_by(|| {
        stage.world.phys.ip("link set p1 down")?;
        stage.wait_down(NIC, "no carrier")?;
        stage.world.phys.ip("link set p1 up")?;
        stage.wait_up(NIC)
    })?;
    stage.expect_reach()?;
    stage.end()
}

#[test]
fn root_a_nic_that_is_pulled_out_and_put_in_again() -> Result<()> {
    let stage = Stage::new()?;
    for _ in 0..2 {
        stage.undisturbed_by(|| {
            stage.world.unplug(NIC)?;
            stage.wait_down(NIC, "not there")?;
            ensure!(stage.port("host")?["state"] == "up");
            stage.world.plug(NIC, NIC_MAC, "p1")?;
            stage.wait_up(NIC)
        })?;
        expect_silent(&stage.world)?;
        stage.expect_reach()?;
    }
    stage.end()
}

#[test]
fn root_a_nic_that_comes_back_with_addresses_has_none_as_an_uplink() -> Result<()> {
    let stage = Stage::new()?;
    stage.world.unplug(NIC)?;
    stage.wait_down(NIC, "not there")?;
    stage.world.plug(NIC, NIC_MAC, "p1")?;
    stage.world.host.ip(&format!("addr add {HOST_IPV4}/24 dev {NIC}"))?;
    stage.wait_up(NIC)?;
    lab::wait_until("silent NIC", PATIENCE, || Ok(expect_silent(&stage.world).is_ok()))?;
    stage.expect_reach()?;
    stage.end()
}

#[test]
fn root_a_host_vnic_that_somebody_removes_is_made_again() -> Result<()> {
    let stage = Stage::new()?;
    stage.undisturbed_by(|| {
        let before = stage.world.host.ip_json("link show dev lan")?[0]["ifindex"].clone();
        stage.world.host.ip("link del lan")?;
        lab::wait_until("new host vNIC", PATIENCE, || {
            Ok(stage.world.host.ip_json("link show").is_ok_and(|links| {
                let mut links = links.as_array().into_iter().flatten();
                links.any(|link| link["ifname"] == "lan" && link["ifindex"] != before)
            }))
        })?;
        stage.wait_up("host")
    })?;
    stage.expect_reach()?;
    stage.end()
}

#[test]
fn root_a_nic_that_is_not_there_at_start_is_taken_over_when_it_comes() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.daemon.stop()?;
    // As a boot leaves it: no host vNIC, and a journal that speaks of another boot.
    stage.world.host.ip("link del lan")?;
    stage.world.unplug(NIC)?;
    std::fs::remove_file(stage.daemon.state_dir().join("takeovers/lan.json"))?;
    stage.daemon.launch()?;
    stage.wait_down(NIC, "not there")?;
    stage.wait_up("vm1")?;
    stage.undisturbed_by(|| {
        stage.world.plug(NIC, NIC_MAC, "p1")?;
        stage.wait_up(NIC)?;
        stage.wait_up("host")
    })?;
    expect_silent(&stage.world)?;
    stage.world.host.add_address("lan", &format!("{HOST_IPV4}/24"))?;
    stage.world.host.wait_ping(FAR_IPV4, PATIENCE)?;
    stage.expect_reach()?;
    stage.end()
}
