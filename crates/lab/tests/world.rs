//! The lab's own parts, against real namespaces.

use anyhow::Result;
use lab::services::{DhcpServer, Direction, iperf3};
use lab::transfer::{Endpoint, Passed};
use lab::{
    Capture, FAR_IPV4, FAR_IPV6, FAR_MAC, NIC, NIC_MAC, Namespace, RawSender, World, WorldOptions, frames,
};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

#[test]
fn root_a_namespace_is_gone_after_its_guard() -> Result<()> {
    let namespace = Namespace::new("gone")?;
    let name = namespace.name().to_owned();
    let mut stray =
        namespace.command("sh").args(["-c", "echo; exec sleep 60"]).stdout(Stdio::piped()).spawn()?;
    // What has not entered the namespace yet cannot be found in it.
    stray.stdout.take().unwrap().read_exact(&mut [0])?;
    assert!(exists(&name));
    drop(namespace);
    assert!(!exists(&name));
    assert!(!stray.wait()?.success(), "what ran inside was killed");
    Ok(())
}

#[test]
fn root_a_panic_leaves_no_namespace() {
    let panicked = std::thread::spawn(|| {
        let namespace = Namespace::new("panic").unwrap();
        std::panic::panic_any(namespace.name().to_owned());
    });
    let name = panicked.join().unwrap_err().downcast::<String>().unwrap();
    assert!(!exists(&name), "{name} is still there");
}

#[test]
fn root_leftovers_of_a_killed_process_are_removed() -> Result<()> {
    // The sweep runs once in each process, so another one has to do it: this test program, asked for one test.
    let orphan = "vml-4194305-0-orphan";
    lab::text(Command::new("ip").args(["netns", "add", orphan]))?;
    let mut other = Command::new(std::env::current_exe()?);
    lab::text(other.args(["--exact", "root_a_panic_leaves_no_namespace"]))?;
    assert!(!exists(orphan));
    Ok(())
}

#[test]
fn root_sysctls_are_the_namespaces_own() -> Result<()> {
    let (one, other) = (Namespace::new("one")?, Namespace::new("other")?);
    one.set_sysctl("net/ipv4/ip_forward", "1")?;
    other.set_sysctl("net/ipv4/ip_forward", "0")?;
    assert_eq!(
        (one.sysctl("net/ipv4/ip_forward")?.as_str(), other.sysctl("net/ipv4/ip_forward")?.as_str()),
        ("1", "0")
    );
    Ok(())
}

#[test]
fn root_the_host_reaches_far_and_the_physical_switch_learns_both() -> Result<()> {
    let world = World::new()?;
    assert_eq!(world.host.mac(NIC)?, NIC_MAC);
    assert_eq!(world.host.interfaces()?, [NIC]);
    // A stack that has just come up speaks by itself, for some seconds (RFC 4861, RFC 3810).
    lab::wait_until("a physical switch that forgot", Duration::from_secs(10), || {
        world.phys_flush()?;
        Ok(!world.phys_fdb()?.contains_key(FAR_MAC))
    })?;
    world.host.ping(FAR_IPV4)?;
    world.host.ping(FAR_IPV6)?;
    let learned = world.phys_fdb()?;
    assert_eq!(
        (learned.get(NIC_MAC), learned.get(FAR_MAC)),
        (Some(&"p1".to_owned()), Some(&"p2".to_owned()))
    );
    assert_eq!(learned.len(), 2, "the switch's own addresses are left out: {learned:?}");
    Ok(())
}

#[test]
fn root_a_nic_can_be_pulled_and_put_back() -> Result<()> {
    let world = World::with(&WorldOptions { host_addresses: false, ..WorldOptions::default() })?;
    world.unplug(NIC)?;
    assert!(world.host.interfaces()?.is_empty());
    world.plug(NIC, "02:00:00:09:00:77", "p1")?;
    assert_eq!(world.host.mac(NIC)?, "02:00:00:09:00:77");
    Ok(())
}

fn assert_arrive_unchanged(world: &World, sent: &[Vec<u8>]) -> Result<()> {
    let capture = Capture::start(&world.far, "eth0")?;
    RawSender::open(&world.host, NIC)?.send_all(sent)?;
    let ours = |bytes: &[u8]| bytes[6..12] == frames::mac(NIC_MAC) && bytes.len() > 12;
    let arrived =
        capture.wait_for(sent.len(), |f| !f.outgoing && ours(&f.bytes) && sent.contains(&f.bytes))?;
    assert_eq!(arrived.into_iter().map(|f| f.bytes).collect::<Vec<_>>(), sent);
    capture.stop().map(drop)
}

