//! The switches that are measured, each with vhost-user ports for the vNICs of a row and one switching CPU.

use super::Setting;
use super::policies::Policies;
use super::rows::Row;
use crate::bench::TIED;
use crate::bench::ovs::Ovs;
use crate::interrupt;
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use lab::hostile::pin;
use lab::{Binaries, Daemon, DaemonOptions, Namespace, Process};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const OVS_DPDK: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
/// The switch of vmswitch.
pub const SWITCH: &str = "bench";
/// More than any row has source MACs.
pub const MAC_TABLE: &str = "65536";

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Switch {
    /// No switch: memcpy between the same buffers, on the switching CPU. Only for segments.
    Memcpy,
    /// DPDK's testpmd, forwarding from port to port without looking: the floor of the work.
    Testpmd,
    /// OVS-DPDK, switching with MAC learning.
    Ovs,
    /// VPP's bridge domain, from the folder VPP_BIN.
    Vpp,
    /// Another build of vmswitch.
    Baseline,
    /// vmswitch, from this workspace.
    Vmswitch,
}

impl Switch {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Switch::Memcpy => "memcpy",
            Switch::Testpmd => "testpmd",
            Switch::Ovs => "ovs",
            Switch::Vpp => "vpp",
            Switch::Baseline => "baseline",
            Switch::Vmswitch => "vmswitch",
        }
    }

    /// Whether it can be measured in this row. testpmd's `io` looks at no MAC; OVS has no TSO on the sockets that it
    /// listens on, and VPP none without more of its plugins.
    pub fn does(self, row: &Row) -> bool {
        match self {
            Switch::Memcpy => row.is_segments() && !row.packed,
            Switch::Testpmd => row.macs == 1 && row.policies == Policies::Default,
            Switch::Ovs => {
                !row.is_segments()
                    && !matches!(
                        row.policies,
                        Policies::Stateful | Policies::StatefulClients | Policies::ShortLists
                    )
            }
            Switch::Vpp => !row.is_segments() && row.policies == Policies::Default,
            Switch::Baseline | Switch::Vmswitch => true,
        }
    }
}

/// The builds of vmswitch that are measured.
#[derive(Debug, Default)]
pub struct Vmswitches {
    pub ours: Option<Binaries>,
    pub baseline: Option<Binaries>,
}

/// What OpenFlow calls the port of vNIC `n`.
pub fn openflow_port(n: usize) -> usize {
    n + 1
}

/// The MAC of vNIC `n`.
pub fn vnic_mac(n: usize) -> String {
    format!("02:00:00:00:00:{:02x}", 0x10 + n)
}

/// What the generator is attached to.
#[derive(Debug)]
pub enum Attachment {
    /// A socket for each vNIC.
    Sockets(Vec<PathBuf>),
    /// Nothing: it copies on the switching CPU by itself.
    Memcpy,
}

impl Attachment {
    /// Those that there are.
    pub fn sockets(&self) -> &[PathBuf] {
        match self {
            Attachment::Sockets(sockets) => sockets,
            Attachment::Memcpy => &[],
        }
    }
}

/// A running switch; dropping it takes it down.
#[derive(Debug)]
pub struct Bed {
    pub attachment: Attachment,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Nothing,
    /// The process is dropped before its folder.
    Program {
        process: Process,
        _dir: TempDir,
    },
    Ovs(Ovs),
    Vmswitch(Daemon),
}

/// What a switch is started with.
struct Plan<'a> {
    row: &'a Row,
    setting: &'a Setting,
    host: &'a Namespace,
}

impl Bed {
    /// Starts a switch and waits until its sockets are there.
    pub fn start(
        switch: Switch,
        row: &Row,
        setting: &Setting,
        host: &Namespace,
        builds: &Vmswitches,
    ) -> Result<Bed> {
        let plan = Plan { row, setting, host };
        let bed = match switch {
            Switch::Memcpy => Bed { attachment: Attachment::Memcpy, running: Running::Nothing },
            Switch::Testpmd => plan.testpmd()?,
            Switch::Ovs => plan.ovs()?,
            Switch::Vpp => plan.vpp()?,
            Switch::Baseline => plan.vmswitch(builds.baseline.as_ref())?,
            Switch::Vmswitch => plan.vmswitch(builds.ours.as_ref())?,
        };
        bed.wait_for_sockets().with_context(|| format!("{} printed:\n{}", switch.name(), bed.log()))?;
        Ok(bed)
    }

    /// The process that switches.
    pub fn pid(&self) -> Result<Option<u32>> {
        Ok(match &self.running {
            Running::Nothing => None,
            Running::Program { process, .. } => Some(process.id()),
            Running::Ovs(ovs) => Some(ovs.pid()),
            Running::Vmswitch(daemon) => Some(daemon.id()?),
        })
    }

    /// The socket of vmswitch's API.
    pub fn api(&self) -> Result<PathBuf> {
        match &self.running {
            Running::Vmswitch(daemon) => Ok(daemon.socket()),
            _ => bail!("rules can be changed on vmswitch only"),
        }
    }

