//! Maximum bandwidth: what a VM sends waits in its vNIC, what is too much for it is dropped and counted.

use super::stage::{Stage, at_one_of_three_looks, near};
use anyhow::{Context, Result, ensure};
use lab::frames::of_length;
use lab::vnic::{Queue, Vnic};
use lab::{Daemon, Namespace, Snapshot, wait_until};
use std::thread;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// Of a rate. That it is kept over a second is tested in virtual time (`engine/tests/rate.rs`); here others use the machine, and
/// what was late before a measurement comes within it.
const PER_CENT: f64 = 2.0;
const LONG: Duration = Duration::from_secs(4);
/// How long a burst is over for sure.
const SETTLED: Duration = Duration::from_millis(300);

#[test]
fn root_a_vm_sends_no_faster_than_its_maximum_and_no_slower() -> Result<()> {
    let stage = Stage::new("", &["--max-bandwidth 1M", ""])?;
    let flood = stage.flood(1, 2, "9")?;
    for (rate, bits) in [("1M", 1e6), ("3.333333M", 3_333_333.0), ("20M", 20e6), ("100M", 100e6)] {
        stage.set("vm1", &format!("--max-bandwidth {rate}"))?;
        thread::sleep(SETTLED);
        at_one_of_three_looks(|| near(rate, stage.rate("vm2", "tx_bytes", LONG)?, bits, PER_CENT))?;
    }
    drop(flood);
    stage.set("vm1", "--max-bandwidth none")?;
    let after = Snapshot::take(&stage.daemon, "lab")?;
    // What was read was delivered: nothing that came into the switch was dropped for the limit.
    ensure!(
        after.get("vm1", "rx_frames")
            == after.get("vm2", "tx_frames") + after.get("vm2", "drops.receiver_full")
    );
    ensure!(after.get("vm1", "drops.rate_limited") + after.get("vm2", "drops.rate_limited") == 0);
    stage.close()
}

#[test]
fn root_what_is_too_much_for_a_vm_is_dropped_where_it_leaves_and_counted() -> Result<()> {
    // So long a burst that who is late for half a second loses nothing: other things run on this machine.
    let stage = Stage::new("", &["", "--max-bandwidth 50M --burst 3M"])?;
    let before = Snapshot::take(&stage.daemon, "lab")?;
    let flood = stage.flood(1, 2, "9")?;
    wait_until("more than it may get", 20 * SECOND, || {
        Ok(Snapshot::read(&stage.daemon, "lab")?.get("vm2", "drops.rate_limited") > 0)
    })?;
    at_one_of_three_looks(|| near("50M", stage.rate("vm2", "tx_bytes", LONG)?, 50e6, PER_CENT))?;
    drop(flood);
    let after = Snapshot::take(&stage.daemon, "lab")?;
    let count = |port: &str, name: &str| after.get(port, name) - before.get(port, name);
    let (sent, got) = (count("vm1", "rx_frames"), count("vm2", "tx_frames"));
    ensure!(sent > got, "nothing was too much: {sent} frames");
    // The whole set: nothing else moved.
    let expected = [
        ("*", "drops.rate_limited", sent - got),
        ("*", "rx_bytes", 1442 * sent),
        ("*", "rx_frames", sent),
        ("*", "tx_bytes", 1442 * got),
        ("*", "tx_frames", got),
        ("vm1", "rx_bytes", 1442 * sent),
        ("vm1", "rx_frames", sent),
        ("vm2", "drops.rate_limited", sent - got),
        ("vm2", "tx_bytes", 1442 * got),
        ("vm2", "tx_frames", got),
    ];
    before.expect_delta(&stage.daemon, &expected)?;
    stage.close()
}

#[test]
fn root_a_stream_of_segments_keeps_to_its_maximum() -> Result<()> {
    let stage = Stage::new("", &["--max-bandwidth 200M", ""])?;
    for (rate, bits) in [("200M", 200e6), ("1G", 1e9)] {
        stage.set("vm1", &format!("--max-bandwidth {rate}"))?;
        let ends = stage.stream(1, 2, 600, rate)?;
        thread::sleep(SECOND);
        at_one_of_three_looks(|| {
            let measured = stage.rate("vm1", "rx_bytes", LONG)?;
            println!("{rate}: {measured:.0} bit/s");
            // TCP itself may be slower, on a machine that is busy with other things.
            ensure!(measured < bits * 1.02 && measured > bits * 0.8, "{rate}: {measured:.0} bit/s");
            Ok(())
        })?;
        drop(ends);
    }
    ensure!(stage.lost_in_the_kernel(1)? == 0, "the TAP was full");
    stage.close()
}

