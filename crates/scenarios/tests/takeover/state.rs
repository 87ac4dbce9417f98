//! The whole state of the host, as iproute2 sees it, and those that it may be in.

use anyhow::{Context, Result, ensure};
use lab::{Daemon, FAR_IPV4, FAR_IPV6, NIC, Namespace, World};
use serde_json::Value;
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(10);

/// A world, its host's daemon, and everything that the host had on its NIC before.
#[derive(Debug)]
pub struct Site {
    pub daemon: Daemon,
    pub world: World,
    settings: Vec<String>,
    flags: String,
    sysctls: String,
}

impl Site {
    pub fn new() -> Result<Site> {
        Site::of(World::new()?)
    }

    /// In a world that was made before.
    pub fn of(world: World) -> Result<Site> {
        let (host, daemon) = (&world.host, Daemon::start(&world.host)?);
        let (settings, flags, sysctls) = (settings(host, NIC)?, flags(host, NIC)?, sysctls(host, NIC)?);
        Ok(Site { daemon, world, settings, flags, sysctls })
    }

    /// Makes an external switch on the NIC, with further arguments.
    pub fn add_switch(&self, arguments: &[&str]) -> Result<()> {
        self.daemon.cli_ok(&[&["switch", "add", "lan", "--external", NIC], arguments].concat()).map(drop)
    }

    /// Removes the switch, after which all is as it was.
    pub fn remove_switch(&self) -> Result<()> {
        self.daemon.cli_ok(&["switch", "remove", "lan"])?;
        self.expect_gone()
    }

    /// The NIC is the switch's, and the host has everything on its vNIC.
    pub fn expect_bound(&self) -> Result<()> {
        expect_silent(&self.world)?;
        same("settings on the host vNIC", &self.settings, &settings(&self.world.host, "lan")?)?;
        self.expect_reach()?;
        ensure!(self.daemon.cli_json(&["switch", "show", "lan"])?["uplinks"][0] == NIC, "lan has no uplink");
        for port in ["lan/host", "lan/nic0"] {
            let shown = self.daemon.cli_json(&["port", "show", port])?;
            ensure!(shown["state"] == "up", "{shown}");
        }
        Ok(())
    }

    /// The NIC is the host's, as if nothing had ever happened to it.
    pub fn expect_free(&self) -> Result<()> {
        let host = &self.world.host;
        same("settings on the NIC", &self.settings, &settings(host, NIC)?)?;
        let now = (flags(host, NIC)?, sysctls(host, NIC)?);
        ensure!(now == (self.flags.clone(), self.sysctls.clone()), "{now:?}\nwas {self:?}");
        let filters = host.exec(&["tc", "filter", "show", "dev", NIC, "ingress"])?;
        ensure!(filters.is_empty(), "a filter is left on the NIC");
        self.expect_reach()
    }

    /// The NIC is the host's, and there is neither a switch nor what it had made.
    pub fn expect_gone(&self) -> Result<()> {
        self.expect_free()?;
        let left = (self.world.host.interfaces()?, self.daemon.cli_json(&["switch", "list"])?);
        ensure!(left.0 == [NIC] && left.1 == Value::Array(vec![]), "left: {left:?}");
        for dir in ["takeovers", "pending", "attachments", "vlan-tags"] {
            let files: Vec<_> = std::fs::read_dir(self.daemon.state_dir().join(dir))?.collect();
            let journals =
                files.iter().flatten().filter(|f| f.path().extension().is_some_and(|e| e == "json"));
            ensure!(journals.count() == 0, "left in {dir}: {files:?}");
        }
        Ok(())
    }

    fn expect_reach(&self) -> Result<()> {
        self.world.host.wait_ping(FAR_IPV4, PATIENCE)?;
        self.world.host.wait_ping(FAR_IPV6, PATIENCE)
    }

    /// Puts the host where a boot leaves it: no host vNIC, a new NIC with what the host's own configuration puts on it, and
    /// a journal that speaks of another boot.
    pub fn reboot(&self) -> Result<()> {
        let world = &self.world;
        world.host.ip("link del lan")?;
        world.unplug(NIC)?;
        world.plug(NIC, lab::NIC_MAC, "p1")?;
        world.host.add_address(NIC, &format!("{}/24", lab::HOST_IPV4))?;
        world.host.add_address(NIC, &format!("{}/64", lab::HOST_IPV6))?;
        let path = self.daemon.state_dir().join("takeovers/lan.json");
        let mut journal: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        journal["boot_id"] = "another boot".into();
        Ok(std::fs::write(path, journal.to_string())?)
    }
}

