//! vmswitch: the switches of this host from the command line. One command is one request, or a few, to vmswitchd.

mod acl;
mod answer;
mod args;
mod capture;
mod client;
mod events;
mod explain;
mod failure;
mod listen;
mod mac;
mod multicast;
mod packet;
mod place;
mod policies;
mod port;
mod qemu;
mod rates;
mod state;
mod stats;
mod style;
mod switch;
mod table;
mod tool;
mod top;
mod trace;
mod watch;
mod workers;

use args::{Cli, Command};
use client::Client;
use failure::Failure;
use std::{io::Write, process::ExitCode};
use style::Style;

fn main() -> ExitCode {
    let cli = args::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to tell it to where stderr is closed.
            let _ = writeln!(std::io::stderr(), "vmswitch: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::Runtime)?.block_on(carry_out(cli))
}

async fn carry_out(cli: Cli) -> Result<(), Failure> {
    let (client, style) = (Client::new(cli.socket), Style::of_stdout());
    let answer = match cli.command {
        Command::Switch { command } => switch::run(command, &client).await?,
        Command::Port { command } => port::run(command, &client, style).await?,
        Command::Acl { command } => acl::run(command, &client, style).await?,
        Command::Mac { command } => mac::run(command, &client).await?,
        Command::Multicast { command } => multicast::run(command, &client).await?,
        Command::Explain(args) => explain::run(&args, &client).await?,
        Command::Stats(args) if args.watch => return watch::watch(args, &client, style, cli.json).await,
        Command::Top(args) => return top::run(args, &client, style).await,
        Command::Workers => workers::show(&client, style).await?,
        Command::Stats(args) => stats::show(args, &client).await?,
        Command::Apply(args) => state::apply(args, &client).await?,
        Command::Export => state::export(&client, cli.json).await?,
        Command::Capture(args) => return capture::run(&args, &client, cli.json).await,
        Command::Trace(args) => return trace::run(&args, &client, cli.json).await,
        Command::Events => return events::follow(&client, cli.json).await,
        Command::Completions { shell } => tool::completions(shell)?,
        Command::Version => tool::version(&client).await?,
    };
    answer.print(cli.json)
}
