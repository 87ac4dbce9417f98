//! The IP guard: every way to speak for others' addresses that is known, and leases from servers that nobody here wrote.

use crate::lan::{Lan, VM1};
use crate::round::Round;
use crate::servers::{Client, REAL, addresses, real_server, wait_for_all};
use anyhow::{Context, Result, ensure};
use lab::{Daemon, FAR_IPV4, FAR_IPV6, NIC, Namespace, Snapshot, World, wait_until};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const LISTED: [&str; 4] = ["--ip-guard", "on", "--address", "10.9.0.7,fd00:9::7"];

/// A frame that `claims.py` made, whether it is to pass, and what it is.
struct Claim {
    passes: bool,
    name: String,
    frame: Vec<u8>,
}

fn claims(from: &str) -> Result<Vec<Claim>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies/claims.py");
    let printed = lab::text(Command::new("/usr/bin/python3").arg(script).arg(from))?;
    let claims: Vec<_> = printed.lines().map(parse).collect::<Result<_>>()?;
    ensure!(claims.len() > 100, "only {} frames:\n{printed}", claims.len());
    Ok(claims)
}

fn parse(line: &str) -> Result<Claim> {
    let (kind, rest) = line.split_once(' ').with_context(|| line.to_owned())?;
    let (name, hex) = rest.rsplit_once(' ').with_context(|| line.to_owned())?;
    let digits = hex.as_bytes().chunks(2);
    let frame = digits.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    Ok(Claim { passes: kind == "allowed", name: name.to_owned(), frame: frame.collect::<Result<_>>()? })
}

/// All of them from the VM; where the guard is on, those of others are dropped.
fn round(guarded: bool) -> Result<Round> {
    Ok(claims(VM1)?.iter().fold(Round::default(), |round, claim| {
        let round = round.sends("vm1", &claim.frame);
        if guarded && !claim.passes { round.drops("vm1", "spoofed_ip") } else { round.reaches(&[NIC]) }
    }))
}

/// A trunk, so that frames with tags come as far as the IP guard.
fn lan(guard: &[&str]) -> Result<Lan> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &[&["--vlan", "trunk=all"], guard].concat())?;
    Ok(lan)
}

#[test]
fn root_a_vm_speaks_for_its_own_addresses_only_however_it_says_so() -> Result<()> {
    let mut lan = lan(&[])?;
    lan.run(round(false)?).context("without guard")?;
    lan.daemon.cli_ok(&[&["port", "set", "lan/vm1"], &LISTED[..]].concat())?;
    lan.run(round(true)?).context("with its addresses")?;
    lan.daemon.cli_ok(&["port", "set", "lan/vm1", "--ip-guard", "off"])?;
    lan.run(round(false)?).context("without guard again")?;
    lan.finish()
}

#[test]
fn root_explain_says_what_the_ip_guard_finds_in_every_frame() -> Result<()> {
    let lan = lan(&LISTED)?;
    for Claim { passes, name, frame } in claims(VM1)? {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let said = lan.daemon.cli_json(&["explain", "lan/vm1", "--frame", &hex])?;
        let finding = match passes {
            true => "vm1 may speak for the addresses that the frame claims",
            false => "vm1 may not speak for an address that the frame claims, or hides",
        };
        let steps = said["steps"].as_array().context("steps")?;
        ensure!(steps.contains(&json!({"stage": "ip guard", "finding": finding})), "{name}: {said}");
    }
    lan.finish()
}

#[test]
fn root_an_ip_guard_is_off_by_default_shown_and_refused_on_an_uplink() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &[])?;
    let shown = |lan: &Lan| lan.daemon.cli_ok(&["port", "show", "lan/vm1"]);
    assert!(shown(&lan)?.contains("IP guard:          off\n"));
    lan.daemon.cli_ok(&[&["port", "set", "lan/vm1"], &LISTED[..]].concat())?;
    assert!(
        shown(&lan)?.contains("IP guard:          on\nAddresses:         10.9.0.7, fd00:9::7\n"),
        "{}",
        shown(&lan)?
    );
    let refused = lan.daemon.cli_refused(1, &["port", "set", &format!("lan/{NIC}"), "--ip-guard", "on"])?;
    assert!(
        refused.contains("is an uplink and has no IP guard: all addresses outside are behind it"),
        "{refused}"
    );
    let refused = lan.daemon.cli_refused(1, &["port", "set", "lan/vm1", "--address", "224.0.0.0/4"])?;
    assert!(refused.contains("is a group: nobody sends from it"), "{refused}");
    lan.finish()
}

/// What the daemon says that the VM leases, sorted.
fn leases(daemon: &Daemon) -> Result<Vec<String>> {
    let shown = daemon.cli_json(&["port", "show", "lan/vm"])?;
    let leases = shown["leases"].as_array().cloned().unwrap_or_default();
    for lease in &leases {
        let left = lease["expires_in_s"].as_u64().with_context(|| shown.to_string())?;
        ensure!(left <= 120, "{shown}");
    }
    let mut leases: Vec<_> =
        leases.iter().filter_map(|lease| Some(lease["address"].as_str()?.to_owned())).collect();
    leases.sort();
    Ok(leases)
}

