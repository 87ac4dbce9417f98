//! MAC spoofing protection, and what a port without it may do.

use crate::events::Events;
use crate::lan::{Lan, NOBODY, OUTSIDE, VM1, VM2, VM3, frame};
use crate::round::Round;
use anyhow::Result;
use lab::NIC;
use serde_json::json;

/// An address that is not the port's own.
const FORGED: &str = "02:00:00:00:0e:01";

#[test]
fn root_a_spoofed_source_is_dropped_counted_not_learned_and_not_seen_outside() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("vm2", VM2, &[])?;
    let known = lan.macs()?;
    lan.run(
        Round::default()
            .sends("vm1", &frame(NOBODY, FORGED))
            .drops("vm1", "spoofed_mac")
            .sends("vm1", &frame("ff:ff:ff:ff:ff:ff", FORGED))
            .drops("vm1", "spoofed_mac")
            // Another guarded port's address is forged too.
            .sends("vm1", &frame(NOBODY, VM2))
            .drops("vm1", "spoofed_mac")
            .sends("vm1", &frame(NOBODY, VM1))
            .reaches(&[NIC]),
    )?;
    assert_eq!(lan.macs()?, known);
    assert_eq!(lan.world.phys_fdb()?.get(FORGED), None);
    lan.finish()
}

#[test]
fn root_the_guard_lets_in_what_its_allow_list_names() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.vm("vm1", VM1, &["--allow-mac", FORGED])?;
    lan.vm("vm2", VM2, &[])?;
    assert!(lan.macs()?.contains(&(FORGED.into(), "vm1".into(), "static".into())), "{:?}", lan.macs()?);
    lan.run(Round::default().sends("vm1", &frame(NOBODY, FORGED)).reaches(&[NIC]))?;
    lan.run(Round::default().sends(NIC, &frame(FORGED, OUTSIDE)).reaches(&["vm1"]))?;
    lan.daemon.cli_ok(&["port", "set", "lan/vm1", "--allow-mac", NOBODY])?;
    lan.run(Round::default().sends("vm1", &frame(OUTSIDE, FORGED)).drops("vm1", "spoofed_mac"))?;
    lan.run(Round::default().sends("vm1", &frame(OUTSIDE, NOBODY)).reaches(&[NIC]))?;
    lan.finish()
}

#[test]
fn root_without_guard_any_source_goes_out_and_is_learned_up_to_the_limit() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.vm("open", VM3, &["--guard", "off", "--learn-limit", "3"])?;
    let sources: Vec<_> = (0..5).map(|n| format!("06:00:00:00:00:{n:02x}")).collect();
    let goes_out = |round: Round, from: &String| round.sends("open", &frame(NOBODY, from)).reaches(&[NIC]);
    lan.run(sources[..3].iter().fold(Round::default(), goes_out))?;
    lan.run(sources[3..].iter().fold(Round::default(), |r, from| goes_out(r, from).not_learned("open")))?;
    for (source, place) in sources.iter().zip([Some("open"), Some("open"), Some("open"), None, None]) {
        assert_eq!(lan.learned(source)?.as_deref(), place, "{source}");
        assert_eq!(lan.world.phys_fdb()?.get(source).map(String::as_str), Some("p1"), "{source} outside");
    }
    lan.finish()
}

#[test]
fn root_a_pinned_mac_is_taken_neither_by_another_port_nor_from_the_uplink() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("open", VM3, &["--guard", "off"])?;
    let known = lan.macs()?;
    let events = Events::follow(&lan)?;
    let claims = |from| {
        (0..3).fold(Round::default(), |round, _| {
            round.sends(from, &frame("ff:ff:ff:ff:ff:ff", VM1)).drops(from, "mac_pinned_elsewhere")
        })
    };
    lan.run(claims("open"))?;
    lan.run(claims(NIC))?;
    assert_eq!(lan.macs()?, known);
    lan.run(Round::default().sends("open", &frame(VM1, VM3)).reaches(&["vm1"]))?;

    // Three frames each, one event each: told once per interval.
    let conflict = |by: &str| json!({"switch": "lan", "mac": VM1, "pinned_to": "vm1", "claimed_by": by, "event": "mac-conflict"});
    assert_eq!(events.wait_for(&lan, "mac-conflict", 2)?, [conflict("open"), conflict(NIC)]);
    drop(events);
    lan.finish()
}
