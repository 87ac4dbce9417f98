//! `vmswitch switch …`

use crate::{
    answer::Answer,
    args::{Io, OnOff},
    client::Client,
    failure::Failure,
    multicast::{self, MulticastArgs},
    place,
    policies::rate::{self, SharingArgs},
    stats::drop_lines,
    style::Style,
    table::{Cell, Table, fields},
};
use clap::{Args, Subcommand};
use hyper::Method;
use model::{
    Attachment, ChangeSwitch, IfName, IoStatus, Name, NewSwitch, PortStatus, SwitchKind, SwitchStatus,
};
use serde_json::json;

/// Commands on switches.
#[derive(Debug, Subcommand)]
pub enum SwitchCommand {
    /// Make a switch
    #[command(after_help = "\
Examples:
  vmswitch switch add lan --external eth0 --confirm 60s
  vmswitch switch add lan --external eth0 --no-host
  vmswitch switch add lan --external eth0 --io af-xdp
  vmswitch switch add lab --internal
  vmswitch switch add isolated --private

An external switch takes the NIC over: the host's addresses and routes move from it to a host vNIC, an interface with the \
switch's name. Over SSH use --confirm: unless you confirm in time, everything is put back.")]
    Add(AddArgs),
    /// List the switches
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  vmswitch switch list
  vmswitch switch list --json"
    )]
    List,
    /// Show one switch
    #[command(after_help = "\
Examples:
  vmswitch switch show lan")]
    Show {
        /// The switch
        #[arg(value_name = "NAME")]
        name: Name,
    },
    /// Change a switch in place
    #[command(after_help = "\
Examples:
  vmswitch switch set lan --ageing 10m
  vmswitch switch set lab --external eth1 --confirm 60s
  vmswitch switch set lan --io af-packet
  vmswitch switch set lan --multicast-snooping on --querier on
  vmswitch switch set lan --bandwidth-mode weight --uplink-bandwidth 1G
  vmswitch switch set lan --internal   # gives the NIC back to the host
  vmswitch switch set lan --host off   # takes the host's vNICs away

Without a vNIC the host does not reach the network by that NIC. The addresses and routes of the vNIC that stands in for the NIC are kept: \
--host on puts them on a new one, and removing the switch puts them back on the NIC. VMs notice nothing of either.")]
    Set(SetArgs),
    /// Keep a switch that was added or changed with --confirm
    #[command(after_help = "\
Examples:
  vmswitch switch confirm lan")]
    Confirm {
        /// The switch
        #[arg(value_name = "NAME")]
        name: Name,
    },
    /// Remove a switch with its ports, and give its NIC back to the host
    #[command(
        visible_alias = "rm",
        after_help = "\
Examples:
  vmswitch switch remove lan

The addresses and routes that are on the host vNIC then go back to the NIC."
    )]
    Remove {
        /// The switch
        #[arg(value_name = "NAME")]
        name: Name,
    },
}

/// What a switch joins.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Kind {
    /// Join VMs, the host and the network at this NIC
    #[arg(long, value_name = "IFACE[,IFACE...]", value_delimiter = ',')]
    external: Vec<IfName>,
    /// Join VMs and the host
    #[arg(long)]
    internal: bool,
    /// Join VMs only
    #[arg(long)]
    private: bool,
}

impl Kind {
    const fn chosen(&self) -> Option<SwitchKind> {
        match (self.external.is_empty(), self.internal, self.private) {
            (false, ..) => Some(SwitchKind::External),
            (_, true, _) => Some(SwitchKind::Internal),
            (.., true) => Some(SwitchKind::Private),
            _ => None,
        }
    }
}

/// Arguments of `switch add`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("kind").args(["external", "internal", "private"]).required(true))]
pub struct AddArgs {
    /// Name of the new switch
    #[arg(value_name = "NAME")]
    name: Name,
    #[command(flatten)]
    kind: Kind,
    /// Leave the host without a vNIC on the switch
    #[arg(long)]
    no_host: bool,
    /// How frames pass the NIC [default: auto]
    #[arg(long, conflicts_with_all = ["internal", "private"])]
    io: Option<Io>,
    /// Name of the host vNIC's interface [default: the switch's name]
    #[arg(long, value_name = "IFNAME", conflicts_with_all = ["no_host", "private"])]
    host_ifname: Option<IfName>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    multicast: MulticastArgs,
}

