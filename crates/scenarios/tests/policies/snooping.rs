//! Multicast snooping: frames that Scapy makes, byte for byte and counter for counter.

use crate::lan::{Lan, VM1, VM2, VM3, frame};
use crate::round::Round;
use anyhow::{Context, Result, ensure};
use lab::{NIC, WorldOptions, wait_until};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const VMS: [(&str, &str); 3] = [("vm1", VM1), ("vm2", VM2), ("vm3", VM3)];
/// Long, so that nothing moves by itself but the first query; hosts answer it in a second.
const QUERIER: &str =
    "switch set lan --multicast-snooping on --querier on --query-interval 1h --query-response 1s";

/// Frames from this address, by name.
fn frames(mac: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies/snooping.py");
    let printed = lab::text(Command::new("/usr/bin/python3").arg(script).arg(mac))?;
    printed.lines().map(parse).collect()
}

fn parse(line: &str) -> Result<(String, Vec<u8>)> {
    let (name, hex) = line.split_once(' ').with_context(|| line.to_owned())?;
    let digits = hex.as_bytes().chunks(2);
    let bytes = digits.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    Ok((name.to_owned(), bytes.collect::<Result<_>>()?))
}

fn cli(lan: &Lan, line: &str) -> Result<String> {
    lan.daemon.cli_ok(&line.split_whitespace().collect::<Vec<_>>())
}

/// Where everybody gets a frame from `from`.
fn others(from: &str) -> Vec<&str> {
    ["vm1", "vm2", "vm3", NIC].into_iter().filter(|port| *port != from).collect()
}

/// A switch with three VMs that has just begun to snoop.
struct Site {
    lan: Lan,
    frames: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
}

impl Site {
    fn new(settings: &str) -> Result<Site> {
        Self::on(Lan::external(&["--no-host"])?, settings)
    }

    /// On a switch without VMs.
    fn on(mut lan: Lan, settings: &str) -> Result<Site> {
        for (name, mac) in VMS {
            lan.vm(name, mac, &[])?;
        }
        let before = lan.counters()?;
        cli(&lan, &format!("{QUERIER} {settings}"))?;
        let queries = own_queries(&lan)?;
        let each = queries.iter().map(Vec::len).sum::<usize>() as u64;
        let mut moved =
            vec![("*".to_owned(), "originated".to_owned(), 2), ("*".to_owned(), "copies".to_owned(), 6)];
        for (port, ports) in [("vm1", 1), ("vm2", 1), ("vm3", 1), (NIC, 1), ("*", 4)] {
            moved.push((port.to_owned(), "tx_frames".to_owned(), 2 * ports));
            moved.push((port.to_owned(), "tx_bytes".to_owned(), each * ports));
        }
        lan.expect_counters(before, &moved)?;
        let counters = lan.counters()?;
        for port in others("") {
            lan.settle(port, &queries)?;
        }
        wait_until("both protocols filter", PATIENCE, || Ok(filters(&lan)? == [true, true]))?;
        lan.expect_counters(counters, &[])?;
        let frames = VMS.iter().map(|(name, mac)| Ok((*name, frames(mac)?))).collect::<Result<_>>()?;
        Ok(Site { lan, frames })
    }

    fn sent(&self, from: &str, name: &str) -> Result<&[u8]> {
        Ok(self.frames[from].get(name).with_context(|| format!("no frame {name}"))?)
    }

    /// `from` sends a frame, which gets there.
    fn passes(&mut self, from: &str, name: &str, to: &[&str]) -> Result<()> {
        let round = Round::default().sends(from, self.sent(from, name)?).reaches(to);
        self.lan.run(round).with_context(|| format!("{name} from {from}"))
    }

    /// `from` sends a frame, which gets nowhere.
    fn stops(&mut self, from: &str, name: &str, reason: &str) -> Result<()> {
        let round = Round::default().sends(from, self.sent(from, name)?).drops(from, reason);
        self.lan.run(round).with_context(|| format!("{name} from {from}"))
    }
}

/// Whether groups are filtered, by IGMP and by MLD.
fn filters(lan: &Lan) -> Result<Vec<bool>> {
    let known = lan.daemon.cli_json(&["multicast", "list", "lan"])?;
    let vlans = known["vlans"].as_array().context("no VLANs")?.iter();
    Ok(vlans.map(|vlan| vlan["filters"] == true).collect())
}

