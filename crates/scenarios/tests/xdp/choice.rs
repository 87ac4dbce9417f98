//! `--io`: what is chosen, what is told of it, and what is refused.

use crate::stage::Stage;
use crate::state::{PATIENCE, Site};
use anyhow::{Result, ensure};
use lab::{Daemon, NIC, NIC_MAC, Namespace, World};
use serde_json::{Value, json};
use std::process::Command;

const LOCAL_PEER: &str =
    "its other end is this host or a VMM and no wire, where AF_PACKET carries TCP several times as fast";
const NO_ZERO_COPY: &str = "its driver has no zero-copy";

/// How frames pass the uplink, as told of its port and of its switch.
fn io(daemon: &Daemon) -> Result<Value> {
    let port = daemon.cli_json(&["port", "show", "lan/nic0"])?;
    let switch = daemon.cli_json(&["switch", "show", "lan"])?;
    ensure!(port["io"] == switch["io"], "{port}\n{switch}");
    Ok(port["io"].clone())
}

fn by_packet(why: &str) -> Value {
    json!({ "mode": "af-packet", "why": why })
}

fn by_native_copy() -> Value {
    let refused = json!([{ "mode": "af-xdp-zero-copy", "why": NO_ZERO_COPY }]);
    json!({ "mode": "af-xdp-native-copy", "why": "asked for", "refused": refused })
}

/// True where an XDP program is on the interface.
fn has_program(host: &Namespace, dev: &str) -> Result<bool> {
    Ok(host.ip_json(&format!("link show dev {dev}"))?[0]["xdp"].is_object())
}

#[test]
fn root_a_veth_is_left_to_af_packet_unless_af_xdp_is_asked_for() -> Result<()> {
    let site = Site::new()?;
    for (choice, told, program) in [
        (&[][..], by_packet(LOCAL_PEER), false),
        (&["--io", "auto"], by_packet(LOCAL_PEER), false),
        (&["--io", "af-packet"], by_packet("asked for"), false),
        (&["--io", "af-xdp"], by_native_copy(), true),
    ] {
        site.add_switch(choice)?;
        assert_eq!((io(&site.daemon)?, has_program(&site.world.host, NIC)?), (told, program), "{choice:?}");
        site.expect_bound()?;
        site.remove_switch()?;
        assert!(!has_program(&site.world.host, NIC)?);
    }
    Ok(())
}

#[test]
fn root_people_are_told_how_frames_pass_and_why_not_better() -> Result<()> {
    let world = World::new()?;
    let daemon = Daemon::start(&world.host)?;
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC, "--io", "af-xdp"])?;
    for show in [["port", "show", "lan/nic0"], ["switch", "show", "lan"]] {
        let text = daemon.cli_ok(&show)?;
        let mut lines = text.lines().skip_while(|line| !line.starts_with("Frames by:")).map(str::trim);
        let by = lines.next().unwrap_or_default();
        assert!(by.ends_with("AF_XDP, native copy: asked for"), "{text}");
        assert_eq!(lines.next(), Some("not AF_XDP, zero-copy: its driver has no zero-copy"), "{text}");
    }
    Ok(())
}

/// A NIC whose driver takes no program, since it receives on fewer queues than the other end sends on.
fn plug_without_native_xdp(world: &World) -> Result<()> {
    world.unplug(NIC)?;
    let (host, phys) = (world.host.name(), world.phys.name());
    lab::text(
        Command::new("ip")
            .args([
                "link",
                "add",
                NIC,
                "numtxqueues",
                "1",
                "numrxqueues",
                "1",
                "address",
                NIC_MAC,
                "netns",
                host,
            ])
            .args([
                "type",
                "veth",
                "peer",
                "name",
                "p1",
                "numtxqueues",
                "2",
                "numrxqueues",
                "1",
                "netns",
                phys,
            ]),
    )?;
    world.phys.exec(&["ethtool", "-L", "p1", "tx", "2"])?;
    world.phys.ip("link set p1 master sw up")?;
    world.host.ip(&format!("link set {NIC} up"))?;
    world.host.add_address(NIC, &format!("{}/24", lab::HOST_IPV4))?;
    world.host.add_address(NIC, &format!("{}/64", lab::HOST_IPV6))
}

