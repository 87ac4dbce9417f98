//! What is told: titles, sentences, commands as they are typed, what they really print, and checks.

use crate::interrupt;
use anyhow::{Context, Result, ensure};
use lab::{Namespace, output};
use std::ffi::OsString;
use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(450);

/// Tells the demo on standard output.
pub struct Narrator {
    colour: bool,
    pause: Duration,
    /// Put into the environment of every command.
    environment: Vec<(&'static str, OsString)>,
    checks: Vec<(String, bool)>,
}

impl Narrator {
    /// With colours and pauses only where a person looks on.
    pub fn new(hurry: bool) -> Narrator {
        let person = stdout().is_terminal();
        let pause = if person && !hurry { PAUSE } else { Duration::ZERO };
        Narrator { colour: person, pause, environment: Vec::new(), checks: Vec::new() }
    }

    /// Every command from now on gets this variable.
    pub fn export(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.environment.push((name, value.into()));
    }

    /// Begins a new part.
    pub fn title(&self, text: &str) -> Result<()> {
        self.pause();
        self.line(&format!("\n\n{}", self.styled("1;36", text)))
    }

    /// A sentence or more.
    pub fn say(&self, text: &str) -> Result<()> {
        self.pause();
        self.line(&format!("\n{text}"))
    }

    /// A command as it is typed there.
    pub fn prompt(&self, place: &str, command: &str) -> Result<()> {
        self.pause();
        self.line(&format!("\n  {} {}", self.styled("1;32", &format!("{place}#")), self.styled("1", command)))
    }

    /// What a command printed.
    pub fn printed(&self, text: &str) -> Result<()> {
        text.lines().try_for_each(|line| self.line(format!("  {line}").trim_end()))
    }

    /// Types a command in a namespace, and shows what it prints; it has to succeed.
    pub fn run(&self, place: &str, namespace: &Namespace, command: &str) -> Result<String> {
        self.prompt(place, command)?;
        let text = self.quietly(namespace, command)?;
        self.printed(&text)?;
        Ok(text)
    }

    /// Runs a command that is not worth a look.
    pub fn quietly(&self, namespace: &Namespace, command: &str) -> Result<String> {
        let mut shell = namespace.command("sh");
        shell.args(["-c", command]).envs(self.environment.iter().map(|(name, value)| (name, value)));
        let done = output(&mut shell)?;
        ensure!(done.status.success(), "{command}: {}: {}{}", done.status, done.stdout, done.stderr);
        Ok(done.stdout)
    }

    /// Something that has to be so.
    pub fn check(&mut self, what: &str, holds: bool) -> Result<()> {
        self.checks.push((what.to_owned(), holds));
        self.line(&format!("\n  {}", self.verdict(what, holds)))
    }

    /// Lists all checks; an error if one failed.
    pub fn summary(&self) -> Result<()> {
        self.title("Summary")?;
        self.line("")?;
        self.checks
            .iter()
            .try_for_each(|(what, holds)| self.line(&format!("  {}", self.verdict(what, *holds))))?;
        let failed = self.checks.iter().filter(|(_, holds)| !holds).count();
        ensure!(failed == 0, "{failed} of {} checks failed", self.checks.len());
        self.line(&format!("\n{} checks, all passed.", self.checks.len()))
    }

    /// Text in a colour, where there are any.
    pub fn styled(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn verdict(&self, what: &str, holds: bool) -> String {
        let mark = if holds { self.styled("1;32", "✓") } else { self.styled("1;31", "✗") };
        format!("{mark} {what}")
    }

    fn pause(&self) {
        std::thread::sleep(self.pause);
    }

    fn line(&self, text: &str) -> Result<()> {
        interrupt::check()?;
        let mut out = stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).context("nobody reads what is told")
    }
}