/// Which group each port has joined, as `multicast list` says.
fn joined(lan: &Lan) -> Result<Vec<(String, String)>> {
    let known = lan.daemon.cli_json(&["multicast", "list", "lan"])?;
    let text = |group: &serde_json::Value, key: &str| group[key].as_str().unwrap_or_default().to_owned();
    let groups = known["groups"].as_array().context("no groups")?.iter();
    Ok(groups.map(|group| (text(group, "group"), text(group, "port"))).collect())
}

/// What the switch has to send first, as Scapy would: its MAC is in the address that it asks by MLD from.
fn own_queries(lan: &Lan) -> Result<Vec<Vec<u8>>> {
    let mut querier = None;
    wait_until("a querier", PATIENCE, || {
        let known = lan.daemon.cli_json(&["multicast", "list", "lan"])?;
        querier = known["vlans"][1]["querier"].as_str().map(str::to_owned);
        Ok(querier.is_some())
    })?;
    let address: std::net::Ipv6Addr = querier.context("no querier")?.parse()?;
    let [.., a, b, c, 0xff, 0xfe, d, e, f] = address.octets() else { anyhow::bail!("{address}") };
    let mac = [a ^ 2, b, c, d, e, f].map(|byte| format!("{byte:02x}")).join(":");
    let all = frames(&mac)?;
    Ok(vec![all["query4"].clone(), all["query6"].clone()])
}

#[test]
fn root_a_group_goes_to_who_joined_it_and_reports_go_to_routers() -> Result<()> {
    let mut site = Site::new("")?;
    site.passes("vm2", "join", &[NIC])?;
    site.passes("vm3", "join3", &[NIC])?;
    site.passes("vm3", "join6", &[NIC])?;
    let expected = [("239.1.2.3", "vm2"), ("239.1.2.4", "vm3"), ("ff05::1:3", "vm3")];
    assert_eq!(joined(&site.lan)?, expected.map(|(group, port)| (group.to_owned(), port.to_owned())));
    site.passes("vm1", "data", &["vm2", NIC])?;
    site.passes("vm1", "data3", &["vm3", NIC])?;
    site.passes("vm1", "data6", &["vm3", NIC])?;
    site.passes("vm2", "data", &[NIC])?;
    site.passes("vm1", "unwanted", &[NIC])?;
    site.passes("vm1", "unwanted6", &[NIC])?;
    site.lan.finish()
}

#[test]
fn root_groups_of_the_link_neighbour_discovery_and_broadcast_are_never_filtered() -> Result<()> {
    let mut site = Site::new("")?;
    for name in ["mdns", "mdns6", "solicitation", "query4", "query6"] {
        site.passes("vm1", name, &others("vm1"))?;
    }
    let broadcast = frame("ff:ff:ff:ff:ff:ff", VM1);
    site.lan.run(Round::default().sends("vm1", &broadcast).reaches(&others("vm1")))?;
    let not_ip = frame("01:00:5e:01:02:03", VM1);
    site.lan.run(Round::default().sends("vm1", &not_ip).reaches(&others("vm1")))?;
    site.lan.finish()
}

#[test]
fn root_what_nobody_wants_is_dropped_with_its_reason_where_no_router_is() -> Result<()> {
    let mut site = Site::new("--uplink-router off")?;
    site.stops("vm1", "data", "no_listener")?;
    site.stops("vm2", "join", "no_listener")?;
    site.passes("vm1", "data", &["vm2"])?;
    site.passes("vm3", "router4", &others("vm3"))?;
    site.passes("vm1", "unwanted", &["vm3"])?;
    site.passes("vm1", "data", &["vm2", "vm3"])?;
    let said = cli(&site.lan, &format!("explain lan/vm1 --frame {}", hex(site.sent("vm1", "data")?)))?;
    ensure!(said.contains("ports that have joined 239.1.2.3 and those of routers get it"), "{said}");
    site.lan.finish()
}

#[test]
fn root_what_nobody_wants_goes_to_all_where_that_is_asked_for() -> Result<()> {
    let mut site = Site::new("")?;
    site.passes("vm2", "join", &[NIC])?;
    site.passes("vm1", "unwanted", &[NIC])?;
    // Nothing of how hosts are asked changes, so nobody is asked anew, and what is known stays.
    cli(&site.lan, "switch set lan --flood-unregistered on")?;
    site.passes("vm1", "unwanted", &others("vm1"))?;
    site.passes("vm1", "data", &["vm2", NIC])?;
    site.lan.finish()
}

