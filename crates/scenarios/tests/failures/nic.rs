//! The NIC of the switch fails, and the host vNIC that stands in for it.

use crate::stage::{PATIENCE, Stage};
use anyhow::{Result, ensure};
use lab::{FAR_IPV4, HOST_IPV4, NIC, NIC_MAC};

#[test]
fn root_a_nic_that_is_switched_off_and_on_takes_only_its_own_port_along() -> Result<()> {
    let stage = Stage::new()?;
    stage.expect_reach()?;
    stage.switch_nic_off_and_on(|| stage.expect_up("host"))?;
    stage.world.expect_silent_nic()?;
    stage.expect_reach()?;
    stage.end()
}

#[test]
fn root_a_cable_that_is_cut_at_its_far_end_and_mended() -> Result<()> {
    let stage = Stage::new()?;
    stage.cut_and_mend_cable()?;
    stage.expect_reach()?;
    stage.end()
}

#[test]
fn root_a_nic_that_is_pulled_out_and_put_in_again() -> Result<()> {
    let stage = Stage::new()?;
    for _ in 0..2 {
        stage.pull_nic_out_and_put_it_in(|| stage.expect_up("host"))?;
        stage.world.expect_silent_nic()?;
        stage.expect_reach()?;
    }
    stage.end()
}

#[test]
fn root_a_nic_that_comes_back_with_addresses_has_none_as_an_uplink() -> Result<()> {
    let stage = Stage::new()?;
    stage.world.unplug(NIC)?;
    stage.wait_down(NIC, "not there")?;
    // It has its address when it gets its name, as the switch may look at once.
    stage.world.plug("new0", NIC_MAC, "p1")?;
    for command in [
        &format!("addr add {HOST_IPV4}/24 dev new0"),
        "link set new0 down",
        &format!("link set new0 name {NIC} up"),
    ] {
        stage.world.host.ip(command)?;
    }
    stage.wait_up(NIC)?;
    lab::wait_until("silent NIC", PATIENCE, || Ok(stage.world.expect_silent_nic().is_ok()))?;
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
    stage.world.expect_silent_nic()?;
    stage.world.host.add_address("lan", &format!("{HOST_IPV4}/24"))?;
    stage.world.host.wait_ping(FAR_IPV4, PATIENCE)?;
    stage.expect_reach()?;
    stage.end()
}

/// Its frames may be too long for the NIC then, which drops and counts them; the switch is there all the same.
#[test]
fn root_a_port_that_asks_for_more_than_its_nic_carries_by_now_keeps_nobody_from_starting() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.world.host.ip(&format!("link set {NIC} mtu 9000"))?;
    lab::wait_until("the NIC's MTU", PATIENCE, || Ok(stage.port(NIC)?["mtu"] == 9000))?;
    stage.daemon.cli_ok(&["port", "add", "lan", "vm3", "--tap", "tap3", "--mtu", "9000"])?;
    for is_there in [true, false] {
        stage.daemon.stop()?;
        match is_there {
            true => stage.world.host.ip(&format!("link set {NIC} mtu 1500")).map(drop)?,
            false => stage.world.unplug(NIC)?,
        }
        stage.daemon.launch()?;
        stage.wait_up("vm1")?;
        ensure!(stage.port("vm3")?["mtu"] == 9000, "{}", stage.port("vm3")?);
        // What is not about the MTU can be changed.
        stage.daemon.cli_ok(&["port", "set", "lan/vm3", "--dhcp-guard", "on"])?;
    }
    stage.world.plug(NIC, NIC_MAC, "p1")?;
    stage.wait_up(NIC)?;
    let refused = stage.daemon.cli_refused(1, &["port", "set", "lan/vm3", "--mtu", "8000"])?;
    ensure!(refused.contains("above the 1500"), "{refused}");
    stage.daemon.cli_ok(&["port", "remove", "lan/vm3"])?;
    stage.end()
}