#[test]
fn root_the_maximum_is_the_ports_on_two_workers_too() -> Result<()> {
    let stage = Stage::new("0,1", &["--max-bandwidth 50M --queues 2", "--queues 2"])?;
    // Each goes to another port of UDP, so both queues have some.
    let flood = stage.flood(1, 2, "1000-2000")?;
    thread::sleep(SETTLED);
    at_one_of_three_looks(|| near("50M", stage.rate("vm1", "rx_bytes", LONG)?, 50e6, PER_CENT))?;
    drop(flood);
    stage.close()
}

#[test]
fn root_neighbours_of_a_throttled_vm_are_not_slowed_and_the_worker_rests() -> Result<()> {
    let stage = Stage::new("", &["--max-bandwidth 1M", "", ""])?;
    at_one_of_three_looks(|| expect_rest_beside_a_throttled_vm(&stage))?;
    stage.set("vm1", "--max-bandwidth none")?;
    stage.close()
}

fn expect_rest_beside_a_throttled_vm(stage: &Stage) -> Result<()> {
    let ping = || stage.vms[2].try_ping("10.0.0.2", 100, 0.01);
    let alone = ping()?;
    let _flood = stage.send(1, 2, "9", "500us")?;
    thread::sleep(SETTLED);
    let before = stage.work()?;
    thread::sleep(SECOND);
    let worked = stage.work()? - before;
    println!("worker of a port that is held back: {worked:?} a second");
    // 87 frames; that it does not look for more in vain is what this is about.
    ensure!(worked <= Duration::from_millis(50), "{worked:?} of work in a second");
    let beside = ping()?;
    println!("ping alone: {alone:?}; beside it: {beside:?}");
    let slower = beside.mean_us.zip(alone.mean_us).map(|(beside, alone)| beside - alone);
    ensure!(
        beside.received == 100 && slower.is_some_and(|us| us < 2000.0),
        "{beside:?} instead of {alone:?}"
    );
    Ok(())
}

/// Two vNICs with rings in shared memory: 60 bytes a frame.
struct Rings {
    daemon: Daemon,
    sender: Vnic,
    receiver: Vnic,
    posted: u64,
    _host: Namespace,
}

const RING: u16 = 32_768;

impl Rings {
    fn new(limit: &str) -> Result<Rings> {
        let host = Namespace::new("host")?;
        let daemon = Daemon::start(&host)?;
        daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
        for (port, mac) in [("a", "02:00:00:00:00:0a"), ("b", "02:00:00:00:00:0b")] {
            daemon.cli_ok(&["port", "add", "lab", port, "--vhost-user", "--mac", mac])?;
        }
        daemon.cli_ok(&["port", "set", "lab/a", "--max-bandwidth", limit])?;
        let connect =
            |port: &str| Vnic::connect(&daemon.run_dir().join(format!("vhost/lab/{port}.sock")), RING);
        let (sender, mut receiver) = (connect("a")?, connect("b")?);
        let frame = of_length([2, 0, 0, 0, 0, 0xb], [2, 0, 0, 0, 0, 0xa], 0x88b5, 60);
        sender.load(|_| frame[..].try_into().unwrap_or([0; 60]))?;
        receiver.post(Queue::Receive, RING)?;
        wait_until("both ports up", Duration::from_secs(5), || {
            let up = |port: &str| {
                Ok::<_, anyhow::Error>(daemon.cli_json(&["port", "show", port])?["state"] == "up")
            };
            Ok(up("lab/a")? && up("lab/b")?)
        })?;
        Ok(Rings { daemon, sender, receiver, posted: 0, _host: host })
    }

    /// Has frames be sent from now on.
    fn begin(&mut self) -> Result<()> {
        self.sender.post(Queue::Transmit, RING)?;
        self.sender.kick(Queue::Transmit);
        self.posted = RING.into();
        Ok(())
    }

    /// How many were taken of those that were made available.
    fn taken(&self) -> Result<u64> {
        Ok(self.posted - u64::from(self.sender.waiting(Queue::Transmit)?))
    }

