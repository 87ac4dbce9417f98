//! What is measured: the wire, the switches on it, and the generator.

use super::Options;
use crate::bench::TIED;
use crate::bench::vhost::contention::Times;
use crate::{interrupt, steps};
use anyhow::{Context, Result};
use lab::{Binaries, Daemon, DaemonOptions, Namespace, Process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const NIC: &str = "nic0";
const WIRE: &str = "wire0";
const VNIC_MAC: &str = "02:00:00:00:00:10";
const SINK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/xdp_drop.c");

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Switch {
    /// DPDK's testpmd between `net_af_xdp` and `net_vhost`.
    Testpmd,
    /// The same, with the busy polling that is its default.
    TestpmdBusy,
    /// vmswitch.
    Vmswitch,
}

impl Switch {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Switch; 3] = [Switch::Testpmd, Switch::TestpmdBusy, Switch::Vmswitch];

    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Switch::Testpmd => "testpmd",
            Switch::TestpmdBusy => "testpmd, busy",
            Switch::Vmswitch => "vmswitch",
        }
    }
}

/// A veth from the namespace of the switch to one in which every frame is dropped.
#[derive(Debug)]
pub struct Wire {
    host: Namespace,
    far: Namespace,
    /// Holds the compiled program of the far end.
    sink: TempDir,
}

/// What came to its far end.
#[derive(Debug, Clone, Copy)]
pub struct Arrived {
    pub frames: u64,
    pub bytes: u64,
}

impl Wire {
    /// The two namespaces, without the wire.
    pub fn prepare() -> Result<Wire> {
        let (host, far, sink) = (Namespace::new("host")?, Namespace::new("wire")?, lab::temp_dir()?);
        let wire = Wire { host, far, sink };
        for namespace in [&wire.host, &wire.far] {
            namespace.disable_ipv6()?;
        }
        steps::run(
            Command::new("clang").args(["-O2", "-target", "bpf", "-c", SINK, "-o"]).arg(wire.object()),
        )?;
        Ok(wire)
    }

    /// Lays it, in place of one on which a switch may have left its program: testpmd's outlives it.
    fn lay(&self) -> Result<()> {
        if self.host.interfaces()?.iter().any(|name| name == NIC) {
            self.host.ip(&format!("link del {NIC}"))?;
        }
        let far = self.far.name();
        self.host.ip(&format!("link add {NIC} up type veth peer name {WIRE} netns {far}"))?;
        let sink = self.object().display().to_string();
        self.far.ip(&format!("link set {WIRE} up xdp object {sink} section xdp")).map(drop)
    }

    fn object(&self) -> PathBuf {
        self.sink.path().join("sink.o")
    }

    pub fn arrived(&self) -> Result<Arrived> {
        let link = self.far.ip_json(&format!("-s link show dev {WIRE}"))?;
        let count = |what: &str| link[0]["stats64"]["rx"][what].as_u64().context("no counters of the wire");
        Ok(Arrived { frames: count("packets")?, bytes: count("bytes")? })
    }
}

/// A switch and the generator at its port; dropping them ends both.
#[derive(Debug)]
pub struct Bed {
    generator: Process,
    switch: Running,
    _dir: TempDir,
}

#[derive(Debug)]
enum Running {
    Program(Process),
    Vmswitch(Daemon),
}

impl Bed {
    pub fn start(switch: Switch, options: &Options, wire: &Wire, binaries: &Binaries) -> Result<Bed> {
        wire.lay()?;
        let dir = lab::temp_dir()?;
        let (switch, socket) = match switch {
            Switch::Vmswitch => vmswitch(options, wire, binaries)?,
            _ => testpmd(switch == Switch::TestpmdBusy, options, wire, dir.path())?,
        };
        lab::wait_until("socket of the switch", PATIENCE, || {
            interrupt::check()?;
            Ok(socket.exists())
        })?;
        let generator = generator(options, wire, dir.path(), &socket)?;
        Ok(Bed { generator, switch, _dir: dir })
    }

