//! Worker loops: receive, decide, deliver, count.
//!
//! ```text
//!  control threads ── commands ──▶ worker (one thread, maybe pinned)
//!                                    │  epoll: which ports have frames
//!                                    ▼
//!                                  Fabric (one switch): Port::receive ▶ engine ▶ Port::transmit
//!  control threads ◀── notices ───   ports that stopped, what the engine saw
//! ```
//!
//! A switch lives on one worker with all its ports, tables and counters, so that no frame takes a lock or touches an
//! atomic, and what control asks for (a new snapshot, counters, the MAC table) is done between two batches: it never
//! stops traffic, and counters are exact when they are read.

mod fabric;
mod handle;
mod patience;
mod rings;
mod worker;

/// A switch without its worker, for counting the instructions of a frame.
#[doc(hidden)]
pub use fabric::Fabric;
pub use fabric::SwitchReport;
pub use handle::{Dataplane, Gone, Notice, StartError, SwitchId};
