//! VLANs: who reaches whom, with which tag, and the ways into a VLAN that are closed.

use crate::lan::{Lan, NOBODY, OUTSIDE, TRUNK, VM1, VM2, VM3};
use crate::round::Round;
use anyhow::{Context, Result, ensure};
use lab::NIC;
use lab::frames::{self, EXPERIMENT, mac, tagged, tagged_as};

const VM4: &str = "02:00:00:00:00:04";
const ALL: &str = "ff:ff:ff:ff:ff:ff";

fn frame(to: &str, from: &str) -> Vec<u8> {
    frames::of_length(mac(to), mac(from), EXPERIMENT, 100)
}

/// Two VMs in VLAN 10, one in VLAN 20, one in none.
fn lan_with_access_ports() -> Result<Lan> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("ten", VM1, &["--vlan", "access=10"])?;
    lan.vm("ten2", VM2, &["--vlan", "access=10"])?;
    lan.vm("twenty", VM3, &["--vlan", "access=20"])?;
    lan.vm("none", VM4, &[])?;
    Ok(lan)
}

#[test]
fn root_an_access_port_has_its_vlan_tagged_outside_and_untagged_inside() -> Result<()> {
    let mut lan = lan_with_access_ports()?;
    let out = frame(NOBODY, VM1);
    let everybody = frame(ALL, VM1);
    lan.run(
        Round::default()
            .sends("ten", &out)
            .reaches_as(&tagged(&out, 0, 10), &[NIC])
            .sends("ten", &frame(VM2, VM1))
            .reaches(&["ten2"])
            .sends("ten", &everybody)
            .reaches(&["ten2"])
            .reaches_as(&tagged(&everybody, 0, 10), &[NIC]),
    )?;
    let (come_in, to_all) = (frame(VM1, OUTSIDE), frame(ALL, OUTSIDE));
    lan.run(
        Round::default()
            .sends(NIC, &tagged(&come_in, 0, 10))
            .reaches_as(&come_in, &["ten"])
            .sends(NIC, &tagged(&to_all, 5, 10))
            .reaches_as(&to_all, &["ten", "ten2"])
            .sends(NIC, &tagged(&to_all, 0, 20))
            .reaches_as(&to_all, &["twenty"])
            .sends(NIC, &to_all)
            .reaches(&["none"]),
    )?;
    lan.finish()
}

#[test]
fn root_vlans_do_not_reach_each_other() -> Result<()> {
    let mut lan = lan_with_access_ports()?;
    // Known in another VLAN is unknown here: it may be outside.
    let (across, plain) = (frame(VM3, VM1), frame(VM1, VM4));
    lan.run(
        Round::default()
            .sends("ten", &across)
            .reaches_as(&tagged(&across, 0, 10), &[NIC])
            .sends("none", &plain)
            .reaches(&[NIC])
            .sends(NIC, &tagged(&frame(VM3, OUTSIDE), 0, 10))
            .drops(NIC, "no_destination")
            .sends(NIC, &frame(VM1, OUTSIDE))
            .drops(NIC, "no_destination")
            .sends(NIC, &tagged(&frame(ALL, OUTSIDE), 0, 30))
            .drops(NIC, "no_destination"),
    )?;
    lan.finish()
}

#[test]
fn root_addresses_are_learned_per_vlan() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    let open = ["--guard", "off", "--vlan"];
    lan.vm("ten", VM1, &[&open[..], &["access=10"]].concat())?;
    lan.vm("twenty", VM2, &[&open[..], &["access=20"]].concat())?;
    // The same address in two VLANs at two places.
    let (hello, answer) = (frame(ALL, OUTSIDE), frame(OUTSIDE, NOBODY));
    lan.run(
        Round::default()
            .sends("ten", &hello)
            .reaches_as(&tagged(&hello, 0, 10), &[NIC])
            .sends(NIC, &tagged(&hello, 0, 20))
            .reaches_as(&hello, &["twenty"])
            .sends(NIC, &tagged(&answer, 0, 10))
            .reaches_as(&answer, &["ten"])
            .sends("twenty", &answer)
            .reaches_as(&tagged(&answer, 0, 20), &[NIC]),
    )?;
    let listed = lan.daemon.cli_json(&["mac", "list", "lan"])?;
    let mut places: Vec<_> = listed
        .as_array()
        .context("a list")?
        .iter()
        .filter(|entry| entry["mac"] == OUTSIDE)
        .map(|entry| format!("{} {}", entry["vlan"], entry["port"].as_str().unwrap_or_default()))
        .collect();
    places.sort();
    assert_eq!(places, ["10 ten".to_owned(), format!("20 {NIC}")]);
    lan.finish()
}

