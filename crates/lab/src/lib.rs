//! Real network labs: what the demo, the scenario tests and the benchmarks are built from.
//!
//! Everything here is a guard. A [`Namespace`] is deleted, a [`Process`] is killed and reaped, a directory is
//! removed when its value is dropped, so also when a test panics. Names carry the process id and a counter:
//! labs run in parallel, and what a killed test process could not clean up is removed by the next one.
//!
//! All of it needs root, and works by calling iproute2, python3, strace, QEMU and friends, so that the lab shares
//! no code with what it tests.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use lab::{Daemon, World};
//!
//! let world = World::new()?;
//! let mut daemon = Daemon::start(&world.host)?;
//! daemon.cli_ok(&["switch", "add", "lan", "--external", "nic0"])?;
//! world.host.ping("10.9.0.3")?;
//! daemon.stop()
//! # }
//! ```

mod binaries;
mod capture;
pub mod counters;
mod daemon;
pub mod frames;
pub mod guest;
pub mod hostile;
mod leftovers;
mod namespace;
mod pinger;
mod process;
mod records;
mod run;
mod sender;
pub mod services;
mod strace;
mod terminal;
pub mod transfer;
pub mod vnic;
pub mod waking;
mod world;

pub use binaries::Binaries;
pub use capture::{Capture, Captured};
pub use counters::{Answers, SWITCH, Snapshot};
pub use daemon::{Daemon, DaemonOptions, KillAt};
pub use guest::{Guest, GuestOptions, Kernel, Migrated, Monitor, Netdev, Nic, VhostUser};
pub use namespace::{Namespace, Ping};
pub use pinger::{Pinged, Pinger};
pub use process::Process;
pub use run::{Finished, comes_within, is_root, output, patience, text, wait_until};
pub use sender::RawSender;
pub use strace::{Call, Fate, Place, Strace};
pub use terminal::{Left, Terminal};
pub use world::{FAR_IPV4, FAR_IPV6, FAR_MAC, HOST_IPV4, HOST_IPV6, NIC, NIC_MAC, World, WorldOptions};

/// A fresh directory of the lab, removed when dropped. The path is short: unix socket paths end at 108 bytes.
pub fn temp_dir() -> anyhow::Result<tempfile::TempDir> {
    leftovers::sweep();
    let prefix = leftovers::prefix();
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir_in("/tmp")?)
}
