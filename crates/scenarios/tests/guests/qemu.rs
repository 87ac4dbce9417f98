//! Behaviour 12: real guests under QEMU, connected with the options that `vmswitch port add` prints.

use crate::checksums::{Transport, UDP};
use crate::site::Site;
use anyhow::{Context, Result, ensure};
use lab::frames::{Mac, mac};
use lab::services::DhcpServer;
use lab::transfer::Endpoint;
use lab::{FAR_IPV4, FAR_IPV6, Guest, GuestOptions, Snapshot, WorldOptions};
use std::path::Path;

/// Ethernet with an MTU of 1500: what is longer was not segmented yet.
const LONGEST: u64 = 1514;
/// More copies than ARP, neighbour discovery and multicast listeners cause while a stream passes.
const FLOODED: u64 = 50;
/// Bits of virtio-net's features (virtio 1.2, 5.1.3) that put checksums and segmentation off, in both directions:
/// CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6.
const OFFLOADS: [usize; 6] = [0, 1, 7, 8, 11, 12];

/// The flag of a vnet header that tells of a partial checksum (virtio 1.2, 5.1.6).
const NEEDS_CSUM: u8 = 1;

/// Adds the port `vm1`, and gives what it takes to connect a guest to it.
fn port(site: &Site, attach: &[&str]) -> Result<GuestOptions> {
    let printed = site.daemon.cli_ok(&[&["port", "add", "lan", "vm1"], attach].concat())?;
    let (_, options) = printed.split_once("QEMU options:\n").with_context(|| printed.clone())?;
    Ok(GuestOptions::connected(options))
}

/// Boots the guest and has it ask for an address, which the server far away gives out.
fn boot(site: &Site, options: &GuestOptions) -> Result<(Guest, DhcpServer)> {
    let server = DhcpServer::start(&site.world.far, "eth0", "10.9.0.100", "10.9.0.150")?;
    let mut guest = Guest::boot(&site.world.host, options)?;
    guest.run("ip link set eth0 up && udhcpc -i eth0 -n -q -t 20 -T 1")?;
    guest.run("ip addr add fd00:9::21/64 dev eth0")?;
    Ok((guest, server))
}

fn offloads(guest: &mut Guest) -> Result<[bool; 6]> {
    let features = guest.run("cat /sys/class/net/eth0/device/features")?;
    Ok(OFFLOADS.map(|bit| features.as_bytes().get(bit) == Some(&b'1')))
}

/// Pings the far machine, which has to find the guest under the MAC address that the port was given.
fn ping(site: &Site, guest: &mut Guest) -> Result<()> {
    guest.run(&format!("ping -c 1 -W 5 {FAR_IPV4} && ping6 -c 1 -W 5 {FAR_IPV6}"))?;
    let mac = site.daemon.cli_json(&["port", "show", "lan/vm1"])?["mac"].as_str().map(str::to_owned);
    let neighbours = site.world.far.ip_json("neigh show")?;
    let known =
        neighbours.as_array().into_iter().flatten().filter(|n| n["lladdr"].as_str() == mac.as_deref());
    ensure!(known.count() >= 2, "the far machine knows no {mac:?}: {neighbours}");
    Ok(())
}

/// How the counters moved while a stream passed.
struct Flow {
    before: Snapshot,
    after: Snapshot,
}

impl Flow {
    fn of(site: &Site, transfer: impl FnOnce() -> Result<()>) -> Result<Flow> {
        let before = Snapshot::take(&site.daemon, "lan")?;
        transfer()?;
        Ok(Flow { before, after: Snapshot::take(&site.daemon, "lan")? })
    }

    fn moved(&self, port: &str, counter: &str) -> u64 {
        self.after.get(port, counter) - self.before.get(port, counter)
    }

    fn copies(&self) -> u64 {
        self.moved("*", "copies")
    }

    /// Mean length of the frames that a port received (`rx`) or was given (`tx`).
    fn mean(&self, port: &str, way: &str) -> u64 {
        self.moved(port, &format!("{way}_bytes")) / self.moved(port, &format!("{way}_frames")).max(1)
    }
}