fn spoofed(daemon: &Daemon) -> Result<u64> {
    Ok(Snapshot::read(daemon, "lan")?.get("vm", "drops.spoofed_ip"))
}

/// Whether the far machine answers an echo from that address.
fn reaches_far(vm: &Namespace, from: &str) -> bool {
    let far = if from.contains(':') { FAR_IPV6 } else { FAR_IPV4 };
    vm.exec(&["ping", "-c", "1", "-W", "2", "-I", from, far]).is_ok()
}

/// The leased addresses of a VM, and the one that it made itself by what the router said.
fn given(vm: &Namespace) -> Result<(Vec<String>, String)> {
    let all = addresses(vm)?;
    let is_leased = |address: &&String| address.starts_with("10.9.0.1") || address.starts_with("fd00:9::1");
    let mut leased: Vec<_> = all.iter().filter(is_leased).cloned().collect();
    leased.sort();
    let own = all.iter().find(|address| !is_leased(address)).context("an address of its own making")?;
    Ok((leased, own.clone()))
}

#[test]
fn root_a_vm_uses_what_it_leases_and_no_other_address_also_after_a_restart() -> Result<()> {
    let world = World::new()?;
    let mut daemon = Daemon::start(&world.host)?;
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC, "--no-host"])?;
    let vm = Namespace::new("vm")?;
    daemon.cli_ok(&["port", "add", "lan", "vm", "--netns", vm.name(), "--ip-guard", "dhcp"])?;
    let server = real_server(&world)?;
    let client = Client::start(&vm)?;
    wait_for_all(&vm, REAL, || client.log() + &server.process.log())?;
    let (leased, own) = given(&vm)?;
    assert_eq!(leases(&daemon)?, leased);
    let check = |daemon: &Daemon| -> Result<()> {
        for address in &leased {
            ensure!(reaches_far(&vm, address), "{address}: {:?}", leases(daemon));
        }
        let before = spoofed(daemon)?;
        ensure!(!reaches_far(&vm, &own), "{own}");
        let arping = ["arping", "-q", "-U", "-c", "1", "-I", "eth0", "-S", FAR_IPV4, FAR_IPV4];
        // It waits for an answer, which nobody gives.
        let _ = vm.exec(&arping);
        wait_until("drops", PATIENCE, || Ok(spoofed(daemon)? > before + 1))
    };
    check(&daemon)?;
    // Leases are written down with the next look of the watch.
    wait_until("leases kept", PATIENCE, || Ok(kept(&daemon)?.len() == 2))?;
    daemon.kill9()?;
    daemon.launch()?;
    wait_until(
        "the uplink",
        PATIENCE,
        || Ok(daemon.cli_json(&["port", "show", "lan/vm"])?["state"] == "up"),
    )?;
    assert_eq!(leases(&daemon)?, leased);
    check(&daemon)?;
    // With the list in its place, nothing is leased any more.
    daemon.cli_ok(&["port", "set", "lan/vm", "--ip-guard", "on", "--address", &own])?;
    assert_eq!(leases(&daemon)?, [""; 0]);
    assert!(reaches_far(&vm, &own) && !reaches_far(&vm, &leased[0]));
    wait_until("leases forgotten", PATIENCE, || Ok(kept(&daemon)?.is_empty()))?;
    drop((client, server));
    Snapshot::take(&daemon, "lan")?;
    daemon.cli_ok(&["switch", "remove", "lan"]).map(drop)
}

fn kept(daemon: &Daemon) -> Result<Vec<Value>> {
    let path = daemon.state_dir().join("leases/lan.json");
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        text => Ok(serde_json::from_str(&text?)?),
    }
}

/// A VM that serves leases to another, of addresses that are somebody else's: it is believed where it could take them itself.
#[test]
fn root_a_server_that_has_guards_itself_gives_nobody_an_address() -> Result<()> {
    let world = World::new()?;
    let daemon = Daemon::start(&world.host)?;
    daemon.cli_ok(&["switch", "add", "lan", "--external", NIC, "--no-host"])?;
    let (vm, mate) = (Namespace::new("vm")?, Namespace::new("mate")?);
    daemon.cli_ok(&["port", "add", "lan", "vm", "--netns", vm.name(), "--ip-guard", "dhcp"])?;
    daemon.cli_ok(&[
        "port",
        "add",
        "lan",
        "mate",
        "--netns",
        mate.name(),
        "--ip-guard",
        "on",
        "--address",
        "10.9.0.9",
    ])?;
    mate.add_address("eth0", "10.9.0.9/24")?;
    let server = lab::services::DhcpServer::start(&mate, "eth0", "10.9.0.100", "10.9.0.150")?;
    let client = Client::start(&vm)?;
    wait_until("a lease", PATIENCE, || Ok(addresses(&vm)?.iter().any(|a| a.starts_with("10.9.0.1"))))
        .with_context(|| client.log() + &server.log())?;
    assert_eq!(leases(&daemon)?, [""; 0]);
    let address = addresses(&vm)?.into_iter().find(|a| a.starts_with("10.9.0.1")).context("a lease")?;
    assert!(!reaches_far(&vm, &address));
    drop((client, server));
    Snapshot::take(&daemon, "lan")?;
    daemon.cli_ok(&["switch", "remove", "lan"]).map(drop)
}
