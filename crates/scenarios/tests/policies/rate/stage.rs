//! A private switch with VMs in namespaces of their own, and who sends as fast as it can there.

use anyhow::{Context, Result, ensure};
use lab::{Daemon, DaemonOptions, Namespace, Process, Snapshot};
use std::thread;
use std::time::{Duration, Instant};

/// A switch `lab` and its VMs `vm1`, `vm2`, ... with the addresses 10.0.0.1, 10.0.0.2, ...
pub struct Stage {
    pub daemon: Daemon,
    pub vms: Vec<Namespace>,
    _host: Namespace,
    dir: tempfile::TempDir,
}

impl Stage {
    /// One VM for each list of further arguments of `port add`.
    pub fn new(workers: &str, vms: &[&str]) -> Result<Stage> {
        let host = Namespace::new("host")?;
        let arguments = match workers {
            "" => vec![],
            cpus => vec!["--workers".to_owned(), cpus.to_owned()],
        };
        let daemon = Daemon::start_with(&host, DaemonOptions { arguments, ..Default::default() })?;
        daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
        let mut stage = Stage { daemon, vms: vec![], _host: host, dir: lab::temp_dir()? };
        vms.iter().try_for_each(|arguments| stage.add(arguments))?;
        stage.introduce()?;
        Ok(stage)
    }

    fn add(&mut self, arguments: &str) -> Result<()> {
        let (number, vm) = (self.vms.len() + 1, Namespace::new("vm")?);
        vm.disable_ipv6()?;
        let name = format!("vm{number}");
        let add = ["port", "add", "lab", &name, "--netns", vm.name()];
        self.daemon.cli_ok(&add.into_iter().chain(arguments.split_whitespace()).collect::<Vec<_>>())?;
        // Room for who sends, on a machine that is busy with other things.
        vm.ip("link set eth0 txqueuelen 10000")?;
        vm.add_address("eth0", &format!("10.0.0.{number}/24"))?;
        self.vms.push(vm);
        Ok(())
    }

    /// Has everybody know everybody's MAC for good, so that nobody asks.
    fn introduce(&self) -> Result<()> {
        for (number, vm) in (1..).zip(&self.vms) {
            let mac = vm.mac("eth0")?;
            for other in self.vms.iter().filter(|other| other.name() != vm.name()) {
                other.ip(&format!("neigh replace 10.0.0.{number} lladdr {mac} dev eth0 nud permanent"))?;
            }
        }
        Ok(())
    }

    /// Datagrams of 1442 bytes from one VM to another, as fast as mausezahn can, until the guard is dropped. `to_port` may be a
    /// range, then each goes to the next one.
    pub fn flood(&self, from: usize, to: usize, to_port: &str) -> Result<Process> {
        self.send(from, to, to_port, "0")
    }

    /// The same with a delay between any two.
    pub fn send(&self, from: usize, to: usize, to_port: &str, delay: &str) -> Result<Process> {
        let mac = self.vms[to - 1].mac("eth0")?;
        // Nobody has that address, so nobody answers.
        let line = format!(
            "mausezahn eth0 -q -c 0 -d {delay} -p 1400 -b {mac} -B 10.0.0.99 -t udp sp=9,dp={to_port}"
        );
        let argv: Vec<_> = line.split_whitespace().collect();
        self.vms[from - 1].spawn(&argv, &self.dir.path().join("flood"))
    }

    /// TCP streams from one VM to another for so many seconds, by iperf3, whose logs have that name.
    pub fn stream(&self, from: usize, to: usize, seconds: u32, name: &str) -> Result<[Process; 2]> {
        let (address, seconds) = (format!("10.0.0.{to}"), seconds.to_string());
        let log = |end: &str| self.dir.path().join(format!("{name}-{end}"));
        let mut server = self.vms[to - 1].spawn(&["iperf3", "-s", "-1", "--forceflush"], &log("server"))?;
        server.wait_for_log("listening", Duration::from_secs(20))?;
        let client = self.vms[from - 1]
            .spawn(&["iperf3", "-P", "4", "-c", &address, "-t", &seconds], &log("client"))?;
        Ok([server, client])
    }

    /// Bits a second that a counter of bytes moves by, measured over some time.
    pub fn rate(&self, port: &str, counter: &str, over: Duration) -> Result<f64> {
        let (before, from) = self.bytes(port, counter)?;
        thread::sleep(over);
        let (after, to) = self.bytes(port, counter)?;
        Ok((after - before) as f64 * 8.0 / to.duration_since(from).as_secs_f64())
    }

    /// A counter, and when it was that: in the middle of the question.
    fn bytes(&self, port: &str, counter: &str) -> Result<(u64, Instant)> {
        let asked = Instant::now();
        let shown = self.daemon.cli_json(&["port", "show", &format!("lab/{port}")])?;
        let took = asked.elapsed();
        let bytes = shown["stats"][counter].as_u64().with_context(|| format!("no {counter} in {shown}"))?;
        Ok((bytes, asked + took / 2))
    }

    /// Processor time of all threads of the daemon.
    pub fn work(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.daemon.id()?))?;
        let (_, after) = stat.rsplit_once(") ").context("no name")?;
        // User and system time are the 12th and 13th field behind the name, in hundredths of a second (proc(5)).
        let ticks: Result<Vec<u64>, _> = after.split(' ').skip(11).take(2).map(str::parse).collect();
        Ok(Duration::from_millis(10 * ticks?.iter().sum::<u64>()))
    }

    /// What the vNIC of a VM could not keep until it was read: the kernel drops at a full TAP.
    pub fn lost_in_the_kernel(&self, vm: usize) -> Result<u64> {
        let links = self.vms[vm - 1].ip_json("-s link show dev eth0")?;
        links[0]["stats64"]["tx"]["dropped"].as_u64().with_context(|| format!("no tx dropped in {links}"))
    }

    pub fn set(&self, port: &str, arguments: &str) -> Result<()> {
        let place = format!("lab/{port}");
        let set = ["port", "set", &place].into_iter().chain(arguments.split_whitespace());
        self.daemon.cli_ok(&set.collect::<Vec<_>>()).map(drop)
    }

    /// Ends with frames conserved.
    pub fn close(mut self) -> Result<()> {
        Snapshot::take(&self.daemon, "lab")?;
        self.daemon.cli_ok(&["switch", "remove", "lab"])?;
        self.daemon.stop()
    }
}

/// Within so many per cent.
pub fn near(what: &str, measured: f64, expected: f64, per_cent: f64) -> Result<()> {
    let off = (measured / expected - 1.0) * 100.0;
    println!("{what}: {measured:.0} bit/s of {expected:.0}: {off:+.2} %");
    ensure!(off.abs() <= per_cent, "{what}: {measured:.0} bit/s of {expected:.0}: {off:+.2} %");
    Ok(())
}

/// What holds at one of three looks. Others use this machine: what the switch cannot send while they have it is lost to the rate, and a
/// counter that is read late belongs to another moment. A switch that does not keep to a rate does so at no look.
pub fn at_one_of_three_looks<T>(mut look: impl FnMut() -> Result<T>) -> Result<T> {
    look().or_else(|_| look()).or_else(|_| look())
}