/// The guest sends over IPv4 and receives over IPv6; what arrives is what was sent.
fn both_ways(site: &Site, guest: &mut Guest, bytes: u64) -> Result<[Flow; 2]> {
    let far = &site.world.far;
    let forth = Flow::of(site, || {
        let sink = Endpoint::sink(far, 5000)?;
        let sent = guest.send_stream(FAR_IPV4, 5000, bytes)?;
        assert_eq!((sent.bytes, &sent), (bytes, &sink.finish()?));
        Ok(())
    })?;
    let back = Flow::of(site, || {
        let source = Endpoint::source(far, 5001, bytes)?;
        let received = guest.receive_stream(FAR_IPV6, 5001)?;
        assert_eq!((received.bytes, &received), (bytes, &source.finish()?));
        Ok(())
    })?;
    Ok([forth, back])
}

#[test]
fn root_a_real_guest_on_a_tap_moves_100_mb_both_ways_with_offloads_on() -> Result<()> {
    let site = Site::new()?;
    let (mut guest, _server) = boot(&site, &port(&site, &["--tap", "tap1"])?)?;
    assert_eq!(offloads(&mut guest)?, [true; 6]);
    ping(&site, &mut guest)?;
    let [forth, back] = both_ways(&site, &mut guest, 100_000_000)?;
    for (flow, from, to) in [(forth, "vm1", "nic0"), (back, "nic0", "vm1")] {
        let means = (flow.mean(from, "rx"), flow.mean(to, "tx"));
        assert!(means.0 > LONGEST && means.1 > LONGEST, "{from} to {to}: frames of {means:?} bytes");
        assert!(flow.copies() < FLOODED, "{from} to {to}: {} copies, so segments", flow.copies());
    }
    drop(guest);
    site.close()
}

/// A guest whose device knows no offloads gets every frame finished, and its own pass as they are.
fn moves_20_mb_on(kind: &str) -> Result<()> {
    let site = Site::new()?;
    let socket = site.daemon.scratch().join("vm1.sock").display().to_string();
    let (mut guest, _server) = boot(&site, &port(&site, &[kind, &socket])?)?;
    assert_eq!(offloads(&mut guest)?, [false; 6]);
    ping(&site, &mut guest)?;
    let [forth, back] = both_ways(&site, &mut guest, 20_000_000)?;
    assert!(forth.copies() < FLOODED, "{} copies of what the guest sent", forth.copies());
    assert!(back.mean("nic0", "rx") > LONGEST, "the far machine sent {} bytes", back.mean("nic0", "rx"));
    assert!(back.mean("vm1", "tx") <= LONGEST, "the guest was given {} bytes", back.mean("vm1", "tx"));
    // Of a frame that is cut, all segments but the first are copies, whatever the guest's socket took of them.
    let frames = back.moved("nic0", "rx_frames");
    assert!(back.copies() > frames / 10, "{} copies of {frames} frames", back.copies());
    drop(guest);
    site.close()
}

#[test]
fn root_a_real_guest_on_a_unix_stream_socket_moves_20_mb_both_ways() -> Result<()> {
    moves_20_mb_on("--unix-stream")
}

#[test]
fn root_a_real_guest_on_a_unix_dgram_socket_moves_20_mb_both_ways() -> Result<()> {
    moves_20_mb_on("--unix-dgram")
}

/// Frames that QEMU wrote into a capture file (libpcap's, of this machine's byte order).
fn dumped(path: &Path) -> Result<Vec<Vec<u8>>> {
    let file = std::fs::read(path)?;
    let mut rest = file.get(24..).context("no capture")?;
    let mut frames = Vec::new();
    while let Some(head) = rest.get(..16) {
        let length = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]) as usize;
        frames.push(rest.get(16..16 + length).context("cut off")?.to_vec());
        rest = &rest[16 + length..];
    }
    Ok(frames)
}

