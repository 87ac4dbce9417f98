//! Events: numbered, stamped, logged, and sent to whoever listens.

use model::{Event, EventKind};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::broadcast;

/// Events that a slow listener may be behind before it misses some.
const BACKLOG: usize = 1024;

/// Where events go.
#[derive(Debug)]
pub struct EventLog {
    next: AtomicU64,
    sender: broadcast::Sender<Event>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { next: AtomicU64::new(1), sender: broadcast::Sender::new(BACKLOG) }
    }
}

impl EventLog {
    /// Tells an event.
    pub fn tell(&self, kind: EventKind) {
        match &kind {
            EventKind::MacConflict { .. } | EventKind::SwitchRolledBack { .. } => {
                tracing::warn!(event = ?kind)
            }
            EventKind::PortState { reason: Some(_), .. } => tracing::warn!(event = ?kind),
            _ => tracing::info!(event = ?kind),
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // Nobody may be listening, which is no error.
        let _ = self.sender.send(Event { id, time_ms: now_ms(), kind });
    }

    /// Every event from now on.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    now_ms() / 1000
}
