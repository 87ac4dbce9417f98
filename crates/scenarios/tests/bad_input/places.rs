//! Namespaces, sockets, switches and ports that are not there, or not free.

use crate::stage::{PATIENCE, Stage};
use anyhow::{Context, Result};
use lab::{Namespace, wait_until};
use serde_json::json;
use std::os::unix::net::{UnixDatagram, UnixListener};

fn private() -> Result<Stage> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    Ok(stage)
}

#[test]
fn root_a_namespace_that_is_not_there_is_refused() -> Result<()> {
    let stage = private()?;
    let parts = ["network namespace /run/netns/nowhere is not there", "create it first (ip netns add)"];
    stage.refused(1, "port add lab web --netns nowhere", &parts)?;
    let body = json!({"name": "web", "attach": {"netns": {"netns": "nowhere", "ifname": "eth0"}}});
    stage.problem("POST", "/v1/switches/lab/ports", &body)?.expect(422, "invalid", &parts)?;
    stage.finish()
}

#[test]
fn root_an_interface_that_the_namespace_has_already_is_refused() -> Result<()> {
    let (stage, web) = (private()?, Namespace::new("web")?);
    web.ip("link add eth0 type veth peer name eth1")?;
    let before = web.ip("-j link")?;
    for ifname in ["eth0", "lo"] {
        let taken = format!("interface {ifname} exists already");
        let parts = [taken.as_str(), "choose another name"];
        stage.refused(1, &format!("port add lab web --netns {} --ifname {ifname}", web.name()), &parts)?;
    }
    assert_eq!(web.ip("-j link")?, before);
    let add = ["port", "add", "lab", "web", "--netns", web.name(), "--ifname", "eth2"];
    stage.daemon.cli_ok(&add)?;
    let parts = ["eth2 in namespace", "is used by lab/web and by lab/web2", "each port needs its own"];
    stage.refused(1, &format!("port add lab web2 --netns {} --ifname eth2", web.name()), &parts)?;
    stage.daemon.cli_ok(&["port", "remove", "lab/web"])?;
    // It has another name from then on, and goes a little later.
    wait_until("the namespace as it was", PATIENCE, || Ok(web.ip("-j link")? == before))?;
    stage.finish()
}

#[test]
fn root_sockets_that_are_in_use_are_refused_and_go_on() -> Result<()> {
    let (stage, dir) = (private()?, lab::temp_dir()?);
    let at = |name: &str| dir.path().join(name).display().to_string();
    let stream = UnixListener::bind(at("stream"))?;
    let _dgram = UnixDatagram::bind(at("dgram"))?;
    for kind in ["stream", "dgram"] {
        let path = at(kind);
        let used = format!("socket {path} is in use by another program");
        let parts = [used.as_str(), "choose another path"];
        stage.refused(1, &format!("port add lab vm1 --unix-{kind} {path}"), &parts)?;
        let body = json!({"name": "vm1", "attach": {format!("unix-{kind}"): path}});
        stage.problem("POST", "/v1/switches/lab/ports", &body)?.expect(422, "host-refused", &parts)?;
    }
    let path = at("stream");
    let parts = [&*format!("socket {path} is in use by another program"), "choose another path"];
    stage.refused(1, &format!("port add lab vm1 --vhost-user {path}"), &parts)?;
    let _client = std::os::unix::net::UnixStream::connect(at("stream"))?;
    stream.set_nonblocking(true)?;
    // The look at whether somebody listens is a connection as well.
    while stream.accept().is_ok() {}
    std::fs::write(at("file"), "precious")?;
    let no_socket = ["exists and is no socket", "remove it, or choose another path"];
    stage.refused(1, &format!("port add lab vm1 --unix-stream {}", at("file")), &no_socket)?;
    assert_eq!(std::fs::read_to_string(at("file"))?, "precious");
    stage.finish()
}

