//! `vmswitch port …`

use crate::{
    answer::Answer,
    args::Io,
    client::Client,
    failure::Failure,
    place::{self, PortPlace},
    policies::{self, Policies, on_vnic},
    qemu,
    stats::drop_lines,
    style::{self, Style},
    switch::{self, or_dash},
    table::{Cell, Table, fields},
};
use clap::{Args, Subcommand};
use hyper::Method;
use model::{
    Attachment, ChangePort, IfName, Name, NameError, PortConfig, PortStatus, SwitchStatus, VhostRole,
    VhostUser,
};
use serde_json::json;

/// Commands on ports.
#[derive(Debug, Subcommand)]
pub enum PortCommand {
    /// Make a port, attached to a VM, a container, the host or an interface
    #[command(
        override_usage = "vmswitch port add <SWITCH> <PORT> <ATTACHMENT> [OPTIONS]",
        after_help = "\
Examples:
  vmswitch port add lan vm1 --tap tap1                    # QEMU, Firecracker
  vmswitch port add lan vm2 --unix-stream /run/vm2.sock   # QEMU without root
  vmswitch port add lan vm3 --vhost-user                  # QEMU, Cloud Hypervisor, DPDK: fastest
  vmswitch port add lan vm4 --vhost-user /run/vm4.sock --vhost-role client
  vmswitch port add lan web --netns web --ifname eth0     # a container
  vmswitch port add lan storage --host                    # the host itself
  vmswitch port add lan lab --netdev veth0 --guard off    # many MACs behind it
  vmswitch port add lan wan --netdev eth1 --guard off --io af-xdp
  vmswitch port add lan fw --tap fw0 --allow-mac 02:00:00:00:00:aa --mtu 9000

The MAC is handed out unless --mac gives one. The guard lets only frames with that source MAC in. \
A VM on a vhost-user port goes on when vmswitchd is started anew if its VMM is the one that listens (--vhost-role client) \
or connects again by itself."
    )]
    Add(Box<AddArgs>),
    /// List the ports of one switch, or of all
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  vmswitch port list
  vmswitch port list lan"
    )]
    List {
        /// Only those of this switch
        #[arg(value_name = "SWITCH")]
        switch: Option<Name>,
    },
    /// Show one port
    #[command(after_help = "\
Examples:
  vmswitch port show lan/vm1")]
    Show {
        /// The port
        #[arg(value_name = "SWITCH/PORT")]
        place: PortPlace,
    },
    /// Change a port in place
    #[command(after_help = "\
Examples:
  vmswitch port set lan/vm1 --guard off --learn-limit 100
  vmswitch port set lan/vm1 --mac 02:00:00:00:00:01
  vmswitch port set lan/vm1 --allow-mac 02:00:00:00:00:aa,02:00:00:00:00:bb
  vmswitch port set lan/vm1 --allow-mac ''   # empties the list
  vmswitch port set lan/vm1 --allow-reserved lldp,lacp
  vmswitch port set lan/vm1 --dhcp-guard on --router-guard on
  vmswitch port set lan/vm1 --vlan access=10
  vmswitch port set lan/vm1 --mirror to=ids,in
  vmswitch port set lan/vm1 --mirror erspan=192.0.2.9,session=5,type=iii
  vmswitch port set lan/vm1 --mirror off
  vmswitch port set lan/fw --vlan trunk=10,20-29 --native-vlan 10
  vmswitch port set lan/vm1 --ip-guard on --address 192.0.2.7,2001:db8::7
  vmswitch port set lan/vm1 --ip-guard dhcp
  vmswitch port set lan/router --guard-vrrp on
  vmswitch port set lan/vm1b --team-with vm1
  vmswitch port set lan/vm3 --vhost-role client
  vmswitch port set lan/wan --io af-packet")]
    Set(Box<SetArgs>),
    /// Remove a port, and the vNIC that was made for it
    #[command(
        visible_alias = "rm",
        after_help = "\
Examples:
  vmswitch port remove lan/vm1"
    )]
    Remove {
        /// The port
        #[arg(value_name = "SWITCH/PORT")]
        place: PortPlace,
    },
}