#[test]
fn root_frames_arrive_as_they_were_sent() -> Result<()> {
    let (to, from) = (frames::mac(FAR_MAC), frames::mac(NIC_MAC));
    let plain = |length| frames::of_length(to, from, frames::EXPERIMENT, length);
    let double = frames::tagged_as(0x88a8, &frames::tagged(&plain(60), 0, 5), 0, 6);
    let sent = [
        plain(60),
        plain(1514),
        frames::tagged(&plain(60), 3, 100),
        double,
        frames::tagged(&plain(1514), 0, 1),
        frames::llc(to, from, &[1, 2, 3]),
    ];
    assert_arrive_unchanged(&World::new()?, &sent)
}

#[test]
fn root_jumbo_frames_arrive_where_the_mtu_allows() -> Result<()> {
    let frame = frames::of_length(frames::mac(FAR_MAC), frames::mac(NIC_MAC), frames::EXPERIMENT, 9014);
    assert_arrive_unchanged(
        &World::with(&WorldOptions { mtu: 9000, ..WorldOptions::default() })?,
        std::slice::from_ref(&frame),
    )?;
    let world = World::new()?;
    assert!(RawSender::open(&world.host, NIC)?.send(&frame).is_err(), "larger than the MTU");
    Ok(())
}

#[test]
fn root_a_capture_loses_nothing_and_ends_after_the_last_frame() -> Result<()> {
    let world = World::new()?;
    let frame = |n: u16| {
        let mut frame = frames::of_length(frames::BROADCAST, frames::mac(NIC_MAC), frames::EXPERIMENT, 300);
        frame[20..22].copy_from_slice(&n.to_be_bytes());
        frame
    };
    let sent: Vec<_> = (0..5000).map(frame).collect();
    let capture = Capture::start(&world.far, "eth0")?;
    RawSender::open(&world.host, NIC)?.send_all(&sent)?;
    // Stopped at once: what the kernel had delivered by then has to be there.
    let ours = capture.stop()?.into_iter().filter(|f| f.bytes[12..14] == [0x88, 0xb5]);
    assert!(ours.map(|f| f.bytes).eq(sent));
    Ok(())
}

#[test]
fn root_a_capture_tells_partial_checksums_and_directions() -> Result<()> {
    let world = World::new()?;
    let send =
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('10.9.0.3', 9))";
    for (offload, missing) in [("on", true), ("off", false)] {
        world.host.exec(&["ethtool", "-K", NIC, "tx", offload])?;
        let (near, far) = (Capture::start(&world.host, NIC)?, Capture::start(&world.far, "eth0")?);
        world.host.exec(&["python3", "-c", send])?;
        let udp = |f: &lab::Captured| f.bytes.len() > 24 && f.bytes[12..14] == [8, 0] && f.bytes[23] == 17;
        let (sent, received) = (near.wait_for(1, udp)?, far.wait_for(1, udp)?);
        assert!(sent[0].outgoing && !received[0].outgoing);
        assert_eq!(received[0].checksum_missing, missing, "checksum offload {offload}");
    }
    Ok(())
}

#[test]
fn root_dnsmasq_gives_an_address() -> Result<()> {
    let world = World::with(&WorldOptions { host_addresses: false, ..WorldOptions::default() })?;
    let server = DhcpServer::start(&world.far, "eth0", "10.9.0.100", "10.9.0.110")?;
    world.host.exec(&["busybox", "udhcpc", "-i", NIC, "-n", "-q", "-f", "-s", "/bin/true"])?;
    assert!(server.log().contains("DHCPACK(eth0) 10.9.0.1"), "{}", server.log());
    Ok(())
}

#[test]
fn root_iperf3_measures_both_ways() -> Result<()> {
    let world = World::new()?;
    for way in [Direction::Forth, Direction::Back] {
        let got = iperf3(&world.host, &world.far, FAR_IPV4, 1, way)?;
        assert!(got.gbit_s > 0.01 && got.bytes > 1e6, "{way:?}: {got:?}");
    }
    Ok(())
}

#[test]
fn root_a_transfer_is_counted_and_summed() -> Result<()> {
    let world = World::new()?;
    let sink = Endpoint::sink(&world.far, 5000)?;
    world.host.exec(&["sh", "-c", "printf hello | busybox nc 10.9.0.3 5000"])?;
    let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".to_owned();
    assert_eq!(sink.finish()?, Passed { bytes: 5, sha256 });
    Ok(())
}

#[test]
fn root_ping_counts_answers() -> Result<()> {
    let world = World::new()?;
    let good = world.host.try_ping(FAR_IPV4, 20, 0.001)?;
    assert_eq!((good.sent, good.received), (20, 20));
    assert!(good.mean_us.is_some_and(|us| us < 100_000.0));
    assert!(world.host.ping("10.9.0.99").is_err(), "nobody is there");
    world.host.wait_ping(FAR_IPV4, Duration::from_secs(5))
}
