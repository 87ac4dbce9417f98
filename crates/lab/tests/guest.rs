//! A real guest on a plain TAP: no switch has a part in this.

use anyhow::Result;
use lab::transfer::Endpoint;
use lab::{Capture, Guest, GuestOptions, Namespace, Netdev, Nic};
use std::time::Duration;

const MAC: &str = "02:00:00:09:00:21";

fn with_tap() -> Result<(Namespace, Guest)> {
    let namespace = Namespace::new("vmm")?;
    namespace.ip("tuntap add dev tap0 mode tap vnet_hdr")?;
    namespace.add_address("tap0", "10.9.0.1/24")?;
    namespace.add_address("tap0", "fd00:9::1/64")?;
    let nic = Nic::new(Netdev::Tap("tap0".to_owned()), MAC);
    let mut guest = Guest::boot(&namespace, &GuestOptions::new(vec![nic]))?;
    guest.run("ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; ip addr add fd00:9::2/64 dev eth0")?;
    Ok((namespace, guest))
}

#[test]
fn root_guest_boots_and_answers() -> Result<()> {
    let (namespace, mut guest) = with_tap()?;
    assert_eq!(guest.run("echo \"a  b\"; cat /sys/class/net/eth0/address")?, format!("a  b\n{MAC}\n"));
    let failed = guest.try_run("echo oops >&2; exit 7")?;
    assert_eq!((failed.status, failed.output.as_str()), (7, "oops\n"));
    assert_eq!(guest.run("seq 1 20000 | tail -n 1; seq 1 3000")?.lines().count(), 3001);
    namespace.wait_ping("10.9.0.2", Duration::from_secs(5))?;
    namespace.wait_ping("fd00:9::2", Duration::from_secs(5))?;
    guest.run("ping -c 1 -W 2 10.9.0.1")?;
    let late = guest.run_for("sleep 100", Duration::from_millis(200)).unwrap_err();
    assert!(format!("{late:#}").contains("sleep 100"), "{late:#}");
    Ok(())
}

#[test]
fn root_guest_moves_bytes_both_ways_with_offloads() -> Result<()> {
    let (namespace, mut guest) = with_tap()?;
    let size = 100_000_000;
    let capture = Capture::start(&namespace, "tap0")?;
    let sink = Endpoint::sink(&namespace, 5000)?;
    let sent = guest.send_stream("10.9.0.1", 5000, size)?;
    assert_eq!((sent.bytes, &sent), (size, &sink.finish()?));
    let source = Endpoint::source(&namespace, 5001, size)?;
    let received = guest.receive_stream("10.9.0.1", 5001)?;
    assert_eq!((received.bytes, &received), (size, &source.finish()?));
    for outgoing in [true, false] {
        let segmented =
            |f: &lab::Captured| f.outgoing == outgoing && f.checksum_missing && f.bytes.len() > 1514;
        assert!(!capture.wait_for(1, segmented)?.is_empty(), "no large segment, outgoing: {outgoing}");
    }
    Ok(())
}

#[test]
fn root_guests_are_joined_by_unix_sockets_without_a_switch() -> Result<()> {
    let (namespace, dir) = (Namespace::new("vmm")?, lab::temp_dir()?);
    let at = |name| dir.path().join(name);
    let boot = |n: u8, stream: Netdev, local, remote| {
        let dgram = Netdev::Dgram { local: at(local), remote: at(remote) };
        let mac = |nic| format!("02:00:00:09:0{nic}:2{n}");
        let nics = vec![Nic::new(stream, &mac(0)), Nic::new(dgram, &mac(1))];
        let mut guest = Guest::boot(&namespace, &GuestOptions::new(nics))?;
        guest.run(&format!("ip link set eth0 up; ip addr add 10.1.0.{n}/24 dev eth0"))?;
        guest.run(&format!("ip link set eth1 up; ip addr add 10.2.0.{n}/24 dev eth1"))?;
        anyhow::Ok(guest)
    };
    let _first = boot(1, Netdev::StreamServer(at("stream")), "one", "two")?;
    let mut second = boot(2, Netdev::StreamClient(at("stream")), "two", "one")?;
    second.run("ping -c 2 -W 3 10.1.0.1")?;
    second.run("ping -c 2 -W 3 10.2.0.1").map(drop)
}

#[test]
fn root_guest_that_was_killed_says_so() -> Result<()> {
    let namespace = Namespace::new("vmm")?;
    let mut guest = Guest::boot(&namespace, &GuestOptions::new(Vec::new()))?;
    guest.kill()?;
    let error = guest.run("true").unwrap_err();
    assert!(format!("{error:#}").contains("guest: true"), "{error:#}");
    Ok(())
}
