//! A VM that plays DHCP server and router for everybody, with programs that nobody here wrote on both sides.

use anyhow::{Context, Result};
use lab::{Capture, Captured, Daemon, NIC, Namespace, Process, Snapshot, World, wait_until};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
/// What the rogue gives out begins like this, and what the real server outside does like that.
const ROGUE: [&str; 2] = ["10.66.0.", "fd66:"];
pub const REAL: [&str; 2] = ["10.9.0.1", "fd00:9:"];

/// dnsmasq as a server of DHCP and DHCPv6 and as a router that advertises itself.
pub struct Server {
    pub process: Process,
    _dir: TempDir,
}

impl Server {
    /// On `eth0`, which has an address of each range's network.
    fn start(namespace: &Namespace, ranges: [&str; 2]) -> Result<Server> {
        let dir = lab::temp_dir()?;
        let leases = format!("--dhcp-leasefile={}", dir.path().join("leases").display());
        let [v4, v6] = ranges.map(|range| format!("--dhcp-range={range},2m"));
        let options = "dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root --pid-file= --no-ping \
                       --dhcp-authoritative --log-dhcp --log-facility=- --bind-interfaces --except-interface=lo \
                       --interface=eth0 --enable-ra --ra-param=eth0,4,60";
        let fixed = options.split_whitespace().chain([v4.as_str(), v6.as_str(), leases.as_str()]);
        let mut process = namespace.spawn(&fixed.collect::<Vec<_>>(), &dir.path().join("log"))?;
        process.wait_for_log("IPv6 router advertisement enabled", PATIENCE)?;
        Ok(Server { process, _dir: dir })
    }
}

/// ISC's client for DHCP and DHCPv6, which takes addresses and nothing else.
pub struct Client {
    processes: Vec<Process>,
    dir: TempDir,
}

const SCRIPT: &str = r#"#!/bin/sh
[ -z "$new_ip_address" ] || ip addr replace "$new_ip_address/24" dev "$interface"
[ -z "$new_ip6_address" ] || ip addr replace "$new_ip6_address/128" dev "$interface"
"#;

impl Client {
    pub fn start(namespace: &Namespace) -> Result<Client> {
        let mut client = Client { processes: Vec::new(), dir: lab::temp_dir()? };
        let script = client.dir.path().join("script");
        std::fs::write(&script, SCRIPT)?;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        for version in ["-4", "-6"] {
            let script = script.display().to_string();
            let argv =
                ["dhclient", version, "-d", "-lf", "/dev/null", "-pf", "/dev/null", "eth0", "-sf", &script];
            client.processes.push(namespace.spawn(&argv, &client.dir.path().join(version))?);
        }
        Ok(client)
    }

    pub fn log(&self) -> String {
        self.processes.iter().map(Process::log).collect()
    }
}

/// An external switch with a rogue VM and another one that asks for everything.
struct Site {
    daemon: Daemon,
    rogue: Namespace,
    vm: Namespace,
    world: World,
}

impl Site {
    fn new(guards: &str) -> Result<Site> {
        let world = World::new()?;
        let daemon = Daemon::start(&world.host)?;
        daemon.cli_ok(&["switch", "add", "lan", "--external", NIC, "--no-host"])?;
        let (rogue, vm) = (Namespace::new("rogue")?, Namespace::new("vm")?);
        let set = ["--dhcp-guard", guards, "--router-guard", guards];
        let add = ["port", "add", "lan", "rogue", "--netns", rogue.name()];
        daemon.cli_ok(&[&add[..], &set].concat())?;
        daemon.cli_ok(&["port", "add", "lan", "vm", "--netns", vm.name()])?;
        rogue.add_address("eth0", "10.66.0.1/24")?;
        rogue.add_address("eth0", "fd66::1/64")?;
        rogue.set_sysctl("net/ipv6/conf/eth0/forwarding", "1")?;
        Ok(Site { daemon, rogue, vm, world })
    }

    /// Ends with frames conserved.
    fn close(self) -> Result<()> {
        Snapshot::take(&self.daemon, "lan")?;
        self.daemon.cli_ok(&["switch", "remove", "lan"]).map(drop)
    }

    fn drops(&self, reason: &str) -> Result<u64> {
        Ok(Snapshot::take(&self.daemon, "lan")?.get("rogue", &format!("drops.{reason}")))
    }
}