/// Arguments of `port add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The switch
    #[arg(value_name = "SWITCH")]
    switch: Name,
    /// Name of the new port
    #[arg(value_name = "PORT")]
    port: Name,
    #[command(flatten)]
    attach: AttachArgs,
    /// With --netns: name of the vNIC in the namespace
    #[arg(long, value_name = "IFNAME", default_value = "eth0",
        conflicts_with_all = ["tap", "host", "netdev", "unix_stream", "unix_dgram", "vhost_user"])]
    ifname: IfName,
    /// With --vhost-user: server listens for the VMM, client connects to the VMM's socket
    #[arg(long, value_name = "ROLE", default_value = "server",
        conflicts_with_all = ["tap", "host", "netdev", "netns", "unix_stream", "unix_dgram"])]
    vhost_role: Role,
    #[command(flatten)]
    policies: Policies,
    /// Queues of the vNIC; with --vhost-user: the most queue pairs that the VMM is offered [default: 1, or 16]
    #[arg(long, value_name = "N")]
    queues: Option<u16>,
    /// With --netdev: how frames pass the interface [default: auto]
    #[arg(long, conflicts_with_all = ["tap", "host", "netns", "unix_stream", "unix_dgram", "vhost_user"])]
    io: Option<Io>,
}

/// What the port is attached to: one of these.
#[derive(Debug, Args)]
#[command(next_help_heading = "Attachment (one of these)")]
#[group(required = true, multiple = false)]
struct AttachArgs {
    /// A TAP that a VMM opens (QEMU, Firecracker)
    #[arg(long, value_name = "IFNAME")]
    tap: Option<IfName>,
    /// A vNIC inside this network namespace
    #[arg(long, value_name = "NS")]
    netns: Option<Name>,
    /// A further host vNIC [interface name by default: the port's name]
    #[arg(long, value_name = "IFNAME", num_args = 0..=1)]
    #[allow(clippy::option_option, reason = "clap's form of a flag with an optional value")]
    host: Option<Option<IfName>>,
    /// Any existing interface
    #[arg(long, value_name = "IFNAME")]
    netdev: Option<IfName>,
    /// A stream socket on which vmswitchd listens (QEMU -netdev stream)
    #[arg(long, value_name = "PATH", value_parser = place::socket_path)]
    unix_stream: Option<String>,
    /// A datagram socket that vmswitchd binds (QEMU -netdev dgram)
    #[arg(long, value_name = "PATH", value_parser = place::socket_path)]
    unix_dgram: Option<String>,
    /// A vhost-user socket, by which the VMM shares its guest's memory [RUN_DIR/vhost/SWITCH/PORT.sock by default]
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, value_parser = place::socket_path)]
    #[allow(clippy::option_option, reason = "clap's form of a flag with an optional value")]
    vhost_user: Option<Option<String>>,
}

/// What vmswitch is at a vhost-user socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// It listens, the VMM connects
    Server,
    /// The VMM listens, vmswitch connects
    Client,
}

impl From<Role> for VhostRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Server => Self::Server,
            Role::Client => Self::Client,
        }
    }
}

/// Arguments of `port set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The port
    #[arg(value_name = "SWITCH/PORT")]
    place: PortPlace,
    #[command(flatten)]
    policies: Policies,
    /// Of a vhost-user port: another socket
    #[arg(long, value_name = "SOCKET", value_parser = place::socket_path)]
    vhost_user: Option<String>,
    /// Of a vhost-user port: listen for the VMM, or connect to its socket
    #[arg(long, value_name = "ROLE")]
    vhost_role: Option<Role>,
    /// Of an uplink or a netdev: how frames pass its interface
    #[arg(long)]
    io: Option<Io>,
}