    /// The end of what the switch printed.
    pub fn log(&self) -> String {
        let all = match &self.running {
            Running::Nothing => String::new(),
            Running::Program { process, .. } => process.log(),
            Running::Ovs(ovs) => {
                fs::read_to_string(ovs.dir().join("ovs-vswitchd-dpdk.out")).unwrap_or_default()
            }
            Running::Vmswitch(daemon) => daemon.log(),
        };
        let lines: Vec<_> = all.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn wait_for_sockets(&self) -> Result<()> {
        wait_for("sockets of the switch", || self.attachment.sockets().iter().all(|s| s.exists()))
    }
}

impl Plan<'_> {
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let [first, rest @ ..] = TIED;
        let mut command = self.host.command(first);
        command.args(rest).arg(program);
        command
    }

    fn sockets(&self, dir: &Path) -> Vec<PathBuf> {
        (0..self.row.vnics).map(|n| dir.join(format!("v{n}"))).collect()
    }

    fn testpmd(&self) -> Result<Bed> {
        let dir = lab::temp_dir()?;
        let (sockets, cpu) = (self.sockets(dir.path()), self.setting.switch_cpu);
        // Segments pass whole only if the flags that they come with are taken for those that they are sent with.
        let offloads = if self.row.is_segments() { ",tso=1,legacy-ol-flags=1" } else { "" };
        let mut command = self.command("dpdk-testpmd");
        command.env("RUNTIME_DIRECTORY", dir.path());
        command.args(["--lcores", &format!("0@{cpu},1@{cpu}"), "--no-pci", "--in-memory", "-m", "256"]);
        for (n, socket) in sockets.iter().enumerate() {
            command.args(["--vdev", &format!("net_vhost{n},iface={}{offloads}", socket.display())]);
        }
        // Without a period of statistics it would wait for a key, and end where there is no terminal.
        command.args(["--log-level=1", "--", "--forward-mode=io", "--auto-start", "--stats-period=100"]);
        command.arg("--total-num-mbufs=8192");
        program(command, dir, sockets)
    }

    fn ovs(&self) -> Result<Bed> {
        let mask = format!("{:#x}", 1u64 << self.setting.switch_cpu);
        let (lcores, pmds) =
            (format!("other_config:dpdk-lcore-mask={mask}"), format!("other_config:pmd-cpu-mask={mask}"));
        let mut settings = vec!["other_config:dpdk-init=true", &lcores, &pmds];
        settings.extend(["other_config:dpdk-socket-mem=512", "other_config:dpdk-extra=--no-pci --in-memory"]);
        let ovs = Ovs::start(self.host, OVS_DPDK, &settings)?;
        let table = format!("other_config:mac-table-size={MAC_TABLE}");
        ovs.control(&format!("add-br obr0 -- set bridge obr0 datapath_type=netdev {table}"))?;
        let sockets = self.sockets(ovs.dir());
        for n in 0..sockets.len() {
            let (port, number) = (format!("v{n}"), openflow_port(n));
            ovs.control(&format!(
                "add-port obr0 {port} -- set Interface {port} type=dpdkvhostuser ofport_request={number}"
            ))?;
        }
        self.row.policies.give_to_ovs(&ovs, "obr0", self.row.vnics)?;
        Ok(Bed { attachment: Attachment::Sockets(sockets), running: Running::Ovs(ovs) })
    }

    fn vmswitch(&self, build: Option<&Binaries>) -> Result<Bed> {
        let binaries = Some(build.context("vmswitch was not built")?.clone());
        let arguments = vec!["--workers".to_owned(), self.setting.switch_cpu.to_string()];
        let options = DaemonOptions { binaries, arguments, ..Default::default() };
        let daemon = match self.row.bystanders {
            0 => Daemon::start_with(self.host, options)?,
            _ => self.start_among_bystanders(options)?,
        };
        if self.row.bystanders == 0 {
            daemon.cli_ok(&["switch", "add", SWITCH, "--private"])?;
        }
        let sockets = self.sockets(daemon.scratch());
        for (n, socket) in sockets.iter().enumerate() {
            let (port, mac, path) = (format!("vm{n}"), vnic_mac(n), socket.display().to_string());
            let port = ["port", "add", SWITCH, &port, "--vhost-user", &path, "--vhost-role", "server"];
            let policies = self.row.policies.of_vmswitch(n, self.row);
            let policies: Vec<_> = policies.iter().map(String::as_str).collect();
            daemon.cli_ok(&[&port[..], &["--mac", &mac], &policies].concat())?;
        }
        Ok(Bed { attachment: Attachment::Sockets(sockets), running: Running::Vmswitch(daemon) })
    }

    /// With ports that are there already: each by a request of its own would have the whole state be written a thousand times.
    /// All threads but the workers are on the generator's CPU, where this machine may have no third one: what they take
    /// there the generator's figures tell.
    fn start_among_bystanders(&self, options: DaemonOptions) -> Result<Daemon> {
        let mut daemon = Daemon::prepare(self.host, options)?;
        fs::create_dir_all(daemon.state_dir())?;
        fs::write(daemon.state_dir().join("state.toml"), self.bystanders(daemon.scratch()))?;
        let cpu = self.setting.generator_cpu as usize;
        thread::scope(|scope| {
            let launch = scope.spawn(|| pin(cpu).and_then(|()| daemon.launch()));
            launch.join().unwrap_or_else(|_| bail!("the thread that starts vmswitchd panicked"))
        })?;
        Ok(daemon)
    }

    /// A state file with a switch and those ports.
    fn bystanders(&self, dir: &Path) -> String {
        let mut state = format!("version = 1\n[[switch]]\nname = \"{SWITCH}\"\nkind = \"private\"\n");
        for n in 0..self.row.bystanders {
            let (rules, socket) = (self.row.policies.rules(n), dir.join(format!("b{n}")));
            // Strings are written alike in both languages.
            state += &format!(
                "[[switch.port]]\nname = \"by{n}\"\nguard = false\nattach = {{ unix-dgram = {socket:?} }}\nacl = {{ rules = {rules:?} }}\n"
            );
        }
        state
    }

    fn vpp(&self) -> Result<Bed> {
        // VPP gives its API to a group of its own, which has to exist.
        lab::text(Command::new("groupadd").args(["-f", "vpp"]))?;
        let dir = lab::temp_dir()?;
        let (sockets, cli) = (self.sockets(dir.path()), dir.path().join("cli.sock"));
        let home = PathBuf::from(env::var_os("VPP_BIN").context("VPP_BIN names no build of VPP")?);
        let plugins = plugins(&home.join("lib")).context("no vpp_plugins in VPP_BIN")?;
        let libraries = plugins.parent().unwrap_or(&home).to_owned();
        let config = dir.path().join("startup.conf");
        fs::write(&config, self.vpp_config(dir.path(), &plugins))?;
        let mut command = self.command(home.join("bin/vpp"));
        command.env("LD_LIBRARY_PATH", &libraries).arg("-c").arg(&config);
        let bed = program(command, dir, sockets)?;
        wait_for("VPP's command line", || cli.exists())?;
        let control = |line: &str| -> Result<()> {
            let mut command = Command::new(home.join("bin/vppctl"));
            command.env("LD_LIBRARY_PATH", &libraries).arg("-s").arg(&cli).args(line.split(' '));
            let printed = lab::text(&mut command)?;
            if printed.contains("rror") { bail!("{line}: {printed}") } else { Ok(()) }
        };
        self.configure_vpp(bed.attachment.sockets(), control)?;
        Ok(bed)
    }

    fn vpp_config(&self, dir: &Path, plugins: &Path) -> String {
        let (dir, plugins, cpu) = (dir.display(), plugins.display(), self.setting.switch_cpu);
        format!(
            "unix {{ nodaemon log {dir}/vpp.log cli-listen {dir}/cli.sock }}\n\
             cpu {{ main-core {cpu} }}\n\
             api-segment {{ prefix vmswitch-bench }}\n\
             statseg {{ socket-name {dir}/stats.sock }}\n\
             memory {{ main-heap-size 512M main-heap-page-size default-hugepage }}\n\
             buffers {{ buffers-per-numa 32768 page-size default-hugepage }}\n\
             plugins {{ path {plugins} plugin default {{ disable }} plugin vhost_plugin.so {{ enable }} }}\n"
        )
    }

    fn configure_vpp(&self, sockets: &[PathBuf], control: impl Fn(&str) -> Result<()>) -> Result<()> {
        let rings = if self.row.packed { " packed" } else { "" };
        control("create bridge-domain 1 learn 1 forward 1 flood 1 uu-flood 1")?;
        for (n, socket) in sockets.iter().enumerate() {
            control(&format!("create vhost-user socket {} server{rings}", socket.display()))?;
            control(&format!("set interface state VirtualEthernet0/0/{n} up"))?;
            control(&format!("set interface l2 bridge VirtualEthernet0/0/{n} 1"))?;
        }
        Ok(())
    }
}

fn program(mut command: Command, dir: TempDir, sockets: Vec<PathBuf>) -> Result<Bed> {
    let process = Process::spawn(&mut command, &dir.path().join("log"))?;
    Ok(Bed { attachment: Attachment::Sockets(sockets), running: Running::Program { process, _dir: dir } })
}

fn wait_for(what: &str, test: impl Fn() -> bool) -> Result<()> {
    lab::wait_until(what, PATIENCE, || {
        interrupt::check()?;
        Ok(test())
    })
}

/// `vpp_plugins`, which distributions put at different depths below `lib`.
fn plugins(folder: &Path) -> Option<PathBuf> {
    let folders =
        || fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.is_dir());
    folders().find(|p| p.ends_with("vpp_plugins")).or_else(|| folders().find_map(|p| plugins(&p)))
}
