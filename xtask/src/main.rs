//! Developer tasks: `cargo xtask test`, `instructions`, `fuzz`, `asan`, `demo`, and `bench` with `kernel`, `vhost`, `xdp`,
//! `policies`, `hostile` and `waking`.

mod asan;
mod bench;
mod demo;
mod fuzz;
mod instructions;
mod interrupt;
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
    /// Counts the instructions of a frame from guest to guest, and fails where they have become more.
    Instructions(instructions::Options),
    /// Runs the fuzz targets for a while.
    Fuzz(fuzz::Options),
    /// Runs the tests with each access to memory checked (AddressSanitizer). Needs root.
    Asan(asan::Options),
    /// Shows the main job on a network made of namespaces: nothing on the real one is touched. Needs root.
    Demo(demo::Options),
    /// Measures vmswitch beside its peers. Needs root.
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Subcommand)]
enum Bench {
    /// Kernel interfaces: network namespaces and a NIC, beside a Linux bridge and OVS's userspace datapath.
    Kernel(bench::Options),
    /// vhost-user ports: VMs at ring speed, beside testpmd, OVS-DPDK and VPP. Takes two CPUs and 2 GiB of huge pages.
    Vhost(bench::vhost::Options),
    /// From a VM to the wire by AF_XDP on a veth, beside testpmd. Takes two CPUs and 2 GiB of huge pages.
    Xdp(bench::vhost::xdp::Options),
    /// What policies of ports cost, beside ports without them and OVS-DPDK. Takes two CPUs and 2 GiB of huge pages.
    Policies(bench::policies::Options),
    /// What vNICs keep of their throughput beside a front end that breaks the rules. Takes two CPUs.
    Hostile(bench::hostile::Options),
    /// The first frame after silence, beside what the kernel takes to wake a thread. Takes two CPUs.
    Waking(bench::waking::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Test => test::run(),
        Task::Instructions(options) => instructions::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Asan(options) => asan::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Bench(Bench::Kernel(options)) => bench::run(&options),
        Task::Bench(Bench::Vhost(options)) => bench::vhost::run(&options),
        Task::Bench(Bench::Xdp(options)) => bench::vhost::xdp::run(&options),
        Task::Bench(Bench::Policies(options)) => bench::policies::run(&options),
        Task::Bench(Bench::Hostile(options)) => bench::hostile::run(&options),
        Task::Bench(Bench::Waking(options)) => bench::waking::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
