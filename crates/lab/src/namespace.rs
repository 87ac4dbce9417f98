//! Network namespaces.

use crate::run::{Finished, output, patience, text, wait_until};
use crate::{leftovers, process::Process};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A network namespace of its own; dropping it kills what runs inside and deletes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

/// What `ping` measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Ping {
    /// Echoes sent.
    pub sent: u32,
    /// Answers received.
    pub received: u32,
    /// Mean round trip in microseconds; `None` if nothing came back.
    pub mean_us: Option<f64>,
}

impl Namespace {
    /// Makes a namespace whose name ends in `role`, with its loopback up.
    ///
    /// IPv6 works, but new interfaces neither probe for duplicate addresses nor ask for routers: both would put
    /// frames on the wire that no test sent.
    pub fn new(role: &str) -> Result<Namespace> {
        leftovers::sweep();
        let name = leftovers::unique(role);
        text(Command::new("ip").args(["netns", "add", &name])).context("a network lab needs root")?;
        let namespace = Namespace { name };
        namespace.ip("link set lo up")?;
        namespace.set_sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        namespace.set_sysctl("net/ipv6/conf/default/router_solicitations", "0")?;
        Ok(namespace)
    }

    /// The name, as `ip netns` and `vmswitch port add … --netns` take it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Switches IPv6 off on interfaces that exist and that will: the namespace then never speaks by itself.
    pub fn disable_ipv6(&self) -> Result<()> {
        self.set_sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        self.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        // `ip netns exec` replaces itself by the program, so the child's process id is the program's.
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a program inside that has to succeed; its standard output.
    pub fn exec(&self, argv: &[&str]) -> Result<String> {
        text(&mut self.prepared(argv)?)
    }

    /// Runs a program inside; its failing is not an error.
    pub fn try_exec(&self, argv: &[&str]) -> Result<Finished> {
        output(&mut self.prepared(argv)?)
    }

    /// Starts a program inside, to run until its guard is dropped.
    pub fn spawn(&self, argv: &[&str], log: &Path) -> Result<Process> {
        Process::spawn(&mut self.prepared(argv)?, log)
    }

    fn prepared(&self, argv: &[&str]) -> Result<Command> {
        let (program, args) = argv.split_first().context("no program to run")?;
        let mut command = self.command(program);
        command.args(args);
        Ok(command)
    }

    /// `ip -n NAMESPACE …`; the arguments are separated by spaces.
    pub fn ip(&self, args: &str) -> Result<String> {
        text(Command::new("ip").args(["-n", &self.name]).args(args.split_whitespace()))
    }

    /// `ip -n NAMESPACE -j …`, parsed.
    pub fn ip_json(&self, args: &str) -> Result<Value> {
        let out = self.ip(&format!("-d -j {args}"))?;
        // iproute2 prints nothing at all, not an empty list, where there is nothing to show.
        if out.trim().is_empty() {
            return Ok(Value::Array(Vec::new()));
        }
        serde_json::from_str(&out).with_context(|| format!("ip {args} printed no JSON: {out}"))
    }

    /// Adds an address (`10.9.0.1/24`, `fd00:9::1/64`) to an interface and sets it up.
    pub fn add_address(&self, interface: &str, address: &str) -> Result<()> {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.ip(&format!("addr add {address} dev {interface} {nodad}"))?;
        self.ip(&format!("link set {interface} up"))?;
        Ok(())
    }

    /// The MAC address of an interface.
    pub fn mac(&self, interface: &str) -> Result<String> {
        let links = self.ip_json(&format!("link show dev {interface}"))?;
        let mac = links[0]["address"].as_str().map(str::to_owned);
        mac.with_context(|| format!("{interface} in {} has no MAC address", self.name))
    }

    /// Names of the interfaces, without the loopback.
    pub fn interfaces(&self) -> Result<Vec<String>> {
        let links = self.ip_json("link show")?;
        let names = links.as_array().into_iter().flatten().filter_map(|l| l["ifname"].as_str());
        Ok(names.filter(|n| *n != "lo").map(str::to_owned).collect())
    }

    /// Waits until there is no interface but the loopback: vNICs that were removed have a free name at once, and end in
    /// the background.
    pub fn wait_empty(&self) -> Result<()> {
        wait_until(&format!("no interface left in {}", self.name), Duration::from_secs(2), || {
            Ok(self.interfaces()?.is_empty())
        })
    }

    /// Reads `/proc/sys/PATH` as the namespace sees it, for example `net/ipv4/ip_forward`.
    pub fn sysctl(&self, path: &str) -> Result<String> {
        Ok(self.exec(&["cat", &format!("/proc/sys/{path}")])?.trim().to_owned())
    }

    /// Writes `/proc/sys/PATH` inside the namespace.
    pub fn set_sysctl(&self, path: &str, value: &str) -> Result<()> {
        self.exec(&["sh", "-c", "printf %s \"$1\" >\"/proc/sys/$0\"", path, value]).map(drop)
    }

    /// One echo that has to be answered.
    pub fn ping(&self, address: &str) -> Result<()> {
        let patience = patience(Duration::from_secs(2)).as_secs().to_string();
        let done = self.try_exec(&["ping", "-q", "-c1", "-W", &patience, address])?;
        if !done.status.success() {
            bail!("{address} does not answer a ping from {}", self.name);
        }
        Ok(())
    }

    /// Pings once a fifth of a second until an answer comes.
    pub fn wait_ping(&self, address: &str, limit: Duration) -> Result<()> {
        wait_until(&format!("answer of {address} to {}", self.name), limit, || {
            Ok(self.try_exec(&["ping", "-c1", "-W0.2", address])?.status.success())
        })
    }

    /// `count` echoes, `interval` seconds apart.
    pub fn try_ping(&self, address: &str, count: u32, interval: f64) -> Result<Ping> {
        let (count, interval) = (count.to_string(), interval.to_string());
        let done = self.try_exec(&["ping", "-q", "-W2", "-c", &count, "-i", &interval, address])?;
        parse_ping(&done.stdout).with_context(|| format!("ping {address}: {}{}", done.stdout, done.stderr))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        leftovers::kill_inside(&self.name);
        // A test may have deleted the namespace on purpose.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

fn parse_ping(text: &str) -> Option<Ping> {
    let counts = text.lines().find(|l| l.contains(" packets transmitted"))?;
    let mut fields = counts.split(", ").map(|f| f.split_whitespace().next().unwrap_or_default());
    let sent = fields.next()?.parse().ok()?;
    let received = fields.next()?.parse().ok()?;
    let mean = text.lines().find_map(|l| l.split_once(" = ")?.1.split('/').nth(1)?.parse::<f64>().ok());
    Some(Ping { sent, received, mean_us: mean.map(|ms| ms * 1000.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ping_statistics_are_read() {
        let text = "PING 10.9.0.3 (10.9.0.3) 56(84) bytes of data.\n\n--- 10.9.0.3 ping statistics ---\n\
                    20 packets transmitted, 19 received, 5% packet loss, time 19ms\n\
                    rtt min/avg/max/mdev = 0.010/0.018/0.050/0.004 ms\n";
        assert_eq!(parse_ping(text), Some(Ping { sent: 20, received: 19, mean_us: Some(18.0) }));
    }

    #[test]
    fn ping_without_answers_has_no_mean() {
        let text = "1 packets transmitted, 0 received, 100% packet loss, time 0ms\n";
        assert_eq!(parse_ping(text), Some(Ping { sent: 1, received: 0, mean_us: None }));
    }
}