fn rogue_server(namespace: &Namespace) -> Result<Server> {
    Server::start(namespace, ["10.66.0.100,10.66.0.150", "fd66::100,fd66::150,slaac,64"])
}

pub fn real_server(world: &World) -> Result<Server> {
    world.far.set_sysctl("net/ipv6/conf/eth0/forwarding", "1")?;
    Server::start(&world.far, ["10.9.0.100,10.9.0.150", "fd00:9::100,fd00:9::150,slaac,64"])
}

/// The addresses that a namespace was given, but for those of the link.
pub fn addresses(namespace: &Namespace) -> Result<Vec<String>> {
    let links = namespace.ip_json("addr show dev eth0 scope global")?;
    let addresses = links[0]["addr_info"].as_array().cloned().unwrap_or_default();
    Ok(addresses.iter().filter_map(|a| Some(a["local"].as_str()?.to_owned())).collect())
}

/// Waits until the namespace has an address of each kind: a lease, a lease of DHCPv6, one of its own making by the router.
pub fn wait_for_all(namespace: &Namespace, [v4, v6]: [&str; 2], log: impl Fn() -> String) -> Result<()> {
    let given = wait_until("three addresses", PATIENCE, || {
        let addresses = addresses(namespace)?;
        let count = |start: &str| addresses.iter().filter(|address| address.starts_with(start)).count();
        Ok(count(v4) == 1 && count(v6) >= 2)
    });
    given.with_context(|| format!("{:?}\n{}", addresses(namespace), log()))
}

/// What a frame is that a server or router sends: a DHCP message to a client, or an advertisement. dnsmasq hides nothing.
fn is_for_guard(frame: &Captured, router: bool) -> bool {
    let bytes = &frame.bytes;
    match (&bytes[12..14], bytes.get(23), bytes.get(20)) {
        ([8, 0], Some(17), _) => !router && bytes[36..38] == [0, 68],
        ([0x86, 0xdd], _, Some(17)) => !router && bytes[56..58] == [2, 34],
        ([0x86, 0xdd], _, Some(58)) => router && bytes[54] == 134,
        _ => false,
    }
}

#[test]
fn root_without_guards_a_vm_can_be_dhcp_server_and_router_of_others() -> Result<()> {
    let site = Site::new("off")?;
    let server = rogue_server(&site.rogue)?;
    let client = Client::start(&site.vm)?;
    wait_for_all(&site.vm, ROGUE, || client.log() + &server.process.log())?;
    assert_eq!((site.drops("dhcp_guard")?, site.drops("router_guard")?), (0, 0));
    drop((client, server));
    site.close()
}

#[test]
fn root_with_guards_nobody_gets_a_lease_or_a_route_from_a_vm_and_it_gets_its_own_from_outside() -> Result<()>
{
    let site = Site::new("on")?;
    let sent = Capture::start(&site.rogue, "eth0")?;
    let (real, rogue) = (real_server(&site.world)?, rogue_server(&site.rogue)?);
    let clients = (Client::start(&site.vm)?, Client::start(&site.world.far)?);
    wait_for_all(&site.vm, REAL, || rogue.process.log() + &real.process.log())?;
    // The rogue has heard the clients and answered, and advertises itself.
    wait_until("drops by both guards", PATIENCE, || {
        Ok(site.drops("dhcp_guard")? > 0 && site.drops("router_guard")? > 0)
    })?;
    drop((rogue, clients));
    let own = Client::start(&site.rogue)?;
    site.rogue.set_sysctl("net/ipv6/conf/eth0/forwarding", "0")?;
    site.rogue.set_sysctl("net/ipv6/conf/eth0/accept_ra", "2")?;
    wait_for_all(&site.rogue, REAL, || own.log() + &real.process.log())?;
    for namespace in [&site.vm, &site.world.far] {
        let given = addresses(namespace)?;
        assert!(!given.iter().any(|a| ROGUE.iter().any(|start| a.starts_with(start))), "{given:?}");
    }
    drop((own, real));
    // Each message that the rogue sent was dropped, counted where it belongs, and nothing else was.
    let drops = [site.drops("dhcp_guard")?, site.drops("router_guard")?];
    let sent: Vec<_> = sent.stop()?.into_iter().filter(|frame| frame.outgoing).collect();
    let messages =
        [false, true].map(|router| sent.iter().filter(|frame| is_for_guard(frame, router)).count() as u64);
    assert_eq!(drops, messages);
    site.close()
}
