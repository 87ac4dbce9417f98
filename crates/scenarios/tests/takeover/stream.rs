//! A TCP connection that stays open for a whole test and must not lose a byte.

use crate::state::PATIENCE;
use anyhow::{Context, Result, ensure};
use lab::transfer::Endpoint;
use lab::{Namespace, Process, wait_until};
use std::path::PathBuf;
use std::time::Duration;

/// A stream at work, and its two ends.
pub struct Stream {
    sender: Process,
    sink: Endpoint,
    stop: PathBuf,
    _dir: tempfile::TempDir,
}

impl Stream {
    pub fn start(from: &Namespace, to: &Namespace, address: &str, port: u16) -> Result<Stream> {
        let dir = lab::temp_dir()?;
        let sink = Endpoint::sink(to, port)?;
        let (stop, log) = (dir.path().join("stop"), dir.path().join("log"));
        let (text, stop_text) = (port.to_string(), stop.display().to_string());
        let argv = ["python3", "-c", include_str!("stream.py"), address, &text, &stop_text];
        let mut sender = from.spawn(&argv, &log)?;
        sender.wait_for_log("sent", PATIENCE)?;
        Ok(Stream { sender, sink, stop, _dir: dir })
    }

    fn sent(&self) -> u64 {
        let log = self.sender.log();
        let last = log.lines().rev().find_map(|line| line.strip_prefix("sent "));
        last.and_then(|count| count.parse().ok()).unwrap_or_default()
    }

    /// Waits until that many more bytes were sent than now: they outgrow every buffer on the way.
    pub fn wait_for_more(&mut self, bytes: u64) -> Result<()> {
        let wanted = self.sent() + bytes;
        wait_until("bytes of a stream", Duration::from_secs(60), || {
            ensure!(self.sender.ended()?.is_none(), "the stream broke: {}", self.sender.log());
            Ok(self.sent() >= wanted)
        })
    }

    /// Ends the stream; fails unless every byte arrived. Returns how many those are.
    pub fn finish(mut self) -> Result<u64> {
        std::fs::write(&self.stop, "")?;
        self.sender.wait_for_log("done", Duration::from_secs(60))?;
        let log = self.sender.log();
        let sent = log.lines().find_map(|line| line.strip_prefix("done ")).context("no result")?.to_owned();
        let passed = self.sink.finish()?;
        ensure!(sent == format!("{} {}", passed.bytes, passed.sha256), "sent {sent}, received {passed:?}");
        Ok(passed.bytes)
    }
}