#[test]
fn root_each_vlan_is_asked_with_its_tag_and_has_groups_of_its_own() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    for (name, mac) in VMS {
        lan.vm(name, mac, if name == "vm3" { &[] } else { &["--vlan", "access=7"] })?;
    }
    let before = lan.counters()?;
    cli(&lan, QUERIER)?;
    let bare = own_queries(&lan)?;
    let tagged: Vec<_> = bare.iter().map(|query| in_vlan_7(query)).collect();
    let bytes = |queries: &[Vec<u8>]| queries.iter().map(Vec::len).sum::<usize>() as u64;
    let (untagged, both) = (bytes(&bare), bytes(&bare) + bytes(&tagged));
    let mut moved =
        vec![("*".to_owned(), "originated".to_owned(), 4), ("*".to_owned(), "copies".to_owned(), 6)];
    for (port, frames, bytes) in [
        ("vm1", 2, untagged),
        ("vm2", 2, untagged),
        ("vm3", 2, untagged),
        (NIC, 4, both),
        ("*", 10, 3 * untagged + both),
    ] {
        moved.push((port.to_owned(), "tx_frames".to_owned(), frames));
        moved.push((port.to_owned(), "tx_bytes".to_owned(), bytes));
    }
    lan.expect_counters(before, &moved)?;
    for vm in ["vm1", "vm2", "vm3"] {
        lan.settle(vm, &bare)?;
    }
    lan.settle(NIC, &[bare, tagged].concat())?;
    wait_until("all filter", PATIENCE, || Ok(filters(&lan)? == [true; 4]))?;
    let of = |mac, name: &str| -> Result<Vec<u8>> { Ok(frames(mac)?[name].clone()) };
    let join = of(VM2, "join")?;
    lan.run(Round::default().sends("vm2", &join).reaches_as(&in_vlan_7(&join), &[NIC]))?;
    let data = of(VM1, "data")?;
    lan.run(Round::default().sends("vm1", &data).reaches(&["vm2"]).reaches_as(&in_vlan_7(&data), &[NIC]))?;
    let data = of(VM3, "data")?;
    lan.run(Round::default().sends("vm3", &data).reaches(&[NIC]))?;
    lan.finish()
}

/// The frame with a tag of VLAN 7.
fn in_vlan_7(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat()
}

#[test]
fn root_forged_damaged_and_truncated_reports_join_nobody() -> Result<()> {
    let mut site = Site::new("")?;
    let lies: Vec<_> = site.frames["vm1"].keys().filter(|name| name.contains("lie-")).cloned().collect();
    assert_eq!(lies.len(), 10);
    for lie in lies {
        let to = if lie.starts_with("local") { others("vm1") } else { vec![NIC] };
        site.passes("vm1", &lie, &to)?;
    }
    assert_eq!(joined(&site.lan)?, []);
    site.passes("vm2", "unwanted", &[NIC])?;
    site.passes("vm2", "unwanted6", &[NIC])?;
    site.lan.finish()
}

#[test]
fn root_reports_with_hundreds_of_groups_are_heard_to_the_last_one() -> Result<()> {
    let mut lan = Lan::in_world(&jumbo(), &["--external", NIC, "--no-host"])?;
    lan.watch_uplink()?;
    let mut site = Site::on(lan, "")?;
    for (name, groups) in [("long", 250), ("long6", 500)] {
        site.passes("vm1", name, &[NIC])?;
        assert_eq!(joined(&site.lan)?.len(), groups);
    }
    // The last group of each, and none that is in neither.
    site.passes("vm2", "last", &["vm1", NIC])?;
    site.passes("vm2", "last6", &["vm1", NIC])?;
    site.passes("vm2", "unwanted", &[NIC])?;
    site.passes("vm2", "unwanted6", &[NIC])?;
    site.passes("vm3", "damaged", &[NIC])?;
    assert_eq!(joined(&site.lan)?.len(), 500, "what is damaged is not believed");
    site.lan.finish()
}

fn jumbo() -> WorldOptions {
    WorldOptions { mtu: 9000, host_addresses: false, ..WorldOptions::default() }
}

#[test]
fn root_a_vm_with_a_router_guard_is_no_router() -> Result<()> {
    let mut site = Site::new("--uplink-router off")?;
    cli(&site.lan, "port set lan/vm3 --router-guard on")?;
    site.passes("vm3", "router4", &others("vm3"))?;
    site.stops("vm1", "unwanted", "no_listener")?;
    site.lan.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
