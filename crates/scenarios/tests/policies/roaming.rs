//! Guards that let more in than the port's own MAC: VRRP, learning N, teams.

use crate::lan::{Lan, NOBODY, OUTSIDE, VM1, VM2, VM3, frame};
use crate::round::Round;
use anyhow::Result;
use lab::{NIC, Namespace, RawSender, wait_until};
use serde_json::json;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

const ROUTER: &str = "00:00:5e:00:01:07";
const EVERYBODY: &str = "ff:ff:ff:ff:ff:ff";
/// Addresses behind a VM.
const INNER: [&str; 3] = ["06:00:00:00:00:01", "06:00:00:00:00:02", "06:00:00:00:00:03"];

fn entry(mac: &str, port: &str, kind: &str) -> (String, String, String) {
    (mac.into(), port.into(), kind.into())
}

/// A switch without host, on the NIC, with two VMs of which both let `also` in, and a third one.
fn lan(also: &[&str]) -> Result<Lan> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, also)?;
    lan.vm("vm2", VM2, also)?;
    lan.vm("vm3", VM3, &[])?;
    Ok(lan)
}

#[test]
fn root_a_virtual_router_moves_to_the_port_that_sent_last_and_outside_sees_it() -> Result<()> {
    let mut lan = lan(&["--guard-vrrp", "on"])?;
    for (from, others) in [("vm1", [NIC, "vm2", "vm3"]), ("vm2", [NIC, "vm1", "vm3"])] {
        lan.run(
            Round::default()
                .sends(from, &frame(EVERYBODY, ROUTER))
                .reaches(&others)
                .sends("vm3", &frame(ROUTER, VM3))
                .reaches(&[from])
                .sends("vm3", &frame(NOBODY, ROUTER))
                .drops("vm3", "spoofed_mac")
                .sends(from, &frame(NOBODY, NOBODY))
                .drops(from, "spoofed_mac"),
        )?;
        assert_eq!(lan.learned(ROUTER)?.as_deref(), Some(from));
    }
    lan.finish()
}

#[test]
fn root_the_first_sources_are_bound_to_their_port_and_nobody_else_gets_them() -> Result<()> {
    let mut lan = lan(&["--guard-learn", "2"])?;
    let [first, second, third] = INNER;
    lan.run(
        Round::default()
            .sends("vm1", &frame(NOBODY, first))
            .reaches(&[NIC])
            .sends("vm1", &frame(NOBODY, second))
            .reaches(&[NIC])
            .sends("vm1", &frame(NOBODY, third))
            .drops("vm1", "spoofed_mac")
            .sends("vm1", &frame(NOBODY, VM1))
            .reaches(&[NIC])
            // What is pinned or bound elsewhere is learned by no guard.
            .sends("vm2", &frame(NOBODY, VM3))
            .drops("vm2", "spoofed_mac")
            .sends("vm2", &frame(NOBODY, first))
            .drops("vm2", "spoofed_mac")
            .sends(NIC, &frame(EVERYBODY, first))
            .drops(NIC, "mac_pinned_elsewhere")
            .sends(NIC, &frame(first, OUTSIDE))
            .reaches(&["vm1"]),
    )?;
    let bound = |lan: &Lan| -> Result<Vec<_>> {
        Ok(lan.macs()?.into_iter().filter(|(_, _, kind)| kind == "bound").collect::<Vec<_>>())
    };
    assert_eq!(bound(&lan)?, [entry(first, "vm1", "bound"), entry(second, "vm1", "bound")]);
    let flushed = lan.daemon.cli_json(&["mac", "flush", "lan", "--port", "vm1"])?;
    assert_eq!(flushed, json!({"flushed": 2}));
    lan.run(Round::default().sends("vm1", &frame(NOBODY, third)).reaches(&[NIC]))?;
    assert_eq!(bound(&lan)?, [entry(third, "vm1", "bound")]);
    lan.daemon.cli_ok(&["port", "set", "lan/vm1", "--guard-learn", "0"])?;
    assert_eq!(bound(&lan)?, []);
    lan.run(Round::default().sends("vm1", &frame(NOBODY, third)).drops("vm1", "spoofed_mac"))?;
    lan.finish()
}

