//! Ports for tests and demos: no privilege, no kernel interface, everything repeatable.

mod fault;
mod looped;
mod pcap;

pub use fault::{Fault, FaultPort};
pub use looped::LoopPort;
pub use pcap::{PcapError, PcapPort};
