//! Capturing frames in the background.

use crate::namespace::Namespace;
use crate::process::Process;
use crate::records::{self, Record};
use crate::run::wait_until;
use anyhow::{Context, Result, bail};
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use crate::records::Captured;

/// A running capture of everything that passes one interface, in both directions.
///
/// Frames that one capture sees once are seen as the kernel holds them: a segmentation-offloaded frame is one large
/// frame, and frames sent by a [`RawSender`](crate::RawSender) on the same interface are outgoing ones.
#[derive(Debug)]
pub struct Capture {
    frames: Arc<Mutex<Vec<Captured>>>,
    stdin: Option<ChildStdin>,
    reader: Option<JoinHandle<Result<u32>>>,
    process: Process,
    _dir: tempfile::TempDir,
}

impl Capture {
    /// Starts capturing; every frame that passes after this returns is captured.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Capture> {
        let dir = crate::temp_dir()?;
        let mut command = namespace.command("python3");
        command.args(["-c", include_str!("scripts/capture.py"), interface]);
        let (mut process, stdin, stdout) = Process::spawn_piped(&mut command, &dir.path().join("log"))?;
        process.wait_for_log("capturing", Duration::from_secs(20))?;
        let frames = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let frames = Arc::clone(&frames);
            move || collect(stdout, &frames)
        });
        Ok(Capture { frames, stdin: Some(stdin), reader: Some(reader), process, _dir: dir })
    }

    /// The frames captured so far.
    pub fn frames(&self) -> Vec<Captured> {
        lock(&self.frames).clone()
    }

    /// Waits until `count` frames that `wanted` accepts were captured; returns these.
    pub fn wait_for(&self, count: usize, wanted: impl Fn(&Captured) -> bool) -> Result<Vec<Captured>> {
        let mut found = Vec::new();
        let waited = wait_until("captured frames", Duration::from_secs(10), || {
            found = lock(&self.frames).iter().filter(|f| wanted(f)).cloned().collect();
            Ok(found.len() >= count)
        });
        waited.with_context(|| {
            format!("{} of {count} frames came; all of them:\n{}", found.len(), self.listing())
        })?;
        Ok(found)
    }

    /// Ends the capture and returns every frame that passed before this call; an error if one was lost.
    pub fn stop(mut self) -> Result<Vec<Captured>> {
        self.stdin = None;
        let reader = self.reader.take().context("the capture was stopped already")?;
        let outcome = reader.join().map_err(|_| anyhow::anyhow!("the reader of the capture panicked"))?;
        let lost = outcome.with_context(|| format!("capture: {}", self.process.log()))?;
        if lost > 0 {
            bail!("the capture lost {lost} frames");
        }
        Ok(std::mem::take(&mut *lock(&self.frames)))
    }

    fn listing(&self) -> String {
        lock(&self.frames).iter().map(|f| format!("  {}\n", hex(&f.bytes))).collect()
    }
}

fn collect(mut stream: ChildStdout, frames: &Mutex<Vec<Captured>>) -> Result<u32> {
    loop {
        match records::read(&mut stream)? {
            Some(Record::Frame(frame)) => lock(frames).push(frame),
            Some(Record::End { lost }) => return Ok(lost),
            None => bail!("it ended before it was asked to"),
        }
    }
}

fn lock(frames: &Mutex<Vec<Captured>>) -> MutexGuard<'_, Vec<Captured>> {
    // A list that a panicking thread pushed to is still a list.
    frames.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