#[test]
fn root_what_is_bound_is_let_go_when_its_port_goes_down() -> Result<()> {
    let lan = Lan::external(&["--no-host"])?;
    let (host, vm) = (&lan.world.host, Namespace::new("vm")?);
    host.ip(&format!("link add vm0 type veth peer name eth0 netns {}", vm.name()))?;
    host.ip("link set vm0 up")?;
    vm.disable_ipv6()?;
    vm.ip("link set eth0 up")?;
    lan.daemon.cli_ok(&[
        "port",
        "add",
        "lan",
        "vm",
        "--netdev",
        "vm0",
        "--mac",
        VM3,
        "--guard-learn",
        "1",
    ])?;
    let mut sender = RawSender::open(&vm, "eth0")?;
    // To the port's own MAC, which goes nowhere.
    let mut is_bound_once_sent = |mac: &str| -> Result<()> {
        sender.send(&frame(VM3, mac))?;
        wait_until("bound", PATIENCE, || Ok(lan.macs()?.contains(&entry(mac, "vm", "bound"))))
    };
    is_bound_once_sent(INNER[0])?;
    let bring = |to: &str| -> Result<()> {
        vm.ip(&format!("link set eth0 {to}"))?;
        wait_until(to, PATIENCE, || Ok(lan.daemon.cli_json(&["port", "show", "lan/vm"])?["state"] == to))
    };
    bring("down")?;
    assert_eq!(lan.macs()?, [entry(VM3, "vm", "pinned")]);
    bring("up")?;
    is_bound_once_sent(INNER[1])?;
    lan.daemon.cli_ok(&["port", "remove", "lan/vm"])?;
    host.ip("link del vm0")?;
    lan.finish()
}

/// What a bond in mode active-backup with one MAC for all does in the guest: the active slave sends from the MAC of the first.
#[test]
fn root_a_teams_mac_fails_over_between_two_ports_of_a_vm_and_is_nobody_elses() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1a", VM1, &[])?;
    lan.vm("vm1b", VM2, &["--team-with", "vm1a"])?;
    lan.vm("vm3", VM3, &[])?;
    lan.vm("open", NOBODY, &["--guard", "off"])?;
    for (active, other) in [("vm1a", "vm1b"), ("vm1b", "vm1a"), ("vm1a", "vm1b")] {
        lan.run(
            Round::default()
                .sends(active, &frame(EVERYBODY, VM1))
                .reaches(&[NIC, other, "vm3", "open"])
                .sends(NIC, &frame(VM1, OUTSIDE))
                .reaches(&[active])
                .sends("vm3", &frame(VM1, VM3))
                .reaches(&[active])
                .sends("vm3", &frame(OUTSIDE, VM1))
                .drops("vm3", "spoofed_mac")
                .sends("open", &frame(OUTSIDE, VM1))
                .drops("open", "mac_pinned_elsewhere")
                // One way: the second port's MAC is not the first one's.
                .sends("vm1a", &frame(OUTSIDE, VM2))
                .drops("vm1a", "spoofed_mac"),
        )?;
        assert!(lan.macs()?.contains(&entry(VM1, active, "pinned")), "{:?}", lan.macs()?);
    }
    lan.daemon.cli_ok(&["port", "set", "lan/vm1b", "--team-with", ""])?;
    lan.run(Round::default().sends("vm1b", &frame(OUTSIDE, VM1)).drops("vm1b", "spoofed_mac"))?;
    lan.finish()
}

#[test]
fn root_a_port_that_another_is_in_a_team_with_is_neither_removed_nor_opened() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1a", VM1, &[])?;
    lan.vm("vm1b", VM2, &["--team-with", "vm1a"])?;
    let refused = lan.daemon.cli_refused(1, &["port", "remove", "lan/vm1a"])?;
    assert!(
        refused.contains("change the team first, as with `vmswitch port set lan/vm1b --team-with ''`"),
        "{refused}"
    );
    let refused = lan.daemon.cli_refused(1, &["port", "set", "lan/vm1a", "--guard", "off"])?;
    assert!(refused.contains("whose guard is off"), "{refused}");
    let refused = lan.daemon.cli_refused(1, &["port", "set", "lan/vm1a", "--team-with", NIC])?;
    assert!(refused.contains("which is an uplink"), "{refused}");
    let refused = lan.daemon.cli_refused(1, &["port", "set", &format!("lan/{NIC}"), "--guard-vrrp", "on"])?;
    assert!(refused.contains("is an uplink and has no guard"), "{refused}");
    let shown = lan.daemon.cli_ok(&["port", "show", "lan/vm1b"])?;
    assert!(shown.contains("Also let in:       the MAC of vm1a\n"), "{shown}");
    let export = lan.daemon.cli_ok(&["export"])?;
    assert!(
        export.contains("guard_also = { team_with = [\"vm1a\"] }")
            || export.contains("team_with = [\"vm1a\"]"),
        "{export}"
    );
    lan.finish()
}

#[test]
fn root_explain_says_what_a_guard_does_with_a_source() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &["--team-with", "vm1", "--guard-learn", "1"])?;
    for (source, finding) in [
        (VM1, "the address moves from vm1 to vm2, as they are a team"),
        (INNER[0], "the address is bound to vm2"),
    ] {
        let hex: String = frame(EVERYBODY, source).iter().map(|byte| format!("{byte:02x}")).collect();
        let said = lan.daemon.cli_json(&["explain", "lan/vm2", "--frame", &hex])?;
        let steps = said["steps"].as_array().cloned().unwrap_or_default();
        assert!(steps.contains(&json!({"stage": "guard", "finding": finding})), "{said}");
    }
    lan.finish()
}
