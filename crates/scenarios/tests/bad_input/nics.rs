//! Interfaces that cannot become ports.

use crate::stage::Stage;
use anyhow::{Result, ensure};
use serde_json::json;

fn external(nic: &str) -> serde_json::Value {
    json!({"name": "lan", "kind": "external", "uplinks": [nic]})
}

#[test]
fn root_an_interface_that_is_not_there_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    let parts = ["there is no interface 'nope0'", "`ip link` shows"];
    stage.refused(1, "switch add lan --external nope0", &parts)?;
    stage.problem("POST", "/v1/switches", &external("nope0"))?.expect(422, "invalid", &parts)?;
    stage.daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    stage.refused(1, "port add lab vm1 --netdev nope0", &parts)?;
    stage.refused(1, "switch set lab --external nope0", &parts)?;
    stage.finish()
}

/// Nothing is given back before it is known that the other NIC can be taken.
#[test]
fn root_a_switch_that_is_to_move_to_a_nic_that_is_not_there_stays_as_it_is() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lan", "--external", "nic0"])?;
    stage.daemon.cli_ok(&["switch", "add", "lab", "--internal"])?;
    stage.world.host.add_address("lab", "10.77.0.1/24")?;
    lab::Snapshot::take(&stage.daemon, "lan")?;
    let parts = ["there is no interface 'nope0'", "`ip link` shows"];
    let refused = stage.daemon.log().matches("take-over").count();
    for switch in ["lan", "lab"] {
        stage.refused(1, &format!("switch set {switch} --external nope0"), &parts)?;
    }
    ensure!(stage.daemon.log().matches("take-over").count() == refused, "{}", stage.daemon.log());
    stage.world.host.ping(lab::FAR_IPV4)?;
    stage.finish()
}

#[test]
fn root_a_host_vnic_is_refused_while_a_vm_has_the_nics_mac() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lan", "--external", "nic0", "--no-host"])?;
    stage.daemon.cli_ok(&["port", "add", "lan", "vm1", "--tap", "tap1", "--mac", lab::NIC_MAC])?;
    stage.refused(1, "switch set lan --host on", &[lab::NIC_MAC, "vm1"])?;
    stage.finish()
}

#[test]
fn root_a_nic_that_is_too_small_for_the_ports_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    stage.world.plug("nic1", "02:00:00:09:00:09", "p9")?;
    stage.world.host.ip("link set nic0 mtu 9000")?;
    stage.daemon.cli_ok(&["switch", "add", "lan", "--external", "nic0"])?;
    stage.daemon.cli_ok(&["port", "add", "lan", "vm1", "--tap", "tap1", "--mtu", "8000"])?;
    let parts = ["MTU 8000 is above the 1500 of 'nic1'", "raise the NIC's first"];
    stage.refused(1, "switch set lan --external nic1", &parts)?;
    stage.daemon.cli_ok(&["port", "set", "lan/vm1", "--mtu", "1500"])?;
    stage.daemon.cli_ok(&["switch", "set", "lan", "--external", "nic1"]).map(drop)
}

#[test]
fn root_a_nic_in_a_bridge_is_refused_and_so_is_the_bridge() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.world.host.disable_ipv6()?;
    stage.prepare(&["link add br0 type bridge", "link set nic0 master br0"])?;
    let parts = ["'nic0' belongs to 'br0', a bridge", "`ip link set nic0 nomaster`"];
    stage.refused(1, "switch add lan --external nic0", &parts)?;
    stage.problem("POST", "/v1/switches", &external("nic0"))?.expect(409, "conflict", &parts)?;
    stage.refused(1, "switch add lan --external br0", &["'br0' is a bridge", "name the NIC behind it"])?;
    stage.daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    stage.refused(1, "port add lab vm1 --netdev nic0", &parts)?;
    stage.finish()
}

#[test]
fn root_a_nic_that_others_stand_on_is_refused() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.prepare(&["link add link nic0 name mv0 type macvlan"])?;
    let parts = ["'mv0' stands on 'nic0' and would lose its connection", "make it again on the host vNIC"];
    stage.refused(1, "switch add lan --external nic0", &parts)?;
    stage.problem("POST", "/v1/switches", &external("nic0"))?.expect(409, "conflict", &parts)?;
    stage.finish()
}

#[test]
fn root_a_nic_of_another_switch_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "wan", "--external", "nic0"])?;
    let parts = ["interface 'nic0' is used by wan/nic0 and by lan/nic0", "one port only"];
    stage.refused(1, "switch add lan --external nic0", &parts)?;
    stage.problem("POST", "/v1/switches", &external("nic0"))?.expect(422, "invalid", &parts)?;
    stage.refused(1, "port add wan vm1 --netdev nic0", &["interface 'nic0' is used by", "one port only"])?;
    stage.world.host.ping(lab::FAR_IPV4)?;
    stage.finish()
}

