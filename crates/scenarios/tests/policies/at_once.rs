//! A change of policies applies between two batches, all or nothing: no frame is judged by half of it.
//!
//! Ports change between two sets of policies all the time, while VMs send at full speed through two workers. Which set a frame
//! was judged by shows in what becomes of it, and a mixture of both would show otherwise.

#[path = "at_once/traffic.rs"]
mod traffic;

use anyhow::{Context, Result, ensure};
use lab::frames::{self, Endpoint, Mac};
use lab::{Daemon, DaemonOptions, Namespace, SWITCH, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use traffic::{Running, Seen, all_workers_worked, flood, read, share};

/// The first set of the port of a VM. Its rules allow what one of them denies.
const FIRST: &str = "--vlan trunk=10,20 --native-vlan 10 --prune-vlans 20 --trust-priority on --guard on --dhcp-guard on \
                     --router-guard off";
const FIRST_RULES: [&str; 2] =
    ["out deny udp to any port 3000 weight 1", "out allow udp to any port 3000 weight 2"];
/// The second one, which differs in each of its parts.
const SECOND: &str = "--vlan trunk=10,20,30 --native-vlan 20 --prune-vlans 10 --trust-priority off --guard off \
                      --dhcp-guard off --router-guard on";
const SECOND_RULES: [&str; 2] = ["out deny udp to any port 2000 weight 9", "out deny to 10.9.0.3"];

const RECEIVER: &str = "02:00:00:00:00:0e";
const CHANGES: usize = 60;

/// Frames of a VM, and what becomes of each: by the first set, and by the second one.
const KINDS: usize = 5;
/// Passes untagged into VLAN 10 or 20. The native VLAN of one with what the other prunes would drop it, so would one rule
/// of the first without the other.
const PLAIN: usize = 0;
/// Passes with its priority of 5, or without.
const PRIORITY: usize = 1;
/// Not from its VM's own address.
const FOREIGN: usize = 2;
/// Each is dropped for one reason or another, and would pass by the part of each set that does not.
const DROPPED: [(usize, &str, &str); 3] = [
    (FOREIGN, "spoofed_mac", "ext_acl_denied"),
    (3, "dhcp_guard", "acl_denied"),
    (4, "vlan_not_allowed", "router_guard"),
];

fn vm_mac(vm: u8) -> Mac {
    [2, 0, 0, 0, 0, vm]
}

/// In the order of their numbers; each has its number for a source port.
fn kinds(vm: u8) -> [[u8; 60]; KINDS] {
    let udp = |source: Mac, from: u16, address: u8, to: u16, payload: usize| {
        let ip = |last| Ipv4Addr::new(10, 9, 0, last);
        let receiver = Endpoint { mac: frames::mac(RECEIVER), ip: ip(address), port: to };
        frames::udp4(receiver, Endpoint { mac: source, ip: ip(1), port: from }, &[0; 18][..payload])
    };
    let (own, foreign) = (vm_mac(vm), [2, 0, 0, 0, 1, vm]);
    let mut router = udp(own, 4, 2, 9, 14);
    // An ICMP router advertisement (RFC 1256).
    (router[23], router[34]) = (1, 9);
    let all = [
        udp(own, 0, 2, 3000, 18),
        frames::tagged(&udp(own, 1, 2, 3000, 14), 5, 0),
        udp(foreign, 2, 2, 2000, 18),
        udp(own, 67, 3, 68, 18),
        frames::tagged(&router, 0, 30),
    ];
    all.map(|frame| frame[..].try_into().unwrap_or([0; 60]))
}

/// A private switch with vhost-user ports on two workers.
struct Stage {
    daemon: Daemon,
    _host: Namespace,
}

impl Stage {
    fn new() -> Result<Stage> {
        let host = Namespace::new("host")?;
        let arguments = ["--workers", "0,1"].map(str::to_owned).to_vec();
        let daemon = Daemon::start_with(&host, DaemonOptions { arguments, ..Default::default() })?;
        daemon.cli_ok(&["switch", "add", "lab", "--private"])?;
        Ok(Stage { daemon, _host: host })
    }

    fn add(&self, port: &str, mac: &str, arguments: &str) -> Result<()> {
        let add = ["port", "add", "lab", port, "--vhost-user", "--mac", mac];
        self.daemon.cli_ok(&add.into_iter().chain(arguments.split_whitespace()).collect::<Vec<_>>()).map(drop)
    }

    fn set(&self, port: &str, arguments: &str, rules: &[&str]) -> Result<()> {
        let place = format!("lab/{port}");
        let set = ["port", "set", &place].into_iter().chain(arguments.split_whitespace());
        let rules = rules.iter().flat_map(|rule| ["--acl", rule]);
        self.daemon.cli_ok(&set.chain(rules).collect::<Vec<_>>()).map(drop)
    }

    fn close(mut self) -> Result<()> {
        self.daemon.cli_ok(&["switch", "remove", "lab"])?;
        self.daemon.stop()
    }
}

/// Counters that have moved, each to be asked for once.
struct Moved(BTreeMap<(String, String), u64>);

impl Moved {
    fn since(before: &Snapshot, daemon: &Daemon) -> Result<Moved> {
        // The switch's other counters are the sums of its ports', which was seen when they were taken.
        let own = |port: &str, name: &str| port != SWITCH || ["copies", "originated"].contains(&name);
        let moved = before.moved(daemon)?.into_iter().filter(|(port, name, _)| own(port, name));
        Ok(Moved(moved.map(|(port, name, by)| ((port, name), by)).collect()))
    }

    fn take(&mut self, port: &str, counter: &str) -> u64 {
        self.0.remove(&(port.to_owned(), counter.to_owned())).unwrap_or(0)
    }

    fn nothing_else(self) -> Result<()> {
        ensure!(self.0.is_empty(), "also moved: {:?}", self.0);
        Ok(())
    }
}

/// How much each VM has sent.
fn stop(floods: [Result<Running<u64>>; 2]) -> Result<Vec<u64>> {
    floods.into_iter().map(|flood| flood?.stop()).collect()
}

/// What a VM sent came in, and what is dropped was dropped for one of its two reasons, both of which were seen.
fn expect_sent(moved: &mut Moved, port: &str, sent: u64) -> Result<()> {
    ensure!((moved.take(port, "rx_frames"), moved.take(port, "rx_bytes")) == (sent, 60 * sent), "{port}");
    for (kind, first, second) in DROPPED {
        let [by_first, by_second] =
            [first, second].map(|reason| moved.take(port, &format!("drops.{reason}")));
        let expected = share(sent, kind, KINDS);
        ensure!(
            by_first > 0 && by_second > 0,
            "{port} frame {kind}: {by_first} {first}, {by_second} {second}"
        );
        ensure!(
            by_first + by_second == expected,
            "{port} frame {kind}: {by_first} + {by_second} of {expected}"
        );
    }
    Ok(())
}

/// How many frames of `kind` of a VM were seen with each tag.
fn tags(seen: &Seen, vm: u8, kind: usize) -> BTreeMap<[u8; 4], u64> {
    let of_kind =
        |frame: &[u8; 40]| frame[6..12] == vm_mac(vm) && frame[38..40] == (kind as u16).to_be_bytes();
    let mut tags = BTreeMap::new();
    for (frame, count) in seen.iter().filter(|(frame, _)| of_kind(frame)) {
        *tags.entry([frame[12], frame[13], frame[14], frame[15]]).or_default() += count;
    }
    tags
}

/// Only these frames were read, each with the tag of one of the two sets; both of which were seen.
fn expect_read(seen: &Seen) -> Result<u64> {
    let mut known = 0;
    for vm in [1, 2] {
        for (kind, first, second) in [(PLAIN, [0, 10], [0, 20]), (PRIORITY, [0xa0, 10], [0, 20])] {
            let tags = tags(seen, vm, kind);
            let expected = BTreeSet::from([first, second].map(|[high, low]| [0x81, 0, high, low]));
            ensure!(tags.keys().eq(&expected), "vm{vm} frame {kind}: {tags:x?}");
            known += tags.values().sum::<u64>();
        }
    }
    ensure!(known == seen.values().sum::<u64>(), "other frames were read: {seen:x?}");
    Ok(known)
}

#[test]
fn root_no_frame_is_judged_by_half_of_a_change_at_full_speed_on_two_workers() -> Result<()> {
    let stage = Stage::new()?;
    stage.add("receiver", RECEIVER, "--vlan trunk=all --trust-priority on")?;
    let ports = [("vm1", 1), ("vm2", 2)];
    for (port, vm) in ports {
        stage.add(port, &format!("02:00:00:00:00:0{vm}"), "")?;
        stage.set(port, FIRST, &FIRST_RULES)?;
    }
    let before = Snapshot::take(&stage.daemon, "lab")?;
    let reader = read(&stage.daemon, "receiver")?;
    let floods = ports.map(|(port, vm)| flood(&stage.daemon, port, &kinds(vm)));
    for _ in 0..CHANGES {
        for (arguments, rules) in [(SECOND, &SECOND_RULES), (FIRST, &FIRST_RULES)] {
            ports.iter().try_for_each(|(port, _)| stage.set(port, arguments, rules))?;
        }
    }
    let sent = stop(floods)?;
    let mut moved = Moved::since(&before, &stage.daemon)?;
    let seen = reader.stop()?;
    for ((port, _), sent) in ports.iter().zip(&sent) {
        expect_sent(&mut moved, port, *sent)?;
    }
    let passed = |kind: usize| sent.iter().map(|sent| share(*sent, kind, KINDS)).sum::<u64>();
    let delivered = (moved.take("receiver", "tx_frames"), moved.take("receiver", "drops.receiver_full"));
    ensure!(delivered.0 == expect_read(&seen)?, "{delivered:?}");
    ensure!(delivered.0 + delivered.1 == passed(PLAIN) + passed(PRIORITY), "{delivered:?} of {sent:?}");
    // Untagged frames have a tag more when they leave.
    let plain: u64 = [1, 2].iter().flat_map(|vm| tags(&seen, *vm, PLAIN).into_values()).sum();
    ensure!(moved.take("receiver", "tx_bytes") == 60 * delivered.0 + 4 * plain, "{plain} of {delivered:?}");
    moved.nothing_else()?;
    all_workers_worked(&stage.daemon).context("two workers")?;
    stage.close()
}

/// Two desired states of many ports, which are all in one VLAN or all in another. What is not from its VM's own address is
/// dropped there by the first, and by the second where it would be delivered.
const ALL_FIRST: [&str; 2] = ["--vlan access=10 --guard on", "--vlan access=10"];
const ALL_SECOND: [&str; 2] = ["--vlan access=20 --guard off", "--vlan access=20"];
const ALL_SECOND_RULES: &[&str] = &["in deny udp to any port 2000 weight 9"];
const IDLE: u8 = 30;

impl Stage {
    /// Has all ports be so, and keeps it as a state file.
    fn state(&self, name: &str, [vms, receiver]: [&str; 2], rules: &[&str]) -> Result<String> {
        let idle = (0..IDLE).map(|number| format!("idle{number}"));
        ["vm1", "vm2"]
            .map(str::to_owned)
            .into_iter()
            .chain(idle)
            .try_for_each(|port| self.set(&port, vms, &[]))?;
        self.set("receiver", receiver, rules)?;
        let file = self.daemon.scratch().join(name);
        std::fs::write(&file, self.daemon.cli_ok(&["export"])?)?;
        Ok(file.display().to_string())
    }
}

#[test]
fn root_a_desired_state_changes_all_ports_of_a_switch_at_once() -> Result<()> {
    let stage = Stage::new()?;
    stage.add("receiver", RECEIVER, "")?;
    (0..IDLE).try_for_each(|n| stage.add(&format!("idle{n}"), &format!("02:00:00:00:02:{n:02x}"), ""))?;
    let ports = [("vm1", 1), ("vm2", 2)];
    ports.iter().try_for_each(|(port, vm)| stage.add(port, &format!("02:00:00:00:00:0{vm}"), ""))?;
    let second = stage.state("second", ALL_SECOND, ALL_SECOND_RULES)?;
    let first = stage.state("first", ALL_FIRST, &[""])?;
    let before = Snapshot::take(&stage.daemon, "lab")?;
    let reader = read(&stage.daemon, "receiver")?;
    let floods = ports.map(|(port, vm)| flood(&stage.daemon, port, &[kinds(vm)[PLAIN], kinds(vm)[FOREIGN]]));
    for _ in 0..CHANGES {
        [&second, &first].into_iter().try_for_each(|file| stage.daemon.cli_ok(&["apply", file]).map(drop))?;
    }
    let sent = stop(floods)?;
    let mut moved = Moved::since(&before, &stage.daemon)?;
    let seen = reader.stop()?;
    let mut refused = 0;
    for ((port, _), sent) in ports.iter().zip(&sent) {
        ensure!(
            (moved.take(port, "rx_frames"), moved.take(port, "rx_bytes")) == (*sent, 60 * sent),
            "{port}"
        );
        let spoofed = moved.take(port, "drops.spoofed_mac");
        ensure!(spoofed > 0, "{port} was not seen in the first state");
        refused += spoofed;
    }
    let denied = moved.take("receiver", "drops.ext_acl_denied");
    let [plain, foreign] = [0, 1].map(|n| sent.iter().map(|sent| share(*sent, n, 2)).sum::<u64>());
    let delivered = (moved.take("receiver", "tx_frames"), moved.take("receiver", "drops.receiver_full"));
    ensure!(denied > 0 && refused + denied == foreign, "{refused} + {denied} of {foreign}");
    ensure!(delivered.0 + delivered.1 == plain, "{delivered:?} of {plain}");
    ensure!(moved.take("receiver", "tx_bytes") == 60 * delivered.0, "bytes of {delivered:?}");
    let own = seen.iter().filter(|(frame, _)| frame[6..11] == vm_mac(0)[..5] && frame[12..14] == [8, 0]);
    ensure!(own.map(|(_, count)| count).sum::<u64>() == delivered.0, "others were read: {seen:x?}");
    moved.nothing_else()?;
    stage.close()
}
