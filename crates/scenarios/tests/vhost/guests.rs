//! Real guests on vhost-user ports: both ring formats, both roles, and what happens when somebody dies.

use anyhow::{Context, Result, ensure};
use lab::services::DhcpServer;
use lab::transfer::Endpoint;
use lab::{
    Daemon, DaemonOptions, FAR_IPV4, Fate, Guest, GuestOptions, NIC, Netdev, Nic, Place, Process, Snapshot,
    Strace, VhostUser, World, WorldOptions, wait_until,
};
use serde_json::Value;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const STREAM: u64 = 100_000_000;
/// From the first answer of a new vmswitchd to the first frame that passed both ways, beside what an echo takes here.
const OUTAGE: Duration = Duration::from_millis(100);
const KILLS: u64 = 8;
/// Sees the packets of the guest, no two of which are the same, and tells when it is interrupted which came twice, and when.
const COUNT_COPIES: &str = "
import signal, socket, sys, time
sink = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
sink.bind(('eth0', 0))
seen, twice = {}, []
def tell(*_):
    print(len(seen), 'packets,', len(twice), 'of them twice', flush=True)
    for first, again, frame in twice:
        print(f'at {first[0]:.6f}, packet {first[1]}, and at {again[0]:.6f}, {again[1]}:', frame[14:50].hex())
    sys.exit()
signal.signal(signal.SIGINT, tell)
print('ready', flush=True)
while True:
    frame = sink.recv(65536)
    if frame[26:30] == bytes([10, 9, 0, 21]):
        packet, now = hash(frame[14:]), (time.time(), len(seen))
        if packet in seen:
            twice.append((seen[packet], now, frame))
        else:
            seen[packet] = now
";
/// The kernel counts processor time in hundredths of a second (USER_HZ).
const TICKS_A_SECOND: u32 = 100;

struct Lab {
    daemon: Daemon,
    world: World,
}

/// What a guest on a vhost-user port is like.
#[derive(Clone, Copy)]
struct Kind {
    /// Which side of the socket the port is.
    role: &'static str,
    packed: bool,
    ring: u16,
    queues: u16,
    huge_pages: bool,
}

const SPLIT: Kind = Kind { role: "server", packed: false, ring: 256, queues: 1, huge_pages: false };
const PACKED: Kind = Kind { role: "client", packed: true, ring: 1024, queues: 2, ..SPLIT };

impl Lab {
    fn new(mtu: u32) -> Result<Lab> {
        Self::on(&[], mtu)
    }

    /// With these arguments of vmswitchd.
    fn on(arguments: &[&str], mtu: u32) -> Result<Lab> {
        let world = World::with(&WorldOptions { mtu, ..WorldOptions::default() })?;
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let daemon = Daemon::start_with(&world.host, DaemonOptions { arguments, ..Default::default() })?;
        daemon.cli_ok(&["switch", "add", "lan", "--external", NIC])?;
        Ok(Lab { daemon, world })
    }

    /// Adds a port; what a guest needs to be connected to it.
    fn port(&self, name: &str, kind: Kind) -> Result<GuestOptions> {
        let socket = self.daemon.scratch().join(format!("{name}.sock"));
        let path = socket.display().to_string();
        let added = self.daemon.cli_json(&[
            "port",
            "add",
            "lan",
            name,
            "--vhost-user",
            &path,
            "--vhost-role",
            kind.role,
        ])?;
        let Kind { role, packed, ring, queues, huge_pages } = kind;
        let netdev = Netdev::VhostUser(VhostUser { socket, listens: role == "client", queues, packed, ring });
        let mut nic = Nic::new(netdev, added["mac"].as_str().context("no MAC")?);
        nic.properties.extend((added["mtu"] != 1500).then(|| format!("host_mtu={}", added["mtu"])));
        let arguments = ["-smp", &queues.to_string(), "-action", "reboot=reset"].map(str::to_owned).to_vec();
        Ok(GuestOptions { huge_pages, arguments, ..GuestOptions::new(vec![nic]) })
    }

    fn boot(&self, options: &GuestOptions, address: &str) -> Result<Guest> {
        let mut guest = Guest::boot(&self.world.host, options)?;
        give_address(&mut guest, address)?;
        Ok(guest)
    }

