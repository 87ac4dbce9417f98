//! A switch on two workers: its ports' queues are spread over them, and nobody can tell how many there are.

use anyhow::{Context, Result, ensure};
use lab::transfer::Endpoint;
use lab::{Daemon, DaemonOptions, FAR_IPV4, NIC, Namespace, Process, Snapshot, World};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const FLOWS: usize = 8;
const DATAGRAMS: usize = 500;
const STREAM: u64 = 30_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// An external switch on two workers, with VMs that have two queues each.
struct Lab {
    daemon: Daemon,
    vms: Vec<(String, Namespace)>,
    world: World,
    dir: tempfile::TempDir,
}

impl Lab {
    fn new(vms: u8) -> Result<Lab> {
        Self::on(World::new()?, vms, "auto")
    }

    /// Both workers have a queue of the uplink.
    fn by_xdp(vms: u8) -> Result<Lab> {
        let world = World::new()?;
        world.host.exec(&["ethtool", "-L", NIC, "rx", "2", "tx", "2"])?;
        world.phys.exec(&["ethtool", "-L", "p1", "rx", "2", "tx", "2"])?;
        let lab = Self::on(world, vms, "af-xdp")?;
        let io = &lab.daemon.cli_json(&["switch", "show", "lan"])?["io"];
        ensure!(io["mode"] == "af-xdp-native-copy", "{io}");
        Ok(lab)
    }

    fn on(world: World, vms: u8, io: &str) -> Result<Lab> {
        let arguments = ["--workers", "0,1"].map(str::to_owned).to_vec();
        let daemon = Daemon::start_with(&world.host, DaemonOptions { arguments, ..Default::default() })?;
        daemon.cli_ok(&["switch", "add", "lan", "--external", NIC, "--io", io])?;
        let mut lab = Lab { daemon, vms: Vec::new(), world, dir: lab::temp_dir()? };
        (1..=vms).try_for_each(|number| lab.add(number))?;
        Ok(lab)
    }

    fn add(&mut self, number: u8) -> Result<()> {
        let (name, address) = (format!("vm{number}"), format!("10.9.0.{}", 10 + number));
        let namespace = Namespace::new(&name)?;
        self.daemon.cli_ok(&["port", "add", "lan", &name, "--netns", namespace.name(), "--queues", "2"])?;
        namespace.add_address("eth0", &format!("{address}/24"))?;
        namespace.ping(FAR_IPV4)?;
        self.vms.push((address, namespace));
        Ok(())
    }

    /// Everybody: the far machine first.
    fn all(&self) -> Vec<(&str, &Namespace)> {
        let vms = self.vms.iter().map(|(address, namespace)| (address.as_str(), namespace));
        std::iter::once((FAR_IPV4, &self.world.far)).chain(vms).collect()
    }

    /// Has everybody know everybody's MAC for good: datagrams that wait for an answer to ARP are sent when it comes, while the
    /// sender's next ones go out already.
    fn introduce(&self) -> Result<()> {
        let all = self.all();
        for (address, namespace) in &all {
            let mac = namespace.mac("eth0")?;
            let others = all.iter().filter(|(other, _)| other != address);
            for (_, other) in others {
                other.ip(&format!("neigh replace {address} lladdr {mac} dev eth0 nud permanent"))?;
            }
        }
        Ok(())
    }

    fn flows(&self, at: &Namespace, arguments: &[&str], log: &str) -> Result<Process> {
        let argv = [&["python3", "-c", include_str!("workers/flows.py")], arguments].concat();
        at.spawn(&argv, &self.dir.path().join(log))
    }

    /// Frames that each of the uplink's queues gave to XDP.
    fn received_on_queues(&self) -> Result<[u64; 2]> {
        let counters = self.world.host.exec(&["ethtool", "-S", NIC])?;
        let count = |queue| {
            let name = format!("rx_queue_{queue}_xdp_packets: ");
            let count = counters.lines().find_map(|line| line.trim().strip_prefix(&name));
            count.with_context(|| format!("no {name}in {counters}"))?.parse().context("no number")
        };
        Ok([count(0)?, count(1)?])
    }

    /// Processor time of each worker, in the kernel's ticks.
    fn work(&self) -> Result<BTreeMap<String, u64>> {
        let mut work = BTreeMap::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.daemon.id()?))? {
            let stat = std::fs::read_to_string(task?.path().join("stat"))?;
            let (before, after) = stat.rsplit_once(") ").context("no name")?;
            let name = before.split_once('(').context("no name")?.1;
            if name.starts_with("worker-") {
                // User and system time are the 12th and 13th field behind the name (proc(5)).
                let ticks: Result<Vec<u64>, _> = after.split(' ').skip(11).take(2).map(str::parse).collect();
                work.insert(name.to_owned(), ticks?.iter().sum());
            }
        }
        Ok(work)
    }

    /// Exact at any moment, also while frames pass; what passed ports that are no more is in the switch's own counters.
    fn expect_conserved(&self) -> Result<()> {
        let stats = &self.daemon.cli_json(&["switch", "show", "lan"])?["stats"];
        let drops = stats["drops"].as_object().context("no drops")?.values().filter_map(Value::as_u64);
        let count = |name: &str| stats[name].as_u64().with_context(|| format!("no {name} in {stats}"));
        let balance = (
            count("rx_frames")? + count("copies")? + count("originated")?,
            count("tx_frames")? + drops.sum::<u64>(),
        );
        ensure!(balance.0 == balance.1, "not conserved: {stats}");
        Ok(())
    }

    fn close(mut self) -> Result<()> {
        self.expect_conserved()?;
        self.daemon.cli_ok(&["switch", "remove", "lan"])?;
        self.daemon.stop()
    }
}

