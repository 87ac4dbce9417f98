//! A machine with NICs that have zero-copy: a guest, in which vmswitchd runs.
//!
//! ```text
//!   far        the machine (a guest)        vm
//!   tap0 ═════ eth0 ─ switch lan ─ eth1 ═════ tap1
//!   10.9.0.3          10.9.0.1                10.9.0.51
//! ```
//!
//! Linux's virtio_net has it where the device asks for the kernel's DMA API (VIRTIO_F_ACCESS_PLATFORM) and a queue can be
//! reset alone (VIRTIO_F_RING_RESET, QEMU 7.2). As a module it has the NIC read the headers of what it sends from 1 GiB on (`io`'s
//! `STRAY_HEADERS`), or elsewhere where the kernel is loaded at random. So it is not, and there is no memory there, which is read as
//! zeros: what the headers are. Without that one of ten runs lost all frames that it sent.

use crate::state::PATIENCE;
use anyhow::{Context, Result, ensure};
use lab::{
    Answers, Binaries, FAR_MAC, Guest, GuestOptions, Kernel, Monitor, NIC_MAC, Namespace, Netdev, Nic,
    wait_until,
};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::path::PathBuf;

/// Its NIC, which is the switch's uplink.
pub const UPLINK: &str = "eth0";
/// The VM's MAC address.
pub const VM_MAC: &str = "02:00:00:00:01:01";
const PROCESSORS: u16 = 2;
/// On two workers, so that each has a queue of each NIC.
const DAEMON: &str = "vmswitchd --workers 0,1 >>/tmp/log 2>&1 &
    until vmswitch switch list >/dev/null 2>&1; do sleep 0.1; done";

/// What a NIC is like.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Queue pairs; at first the driver uses as many as the machine has processors.
    pub queues: u16,
    /// Whether its driver uses the kernel's DMA API, without which it has no zero-copy.
    pub dma_api: bool,
}

/// With zero-copy.
pub const USUAL: Kind = Kind { queues: PROCESSORS, dma_api: true };

/// The machine, and what its NICs are connected to.
pub struct Machine {
    guest: RefCell<Guest>,
    pub far: Namespace,
    pub vm: Namespace,
    dir: tempfile::TempDir,
}

impl Machine {
    /// Boots it with a NIC of each kind and starts vmswitchd. Nobody has an address yet, and nobody speaks.
    pub fn boot([uplink, other]: [Kind; 2]) -> Result<Machine> {
        let (far, vm, dir) = (Namespace::new("far")?, Namespace::new("vm")?, lab::temp_dir()?);
        far.disable_ipv6()?;
        vm.disable_ipv6()?;
        for (tap, mac) in [("tap0", FAR_MAC), ("tap1", VM_MAC)] {
            far.ip(&format!("tuntap add dev {tap} mode tap vnet_hdr multi_queue"))?;
            far.ip(&format!("link set {tap} address {mac} up"))?;
        }
        let nics = vec![uplink.nic("tap0", NIC_MAC), other.nic("tap1", "02:00:00:09:00:02")];
        let binaries = Binaries::find()?;
        let options = GuestOptions {
            kernel: Kernel::Backports,
            programs: vec![binaries.daemon(), binaries.cli(), program("ip")?, program("ethtool")?],
            arguments: ["-smp".to_owned(), PROCESSORS.to_string()].to_vec(),
            monitor: Some(dir.path().join("qmp")),
            parameters: "nokaslr",
            in_turns: true,
            memory_mib: 1024,
            ..GuestOptions::new(nics)
        };
        let mut guest = Guest::boot(&far, &options)?;
        far.ip(&format!("link set tap1 netns {}", vm.name()))?;
        vm.ip("link set tap1 up")?;
        guest.run("for all in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >$all; done")?;
        guest.run("ip link set eth0 up; ip link set eth1 up")?;
        guest.run(DAEMON)?;
        Ok(Machine { guest: RefCell::new(guest), far, vm, dir })
    }

    /// Gives everybody an address. Everybody knows everybody's MAC for good, so that no frame passes that was not sent.
    pub fn introduce(&self, interface: &str) -> Result<()> {
        let all = [("10.9.0.3", FAR_MAC), ("10.9.0.1", NIC_MAC), ("10.9.0.51", VM_MAC)];
        for (own, dev, at) in
            [(0, "tap0", Some(&self.far)), (1, interface, None), (2, "tap1", Some(&self.vm))]
        {
            let mut commands = vec![format!("addr add {}/24 dev {dev}", all[own].0)];
            let others = all.iter().enumerate().filter(|(number, _)| *number != own);
            commands.extend(others.map(|(_, (address, mac))| {
                format!("neigh replace {address} lladdr {mac} dev {dev} nud permanent")
            }));
            for command in commands {
                match at {
                    Some(namespace) => namespace.ip(&command)?,
                    None => self.run(&format!("/bin/ip {command}"))?,
                };
            }
        }
        Ok(())
    }

    /// Runs a command in the machine that has to succeed; what it printed.
    pub fn run(&self, command: &str) -> Result<String> {
        self.guest.borrow_mut().run(command)
    }