/// Settings of a switch that can be changed.
#[derive(Debug, Args)]
pub struct Settings {
    /// The most entries of the MAC table
    #[arg(long, value_name = "N")]
    mac_table_size: Option<u32>,
    /// Forget a learned address that was not seen for so long, like 5m
    #[arg(long, value_name = "DURATION", value_parser = place::ageing)]
    ageing: Option<u32>,
    #[command(flatten)]
    sharing: SharingArgs,
    /// Put everything back unless `switch confirm` comes within this time, like 60s
    #[arg(long, value_name = "DURATION", value_parser = place::seconds)]
    confirm: Option<u64>,
}

/// Arguments of `switch set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The switch
    #[arg(value_name = "NAME")]
    name: Name,
    #[command(flatten)]
    kind: Kind,
    /// Whether the host has a vNIC on the switch; off removes all of them
    #[arg(long)]
    host: Option<OnOff>,
    /// How frames pass the NIC
    #[arg(long, conflicts_with_all = ["internal", "private"])]
    io: Option<Io>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    multicast: MulticastArgs,
}

impl AddArgs {
    fn request(self) -> Option<NewSwitch> {
        Some(NewSwitch {
            name: self.name,
            kind: self.kind.chosen()?,
            uplinks: self.kind.external,
            io: self.io.map(Into::into),
            host: self.no_host.then_some(false),
            host_ifname: self.host_ifname,
            mac_table_size: self.settings.mac_table_size,
            ageing_s: self.settings.ageing,
            multicast: self.multicast.change(),
            bandwidth_mode: self.settings.sharing.mode(),
            uplink_bandwidth: self.settings.sharing.uplink(),
            confirm_s: self.settings.confirm,
        })
    }
}

impl SetArgs {
    pub fn changes_nothing(&self) -> bool {
        let Settings { mac_table_size, ageing, sharing, confirm: _ } = &self.settings;
        let table = mac_table_size.is_some() || ageing.is_some();
        let settings = table || !sharing.is_empty() || !self.multicast.change().is_empty();
        self.kind.chosen().is_none() && self.host.is_none() && self.io.is_none() && !settings
    }

    fn request(self) -> (Name, ChangeSwitch) {
        let change = ChangeSwitch {
            kind: self.kind.chosen(),
            uplinks: self.kind.external,
            io: self.io.map(Into::into),
            host: self.host.map(bool::from),
            mac_table_size: self.settings.mac_table_size,
            ageing_s: self.settings.ageing,
            multicast: self.multicast.change(),
            bandwidth_mode: self.settings.sharing.mode(),
            uplink_bandwidth: self.settings.sharing.uplink(),
            confirm_s: self.settings.confirm,
        };
        (self.name, change)
    }
}

pub async fn run(command: SwitchCommand, client: &Client) -> Result<Answer, Failure> {
    match command {
        SwitchCommand::Add(args) => add(args, client).await,
        SwitchCommand::List => list(&client.get::<Vec<SwitchStatus>>("/v1/switches").await?),
        SwitchCommand::Show { name } => show(&client.get(&path(&name)).await?),
        SwitchCommand::Set(args) => set(args, client).await,
        SwitchCommand::Confirm { name } => confirm(&name, client).await,
        SwitchCommand::Remove { name } => remove(&name, client).await,
    }
}

/// Where the API has a switch.
pub fn path(name: &Name) -> String {
    format!("/v1/switches/{name}")
}

async fn add(args: AddArgs, client: &Client) -> Result<Answer, Failure> {
    let Some(request) = args.request() else { return Err(Failure::answer("no kind of switch was chosen")) };
    let switch: SwitchStatus = client.send(Method::POST, "/v1/switches", &request).await?;
    let ports: Vec<PortStatus> = client.get(&format!("{}/ports", path(&switch.name))).await?;
    Answer::new(&switch, added_text(&switch, &ports))
}

async fn set(args: SetArgs, client: &Client) -> Result<Answer, Failure> {
    let (name, change) = args.request();
    let switch: SwitchStatus = client.send(Method::PATCH, &path(&name), &change).await?;
    let text = format!("Switch '{name}' is changed.\n{}", confirm_text(&switch));
    Answer::new(&switch, text)
}

async fn confirm(name: &Name, client: &Client) -> Result<Answer, Failure> {
    let switch: SwitchStatus =
        client.send(Method::POST, &format!("{}/confirm", path(name)), &json!({})).await?;
    Answer::new(&switch, format!("Switch '{name}' is confirmed: it stays."))
}

async fn remove(name: &Name, client: &Client) -> Result<Answer, Failure> {
    client.delete(&path(name)).await?;
    Answer::new(&json!({ "removed": name }), format!("Switch '{name}' is removed."))
}

