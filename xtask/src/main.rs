//! Developer tasks: `cargo xtask test`, `cargo xtask bench kernel`.

mod bench;
mod packages;
mod steps;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Tasks for those who work on vmswitch. Each installs the Debian packages it needs, and says which first.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs every check and every test, as CI does. Needs root: the tests make network namespaces.
    Test,
    /// Measures vmswitch beside its peers. Needs root.
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Subcommand)]
enum Bench {
    /// Kernel interfaces: network namespaces and a NIC, beside a Linux bridge and OVS's userspace datapath.
    Kernel(bench::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Test => test::run(),
        Task::Bench(Bench::Kernel(options)) => bench::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
