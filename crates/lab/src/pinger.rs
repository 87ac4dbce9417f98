//! Echo requests in the background, of which each is known that was not answered.

use crate::namespace::Namespace;
use crate::process::Process;
use anyhow::{Context, Result};
use std::process::{ChildStdin, ChildStdout};
use std::time::Duration;

/// Pings an IPv4 address until it is stopped.
#[derive(Debug)]
pub struct Pinger {
    process: Process,
    stdin: ChildStdin,
    stdout: ChildStdout,
    _dir: tempfile::TempDir,
}

/// What became of the requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Pinged {
    /// How many were sent.
    pub sent: usize,
    /// Answers that came once more.
    pub twice: usize,
    /// When those were sent that were not answered, since 1970.
    pub lost: Vec<Duration>,
}

impl Pinger {
    /// Starts to ping, once every `interval`.
    pub fn start(namespace: &Namespace, address: &str, interval: Duration) -> Result<Pinger> {
        let dir = crate::temp_dir()?;
        let mut command = namespace.command("python3");
        command.args(["-c", include_str!("scripts/ping.py"), address, &interval.as_millis().to_string()]);
        let (process, stdin, stdout) = Process::spawn_piped(&mut command, &dir.path().join("log"))?;
        Ok(Pinger { process, stdin, stdout, _dir: dir })
    }

    /// Stops, and waits a second for answers that are late.
    pub fn stop(mut self) -> Result<Pinged> {
        drop(self.stdin);
        let printed = std::io::read_to_string(self.stdout)?;
        self.process.wait(Duration::from_secs(10))?;
        parse(&printed).with_context(|| format!("a pinger printed {printed:?}: {}", self.process.log()))
    }
}

fn parse(printed: &str) -> Option<Pinged> {
    let mut words = printed.lines().find_map(|line| line.strip_prefix("done "))?.split_whitespace();
    let (sent, twice) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let lost = words.map(|word| word.parse().ok().map(Duration::from_secs_f64)).collect::<Option<_>>()?;
    Some(Pinged { sent, twice, lost })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pinger_prints_is_read() {
        let lost = vec![Duration::from_millis(1500), Duration::from_secs(2)];
        assert_eq!(parse("pinging\ndone 7 1 1.500000 2.000000\n"), Some(Pinged { sent: 7, twice: 1, lost }));
        assert_eq!(parse("pinging\ndone 7 0\n"), Some(Pinged { sent: 7, twice: 0, lost: Vec::new() }));
        assert_eq!(parse("pinging\n"), None);
    }
}
