//! Answers that go on until somebody has enough.

use crate::failure::Failure;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{self, Instant},
};

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The user had enough, by count, time or Ctrl-C.
    ByUser,
    /// No more is to come.
    ByDaemon,
}

/// When to end.
#[derive(Debug)]
pub struct Until {
    interrupt: Signal,
    terminate: Signal,
    at: Option<Instant>,
}

impl Until {
    /// A signal that asks to end does so, and so does the end of this time.
    pub fn new(duration: Option<Duration>) -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::Runtime);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            at: duration.map(|duration| Instant::now() + duration),
        })
    }

    /// Gives what comes to `take`, until that says that it has enough.
    pub async fn read(
        mut self,
        mut body: Incoming,
        mut take: impl FnMut(&[u8]) -> Result<bool, Failure>,
    ) -> Result<Ended, Failure> {
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = self.enough() => return Ok(Ended::ByUser),
            };
            let Some(frame) = frame else { return Ok(Ended::ByDaemon) };
            let frame = frame.map_err(Failure::broken)?;
            if let Some(bytes) = frame.data_ref()
                && !take(bytes)?
            {
                return Ok(Ended::ByUser);
            }
        }
    }

    async fn enough(&mut self) {
        let end = self.at;
        let timeout = async move {
            match end {
                Some(end) => time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = timeout => {}
        }
    }
}
