//! Requests that are too large, too many, too slow, or nonsense.

use crate::stage::{JSON, Stage, same};
use anyhow::{Context, Result, ensure};
use lab::wait_until;
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// No request is served for longer.
const PATIENCE: Duration = lab::patience(Duration::from_secs(15));

fn connect(stage: &Stage) -> Result<UnixStream> {
    let stream = UnixStream::connect(stage.daemon.socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Everything that comes until the daemon closes the connection.
fn rest(mut stream: UnixStream) -> Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text).context("the connection was not closed")?;
    Ok(text)
}

#[test]
fn root_a_request_that_is_too_large_is_refused() -> Result<()> {
    let stage = Stage::new()?;
    let before = stage.traces()?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), vec![b' '; (1 << 20) + 1])?;
    let body = format!("@{}", file.path().display());
    let problem = stage.send("POST", "/v1/switches", &[JSON, "--data-binary", &body])?;
    problem.expect(413, "too-large", &["1048576 bytes, the most that is read"])?;
    let toml = file.path().with_extension("toml").display().to_string();
    std::fs::rename(file.path(), &toml)?;
    std::fs::write(&toml, vec![b' '; (32 << 20) + 1])?;
    let message = stage.daemon.cli_refused(1, &["apply", &toml])?;
    std::fs::rename(&toml, file.path())?;
    ensure!(message.contains("33554432 bytes"), "{message}");
    same(&before, &stage.traces()?)?;
    stage.finish()
}

#[test]
fn root_more_connections_than_are_served_are_refused_until_one_ends() -> Result<()> {
    let stage = Stage::new()?;
    let before = stage.traces()?;
    let mut held: Vec<_> = (0..64).map(|_| connect(&stage)).collect::<Result<_>>()?;
    wait_until("refusal", Duration::from_secs(10), || {
        let refused = !stage.daemon.cli(&["switch", "list"])?.status.success();
        if !refused {
            // One of those was, while the place of what was asked before was still taken.
            held.insert(0, connect(&stage)?);
        }
        Ok(refused)
    })?;
    let message = stage.daemon.cli_refused(1, &["switch", "add", "lab", "--private"])?;
    ensure!(message.contains("64 connections are open") && message.contains("try again later"), "{message}");
    let body = json!({"name": "lab", "kind": "private"}).to_string();
    stage.send("POST", "/v1/switches", &[JSON, "-d", &body])?.expect(
        503,
        "too-many",
        &["64 connections", "try again later"],
    )?;
    held.pop();
    wait_until("place", Duration::from_secs(10), || {
        Ok(stage.daemon.cli(&["switch", "list"])?.status.success())
    })?;
    drop(held);
    wait_until("places", Duration::from_secs(10), || {
        Ok(stage.daemon.cli(&["switch", "list"])?.status.success())
    })?;
    same(&before, &stage.traces()?)?;
    stage.finish()
}

#[test]
fn root_a_request_that_is_too_slow_ends_and_holds_nobody_up() -> Result<()> {
    let stage = Stage::new()?;
    let (before, start) = (stage.traces()?, Instant::now());
    let (silent, mut header, mut body) = (connect(&stage)?, connect(&stage)?, connect(&stage)?);
    header.write_all(b"POST /v1/switches HT")?;
    let head = "POST /v1/switches HTTP/1.1\r\nhost: vmswitch\r\ncontent-type: application/json\r\n";
    write!(body, "{head}connection: close\r\ncontent-length: 9\r\n\r\n{{")?;
    stage.daemon.cli_ok(&["switch", "list"])?;
    ensure!(rest(silent)?.is_empty(), "an answer to nothing");
    rest(header)?;
    let answer = rest(body)?;
    ensure!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("did not come within 10s"), "{answer}");
    ensure!(answer.contains("application/problem+json"), "{answer}");
    ensure!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    same(&before, &stage.traces()?)?;
    stage.finish()
}

#[test]
fn root_requests_that_make_no_sense_are_refused() -> Result<()> {
    let stage = Stage::new()?;
    let before = stage.traces()?;
    let send = |method: &str, path: &str, body: &str| stage.send(method, path, &[JSON, "-d", body]);
    send("POST", "/v1/switches", "{\"name\": ")?.expect(400, "malformed", &["line 1, column"])?;
    let unknown = "{\"name\": \"lab\", \"kind\": \"private\",\n \"colour\": 1}";
    send("POST", "/v1/switches", unknown)?.expect(
        422,
        "invalid",
        &["line 2, column", "unknown field `colour`"],
    )?;
    send("GET", "/v2/switches", "")?.expect(
        404,
        "no-such-path",
        &["'/v2/switches'", "/openapi.json lists every path"],
    )?;
    send("DELETE", "/v1/switches", "")?.expect(405, "wrong-method", &["DELETE is not for '/v1/switches'"])?;
    let plain = ["-HContent-Type: text/plain", "-d", "{}"];
    let problem = stage.send("POST", "/v1/switches", &plain)?;
    problem.expect(415, "unsupported-media-type", &["must be application/json"])?;
    same(&before, &stage.traces()?)?;
    stage.finish()
}
