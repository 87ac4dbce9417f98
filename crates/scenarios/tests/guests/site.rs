//! Where these tests take place: the external switch `lan` and VMs that are namespaces.

use anyhow::Result;
use lab::{Daemon, NIC, Namespace, Snapshot, World, WorldOptions};

/// A world with the external switch `lan` on its NIC.
pub struct Site {
    pub daemon: Daemon,
    pub world: World,
}

impl Site {
    /// The usual world.
    pub fn new() -> Result<Site> {
        Self::with(&WorldOptions::default())
    }

    pub fn with(options: &WorldOptions) -> Result<Site> {
        Self::on(World::with(options)?)
    }

    /// A world in which nobody speaks IPv6: without its neighbour discovery all traffic is the test's.
    pub fn ipv4_only() -> Result<Site> {
        let world = World::new()?;
        world.host.disable_ipv6()?;
        world.far.disable_ipv6()?;
        Self::on(world)
    }

    fn on(world: World) -> Result<Site> {
        let daemon = Daemon::start(&world.host)?;
        daemon.cli_ok(&["switch", "add", "lan", "--external", NIC])?;
        Ok(Site { daemon, world })
    }

    /// With AF_XDP on the NIC, which has no room for segments and partial checksums beside frames.
    pub fn by_af_xdp(self) -> Result<Site> {
        self.daemon.cli_ok(&["switch", "set", "lan", "--io", "af-xdp"])?;
        Ok(self)
    }

    /// A VM that is a namespace: its vNIC is `eth0`. It speaks no IPv6 before it has an address.
    pub fn vm(&self, port: &str) -> Result<Namespace> {
        let vm = Namespace::new(port)?;
        vm.disable_ipv6()?;
        self.daemon.cli_ok(&["port", "add", "lan", port, "--netns", vm.name()])?;
        Ok(vm)
    }

    /// A VM that may send in every VLAN, and whose priorities are kept.
    pub fn trunk_vm(&self, port: &str) -> Result<Namespace> {
        let vm = self.vm(port)?;
        self.make_trunk(port)?;
        Ok(vm)
    }

    /// Has a port send in every VLAN and keep its priorities.
    pub fn make_trunk(&self, port: &str) -> Result<()> {
        let place = format!("lan/{port}");
        let trunk = ["--vlan", "trunk=all", "--trust-priority", "on"];
        self.daemon.cli_ok(&[&["port", "set", &place], &trunk[..]].concat()).map(drop)
    }

    /// A VM with an IPv4 and an IPv6 address.
    pub fn vm_with_addresses(&self, port: &str, number: u8) -> Result<Namespace> {
        let vm = self.vm(port)?;
        vm.set_sysctl("net/ipv6/conf/eth0/disable_ipv6", "0")?;
        vm.add_address("eth0", &format!("10.9.0.{number}/24"))?;
        vm.add_address("eth0", &format!("fd00:9::{number}/64"))?;
        Ok(vm)
    }

    /// Ends with frames conserved, and with nothing left but the NIC.
    pub fn close(mut self) -> Result<()> {
        Snapshot::take(&self.daemon, "lan")?;
        self.daemon.cli_ok(&["switch", "remove", "lan"])?;
        self.daemon.stop()?;
        assert_eq!(self.world.host.interfaces()?, [NIC]);
        Ok(())
    }
}

/// Offloads of an interface off, all that ethtool knows by a short name.
pub fn without_offloads(namespace: &Namespace, interface: &str) -> Result<()> {
    let off = "tso off gso off gro off tx off rx off tx-udp-segmentation off";
    let argv: Vec<&str> = ["ethtool", "-K", interface].into_iter().chain(off.split(' ')).collect();
    namespace.exec(&argv).map(drop)
}
