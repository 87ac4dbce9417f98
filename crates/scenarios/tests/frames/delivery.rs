//! Who gets a frame.

use crate::lan::{Lan, NOBODY, OUTSIDE, VM1, VM2, VM3, frame};
use crate::round::Round;
use anyhow::Result;
use lab::{NIC, NIC_MAC};

/// Uplink, host, two guarded VMs, and one whose guard is off.
fn lan() -> Result<Lan> {
    let mut lan = Lan::external(&[])?;
    lan.watch_host("host", "lan")?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &[])?;
    lan.vm("open", VM3, &["--guard", "off"])?;
    Ok(lan)
}

#[test]
fn root_a_frame_for_a_vm_reaches_that_vm_and_nobody_else() -> Result<()> {
    let mut lan = lan()?;
    // That the ports are where their addresses are is known without a word from them.
    lan.run(
        Round::default()
            .sends(NIC, &frame(VM1, OUTSIDE))
            .reaches(&["vm1"])
            .sends(NIC, &frame(VM2, OUTSIDE))
            .reaches(&["vm2"])
            .sends(NIC, &frame(NIC_MAC, OUTSIDE))
            .reaches(&["host"]),
    )?;
    lan.run(
        Round::default()
            .sends("vm1", &frame(VM2, VM1))
            .reaches(&["vm2"])
            .sends("vm1", &frame(NIC_MAC, VM1))
            .reaches(&["host"])
            .sends("vm1", &frame(OUTSIDE, VM1))
            .reaches(&[NIC]),
    )?;
    lan.run(Round::default().sends("host", &frame(VM1, NIC_MAC)).reaches(&["vm1"]))?;
    lan.finish()
}

#[test]
fn root_broadcast_and_multicast_reach_all() -> Result<()> {
    let mut lan = lan()?;
    let everybody = ["ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "33:33:ff:00:00:01", "01:00:5e:00:00:fb"];
    let to_all = |from: &str, mac: &str, others: &[&str]| {
        everybody
            .iter()
            .fold(Round::default(), |round, group| round.sends(from, &frame(group, mac)).reaches(others))
    };
    lan.run(to_all(NIC, OUTSIDE, &["host", "vm1", "vm2", "open"]))?;
    lan.run(to_all("vm1", VM1, &[NIC, "host", "vm2", "open"]))?;
    lan.run(to_all("open", VM3, &[NIC, "host", "vm1", "vm2"]))?;
    lan.run(to_all("host", NIC_MAC, &[NIC, "vm1", "vm2", "open"]))?;
    lan.finish()
}

#[test]
fn root_unknown_unicast_goes_to_the_uplink_and_to_open_ports_only() -> Result<()> {
    let mut lan = lan()?;
    lan.run(Round::default().sends("vm1", &frame(NOBODY, VM1)).reaches(&[NIC, "open"]))?;
    lan.run(Round::default().sends("host", &frame(NOBODY, NIC_MAC)).reaches(&[NIC, "open"]))?;
    lan.run(Round::default().sends("open", &frame(NOBODY, VM3)).reaches(&[NIC]))?;
    lan.run(Round::default().sends(NIC, &frame(NOBODY, OUTSIDE)).reaches(&["open"]))?;
    lan.daemon.cli_ok(&["port", "set", "lan/open", "--guard", "on"])?;
    lan.run(Round::default().sends("vm1", &frame(NOBODY, VM1)).reaches(&[NIC]))?;
    lan.run(Round::default().sends(NIC, &frame(NOBODY, OUTSIDE)).drops(NIC, "no_destination"))?;
    lan.finish()
}
