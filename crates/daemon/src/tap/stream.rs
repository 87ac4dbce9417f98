//! From a listener's queue to the body of an answer that goes on.

use axum::body::{Body, Bytes};
use dataplane::tap::{Event, TapReader};
use futures_util::stream;
use std::{convert::Infallible, sync::Arc};
use tokio::sync::{Notify, watch};

/// As much is written at once: small enough that one listener does not keep the API from the others.
const CHUNK: usize = 256 * 1024;

/// Somebody listens.
#[derive(Debug)]
pub struct Tapped {
    /// The end of the queue.
    pub reader: TapReader,
    /// Tells that there is something in it.
    pub woken: Arc<Notify>,
}

/// How a listener is told.
pub trait Format: Send + 'static {
    /// What comes first.
    fn begin(&mut self, out: &mut Vec<u8>);
    /// Something happened. False where the listener has no more to hear of.
    fn tell(&mut self, event: &Event<'_>, out: &mut Vec<u8>) -> bool;
    /// All that was taken out of the queue is told: what was lost up to here, where that is more than before.
    fn lost(&mut self, reader: &TapReader, out: &mut Vec<u8>);
}

struct Listening<F> {
    tapped: Tapped,
    format: F,
    closing: watch::Receiver<bool>,
    /// How much of what was taken last is told.
    told: usize,
    begun: bool,
    ends: bool,
}

/// What `format` says of all that `tapped` gets, until the switch is removed or the daemon stops.
pub fn body(tapped: Tapped, format: impl Format, closing: watch::Receiver<bool>) -> Body {
    let listening = Listening { tapped, format, closing, told: 0, begun: false, ends: false };
    Body::from_stream(stream::unfold(listening, async |mut listening| {
        let chunk = listening.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(chunk)), listening))
    }))
}

impl<F: Format> Listening<F> {
    async fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            self.format.begin(&mut out);
        }
        loop {
            self.tell(&mut out);
            if !out.is_empty() {
                return Some(out);
            }
            if self.ends {
                return None;
            }
            self.wait().await;
        }
    }

    /// Tells what was taken, a chunk of it at most.
    fn tell(&mut self, out: &mut Vec<u8>) {
        let Self { tapped: Tapped { reader, .. }, format, told, .. } = self;
        while out.len() < CHUNK {
            let Some(event) = reader.taken().get(*told) else { break };
            *told += 1;
            if !format.tell(&event, out) {
                self.ends = true;
                return;
            }
        }
        if *told < reader.taken().len() {
            return;
        }
        format.lost(reader, out);
    }

    async fn wait(&mut self) {
        self.ends = tokio::select! {
            () = self.tapped.woken.notified() => self.tapped.reader.is_ended(),
            _ = self.closing.wait_for(|closing| *closing) => true,
        };
        self.tapped.reader.take();
        self.told = 0;
    }
}
