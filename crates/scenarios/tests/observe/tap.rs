//! `vmswitch capture` and `vmswitch trace` in the background, and what tshark reads.

use crate::lan::Lan;
use anyhow::{Context, Result, ensure};
use lab::{Binaries, Process, text};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A command that listens.
#[derive(Debug)]
pub struct Tap {
    pub process: Process,
    /// What it writes to standard output.
    out: PathBuf,
}

impl Tap {
    /// Starts it; every frame that passes after this returns is seen.
    pub fn start(lan: &Lan, name: &str, arguments: &[&str]) -> Result<Tap> {
        let out = lan.daemon.scratch().join(format!("{name}.out"));
        let mut command = vmswitch(lan)?;
        let log = lan.daemon.scratch().join(format!("{name}.log"));
        // The log of one before that had this name.
        let _ = std::fs::remove_file(&log);
        let mut process = Process::spawn_to(command.args(arguments), &log, File::create(&out)?)?;
        process.wait_for_log("; Ctrl-C ends it", PATIENCE)?;
        Ok(Tap { process, out })
    }

    /// Waits until it ends by itself, well; what it wrote to standard output.
    pub fn wait(mut self) -> Result<String> {
        let status = self.process.wait(PATIENCE)?;
        ensure!(status.success(), "{status}: {}", self.process.log());
        self.written()
    }

    /// Ends it as Ctrl-C does; what it wrote, and what it said at the end.
    pub fn stop(mut self) -> Result<(String, String)> {
        let status = self.process.terminate(PATIENCE)?;
        ensure!(status.success(), "{status}: {}", self.process.log());
        Ok((self.written()?, self.process.log()))
    }

    /// What it wrote so far.
    pub fn written(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.out)?).into_owned())
    }
}

/// The program, told where the daemon is.
pub fn vmswitch(lan: &Lan) -> Result<Command> {
    let mut command = Command::new(Binaries::find()?.cli());
    command.arg("--socket").arg(lan.daemon.socket()).stdin(Stdio::null());
    Ok(command)
}

/// One packet of a file, as tshark reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub interface: String,
    /// `in` or `out`.
    pub direction: &'static str,
    pub comment: String,
    pub source: String,
    pub vlan: String,
    pub length: String,
}

/// What is seen at an interface of a frame from `source`, of 60 bytes and without tag.
pub fn seen(interface: &str, direction: &'static str, source: &str, comment: &str) -> Packet {
    let (interface, source, comment) = (interface.into(), source.into(), comment.into());
    Packet { interface, direction, comment, source, vlan: String::new(), length: "60".into() }
}

pub const FIELDS: [&str; 6] = [
    "frame.interface_name",
    "frame.packet_flags_direction",
    "frame.comment",
    "eth.src",
    "vlan.id",
    "frame.len",
];

/// All packets of a file.
pub fn packets(file: &Path) -> Result<Vec<Packet>> {
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-T", "fields", "-E", "separator=|"]);
    tshark.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    text(tshark.arg("-r").arg(file))?.lines().map(packet).collect()
}

pub fn packet(line: &str) -> Result<Packet> {
    let fields: Vec<_> = line.split('|').collect();
    let [interface, direction, comment, source, vlan, length] = fields[..] else {
        anyhow::bail!("tshark printed {line:?}");
    };
    let number = u32::from_str_radix(direction.trim_start_matches("0x"), 16);
    let direction = match number.with_context(|| format!("a direction in {line:?}"))? {
        1 => "in",
        2 => "out",
        other => anyhow::bail!("direction {other} in {line:?}"),
    };
    let [interface, comment, source, vlan, length] =
        [interface, comment, source, vlan, length].map(str::to_owned);
    Ok(Packet { interface, direction, comment, source, vlan, length })
}