    /// `vmswitch …` that has to succeed.
    pub fn vmswitch(&self, arguments: &str) -> Result<String> {
        let printed = self.run(&format!("vmswitch {arguments}"));
        printed.with_context(|| format!("vmswitchd's log:\n{}", self.log()))
    }

    /// What all sides say of their frames, where some do not come through.
    pub fn told(&self) -> String {
        let commands =
            ["stats lan", "port show lan/vm", "switch show lan"].map(|command| self.vmswitch(command));
        let of_kernel = self.run("ethtool -S eth0; ethtool -S eth1; cat /proc/interrupts; dmesg | tail -20");
        let ends = [(&self.far, "tap0"), (&self.vm, "tap1")]
            .map(|(end, tap)| end.ip(&format!("-s -s link show {tap}")));
        format!("{commands:?}\n{of_kernel:?}\n{ends:?}\n{:?}\n{}", self.queues(), self.log())
    }

    /// Where QEMU is in the queues of the NICs.
    fn queues(&self) -> Result<Vec<String>> {
        let mut monitor = Monitor::connect(&self.dir.path().join("qmp"))?;
        let devices = monitor.execute("x-query-virtio", json!({}))?;
        let paths = devices.as_array().into_iter().flatten().filter(|device| device["name"] == "virtio-net");
        let paths: Vec<_> = paths.map(|device| device["path"].clone()).collect();
        let mut told = Vec::new();
        for (path, queue) in paths.iter().flat_map(|path| (0..5).map(move |queue| (path, queue))) {
            let status =
                monitor.execute("x-query-virtio-queue-status", json!({"path": path, "queue": queue}));
            told.push(format!("{queue} {status:?}\n"));
        }
        Ok(told)
    }

    /// What vmswitchd has logged.
    pub fn log(&self) -> String {
        self.run("cat /tmp/log").unwrap_or_default()
    }

    pub fn kill_daemon(&self) -> Result<()> {
        self.run("kill -9 $(pidof vmswitchd); while pidof vmswitchd >/dev/null; do sleep 0.01; done")
            .map(drop)
    }

    pub fn launch_daemon(&self) -> Result<()> {
        self.run(DAEMON).map(drop)
    }

    /// How frames pass the interface of a port.
    pub fn io(&self, port: &str) -> Result<Value> {
        Ok(self.cli_json(&["port", "show", &format!("lan/{port}")])?["io"].clone())
    }

    /// Waits until the uplink is down with a reason that says so.
    pub fn wait_down(&self, reason: &str) -> Result<()> {
        wait_until(&format!("uplink down: {reason}"), PATIENCE, || {
            let shown = self.cli_json(&["port", "show", "lan/eth0"])?;
            let told = shown["reason"].as_str().unwrap_or_default().contains(reason);
            Ok(shown["state"] == "down" && told)
        })
    }

    /// Both ports are up, and no frame is copied.
    pub fn expect_zero_copy(&self) -> Result<()> {
        for port in ["eth0", "vm"] {
            let shown = self.cli_json(&["port", "show", &format!("lan/{port}")])?;
            let is_up = shown["state"] == "up" && shown["io"]["mode"] == "af-xdp-zero-copy";
            ensure!(is_up, "{shown}\n{}", self.log());
        }
        Ok(())
    }

    /// The kernel has not complained of its driver or of what was asked of it.
    pub fn expect_content_kernel(&self) -> Result<()> {
        let said = self.run("dmesg")?;
        let complaints = ["WARNING:", "BUG:", "Call Trace:", "Failed to disable umem"];
        ensure!(!complaints.iter().any(|complaint| said.contains(complaint)), "{said}");
        Ok(())
    }

    /// Cuts and mends the cable of the uplink.
    pub fn set_carrier(&self, up: bool) -> Result<()> {
        let mut monitor = Monitor::connect(&self.dir.path().join("qmp"))?;
        monitor.execute("set_link", json!({"name": "n0", "up": up})).map(drop)
    }
}

impl Answers for Machine {
    fn cli_json(&self, args: &[&str]) -> Result<Value> {
        let printed = self.vmswitch(&format!("--json {}", args.join(" ")))?;
        serde_json::from_str(&printed).with_context(|| format!("{args:?}: no JSON: {printed}"))
    }
}

impl Kind {
    fn nic(self, tap: &str, mac: &str) -> Nic {
        let dma_api = if self.dma_api { "on" } else { "off" };
        // An interrupt for each queue, for changes of the settings, and for the control queue.
        let vectors = 2 * self.queues + 2;
        let properties = format!("mq=on,vectors={vectors},disable-legacy=on,iommu_platform={dma_api}");
        let netdev = Netdev::MultiQueueTap(tap.to_owned(), self.queues);
        Nic { properties: vec![properties], ..Nic::new(netdev, mac) }
    }
}

/// Where a program of this machine is.
fn program(name: &str) -> Result<PathBuf> {
    let found = lab::text(std::process::Command::new("sh").args(["-c", "command -v \"$0\"", name]))?;
    Ok(PathBuf::from(found.trim()))
}
