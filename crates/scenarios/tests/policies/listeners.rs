//! Multicast snooping with kernels that join, a Linux bridge that asks, and neighbour discovery that goes on all the while.

use anyhow::{Context, Result, ensure};
use lab::{Capture, Daemon, NIC, Namespace, Process, Snapshot, World, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(40);
const GROUPS: [&str; 2] = ["239.1.2.3", "ff05::1:3"];

/// Joins a group on eth0 and prints each datagram that comes.
const LISTEN: &str = "
import socket, struct, sys
group = sys.argv[1]
index = socket.if_nametoindex('eth0')
if ':' in group:
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(('', 5000))
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, group) + struct.pack('@I', index))
else:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('', 5000))
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + struct.pack('@4si', bytes(4), index))
print('joined', flush=True)
while True:
    print('got', s.recv(2000).decode(), flush=True)
";

/// Sends a datagram to a group.
const SEND: &str = "
import socket, sys
group, text = sys.argv[1:]
v6 = ':' in group
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
index = socket.if_nametoindex('eth0')
if v6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 4)
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(4) + bytes(4) + index.to_bytes(4, 'little'))
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
s.sendto(text.encode(), (group, 5000))
";

/// A switch with VMs whose kernels speak IPv4 and IPv6.
struct Site {
    daemon: Daemon,
    vms: Vec<Namespace>,
    world: World,
}

impl Site {
    fn new() -> Result<Site> {
        let world = World::new()?;
        let daemon = Daemon::start(&world.host)?;
        daemon.cli_ok(&["switch", "add", "lan", "--external", NIC, "--no-host"])?;
        let mut vms = Vec::new();
        for name in ["vm1", "vm2", "vm3"] {
            let vm = Namespace::new(name)?;
            daemon.cli_ok(&["port", "add", "lan", name, "--netns", vm.name()])?;
            let number = vms.len() + 1;
            vm.add_address("eth0", &format!("10.9.0.1{number}/24"))?;
            vm.add_address("eth0", &format!("fd00:9::1{number}/64"))?;
            vms.push(vm);
        }
        Ok(Site { daemon, vms, world })
    }

    fn snoop(&self, settings: &str) -> Result<()> {
        let line = format!("switch set lan --multicast-snooping on {settings}");
        self.daemon.cli_ok(&line.split_whitespace().collect::<Vec<_>>()).map(drop)
    }

    fn known(&self) -> Result<serde_json::Value> {
        self.daemon.cli_json(&["multicast", "list", "lan"])
    }

    fn wait_filters(&self) -> Result<()> {
        wait_until("IGMP and MLD filter", PATIENCE, || {
            let known = self.known()?;
            Ok([0, 1].iter().all(|at| known["vlans"][at]["filters"] == true))
        })
        .with_context(|| format!("{:#}", self.known().unwrap_or_default()))
    }

    /// Who joined a group.
    fn joined(&self, group: &str) -> Result<Vec<String>> {
        let known = self.known()?;
        let groups = known["groups"].as_array().context("no groups")?.iter();
        let of = groups.filter(|listed| listed["group"] == group);
        Ok(of.filter_map(|listed| listed["port"].as_str()).map(str::to_owned).collect())
    }

    fn listen(&self, vm: usize, group: &str) -> Result<Process> {
        let log = self.daemon.scratch().join(format!("listen-{vm}-{}", group.replace(':', "-")));
        let mut process = self.vms[vm].spawn(&["python3", "-c", LISTEN, group], &log)?;
        process.wait_for_log("joined", PATIENCE)?;
        Ok(process)
    }

    fn send(&self, vm: usize, group: &str, text: &str) -> Result<()> {
        self.vms[vm].exec(&["python3", "-c", SEND, group, text]).map(drop)
    }

