//! What listeners are given of the frames that pass: pcapng for captures, lines for traces.

mod capture;
mod filter;
mod form;
mod pcapng;
mod stream;
mod summary;
mod trace;

pub use capture::Capture;
pub use filter::{BadFilter, compile};
pub(crate) use form::in_form;
pub use stream::{Format, Tapped, body};
pub use trace::{BYTES as TRACE_BYTES, Trace};

use dataplane::tap::{Filter, Listener, Selection};
use model::Name;
use std::sync::Arc;
use tokio::sync::Notify;

/// A queue holds so many bytes. Two of them belong to each listener, the one that is filled and the one that is read.
pub(crate) const CAPACITY: usize = 8 << 20;

/// What somebody wants to listen to.
pub struct Wanted {
    /// Only frames at this port.
    pub port: Option<Name>,
    /// Only frames that are dropped.
    pub dropped_only: bool,
    /// Only frames that this lets pass.
    pub filter: Option<Filter>,
    /// Of these, one of so many.
    pub sample: u64,
    /// As many bytes of each.
    pub snaplen: usize,
}

impl Wanted {
    /// The listener, with what wakes it.
    pub fn listener(&self, selection: Selection) -> (Listener, Arc<Notify>) {
        let woken = Arc::new(Notify::new());
        let wake = Arc::clone(&woken);
        let listener = Listener {
            selection: Selection { dropped_only: self.dropped_only, ..selection },
            sample: self.sample,
            snaplen: self.snaplen,
            capacity: CAPACITY,
            wake: Box::new(move || wake.notify_one()),
        };
        (listener, woken)
    }
}
