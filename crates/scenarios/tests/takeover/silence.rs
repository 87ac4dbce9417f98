//! The host's stack is off the NIC while that is an uplink.

use crate::state::{PATIENCE, expect_silent, settings};
use anyhow::{Context, Result, ensure};
use lab::frames::{ARP, IPV6, arp_request, mac};
use lab::{
    Capture, Captured, Daemon, FAR_IPV4, FAR_MAC, HOST_IPV4, HOST_IPV6, NIC, NIC_MAC, Namespace, RawSender,
    Snapshot, World, wait_until,
};

const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

fn is_arp_reply(frame: &Captured) -> bool {
    frame.bytes[12..14] == ARP.to_be_bytes() && frame.bytes[21] == 2
}

fn is_advertisement(frame: &Captured) -> bool {
    let is_icmp = frame.bytes[12..14] == IPV6.to_be_bytes() && frame.bytes[20] == ICMPV6;
    is_icmp && frame.bytes[54] == NEIGHBOUR_ADVERTISEMENT
}

fn from_host(frame: &Captured) -> bool {
    frame.bytes[6..12] == mac(NIC_MAC)
}

#[test]
fn root_questions_for_the_hosts_address_are_answered_exactly_once() -> Result<()> {
    let world = World::new()?;
    let daemon = Daemon::start(&world.host)?;
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC])?;
    expect_silent(&world)?;
    let capture = Capture::start(&world.far, "eth0")?;
    let mut sender = RawSender::open(&world.far, "eth0")?;
    sender.send(&arp_request(mac(FAR_MAC), FAR_IPV4.parse()?, HOST_IPV4.parse()?))?;
    world.far.ping(HOST_IPV6)?;
    capture.wait_for(1, is_arp_reply)?;
    // At rest, whatever else was to come has come.
    Snapshot::take(&daemon, "lan")?;
    let frames = capture.stop()?;
    let replies: Vec<_> = frames.iter().filter(|f| is_arp_reply(f)).collect();
    ensure!(replies.len() == 1 && from_host(replies[0]), "{replies:?}");
    let advertised = frames.iter().filter(|f| from_host(f) && is_advertisement(f)).count();
    ensure!(advertised == 1, "{advertised} neighbour advertisements of the host");
    daemon.cli_ok(&["switch", "remove", "lan"]).map(drop)
}

/// Prints the interface by which each datagram to port 9999 came.
const LISTEN: &str = "import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
s.bind(('', 9999))
print('ready', flush=True)
while True:
    data, aside, _, _ = s.recvmsg(100, 100)
    print('came by', socket.if_indextoname(struct.unpack('i', aside[0][2][:4])[0]), data.decode(), flush=True)";

const BROADCAST: &str = "import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for n in range(10):
    s.sendto(f'{sys.argv[1]}{n}'.encode(), ('10.9.0.255', 9999))";

/// Ethernet, IPv4 and UDP headers, and the four bytes that are sent.
const LENGTH: u64 = 14 + 20 + 8 + 4;

#[test]
fn root_the_host_hears_broadcasts_once_and_only_by_its_vnic() -> Result<()> {
    let (world, vm) = (World::new()?, Namespace::new("vm")?);
    for namespace in [&world.host, &world.far, &vm] {
        namespace.disable_ipv6()?;
    }
    let daemon = Daemon::start(&world.host)?;
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC])?;
    daemon.cli_ok(&["port", "add", "lan", "vm", "--netns", vm.name()])?;
    vm.add_address("eth0", "10.9.0.50/24")?;
    let dir = lab::temp_dir()?;
    let mut listener = world.host.spawn(&["python3", "-c", LISTEN], &dir.path().join("log"))?;
    listener.wait_for_log("ready", PATIENCE)?;
    let before = Snapshot::take(&daemon, "lan")?;
    world.far.exec(&["python3", "-c", BROADCAST, "far"])?;
    vm.exec(&["python3", "-c", BROADCAST, "vm_"])?;
    let expected = [
        ("nic0", "rx_frames", 10),
        ("nic0", "tx_frames", 10),
        ("vm", "rx_frames", 10),
        ("vm", "tx_frames", 10),
        ("host", "tx_frames", 20),
        ("*", "rx_frames", 20),
        ("*", "tx_frames", 40),
    ];
    let bytes = expected
        .map(|(port, name, n)| (port, if name == "rx_frames" { "rx_bytes" } else { "tx_bytes" }, n * LENGTH));
    before.expect_delta(&daemon, &[&expected[..], &bytes, &[("*", "copies", 20)]].concat())?;
    wait_until("all datagrams", PATIENCE, || Ok(listener.log().lines().count() >= 21))?;
    let heard = listener.log();
    let by_vnic = heard.lines().filter(|line| line.starts_with("came by lan ")).count();
    ensure!(by_vnic == 20 && heard.lines().count() == 21, "{heard}");
    daemon.cli_ok(&["switch", "remove", "lan"]).map(drop)
}

/// The addresses of an interface that a router's advertisement brought.
fn advertised(world: &World, dev: &str) -> Result<Vec<String>> {
    Ok(settings(&world.host, dev)?.into_iter().filter(|line| line.contains("fd00:a:")).collect())
}

#[test]
fn root_a_router_configures_the_host_vnic_and_not_the_nic() -> Result<()> {
    let world = World::new()?;
    let daemon = Daemon::start(&world.host)?;
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC])?;
    world.far.add_address("eth0", "fd00:a::3/64")?;
    let dir = lab::temp_dir()?;
    let argv = "dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root --pid-file= --log-facility=- \
                --bind-interfaces --except-interface=lo --interface=eth0 --enable-ra --ra-param=eth0,4,600 \
                --dhcp-range=fd00:a::,ra-only";
    let argv: Vec<_> = argv.split_whitespace().collect();
    let router = world.far.spawn(&argv, &dir.path().join("log"))?;
    let waited =
        wait_until("advertised address", PATIENCE * 2, || Ok(!advertised(&world, "lan")?.is_empty()));
    waited.with_context(|| format!("dnsmasq: {}", router.log()))?;
    expect_silent(&world)?;
    drop(router);
    ensure!(world.host.ip("-6 route show default dev lan")?.contains("proto ra"), "no default route");
    Snapshot::take(&daemon, "lan")?;
    daemon.cli_ok(&["switch", "remove", "lan"])?;
    ensure!(!advertised(&world, NIC)?.is_empty(), "the advertised address went back to the NIC");
    Ok(())
}