#[test]
fn root_generic_copy_is_taken_where_the_driver_takes_no_program() -> Result<()> {
    let world = World::new()?;
    plug_without_native_xdp(&world)?;
    let site = Site::of(world)?;
    site.add_switch(&["--io", "af-xdp"])?;
    let native = "it receives on fewer queues than its peer sends on; give it as many (ethtool -L)";
    let refused = json!([
        { "mode": "af-xdp-zero-copy", "why": NO_ZERO_COPY },
        { "mode": "af-xdp-native-copy", "why": native },
    ]);
    let told = json!({ "mode": "af-xdp-generic-copy", "why": "asked for", "refused": refused });
    assert_eq!(io(&site.daemon)?, told);
    site.expect_bound()?;
    site.daemon.cli_ok(&["switch", "set", "lan", "--io", "auto"])?;
    assert_eq!(io(&site.daemon)?, by_packet(LOCAL_PEER));
    site.remove_switch()
}

/// Puts somebody else's program on the NIC: it lets all frames pass.
fn attach_other_program(host: &Namespace) -> Result<()> {
    let dir = lab::temp_dir()?;
    let (source, object) = (dir.path().join("pass.c"), dir.path().join("pass.o"));
    std::fs::write(&source, "__attribute__((section(\"xdp\"), used)) int pass(void *ctx) { return 2; }\n")?;
    lab::text(
        Command::new("clang").args(["-O2", "-target", "bpf", "-c"]).arg(&source).arg("-o").arg(&object),
    )?;
    host.ip(&format!("link set {NIC} xdp object {} section xdp", object.display())).map(drop)
}

const OTHER_PROGRAM: [&str; 3] = [
    "AF_XDP was asked for and cannot be had",
    "nic0 has another XDP program already (ip link show nic0)",
    "use AF_PACKET. Other choices: --io af-packet, --io auto",
];

#[test]
fn root_af_xdp_that_cannot_be_had_is_refused_and_changes_nothing() -> Result<()> {
    let site = Site::new()?;
    attach_other_program(&site.world.host)?;
    let refusal =
        site.daemon.cli_refused(1, &["switch", "add", "lan", "--external", NIC, "--io", "af-xdp"])?;
    assert!(OTHER_PROGRAM.iter().all(|part| refusal.contains(part)), "{refusal}");
    site.expect_gone()?;
    assert!(has_program(&site.world.host, NIC)?, "the other program is gone");
    site.daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    site.world.host.ip(&format!("addr flush dev {NIC}"))?;
    let refusal =
        site.daemon.cli_refused(1, &["port", "add", "lab", "wan", "--netdev", NIC, "--io", "af-xdp"])?;
    assert!(OTHER_PROGRAM.iter().all(|part| refusal.contains(part)), "{refusal}");
    assert_eq!(site.daemon.cli_json(&["port", "list", "lab"])?, json!([]));
    Ok(())
}

#[test]
fn root_a_switch_of_io_that_cannot_be_had_disturbs_no_frame() -> Result<()> {
    let stage = Stage::new()?;
    attach_other_program(&stage.world.host)?;
    stage.undisturbed_by(|| {
        let refusal = stage.daemon.cli_refused(1, &["switch", "set", "lan", "--io", "af-xdp"])?;
        ensure!(OTHER_PROGRAM.iter().all(|part| refusal.contains(part)), "{refusal}");
        Ok(())
    })?;
    assert_eq!(io(&stage.daemon)?, by_packet(LOCAL_PEER));
    assert_eq!(stage.port(NIC)?["config"].get("io"), None);
    stage.expect_reach()?;
    stage.end()
}

