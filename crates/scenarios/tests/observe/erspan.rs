//! Copies for a collector elsewhere, read by tshark there.

use crate::lan::{Lan, OUTSIDE, VM1, VM2, frame};
use crate::round::Round;
use crate::tap::PATIENCE;
use anyhow::{Context, Result, ensure};
use lab::{FAR_IPV4, FAR_IPV6, HOST_IPV4, NIC, Process, text, wait_until};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// tcpdump at the collector.
struct Collector {
    _process: Process,
    file: PathBuf,
}

const FIELDS: [&str; 10] = [
    "gre.sequence_number",
    "erspan.version",
    "erspan.spanid",
    "erspan.vlan",
    "erspan.cos",
    "erspan.truncated",
    "erspan.direction",
    "erspan.gra",
    "eth.src",
    "erspan.timestamp",
];

impl Collector {
    fn start(lan: &Lan) -> Result<Collector> {
        let file = lan.daemon.scratch().join("collector.pcap");
        let path = file.to_str().context("a path")?;
        let tcpdump = ["tcpdump", "-Z", "root", "-U", "-i", "eth0", "-w", path, "proto", "47"];
        let mut process = lan.world.far.spawn(&tcpdump, &lan.daemon.scratch().join("collector.log"))?;
        process.wait_for_log("listening on", PATIENCE)?;
        Ok(Collector { _process: process, file })
    }

    /// What tshark reads of the copies, a line each; of what stands there twice, the inner one.
    fn copies(&self) -> Result<Vec<Vec<String>>> {
        let mut tshark = Command::new("tshark");
        tshark.args(["-n", "-T", "fields", "-E", "separator=|", "-E", "occurrence=l"]);
        tshark.args(FIELDS.iter().flat_map(|field| ["-e", field])).arg("-r").arg(&self.file);
        let told = text(&mut tshark)?;
        Ok(told.lines().map(|line| line.split('|').map(ToOwned::to_owned).collect()).collect())
    }

    fn wait_for(&self, count: usize) -> Result<Vec<Vec<String>>> {
        wait_until("copies at the collector", PATIENCE, || Ok(self.copies()?.len() >= count))?;
        self.copies()
    }
}

/// A private switch, whose host has the NIC for itself.
fn lan() -> Result<Lan> {
    let mut lan = Lan::new(&["--private"])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &[])?;
    lan.world.host.add_address(NIC, &format!("{HOST_IPV4}/24"))?;
    // What waits for the first answer to ARP is kept, but not for ever.
    lan.world.host.wait_ping(FAR_IPV4, PATIENCE)?;
    Ok(lan)
}

fn mirror(lan: &Lan, port: &str, what: &str) -> Result<()> {
    lan.daemon.cli_ok(&["port", "set", port, "--mirror", what]).map(drop)
}

fn status(lan: &Lan, port: &str) -> Result<Value> {
    Ok(lan.daemon.cli_json(&["port", "show", port])?["mirror"].clone())
}

/// What tshark says of a copy, but for its time.
fn about(fields: &[String]) -> Vec<&str> {
    fields[..9].iter().map(String::as_str).collect()
}

#[test]
fn root_copies_by_erspan_ii_and_iii_are_what_tshark_reads() -> Result<()> {
    let mut lan = lan()?;
    let collector = Collector::start(&lan)?;
    mirror(&lan, "lan/vm1", &format!("erspan={FAR_IPV4},session=5"))?;
    // The counters of the switch know nothing of it.
    let both = Round::default()
        .sends("vm1", &frame(VM2, VM1))
        .reaches(&["vm2"])
        .sends("vm1", &frame(VM2, OUTSIDE))
        .drops("vm1", "spoofed_mac");
    lan.run(both)?;
    lan.run(Round::default().sends("vm2", &frame(VM1, VM2)).reaches(&["vm1"]))?;
    let two = collector.wait_for(2)?;
    ensure!(about(&two[0]) == ["0", "1", "5", "0", "0", "0", "", "", VM1], "{two:?}");
    ensure!(about(&two[1]) == ["1", "1", "5", "0", "0", "0", "", "", VM2], "{two:?}");
    // Another form is another stream of numbers.
    mirror(&lan, "lan/vm1", &format!("erspan={FAR_IPV4},session=1023,type=iii"))?;
    lan.run(Round::default().sends("vm1", &frame(VM2, VM1)).reaches(&["vm2"]))?;
    lan.run(Round::default().sends("vm2", &frame(VM1, VM2)).reaches(&["vm1"]))?;
    let three = collector.wait_for(4)?;
    ensure!(about(&three[2]) == ["0", "2", "1023", "0", "0", "0", "0", "1", VM1], "{three:?}");
    ensure!(about(&three[3]) == ["1", "2", "1023", "0", "0", "0", "1", "1", VM2], "{three:?}");
    let times: Vec<u32> = three[2..].iter().map(|copy| copy[9].parse()).collect::<Result<_, _>>()?;
    // In units of 100 ns: the second came within some seconds of the first.
    ensure!((1..200_000_000).contains(&times[1].wrapping_sub(times[0])), "{times:?}");
    let told = status(&lan, "lan/vm1")?;
    ensure!(told == serde_json::json!({"sent": 2, "truncated": 0, "unsent": 0, "lost": 0}), "{told}");
    mirror(&lan, "lan/vm1", "off")?;
    lan.run(Round::default().sends("vm1", &frame(VM2, VM1)).reaches(&["vm2"]))?;
    ensure!(status(&lan, "lan/vm1")?.is_null() && collector.copies()?.len() == 4);
    Ok(())
}

