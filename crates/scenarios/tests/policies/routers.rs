//! Two virtual routers of one VRRP group, run by a program that nobody here wrote, on two ports whose guards are on.

use anyhow::{Context, Result};
use lab::{Daemon, NIC, Namespace, Process, Snapshot, World, wait_until};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
const VIRTUAL_MAC: &str = "00:00:5e:00:01:07";
/// The address of the virtual router.
const GATEWAY: &str = "10.9.0.254";

/// keepalived, with the virtual router's MAC.
struct Router {
    process: Process,
    _dir: TempDir,
}

impl Router {
    fn start(namespace: &Namespace, priority: u8) -> Result<Router> {
        let dir = lab::temp_dir()?;
        let config = format!(
            "global_defs {{\n  vrrp_version 3\n}}\nvrrp_instance gateway {{\n  state BACKUP\n  interface eth0\n  use_vmac vrrp7\n  \
             virtual_router_id 7\n  priority {priority}\n  advert_int 0.2\n  virtual_ipaddress {{\n    {GATEWAY}/24\n  }}\n}}\n"
        );
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("config"), config)?;
        let (file, pid, vrrp) = (path("config"), path("pid"), path("vrrp"));
        let argv = ["keepalived", "-n", "-l", "-D", "-P", "-f", &file, "-p", &pid, "-r", &vrrp];
        let process = namespace.spawn(&argv, &dir.path().join("log"))?;
        Ok(Router { process, _dir: dir })
    }
}

/// Where the switch has the virtual router.
fn place(daemon: &Daemon) -> Result<Option<String>> {
    let macs = daemon.cli_json(&["mac", "list", "lan"])?;
    let entry = macs.as_array().context("a list")?.iter().find(|entry| entry["mac"] == VIRTUAL_MAC).cloned();
    Ok(entry.and_then(|entry| Some(entry["port"].as_str()?.to_owned())))
}

fn add(daemon: &Daemon, name: &str, address: &str) -> Result<Namespace> {
    let namespace = Namespace::new(name)?;
    daemon.cli_ok(&["port", "add", "lan", name, "--netns", namespace.name(), "--guard-vrrp", "on"])?;
    namespace.add_address("eth0", address)?;
    Ok(namespace)
}

#[test]
fn root_a_virtual_router_fails_over_between_two_guarded_ports() -> Result<()> {
    let world = World::new()?;
    let daemon = Daemon::start(&world.host)?;
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC, "--no-host"])?;
    let (one, two) = (add(&daemon, "r1", "10.9.0.11/24")?, add(&daemon, "r2", "10.9.0.12/24")?);
    let mut first = Router::start(&one, 200)?;
    wait_until("the first router", PATIENCE, || Ok(place(&daemon)?.as_deref() == Some("r1")))
        .with_context(|| first.process.log())?;
    let second = Router::start(&two, 100)?;
    world
        .far
        .exec(&["ping", "-c", "3", "-i", "0.2", "-W", "2", GATEWAY])
        .with_context(|| first.process.log())?;
    assert_eq!(place(&daemon)?.as_deref(), Some("r1"));
    assert_eq!(world.phys_fdb()?.get(VIRTUAL_MAC).map(String::as_str), Some("p1"));
    first.process.kill()?;
    // What is left of it may end first, and takes its interface along.
    let removed = one.ip("link del vrrp7");
    let is_gone = || Ok(!one.interfaces()?.iter().any(|name| name == "vrrp7"));
    wait_until("the first router's end", PATIENCE, is_gone).with_context(|| format!("{removed:?}"))?;
    wait_until("the second router", PATIENCE, || Ok(place(&daemon)?.as_deref() == Some("r2")))
        .with_context(|| second.process.log())?;
    world
        .far
        .exec(&["ping", "-c", "3", "-i", "0.2", "-W", "2", GATEWAY])
        .with_context(|| second.process.log())?;
    let counters = Snapshot::read(&daemon, "lan")?;
    for port in ["r1", "r2"] {
        assert_eq!(counters.get(port, "drops.spoofed_mac"), 0, "{port}");
    }
    // With the guard as it is by default, no virtual router is heard.
    daemon.cli_ok(&["port", "set", "lan/r2", "--guard-vrrp", "off"])?;
    wait_until("drops", PATIENCE, || Ok(Snapshot::read(&daemon, "lan")?.get("r2", "drops.spoofed_mac") > 0))?;
    assert_eq!(place(&daemon)?, None);
    drop((first, second));
    Snapshot::take(&daemon, "lan")?;
    daemon.cli_ok(&["switch", "remove", "lan"]).map(drop)
}
