//! `vmswitch multicast …`, and what `switch add` and `switch set` take for it.

use crate::{
    answer::Answer,
    args::OnOff,
    client::Client,
    failure::Failure,
    place,
    style::Style,
    switch,
    table::{Cell, Table},
};
use clap::{Args, Subcommand, ValueEnum};
use model::{
    Name,
    policy::multicast::{
        ChangeMulticast, MulticastConfig, MulticastRouter, MulticastStatus, Querier, QueryVersion,
    },
};

/// What a switch does with multicast.
#[derive(Debug, Args)]
#[command(next_help_heading = "Multicast")]
pub struct MulticastArgs {
    /// Send multicast groups only to ports that have joined them (IGMP, MLD) [default: off]
    #[arg(long, value_name = "ON|OFF")]
    multicast_snooping: Option<OnOff>,
    /// With snooping: ask hosts for their groups where no router does [default: auto]
    #[arg(long, value_name = "WHEN")]
    querier: Option<WhenToAsk>,
    /// Version of the switch's queries: 2 for IGMPv2 and MLDv1, 3 for IGMPv3 and MLDv2 [default: 2]
    #[arg(long, value_name = "2|3")]
    query_version: Option<AskedIn>,
    /// Time between queries, like 125s
    #[arg(long, value_name = "DURATION", value_parser = place::ageing)]
    query_interval: Option<u32>,
    /// Time in which hosts answer a query, like 10s
    #[arg(long, value_name = "DURATION", value_parser = place::ageing)]
    query_response: Option<u32>,
    /// A port has left a group at the first leave: right where no port has two hosts [default: off]
    #[arg(long, value_name = "ON|OFF")]
    fast_leave: Option<OnOff>,
    /// Send groups that nobody has joined to all ports, not only to those of routers [default: off]
    #[arg(long, value_name = "ON|OFF")]
    flood_unregistered: Option<OnOff>,
    /// Take it that multicast routers are behind the uplink [default: on]
    #[arg(long, value_name = "ON|OFF")]
    uplink_router: Option<OnOff>,
}

/// When the switch asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WhenToAsk {
    /// Unless a router does, at once
    On,
    /// Never; nothing is filtered then where no router asks
    Off,
    /// Once no router has asked for 255 s
    Auto,
}

/// In which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AskedIn {
    /// IGMPv2 and MLDv1: one report for each group
    #[value(name = "2")]
    Two,
    /// IGMPv3 and MLDv2
    #[value(name = "3")]
    Three,
}

impl From<WhenToAsk> for Querier {
    fn from(when: WhenToAsk) -> Self {
        match when {
            WhenToAsk::On => Self::On,
            WhenToAsk::Off => Self::Off,
            WhenToAsk::Auto => Self::Auto,
        }
    }
}

impl From<AskedIn> for QueryVersion {
    fn from(version: AskedIn) -> Self {
        match version {
            AskedIn::Two => Self::Two,
            AskedIn::Three => Self::Three,
        }
    }
}

impl MulticastArgs {
    /// What is to be changed.
    pub fn change(&self) -> ChangeMulticast {
        ChangeMulticast {
            snooping: self.multicast_snooping.map(bool::from),
            querier: self.querier.map(Into::into),
            query_version: self.query_version.map(Into::into),
            query_interval_s: self.query_interval,
            query_response_s: self.query_response,
            fast_leave: self.fast_leave.map(bool::from),
            flood_unregistered: self.flood_unregistered.map(bool::from),
            uplink_router: self.uplink_router.map(bool::from),
        }
    }
}

/// Commands on multicast groups.
#[derive(Debug, Subcommand)]
pub enum MulticastCommand {
    /// List who wants which group, who asks hosts for their groups, and where routers are
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  vmswitch switch set lan --multicast-snooping on --querier on
  vmswitch multicast list lan
  vmswitch multicast list lan --json

LEFT is the time after which a port counts as having left, unless it is heard again."
    )]
    List {
        /// The switch
        #[arg(value_name = "SWITCH")]
        switch: Name,
    },
}

pub async fn run(command: MulticastCommand, client: &Client) -> Result<Answer, Failure> {
    match command {
        MulticastCommand::List { switch } => {
            let path = format!("{}/multicast", switch::path(&switch));
            let status: MulticastStatus = client.get(&path).await?;
            Answer::new(&status, text(&switch, &status, Style::of_stdout()))
        }
    }
}

/// What `switch show` says.
pub fn setting(config: &MulticastConfig) -> String {
    if !config.snooping {
        return "goes to all ports".into();
    }
    let querier = match config.querier {
        Querier::On => "on",
        Querier::Off => "off",
        Querier::Auto => "auto",
    };
    format!("goes to who joined (snooping), querier {querier}")
}

