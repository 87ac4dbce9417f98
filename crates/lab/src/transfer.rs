//! Moving a known stream of bytes over TCP, with a checksum at both ends.

use crate::namespace::Namespace;
use crate::process::Process;
use anyhow::{Context, Result};
use std::time::Duration;

/// Bytes that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// How many.
    pub bytes: u64,
    /// SHA-256 of all of them, in hexadecimal.
    pub sha256: String,
}

/// One end of a transfer in a namespace, waiting for a connection on every address there.
#[derive(Debug)]
pub struct Endpoint {
    process: Process,
    _dir: tempfile::TempDir,
}

impl Endpoint {
    /// Reads all that comes on one connection.
    pub fn sink(namespace: &Namespace, port: u16) -> Result<Endpoint> {
        Self::start(namespace, &["sink", &port.to_string()])
    }

    /// Writes `bytes` random bytes to one connection and closes it.
    pub fn source(namespace: &Namespace, port: u16, bytes: u64) -> Result<Endpoint> {
        Self::start(namespace, &["source", &port.to_string(), &bytes.to_string()])
    }

    /// Like [`Endpoint::source`], at no more than `rate` bytes a second.
    pub fn slow_source(namespace: &Namespace, port: u16, bytes: u64, rate: u64) -> Result<Endpoint> {
        Self::start(namespace, &["source", &port.to_string(), &bytes.to_string(), &rate.to_string()])
    }

    fn start(namespace: &Namespace, args: &[&str]) -> Result<Endpoint> {
        let dir = crate::temp_dir()?;
        let argv = [&["python3", "-c", include_str!("scripts/transfer.py")], args].concat();
        let mut process = namespace.spawn(&argv, &dir.path().join("log"))?;
        process.wait_for_log("listening", Duration::from_secs(20))?;
        Ok(Endpoint { process, _dir: dir })
    }

    /// Waits for the end of the connection; what passed.
    pub fn finish(mut self) -> Result<Passed> {
        self.process.wait_for_log("done", Duration::from_secs(120))?;
        let status = self.process.wait(Duration::from_secs(10))?;
        let log = self.process.log();
        parse(&log).with_context(|| format!("a transfer ended ({status}) without a result: {log}"))
    }
}

fn parse(log: &str) -> Option<Passed> {
    let mut fields = log.lines().find_map(|l| l.strip_prefix("done "))?.split_whitespace();
    Some(Passed { bytes: fields.next()?.parse().ok()?, sha256: fields.next()?.to_owned() })
}
