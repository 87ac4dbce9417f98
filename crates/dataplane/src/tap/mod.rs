//! Taps: what somebody who captures, traces or mirrors is shown of a switch at work.
//!
//! ```text
//!  workers ── after the verdicts are known: frame and fates, copied ──▶ queue of one listener ──▶ the listener, who takes all of it
//! ```
//!
//! Each listener has a queue of its own, bounded in bytes. Workers put into it while they hold a batch, for what lies in a guest's
//! memory goes back to the guest right after; where there is no room the frame is counted as lost to this listener, and nothing
//! waits. Taking swaps the queue for an empty one, so no worker ever waits for a listener that does something with what it took.
//!
//! While nobody listens, a worker pays one look at an empty list for each batch.

mod queue;
mod record;

pub use queue::{Filter, Listener, Tap, TapReader};
pub use record::{Direction, Event, Fate, Form, Frame, Outcome, Records, Selection, View};

pub(crate) use record::Note;
