//! vmswitchd: the switch daemon.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match daemon::run(&daemon::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vmswitchd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