impl AttachArgs {
    /// Nothing where none was given, which the parser does not let pass.
    fn attachment(&self, port: &Name, ifname: &IfName, role: Role) -> Result<Option<Attachment>, NameError> {
        let host = match &self.host {
            Some(Some(ifname)) => Some(ifname.clone()),
            Some(None) => Some(port.try_into()?),
            None => None,
        };
        let netns = |netns| Attachment::Netns { netns, ifname: ifname.clone() };
        let vhost = |socket| Attachment::VhostUser(VhostUser { socket, role: role.into() });
        Ok(host
            .map(Attachment::Host)
            .or_else(|| self.tap.clone().map(Attachment::Tap))
            .or_else(|| self.netdev.clone().map(Attachment::Netdev))
            .or_else(|| self.netns.clone().map(netns))
            .or_else(|| self.unix_stream.clone().map(Attachment::UnixStream))
            .or_else(|| self.unix_dgram.clone().map(Attachment::UnixDgram))
            .or_else(|| self.vhost_user.clone().map(vhost)))
    }
}

impl AddArgs {
    /// What is asked of the daemon.
    pub fn request(&self) -> Result<PortConfig, String> {
        let attach = self.attach.attachment(&self.port, &self.ifname, self.vhost_role);
        let attach = attach.map_err(|e| format!("{e}; give the interface another name: --host IFNAME"))?;
        let new = PortConfig::new(self.port.clone(), attach.ok_or("say what the port is attached to")?);
        let mut config =
            PortConfig { queues: self.queues, io: self.io.map(Into::into).unwrap_or_default(), ..new };
        self.policies.add_to(&mut config)?;
        Ok(config)
    }
}

impl SetArgs {
    pub fn changes_nothing(&self) -> bool {
        self.change() == Ok(ChangePort::default())
    }

    fn change(&self) -> Result<ChangePort, String> {
        let mut change = ChangePort {
            vhost_socket: self.vhost_user.clone(),
            vhost_role: self.vhost_role.map(Into::into),
            io: self.io.map(Into::into),
            ..ChangePort::default()
        };
        self.policies.add_to_change(&mut change)?;
        Ok(change)
    }
}

pub async fn run(command: PortCommand, client: &Client, style: Style) -> Result<Answer, Failure> {
    match command {
        PortCommand::Add(args) => add(&args, client).await,
        PortCommand::List { switch } => list(&all(switch.as_ref(), client).await?, style),
        PortCommand::Show { place } => show(&client.get(&place.path()).await?, style),
        PortCommand::Set(args) => set(&args, client, style).await,
        PortCommand::Remove { place } => remove(&place, client).await,
    }
}

/// The ports of one switch, or of all.
async fn all(switch: Option<&Name>, client: &Client) -> Result<Vec<PortStatus>, Failure> {
    if let Some(name) = switch {
        return of(name, client).await;
    }
    let mut ports = Vec::new();
    for switch in client.get::<Vec<SwitchStatus>>("/v1/switches").await? {
        ports.extend(of(&switch.name, client).await?);
    }
    Ok(ports)
}

/// The ports of one switch.
pub async fn of(switch: &Name, client: &Client) -> Result<Vec<PortStatus>, Failure> {
    client.get(&format!("{}/ports", switch::path(switch))).await
}

async fn add(args: &AddArgs, client: &Client) -> Result<Answer, Failure> {
    let request = args.request().map_err(Failure::Answer)?;
    let path = format!("{}/ports", switch::path(&args.switch));
    let port: PortStatus = client.send(Method::POST, &path, &request).await?;
    Answer::new(&port, added_text(&port))
}

async fn set(args: &SetArgs, client: &Client, style: Style) -> Result<Answer, Failure> {
    let port =
        client.send(Method::PATCH, &args.place.path(), &args.change().map_err(Failure::Answer)?).await?;
    Answer::new(&port, format!("Port '{}' is changed.\n\n{}", args.place, show_text(&port, style)))
}

async fn remove(place: &PortPlace, client: &Client) -> Result<Answer, Failure> {
    client.delete(&place.path()).await?;
    Answer::new(&json!({ "removed": place.to_string() }), format!("Port '{place}' is removed."))
}

