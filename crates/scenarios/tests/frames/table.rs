//! The MAC table: learning, moves, flush, ageing, and what happens when it is full.

use crate::events::Events;
use crate::lan::{Lan, NOBODY, OUTSIDE, VM1, VM2, VM3, frame};
use crate::round::Round;
use anyhow::Result;
use lab::{NIC, NIC_MAC, wait_until};
use serde_json::json;
use std::time::{Duration, Instant};

/// An address behind the port whose guard is off.
const INSIDE: &str = "06:00:00:00:00:01";

/// Uplink, one guarded VM, two open ones.
fn lan(arguments: &[&str]) -> Result<Lan> {
    let mut lan = Lan::external(arguments)?;
    lan.vm("vm1", VM1, &[])?;
    lan.vm("open", VM2, &["--guard", "off"])?;
    lan.vm("open2", VM3, &["--guard", "off"])?;
    Ok(lan)
}

fn entry(mac: &str, port: &str, kind: &str) -> (String, String, String) {
    (mac.to_owned(), port.to_owned(), kind.to_owned())
}

#[test]
fn root_addresses_are_learned_on_the_uplink_and_on_open_ports() -> Result<()> {
    let mut lan = lan(&[])?;
    let pinned = [entry(NIC_MAC, "host", "pinned"), entry(VM1, "vm1", "pinned")];
    assert_eq!(lan.macs()?, pinned);
    lan.run(Round::default().sends(NIC, &frame(VM1, OUTSIDE)).reaches(&["vm1"]))?;
    lan.run(Round::default().sends("open", &frame(VM1, INSIDE)).reaches(&["vm1"]))?;
    let learned = [entry(OUTSIDE, NIC, "learned"), entry(INSIDE, "open", "learned")];
    let mut all = [pinned, learned].concat();
    all.sort();
    assert_eq!(lan.macs()?, all);
    lan.run(Round::default().sends("vm1", &frame(OUTSIDE, VM1)).reaches(&[NIC]))?;
    lan.run(Round::default().sends("vm1", &frame(INSIDE, VM1)).reaches(&["open"]))?;
    lan.finish()
}

#[test]
fn root_a_learned_address_moves_to_where_it_was_seen_last() -> Result<()> {
    let mut lan = lan(&[])?;
    let events = Events::follow(&lan)?;
    for (at, ports) in [("open", [NIC, "open2"]), ("open2", [NIC, "open"]), (NIC, ["open", "open2"])] {
        lan.run(Round::default().sends(at, &frame(NOBODY, INSIDE)).reaches(&ports))?;
        assert_eq!(lan.learned(INSIDE)?.as_deref(), Some(at));
        lan.run(Round::default().sends("vm1", &frame(INSIDE, VM1)).reaches(&[at]))?;
    }
    let moved = |from: &str, to: &str| json!({"event": "mac-moved", "switch": "lan", "mac": INSIDE, "from": from, "to": to});
    assert_eq!(events.wait_for(&lan, "mac-moved", 2)?, [moved("open", "open2"), moved("open2", NIC)]);
    drop(events);
    lan.finish()
}

#[test]
fn root_flushing_forgets_what_was_learned_on_one_port_or_on_all() -> Result<()> {
    let mut lan = lan(&[])?;
    let pinned = lan.macs()?;
    let learn = Round::default().sends(NIC, &frame(VM1, OUTSIDE)).reaches(&["vm1"]);
    lan.run(learn.sends("open", &frame(VM1, INSIDE)).reaches(&["vm1"]))?;
    lan.daemon.cli_ok(&["mac", "flush", "lan", "--port", "open"])?;
    assert_eq!((lan.learned(INSIDE)?, lan.learned(OUTSIDE)?), (None, Some(NIC.to_owned())));
    lan.run(Round::default().sends("vm1", &frame(INSIDE, VM1)).reaches(&[NIC, "open", "open2"]))?;
    lan.run(Round::default().sends("open", &frame(VM1, INSIDE)).reaches(&["vm1"]))?;
    lan.daemon.cli_ok(&["mac", "flush", "lan"])?;
    assert_eq!(lan.macs()?, pinned);
    lan.run(Round::default().sends("vm1", &frame(OUTSIDE, VM1)).reaches(&[NIC, "open", "open2"]))?;
    lan.finish()
}

#[test]
fn root_an_address_that_was_not_seen_for_the_ageing_time_is_forgotten() -> Result<()> {
    let ageing = Duration::from_secs(2);
    let mut lan = lan(&[])?;
    let pinned = lan.macs()?;
    let sent = Instant::now();
    lan.run(Round::default().sends("open", &frame(VM1, INSIDE)).reaches(&["vm1"]))?;
    assert_eq!(lan.learned(INSIDE)?.as_deref(), Some("open"));
    // Shortened only now: however slow the machine is, the address was seen in the table before.
    lan.daemon.cli_ok(&["switch", "set", "lan", "--ageing", "2s"])?;
    wait_until("ageing", 5 * ageing, || Ok(lan.macs()? == pinned))?;
    assert!(sent.elapsed() >= ageing, "forgotten after {:?}", sent.elapsed());
    lan.run(Round::default().sends("vm1", &frame(INSIDE, VM1)).reaches(&[NIC, "open", "open2"]))?;
    lan.finish()
}

#[test]
fn root_a_full_table_takes_the_oldest_of_the_fullest_port_and_never_a_pinned_entry() -> Result<()> {
    let mut lan = lan(&["--mac-table-size", "16"])?;
    let pinned = lan.macs()?;
    lan.run(Round::default().sends("open", &frame(VM1, INSIDE)).reaches(&["vm1"]))?;
    let outside: Vec<_> = (0..40).map(|n| format!("02:00:00:00:aa:{n:02x}")).collect();
    lan.run(
        outside
            .iter()
            .fold(Round::default(), |round, from| round.sends(NIC, &frame(VM1, from)).reaches(&["vm1"])),
    )?;
    let free = 16 - pinned.len() - 1;
    let youngest = outside[outside.len() - free..].iter().map(|mac| entry(mac, NIC, "learned"));
    let mut all: Vec<_> =
        pinned.into_iter().chain([entry(INSIDE, "open", "learned")]).chain(youngest).collect();
    all.sort();
    assert_eq!(lan.macs()?, all);
    lan.run(Round::default().sends("vm1", &frame(INSIDE, VM1)).reaches(&["open"]))?;
    lan.run(Round::default().sends("vm1", &frame(&outside[0], VM1)).reaches(&[NIC, "open", "open2"]))?;
    lan.finish()
}
