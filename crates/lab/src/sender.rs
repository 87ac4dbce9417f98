//! Sending frames exactly as given.

use crate::capture::hex;
use crate::namespace::Namespace;
use crate::process::Process;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::time::Duration;

/// Sends raw frames out of one interface.
#[derive(Debug)]
pub struct RawSender {
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
    process: Process,
    _dir: tempfile::TempDir,
}

impl RawSender {
    /// Opens the interface.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<RawSender> {
        let dir = crate::temp_dir()?;
        let mut command = namespace.command("python3");
        command.args(["-c", include_str!("scripts/send.py"), interface]);
        let (mut process, stdin, stdout) = Process::spawn_piped(&mut command, &dir.path().join("log"))?;
        process.wait_for_log("sending", Duration::from_secs(20))?;
        Ok(RawSender { stdin, answers: BufReader::new(stdout), process, _dir: dir })
    }

    /// Sends a frame; returns when the interface has it. The kernel refuses fewer than 14 bytes and more than its MTU.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        writeln!(self.stdin, "{}", hex(frame))?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim() {
            "ok" => Ok(()),
            error => bail!("a frame of {} bytes was not sent: {error} {}", frame.len(), self.process.log()),
        }
    }

    /// Sends frames in order.
    pub fn send_all<'a>(&mut self, frames: impl IntoIterator<Item = &'a Vec<u8>>) -> Result<()> {
        frames
            .into_iter()
            .enumerate()
            .try_for_each(|(n, frame)| self.send(frame).with_context(|| format!("frame {n}")))
    }
}