    fn show(&self, port: &str) -> Result<Value> {
        self.daemon.cli_json(&["port", "show", &format!("lan/{port}")])
    }

    fn wait_state(&self, port: &str, state: &str, reason: &str) -> Result<()> {
        let waited = wait_until(&format!("{port} {state}: {reason}"), PATIENCE, || {
            let shown = self.show(port)?;
            Ok(shown["state"] == state && shown["reason"].as_str().unwrap_or_default().contains(reason))
        });
        waited.with_context(|| format!("{:?}", self.show(port)))
    }

    /// The guest sends to the far machine, and receives from it.
    fn both_ways(&self, guest: &mut Guest) -> Result<()> {
        let sink = Endpoint::sink(&self.world.far, 5000)?;
        let sent = guest.send_stream(FAR_IPV4, 5000, STREAM)?;
        ensure!(sent.bytes == STREAM && sent == sink.finish()?, "what the guest sent came differently");
        let source = Endpoint::source(&self.world.far, 5001, STREAM)?;
        let received = guest.receive_stream(FAR_IPV4, 5001)?;
        ensure!(received.bytes == STREAM && received == source.finish()?, "what the guest was sent differs");
        Ok(())
    }

    /// Looks from now on for packets of the guest that come twice.
    fn count_copies(&self) -> Result<Process> {
        let log = self.daemon.scratch().join("copies");
        let mut copies = self.world.far.spawn(&["python3", "-c", COUNT_COPIES], &log)?;
        copies.wait_for_log("ready", PATIENCE)?;
        Ok(copies)
    }

    /// Packets came, and none of them twice.
    fn no_copies(&self, mut copies: Process) -> Result<()> {
        self.world.far.exec(&["kill", "-INT", &copies.id().to_string()])?;
        copies.wait(PATIENCE)?;
        let told = copies.log();
        ensure!(told.contains(" packets, 0 of them twice") && !told.contains("ready\n0 "), "{told}");
        Ok(())
    }

    /// Ends with all frames counted.
    fn close(mut self) -> Result<()> {
        Snapshot::take(&self.daemon, "lan")?;
        self.daemon.cli_ok(&["switch", "remove", "lan"])?;
        self.daemon.stop()
    }
}

fn give_address(guest: &mut Guest, address: &str) -> Result<()> {
    guest.run(&format!("ip addr add {address}/24 dev eth0 && ip link set eth0 up")).map(drop)
}

fn ping(guest: &mut Guest, address: &str) -> Result<()> {
    guest.run(&format!("ping -c 1 -W 5 {address}")).map(drop)
}

/// Has the guest ask for an address, which it gets.
fn lease(guest: &mut Guest) -> Result<String> {
    guest.run("ip link set eth0 up && udhcpc -i eth0 -n -q -t 20 -T 1")?;
    let shown = guest.run("ip -4 -o addr show eth0")?;
    let address = shown.split_whitespace().find_map(|word| word.strip_suffix("/24"));
    Ok(address.with_context(|| format!("no address: {shown}"))?.to_owned())
}

/// iperf3 with four streams from one guest to the other: all of them get through.
fn streams(from: &mut Guest, to: &mut Guest, address: &str) -> Result<()> {
    // It is in the background before it listens, at port 0x1451.
    to.run("iperf3 --server --one-off --daemon; until grep -q ':1451 ' /proc/net/tcp /proc/net/tcp6; do sleep 1; done")?;
    let report = from.run(&format!("iperf3 --client {address} --parallel 4 --time 3 --json"))?;
    let report: Value = serde_json::from_str(&report).with_context(|| report.clone())?;
    let streams = report["end"]["streams"].as_array().context("no streams")?;
    let arrived = |stream: &Value| stream["receiver"]["bytes"].as_u64().unwrap_or_default();
    ensure!(streams.len() == 4 && streams.iter().all(|stream| arrived(stream) > 0), "{report}");
    Ok(())
}