/// Splits what QEMU dumped of a frame to `mac` into vnet header and frame. QEMU before 8.0 dumps both.
fn split(dumped: &[u8], mac: Mac) -> Option<(&[u8], &[u8])> {
    let header = [0, 10, 12].into_iter().find(|at| dumped.get(*at..at + 6) == Some(&mac))?;
    Some(dumped.split_at(header))
}

#[test]
fn root_every_datagram_that_a_real_guest_gets_has_its_checksum() -> Result<()> {
    let site = Site::new()?;
    let mut options = port(&site, &["--tap", "tap1"])?;
    let dump = site.daemon.scratch().join("dump");
    let filter = format!("filter-dump,id=dump,netdev=net-vm1,file={}", dump.display());
    options.arguments.extend(["-object".to_owned(), filter]);
    let (mut guest, _server) = boot(&site, &options)?;
    guest.kill()?;
    let mac = mac(site.daemon.cli_json(&["port", "show", "lan/vm1"])?["mac"].as_str().context("no MAC")?);
    let dumped = dumped(&dump)?;
    let (mut datagrams, mut others) = (0, 0);
    for (vnet, frame) in dumped.iter().filter_map(|dumped| split(dumped, mac)) {
        let Some(datagram) = Transport::of(frame).filter(|t| t.protocol == UDP) else {
            others += 1;
            continue;
        };
        datagram.check()?;
        assert_eq!(vnet.first().unwrap_or(&0) & NEEDS_CSUM, 0, "a partial checksum: {vnet:02x?}");
        datagrams += 1;
    }
    assert!(datagrams >= 2, "an offer and an acknowledgement, not {datagrams}, and {others} other frames");
    site.close()
}

#[test]
fn root_a_real_guest_on_a_socket_moves_jumbo_frames_without_segmentation() -> Result<()> {
    let site = Site::with(&WorldOptions { mtu: 9000, ..WorldOptions::default() })?;
    let socket = site.daemon.scratch().join("vm1.sock").display().to_string();
    let (mut guest, _server) = boot(&site, &port(&site, &["--unix-stream", &socket])?)?;
    assert_eq!(guest.run("cat /sys/class/net/eth0/mtu")?, "9000\n");
    guest.run(&format!("ping -c 1 -W 5 -s 8972 {FAR_IPV4}"))?;
    let [forth, back] = both_ways(&site, &mut guest, 20_000_000)?;
    for (mean, what) in [(forth.mean("vm1", "rx"), "sent"), (back.mean("vm1", "tx"), "was given")] {
        assert!((LONGEST..=9014).contains(&mean), "the guest {what} frames of {mean} bytes");
    }
    drop(guest);
    site.close()
}

#[test]
fn root_a_real_guest_on_a_tap_with_two_queues_gets_jumbo_frames() -> Result<()> {
    let site = Site::with(&WorldOptions { mtu: 9000, ..WorldOptions::default() })?;
    let mut options = port(&site, &["--tap", "tap1", "--queues", "2"])?;
    // The driver takes no more queues than the machine has processors.
    options.arguments.extend(["-smp", "2"].map(str::to_owned));
    let (mut guest, _server) = boot(&site, &options)?;
    assert_eq!(guest.run("cat /sys/class/net/eth0/mtu")?, "9000\n");
    assert_eq!(guest.run("ls -d /sys/class/net/eth0/queues/tx-* | wc -l")?, "2\n");
    ping(&site, &mut guest)?;
    guest.run(&format!("ping -c 1 -W 5 -s 8972 {FAR_IPV4}"))?;
    let before = Snapshot::take(&site.daemon, "lan")?;
    let address = guest.run("ip -4 -o addr show dev eth0 | tr / ' ' | awk '{print $4}'")?;
    let received =
        site.world.far.try_exec(&["ping", "-c", "1", "-W", "5", "-M", "do", "-s", "8972", address.trim()])?;
    let after = Snapshot::take(&site.daemon, "lan")?;
    assert!(received.status.success(), "{}", received.stdout);
    assert_eq!(after.get("*", "drops.oversize"), before.get("*", "drops.oversize"));
    drop(guest);
    site.close()
}