    /// Bits a second that are taken in so long a time.
    fn rate(&mut self, over: Duration) -> Result<f64> {
        let (before, begun) = (self.taken()?, Instant::now());
        while begun.elapsed() < over {
            self.posted += u64::from(self.sender.refill(Queue::Transmit)?);
            self.receiver.refill(Queue::Receive)?;
            thread::sleep(Duration::from_micros(200));
        }
        Ok((self.taken()? - before) as f64 * 480.0 / begun.elapsed().as_secs_f64())
    }
}

#[test]
fn root_a_throttled_guest_loses_no_frame_that_it_sent() -> Result<()> {
    let mut rings = Rings::new("2M")?;
    let before = Snapshot::take(&rings.daemon, "lab")?;
    rings.begin()?;
    thread::sleep(SETTLED);
    at_one_of_three_looks(|| near("2M", rings.rate(2 * SECOND)?, 2e6, PER_CENT))?;
    let (posted, taken) = (rings.posted, rings.taken()?);
    ensure!(posted - taken > u64::from(RING / 2), "the ring is not kept full: {taken} of {posted}");
    // What waits in the ring is read as soon as it may be.
    rings.daemon.cli_ok(&["port", "set", "lab/a", "--max-bandwidth", "none"])?;
    wait_until("all frames", Duration::from_secs(5), || {
        rings.receiver.refill(Queue::Receive)?;
        Ok(rings.sender.waiting(Queue::Transmit)? == 0)
    })?;
    let bytes = 60 * posted;
    let expected = [
        ("*", "rx_bytes", bytes),
        ("*", "rx_frames", posted),
        ("*", "tx_bytes", bytes),
        ("*", "tx_frames", posted),
        ("a", "rx_bytes", bytes),
        ("a", "rx_frames", posted),
        ("b", "tx_bytes", bytes),
        ("b", "tx_frames", posted),
    ];
    before.expect_delta(&rings.daemon, &expected)?;
    rings.daemon.stop()
}

#[test]
fn root_a_fast_ring_keeps_to_its_maximum() -> Result<()> {
    let mut rings = Rings::new("40M")?;
    rings.begin()?;
    at_one_of_three_looks(|| near("40M", rings.rate(LONG)?, 40e6, PER_CENT))?;
    rings.daemon.stop()
}

#[test]
fn root_a_packet_socket_cannot_make_its_sender_wait_and_what_is_lost_is_told() -> Result<()> {
    let host = Namespace::new("host")?;
    let mut daemon = Daemon::start(&host)?;
    daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    let (cable, vm) = (Namespace::new("cable")?, Namespace::new("vm")?);
    host.ip(&format!("link add near type veth peer name far netns {}", cable.name()))?;
    host.ip("link set near up")?;
    cable.disable_ipv6()?;
    vm.disable_ipv6()?;
    cable.add_address("far", "10.0.0.1/24")?;
    daemon.cli_ok(&[
        "port",
        "add",
        "lab",
        "wire",
        "--netdev",
        "near",
        "--guard",
        "off",
        "--max-bandwidth",
        "5M",
    ])?;
    daemon.cli_ok(&["port", "add", "lab", "vm", "--netns", vm.name()])?;
    vm.add_address("eth0", "10.0.0.2/24")?;
    let mac = vm.mac("eth0")?;
    let dir = lab::temp_dir()?;
    let flood = format!("mausezahn far -q -c 20000 -p 1400 -b {mac} -B 10.0.0.2 -t udp dp=9");
    let flood: Vec<_> = flood.split_whitespace().collect();
    cable.spawn(&flood, &dir.path().join("flood"))?.wait(Duration::from_secs(30))?;
    daemon.cli_ok(&["port", "set", "lab/wire", "--max-bandwidth", "none"])?;
    wait_until("all that was kept", Duration::from_secs(30), || {
        let counts = Snapshot::read(&daemon, "lab")?;
        Ok(counts.get("wire", "rx_frames") + counts.get("wire", "rx_missed") >= 20_000)
    })
    .with_context(|| format!("{:?}", Snapshot::read(&daemon, "lab")))?;
    let counts = Snapshot::take(&daemon, "lab")?;
    ensure!(counts.get("wire", "rx_missed") > 0, "20,000 frames fit into the socket's buffer");
    ensure!(counts.get("vm", "tx_frames") == counts.get("wire", "rx_frames"));
    daemon.cli_ok(&["switch", "remove", "lab"])?;
    daemon.stop()
}
