//! The world around the host: a NIC, a cable, a physical switch, and a machine at its far end.
//!
//! ```text
//!   host                 phys                   far
//!   nic0 ═══ cable ═══ p1 ┐ sw ┌ p2 ═══ cable ═══ eth0
//!   10.9.0.1              └────┘                10.9.0.3
//!   fd00:9::1          Linux bridge             fd00:9::3
//! ```

use crate::namespace::Namespace;
use crate::run::text;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// The NIC of the host.
pub const NIC: &str = "nic0";
/// Its MAC address, unless another is asked for.
pub const NIC_MAC: &str = "02:00:00:09:00:01";
/// The MAC address of the far machine.
pub const FAR_MAC: &str = "02:00:00:09:00:03";
/// The host's IPv4 address; its prefix has 24 bits.
pub const HOST_IPV4: &str = "10.9.0.1";
/// The host's IPv6 address; its prefix has 64 bits.
pub const HOST_IPV6: &str = "fd00:9::1";
/// The far machine's IPv4 address.
pub const FAR_IPV4: &str = "10.9.0.3";
/// The far machine's IPv6 address.
pub const FAR_IPV6: &str = "fd00:9::3";

/// How a [`World`] differs from the usual one.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// MAC address of `nic0`.
    pub nic_mac: String,
    /// MTU of both cables and the physical switch; 9000 for jumbo frames.
    pub mtu: u32,
    /// Whether `nic0` has the host's addresses.
    pub host_addresses: bool,
}

impl Default for WorldOptions {
    fn default() -> Self {
        WorldOptions { nic_mac: NIC_MAC.to_owned(), mtu: 1500, host_addresses: true }
    }
}

/// Three namespaces and the cables between them.
#[derive(Debug)]
pub struct World {
    /// The machine whose NIC becomes an uplink.
    pub host: Namespace,
    /// The physical switch: a Linux bridge `sw`. It never speaks itself.
    pub phys: Namespace,
    /// A machine plugged into the physical switch.
    pub far: Namespace,
    mtu: u32,
}

impl World {
    /// The usual world.
    pub fn new() -> Result<World> {
        Self::with(&WorldOptions::default())
    }

    /// A world that differs.
    pub fn with(options: &WorldOptions) -> Result<World> {
        let world = World {
            host: Namespace::new("host")?,
            phys: Namespace::new("phys")?,
            far: Namespace::new("far")?,
            mtu: options.mtu,
        };
        world.phys.disable_ipv6()?;
        // With snooping or STP on, the bridge would send queries and BPDUs of its own.
        world.phys.ip("link add sw type bridge stp_state 0 mcast_snooping 0")?;
        world.phys.ip("link set sw up")?;
        world.plug(NIC, &options.nic_mac, "p1")?;
        world.cable(&world.far, "eth0", FAR_MAC, "p2")?;
        world.far.add_address("eth0", &format!("{FAR_IPV4}/24"))?;
        world.far.add_address("eth0", &format!("{FAR_IPV6}/64"))?;
        if options.host_addresses {
            world.host.add_address(NIC, &format!("{HOST_IPV4}/24"))?;
            world.host.add_address(NIC, &format!("{HOST_IPV6}/64"))?;
        }
        Ok(world)
    }

    /// Puts a NIC into the host and plugs it into the physical switch's port `port`.
    pub fn plug(&self, nic: &str, mac: &str, port: &str) -> Result<()> {
        self.cable(&self.host, nic, mac, port)
    }

    /// Takes a NIC out of the host, as pulling the card would; the physical switch's port goes with it.
    pub fn unplug(&self, nic: &str) -> Result<()> {
        self.host.ip(&format!("link del {nic}")).map(drop)
    }

    /// Puts an interface into a machine and plugs it into the physical switch's port `port`.
    pub fn cable(&self, end: &Namespace, interface: &str, mac: &str, port: &str) -> Result<()> {
        let (end_name, phys, mtu) = (end.name(), self.phys.name(), self.mtu.to_string());
        text(
            Command::new("ip")
                .args(["link", "add", interface, "mtu", &mtu, "address", mac, "netns", end_name])
                .args(["type", "veth", "peer", "name", port, "mtu", &mtu, "netns", phys]),
        )?;
        self.phys.ip(&format!("link set {port} master sw up"))?;
        end.ip(&format!("link set {interface} up")).map(drop)
    }

    /// Fails unless the host's stack is off its NIC: no address, no answer to ARP, and nothing that comes in reaches it.
    pub fn expect_silent_nic(&self) -> Result<()> {
        let shown = self.host.ip(&format!("addr show dev {NIC}"))?;
        ensure!(
            !shown.contains("inet") && ["PROMISC", "NOARP", ",UP"].iter().all(|flag| shown.contains(flag)),
            "{shown}"
        );
        ensure!(self.host.sysctl(&format!("net/ipv6/conf/{NIC}/disable_ipv6"))? == "1", "IPv6 is on");
        let filters = self.host.exec(&["tc", "filter", "show", "dev", NIC, "ingress"])?;
        ensure!(filters.contains("bpf"), "the NIC's ingress is open");
        Ok(())
    }

    /// What the physical switch has learned: MAC address → port. Its own addresses are not in it.
    pub fn phys_fdb(&self) -> Result<BTreeMap<String, String>> {
        let out =
            text(Command::new("bridge").args(["-n", self.phys.name(), "-j", "fdb", "show", "br", "sw"]))?;
        let entries: Value =
            serde_json::from_str(&out).with_context(|| format!("bridge printed no JSON: {out}"))?;
        Ok(entries.as_array().into_iter().flatten().filter_map(learned).collect())
    }

    /// Makes the physical switch forget what it learned.
    pub fn phys_flush(&self) -> Result<()> {
        self.phys.ip("link set sw type bridge fdb_flush").map(drop)
    }
}

fn learned(entry: &Value) -> Option<(String, String)> {
    if entry["state"].as_str().is_some_and(|state| state == "permanent") {
        return None;
    }
    Some((entry["mac"].as_str()?.to_owned(), entry["ifname"].as_str()?.to_owned()))
}
