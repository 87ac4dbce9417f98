//! A switch `lan` in a world that never speaks by itself, with a sender and a capture at the far end of each port.

use crate::round::Round;
use anyhow::{Context, Result, ensure};
use lab::frames::{self, Mac};
use lab::{Capture, Daemon, NIC, Namespace, RawSender, Snapshot, World, WorldOptions, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

pub const VM1: &str = "aa:aa:aa:aa:aa:aa";
pub const VM2: &str = "02:00:00:00:00:02";
pub const VM3: &str = "02:00:00:00:00:03";
/// An address outside, behind the uplink.
pub const OUTSIDE: &str = "02:00:00:00:0f:01";
/// An address that nobody has.
pub const NOBODY: &str = "02:00:00:00:0f:99";

/// Arguments for a port that may send in every VLAN, and whose priorities are kept.
pub const TRUNK: &[&str] = &["--vlan", "trunk=all", "--trust-priority", "on"];

const PATIENCE: Duration = Duration::from_secs(10);

/// The far end of a port: what is sent here comes in on the port, what leaves on the port arrives here.
#[derive(Debug)]
struct End {
    sender: RawSender,
    capture: Capture,
    /// How many of the captured frames were asked about.
    checked: usize,
}

impl End {
    fn open(namespace: &Namespace, interface: &str) -> Result<End> {
        let capture = Capture::start(namespace, interface)?;
        Ok(End { sender: RawSender::open(namespace, interface)?, capture, checked: 0 })
    }

    fn arrived(&self) -> Vec<Vec<u8>> {
        let frames = self.capture.frames().into_iter().filter(|frame| !frame.outgoing);
        frames.skip(self.checked).map(|frame| frame.bytes).collect()
    }

    /// Waits for as many frames and compares them. What comes too much is found here, the next time or at the end.
    fn expect(&mut self, frames: &[Vec<u8>]) -> Result<()> {
        let came = wait_until("frames", PATIENCE, || Ok(self.arrived().len() >= frames.len()));
        let arrived = self.arrived();
        ensure!(arrived == frames, "arrived {arrived:02x?}\nexpected {frames:02x?}\n({came:?})");
        self.checked += frames.len();
        Ok(())
    }

    fn expect_no_more(self) -> Result<()> {
        let rest: Vec<_> = self.capture.stop()?.into_iter().filter(|frame| !frame.outgoing).collect();
        ensure!(rest.len() == self.checked, "more came than expected: {:02x?}", &rest[self.checked..]);
        Ok(())
    }
}

/// The switch and all around it. Dropped in this order: the daemon goes before its namespaces.
#[derive(Debug)]
pub struct Lan {
    ends: BTreeMap<String, End>,
    counters: Option<Snapshot>,
    pub daemon: Daemon,
    descriptors: usize,
    vms: BTreeMap<String, Namespace>,
    pub world: World,
}

impl Lan {
    /// A switch of the kind these arguments of `switch add lan` ask for.
    pub fn new(arguments: &[&str]) -> Result<Lan> {
        Self::in_world(&WorldOptions { host_addresses: false, ..WorldOptions::default() }, arguments)
    }

    /// A switch on the NIC, watched at the other end of the NIC's cable.
    pub fn external(arguments: &[&str]) -> Result<Lan> {
        let mut lan = Self::new(&[&["--external", NIC], arguments].concat())?;
        lan.watch_uplink()?;
        Ok(lan)
    }

    /// The same in a world that differs.
    pub fn in_world(options: &WorldOptions, arguments: &[&str]) -> Result<Lan> {
        let world = World::with(options)?;
        world.host.disable_ipv6()?;
        world.far.disable_ipv6()?;
        world.phys_flush()?;
        let daemon = Daemon::start(&world.host)?;
        let descriptors = descriptors(&daemon)?;
        daemon.cli_ok(&[&["switch", "add", "lan"], arguments].concat())?;
        Ok(Lan { ends: BTreeMap::new(), counters: None, daemon, descriptors, vms: BTreeMap::new(), world })
    }

    /// Adds a VM: a namespace, the port named like it, and what watches its `eth0`.
    pub fn vm(&mut self, name: &str, mac: &str, arguments: &[&str]) -> Result<()> {
        let namespace = Namespace::new(name)?;
        namespace.disable_ipv6()?;
        let attach = ["port", "add", "lan", name, "--netns", namespace.name(), "--mac", mac];
        self.daemon.cli_ok(&[&attach, arguments].concat())?;
        self.ends.insert(name.to_owned(), End::open(&namespace, "eth0")?);
        self.vms.insert(name.to_owned(), namespace);
        Ok(())
    }

    /// The namespace of a VM.
    pub fn namespace(&self, vm: &str) -> &Namespace {
        &self.vms[vm]
    }

    /// Watches the far end of the NIC's cable.
    pub fn watch_uplink(&mut self) -> Result<()> {
        self.ends.insert(NIC.to_owned(), End::open(&self.world.phys, "p1")?);
        Ok(())
    }

    /// Watches a host vNIC.
    pub fn watch_host(&mut self, port: &str, interface: &str) -> Result<()> {
        self.ends.insert(port.to_owned(), End::open(&self.world.host, interface)?);
        Ok(())
    }

    /// Ends watching a port, where nothing may have come that was not expected.
    pub fn unwatch(&mut self, port: &str) -> Result<()> {
        let end = self.ends.remove(port).with_context(|| format!("{port} is not watched"))?;
        end.expect_no_more().with_context(|| format!("at {port}"))
    }

    /// Sends the frames of a round, and checks that what it says comes of them and nothing else: which bytes arrive
    /// where, and all counters.
    pub fn run(&mut self, round: Round) -> Result<()> {
        let before = self.counters()?;
        for (from, frame) in &round.sent {
            let end = self.ends.get_mut(from).with_context(|| format!("{from} is not watched"))?;
            end.sender.send(frame)?;
        }
        self.expect_counters(before, &round.counters())?;
        for (port, end) in &mut self.ends {
            let frames = round.arrives.get(port).map_or(&[][..], Vec::as_slice);
            end.expect(frames).with_context(|| format!("at {port}"))?;
        }
        Ok(())
    }

    /// The counters when they were last looked at.
    pub fn counters(&mut self) -> Result<Snapshot> {
        self.counters.take().map_or_else(|| Snapshot::take(&self.daemon, "lan"), Ok)
    }

    /// Fails unless exactly these counters moved since `before`.
    pub fn expect_counters(&mut self, before: Snapshot, expected: &[(String, String, u64)]) -> Result<()> {
        let expected: Vec<_> =
            expected.iter().map(|(p, name, by)| (p.as_str(), name.as_str(), *by)).collect();
        self.counters = Some(before.expect_delta(&self.daemon, &expected)?);
        Ok(())
    }

    /// Sends a frame past all counting: for tests that ask about something else.
    pub fn send(&mut self, from: &str, frame: &[u8]) -> Result<()> {
        self.counters = None;
        self.ends.get_mut(from).with_context(|| format!("{from} is not watched"))?.sender.send(frame)
    }

    /// Takes note of frames that arrived outside of a round.
    pub fn settle(&mut self, port: &str, frames: &[Vec<u8>]) -> Result<()> {
        self.counters = None;
        self.ends.get_mut(port).with_context(|| format!("{port} is not watched"))?.expect(frames)
    }

    /// The MAC table as (address, port, kind), sorted.
    pub fn macs(&self) -> Result<Vec<(String, String, String)>> {
        let listed = self.daemon.cli_json(&["mac", "list", "lan"])?;
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let rows = listed.as_array().context("a list of addresses")?.iter();
        let mut macs: Vec<_> =
            rows.map(|entry| (text(entry, "mac"), text(entry, "port"), text(entry, "kind"))).collect();
        macs.sort();
        Ok(macs)
    }

    /// Where an address was learned.
    pub fn learned(&self, mac: &str) -> Result<Option<String>> {
        let found = self.macs()?.into_iter().find(|(listed, _, kind)| listed == mac && kind == "learned");
        Ok(found.map(|(_, port, _)| port))
    }

    /// Checks that nothing came that no round expected and that frames are conserved, removes the switch, and checks
    /// that nothing is left of it.
    pub fn finish(mut self) -> Result<()> {
        let stats = &self.daemon.cli_json(&["switch", "show", "lan"])?["stats"];
        let drops: u64 =
            stats["drops"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
        let count = |name: &str| stats[name].as_u64().with_context(|| format!("no {name} in {stats}"));
        ensure!(
            count("rx_frames")? + count("copies")? + count("originated")? == count("tx_frames")? + drops,
            "not conserved: {stats}"
        );
        let watched: Vec<_> = self.ends.keys().cloned().collect();
        watched.iter().try_for_each(|port| self.unwatch(port))?;
        self.daemon.cli_ok(&["switch", "remove", "lan"])?;
        ensure!(self.world.host.interfaces()? == [NIC], "left: {:?}", self.world.host.interfaces()?);
        self.vms.values().try_for_each(Namespace::wait_empty)?;
        // Fewer is as good: the connection that asked whether the daemon is there may have been counted at first.
        wait_until("descriptors closed", PATIENCE, || Ok(descriptors(&self.daemon)? <= self.descriptors))?;
        self.daemon.stop()
    }
}

/// How many files the daemon has open.
fn descriptors(daemon: &Daemon) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", daemon.id()?))?.count())
}

/// A frame of 60 bytes that no stack answers.
pub fn frame(to: &str, from: &str) -> Vec<u8> {
    frame_from(frames::mac(to), frames::mac(from), 60)
}

/// The same with this length.
pub fn frame_from(to: Mac, from: Mac, length: usize) -> Vec<u8> {
    frames::of_length(to, from, frames::EXPERIMENT, length)
}