#[test]
fn root_a_guest_on_huge_pages_gets_a_lease_and_moves_100_mb_to_and_from_the_uplink() -> Result<()> {
    let lab = Lab::new(1500)?;
    let options = lab.port("vm1", Kind { huge_pages: true, ring: 1024, ..SPLIT })?;
    let _server = DhcpServer::start(&lab.world.far, "eth0", "10.9.0.100", "10.9.0.150")?;
    let mut guest = Guest::boot(&lab.world.host, &options)?;
    lease(&mut guest)?;
    lab.both_ways(&mut guest)?;
    drop(guest);
    lab.close()
}

/// The pairs of rings, and both formats, beside each other: each guest is the client once.
#[test]
fn root_two_guests_with_several_queues_pass_streams_both_ways_in_either_role_and_format() -> Result<()> {
    let kinds = [Kind { queues: 2, ..SPLIT }, Kind { ring: 256, ..PACKED }];
    let one_worker: &[&str] = &[];
    // On two, each has a pair of queues of either guest.
    let rounds = [(one_worker, ["server", "client"]), (&["--workers", "0,1"], ["client", "server"])];
    for (round, (workers, [one, two])) in rounds.into_iter().enumerate() {
        let lab = Lab::on(workers, 1500)?;
        let _server = DhcpServer::start(&lab.world.far, "eth0", "10.9.0.100", "10.9.0.150")?;
        let boot = |kind: Kind, role| {
            let name = format!("{role}{round}-{}", if kind.packed { "packed" } else { "split" });
            let mut guest = Guest::boot(&lab.world.host, &lab.port(&name, Kind { role, ..kind })?)?;
            let address = lease(&mut guest)?;
            let vhost = &lab.show(&name)?["vhost"];
            let packed =
                vhost["features"].as_array().is_some_and(|all| all.iter().any(|f| f == "RING_PACKED"));
            ensure!(vhost["queue_pairs"] == 2 && packed == kind.packed, "{vhost}");
            anyhow::Ok((guest, address))
        };
        let (mut split, at_split) = boot(kinds[0], one)?;
        let (mut packed, at_packed) = boot(kinds[1], two)?;
        ping(&mut split, &at_packed)?;
        streams(&mut split, &mut packed, &at_packed)?;
        streams(&mut packed, &mut split, &at_split)?;
        drop((split, packed));
        lab.close()?;
    }
    Ok(())
}

#[test]
fn root_a_guest_takes_its_mtu_of_9000_from_its_port() -> Result<()> {
    let lab = Lab::new(9000)?;
    let mut guest = lab.boot(&lab.port("vm1", PACKED)?, "10.9.0.21")?;
    ensure!(guest.run("cat /sys/class/net/eth0/mtu")? == "9000\n", "not 9000");
    guest.run(&format!("ping -c 1 -W 5 -s 8972 {FAR_IPV4}"))?;
    drop(guest);
    lab.close()
}

#[test]
fn root_a_port_goes_on_after_its_guest_rebooted_or_changed_drivers() -> Result<()> {
    let lab = Lab::new(1500)?;
    for (name, kind) in [("vm1", SPLIT), ("vm2", PACKED)] {
        let mut guest = lab.boot(&lab.port(name, kind)?, "10.9.0.21")?;
        ping(&mut guest, FAR_IPV4)?;
        guest.run("cd /sys/bus/virtio/drivers/virtio_net && echo virtio0 >unbind")?;
        lab.wait_state(name, "down", "driver")?;
        guest.run("cd /sys/bus/virtio/drivers/virtio_net && echo virtio0 >bind")?;
        give_address(&mut guest, "10.9.0.21")?;
        ping(&mut guest, FAR_IPV4)?;
        guest.reboot()?;
        give_address(&mut guest, "10.9.0.21")?;
        ping(&mut guest, FAR_IPV4)?;
        lab.wait_state(name, "up", "")?;
    }
    lab.close()
}

#[test]
fn root_a_port_comes_back_with_its_vmm_after_the_vmm_was_killed() -> Result<()> {
    let lab = Lab::new(1500)?;
    for (name, kind, reason) in
        [("vm1", SPLIT, "no VMM is connected to its socket"), ("vm2", PACKED, "no VMM listens on its socket")]
    {
        let options = lab.port(name, kind)?;
        for _ in 0..2 {
            let mut guest = lab.boot(&options, "10.9.0.21")?;
            ping(&mut guest, FAR_IPV4)?;
            lab.wait_state(name, "up", "")?;
            guest.kill()?;
            lab.wait_state(name, "down", reason)?;
        }
    }
    lab.close()
}