#[test]
fn root_a_trunk_passes_its_vlans_with_tags_and_its_native_one_without_and_pruned_ones_never() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    let trunk = ["--vlan", "trunk=10-30", "--native-vlan", "10", "--prune-vlans", "25"];
    lan.vm("trunk", VM1, &trunk)?;
    lan.vm("ten", VM2, &["--vlan", "access=10"])?;
    lan.vm("twenty", VM3, &["--vlan", "access=20"])?;
    let (native, other, outside) = (frame(ALL, VM1), frame(VM3, VM1), frame(VM1, OUTSIDE));
    lan.run(
        Round::default()
            .sends("trunk", &native)
            .reaches(&["ten"])
            .reaches_as(&tagged(&native, 0, 10), &[NIC])
            .sends("trunk", &tagged(&other, 0, 20))
            .reaches_as(&other, &["twenty"])
            .sends("twenty", &frame(VM1, VM3))
            .reaches_as(&tagged(&frame(VM1, VM3), 0, 20), &["trunk"])
            .sends("ten", &frame(VM1, VM2))
            .reaches(&["trunk"])
            .sends(NIC, &tagged(&outside, 0, 10))
            .reaches_as(&outside, &["trunk"])
            .sends(NIC, &tagged(&outside, 0, 30))
            .reaches(&["trunk"]),
    )?;
    lan.run(
        Round::default()
            .sends("trunk", &tagged(&native, 0, 25))
            .drops("trunk", "vlan_not_allowed")
            .sends("trunk", &tagged(&native, 0, 9))
            .drops("trunk", "vlan_not_allowed")
            .sends(NIC, &tagged(&outside, 0, 25))
            .drops(NIC, "no_destination")
            .sends(NIC, &tagged(&outside, 0, 31))
            .drops(NIC, "no_destination"),
    )?;
    lan.finish()
}

/// The known ways of getting into a VLAN that one is not in.
#[test]
fn root_nobody_tags_himself_into_a_vlan() -> Result<()> {
    let mut lan = lan_with_access_ports()?;
    lan.vm("trunk", "02:00:00:00:00:05", &["--vlan", "trunk=10,20", "--native-vlan", "10"])?;
    let (mine, none) = (frame(ALL, VM1), frame(ALL, VM4));
    let trunks = frame(ALL, "02:00:00:00:00:05");
    let refused =
        |round: Round, from: &str, frame: &[u8], reason| round.sends(from, frame).drops(from, reason);
    let mut round = Round::default();
    for (from, frame) in [("ten", &mine), ("none", &none)] {
        for vlan in [1, 10, 20, 4094, 4095] {
            round = refused(round, from, &tagged(frame, 0, vlan), "vlan_not_allowed");
        }
        round = refused(round, from, &tagged(&tagged(frame, 0, 20), 0, 10), "vlan_not_allowed");
        round = refused(round, from, &tagged(&tagged(frame, 0, 20), 0, 0), "double_tag");
    }
    round = refused(round, "none", &tagged_as(0x88a8, &none, 0, 20), "vlan_not_allowed");
    round = refused(round, "none", &tagged(&tagged_as(0x88a8, &none, 0, 20), 0, 0), "vlan_not_allowed");
    round = refused(round, "trunk", &tagged(&trunks, 0, 4095), "vlan_not_allowed");
    lan.run(refused(round, NIC, &tagged(&frame(ALL, OUTSIDE), 0, 4095), "vlan_not_allowed"))?;

    // The tag behind the first one is cargo, and does not become a tag by the native VLAN's being without one.
    let (inner, outer) = (tagged(&trunks, 0, 20), tagged(&tagged(&trunks, 0, 20), 0, 10));
    let for_trunk = frame("02:00:00:00:00:05", OUTSIDE);
    let [customers, services] =
        [0x8100, 0x88a8].map(|tpid| tagged(&tagged_as(tpid, &for_trunk, 0, 20), 0, 10));
    lan.run(
        Round::default()
            .sends("trunk", &outer)
            .reaches(&[NIC])
            .reaches_as(&inner, &["ten", "ten2"])
            .sends(NIC, &customers)
            .drops("trunk", "double_tag")
            .sends(NIC, &services)
            .drops("trunk", "double_tag"),
    )?;
    lan.finish()
}