#[test]
fn root_sockets_that_cannot_be_made_are_refused() -> Result<()> {
    let (stage, dir) = (private()?, lab::temp_dir()?);
    let missing = dir.path().join("missing/vm1.sock").display().to_string();
    stage.refused(
        1,
        &format!("port add lab vm1 --unix-stream {missing}"),
        &[&missing, "No such file or directory"],
    )?;
    let parts = ["use an absolute path of at most 107 bytes"];
    stage.refused(2, "port add lab vm1 --unix-stream vm1.sock", &parts)?;
    stage.refused(2, &format!("port add lab vm1 --unix-dgram /{}", "x".repeat(107)), &parts)?;
    for attach in [json!({"unix-stream": "vm1.sock"}), json!({"vhost-user": {"socket": "vm1.sock"}})] {
        let body = json!({"name": "vm1", "attach": attach});
        stage.problem("POST", "/v1/switches/lab/ports", &body)?.expect(422, "invalid", &parts)?;
    }
    let long = ["is longer than 107 bytes", "give the port another with --vhost-user SOCKET"];
    let name = "x".repeat(63);
    stage.daemon.cli_ok(&["switch", "add", &name, "--private"])?;
    stage.refused(1, &format!("port add {name} {name} --vhost-user"), &long)?;
    stage.daemon.cli_ok(&["switch", "remove", &name])?;
    let role = ["is not attached to a vhost-user socket"];
    stage.daemon.cli_ok(&["port", "add", "lab", "tap", "--tap", "tap1"])?;
    stage.refused(1, "port set lab/tap --vhost-role client", &role)?;
    stage.daemon.cli_ok(&["port", "remove", "lab/tap"])?;
    let path = dir.path().join("vm1.sock").display().to_string();
    stage.daemon.cli_ok(&["port", "add", "lab", "vm1", "--unix-stream", &path])?;
    let parts = [path.as_str(), "is used by lab/vm1 and by lab/vm2", "each port needs its own"];
    stage.refused(1, &format!("port add lab vm2 --unix-stream {path}"), &parts)?;
    stage.refused(1, &format!("port add lab vm2 --vhost-user {path} --vhost-role client"), &parts)?;
    stage.daemon.cli_ok(&["port", "remove", "lab/vm1"])?;
    assert!(std::fs::read_dir(dir.path())?.next().is_none(), "the socket of a removed port is left");
    stage.finish()
}

#[test]
fn root_a_switch_or_port_that_is_not_there_is_refused() -> Result<()> {
    let stage = private()?;
    let switch = ["there is no switch 'nope'", "`vmswitch switch list` shows those that are"];
    for command in [
        "switch show nope",
        "switch set nope --ageing 60s",
        "switch remove nope",
        "port add nope vm1 --tap tap1",
        "port list nope",
        "port remove nope/vm1",
        "mac list nope",
        "mac flush nope",
        "stats nope",
    ] {
        stage.refused(1, command, &switch)?;
    }
    let body = json!({"name": "vm1", "attach": {"tap": "tap1"}});
    stage.problem("POST", "/v1/switches/nope/ports", &body)?.expect(404, "not-found", &switch)?;
    let port = ["switch 'lab' has no port 'nope'", "`vmswitch port list lab`"];
    for command in [
        "port show lab/nope",
        "port set lab/nope --guard off",
        "port remove lab/nope",
        "mac flush lab --port nope",
        "stats lab/nope",
    ] {
        stage.refused(1, command, &port)?;
    }
    let path = "/v1/switches/lab/ports/nope";
    stage.problem("DELETE", path, &json!(null))?.expect(404, "not-found", &port)?;
    stage.refused(1, "switch confirm nope", &switch)?;
    stage.refused(1, "switch confirm lab", &["switch 'lab'", "confirm"])?;
    stage.finish()
}

#[test]
fn root_an_uplink_goes_with_its_switch_only() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "add", "lan", "--external", "nic0"])?;
    let parts = ["an uplink is added and removed with its switch", "`vmswitch switch set lan`"];
    stage.refused(1, "port remove lan/nic0", &parts)?;
    let body = json!({"name": "nic1", "attach": {"uplink": "nic1"}});
    stage.problem("POST", "/v1/switches/lan/ports", &body)?.expect(422, "invalid", &parts)?;
    stage.refused(
        1,
        "port set lan/nic0 --guard on",
        &["port 'nic0' is an uplink and has no guard of its own"],
    )?;
    let parts = ["switch 'lan' has 2 uplinks", "name one NIC"];
    stage.refused(1, "switch set lan --external nic0,nic1", &parts)?;
    stage.world.host.ping(lab::FAR_IPV4).context("the uplink was left alone")?;
    stage.finish()
}
