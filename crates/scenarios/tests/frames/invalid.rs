//! Frames that may not pass, each dropped with its reason.

use crate::lan::{Lan, NOBODY, OUTSIDE, TRUNK, VM1, VM2, VM3, frame, frame_from};
use crate::round::Round;
use anyhow::Result;
use lab::frames::{mac, tagged};
use lab::{NIC, Snapshot};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// The addresses that IEEE 802.1Q reserves for the link itself.
fn reserved() -> Vec<String> {
    (0..16).map(|n| format!("01:80:c2:00:00:{n:02x}")).collect()
}

#[test]
fn root_reserved_multicast_stops_at_the_vnic_unless_the_port_may_send_it() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &["--allow-reserved", "01:80:c2:00:00:0e,01:80:c2:00:00:03"])?;
    lan.watch_host("host", "lan")?;
    lan.run(reserved().iter().fold(Round::default(), |round, to| {
        round.sends("vm1", &frame(to, VM1)).drops("vm1", "reserved_multicast")
    }))?;
    lan.run(reserved().iter().fold(Round::default(), |round, to| {
        let round = round.sends("vm2", &frame(to, VM2));
        match to.as_str() {
            "01:80:c2:00:00:0e" | "01:80:c2:00:00:03" => round.reaches(&[NIC, "host", "vm1"]),
            _ => round.drops("vm2", "reserved_multicast"),
        }
    }))?;
    // The block ends there: this is multicast like any other.
    lan.run(Round::default().sends("vm1", &frame("01:80:c2:00:00:10", VM1)).reaches(&[NIC, "host", "vm2"]))?;
    lan.finish()
}

#[test]
fn root_a_source_that_no_station_can_have_is_dropped() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("open", VM3, &["--guard", "off"])?;
    let known = lan.macs()?;
    for from in ["vm1", "open", NIC] {
        let sources = ["00:00:00:00:00:00", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "03:00:00:00:00:01"];
        lan.run(sources.iter().fold(Round::default(), |round, source| {
            round.sends(from, &frame(NOBODY, source)).drops(from, "invalid_source")
        }))?;
    }
    assert_eq!(lan.macs()?, known);
    lan.finish()
}

#[test]
fn root_a_frame_longer_than_the_mtu_allows_is_dropped_where_it_comes_in_or_leaves() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.vm("vm1", VM1, TRUNK)?;
    lan.vm("small", VM2, &[&["--mtu", "1000"], TRUNK].concat())?;
    let of = |to: &str, from: &str, length| frame_from(mac(to), mac(from), length);
    // A guest sets its MTU as it likes.
    lan.namespace("vm1").ip("link set eth0 mtu 9000")?;
    lan.run(
        Round::default()
            .sends("vm1", &of(NOBODY, VM1, 1514))
            .reaches(&[NIC])
            .sends("vm1", &tagged(&of(NOBODY, VM1, 1514), 0, 5))
            .reaches(&[NIC])
            .sends("vm1", &of(NOBODY, VM1, 1515))
            .drops("vm1", "oversize")
            .sends("vm1", &tagged(&of(NOBODY, VM1, 1515), 0, 5))
            .drops("vm1", "oversize"),
    )?;
    for (from, source) in [("vm1", VM1), (NIC, OUTSIDE)] {
        lan.run(
            Round::default()
                .sends(from, &of(VM2, source, 1014))
                .reaches(&["small"])
                .sends(from, &tagged(&of(VM2, source, 1014), 0, 5))
                .reaches(&["small"])
                .sends(from, &of(VM2, source, 1015))
                .drops("small", "oversize"),
        )?;
    }
    // One destination that cannot take it keeps it from no other.
    let everybody = of("ff:ff:ff:ff:ff:ff", OUTSIDE, 1200);
    lan.watch_host("host", "lan")?;
    lan.run(Round::default().sends(NIC, &everybody).reaches(&["vm1", "host"]).drops("small", "oversize"))?;
    lan.finish()
}

#[test]
fn root_a_frame_never_goes_back_to_where_it_came_from() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("open", VM3, &["--guard", "off"])?;
    lan.run(Round::default().sends("vm1", &frame(VM1, VM1)).drops("vm1", "hairpin"))?;
    let behind = "06:00:00:00:00:01";
    lan.run(Round::default().sends("open", &frame(VM1, behind)).reaches(&["vm1"]))?;
    lan.run(Round::default().sends("open", &frame(behind, VM3)).drops("open", "hairpin"))?;
    lan.run(Round::default().sends(NIC, &frame(VM1, OUTSIDE)).reaches(&["vm1"]))?;
    lan.run(Round::default().sends(NIC, &frame(OUTSIDE, "02:00:00:00:0f:02")).drops(NIC, "hairpin"))?;
    lan.finish()
}

#[test]
fn root_a_frame_that_no_port_could_get_is_counted_as_such() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.run(Round::default().sends(NIC, &frame("ff:ff:ff:ff:ff:ff", OUTSIDE)).drops(NIC, "no_destination"))?;
    lan.vm("vm1", VM1, &[])?;
    lan.run(Round::default().sends(NIC, &frame(NOBODY, OUTSIDE)).drops(NIC, "no_destination"))?;
    lan.finish()
}

/// The kernel refuses to send fewer than 14 bytes on a TAP and on a packet socket. A VMM's datagram has any length.
#[test]
fn root_a_runt_is_dropped() -> Result<()> {
    let mut lan = Lan::new(&["--private"])?;
    lan.vm("vm1", VM1, &[])?;
    let (switch, guest) = (lan.daemon.scratch().join("port"), lan.daemon.scratch().join("guest"));
    let path = switch.display().to_string();
    lan.daemon.cli_ok(&["port", "add", "lan", "vmm", "--unix-dgram", &path, "--mac", VM2])?;
    let socket = UnixDatagram::bind(&guest)?;
    socket.set_read_timeout(Some(lab::patience(Duration::from_secs(10))))?;
    let before = Snapshot::take(&lan.daemon, "lan")?;
    let whole = frame(VM1, VM2);
    for length in [1, 6, 13, 14] {
        socket.send_to(&whole[..length], &switch)?;
    }
    socket.send_to(&whole, &switch)?;
    let moved = [
        ("vmm", "rx_frames", 5),
        ("vmm", "rx_bytes", 1 + 6 + 13 + 14 + 60),
        ("vmm", "drops.runt", 3),
        ("vm1", "tx_frames", 2),
        ("vm1", "tx_bytes", 14 + 60),
        ("*", "rx_frames", 5),
        ("*", "rx_bytes", 1 + 6 + 13 + 14 + 60),
        ("*", "drops.runt", 3),
        ("*", "tx_frames", 2),
        ("*", "tx_bytes", 14 + 60),
    ];
    before.expect_delta(&lan.daemon, &moved)?;
    lan.settle("vm1", &[whole[..14].to_vec(), whole.clone()])?;

    let answer = frame(VM2, VM1);
    lan.run(Round::default().sends("vm1", &answer).reaches(&["vmm"]))?;
    let mut got = [0; 100];
    let length = socket.recv(&mut got)?;
    assert_eq!(got[..length], answer);
    lan.finish()
}
