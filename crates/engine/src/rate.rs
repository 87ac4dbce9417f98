//! How fast frames may pass: buckets of tokens.
//!
//! A rate is not judged frame by frame in the pipeline. Towards the switch a port that has used up its tokens is not read from,
//! so whoever sends on it has to wait, and nothing that it sent is dropped. Towards a vNIC what is too much is dropped where it
//! is to be delivered. Both is the data path's doing; what is decided here is how much, and when.

mod bucket;
mod sharing;

pub use bucket::{Bucket, LATEST, MAX_BURST, Rate};
pub use sharing::{Share, Shares, Uplink};

/// A moment or a span, in nanoseconds: rates need it that fine. The caller's clock may start anywhere; 2^64 of them are 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// How fast frames may pass a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In each direction; without it as fast as they come.
    pub maximum: Option<Rate>,
    /// The most frames a second that the vNIC may have flooded; 0: as many as it likes.
    pub storm: u32,
    /// What it can count on of a congested uplink, in relation to others; without it, it shares one part with all that have none.
    pub minimum: Option<u64>,
}