fn list(ports: &[PortStatus], style: Style) -> Result<Answer, Failure> {
    Answer::new(&ports, list_text(ports, style))
}

fn show(port: &PortStatus, style: Style) -> Result<Answer, Failure> {
    Answer::new(port, show_text(port, style))
}

fn added_text(port: &PortStatus) -> String {
    let mut text = format!("Port '{}/{}' is made: {}.\n", port.switch, port.name, attached_to(port));
    if let Some(mac) = port.mac {
        text += &format!("MAC: {mac}\n");
    }
    if let Some(options) = qemu::options(port) {
        text += &format!("\nQEMU options:\n{options}\n");
    }
    text
}

/// What a port is attached to, in words.
fn attached_to(port: &PortStatus) -> String {
    match &port.config.attach {
        Attachment::Uplink(ifname) => format!("NIC {ifname}"),
        Attachment::Host(ifname) => format!("host vNIC {ifname}"),
        Attachment::Tap(ifname) => format!("TAP {ifname}"),
        Attachment::Netdev(ifname) => format!("interface {ifname}"),
        Attachment::Netns { netns, ifname } => format!("{ifname} in namespace {netns}"),
        Attachment::UnixStream(path) => format!("stream socket {path}"),
        Attachment::UnixDgram(path) => format!("datagram socket {path}"),
        Attachment::VhostUser(vhost) => {
            let socket = port.vhost.as_ref().map_or("", |vhost| &vhost.socket);
            format!("vhost-user socket {socket} ({})", vhost.role.as_str())
        }
    }
}

fn mac_text(port: &PortStatus) -> String {
    port.mac.map_or_else(|| "-".into(), |mac| mac.to_string())
}

const fn guard_text(port: &PortStatus) -> &'static str {
    on_vnic(port, port.config.guard)
}

fn list_text(ports: &[PortStatus], style: Style) -> String {
    let mut table = Table::new(&["PORT", "ATTACHED TO", "MAC", "STATE", "GUARD", ">MTU", "WHY"]);
    for port in ports {
        let cells: [Cell; 7] = [
            format!("{}/{}", port.switch, port.name).into(),
            attached_to(port).into(),
            mac_text(port).into(),
            Cell::coloured(port.state.as_str(), style::of_state(port.state)),
            guard_text(port).into(),
            port.mtu.into(),
            port.reason.as_deref().unwrap_or_default().into(),
        ];
        table.row(cells);
    }
    if table.is_empty() {
        return "There are no ports. Make one: vmswitch port add --help".into();
    }
    table.render(style)
}

fn show_text(port: &PortStatus, style: Style) -> String {
    let (config, stats) = (&port.config, &port.stats);
    let why = port.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let mut rows = vec![
        ("Port", format!("{}/{}", port.switch, port.name)),
        ("Attached to", attached_to(port)),
        ("State", style.paint(port.state.as_str(), Some(style::of_state(port.state))) + &why),
        ("MAC", mac_text(port)),
        ("MTU", port.mtu.to_string()),
    ];
    rows.extend(policies::rows(port));
    if let Some(vhost) = &port.vhost {
        rows.push(("Queue pairs", format!("{} in use, of {}", vhost.queue_pairs, config.queues())));
        rows.push(("Driver uses", or_dash(&vhost.features.join(", "))));
    }
    rows.extend(port.mirror.as_ref().map(policies::copies_row));
    rows.extend(port.io.iter().flat_map(switch::io_rows));
    rows.extend([
        ("Received", format!("{} frames, {} bytes", stats.rx_frames, stats.rx_bytes)),
        ("Delivered", format!("{} frames, {} bytes", stats.tx_frames, stats.tx_bytes)),
        ("Not learned", format!("{} frames", stats.not_learned)),
        ("Missed", format!("{} frames", stats.rx_missed)),
        ("Dropped", format!("{} frames", stats.drops.total())),
    ]);
    fields(&rows) + &drop_lines(&stats.drops)
}

#[cfg(test)]
#[path = "samples.rs"]
pub mod samples;
#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
