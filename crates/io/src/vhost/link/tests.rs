//! The control thread with real front ends at the other end of a real socket: that of the `vhost` crate, and a raw one that
//! can say anything.

mod hostile;
mod lifecycle;
mod requests;
mod shares;
mod stage;
