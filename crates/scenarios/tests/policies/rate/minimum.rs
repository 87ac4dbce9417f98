//! Minimum bandwidth: who gets how much of an uplink that cannot carry all.

use super::stage::{at_one_of_three_looks, near};
use anyhow::{Context, Result, ensure};
use lab::{Daemon, FAR_IPV4, FAR_MAC, NIC, Namespace, Process, SWITCH, Snapshot, World};
use std::thread;
use std::time::{Duration, Instant};

/// What the uplink is said to carry: less than each sender can send on a machine that is busy with other things.
const CAPACITY: f64 = 50e6;
/// Between two datagrams of a sender that sends more than there is room for: some 100 Mbit/s.
const MORE: &str = "50us";
/// Of a share, after a second.
const PER_CENT: f64 = 5.0;
const SECOND: Duration = Duration::from_secs(1);
/// A datagram of mausezahn's, and the same on the cable.
const FRAME: f64 = 1442.0;
const ON_THE_CABLE: f64 = FRAME + 24.0;

/// An external switch without the host, and VMs that send outside.
struct Site {
    daemon: Daemon,
    vms: Vec<Namespace>,
    world: World,
    dir: tempfile::TempDir,
}

impl Site {
    fn new(mode: &str, capacity: &str, vms: &[&str]) -> Result<Site> {
        let world = World::new()?;
        world.far.disable_ipv6()?;
        let daemon = Daemon::start(&world.host)?;
        let sharing = ["--bandwidth-mode", mode, "--uplink-bandwidth", capacity];
        let add = ["switch", "add", "lan", "--external", NIC, "--no-host"];
        daemon.cli_ok(&[&add[..], &sharing].concat())?;
        let mut site = Site { daemon, vms: vec![], world, dir: lab::temp_dir()? };
        vms.iter().try_for_each(|arguments| site.add(arguments))?;
        Ok(site)
    }

    fn add(&mut self, arguments: &str) -> Result<()> {
        let (number, vm) = (self.vms.len() + 1, Namespace::new("vm")?);
        vm.disable_ipv6()?;
        let name = format!("vm{number}");
        let add = ["port", "add", "lan", &name, "--netns", vm.name()];
        self.daemon.cli_ok(&add.into_iter().chain(arguments.split_whitespace()).collect::<Vec<_>>())?;
        vm.ip("link set eth0 txqueuelen 10000")?;
        let address = format!("10.9.0.{}", 10 + number);
        vm.add_address("eth0", &format!("{address}/24"))?;
        vm.ip(&format!("neigh replace {FAR_IPV4} lladdr {FAR_MAC} dev eth0 nud permanent"))?;
        let mac = vm.mac("eth0")?;
        self.world.far.ip(&format!("neigh replace {address} lladdr {mac} dev eth0 nud permanent"))?;
        self.vms.push(vm);
        Ok(())
    }

    /// Datagrams to the far machine, which nobody answers, with a delay between any two.
    fn flood(&self, vm: usize, delay: &str) -> Result<Process> {
        let line =
            format!("mausezahn eth0 -q -c 0 -d {delay} -p 1400 -b {FAR_MAC} -B 10.9.0.99 -t udp sp=9,dp=9");
        let argv: Vec<_> = line.split_whitespace().collect();
        self.vms[vm - 1].spawn(&argv, &self.dir.path().join(format!("flood{vm}")))
    }

    /// TCP streams to the far machine.
    fn stream(&self, vm: usize) -> Result<[Process; 2]> {
        let (port, log) = ((5200 + vm).to_string(), |name: &str| self.dir.path().join(format!("{name}{vm}")));
        let serve = ["iperf3", "-s", "-1", "-p", &port, "--forceflush"];
        let mut server = self.world.far.spawn(&serve, &log("server"))?;
        server.wait_for_log("listening", Duration::from_secs(20))?;
        let send = ["iperf3", "-c", FAR_IPV4, "-p", &port, "-P", "4", "-t", "60"];
        let client = self.vms[vm - 1].spawn(&send, &log("client"))?;
        Ok([server, client])
    }

    /// Bits a second of each VM's frames, over four seconds that begin a second from now.
    fn rates(&self) -> Result<Vec<f64>> {
        thread::sleep(SECOND);
        let read = || -> Result<(Instant, Snapshot)> {
            let asked = Instant::now();
            let counts = Snapshot::read(&self.daemon, "lan")?;
            Ok((asked + asked.elapsed() / 2, counts))
        };
        let (from, before) = read()?;
        thread::sleep(4 * SECOND);
        let (to, after) = read()?;
        let seconds = to.duration_since(from).as_secs_f64();
        let names = (1..=self.vms.len()).map(|vm| format!("vm{vm}"));
        let bytes = names.map(|vm| after.get(&vm, "rx_bytes") - before.get(&vm, "rx_bytes"));
        Ok(bytes.map(|bytes| bytes as f64 * 8.0 / seconds).collect())
    }

    /// Each VM has so much of each hundred bits that pass.
    fn expect_shares(&self, expected: &[f64]) -> Result<()> {
        at_one_of_three_looks(|| near_shares(&self.rates()?, expected))
    }

    /// Ends with all that was read delivered, and nothing dropped by the switch.
    fn close(mut self) -> Result<()> {
        self.daemon.cli_ok(&["switch", "set", "lan", "--uplink-bandwidth", "none"])?;
        let counts = Snapshot::take(&self.daemon, "lan")?;
        let shown = self.daemon.cli_json(&["switch", "show", "lan"])?;
        let drops = shown["stats"]["drops"].as_object().context("no drops")?;
        ensure!(drops.is_empty(), "{drops:?}");
        ensure!(
            counts.get(SWITCH, "rx_frames") + counts.get(SWITCH, "copies") == counts.get(SWITCH, "tx_frames")
        );
        self.daemon.cli_ok(&["switch", "remove", "lan"])?;
        self.daemon.stop()
    }
}

