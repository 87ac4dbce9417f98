//! The command line as a whole. The arguments of each group of commands are in that group's file.

use crate::{acl, capture, explain, mac, multicast, port, state, stats, switch, top, trace};
use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};
use clap_complete::Shell;
use model::IoChoice;
use std::{ffi::OsString, path::PathBuf};

/// Options that every command has.
const GLOBAL: &str = "Global options";

/// The switches of this host: VMs, containers and the host joined to each other and to the network.
#[derive(Debug, Parser)]
#[command(
    name = "vmswitch",
    version,
    after_help = "\
Examples:
  vmswitch switch add lan --external eth0 --confirm 60s
  vmswitch switch confirm lan
  vmswitch port add lan vm1 --tap tap1
  vmswitch mac list lan
  vmswitch stats lan --watch
  vmswitch top

Every command explains itself with --help. Exit status: 0 done, 1 refused or failed, 2 bad usage."
)]
pub struct Cli {
    /// The socket at which vmswitchd answers
    #[arg(long, global = true, help_heading = GLOBAL, env = "VMSWITCH_SOCKET", default_value = "/run/vmswitch/api.sock")]
    pub socket: PathBuf,
    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Groups of commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add, look at, change and remove switches
    #[command(
        visible_alias = "sw",
        after_help = "\
Examples:
  vmswitch switch add lan --external eth0
  vmswitch switch list"
    )]
    Switch {
        #[command(subcommand)]
        command: switch::SwitchCommand,
    },
    /// Add, look at, change and remove ports
    #[command(after_help = "\
Examples:
  vmswitch port add lan vm1 --tap tap1
  vmswitch port list lan")]
    Port {
        #[command(subcommand)]
        command: port::PortCommand,
    },
    /// Access lists of a port: add a rule, take one away, look at them
    #[command(after_help = "\
Examples:
  vmswitch acl add lan/vm1 in deny from 10.0.0.0/8
  vmswitch acl list lan/vm1
  vmswitch acl remove lan/vm1 r1")]
    Acl {
        #[command(subcommand)]
        command: acl::AclCommand,
    },
    /// Look at a MAC table, or forget what it learned
    #[command(after_help = "\
Examples:
  vmswitch mac list lan
  vmswitch mac flush lan --port eth0")]
    Mac {
        #[command(subcommand)]
        command: mac::MacCommand,
    },
    /// Look at multicast groups, where a switch snoops
    #[command(after_help = "\
Examples:
  vmswitch multicast list lan")]
    Multicast {
        #[command(subcommand)]
        command: multicast::MulticastCommand,
    },
    /// Frames and bytes that passed, and every drop with its reason
    #[command(after_help = "\
Examples:
  vmswitch stats               # all switches
  vmswitch stats lan --watch   # rates, once a second
  vmswitch stats --watch --interval 10s --json >> rates.jsonl
  vmswitch stats lan/vm1

RX is what the switch received from a vNIC, TX what it delivered to it. \
For each switch, received + copied + originated = delivered + dropped.")]
    Stats(stats::StatsArgs),
    /// Ports, drops and workers on a screen of their own, as they change
    #[command(after_help = "\
Examples:
  vmswitch top
  vmswitch top lan --sort rx --interval 2s

Keys: q ends it; s takes the next order, n r t d sort by name, rx, tx, drops; f shows the next switch alone, a all; \
arrows and page keys scroll.")]
    Top(top::TopArgs),
    /// What the threads that move frames do with their time
    #[command(after_help = "\
Examples:
  vmswitch workers
  vmswitch workers --json

Since vmswitchd was started; `vmswitch top` and `vmswitch stats --watch` show what they do now.")]
    Workers,
    /// Say what would become of a frame, stage by stage, without sending it
    #[command(after_help = "\
Examples:
  vmswitch explain lan/vm1 --to 02:00:00:00:00:02
  vmswitch explain lan/vm1 --to ff:ff:ff:ff:ff:ff --from 02:00:00:00:00:99
  vmswitch explain lan/vm1 --to vm2 --tcp 10.0.0.1:40000 10.0.0.2:443
  vmswitch explain lan/vm1 --to vm2 --udp 10.0.0.1:67 10.0.0.2:68
  vmswitch explain lan/vm1 --arp 10.0.0.1 10.0.0.2
  vmswitch explain lan/eth0 --frame 0200000000025254000000010800 --length 1514

The code that decides is the one that frames pass; nothing is learned, counted or sent.")]
    Explain(explain::ExplainArgs),
    /// Print a line for each frame that passes, with what becomes of it, until interrupted
    #[command(after_help = "\
Examples:
  vmswitch trace lan
  vmswitch trace lan arp or udp port 67
  vmswitch trace lan/vm1 --dropped             # what vm1 does not get out or in, and why
  vmswitch trace lan --sample 1000             # one frame of a thousand
  vmswitch trace lan tcp port 443 -c 10 --json # one JSON document a line

