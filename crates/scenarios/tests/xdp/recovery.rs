//! An AF_XDP uplink whose NIC, daemon or configuration changes while it is at work.

use crate::stage::{PATIENCE, Stage};
use crate::state::{Site, settings};
use crate::stream::Stream;
use anyhow::{Result, ensure};
use lab::frames::{EXPERIMENT, mac, of_length};
use lab::{Daemon, FAR_IPV4, FAR_MAC, NIC, NIC_MAC, Namespace, RawSender, Snapshot, World};
use std::time::Duration;

fn by_xdp() -> Result<Stage> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["switch", "set", "lan", "--io", "af-xdp"])?;
    expect_xdp(&stage.daemon)?;
    stage.expect_reach()?;
    Ok(stage)
}

fn expect_xdp(daemon: &Daemon) -> Result<()> {
    let port = daemon.cli_json(&["port", "show", "lan/nic0"])?;
    ensure!(port["io"]["mode"] == "af-xdp-native-copy" && port["state"] == "up", "{port}");
    Ok(())
}

fn takes_vlan_tags_out(host: &Namespace) -> Result<bool> {
    Ok(host.exec(&["ethtool", "-k", NIC])?.contains("rx-vlan-offload: on"))
}

#[test]
fn root_an_af_xdp_nic_that_is_switched_off_and_on_disturbs_nobody_else() -> Result<()> {
    let stage = by_xdp()?;
    for _ in 0..2 {
        stage.switch_nic_off_and_on(|| {
            ensure!(stage.port(NIC)?.get("io").is_none(), "a NIC that is off is said to pass frames");
            Ok(())
        })?;
        expect_xdp(&stage.daemon)?;
        stage.expect_reach()?;
    }
    stage.end()
}

#[test]
fn root_an_af_xdp_nic_whose_cable_is_cut_and_mended_goes_on() -> Result<()> {
    let stage = by_xdp()?;
    stage.cut_and_mend_cable()?;
    expect_xdp(&stage.daemon)?;
    stage.expect_reach()?;
    stage.end()
}

#[test]
fn root_an_af_xdp_nic_that_is_pulled_out_and_put_in_again() -> Result<()> {
    let stage = by_xdp()?;
    for _ in 0..2 {
        stage.pull_nic_out_and_put_it_in(|| stage.expect_up("host"))?;
        stage.expect_reach()?;
        expect_xdp(&stage.daemon)?;
    }
    // Once at first and once for each time it came back: it does not come and go, also after some looks of the watch.
    std::thread::sleep(Duration::from_millis(700));
    let ups = stage.daemon.log().matches("port: \"nic0\", state: Up").count();
    ensure!(ups == 3, "up {ups} times:\n{}", stage.daemon.log());
    stage.end()
}

#[test]
fn root_a_host_vnic_that_somebody_removes_beside_an_af_xdp_nic_is_made_again() -> Result<()> {
    let stage = by_xdp()?;
    stage.world.host.ip("link del lan")?;
    lab::wait_until("new host vNIC", PATIENCE, || Ok(stage.world.host.ip("link show dev lan").is_ok()))?;
    stage.wait_up("host")?;
    expect_xdp(&stage.daemon)?;
    stage.expect_reach()?;
    stage.end()
}

#[test]
fn root_a_killed_daemon_leaves_the_host_off_its_af_xdp_nic_and_the_next_takes_it_up() -> Result<()> {
    let (mut site, vm) = (Site::new()?, Namespace::new("vm")?);
    assert!(takes_vlan_tags_out(&site.world.host)?);
    site.add_switch(&["--io", "af-xdp"])?;
    site.daemon.cli_ok(&["port", "add", "lan", "vm", "--netns", vm.name()])?;
    vm.add_address("eth0", "10.9.0.50/24")?;
    let mut stream = Stream::start(&site.world.host, &site.world.far, FAR_IPV4, 7000)?;
    for _ in 0..2 {
        stream.wait_for_more(2_000_000)?;
        site.daemon.kill9()?;
        expect_deaf(&site.world)?;
        site.daemon.launch()?;
        expect_xdp(&site.daemon)?;
        stream.wait_for_more(4_000_000)?;
        vm.wait_ping(FAR_IPV4, PATIENCE)?;
        site.expect_bound()?;
    }
    stream.finish()?;
    site.daemon.kill9()?;
    site.daemon.launch()?;
    Snapshot::take(&site.daemon, "lan")?;
    site.daemon.cli_ok(&["switch", "remove", "lan"])?;
    assert!(takes_vlan_tags_out(&site.world.host)?, "what AF_XDP changed on the NIC was not put back");
    vm.wait_empty()?;
    site.expect_gone()
}