    /// Each VM forgets its neighbours and finds the next one anew.
    fn neighbours_are_found(&self) -> Result<()> {
        for (at, vm) in self.vms.iter().enumerate() {
            vm.ip("neigh flush all")?;
            let other = (at + 1) % self.vms.len() + 1;
            vm.ping(&format!("fd00:9::1{other}"))?;
            vm.ping(&format!("10.9.0.1{other}"))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        Snapshot::read(&self.daemon, "lan")?;
        let stats = &self.daemon.cli_json(&["switch", "show", "lan"])?["stats"];
        let count = |name: &str| stats[name].as_u64().with_context(|| format!("no {name} in {stats}"));
        let drops: u64 =
            stats["drops"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
        let made = count("rx_frames")? + count("copies")? + count("originated")?;
        ensure!(made == count("tx_frames")? + drops, "not conserved: {stats}");
        self.daemon.stop()
    }
}

/// True where a captured frame came to the VM and has this text in it.
fn carries(capture: &Capture, text: &str) -> bool {
    let frames = capture.frames().into_iter().filter(|frame| !frame.outgoing);
    frames.into_iter().any(|frame| frame.bytes.windows(text.len()).any(|part| part == text.as_bytes()))
}

#[test]
fn root_kernels_get_the_groups_that_they_joined_and_no_others_while_neighbours_are_found() -> Result<()> {
    let site = Site::new()?;
    let captures = [Capture::start(&site.vms[1], "eth0")?, Capture::start(&site.vms[2], "eth0")?];
    site.snoop("--querier on --query-interval 3s --query-response 1s")?;
    let mut listeners = GROUPS.iter().map(|group| site.listen(1, group)).collect::<Result<Vec<_>>>()?;
    site.wait_filters()?;
    // Longer than what is believed without being heard again.
    for round in 0..6 {
        for (group, listener) in GROUPS.iter().zip(&mut listeners) {
            assert_eq!(site.joined(group)?, ["vm2"], "round {round}");
            let text = format!("to {group} in round {round}");
            site.send(0, group, &text)?;
            listener.wait_for_log(&format!("got {text}"), PATIENCE)?;
        }
        site.neighbours_are_found()?;
        std::thread::sleep(Duration::from_secs(2));
    }
    ensure!(carries(&captures[0], "in round 5") && !carries(&captures[1], "in round"), "vm3 got a group");
    // Who ends leaves, is asked whether somebody is left, and is forgotten.
    for listener in &mut listeners {
        listener.kill()?;
    }
    for group in GROUPS {
        wait_until("the group is left", PATIENCE, || Ok(site.joined(group)?.is_empty()))?;
        site.send(0, group, "too late")?;
    }
    site.neighbours_are_found()?;
    ensure!(!carries(&captures[0], "too late"), "vm2 got a group that it left");
    site.finish()
}

#[test]
fn root_a_linux_bridge_outside_is_the_querier_and_nothing_is_filtered_before_it_asks() -> Result<()> {
    let site = Site::new()?;
    let capture = Capture::start(&site.vms[2], "eth0")?;
    let mut listener = site.listen(1, GROUPS[0])?;
    site.snoop("--querier off --query-interval 3s --query-response 1s")?;
    std::thread::sleep(Duration::from_secs(3));
    site.send(0, GROUPS[0], "before")?;
    listener.wait_for_log("got before", PATIENCE)?;
    wait_until("nothing is filtered", PATIENCE, || Ok(carries(&capture, "before")))?;
    let phys = &site.world.phys;
    phys.ip("addr add 10.9.0.100/24 dev sw")?;
    let times = "mcast_query_interval 300 mcast_query_response_interval 100 mcast_startup_query_interval 100";
    phys.ip(&format!(
        "link set sw type bridge mcast_snooping 1 mcast_query_use_ifaddr 1 {times} mcast_querier 1"
    ))?;
    wait_until("IGMP filters", PATIENCE, || {
        let igmp = site.known()?["vlans"][0].clone();
        Ok(igmp["filters"] == true && igmp["querier"] == "10.9.0.100" && igmp["querier_port"] == NIC)
    })
    .with_context(|| format!("{:#}", site.known().unwrap_or_default()))?;
    for round in 0..5 {
        assert_eq!(site.joined(GROUPS[0])?, ["vm2"]);
        site.send(0, GROUPS[0], &format!("after {round}"))?;
        listener.wait_for_log(&format!("got after {round}"), PATIENCE)?;
        site.neighbours_are_found()?;
        std::thread::sleep(Duration::from_secs(2));
    }
    ensure!(!carries(&capture, "after"), "vm3 got the group");
    // It falls silent, and groups are for everybody again.
    phys.ip("link set sw type bridge mcast_querier 0 mcast_snooping 0")?;
    wait_until("the querier counts as gone", PATIENCE, || Ok(site.known()?["vlans"][0]["filters"] == false))?;
    site.send(0, GROUPS[0], "at last")?;
    wait_until("nothing is filtered", PATIENCE, || Ok(carries(&capture, "at last")))?;
    site.finish()
}