All frames that a worker takes from a port at once have the same time, in UTC. The filter is tcpdump's (man pcap-filter); it sees the \
frame as it came in.")]
    Trace(trace::TraceArgs),
    /// Write the frames that pass to a pcapng file, for Wireshark and tcpdump, until interrupted
    #[command(after_help = "\
Examples:
  vmswitch capture lan -w lan.pcapng
  vmswitch capture lan/vm1 -w - icmp | tshark -r -
  vmswitch capture lan -w dropped.pcapng --dropped --duration 10m
  vmswitch capture lan -w heads.pcapng -s 96 -c 1000 tcp port 443
  vmswitch capture lan/vm1 -w unix:/run/ids.sock

Each port is an interface. A frame is there once where it came in and once for each port that it left on, as it left; inbound is into \
the switch. Why a frame was dropped is its comment. Frames that were not written fast enough are lost to the capture, never to the \
switch; how many is told at the end and in the file's interface statistics. The filter is tcpdump's (man pcap-filter); it sees the \
frame as it came in.")]
    Capture(capture::CaptureArgs),
    /// Make the switches be as a file says
    #[command(after_help = "\
Examples:
  vmswitch apply switches.toml --dry-run   # says what would be done
  vmswitch apply switches.toml
  vmswitch apply -                         # reads the file from standard input

The file is TOML in the format of `vmswitch export`, or JSON where its name ends in .json. \
Switches and ports that it does not name are removed.")]
    Apply(state::ApplyArgs),
    /// Print the switches as they should be, for `apply`
    #[command(after_help = "\
Examples:
  vmswitch export > switches.toml
  vmswitch export --json")]
    Export,
    /// Follow what happens, until interrupted
    #[command(after_help = "\
Examples:
  vmswitch events
  vmswitch events --json   # one JSON document a line")]
    Events,
    /// Print a script that completes commands in a shell
    #[command(after_help = "\
Examples:
  vmswitch completions bash > /etc/bash_completion.d/vmswitch
  vmswitch completions zsh > /usr/local/share/zsh/site-functions/_vmswitch")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the versions of vmswitch and of the vmswitchd that answers
    #[command(after_help = "\
Examples:
  vmswitch version")]
    Version,
}

/// Parses a command line, with the rules that span several arguments.
pub fn parse<I, T>(args: I) -> Result<Cli, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = Cli::try_parse_from(args)?;
    check(&cli).map_err(|(path, kind, message)| {
        let mut root = Cli::command();
        root.build();
        match path.iter().try_fold(&mut root, |at, name| at.find_subcommand_mut(name)) {
            Some(command) => command.error(kind, message),
            None => Cli::command().error(kind, message),
        }
    })?;
    Ok(cli)
}

type Broken = (&'static [&'static str], ErrorKind, String);

fn check(cli: &Cli) -> Result<(), Broken> {
    let missing = |path: &'static [&'static str], what: &str| {
        Err((path, ErrorKind::MissingRequiredArgument, what.into()))
    };
    match &cli.command {
        Command::Top(_) if cli.json => {
            let message = "top is a screen: use `stats --watch --json` for documents";
            Err((&["top"], ErrorKind::ArgumentConflict, message.into()))
        }
        Command::Capture(args) if cli.json && args.writes_to_stdout() => {
            let message = "--write - and --json both are for standard output: use one of them";
            Err((&["capture"], ErrorKind::ArgumentConflict, message.into()))
        }
        Command::Switch { command: switch::SwitchCommand::Set(args) } if args.changes_nothing() => {
            missing(&["switch", "set"], "say what to change, for example --ageing 10m")
        }
        Command::Acl { command } => command.rule_error().map_or(Ok(()), |error| {
            Err((&["acl", "add"][..], ErrorKind::ValueValidation, error.to_string()))
        }),
        Command::Port { command: port::PortCommand::Set(args) } if args.changes_nothing() => {
            missing(&["port", "set"], "say what to change, for example --guard off")
        }
        Command::Explain(args) => {
            args.check().map_err(|message| (&["explain"][..], ErrorKind::ValueValidation, message))
        }
        Command::Port { command: port::PortCommand::Add(args) } => args
            .request()
            .map(drop)
            .map_err(|message| (&["port", "add"][..], ErrorKind::ValueValidation, message)),
        _ => Ok(()),
    }
}

/// A setting that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OnOff {
    On,
    Off,
}

impl From<OnOff> for bool {
    fn from(setting: OnOff) -> Self {
        setting == OnOff::On
    }
}

/// How frames pass an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Io {
    /// By AF_XDP where that is faster, else by AF_PACKET
    Auto,
    /// By AF_XDP in the best mode that can be had, or not at all
    AfXdp,
    /// By AF_PACKET
    AfPacket,
}

impl From<Io> for IoChoice {
    fn from(io: Io) -> Self {
        match io {
            Io::Auto => Self::Auto,
            Io::AfXdp => Self::AfXdp,
            Io::AfPacket => Self::AfPacket,
        }
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