/// Of a few: program, guest and all.
fn slowest_echo(lab: &Lab) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for _ in 0..4 {
        let asked = Instant::now();
        lab.world.far.wait_ping("10.9.0.21", PATIENCE)?;
        slowest = slowest.max(asked.elapsed());
    }
    Ok(slowest)
}

/// After each death, and after an orderly restart.
fn goes_on_without_a_word(kind: Kind) -> Result<()> {
    let mut lab = Lab::new(1500)?;
    let mut guest = lab.boot(&lab.port("vm1", Kind { role: "client", ..kind })?, "10.9.0.21")?;
    let usual = slowest_echo(&lab)?;
    let mut outages = Vec::new();
    for killed in [true, true, true, false] {
        if killed {
            lab.daemon.kill9()?;
            lab.daemon.launch()?;
        } else {
            lab.daemon.restart()?;
        }
        let up = Instant::now();
        lab.world.far.wait_ping("10.9.0.21", PATIENCE)?;
        outages.push(up.elapsed());
    }
    // One of them had the machine to itself.
    ensure!(
        outages.iter().any(|outage| *outage < usual + OUTAGE),
        "the first answers came {outages:?} after vmswitchd did, and usually take {usual:?}"
    );
    let pings = lab.world.far.try_exec(&["ping", "-c", "20", "-i", "0.02", "-W", "2", "10.9.0.21"])?;
    let all_once = pings.stdout.contains("20 received") && !pings.stdout.contains("duplicates");
    ensure!(all_once, "{}", pings.stdout);
    lab.both_ways(&mut guest)?;
    drop(guest);
    lab.close()
}

#[test]
fn root_a_guest_with_split_rings_goes_on_without_a_word_after_vmswitchd_was_killed() -> Result<()> {
    goes_on_without_a_word(SPLIT)
}

#[test]
fn root_a_guest_with_packed_rings_goes_on_without_a_word_after_vmswitchd_was_killed() -> Result<()> {
    goes_on_without_a_word(PACKED)
}

/// What the daemon has noted of rings is not believed of those that their driver has made since.
#[test]
fn root_a_guest_that_sets_packed_rings_up_anew_while_vmswitchd_is_down_is_served_from_their_start()
-> Result<()> {
    let mut lab = Lab::new(1500)?;
    let mut guest = lab.boot(&lab.port("vm1", PACKED)?, "10.9.0.21")?;
    lab.both_ways(&mut guest)?;
    lab.daemon.kill9()?;
    guest.run("cd /sys/bus/virtio/drivers/virtio_net && echo virtio0 >unbind && echo virtio0 >bind")?;
    lab.daemon.launch()?;
    give_address(&mut guest, "10.9.0.21")?;
    lab.both_ways(&mut guest)?;
    lab.daemon.kill9()?;
    guest.reboot()?;
    lab.daemon.launch()?;
    give_address(&mut guest, "10.9.0.21")?;
    lab.both_ways(&mut guest)?;
    drop(guest);
    lab.close()
}