#[test]
fn root_where_there_is_no_choice_of_io_it_is_refused() -> Result<()> {
    let world = World::new()?;
    let daemon = Daemon::start(&world.host)?;
    daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    let refused = daemon.cli_refused(1, &["switch", "set", "lab", "--io", "af-xdp"])?;
    assert!(refused.contains("switch 'lab' has no uplink"), "{refused}");
    daemon.cli_ok(&["port", "add", "lab", "vm", "--tap", "tap1"])?;
    let refused = daemon.cli_refused(1, &["port", "set", "lab/vm", "--io", "af-xdp"])?;
    assert!(refused.contains("port 'vm' is attached to tap and has no choice of io 'af-xdp'"), "{refused}");
    daemon.cli_refused(2, &["port", "add", "lab", "vm2", "--tap", "tap2", "--io", "af-xdp"])?;
    daemon.cli_refused(2, &["switch", "add", "lan", "--internal", "--io", "af-xdp"]).map(drop)
}

#[test]
fn root_auto_goes_by_who_cuts_segments_and_tells_what_could_not_be_had() -> Result<()> {
    let world = World::new()?;
    // Its driver tells of no other end on this host, and runs no XDP programs.
    world.host.ip("link add ifb9 type ifb")?;
    let daemon = Daemon::start(&world.host)?;
    daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
    let io_of = |tso: &str| -> Result<Value> {
        world.host.exec(&["ethtool", "-K", "ifb9", "tso", tso])?;
        daemon.cli_ok(&["port", "add", "lab", "wan", "--netdev", "ifb9"])?;
        let port = daemon.cli_json(&["port", "show", "lab/wan"])?;
        daemon.cli_ok(&["port", "remove", "lab/wan"])?;
        Ok(port["io"].clone())
    };
    let zero_copy = json!({ "mode": "af-xdp-zero-copy", "why": NO_ZERO_COPY });
    let driver = "its driver runs no XDP programs, or not with its present offloads";
    let native = json!({ "mode": "af-xdp-native-copy", "why": driver });
    let why = "it cuts segments itself, where AF_XDP is faster with zero-copy only";
    assert_eq!(io_of("on")?, json!({ "mode": "af-packet", "why": why, "refused": [zero_copy] }));
    let why = "it does not cut segments itself, where AF_XDP is faster with zero-copy and native copy";
    assert_eq!(io_of("off")?, json!({ "mode": "af-packet", "why": why, "refused": [zero_copy, native] }));
    Ok(())
}

#[test]
fn root_a_netdev_by_af_xdp_passes_frames_and_can_be_changed() -> Result<()> {
    let (stage, other) = (Stage::new()?, Namespace::new("other")?);
    other.disable_ipv6()?;
    let host = stage.world.host.name();
    lab::text(
        Command::new("ip")
            .args(["link", "add", "ext0", "netns", host, "type", "veth", "peer", "name", "eth0"])
            .args(["netns", other.name()]),
    )?;
    crate::stage::set_up_vm(&other, "10.9.0.53")?;
    let add = ["port", "add", "lan", "ext", "--netdev", "ext0", "--guard", "off", "--io", "af-xdp"];
    stage.daemon.cli_ok(&add)?;
    for io in ["af-xdp", "af-packet", "auto", "af-xdp"] {
        stage.daemon.cli_ok(&["port", "set", "lan/ext", "--io", io])?;
        let xdp = io == "af-xdp";
        assert_eq!(stage.port("ext")?["io"]["mode"] == "af-xdp-native-copy", xdp, "{io}");
        assert_eq!(has_program(&stage.world.host, "ext0")?, xdp, "{io}");
        other.wait_ping(crate::stage::VM1.0, PATIENCE)?;
    }
    stage.daemon.cli_ok(&["port", "remove", "lan/ext"])?;
    assert!(!has_program(&stage.world.host, "ext0")?);
    stage.world.host.ip("link del ext0")?;
    stage.end()
}
