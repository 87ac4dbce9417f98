//! Worker loops: receive, decide, deliver, count.
//!
//! ```text
//!  control threads ── commands ──▶ workers (threads, maybe pinned)      Tables (one switch: MAC table, snapshot)
//!                                    │  epoll: which ports have frames      ▲ locked once a batch
//!                                    ▼                                      │
//!                                  Fabric (one switch on one worker): Port::receive ▶ decide ▶ Port::transmit
//!  control threads ◀── notices ───   ports that stopped, what the engine saw
//! ```
//!
//! Every switch is on every worker, and its ports are dealt to them: a worker receives from the queues that are its own and
//! sends on any. What a worker owns (shares of ports, counters) takes no lock and no atomic, and control asks for it
//! between two batches, so it never stops traffic, and counters are exact when they are read.

mod fabric;
mod forms;
mod handle;
mod holds;
mod limiter;
mod lists;
mod load;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod models;
mod observer;
mod patience;
mod rings;
mod share;
mod sync;
mod tables;
pub mod tap;
mod uplink;
mod worker;

/// A switch without its worker, for counting the instructions of a frame.
#[doc(hidden)]
pub use fabric::Fabric;
pub use fabric::SwitchReport;
pub use handle::{Dataplane, Detached, Gone, Notice, StartError, SwitchId};
pub use load::WorkerReport;
pub use tables::Explained;
/// For benches.
#[doc(hidden)]
pub use tables::{Desk, Tables};