    pub fn wait_for_frames(&self, wire: &Wire) -> Result<()> {
        let before = wire.arrived()?.frames;
        lab::wait_until("frames at the end of the wire", PATIENCE, || {
            interrupt::check()?;
            Ok(wire.arrived()?.frames > before)
        })
    }

    /// Of the switch, and of the generator.
    pub fn times(&self) -> Result<[Times; 2]> {
        let switch = match &self.switch {
            Running::Program(process) => process.id(),
            Running::Vmswitch(daemon) => daemon.id()?,
        };
        Ok([Times::of(switch)?, Times::of(self.generator.id())?])
    }

    /// What both printed.
    pub fn log(&self) -> String {
        let switch = match &self.switch {
            Running::Program(process) => process.log(),
            Running::Vmswitch(daemon) => daemon.log(),
        };
        format!("generator:\n{}\nswitch:\n{switch}", self.generator.log())
    }
}

fn tied(wire: &Wire, program: &str, dir: &Path) -> Command {
    let [first, rest @ ..] = TIED;
    let mut command = wire.host.command(first);
    command.args(rest).arg(program).env("RUNTIME_DIRECTORY", dir);
    command
}

/// testpmd on one CPU, with memory that vanishes with it and no PCI device.
fn testpmd_on(cpu: u32, wire: &Wire, dir: &Path, devices: &[String], load: &[&str]) -> Result<Process> {
    fs::create_dir_all(dir)?;
    let mut command = tied(wire, "dpdk-testpmd", dir);
    command.args(["--lcores", &format!("0@{cpu},1@{cpu}"), "--no-pci", "--in-memory"]);
    // With a file for each page there would be more memory regions than vhost-user has room for.
    command.args(["--single-file-segments", "-m", "256", "--log-level=1"]);
    command.args(devices.iter().flat_map(|device| ["--vdev", device.as_str()]));
    // Without a period of statistics it would wait for a key, and end where there is no terminal.
    command.args(["--", "--auto-start", "--stats-period=100", "--total-num-mbufs=32768"]).args(load);
    Process::spawn(&mut command, &dir.join("log"))
}

fn testpmd(busy: bool, options: &Options, wire: &Wire, dir: &Path) -> Result<(Running, PathBuf)> {
    let socket = dir.join("vm");
    let budget = if busy { "" } else { ",busy_budget=0" };
    let devices =
        [format!("net_af_xdp0,iface={NIC}{budget}"), format!("net_vhost0,iface={}", socket.display())];
    let dir = dir.join("switch");
    let process = testpmd_on(options.switch_cpu, wire, &dir, &devices, &["--forward-mode=io"])?;
    Ok((Running::Program(process), socket))
}

fn vmswitch(options: &Options, wire: &Wire, binaries: &Binaries) -> Result<(Running, PathBuf)> {
    let arguments = vec!["--workers".to_owned(), options.switch_cpu.to_string()];
    let binaries = Some(binaries.clone());
    let daemon = Daemon::start_with(&wire.host, DaemonOptions { binaries, arguments, ..Default::default() })?;
    daemon.cli_ok(&["switch", "add", "bench", "--external", NIC, "--no-host", "--io", "af-xdp"])?;
    let socket = daemon.scratch().join("vm");
    let path = socket.display().to_string();
    daemon.cli_ok(&["port", "add", "bench", "vm", "--vhost-user", &path, "--mac", VNIC_MAC])?;
    Ok((Running::Vmswitch(daemon), socket))
}

/// testpmd as a VM that sends to an address which nobody has: so to the wire.
fn generator(options: &Options, wire: &Wire, dir: &Path, socket: &Path) -> Result<Process> {
    let device = format!("net_virtio_user0,mac={VNIC_MAC},path={},queue_size=1024", socket.display());
    let load = ["--forward-mode=txonly", "--txpkts=60"];
    testpmd_on(options.generator_cpu, wire, &dir.join("generator"), &[device], &load)
}