/// The host's stack is off the NIC.
pub fn expect_silent(world: &World) -> Result<()> {
    same("settings on the NIC", &[], &settings(&world.host, NIC)?)?;
    world.expect_silent_nic()
}

/// The NIC is the switch's, and the host is not there.
pub fn expect_hostless(world: &World, daemon: &Daemon) -> Result<()> {
    expect_silent(world)?;
    ensure!(world.host.interfaces()? == [NIC], "left: {:?}", world.host.interfaces()?);
    let shown = daemon.cli_json(&["port", "show", "lan/nic0"])?;
    ensure!(shown["state"] == "up", "{shown}");
    Ok(())
}

fn same(what: &str, wanted: &[String], found: &[String]) -> Result<()> {
    let missing: Vec<_> = wanted.iter().filter(|line| !found.contains(line)).collect();
    let extra: Vec<_> = found.iter().filter(|line| !wanted.contains(line)).collect();
    ensure!(missing.is_empty() && extra.is_empty(), "{what}\nmissing: {missing:#?}\ntoo much: {extra:#?}");
    Ok(())
}

/// Addresses, routes of every table and permanent neighbours of an interface, which is called `DEV`.
pub fn settings(host: &Namespace, dev: &str) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for link in list(host, &format!("addr show dev {dev}"))? {
        let addresses = link["addr_info"].as_array().cloned().unwrap_or_default();
        lines.extend(addresses.iter().filter(is_something).map(|a| format!("addr {}", normal(a))));
    }
    for family in ["-4", "-6"] {
        let routes = list(host, &format!("{family} route show table all"))?;
        let named = routes.iter().map(|r| format!("route {family} {}", normal(r)));
        lines.extend(named.filter(|line| line.contains(&format!("\"{dev}\""))));
        for which in ["nud permanent", "proxy"] {
            let found = list(host, &format!("{family} neigh show {which} dev {dev}"))?;
            lines.extend(found.iter().map(|n| format!("neigh {which} {}", normal(n))));
        }
    }
    let mut lines: Vec<_> = lines.iter().map(|l| l.replace(&format!("\"{dev}"), "\"DEV")).collect();
    lines.sort();
    Ok(lines)
}

fn list(host: &Namespace, args: &str) -> Result<Vec<Value>> {
    let found = host.ip_json(args)?;
    Ok(found
        .as_array()
        .with_context(|| format!("{args}: {found}"))?
        .iter()
        .filter(is_something)
        .cloned()
        .collect())
}

/// iproute2 prints empty objects for what it leaves out.
fn is_something(value: &&Value) -> bool {
    value.as_object().is_none_or(|object| !object.is_empty())
}

/// Without what a clock changes: lifetimes in hundreds of seconds.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept =
                map.iter().map(|(k, v)| (k.clone(), if is_lifetime(k) { coarse(v) } else { normal(v) }));
            Value::Object(kept.collect())
        }
        Value::Array(list) => list.iter().map(normal).collect(),
        other => other.clone(),
    }
}

fn is_lifetime(key: &str) -> bool {
    matches!(key, "valid_life_time" | "preferred_life_time" | "expires")
}

fn coarse(value: &Value) -> Value {
    match value.as_u64() {
        Some(seconds) if seconds != u64::from(u32::MAX) => ((seconds + 500) / 1000).into(),
        _ => value.clone(),
    }
}

fn flags(host: &Namespace, dev: &str) -> Result<String> {
    Ok(host.ip_json(&format!("link show dev {dev}"))?[0]["flags"].to_string())
}

fn sysctls(host: &Namespace, dev: &str) -> Result<String> {
    // Some cannot be read, such as a stable secret that was never set.
    let script = "cd /proc/sys/net; grep -rs . ipv4/conf/$0 ipv6/conf/$0 | sort";
    host.exec(&["sh", "-c", script, dev])
}