/// Frames for the host that come in by the NIC reach nobody, though no program takes them any more.
fn expect_deaf(world: &World) -> Result<()> {
    lab::wait_until("end of the program", PATIENCE, || {
        Ok(!world.host.ip_json(&format!("link show dev {NIC}"))?[0]["xdp"].is_object())
    })?;
    let count = || -> Result<u64> {
        let shown = world.host.exec(&["tc", "-s", "-j", "qdisc", "show", "dev", NIC])?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        let clsact = shown.as_array().into_iter().flatten().find(|qdisc| qdisc["kind"] == "clsact");
        clsact.and_then(|qdisc| qdisc["drops"].as_u64()).ok_or_else(|| anyhow::anyhow!("{shown}"))
    };
    let before = count()?;
    let mut sender = RawSender::open(&world.phys, "p1")?;
    (0..10).try_for_each(|_| sender.send(&of_length(mac(NIC_MAC), mac(FAR_MAC), EXPERIMENT, 60)))?;
    lab::wait_until("frames dropped at the NIC's ingress", PATIENCE, || Ok(count()? >= before + 10))
}

#[test]
fn root_io_is_switched_at_work_without_losing_an_address_or_a_connection() -> Result<()> {
    let site = Site::new()?;
    site.add_switch(&[])?;
    let at_work = settings(&site.world.host, "lan")?;
    let index = site.world.host.ip_json("link show dev lan")?[0]["ifindex"].clone();
    let mut stream = Stream::start(&site.world.host, &site.world.far, FAR_IPV4, 7000)?;
    for io in ["af-xdp", "af-packet", "af-xdp", "auto", "af-packet", "auto", "af-xdp"] {
        site.daemon.cli_ok(&["switch", "set", "lan", "--io", io])?;
        ensure!(settings(&site.world.host, "lan")? == at_work, "the host vNIC has other settings");
        stream.wait_for_more(1_000_000)?;
        assert_eq!(takes_vlan_tags_out(&site.world.host)?, io != "af-xdp", "{io}");
    }
    stream.finish()?;
    expect_xdp(&site.daemon)?;
    ensure!(
        site.world.host.ip_json("link show dev lan")?[0]["ifindex"] == index,
        "the host vNIC was made anew"
    );
    site.expect_bound()?;
    Snapshot::take(&site.daemon, "lan")?;
    site.daemon.cli_ok(&["switch", "remove", "lan"])?;
    assert!(takes_vlan_tags_out(&site.world.host)?);
    site.expect_gone()
}

#[test]
fn root_a_switch_with_an_af_xdp_uplink_converts_and_back() -> Result<()> {
    let stage = by_xdp()?;
    stage.daemon.cli_ok(&["switch", "set", "lan", "--internal"])?;
    let link = stage.world.host.ip_json(&format!("link show dev {NIC}"))?;
    ensure!(!link[0]["xdp"].is_object(), "{link}");
    stage.world.host.wait_ping(FAR_IPV4, PATIENCE)?;
    stage.daemon.cli_ok(&["switch", "set", "lan", "--external", NIC, "--io", "af-xdp"])?;
    expect_xdp(&stage.daemon)?;
    stage.expect_reach()?;
    // The same NIC named again keeps what was chosen for it.
    stage.daemon.cli_ok(&["switch", "set", "lan", "--external", NIC, "--ageing", "10m"])?;
    expect_xdp(&stage.daemon)?;
    stage.end()
}

