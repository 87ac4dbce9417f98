//! Private VLANs: who reaches whom, here and across the uplink.

use crate::lan::{Lan, OUTSIDE, VM1, VM2, VM3};
use crate::round::Round;
use anyhow::Result;
use lab::NIC;
use lab::frames::{self, EXPERIMENT, mac, tagged};

const ALL: &str = "ff:ff:ff:ff:ff:ff";
/// Port, MAC and mode: two isolated ones, two communities, and a promiscuous port.
const PORTS: [(&str, &str, &str); 6] = [
    ("iso1", VM1, "isolated=100,101"),
    ("iso2", VM2, "isolated=100,101"),
    ("red1", VM3, "community=100,102"),
    ("red2", "02:00:00:00:00:04", "community=100,102"),
    ("blue", "02:00:00:00:00:05", "community=100,103"),
    ("gate", "02:00:00:00:00:06", "promiscuous=100,101-103"),
];

fn frame(to: &str, from: &str) -> Vec<u8> {
    frames::of_length(mac(to), mac(from), EXPERIMENT, 100)
}

fn lan() -> Result<Lan> {
    let mut lan = Lan::external(&["--no-host"])?;
    for (port, mac, mode) in PORTS {
        lan.vm(port, mac, &["--vlan", mode])?;
    }
    Ok(lan)
}

fn mac_of(port: &str) -> &'static str {
    PORTS.iter().find(|(name, ..)| *name == port).map(|(_, mac, _)| *mac).unwrap()
}

fn reaches(from: &str, to: &str) -> bool {
    from == "gate" || to == "gate" || (from.starts_with("red") && to.starts_with("red"))
}

#[test]
fn root_isolated_ports_reach_promiscuous_ones_only_and_communities_their_own_too() -> Result<()> {
    let mut lan = lan()?;
    let mut round = Round::default();
    for (from, source, _) in PORTS {
        for (to, destination, _) in PORTS.iter().filter(|(to, ..)| *to != from) {
            round = round.sends(from, &frame(destination, source));
            round = if reaches(from, to) { round.reaches(&[to]) } else { round.drops(to, "vlan_filtered") };
        }
    }
    lan.run(round)?;
    lan.finish()
}

#[test]
fn root_broadcasts_stay_in_the_private_vlan_and_leave_in_the_vlan_of_their_sender() -> Result<()> {
    let mut lan = lan()?;
    let vlans = [("iso1", 101), ("iso2", 101), ("red1", 102), ("red2", 102), ("blue", 103), ("gate", 100)];
    let mut round = Round::default();
    for (from, vlan) in vlans {
        let everybody = frame(ALL, mac_of(from));
        let inside: Vec<_> =
            PORTS.iter().map(|(to, ..)| *to).filter(|to| *to != from && reaches(from, to)).collect();
        round =
            round.sends(from, &everybody).reaches(&inside).reaches_as(&tagged(&everybody, 0, vlan), &[NIC]);
    }
    lan.run(round)?;
    lan.finish()
}

/// As a trunk between switches that know the private VLAN carries it: in the VLAN of the sender.
#[test]
fn root_a_private_vlan_goes_on_across_the_uplink() -> Result<()> {
    let mut lan = lan()?;
    let everybody = frame(ALL, OUTSIDE);
    let all: Vec<_> = PORTS.iter().map(|(port, ..)| *port).collect();
    lan.run(
        Round::default()
            .sends(NIC, &tagged(&everybody, 0, 100))
            .reaches_as(&everybody, &all)
            .sends(NIC, &tagged(&everybody, 0, 101))
            .reaches_as(&everybody, &["gate"])
            .sends(NIC, &tagged(&everybody, 0, 102))
            .reaches_as(&everybody, &["red1", "red2", "gate"])
            .sends(NIC, &tagged(&everybody, 0, 103))
            .reaches_as(&everybody, &["blue", "gate"])
            .sends(NIC, &tagged(&frame(VM1, OUTSIDE), 0, 101))
            .drops("iso1", "vlan_filtered")
            .sends(NIC, &tagged(&frame(VM1, OUTSIDE), 0, 100))
            .reaches_as(&frame(VM1, OUTSIDE), &["iso1"]),
    )?;
    // What was learned in one VLAN of the private one is known in the others.
    let answer = frame(OUTSIDE, VM1);
    lan.run(Round::default().sends("iso1", &answer).reaches_as(&tagged(&answer, 0, 101), &[NIC]))?;
    lan.finish()
}

#[test]
fn root_ports_that_disagree_on_a_private_vlan_are_refused() -> Result<()> {
    let lan = lan()?;
    let refused = |mode: &str| -> Result<String> {
        let arguments = ["port", "set", "lan/blue", "--vlan", mode];
        Ok(lan.daemon.cli(&arguments)?.stderr)
    };
    for (mode, role) in [
        ("community=100,101", "isolated VLAN of private VLAN 100"),
        ("isolated=100,102", "community VLAN of private VLAN 100"),
        ("isolated=200,101", "isolated VLAN of private VLAN 100"),
        ("access=101", "isolated VLAN of private VLAN 100"),
        ("isolated=102,104", "community VLAN of private VLAN 100"),
        ("promiscuous=101,104", "isolated VLAN of private VLAN 100"),
    ] {
        let said = refused(mode)?;
        assert!(said.contains(role) && said.contains("use another number"), "{mode}: {said}");
    }
    lan.finish()
}
