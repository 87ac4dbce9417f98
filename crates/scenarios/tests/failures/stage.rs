//! A switch with a NIC and two VMs that never speak unless a test makes them.

use anyhow::{Context, Result, ensure};
use lab::{Daemon, FAR_IPV4, FAR_MAC, HOST_IPV4, NIC, NIC_MAC, Namespace, Snapshot, World, wait_until};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(10);
pub const VM1: (&str, &str) = ("10.9.0.51", "02:00:00:00:01:01");
pub const VM2: (&str, &str) = ("10.9.0.52", "02:00:00:00:01:02");

/// Bytes of an echo request as `ping` sends it: Ethernet, IPv4 and ICMP headers, and 56 bytes.
const ECHO: u64 = 14 + 20 + 8 + 56;
/// Echoes that are sent in one go.
const ECHOES: u32 = 25;

pub struct Stage {
    pub world: World,
    pub vm1: Namespace,
    pub vm2: Namespace,
    pub daemon: Daemon,
}

impl Stage {
    pub fn new() -> Result<Stage> {
        let (world, vm1, vm2) = (World::new()?, Namespace::new("vm1")?, Namespace::new("vm2")?);
        for namespace in [&world.host, &world.far, &vm1, &vm2] {
            namespace.disable_ipv6()?;
        }
        know_all(&world.host, NIC)?;
        know_all(&world.far, "eth0")?;
        let daemon = Daemon::start(&world.host)?;
        daemon.cli_ok(&["switch", "add", "lan", "--external", NIC])?;
        let stage = Stage { world, vm1, vm2, daemon };
        stage.add_vm("vm1", &stage.vm1, VM1)?;
        stage.add_vm("vm2", &stage.vm2, VM2)?;
        Ok(stage)
    }

    fn add_vm(&self, port: &str, namespace: &Namespace, (ip, mac): (&str, &str)) -> Result<()> {
        self.daemon.cli_ok(&["port", "add", "lan", port, "--netns", namespace.name(), "--mac", mac])?;
        set_up_vm(namespace, ip)
    }

    pub fn port(&self, port: &str) -> Result<Value> {
        self.daemon.cli_json(&["port", "show", &format!("lan/{port}")])
    }

    pub fn expect_up(&self, port: &str) -> Result<()> {
        let shown = self.port(port)?;
        ensure!(shown["state"] == "up", "{shown}");
        Ok(())
    }

    /// Waits until a port is up.
    pub fn wait_up(&self, port: &str) -> Result<()> {
        let waited =
            wait_until(&format!("port {port} up"), PATIENCE, || Ok(self.port(port)?["state"] == "up"));
        waited.with_context(|| format!("{:?}; log:\n{}", self.port(port), self.daemon.log()))
    }

    /// Waits until a port is down with a reason that says so.
    pub fn wait_down(&self, port: &str, reason: &str) -> Result<()> {
        let waited = wait_until(&format!("port {port} down: {reason}"), PATIENCE, || {
            let shown = self.port(port)?;
            Ok(shown["state"] == "down" && shown["reason"].as_str().is_some_and(|r| r.contains(reason)))
        });
        waited.with_context(|| format!("{:?}; log:\n{}", self.port(port), self.daemon.log()))
    }

    /// Runs `failure` while the VMs ping each other. Not an echo is lost, and no counter moves but for the echoes.
    pub fn undisturbed_by(&self, failure: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = Snapshot::take(&self.daemon, "lan")?;
        let sent = self.ping_through(failure)?;
        let both =
            |counter: &'static str, n: u64| [("vm1", counter, n), ("vm2", counter, n), ("*", counter, 2 * n)];
        let moved = [
            both("rx_frames", sent),
            both("tx_frames", sent),
            both("rx_bytes", sent * ECHO),
            both("tx_bytes", sent * ECHO),
        ];
        before.expect_delta(&self.daemon, moved.as_flattened()).map(drop)
    }

    /// The NIC is switched off, and on again after what happens `meanwhile`.
    pub fn switch_nic_off_and_on(&self, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        self.undisturbed_by(|| {
            self.world.host.ip(&format!("link set {NIC} down"))?;
            self.wait_down(NIC, "switched off")?;
            meanwhile()?;
            self.world.host.ip(&format!("link set {NIC} up"))?;
            self.wait_up(NIC)
        })
    }

    /// The NIC's cable is cut at its far end, and mended.
    pub fn cut_and_mend_cable(&self) -> Result<()> {
        self.undisturbed_by(|| {
            self.world.phys.ip("link set p1 down")?;
            self.wait_down(NIC, "no carrier")?;
            self.world.phys.ip("link set p1 up")?;
            self.wait_up(NIC)
        })
    }

    /// The NIC is pulled out, and put in again after what happens `meanwhile`.
    pub fn pull_nic_out_and_put_it_in(&self, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        self.undisturbed_by(|| {
            self.world.unplug(NIC)?;
            self.wait_down(NIC, "not there")?;
            meanwhile()?;
            self.world.plug(NIC, NIC_MAC, "p1")?;
            self.wait_up(NIC)
        })
    }

    /// Runs `failure` while the VMs ping each other; not an echo is lost. Returns how many there were.
    pub fn ping_through(&self, failure: impl FnOnce() -> Result<()>) -> Result<u64> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let pinging = scope.spawn(|| self.ping_until(&over));
            let failed = failure();
            over.store(true, Ordering::Relaxed);
            let sent = pinging.join().map_err(|_| anyhow::anyhow!("the pinging thread panicked"))?;
            failed.and(sent)
        })
    }

    fn ping_until(&self, over: &AtomicBool) -> Result<u64> {
        let mut sent = 0;
        loop {
            let ping = self.vm1.try_ping(VM2.0, ECHOES, 0.01)?;
            ensure!(ping.received == ECHOES, "{ping:?} between the VMs");
            sent += u64::from(ECHOES);
            if over.load(Ordering::Relaxed) {
                return Ok(sent);
            }
        }
    }

    /// Host and VMs reach the far machine.
    pub fn expect_reach(&self) -> Result<()> {
        for namespace in [&self.world.host, &self.vm1, &self.vm2] {
            namespace.wait_ping(FAR_IPV4, PATIENCE)?;
        }
        Ok(())
    }

    /// Frames are conserved, and nothing is left when the switch is removed.
    pub fn end(mut self) -> Result<()> {
        Snapshot::take(&self.daemon, "lan")?;
        self.daemon.cli_ok(&["switch", "remove", "lan"])?;
        let left = self.world.host.interfaces()?;
        ensure!(left.iter().all(|i| i == NIC), "left: {left:?}");
        [&self.vm1, &self.vm2].into_iter().try_for_each(Namespace::wait_empty)?;
        self.daemon.stop()
    }
}

/// Gives a VM's namespace its address, and everybody else's MAC.
pub fn set_up_vm(namespace: &Namespace, ip: &str) -> Result<()> {
    namespace.add_address("eth0", &format!("{ip}/24"))?;
    know_all(namespace, "eth0")
}

/// With permanent neighbours nobody has to ask: no frame passes that no test sent.
fn know_all(namespace: &Namespace, dev: &str) -> Result<()> {
    for (ip, mac) in [VM1, VM2, (FAR_IPV4, FAR_MAC), (HOST_IPV4, NIC_MAC)] {
        namespace.ip(&format!("neigh replace {ip} lladdr {mac} nud permanent dev {dev}"))?;
    }
    Ok(())
}
