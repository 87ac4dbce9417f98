//! What goes on all the time between the host and the far machine: a TCP connection and a ping.

use anyhow::{Context, Result, ensure};
use lab::{FAR_IPV4, Process, World, output, wait_until};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const PORT: &str = "9000";
const SCRIPT: &str = include_str!("stream.py");
const PATIENCE: Duration = Duration::from_secs(10);

/// A running TCP connection and a running ping.
pub struct Connection {
    server: Process,
    client: Process,
    ping: Process,
    _dir: TempDir,
}

/// What came of both.
pub struct Total {
    /// Numbers sent.
    pub sent: u64,
    /// Numbers received, each in its place.
    pub received: u64,
    /// The line in which ping sums up.
    pub ping: String,
    /// Whether ping got an answer to every question.
    pub answered: bool,
}

impl Connection {
    /// Opens it from the host to the far machine.
    pub fn open(world: &World) -> Result<Connection> {
        let dir = lab::temp_dir()?;
        let log = |name: &str| dir.path().join(name);
        let python = |mode| ["python3", "-c", SCRIPT, mode, FAR_IPV4, PORT];
        let mut server = world.far.spawn(&python("serve"), &log("server"))?;
        server.wait_for_log("listening", PATIENCE)?;
        let client = world.host.spawn(&python("send"), &log("client"))?;
        server.wait_for_log("received", PATIENCE)?;
        let ping = world.host.spawn(&["ping", "-i", "0.1", FAR_IPV4], &log("ping"))?;
        Ok(Connection { server, client, ping, _dir: dir })
    }

    /// How many numbers have come so far; an error if one came wrong.
    pub fn received(&mut self) -> Result<u64> {
        let log = self.server.log();
        ensure!(self.server.ended()?.is_none(), "the connection broke: {log}");
        Ok(received(&log))
    }

    /// Waits until so many more numbers have come, and answers of ping too.
    pub fn go_on(&mut self, more: u64) -> Result<u64> {
        let wanted = self.received()? + more;
        wait_until("numbers on the connection", PATIENCE, || Ok(self.received()? >= wanted))?;
        self.received()
    }

    /// Closes it, as its programs are meant to be ended.
    pub fn close(mut self) -> Result<Total> {
        self.client.terminate(PATIENCE)?;
        self.server.wait_for_log("end", PATIENCE)?;
        // On SIGINT, and on no other signal, ping sums up.
        output(Command::new("kill").args(["-INT", &self.ping.id().to_string()]))?;
        self.ping.wait(PATIENCE)?;
        let log = self.ping.log();
        let line =
            log.lines().find(|l| l.contains("packets transmitted")).context("ping summed up nothing")?;
        let (sent, received) = (number_after(&self.client.log(), "sent "), received(&self.server.log()));
        let answered = line.contains(" 0% packet loss") && !log.contains("Unreachable");
        Ok(Total { sent, received, ping: line.to_owned(), answered })
    }
}

fn received(log: &str) -> u64 {
    log.lines().rev().map(|line| number_after(line, "received ")).find(|n| *n > 0).unwrap_or(0)
}

fn number_after(text: &str, word: &str) -> u64 {
    let rest = text.split(word).nth(1).unwrap_or_default();
    rest.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_counts() {
        assert_eq!(received("listening\nreceived 10\nreceived 20\n"), 20);
        assert_eq!(received("listening\nreceived 10\nreceived 13 end\n"), 13);
        assert_eq!(received("listening\n"), 0);
        assert_eq!(number_after("connected\nsent 13\n", "sent "), 13);
    }
}
