//! Names and MAC addresses that are no such, or are given twice.

use crate::stage::Stage;
use anyhow::Result;
use serde_json::json;

const ZERO: &str = "00:00:00:00:00:00";
const MULTICAST: &str = "03:00:00:00:00:01";

#[test]
fn root_a_name_that_is_there_already_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    stage.daemon.cli_ok(&["port", "add", "lab", "vm1", "--tap", "tap1"])?;
    let switch = ["there is a switch 'lab' already", "choose another name", "`vmswitch switch set lab`"];
    stage.refused(1, "switch add lab --internal", &switch)?;
    let body = json!({"name": "lab", "kind": "private"});
    stage.problem("POST", "/v1/switches", &body)?.expect(409, "conflict", &switch)?;
    let port =
        ["switch 'lab' has a port 'vm1' already", "choose another name", "`vmswitch port set lab/vm1`"];
    stage.refused(1, "port add lab vm1 --tap tap2", &port)?;
    let body = json!({"name": "vm1", "attach": {"tap": "tap2"}});
    stage.problem("POST", "/v1/switches/lab/ports", &body)?.expect(409, "conflict", &port)?;
    stage.finish()
}

#[test]
fn root_a_mac_that_is_given_already_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lan", "--external", "nic0"])?;
    let (own, allowed) = ("02:00:00:00:00:01", "02:00:00:00:00:02");
    let add = ["port", "add", "lan", "vm1", "--tap", "tap1", "--mac", own, "--allow-mac", allowed];
    stage.daemon.cli_ok(&add)?;
    stage.daemon.cli_ok(&["port", "add", "lan", "vm2", "--tap", "tap2"])?;
    for mac in [own, allowed] {
        let first = format!("MAC {mac} is given to port 'vm1' and to port");
        let parts = [first.as_str(), "MACs are unique on a switch"];
        stage.refused(1, &format!("port add lan vm3 --tap tap3 --mac {mac}"), &parts)?;
        stage.refused(1, &format!("port add lan vm3 --tap tap3 --allow-mac {mac}"), &parts)?;
        stage.refused(1, &format!("port set lan/vm2 --mac {mac}"), &parts)?;
        let body = json!({"mac": mac});
        stage.problem("PATCH", "/v1/switches/lan/ports/vm2", &body)?.expect(422, "invalid", &parts)?;
    }
    stage.finish()
}

#[test]
fn root_the_mac_of_the_nic_is_given_to_the_host_vnic_alone() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lan", "--external", "nic0"])?;
    stage.daemon.cli_ok(&["port", "add", "lan", "vm1", "--tap", "tap1"])?;
    let mac = lab::NIC_MAC;
    let given = format!("MAC {mac} is given to port 'host' and to port 'vm");
    let parts = [given.as_str(), "MACs are unique on a switch"];
    stage.refused(1, &format!("port add lan vm2 --tap tap2 --mac {mac}"), &parts)?;
    stage.refused(1, &format!("port set lan/vm1 --mac {mac}"), &parts)?;
    let parts = ["the MAC of 'host' is the NIC's", "cannot be given another"];
    stage.refused(1, "port set lan/host --mac 02:00:00:00:00:07", &parts)?;
    stage.world.host.ping(lab::FAR_IPV4)?;
    stage.finish()
}

#[test]
fn root_a_mac_that_is_no_unicast_address_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    stage.daemon.cli_ok(&["port", "add", "lab", "vm1", "--tap", "tap1"])?;
    for (mac, what) in [(ZERO, "is zero"), (MULTICAST, "is a multicast address")] {
        let parts = [mac, what, "a vNIC's MAC is a unicast address"];
        stage.refused(2, &format!("port add lab vm2 --tap tap2 --mac {mac}"), &parts)?;
        stage.refused(2, &format!("port set lab/vm1 --mac {mac}"), &parts)?;
        stage.refused(2, &format!("port set lab/vm1 --allow-mac {mac}"), &parts)?;
        let port = json!({"name": "vm2", "attach": {"tap": "tap2"}, "mac": mac});
        let parts = [mac, "on port 'vm", what, "a vNIC's MAC is a unicast address"];
        stage.problem("POST", "/v1/switches/lab/ports", &port)?.expect(422, "invalid", &parts)?;
        let change = json!({"mac": mac});
        stage.problem("PATCH", "/v1/switches/lab/ports/vm1", &change)?.expect(422, "invalid", &parts)?;
    }
    stage.refused(2, "port add lab vm2 --tap tap2 --mac 02:00", &["'02:00'", "six bytes"])?;
    stage.refused(
        2,
        "port set lab/vm1 --allow-reserved 01:80:c2:00:00:10",
        &["is not reserved", "only 01:80:c2"],
    )?;
    stage.finish()
}

#[test]
fn root_a_name_that_no_interface_can_have_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    let long = "sixteen_bytes_ab";
    let (no_name, rule) = (format!("'{long}' is no name of an interface"), "Linux allows 1 to 15 bytes");
    let parts = [no_name.as_str(), rule];
    let advice = [no_name.as_str(), rule, "--host-ifname", "--no-host"];
    stage.refused(1, &format!("switch add {long} --internal"), &advice)?;
    stage.refused(1, &format!("switch add {long} --external nic0"), &advice)?;
    stage.refused(2, &format!("switch add lan --external {long}"), &parts)?;
    stage.refused(2, &format!("switch add lan --internal --host-ifname {long}"), &parts)?;
    for attachment in ["--tap", "--netdev", "--host", "--netns ns --ifname"] {
        stage.refused(2, &format!("port add lab vm1 {attachment} {long}"), &parts)?;
    }
    stage.refused(2, &format!("port add lab {long} --host"), &[no_name.as_str(), "--host IFNAME"])?;
    let body = json!({"name": "lan", "kind": "external", "uplinks": [long]});
    stage.problem("POST", "/v1/switches", &body)?.expect(
        422,
        "invalid",
        &["line 1, column", &no_name, rule],
    )?;
    let body = json!({"name": long, "kind": "internal"});
    stage.problem("POST", "/v1/switches", &body)?.expect(422, "invalid", &advice)?;
    stage.finish()
}

#[test]
fn root_a_name_that_no_switch_can_have_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    let long = "x".repeat(64);
    for name in ["a/b", ".x", long.as_str()] {
        let parts = [&format!("'{name}' is no name of a switch"), "use 1 to 63 letters"];
        stage.refused(2, &format!("switch add {name} --private"), &parts)?;
        let body = json!({"name": name, "kind": "private"});
        stage.problem("POST", "/v1/switches", &body)?.expect(422, "invalid", &parts)?;
    }
    stage.finish()
}
