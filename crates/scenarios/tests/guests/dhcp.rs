//! Behaviour 11: DHCP. Its clients read below the stack and take a partial checksum for a damaged datagram.

use crate::ledger::{Ledger, assert_finished};
use crate::site::Site;
use anyhow::{Context, Result};
use lab::services::DhcpServer;
use lab::{Namespace, Process};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

const FIRST: &str = "10.9.0.100";
const LAST: &str = "10.9.0.150";
const PATIENCE: Duration = Duration::from_secs(20);

/// A DHCP client on `eth0` of a namespace that runs until it is dropped.
struct Client {
    process: Process,
    _dir: tempfile::TempDir,
}

/// What each client runs when its lease changes; it takes the address and nothing else.
const UDHCPC_SCRIPT: &str = r#"#!/bin/sh
case $1 in bound | renew) ip addr replace "$ip/$mask" dev "$interface" ;; esac
"#;
const DHCLIENT_SCRIPT: &str = r#"#!/bin/sh
[ -z "$new_ip_address" ] || ip addr replace "$new_ip_address/24" dev "$interface"
"#;

impl Client {
    /// Busybox's client.
    fn udhcpc(namespace: &Namespace) -> Result<Client> {
        let options = "busybox udhcpc -i eth0 -f -n -t 10 -T 1 -s";
        Self::start(namespace, options, UDHCPC_SCRIPT, "obtained")
    }

    /// ISC's client.
    fn dhclient(namespace: &Namespace) -> Result<Client> {
        let options = "dhclient -4 -d -1 -lf /dev/null -pf /dev/null eth0 -sf";
        Self::start(namespace, options, DHCLIENT_SCRIPT, "bound to")
    }

    fn start(namespace: &Namespace, options: &str, content: &str, bound: &str) -> Result<Client> {
        let dir = lab::temp_dir()?;
        let script = executable(dir.path().join("script"), content)?;
        let mut argv: Vec<&str> = options.split_whitespace().collect();
        argv.push(&script);
        let mut process = namespace.spawn(&argv, &dir.path().join("log"))?;
        process.wait_for_log(bound, PATIENCE)?;
        Ok(Client { process, _dir: dir })
    }

    /// Has udhcpc renew its lease, and waits until it has.
    fn renew(&mut self) -> Result<()> {
        let leases = |process: &Process| process.log().matches("obtained").count();
        let before = leases(&self.process);
        lab::text(std::process::Command::new("kill").args(["-USR1", &self.process.id().to_string()]))?;
        lab::wait_until("renewed lease", PATIENCE, || Ok(leases(&self.process) > before))
            .with_context(|| self.process.log())
    }
}

fn executable(path: PathBuf, content: &str) -> Result<String> {
    std::fs::write(&path, content)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    path.into_os_string().into_string().ok().context("a path of the lab is ASCII")
}

/// The address from the server's range that the namespace has.
fn lease(namespace: &Namespace) -> Result<Option<u8>> {
    let links = namespace.ip_json("-4 addr show dev eth0")?;
    let addresses = links[0]["addr_info"].as_array().cloned().unwrap_or_default();
    let last = |text: &str| text.strip_prefix("10.9.0.")?.parse().ok();
    Ok(addresses.iter().filter_map(|a| last(a["local"].as_str()?)).find(|n| (100..=150).contains(n)))
}

/// A client in a VM gets a lease from the far machine, whose replies the kernel there left without checksum.
fn leased_from_far(
    site: Site,
    client: impl FnOnce(&Namespace) -> Result<Client>,
    renews: bool,
) -> Result<()> {
    let vm = site.vm("vm1")?;
    let _server = DhcpServer::start(&site.world.far, "eth0", FIRST, LAST)?;
    let vnics = [("vm1", &vm, "eth0"), ("nic0", &site.world.far, "eth0"), ("host", &site.world.host, "lan")];
    let ledger = Ledger::open(&site.daemon, "lan", &vnics)?;
    let mut client = client(&vm)?;
    if renews {
        client.renew()?;
    }
    lab::wait_until("address of the lease", PATIENCE, || Ok(lease(&vm)?.is_some()))?;
    vm.ping(lab::FAR_IPV4)?;
    ledger.balance(&site.daemon, "lan")?;
    assert!(ledger.sent("nic0").iter().any(|f| f.checksum_missing), "the server's kernel did no offload");
    assert_eq!(ledger.sent("vm1").iter().any(|f| f.checksum_missing), renews);
    for receiver in ["vm1", "nic0", "host"] {
        assert_finished(&ledger.received(receiver)).context(receiver)?;
    }
    drop(client);
    site.close()
}

#[test]
fn root_udhcpc_in_a_vm_gets_and_renews_a_lease_from_outside() -> Result<()> {
    leased_from_far(Site::ipv4_only()?, Client::udhcpc, true)
}

#[test]
fn root_dhclient_in_a_vm_gets_a_lease_from_outside() -> Result<()> {
    leased_from_far(Site::ipv4_only()?, Client::dhclient, false)
}

#[test]
fn root_dhcp_clients_in_a_vm_get_leases_through_an_af_xdp_uplink() -> Result<()> {
    leased_from_far(Site::ipv4_only()?.by_af_xdp()?, Client::udhcpc, true)?;
    leased_from_far(Site::ipv4_only()?.by_af_xdp()?, Client::dhclient, false)
}

#[test]
fn root_a_dhcp_server_in_a_vm_serves_clients_outside_and_in_other_vms() -> Result<()> {
    served_from_a_vm(Site::ipv4_only()?)
}

#[test]
fn root_a_dhcp_server_in_a_vm_serves_clients_outside_through_an_af_xdp_uplink() -> Result<()> {
    served_from_a_vm(Site::ipv4_only()?.by_af_xdp()?)
}

fn served_from_a_vm(site: Site) -> Result<()> {
    let (vm1, vm2) = (site.vm("vm1")?, site.vm("vm2")?);
    vm1.add_address("eth0", "10.9.0.11/24")?;
    let _server = DhcpServer::start(&vm1, "eth0", FIRST, LAST)?;
    let far = &site.world.far;
    let vnics = [("vm1", &vm1, "eth0"), ("vm2", &vm2, "eth0"), ("nic0", far, "eth0")];
    let host = ("host", &site.world.host, "lan");
    let ledger = Ledger::open(&site.daemon, "lan", &[&vnics[..], &[host]].concat())?;
    let mut clients = Vec::new();
    for client in [far, &vm2] {
        clients.push(Client::dhclient(client)?);
        lab::wait_until("address of the lease", PATIENCE, || Ok(lease(client)?.is_some()))?;
        clients.push(Client::udhcpc(client)?);
    }
    assert_ne!(lease(far)?, lease(&vm2)?);
    ledger.balance(&site.daemon, "lan")?;
    assert!(ledger.sent("vm1").iter().any(|f| f.checksum_missing), "the server's kernel did no offload");
    for receiver in ["vm1", "vm2", "nic0", "host"] {
        assert_finished(&ledger.received(receiver)).context(receiver)?;
    }
    drop(clients);
    site.close()
}