#[test]
fn root_service_tags_pass_whole_inside_of_a_vlan() -> Result<()> {
    let mut lan = lan_with_access_ports()?;
    let service = tagged_as(0x88a8, &tagged(&frame(ALL, VM1), 3, 7), 1, 200);
    lan.run(
        Round::default()
            .sends("ten", &service)
            .reaches(&["ten2"])
            .reaches_as(&tagged(&service, 0, 10), &[NIC]),
    )?;
    // A trunk of some VLANs without native one has them in the VLANs of its tags only; one of all is kept from nothing.
    lan.vm("trunk", "02:00:00:00:00:05", &["--vlan", "trunk=10,30"])?;
    lan.vm("all", "02:00:00:00:00:06", TRUNK)?;
    let trunks = tagged_as(0x88a8, &frame(NOBODY, "02:00:00:00:00:05"), 1, 200);
    lan.run(
        Round::default()
            .sends("trunk", &tagged(&trunks, 0, 30))
            .reaches(&[NIC])
            .sends("trunk", &trunks)
            .drops("trunk", "vlan_not_allowed")
            .sends("trunk", &tagged(&trunks, 0, 0))
            .drops("trunk", "vlan_not_allowed")
            .sends("all", &tagged_as(0x88a8, &frame(NOBODY, "02:00:00:00:00:06"), 1, 200))
            .reaches(&[NIC]),
    )?;
    lan.finish()
}

#[test]
fn root_priorities_are_reset_unless_both_sides_are_trusted() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("trusted", VM1, TRUNK)?;
    lan.vm("trunk", VM2, &["--vlan", "trunk=all"])?;
    lan.vm("access", VM3, &["--vlan", "access=10", "--trust-priority", "on"])?;
    let of = |from| frame(NOBODY, from);
    lan.run(
        Round::default()
            .sends("trusted", &tagged(&of(VM1), 5, 10))
            .reaches(&[NIC])
            .sends("trusted", &tagged(&of(VM1), 5, 0))
            .reaches(&[NIC])
            .sends("trunk", &tagged(&of(VM2), 5, 10))
            .reaches_as(&tagged(&of(VM2), 0, 10), &[NIC])
            .sends("trunk", &tagged(&of(VM2), 5, 0))
            .reaches_as(&of(VM2), &[NIC])
            // The bit that lets a frame be dropped first goes with the priority.
            .sends("trunk", &tagged(&of(VM2), 5, 0x100a))
            .reaches_as(&tagged(&of(VM2), 0, 10), &[NIC])
            .sends("access", &tagged(&of(VM3), 5, 0))
            .reaches_as(&tagged(&of(VM3), 5, 10), &[NIC]),
    )?;
    let to = |to| frame(to, OUTSIDE);
    lan.run(
        Round::default()
            .sends(NIC, &tagged(&to(VM1), 6, 10))
            .reaches(&["trusted"])
            .sends(NIC, &tagged(&to(VM2), 6, 10))
            .reaches_as(&tagged(&to(VM2), 0, 10), &["trunk"])
            .sends(NIC, &tagged(&to(VM2), 6, 0))
            .reaches_as(&to(VM2), &["trunk"])
            .sends(NIC, &tagged(&to(VM3), 6, 10))
            .reaches_as(&tagged(&to(VM3), 6, 0), &["access"]),
    )?;
    lan.finish()
}

#[test]
fn root_the_mac_of_a_guarded_trunk_is_its_own_in_every_vlan_it_has() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("trunk", VM1, &["--vlan", "trunk=10,20"])?;
    lan.vm("open", VM2, &["--vlan", "access=10", "--guard", "off"])?;
    let claims = |vlan| tagged(&frame(ALL, VM1), 0, vlan);
    let elsewhere = frame(VM2, VM1);
    lan.run(
        Round::default()
            .sends(NIC, &claims(20))
            .drops(NIC, "mac_pinned_elsewhere")
            .sends("open", &elsewhere)
            .drops("open", "mac_pinned_elsewhere")
            // In a VLAN that the trunk does not have, it is anybody's.
            .sends(NIC, &claims(30))
            .drops(NIC, "no_destination"),
    )?;
    let listed = lan.daemon.cli_json(&["mac", "list", "lan"])?;
    let pinned = listed.as_array().into_iter().flatten().find(|entry| entry["kind"] == "pinned");
    let vlan = pinned.map(|entry| entry["vlan"].is_null());
    ensure!(vlan == Some(true), "{listed}");
    lan.finish()
}

#[test]
fn root_a_port_changes_its_vlan_at_work_and_nothing_learned_stays_behind() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &["--guard", "off"])?;
    lan.vm("vm2", VM2, &["--guard", "off"])?;
    let hello = frame(ALL, VM1);
    lan.run(Round::default().sends("vm1", &hello).reaches(&[NIC, "vm2"]))?;
    lan.daemon.cli_ok(&["port", "set", "lan/vm1", "--vlan", "access=10"])?;
    ensure!(lan.learned(VM1)?.is_none(), "still learned where it was");
    lan.run(
        Round::default()
            .sends("vm1", &hello)
            .reaches_as(&tagged(&hello, 0, 10), &[NIC])
            .sends("vm2", &frame(VM1, VM2))
            .reaches(&[NIC]),
    )?;
    let shown = lan.daemon.cli_ok(&["port", "show", "lan/vm1"])?;
    ensure!(shown.contains("VLAN:              access=10"), "{shown}");
    lan.finish()
}
