//! Policies of a port: what is given with `port add` and `port set`, and what `port show` says. A file for each.

mod acl;
mod guard;
mod ip_guard;
mod mirror;
pub mod rate;
mod vlan;

pub use mirror::copies_row;

use crate::{
    args::OnOff,
    place::{self, Macs},
    switch::or_dash,
};
use clap::Args;
use model::{Attachment, ChangePort, MacAddr, PortConfig, PortStatus};

/// Policies of a port.
#[derive(Debug, Args)]
#[command(next_help_heading = "Policies")]
pub struct Policies {
    /// The vNIC's MAC
    #[arg(long, value_name = "MAC", value_parser = place::vnic_mac)]
    mac: Option<MacAddr>,
    /// MAC spoofing protection [default: on]
    #[arg(long)]
    guard: Option<OnOff>,
    /// Further source MACs that the guard lets in; replaces the list
    #[arg(long, value_name = "MAC[,MAC...]", value_parser = place::vnic_macs)]
    allow_mac: Option<Macs>,
    #[command(flatten)]
    guard_also: guard::GuardArgs,
    /// Reserved multicast that may come in: lldp, lacp, eapol, stp, or addresses (01:80:c2:00:00:00 to :0f); replaces the list
    #[arg(long, value_name = "NAME[,NAME...]", value_parser = place::reserved_macs)]
    allow_reserved: Option<Macs>,
    /// Drop what only DHCP servers say where it comes from this vNIC [default: off]
    #[arg(long)]
    dhcp_guard: Option<OnOff>,
    /// Drop what only routers say (router advertisements, redirects) where it comes from this vNIC [default: off]
    #[arg(long)]
    router_guard: Option<OnOff>,
    #[command(flatten)]
    acl: acl::AclArgs,
    #[command(flatten)]
    ip_guard: ip_guard::IpGuardArgs,
    #[command(flatten)]
    vlan: vlan::VlanArgs,
    #[command(flatten)]
    mirror: mirror::MirrorArgs,
    #[command(flatten)]
    rate: rate::RateArgs,
    /// The most addresses learned on the port at once while its guard is off
    #[arg(long, value_name = "N")]
    learn_limit: Option<u32>,
    /// Bytes of the largest layer 3 packet
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
}

impl Policies {
    /// Sets what was given, in a new port.
    pub fn add_to(&self, port: &mut PortConfig) -> Result<(), String> {
        let macs = |macs: &Option<Macs>| macs.clone().unwrap_or_default().0;
        port.mac = self.mac;
        port.guard = self.guard.is_none_or(bool::from);
        port.allow_macs = macs(&self.allow_mac);
        port.allow_reserved = macs(&self.allow_reserved);
        port.dhcp_guard = self.dhcp_guard.is_some_and(bool::from);
        port.router_guard = self.router_guard.is_some_and(bool::from);
        port.learn_limit = self.learn_limit.unwrap_or(port.learn_limit);
        port.mtu = self.mtu;
        self.acl.add_to(port);
        self.guard_also.add_to(port);
        self.ip_guard.add_to(port);
        self.mirror.add_to(port);
        port.rate = self.rate.config();
        self.vlan.add_to(port)
    }

    /// Asks for what was given.
    pub fn add_to_change(&self, change: &mut ChangePort) -> Result<(), String> {
        let macs = |macs: &Option<Macs>| macs.clone().map(|macs| macs.0);
        change.mac = self.mac;
        change.guard = self.guard.map(bool::from);
        change.allow_macs = macs(&self.allow_mac);
        change.allow_reserved = macs(&self.allow_reserved);
        change.dhcp_guard = self.dhcp_guard.map(bool::from);
        change.router_guard = self.router_guard.map(bool::from);
        change.learn_limit = self.learn_limit;
        change.mtu = self.mtu;
        self.acl.add_to_change(change);
        self.guard_also.add_to_change(change);
        self.ip_guard.add_to_change(change);
        self.mirror.add_to_change(change);
        change.rate = self.rate.change();
        self.vlan.add_to_change(change)
    }
}

/// What `port show` says of a port's policies.
pub fn rows(port: &PortStatus) -> Vec<(&'static str, String)> {
    let config = &port.config;
    let macs =
        |macs: &[MacAddr]| or_dash(&macs.iter().map(MacAddr::to_string).collect::<Vec<_>>().join(", "));
    let mut rows = vec![
        ("Guard", on_vnic(port, config.guard).into()),
        ("Allowed MACs", macs(&config.allow_macs)),
        guard::row(config),
        ("Allowed reserved", reserved_text(&config.allow_reserved)),
        ("DHCP guard", on_vnic(port, config.dhcp_guard).into()),
        ("Router guard", on_vnic(port, config.router_guard).into()),
    ];
    rows.extend(acl::rows(port));
    rows.extend(ip_guard::rows(port));
    rows.extend(vlan::rows(config));
    rows.push(mirror::row(config));
    rows.extend(rate::rows(&config.rate));
    rows.push(("Learn limit", config.learn_limit.to_string()));
    rows
}

/// Addresses by their names, as far as they have one.
fn reserved_text(macs: &[MacAddr]) -> String {
    let name = |mac: &MacAddr| {
        model::policy::reserved::reserved_name(*mac).map_or_else(|| mac.to_string(), Into::into)
    };
    or_dash(&macs.iter().map(name).collect::<Vec<_>>().join(", "))
}

/// Whether a policy is on, which an uplink does not have.
pub const fn on_vnic(port: &PortStatus, on: bool) -> &'static str {
    match (&port.config.attach, on) {
        (Attachment::Uplink(_), _) => "-",
        (_, true) => "on",
        (_, false) => "off",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_multicast_is_shown_by_name() {
        let addresses = ["01:80:c2:00:00:0e", "01:80:c2:00:00:08", "01:80:c2:00:00:03"];
        let text = reserved_text(&addresses.map(|mac| mac.parse().unwrap()));
        assert_eq!(text, "lldp, 01:80:c2:00:00:08, eapol");
    }
}
