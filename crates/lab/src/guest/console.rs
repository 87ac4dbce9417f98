//! Commands to the guest over its serial console, and their answers.
//!
//! A request is a line `NUMBER BASE64(command)`, an answer is a line `@@NUMBER STATUS BASE64(output)`. Whatever else
//! appears (firmware, kernel messages) is no such line; it is kept for error messages.

use crate::run::patience;
use anyhow::{Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What the guest's init prints when it takes commands.
const READY: &str = "@@ready";

/// What a command in the guest left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its exit status.
    pub status: i32,
    /// What it printed, on standard output and standard error.
    pub output: String,
}

#[derive(Debug)]
pub struct Console {
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// Lines that are no answers.
    noise: String,
    next: u32,
}

impl Console {
    pub fn new(stdin: ChildStdin, stdout: ChildStdout) -> Console {
        let (send, lines) = channel();
        // Ends with the pipe, which is when QEMU ends, or when nobody listens any more.
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stdout);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                if send.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Console { stdin, lines, noise: String::new(), next: 0 }
    }

    pub fn wait_for_boot(&mut self, limit: Duration) -> Result<()> {
        self.find(limit, |line| line.ends_with(READY).then_some(()))
    }

    pub fn run(&mut self, command: &str, limit: Duration) -> Result<Answer> {
        let number = self.send(command)?;
        self.find(limit, |line| parse(line, number))
    }

    /// Sends a command without waiting for its answer; its number.
    pub fn send(&mut self, command: &str) -> Result<u32> {
        self.next += 1;
        writeln!(self.stdin, "{} {}", self.next, encode(command.as_bytes()))?;
        self.stdin.flush()?;
        Ok(self.next)
    }

    fn find<T>(&mut self, limit: Duration, mut wanted: impl FnMut(&str) -> Option<T>) -> Result<T> {
        let limit = patience(limit);
        let end = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => match wanted(&line) {
                    Some(found) => return Ok(found),
                    None => self.noise.extend([&line, "\n"]),
                },
                Err(RecvTimeoutError::Timeout) => {
                    bail!("no answer after {limit:?}; console:\n{}", self.noise)
                }
                Err(RecvTimeoutError::Disconnected) => bail!("QEMU ended; console:\n{}", self.noise),
            }
        }
    }
}

fn parse(line: &str, number: u32) -> Option<Answer> {
    // The kernel may have printed something before it on the same line.
    let (_, answer) = line.split_once(&format!("@@{number} "))?;
    let (status, output) = answer.split_once(' ').unwrap_or((answer, ""));
    let output = String::from_utf8_lossy(&decode(output)?).into_owned();
    Some(Answer { status: status.parse().ok()?, output })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 (RFC 4648).
fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | ALPHABET.iter().position(|c| *c == digit)? as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_what_rfc_4648_lists() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ];
        for (plain, coded) in vectors {
            assert_eq!(
                (encode(plain.as_bytes()).as_str(), decode(coded).unwrap()),
                (coded, plain.as_bytes().to_vec())
            );
        }
        assert_eq!(decode("Zm9*"), None);
    }

    #[test]
    fn only_the_answer_to_this_request_counts() {
        let answer = Answer { status: 3, output: "foo".to_owned() };
        assert_eq!(parse("[ 1.2] noise @@7 3 Zm9v", 7), Some(answer));
        assert_eq!(parse("@@7 0 ", 7), Some(Answer { status: 0, output: String::new() }));
        assert_eq!(parse("@@6 3 Zm9v", 7), None);
        assert_eq!(parse("7 Zm9v", 7), None);
    }
}