#[test]
fn root_a_copy_has_vlan_and_priority_and_is_cut_to_the_path() -> Result<()> {
    let mut lan = lan()?;
    lan.daemon.cli_ok(&["port", "set", "lan/vm1", "--vlan", "trunk=7", "--trust-priority", "on"])?;
    lan.daemon.cli_ok(&["port", "set", "lan/vm2", "--vlan", "access=7"])?;
    let collector = Collector::start(&lan)?;
    mirror(&lan, "lan/vm1", &format!("erspan={FAR_IPV4},session=9,in"))?;
    let tagged = |length| {
        let bare = [frame(VM2, VM1), vec![0; length]].concat();
        [&bare[..12], &[0x81, 0, 0xa0, 7], &bare[12..]].concat()
    };
    lan.send("vm1", &tagged(0))?;
    lan.send("vm1", &tagged(1440))?;
    let copies = collector.wait_for(2)?;
    ensure!(about(&copies[0]) == ["0", "1", "9", "7", "5", "0", "", "", VM1], "{copies:?}");
    ensure!(about(&copies[1]) == ["1", "1", "9", "7", "5", "1", "", "", VM1], "{copies:?}");
    let lengths =
        text(Command::new("tshark").args(["-T", "fields", "-e", "ip.len", "-r"]).arg(&collector.file))?;
    ensure!(lengths == "100\n1500\n", "{lengths}");
    let told = status(&lan, "lan/vm1")?;
    ensure!(told["sent"] == 2 && told["truncated"] == 1, "{told}");
    Ok(())
}

#[test]
fn root_copies_that_pass_the_mirrored_uplink_are_not_copied_again() -> Result<()> {
    let lan = Lan::in_world(&lab::WorldOptions::default(), &["--external", NIC])?;
    let collector = Collector::start(&lan)?;
    mirror(&lan, &format!("lan/{NIC}"), &format!("erspan={FAR_IPV4},session=1"))?;
    lan.world.host.ping(FAR_IPV4)?;
    // An echo and its answer at least, and ARP.
    collector.wait_for(2)?;
    let mut last = 0;
    wait_until("an end of copies", PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = status(&lan, &format!("lan/{NIC}"))?["sent"].as_u64().unwrap_or_default();
        Ok(std::mem::replace(&mut last, now) == now)
    })?;
    ensure!(last < 100, "{last} copies of a few frames");
    Ok(())
}

#[test]
fn root_a_collector_that_cannot_be_reached_is_told_and_reached_when_it_can_be() -> Result<()> {
    let mut lan = lan()?;
    mirror(&lan, "lan/vm1", "erspan=192.0.2.9,session=5,in")?;
    lan.run(Round::default().sends("vm1", &frame(VM2, VM1)).reaches(&["vm2"]))?;
    wait_until("what is not sent", PATIENCE, || Ok(status(&lan, "lan/vm1")?["unsent"] == 1))?;
    let told = lan.daemon.cli_ok(&["port", "show", "lan/vm1"])?;
    ensure!(told.contains("0 sent, 0 of them cut; 1 not sent (Network is unreachable"), "{told}");
    lan.world.far.add_address("eth0", "192.0.2.9/32")?;
    lan.world.host.ip(&format!("route add 192.0.2.9 via {FAR_IPV4}"))?;
    lan.run(Round::default().sends("vm1", &frame(VM2, VM1)).reaches(&["vm2"]))?;
    wait_until("a copy that is sent", PATIENCE, || Ok(status(&lan, "lan/vm1")?["sent"] == 1))?;
    Ok(())
}

#[test]
fn root_a_collector_may_have_an_ipv6_address() -> Result<()> {
    let mut lan = Lan::in_world(&lab::WorldOptions::default(), &["--external", NIC])?;
    for namespace in [&lan.world.host, &lan.world.far] {
        namespace.set_sysctl("net/ipv6/conf/all/disable_ipv6", "0")?;
    }
    lan.world.host.set_sysctl("net/ipv6/conf/lan/disable_ipv6", "0")?;
    lan.world.host.ip(&format!("addr replace {}/64 dev lan nodad", lab::HOST_IPV6))?;
    lan.world.far.set_sysctl("net/ipv6/conf/eth0/disable_ipv6", "0")?;
    lan.world.far.ip(&format!("addr replace {FAR_IPV6}/64 dev eth0 nodad"))?;
    lan.world.host.wait_ping(FAR_IPV6, PATIENCE)?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &[])?;
    let collector = Collector::start(&lan)?;
    mirror(&lan, "lan/vm1", &format!("erspan={FAR_IPV6},session=6,type=iii,in"))?;
    lan.send("vm1", &frame(VM2, VM1))?;
    let copies = collector.wait_for(1)?;
    ensure!(about(&copies[0]) == ["0", "2", "6", "0", "0", "0", "0", "1", VM1], "{copies:?}");
    Ok(())
}