fn text(switch: &Name, status: &MulticastStatus, style: Style) -> String {
    if !status.config.snooping {
        return format!(
            "Switch '{switch}' does not snoop: multicast goes to all ports. \
             Change it: vmswitch switch set {switch} --multicast-snooping on"
        );
    }
    let tables = [groups(status), routers(status), vlans(status), unknown(status)];
    let shown = tables.into_iter().filter(|table| !table.is_empty()).map(|table| table.render(style));
    shown.collect::<Vec<_>>().join("\n")
}

fn groups(status: &MulticastStatus) -> Table {
    let mut table = Table::new(&["GROUP", ">VLAN", "PORT", ">AGE", ">LEFT"]);
    for group in &status.groups {
        let (age, left) = (seconds(group.age_s), seconds(group.left_s));
        table.row([group.group.to_string().into(), group.vlan.into(), (&group.port).into(), age, left]);
    }
    table
}

fn routers(status: &MulticastStatus) -> Table {
    let mut table = Table::new(&["ROUTERS AT", ">VLAN", "HEARD BY", ">LEFT"]);
    for MulticastRouter { vlan, protocol, port, left_s } in &status.routers {
        let vlan = vlan.map_or_else(|| "all".into(), |vlan| vlan.to_string());
        let heard = protocol.map_or("-", |protocol| protocol.as_str());
        table.row([port.into(), vlan.into(), heard.into(), left_s.map_or_else(|| "-".into(), seconds)]);
    }
    table
}

fn vlans(status: &MulticastStatus) -> Table {
    let mut table = Table::new(&[">VLAN", "BY", "QUERIER", "AT", "FILTERS"]);
    for vlan in &status.vlans {
        let querier = vlan.querier.map_or_else(|| "-".into(), |querier| querier.to_string());
        let at = match (&vlan.querier_port, vlan.querier) {
            (Some(port), _) => port.to_string(),
            (None, Some(_)) => "this switch".into(),
            (None, None) => "-".into(),
        };
        let filters = if vlan.filters { "yes" } else { "no" };
        table.row([
            vlan.vlan.into(),
            vlan.protocol.as_str().into(),
            querier.into(),
            at.into(),
            filters.into(),
        ]);
    }
    table
}

fn unknown(status: &MulticastStatus) -> Table {
    let mut table = Table::new(&["GETS EVERYTHING", ">LEFT"]);
    for port in &status.unknown {
        table.row([(&port.port).into(), seconds(port.left_s)]);
    }
    table
}

fn seconds(seconds: impl std::fmt::Display) -> Cell {
    format!("{seconds} s").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::policy::multicast::{GroupProtocol, MulticastGroup, MulticastVlan, UnknownWants};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn status() -> MulticastStatus {
        let vlan = |protocol, querier: Option<&str>, querier_port, filters| MulticastVlan {
            vlan: 0,
            protocol,
            querier: querier.map(|querier| querier.parse().unwrap()),
            querier_port,
            filters,
        };
        MulticastStatus {
            config: MulticastConfig { snooping: true, ..MulticastConfig::default() },
            vlans: vec![
                vlan(GroupProtocol::Igmp, Some("192.0.2.1"), Some(name("eth0")), true),
                vlan(GroupProtocol::Mld, None, None, false),
            ],
            groups: vec![MulticastGroup {
                vlan: 0,
                group: "239.1.2.3".parse().unwrap(),
                port: name("vm1"),
                age_s: 17,
                left_s: 249,
            }],
            routers: vec![
                MulticastRouter { vlan: None, protocol: None, port: name("eth0"), left_s: None },
                MulticastRouter {
                    vlan: Some(0),
                    protocol: Some(GroupProtocol::Igmp),
                    port: name("fw"),
                    left_s: Some(200),
                },
            ],
            unknown: vec![UnknownWants { port: name("vm2"), left_s: 12 }],
        }
    }

    #[test]
    fn what_is_known_of_groups_is_a_few_tables() {
        let expected = "\
GROUP      VLAN  PORT   AGE   LEFT
239.1.2.3     0  vm1   17 s  249 s

ROUTERS AT  VLAN  HEARD BY   LEFT
eth0         all  -             -
fw             0  igmp      200 s

VLAN  BY    QUERIER    AT    FILTERS
   0  igmp  192.0.2.1  eth0  yes
   0  mld   -          -     no

GETS EVERYTHING  LEFT
vm2              12 s
";
        assert_eq!(text(&name("lan"), &status(), Style::PLAIN), expected);
    }

    #[test]
    fn a_switch_that_does_not_snoop_says_how_it_would() {
        let off = text(&name("lan"), &MulticastStatus::default(), Style::PLAIN);
        assert!(off.ends_with("vmswitch switch set lan --multicast-snooping on"));
    }
}
