//! What one client can ask of the daemon at most.

use std::time::Duration;

/// Limits of the API: no client can hold its memory or its connections for longer than these say.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest body, but for a desired state.
    pub body_bytes: usize,
    /// The longest desired state. One of a thousand ports with a hundred rules each has 7 MB, and what was exported can be applied.
    pub state_bytes: usize,
    /// Time in which a request's header must have come; an idle connection is closed after it, too.
    pub header_time: Duration,
    /// Time in which a request's body must have come.
    pub body_time: Duration,
    /// Time in which a request must be answered.
    pub request_time: Duration,
    /// Time for which an answer waits for a client that does not read it.
    pub write_time: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Time that running requests get when the daemon stops.
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            state_bytes: 32 << 20,
            header_time: Duration::from_secs(5),
            body_time: Duration::from_secs(10),
            request_time: Duration::from_secs(60),
            write_time: Duration::from_secs(30),
            connections: 64,
            stop_time: Duration::from_secs(10),
        }
    }
}
