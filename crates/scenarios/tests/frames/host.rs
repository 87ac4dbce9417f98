//! The host vNIC is an ordinary port.

use crate::lan::{Lan, NOBODY, OUTSIDE, VM1, frame};
use crate::round::Round;
use anyhow::Result;
use lab::{FAR_IPV4, NIC, NIC_MAC, Snapshot};

#[test]
fn root_the_host_vnic_is_guarded_like_any_port() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.watch_host("host", "lan")?;
    lan.vm("vm1", VM1, &[])?;
    assert!(lan.macs()?.contains(&(NIC_MAC.into(), "host".into(), "pinned".into())), "{:?}", lan.macs()?);
    lan.run(
        Round::default()
            .sends("host", &frame(NOBODY, NIC_MAC))
            .reaches(&[NIC])
            .sends("host", &frame(NOBODY, OUTSIDE))
            .drops("host", "spoofed_mac")
            .sends("host", &frame("ff:ff:ff:ff:ff:ff", VM1))
            .drops("host", "spoofed_mac"),
    )?;
    lan.daemon.cli_ok(&["port", "set", "lan/host", "--guard", "off"])?;
    lan.run(Round::default().sends("host", &frame(NOBODY, OUTSIDE)).reaches(&[NIC]))?;
    assert_eq!(lan.learned(OUTSIDE)?.as_deref(), Some("host"));
    lan.finish()
}

#[test]
fn root_no_host_leaves_the_host_without_a_vnic() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    lan.vm("vm1", VM1, &[])?;
    assert_eq!(lan.world.host.interfaces()?, [NIC]);
    lan.run(Round::default().sends(NIC, &frame("ff:ff:ff:ff:ff:ff", OUTSIDE)).reaches(&["vm1"]))?;
    lan.run(Round::default().sends(NIC, &frame(NIC_MAC, OUTSIDE)).drops(NIC, "no_destination"))?;
    // Nobody holds the NIC's address here, so it is an address like any other.
    lan.run(Round::default().sends("vm1", &frame(NIC_MAC, VM1)).reaches(&[NIC]))?;
    lan.finish()
}

#[test]
fn root_the_host_vnic_can_be_taken_away_and_made_again() -> Result<()> {
    let mut lan = Lan::external(&[])?;
    lan.vm("vm1", VM1, &[])?;
    lan.daemon.cli_ok(&["switch", "set", "lan", "--host", "off"])?;
    assert_eq!(lan.world.host.interfaces()?, [NIC]);
    assert_eq!(lan.macs()?, [(VM1.into(), "vm1".into(), "pinned".into())]);
    lan.daemon.cli_ok(&["switch", "set", "lan", "--host", "on"])?;
    assert_eq!(lan.world.host.mac("lan")?, NIC_MAC);
    lan.watch_host("host", "lan")?;
    lan.run(Round::default().sends(NIC, &frame("ff:ff:ff:ff:ff:ff", OUTSIDE)).reaches(&["vm1", "host"]))?;
    lan.run(Round::default().sends("host", &frame(OUTSIDE, NIC_MAC)).reaches(&[NIC]))?;
    lan.finish()
}

#[test]
fn root_further_host_vnics_have_macs_of_their_own_and_are_reached_from_outside() -> Result<()> {
    let lan = Lan::new(&["--external", NIC])?;
    let host = &lan.world.host;
    // Each vNIC answers for its own addresses only: by default Linux answers on any interface for all of them.
    host.set_sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
    lan.daemon.cli_ok(&["port", "add", "lan", "host2", "--host", "hv2"])?;
    lan.daemon.cli_ok(&["port", "add", "lan", "host3", "--host"])?;
    host.add_address("hv2", "10.9.0.22/24")?;
    host.add_address("host3", "10.9.3.1/24")?;
    lan.world.far.add_address("eth0", "10.9.3.3/24")?;
    for (interface, port, address) in [("hv2", "host2", "10.9.0.22"), ("host3", "host3", "10.9.3.1")] {
        lan.world.far.ping(address)?;
        let mac = host.mac(interface)?;
        let neighbour = lan.world.far.ip(&format!("neigh show {address}"))?;
        assert!(neighbour.contains(&mac), "{address} is at {neighbour}, not {mac}");
        assert!(lan.macs()?.contains(&(mac.clone(), port.into(), "pinned".into())), "{:?}", lan.macs()?);
        assert_eq!(lan.world.phys_fdb()?.get(&mac).map(String::as_str), Some("p1"));
    }
    let mut macs = [host.mac("lan")?, host.mac("hv2")?, host.mac("host3")?];
    macs.sort();
    assert!(macs.windows(2).all(|two| two[0] != two[1]), "{macs:?}");
    host.ping(FAR_IPV4)?;
    Snapshot::take(&lan.daemon, "lan")?;
    lan.daemon.cli_ok(&["port", "remove", "lan/host2"])?;
    assert_eq!(host.interfaces()?.len(), 3, "{:?}", host.interfaces()?);
    lan.world.far.ping("10.9.3.1")?;
    lan.finish()
}