/// Killed while frames go both ways, and the guest has more to send than can go: what was on its way may be lost, but nothing
/// comes twice, and the rings go on.
fn delivers_nothing_twice(kind: Kind) -> Result<()> {
    let mut lab = Lab::new(1500)?;
    let mut guest = lab.boot(&lab.port("vm1", Kind { role: "client", ..kind })?, "10.9.0.21")?;
    let scratch = lab.daemon.scratch().to_owned();
    let copies = lab.count_copies()?;
    let _server = lab.world.far.spawn(&["iperf3", "--server"], &scratch.join("server"))?;
    let load = format!("iperf3 --client {FAR_IPV4} --udp --bitrate 0 --length 200 --time 600");
    guest.run(&format!("({load} &) >/dev/null 2>&1"))?;
    let flood = ["ping", "-q", "-f", "-l", "64", "-c", "60000", "10.9.0.21"];
    let mut flood = lab.world.far.spawn(&flood, &scratch.join("flood"))?;
    for round in 0..KILLS {
        std::thread::sleep(Duration::from_millis(400 + 37 * round));
        if round % 2 == 0 {
            // So the guest's rings fill, and QEMU finds frames of the next lap, which it drops: it believes the ring to be there.
            lab.world.far.exec(&["kill", "-STOP", &lab.daemon.id()?.to_string()])?;
            std::thread::sleep(Duration::from_millis(300));
        }
        lab.daemon.kill9()?;
        lab.daemon.launch()?;
        lab.world.far.wait_ping("10.9.0.21", PATIENCE).with_context(|| format!("after kill {round}"))?;
    }
    // It tells what came when it is interrupted.
    lab.world.far.exec(&["kill", "-INT", &flood.id().to_string()])?;
    flood.wait(PATIENCE)?;
    let told = flood.log();
    lab.no_copies(copies).with_context(|| told.clone())?;
    ensure!(told.contains("packets transmitted") && !told.contains("duplicates"), "{told}");
    guest.run("killall iperf3")?;
    lab.both_ways(&mut guest)?;
    drop(guest);
    lab.close()
}

/// Killed between the frame's going out and the guest's being told of it.
#[test]
fn root_a_frame_that_went_out_as_vmswitchd_was_killed_does_not_go_out_again() -> Result<()> {
    let mut lab = Lab::new(1500)?;
    let mut guest = lab.boot(&lab.port("vm1", Kind { queues: 1, ..PACKED })?, "10.9.0.21")?;
    ping(&mut guest, FAR_IPV4)?;
    let copies = lab.count_copies()?;
    let place = Place { name: "sendmmsg".to_owned(), file: None, nth: 1 };
    let held = Strace::inject(lab.daemon.id()?, &place, Fate::Hold(PATIENCE))?;
    ensure!(guest.try_run(&format!("ping -c 1 -W 1 {FAR_IPV4}"))?.status != 0, "it was not held");
    lab.daemon.kill9()?;
    held.wait_for_end()?;
    lab.daemon.launch()?;
    lab.world.far.wait_ping("10.9.0.21", PATIENCE)?;
    ping(&mut guest, FAR_IPV4)?;
    lab.no_copies(copies)?;
    drop(guest);
    lab.close()
}

#[test]
fn root_no_frame_of_packed_rings_comes_twice_when_vmswitchd_is_killed_under_load() -> Result<()> {
    delivers_nothing_twice(Kind { ring: 256, ..PACKED })
}

#[test]
fn root_no_frame_of_split_rings_comes_twice_when_vmswitchd_is_killed_under_load() -> Result<()> {
    delivers_nothing_twice(SPLIT)
}

/// Processor time that a process used, in the kernel's ticks.
fn ticks(process: u32) -> Result<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold spaces; user and system time are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(") ").context("no name")?;
    let used: Result<Vec<u32>, _> = fields.split(' ').skip(11).take(2).map(str::parse).collect();
    Ok(used?.iter().sum())
}

#[test]
fn root_silent_guests_cost_less_than_a_hundredth_of_a_core() -> Result<()> {
    let lab = Lab::new(1500)?;
    let mut one = lab.boot(&lab.port("vm1", SPLIT)?, "10.9.0.21")?;
    let mut two = lab.boot(&lab.port("vm2", PACKED)?, "10.9.0.22")?;
    ping(&mut one, "10.9.0.22")?;
    ping(&mut two, FAR_IPV4)?;
    Snapshot::take(&lab.daemon, "lan")?;
    let (process, seconds) = (lab.daemon.id()?, 3);
    let used = || -> Result<u32> {
        let before = ticks(process)?;
        std::thread::sleep(Duration::from_secs(seconds.into()));
        Ok(ticks(process)? - before)
    };
    // Ticks are counted by who runs as one comes: one look of three may have bad luck.
    let looks = [used()?, used()?, used()?];
    ensure!(
        looks.iter().any(|used| used * 100 <= seconds * TICKS_A_SECOND),
        "{looks:?} ticks in {seconds} s"
    );
    ping(&mut one, "10.9.0.22")?;
    lab.close()
}
