//! A program in a terminal, and what somebody in front of it sees.

use crate::process::Process;
use crate::run::patience;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command};
use std::time::Duration;

/// A terminal of 80 by 24.
#[derive(Debug)]
pub struct Terminal {
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
    process: Process,
    _dir: tempfile::TempDir,
}

/// How a program left its terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The program's exit status; that of a signal is negative.
    pub status: i64,
    /// Whether the terminal's settings (echo, line mode) are as before.
    pub restored: bool,
    /// Private modes that are still set, like 1049: the alternate screen.
    pub modes: Vec<u64>,
    /// What is on the screen then.
    pub screen: String,
}

impl Terminal {
    /// Starts a program in it.
    pub fn start(argv: &[&str]) -> Result<Terminal> {
        let dir = crate::temp_dir()?;
        let mut command = Command::new("python3");
        command.args(["-c", include_str!("scripts/terminal.py")]).args(argv);
        let (process, stdin, stdout) = Process::spawn_piped(&mut command, &dir.path().join("log"))?;
        Ok(Terminal { stdin, answers: BufReader::new(stdout), process, _dir: dir })
    }

    /// Waits until what is on the screen matches a regular expression of Python's, in which ^ and $ stand for the ends of a
    /// line; the screen.
    pub fn wait(&mut self, pattern: &str, limit: Duration) -> Result<String> {
        let limit = patience(limit);
        let answer = self.ask(&json!({ "wait": pattern, "s": limit.as_secs_f64() }))?;
        let screen = answer["screen"].as_str().unwrap_or_default().to_owned();
        ensure!(answer["seen"] == true, "{pattern:?} was not seen within {limit:?}:\n{screen}");
        Ok(screen)
    }

    /// Types.
    pub fn type_in(&mut self, text: &str) -> Result<()> {
        self.ask(&json!({ "type": text })).map(drop)
    }

    /// Sends the program a signal.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        self.ask(&json!({ "signal": signal })).map(drop)
    }

    /// Waits until the program ends.
    pub fn left(&mut self, limit: Duration) -> Result<Left> {
        let answer = self.ask(&json!({ "end": patience(limit).as_secs_f64() }))?;
        ensure!(answer["ended"] == true, "the program goes on: {answer}");
        let modes = answer["modes"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        Ok(Left {
            status: answer["status"].as_i64().context("no exit status")?,
            restored: answer["restored"] == true,
            modes,
            screen: answer["screen"].as_str().unwrap_or_default().to_owned(),
        })
    }

    fn ask(&mut self, command: &Value) -> Result<Value> {
        writeln!(self.stdin, "{command}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| format!("the terminal broke: {}", self.process.log()))
    }
}