#[test]
fn root_queues_that_are_added_to_an_af_xdp_nic_are_served() -> Result<()> {
    let stage = by_xdp()?;
    stage.world.unplug(NIC)?;
    stage.wait_down(NIC, "not there")?;
    let (host, phys, queues) =
        (stage.world.host.name(), stage.world.phys.name(), ["numtxqueues", "3", "numrxqueues", "3"]);
    lab::text(
        std::process::Command::new("ip")
            .args(["link", "add", "spare"])
            .args(queues)
            .args(["address", NIC_MAC, "netns", host, "type", "veth", "peer", "name", "p1"])
            .args(queues)
            .args(["netns", phys]),
    )?;
    stage.world.phys.ip("link set p1 master sw up")?;
    stage.world.phys.exec(&["ethtool", "-L", "p1", "tx", "1"])?;
    stage.world.host.exec(&["ethtool", "-L", "spare", "rx", "1"])?;
    // By its name vmswitchd finds it, and takes it up with the queues that it has then.
    stage.world.host.ip(&format!("link set spare name {NIC}"))?;
    stage.world.host.ip(&format!("link set {NIC} up"))?;
    stage.wait_up(NIC)?;
    for number in ["2", "3"] {
        stage.world.host.exec(&["ethtool", "-L", NIC, "rx", number])?;
        lab::wait_until("AF_XDP on all queues", PATIENCE, || Ok(expect_xdp(&stage.daemon).is_ok()))?;
        stage.expect_reach()?;
    }
    stage.end()
}

#[test]
fn root_a_forced_af_xdp_that_cannot_be_had_after_a_boot_is_tried_in_growing_pauses_without_a_host_vnic()
-> Result<()> {
    let mut site = Site::new()?;
    site.add_switch(&["--io", "af-xdp"])?;
    site.daemon.kill9()?;
    site.reboot()?;
    let argv = ["python3", "-c", include_str!("holds_queue.py"), NIC];
    let mut holder = site.world.host.spawn(&argv, &site.daemon.scratch().join("holder"))?;
    holder.wait_for_log("bound", PATIENCE)?;
    site.daemon.launch()?;
    let first = next_index(&site.world.host)?;
    lab::wait_until("five attempts", PATIENCE, || Ok(pauses(&site.daemon).len() == 5))?;
    ensure!(pauses(&site.daemon) == ["250ms", "500ms", "1s", "2s", "4s"], "{:?}", pauses(&site.daemon));
    ensure!(next_index(&site.world.host)? == first + 1, "an interface was made for an attempt");
    let port = site.daemon.cli_json(&["port", "show", "lan/nic0"])?;
    let reason = port["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("another program's AF_XDP socket"), "{port}");
    // Until then the NIC is the host's.
    site.world.host.ping(FAR_IPV4)?;
    holder.kill()?;
    lab::wait_until("AF_XDP", PATIENCE, || Ok(expect_xdp(&site.daemon).is_ok()))?;
    site.expect_bound()?;
    site.daemon.cli_ok(&["switch", "remove", "lan"])?;
    ensure!(takes_vlan_tags_out(&site.world.host)?);
    site.expect_gone()
}

/// How long the daemon said each time that it would wait.
fn pauses(daemon: &Daemon) -> Vec<String> {
    let said = daemon.log();
    let pause = |line: &str| Some(line.split_once("it is tried again in ")?.1.split(' ').next()?.to_owned());
    said.lines().filter_map(pause).collect()
}

/// Numbers are given to interfaces one after the other.
fn next_index(namespace: &Namespace) -> Result<u64> {
    namespace.ip("link add probe type bridge")?;
    let index = namespace.ip_json("link show dev probe")?[0]["ifindex"].as_u64();
    namespace.ip("link del probe")?;
    index.ok_or_else(|| anyhow::anyhow!("no number"))
}