#[test]
fn root_the_loopback_interface_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    let parts = ["'lo' is the loopback interface", "name a NIC"];
    stage.refused(1, "switch add lan --external lo", &parts)?;
    stage.problem("POST", "/v1/switches", &external("lo"))?.expect(409, "conflict", &parts)?;
    stage.daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    stage.refused(1, "port add lab vm1 --netdev lo", &parts)?;
    stage.finish()
}

#[test]
fn root_a_switch_as_its_own_uplink_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    let parts = ["'lan' is a host vNIC of switch 'lan'", "a switch is no uplink"];
    stage.refused(1, "switch add lan --external lan", &parts)?;
    stage.problem("POST", "/v1/switches", &external("lan"))?.expect(422, "invalid", &parts)?;
    stage.daemon.cli_ok(&["switch", "add", "lan", "--external", "nic0"])?;
    stage.refused(1, "switch set lan --external lan", &parts)?;
    stage.refused(1, "switch add wan --external lan", &parts)?;
    stage.refused(1, "port add lan vm1 --netdev lan", &parts)?;
    stage.world.host.ping(lab::FAR_IPV4)?;
    stage.finish()
}

#[test]
fn root_an_mtu_above_the_nics_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lan", "--external", "nic0"])?;
    stage.daemon.cli_ok(&["port", "add", "lan", "vm1", "--tap", "tap1"])?;
    let parts = ["MTU 9000 is above the 1500 of 'nic0'", "use at most 1500, or raise the NIC's first"];
    stage.refused(1, "port add lan vm2 --tap tap2 --mtu 9000", &parts)?;
    stage.refused(1, "port add lan more --host --mtu 9000", &parts)?;
    stage.refused(1, "port set lan/vm1 --mtu 9000", &parts)?;
    stage.refused(1, "port set lan/host --mtu 9000", &parts)?;
    stage
        .problem("PATCH", "/v1/switches/lan/ports/vm1", &json!({"mtu": 9000}))?
        .expect(422, "invalid", &parts)?;
    let range = ["MTU 20 on 'vm2' is out of range: 68 to 65521"];
    stage.refused(1, "port add lan vm2 --tap tap2 --mtu 20", &range)?;
    stage.finish()
}

#[test]
fn root_an_interface_that_the_host_is_reached_by_is_no_plain_port() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    let parts =
        ["'nic0' has the address 10.9.0.1/24: the host would lose it", "make an external switch on 'nic0'"];
    stage.refused(1, "port add lab vm1 --netdev nic0", &parts)?;
    stage.refused(1, "port add lab vm1 --tap nic0", &parts)?;
    stage.world.host.ping(lab::FAR_IPV4)?;
    stage.finish()
}

#[test]
fn root_routes_that_cannot_be_moved_are_refused() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.prepare(&["nexthop add id 7 via 10.9.0.3 dev nic0", "route add 192.0.2.0/24 nhid 7"])?;
    let parts = ["a route of 'nic0' uses a next hop object", "make it a plain route first"];
    stage.refused(1, "switch add lan --external nic0", &parts)?;
    stage.finish()
}

#[test]
fn root_names_of_interfaces_that_are_taken_are_refused() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.prepare(&[
        "link add other type veth peer name other1",
        "tuntap add dev foreign mode tap vnet_hdr",
    ])?;
    let refused = |name: &str, command: &str| {
        let taken = format!("cannot be named '{name}': there is an interface of that name");
        stage.refused(1, command, &[&taken, "choose another name"])
    };
    refused("other", "switch add other --external nic0")?;
    refused("other", "switch add lan --external nic0 --host-ifname other")?;
    refused("other", "switch add other --internal")?;
    refused("nic0", "switch add nic0 --internal")?;
    refused("foreign", "switch add foreign --internal")?;
    stage.daemon.cli_ok(&["switch", "add", "lab", "--internal"])?;
    refused("other", "port add lab more --host other")?;
    refused("foreign", "port add lab more --host foreign")?;
    stage.refused(
        1,
        "switch add lan --external nic0 --host-ifname nic0",
        &["'nic0'", "a switch is no uplink"],
    )?;
    stage.refused(
        1,
        "switch add two --internal --host-ifname lab",
        &["interface 'lab' is used by lab/host and by two/host"],
    )?;
    stage.finish()
}
