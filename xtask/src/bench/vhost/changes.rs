//! Changes of one rule of a port, by the API.

use super::bed::{Bed, SWITCH};
use super::generator::Watcher;
use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two changes: 50 a second, and what they take.
const PAUSE: Duration = Duration::from_millis(20);
/// The port whose rules are changed: the client's.
const PORT: &str = "vm0";
/// A rule against the second service (`peers/flows.h`), before all others.
const DENY: &str = r#"{"acl":{"add":["name change both deny udp remote any port 2001 weight 9999"]}}"#;
const ALLOW: &str = r#"{"acl":{"remove":["change"]}}"#;
/// One that nobody sends anything to.
const DENY_NOBODY: &str = r#"{"acl":{"add":["name change both deny udp remote any port 9 weight 9999"]}}"#;

/// A connection to the API that stays open.
#[derive(Debug)]
struct Api(BufReader<UnixStream>);

impl Api {
    fn connect(socket: &Path) -> Result<Api> {
        Ok(Api(BufReader::new(UnixStream::connect(socket)?)))
    }

    /// Changes the port, and reads the answer.
    fn change(&mut self, change: &str) -> Result<()> {
        let head = format!("PATCH /v1/switches/{SWITCH}/ports/{PORT} HTTP/1.1\r\nHost: vmswitch\r\n");
        let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", change.len());
        self.0.get_mut().write_all([&head, &length, change].concat().as_bytes())?;
        let status = self.line()?;
        let mut body = 0;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if let Some(length) = line.strip_prefix("content-length:") {
                body = length.trim().parse()?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; body];
        self.0.read_exact(&mut answer)?;
        ensure!(status.contains(" 200 "), "{change}: {status}\n{}", String::from_utf8_lossy(&answer));
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "the API closed the connection");
        Ok(line.trim_end().to_owned())
    }
}

/// What a change took, in milliseconds from its request.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// Until the first frame that it applied to.
    pub live: f64,
    /// For how much of that the CPU was held up ([`Watcher::held_up`]).
    pub held: f64,
    /// Until it was answered.
    pub answered: f64,
}

/// Has a rule forbid the watched flow, and lets it pass again, some times.
pub fn watch_changes(bed: &Bed, watcher: &mut Watcher, times: u32) -> Result<Vec<Change>> {
    let mut api = Api::connect(&bed.api()?)?;
    let mut changes = Vec::new();
    for _ in 0..times {
        for (change, effect) in [(DENY, "gone"), (ALLOW, "passes")] {
            thread::sleep(PAUSE);
            let asked = monotonic_ns();
            api.change(change)?;
            let answered = monotonic_ns();
            let live = watcher.next(effect)?;
            let (since, held) = (|at: u64| at.saturating_sub(asked), watcher.held_up(asked..live));
            let [live, held, answered] = [since(live), held, since(answered)].map(|ns| ns as f64 / 1e6);
            changes.push(Change { live, held, answered });
        }
    }
    Ok(changes)
}

/// As generators tell it.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A rule is added and removed again and again as long as this lives.
#[derive(Debug)]
pub struct Changing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u32>>>,
}

impl Changing {
    pub fn start(bed: &Bed) -> Result<Changing> {
        let (mut api, stop) = (Api::connect(&bed.api()?)?, Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut changes = 0;
            while !seen.load(Ordering::Relaxed) {
                for change in [DENY_NOBODY, ALLOW] {
                    api.change(change)?;
                    changes += 1;
                    thread::sleep(PAUSE);
                }
            }
            Ok(changes)
        });
        Ok(Changing { stop, thread: Some(thread) })
    }

    /// How many changes there were.
    pub fn stop(mut self) -> Result<u32> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it runs until it is stopped")?;
        thread.join().unwrap_or_else(|_| anyhow::bail!("the thread that changes rules panicked"))
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