fn near_shares(rates: &[f64], expected: &[f64]) -> Result<()> {
    let sum: f64 = rates.iter().sum();
    for (number, (rate, part)) in rates.iter().zip(expected).enumerate() {
        near(&format!("vm{}", number + 1), *rate, sum * part / 100.0, PER_CENT)?;
    }
    Ok(())
}

/// What passes is as much as the uplink carries.
fn near_all(rates: &[f64]) -> Result<()> {
    near("all", rates.iter().sum(), CAPACITY * FRAME / ON_THE_CABLE, 2.0)
}

#[test]
fn root_floods_share_an_uplink_by_weight_and_fill_it() -> Result<()> {
    let site = Site::new("weight", "50M", &["--min-bandwidth-weight 3", "--min-bandwidth-weight 1"])?;
    let one = site.flood(1, MORE)?;
    let two = site.flood(2, MORE)?;
    at_one_of_three_looks(|| {
        let rates = site.rates()?;
        near_shares(&rates, &[75.0, 25.0])?;
        near_all(&rates)
    })?;
    // What one no longer uses is the other's.
    drop(one);
    thread::sleep(2 * SECOND);
    at_one_of_three_looks(|| near_all(&site.rates()?[1..]))?;
    drop(two);
    site.close()
}

#[test]
fn root_what_one_of_three_does_not_use_goes_to_the_others_by_weight() -> Result<()> {
    let site = Site::new("weight", "50M", &["--min-bandwidth-weight 5", "--min-bandwidth-weight 2", ""])?;
    // About 5.5 Mbit/s: less than its part.
    let floods = [site.flood(1, "2000us")?, site.flood(2, MORE)?, site.flood(3, MORE)?];
    at_one_of_three_looks(|| {
        let rates = site.rates()?;
        ensure!(rates[0] < 10e6, "{rates:?}");
        near("vm2 to vm3", rates[1], 2.0 * rates[2], 2.0 * PER_CENT)?;
        near_all(&rates)
    })?;
    drop(floods);
    site.close()
}

#[test]
fn root_what_one_may_not_send_by_its_own_maximum_goes_to_the_other() -> Result<()> {
    let limited = "--min-bandwidth-weight 100 --max-bandwidth 5M";
    let site = Site::new("weight", "50M", &[limited, "--min-bandwidth-weight 1"])?;
    let floods = [site.flood(1, MORE)?, site.flood(2, MORE)?];
    at_one_of_three_looks(|| {
        let rates = site.rates()?;
        near("vm1", rates[0], 5e6, PER_CENT)?;
        near_all(&rates)
    })?;
    drop(floods);
    site.close()
}

#[test]
fn root_what_is_reserved_is_there_whatever_others_flood() -> Result<()> {
    let site = Site::new("absolute", "50M", &["--min-bandwidth 30M", ""])?;
    let floods = [site.flood(1, MORE)?, site.flood(2, MORE)?];
    // 30 reserved, and 10 per cent of 50 for all others: the rest goes by these.
    site.expect_shares(&[100.0 * 30.0 / 35.0, 100.0 * 5.0 / 35.0])?;
    drop(floods);
    site.close()
}

#[test]
fn root_streams_share_an_uplink_by_weight() -> Result<()> {
    let site = Site::new("weight", "50M", &["--min-bandwidth-weight 1", "--min-bandwidth-weight 3"])?;
    let streams = [site.stream(1)?, site.stream(2)?];
    site.expect_shares(&[25.0, 75.0])?;
    drop(streams);
    site.close()
}

#[test]
fn root_reservations_above_what_the_uplink_has_are_refused() -> Result<()> {
    let mut site = Site::new("absolute", "100M", &["--min-bandwidth 60M", ""])?;
    let set = |daemon: &Daemon, args: &[&str]| daemon.cli_refused(1, args);
    let refused = set(&site.daemon, &["port", "set", "lan/vm2", "--min-bandwidth", "31M"])?;
    ensure!(refused.contains("91000000 bit/s at least") && refused.contains("90000000 to give"), "{refused}");
    site.daemon.cli_ok(&["port", "set", "lan/vm2", "--min-bandwidth", "30M"])?;
    let refused = set(&site.daemon, &["switch", "set", "lan", "--uplink-bandwidth", "99M"])?;
    ensure!(refused.contains("--uplink-bandwidth"), "{refused}");
    // A veth says that it has 10 Gbit/s.
    site.daemon.cli_ok(&["switch", "set", "lan", "--uplink-bandwidth", "none"])?;
    let refused = set(&site.daemon, &["port", "set", "lan/vm2", "--min-bandwidth", "9G"])?;
    ensure!(refused.contains("an uplink of 10000000000 bit/s"), "{refused}");
    let refused = set(&site.daemon, &["port", "set", "lan/vm2", "--min-bandwidth-weight", "5"])?;
    ensure!(refused.contains("--bandwidth-mode weight"), "{refused}");
    let shown = site.daemon.cli_ok(&["switch", "show", "lan"])?;
    ensure!(shown.contains("10 Gbit/s (the speed of nic0), mode absolute"), "{shown}");
    let shown = site.daemon.cli_ok(&["port", "show", "lan/vm2"])?;
    ensure!(shown.contains("30 Mbit/s"), "{shown}");
    let exported = site.daemon.cli_ok(&["export"])?;
    ensure!(exported.contains("min_bandwidth = 30000000"), "{exported}");
    site.daemon.restart()?;
    ensure!(site.daemon.cli_ok(&["export"])? == exported);
    site.close()
}