fn list(switches: &[SwitchStatus]) -> Result<Answer, Failure> {
    Answer::new(&switches, list_text(switches, Style::of_stdout()))
}

fn show(switch: &SwitchStatus) -> Result<Answer, Failure> {
    Answer::new(switch, show_text(switch))
}

fn added_text(switch: &SwitchStatus, ports: &[PortStatus]) -> String {
    let nics = switch.uplinks.join(", ");
    let first = match switch.kind {
        SwitchKind::External => {
            format!("Switch '{}' is made: it joins VMs to the network at {nics}.\n", switch.name)
        }
        SwitchKind::Internal => format!("Switch '{}' is made: it joins VMs and the host.\n", switch.name),
        SwitchKind::Private => format!("Switch '{}' is made: it joins VMs only.\n", switch.name),
    };
    first + &host_text(switch, ports) + &confirm_text(switch)
}

fn host_text(switch: &SwitchStatus, ports: &[PortStatus]) -> String {
    let host = ports.iter().find_map(|port| match &port.config.attach {
        Attachment::Host(ifname) => Some((ifname, port.mac)),
        _ => None,
    });
    let external = switch.kind == SwitchKind::External;
    match host {
        None if external => "The host has no vNIC on it.\n".into(),
        None => String::new(),
        Some((ifname, mac)) => {
            let mac = mac.map(|mac| format!(" (MAC {mac})")).unwrap_or_default();
            let moved = format!(", and has taken the addresses and routes of {}", switch.uplinks.join(", "));
            let moved = if external { &*moved } else { "" };
            format!("The host's vNIC on it is the interface '{ifname}'{mac}{moved}.\n")
        }
    }
}

fn confirm_text(switch: &SwitchStatus) -> String {
    let Some(seconds) = switch.confirm_within_s else { return String::new() };
    format!("All is put back in {seconds} s unless you confirm:\n  vmswitch switch confirm {}\n", switch.name)
}

fn list_text(switches: &[SwitchStatus], style: Style) -> String {
    let mut table = Table::new(&["NAME", "KIND", "UPLINK", ">PORTS", ">MACS", "NOTE"]);
    for switch in switches {
        let note = switch.confirm_within_s.map(|s| format!("confirm within {s} s")).unwrap_or_default();
        let (ports, macs) = (switch.ports.len(), switch.mac_entries);
        let uplinks = or_dash(&switch.uplinks.join(","));
        let cells: [Cell; 6] = [
            (&switch.name).into(),
            switch.kind.as_str().into(),
            uplinks.into(),
            ports.into(),
            macs.into(),
            note.into(),
        ];
        table.row(cells);
    }
    if table.is_empty() {
        return "There are no switches. Make one: vmswitch switch add --help".into();
    }
    table.render(style)
}

fn show_text(switch: &SwitchStatus) -> String {
    let SwitchStatus { stats, .. } = switch;
    let ports: Vec<_> = switch.ports.iter().map(Name::as_str).collect();
    let table = format!(
        "{} of {} entries, forgotten after {} s",
        switch.mac_entries, switch.mac_table_size, switch.ageing_s
    );
    let copied = match stats.originated {
        0 => format!("{} frames", stats.copies),
        originated => format!("{} frames; {originated} more are the switch's own", stats.copies),
    };
    let mut rows = vec![
        ("Name", switch.name.to_string()),
        ("Kind", switch.kind.as_str().into()),
        ("Uplink", or_dash(&switch.uplinks.join(", "))),
    ];
    rows.extend(switch.io.iter().flat_map(io_rows));
    rows.extend(rate::sharing_row(switch));
    rows.extend([
        ("Ports", or_dash(&ports.join(", "))),
        ("MAC table", table),
        ("Multicast", multicast::setting(&switch.multicast)),
        ("Received", format!("{} frames, {} bytes", stats.rx_frames, stats.rx_bytes)),
        ("Copied", copied),
        ("Delivered", format!("{} frames, {} bytes", stats.tx_frames, stats.tx_bytes)),
        ("Dropped", format!("{} frames", stats.drops.total())),
    ]);
    fields(&rows) + &drop_lines(&stats.drops) + &confirm_text(switch)
}

/// How frames pass an interface, and why.
pub fn io_rows(io: &IoStatus) -> Vec<(&'static str, String)> {
    let refused = io.refused.iter().map(|r| ("", format!("not {}: {}", r.mode.text(), r.why)));
    [("Frames by", format!("{}: {}", io.mode.text(), io.why))].into_iter().chain(refused).collect()
}

/// Nothing, made visible.
pub fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.into() }
}

#[cfg(test)]
#[path = "switch_tests.rs"]
mod tests;
