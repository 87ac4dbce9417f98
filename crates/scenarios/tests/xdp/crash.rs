//! vmswitchd is killed at each system call by which AF_XDP comes upon a NIC or leaves it, and started again: the host is
//! then in one of two whole states, and the NIC in the end as it was.

use crate::state::Site;
use anyhow::{Context, Result, ensure};
use lab::{Call, Fate, NIC, Place, Strace, comes_within};
use std::collections::BTreeSet;
use std::time::Duration;

const ADD: &[&str] = &["switch", "add", "lan", "--external", NIC, "--io", "af-xdp"];
const REMOVE: &[&str] = &["switch", "remove", "lan"];
const TO_XDP: &[&str] = &["switch", "set", "lan", "--io", "af-xdp"];
const TO_PACKET: &[&str] = &["switch", "set", "lan", "--io", "af-packet"];
const CALLS: &[&str] = &["bpf", "ioctl", "bind", "setsockopt", "rename", "unlink"];

/// Within which a command that has answered has had all its effects.
const AFTERWARDS: Duration = Duration::from_secs(1);

impl Site {
    fn is_bound(&self) -> Result<bool> {
        Ok(self.daemon.cli_json(&["switch", "list"])?[0].is_object())
    }

    fn expect_whole(&self) -> Result<()> {
        if self.is_bound()? {
            return self.expect_bound();
        }
        let link = self.world.host.ip_json(&format!("link show dev {NIC}"))?;
        ensure!(!link[0]["xdp"].is_object(), "a program is left: {link}");
        let offloads = self.world.host.exec(&["ethtool", "-k", NIC])?;
        ensure!(offloads.contains("rx-vlan-offload: on"), "VLAN tags are left in frames");
        self.expect_gone()
    }

    /// Makes the world as it has to be before a command.
    fn prepare(&self, commands: &[&[&str]]) -> Result<()> {
        if self.is_bound()? {
            self.daemon.cli_ok(REMOVE)?;
            self.expect_whole()?;
        }
        commands.iter().try_for_each(|command| self.daemon.cli_ok(command).map(drop))
    }

    /// The calls of an undisturbed run that have to do with AF_XDP.
    fn record(&self, command: &[&str]) -> Result<BTreeSet<Place>> {
        let strace = Strace::record(self.daemon.id()?, CALLS)?;
        self.daemon.cli_ok(command)?;
        let calls = strace.detach()?;
        Ok(calls.iter().filter(|call| has_to_do_with_xdp(call)).map(|call| call.place.clone()).collect())
    }

    /// False where it did not come to that place: calls are numbered for each thread, and which one does what differs. Then it
    /// is killed after the command.
    fn die_at(&mut self, command: &[&str], place: &Place) -> Result<bool> {
        let strace = Strace::inject(self.daemon.id()?, place, Fate::Kill)?;
        // What it answers, if it does, is no matter.
        self.daemon.cli(command)?;
        let died = comes_within(AFTERWARDS, || Ok(self.daemon.ended()?.is_some()))?;
        if !died {
            self.daemon.kill9()?;
        }
        strace.wait_for_end()?;
        self.daemon.launch()?;
        self.expect_whole()?;
        Ok(died)
    }
}

fn has_to_do_with_xdp(call: &Call) -> bool {
    let is = |what: &str| call.text.contains(what);
    match call.place.name.as_str() {
        "bpf" => is("BPF_LINK_CREATE") || is("BPF_MAP_UPDATE_ELEM"),
        "ioctl" => is("SIOCETHTOOL"),
        "bind" => is("AF_XDP"),
        "setsockopt" => is("SOL_XDP"),
        _ => is("vlan-tags") || is("state.toml"),
    }
}

fn die_everywhere(from: &[&[&str]], command: &[&str], least: usize) -> Result<()> {
    let mut site = Site::new()?;
    site.prepare(from)?;
    let places = site.record(command)?;
    ensure!(places.len() >= least, "too few places to die at: {places:?}");
    let mut died = 0;
    for place in &places {
        let at = |site: &Site| format!("killed at {place:?}; log:\n{}", site.daemon.log());
        site.prepare(from).with_context(|| at(&site))?;
        died += usize::from(site.die_at(command, place).with_context(|| at(&site))?);
    }
    println!("{command:?}: killed at {died} of {} places", places.len());
    ensure!(died >= least, "it came to {died} of {places:?} only");
    site.prepare(&[])?;
    site.expect_whole()
}

#[test]
fn root_a_take_over_by_af_xdp_that_is_killed_ends_whole() -> Result<()> {
    die_everywhere(&[], ADD, 10)
}

#[test]
fn root_a_switch_to_af_xdp_that_is_killed_ends_whole() -> Result<()> {
    die_everywhere(&[ADD, TO_PACKET], TO_XDP, 10)
}

#[test]
fn root_an_end_of_af_xdp_that_is_killed_ends_whole() -> Result<()> {
    die_everywhere(&[ADD], TO_PACKET, 2)?;
    die_everywhere(&[ADD], REMOVE, 2)
}
