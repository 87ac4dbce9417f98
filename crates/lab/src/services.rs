//! Services inside namespaces: a DHCP server, and throughput measurement.

use crate::namespace::Namespace;
use crate::process::Process;
use anyhow::{Context, Result};
use serde_json::Value;
use std::time::Duration;

/// A DHCP server (dnsmasq) on one interface; stopped when dropped.
#[derive(Debug)]
pub struct DhcpServer {
    process: Process,
    _dir: tempfile::TempDir,
}

impl DhcpServer {
    /// Gives out addresses from `first` to `last`; the interface needs an address of their network.
    ///
    /// It does nothing else: no DNS, no configuration file, no ping of an address before it is offered.
    pub fn start(namespace: &Namespace, interface: &str, first: &str, last: &str) -> Result<DhcpServer> {
        let dir = crate::temp_dir()?;
        let leases = format!("--dhcp-leasefile={}", dir.path().join("leases").display());
        let mut argv = "dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root --pid-file= --no-ping \
                        --dhcp-authoritative --log-dhcp --log-facility=- --bind-interfaces --except-interface=lo"
            .split_whitespace()
            .collect::<Vec<_>>();
        let (range, on) = (format!("--dhcp-range={first},{last},2m"), format!("--interface={interface}"));
        argv.extend([range.as_str(), on.as_str(), leases.as_str()]);
        let mut process = namespace.spawn(&argv, &dir.path().join("log"))?;
        process.wait_for_log("DHCP, IP range", Duration::from_secs(10))?;
        Ok(DhcpServer { process, _dir: dir })
    }

    /// What it logged: every request and answer.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// Which way iperf3 sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Forth,
    /// From the server to the client.
    Back,
}

/// What iperf3 measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    /// Gigabits a second, as received.
    pub gbit_s: f64,
    /// Bytes received.
    pub bytes: f64,
}

/// Runs one TCP stream for `seconds` from `client` to the address that `server` has.
pub fn iperf3(
    client: &Namespace,
    server: &Namespace,
    address: &str,
    seconds: u32,
    way: Direction,
) -> Result<Throughput> {
    let dir = crate::temp_dir()?;
    let mut listening = server.spawn(&["iperf3", "-s", "-1", "--forceflush"], &dir.path().join("log"))?;
    listening.wait_for_log("Server listening", Duration::from_secs(10))?;
    let seconds = seconds.to_string();
    let mut argv = vec!["iperf3", "-c", address, "-t", &seconds, "-J"];
    if way == Direction::Back {
        argv.push("-R");
    }
    let out = client.exec(&argv)?;
    let report: Value =
        serde_json::from_str(&out).with_context(|| format!("iperf3 printed no JSON: {out}"))?;
    let received = &report["end"]["sum_received"];
    let number =
        |key: &str| received[key].as_f64().with_context(|| format!("no {key} in what iperf3 printed: {out}"));
    Ok(Throughput { gbit_s: number("bits_per_second")? / 1e9, bytes: number("bytes")? })
}
