//! Open vSwitch with its own database and folder, beside one that may run on this machine.

use anyhow::{Context, Result};
use lab::{Namespace, Process};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const PATIENCE: Duration = Duration::from_secs(20);

/// A running OVS without bridges. Fields are dropped in this order: programs before their folder.
#[derive(Debug)]
pub struct Ovs {
    datapath: Process,
    server: Server,
}

#[derive(Debug)]
struct Server {
    _process: Process,
    host: String,
    dir: TempDir,
}

impl Ovs {
    /// Starts `program` (an ovs-vswitchd) in a namespace with these settings of table `Open_vSwitch`.
    pub fn start(host: &Namespace, program: &str, settings: &[&str]) -> Result<Ovs> {
        let server = Server::start(host)?;
        server.control(&["--no-wait", "init"])?;
        if !settings.is_empty() {
            server.control(&[&["--no-wait", "set", "Open_vSwitch", "."], settings].concat())?;
        }
        let datapath = server.spawn(program, &[&server.remote()?])?;
        Ok(Ovs { datapath, server })
    }

    /// `ovs-vsctl ARGS`, the arguments separated by spaces; waits until the datapath has done it.
    pub fn control(&self, args: &str) -> Result<()> {
        self.server.control(&args.split(' ').collect::<Vec<_>>())
    }

    /// Adds OpenFlow rules to a bridge, one a line.
    pub fn add_flows(&self, bridge: &str, flows: &str) -> Result<()> {
        let (dir, file) = (self.dir(), self.dir().join("flows"));
        std::fs::write(&file, flows)?;
        let socket = format!("unix:{}", path(&dir.join(format!("{bridge}.mgmt")))?);
        let mut command = inside(&self.server.host, dir, "ovs-ofctl");
        lab::text(command.args(["--bundle", "-O", "OpenFlow14", "add-flows", &socket]).arg(&file)).map(drop)
    }

    /// The process that switches.
    pub fn pid(&self) -> u32 {
        self.datapath.id()
    }

    /// Where its sockets and logs are.
    pub fn dir(&self) -> &Path {
        self.server.dir.path()
    }
}

impl Server {
    fn start(host: &Namespace) -> Result<Server> {
        let dir = lab::temp_dir()?;
        let (database, socket) = (dir.path().join("conf.db"), dir.path().join("db.sock"));
        lab::text(Command::new("ovsdb-tool").arg("create").args([&database, Path::new(SCHEMA)]))
            .context("is openvswitch-switch installed?")?;
        let remote = format!("--remote=punix:{}", path(&socket)?);
        let process = spawn(host.name(), dir.path(), "ovsdb-server", &[path(&database)?, &remote])?;
        lab::wait_until("socket of ovsdb-server", PATIENCE, || Ok(socket.exists()))?;
        Ok(Server { _process: process, host: host.name().to_owned(), dir })
    }

    fn remote(&self) -> Result<String> {
        Ok(format!("unix:{}", path(&self.dir.path().join("db.sock"))?))
    }

    fn control(&self, args: &[&str]) -> Result<()> {
        let mut command = inside(&self.host, self.dir.path(), "ovs-vsctl");
        command.args(["-t", "15", &format!("--db={}", self.remote()?)]).args(args);
        lab::text(&mut command).map(drop)
    }

    fn spawn(&self, program: &str, args: &[&str]) -> Result<Process> {
        spawn(&self.host, self.dir.path(), program, args)
    }
}

fn spawn(host: &str, dir: &Path, program: &str, args: &[&str]) -> Result<Process> {
    let name = Path::new(program).file_name().context("a program has a name")?;
    let log = dir.join(name).with_extension("out");
    Process::spawn(inside(host, dir, program).args(args), &log)
}

/// Keeps OVS away from the files of one that may run on this machine.
fn inside(host: &str, dir: &Path, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", host]).args(super::TIED).arg(program);
    for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        command.env(variable, dir);
    }
    command
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
