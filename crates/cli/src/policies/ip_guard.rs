//! Which IP addresses a port may use.

use crate::{place::several, switch::or_dash};
use clap::Args;
use model::{
    Attachment, ChangePort, IpPrefix, PortConfig, PortStatus,
    policy::ip_guard::{ChangeIpGuard, IpGuardMode, LeasedAddress},
};

/// Addresses and prefixes with commas between them; an empty text is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(Vec<IpPrefix>);

fn addresses(text: &str) -> Result<Addresses, String> {
    several(text, |address| address.parse::<IpPrefix>().map_err(|error| error.to_string())).map(Addresses)
}

/// Where addresses are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// Any address
    Off,
    /// Those of --address
    On,
    /// Those of --address and those that the vNIC leases (DHCP, DHCPv6)
    Dhcp,
}

impl From<Mode> for IpGuardMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Off => Self::Off,
            Mode::On => Self::On,
            Mode::Dhcp => Self::Dhcp,
        }
    }
}

/// Its arguments.
#[derive(Debug, Args)]
pub struct IpGuardArgs {
    /// Which IP addresses the vNIC may use in IP, ARP and neighbour discovery [default: off]
    #[arg(long)]
    ip_guard: Option<Mode>,
    /// With --ip-guard on or dhcp: the vNIC's addresses, and prefixes of them; replaces the list
    #[arg(long, value_name = "IP[,IP...]", value_parser = addresses)]
    address: Option<Addresses>,
    /// With --ip-guard dhcp: the most addresses learned from leases at once [default: 8]
    #[arg(long, value_name = "N")]
    ip_guard_leases: Option<u16>,
}

impl IpGuardArgs {
    pub fn add_to(&self, port: &mut PortConfig) {
        port.ip_guard.change(self.change());
    }

    pub fn add_to_change(&self, change: &mut ChangePort) {
        change.ip_guard = self.change();
    }

    fn change(&self) -> ChangeIpGuard {
        ChangeIpGuard {
            mode: self.ip_guard.map(Into::into),
            addresses: self.address.clone().map(|addresses| addresses.0),
            dhcp_limit: self.ip_guard_leases,
        }
    }
}

pub fn rows(port: &PortStatus) -> Vec<(&'static str, String)> {
    let guard = &port.config.ip_guard;
    let mode = match (&port.config.attach, guard.mode) {
        (Attachment::Uplink(_), _) => "-".to_owned(),
        (_, IpGuardMode::Dhcp) => format!("dhcp (at most {} leases)", guard.dhcp_limit),
        (_, mode) => mode.as_str().to_owned(),
    };
    let listed = guard.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut rows = vec![("IP guard", mode)];
    if guard.mode != IpGuardMode::Off || !listed.is_empty() {
        rows.push(("Addresses", or_dash(&listed.join(", "))));
    }
    if guard.mode == IpGuardMode::Dhcp {
        let leased = port.leases.iter().map(lease_text).collect::<Vec<_>>();
        rows.push(("Leases", or_dash(&leased.join(", "))));
    }
    rows
}

fn lease_text(lease: &LeasedAddress) -> String {
    match lease.expires_in_s {
        Some(seconds) => format!("{} for {seconds} s", lease.address),
        None => format!("{} for ever", lease.address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::samples;
    use clap::{CommandFactory, FromArgMatches};
    use model::policy::ip_guard::IpGuardConfig;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        guard: IpGuardArgs,
    }

    fn parse(text: &str) -> Result<IpGuardArgs, clap::Error> {
        let line = Line::command().try_get_matches_from(["x"].into_iter().chain(text.split(' ')))?;
        Line::from_arg_matches(&line).map(|line| line.guard)
    }

    #[test]
    fn each_argument_sets_one_thing() {
        let mut port = samples::vm1().config;
        let text = "--ip-guard dhcp --address 10.9.0.7,fd00:9::/64 --ip-guard-leases 2";
        parse(text).unwrap().add_to(&mut port);
        let addresses = ["10.9.0.7", "fd00:9::/64"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(port.ip_guard, IpGuardConfig { mode: IpGuardMode::Dhcp, addresses, dhcp_limit: 2 });
        assert_eq!(parse("--address=").unwrap().change().addresses, Some(Vec::new()));
        for bad in ["--ip-guard yes", "--address 10.9.0", "--address 10.9.0.7/24", "--address 10.9.0.7/33"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(
            parse("--address 10.9.0.7/24")
                .unwrap_err()
                .to_string()
                .contains("bits behind the prefix are set")
        );
    }

    #[test]
    fn what_is_listed_and_what_is_leased_is_shown() {
        let mut port = samples::vm1();
        assert_eq!(rows(&port), [("IP guard", "off".to_owned())]);
        parse("--ip-guard dhcp --address 10.9.0.7,fe80::/10").unwrap().add_to(&mut port.config);
        let lease = |text: &str, expires_in_s| LeasedAddress { address: text.parse().unwrap(), expires_in_s };
        port.leases = vec![lease("10.9.0.100", Some(120)), lease("fd00:9:7::/64", None)];
        let expected = [
            ("IP guard", "dhcp (at most 8 leases)"),
            ("Addresses", "10.9.0.7, fe80::/10"),
            ("Leases", "10.9.0.100 for 120 s, fd00:9:7::/64 for ever"),
        ];
        assert_eq!(rows(&port), expected.map(|(name, text)| (name, text.to_owned())));
    }
}