fn end(process: &mut Process) -> Result<String> {
    let status = process.wait(PATIENCE).with_context(|| process.log())?;
    ensure!(status.success(), "{}", process.log());
    Ok(process.log())
}

#[test]
fn root_flows_between_all_ports_stay_in_order_on_two_workers_and_every_frame_is_counted() -> Result<()> {
    let lab = Lab::new(3)?;
    flows_stay_in_order(&lab)?;
    lab.close()
}

#[test]
fn root_flows_over_both_queues_of_an_af_xdp_uplink_stay_in_order_on_two_workers() -> Result<()> {
    let lab = Lab::by_xdp(3)?;
    let before = lab.received_on_queues()?;
    flows_stay_in_order(&lab)?;
    let after = lab.received_on_queues()?;
    ensure!(after[0] > before[0] && after[1] > before[1], "a queue had nothing: {before:?}, {after:?}");
    lab.close()
}

fn flows_stay_in_order(lab: &Lab) -> Result<()> {
    lab.introduce()?;
    let all = lab.all();
    let mut sinks = Vec::new();
    let expected = (all.len() - 1) * FLOWS;
    for (number, (_, namespace)) in all.iter().enumerate() {
        let arguments = ["sink", &(expected * DATAGRAMS).to_string()];
        let mut sink = lab.flows(namespace, &arguments, &format!("sink{number}"))?;
        sink.wait_for_log("listening", PATIENCE)?;
        sinks.push(sink);
    }
    // Everybody to everybody else, at once.
    let (flows, each) = (FLOWS.to_string(), DATAGRAMS.to_string());
    let mut sources = Vec::new();
    for (from, (_, namespace)) in all.iter().enumerate() {
        for (to, (address, _)) in all.iter().enumerate().filter(|(to, _)| *to != from) {
            let arguments = ["source", address, &flows, &each];
            sources.push(lab.flows(namespace, &arguments, &format!("source{from}-{to}"))?);
        }
    }
    let sent = sources.iter_mut().try_for_each(|source| end(source).map(drop));
    for sink in &mut sinks {
        // Queues may overflow on a busy machine; what came has to be in order.
        let said = end(sink)?;
        let came: Vec<usize> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        println!("{said}");
        ensure!(came.len() == 2 && came[0] == expected && came[1] > expected * DATAGRAMS / 2, "{said}");
    }
    sent?;
    let work = lab.work()?;
    ensure!(work.len() == 2 && work.values().all(|ticks| *ticks > 0), "a worker had nothing to do: {work:?}");
    Snapshot::take(&lab.daemon, "lan").map(drop)
}

#[test]
fn root_streams_lose_nothing_while_policies_and_ports_change_on_two_workers() -> Result<()> {
    let mut lab = Lab::new(2)?;
    let [(_, vm1), (address, vm2)] = &lab.vms[..] else { unreachable!() };
    let sinks = [(vm2, 5000), (&lab.world.far, 5001)].map(|(at, port)| Endpoint::sink(at, port));
    let connect = "import hashlib, os, socket, sys\n\
                   data = os.urandom(int(sys.argv[3]))\n\
                   with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as out: out.sendall(data)\n\
                   print('sent', hashlib.sha256(data).hexdigest())";
    let stream = |from: &Namespace, to: &str, port: &str| {
        let argv = ["python3", "-c", connect, to, port, &STREAM.to_string()];
        from.spawn(&argv, &lab.dir.path().join(format!("stream{port}")))
    };
    let mut streams = [stream(vm1, address, "5000")?, stream(vm2, FAR_IPV4, "5001")?];
    while streams.iter_mut().any(|stream| stream.ended().is_ok_and(|ended| ended.is_none())) {
        for guard in ["off", "on"] {
            lab.daemon.cli_ok(&["port", "set", "lan/vm1", "--guard", guard])?;
        }
        lab.daemon.cli_ok(&["mac", "flush", "lan"])?;
        let visitor = Namespace::new("visitor")?;
        lab.daemon.cli_ok(&["port", "add", "lan", "visitor", "--netns", visitor.name()])?;
        lab.daemon.cli_ok(&["port", "remove", "lan/visitor"])?;
        lab.expect_conserved()?;
    }
    for (stream, sink) in streams.iter_mut().zip(sinks) {
        let (said, arrived) = (end(stream)?, sink?.finish()?);
        ensure!(arrived.bytes == STREAM && said.contains(&arrived.sha256), "{said}: {arrived:?}");
    }
    drop(streams);
    // A port whose namespace goes away takes its shares on both workers with it.
    let (_, gone) = lab.vms.remove(1);
    drop(gone);
    lab.vms[0].1.ping(FAR_IPV4)?;
    lab.close()
}
