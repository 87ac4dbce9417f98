//! Requests that are too large, too many, too slow.

use crate::{Api, PATIENCE, SHORT};
use std::time::{Duration, Instant};

const POST: &str =
    "POST /v1/switches HTTP/1.1\r\nhost: vmswitch\r\nconnection: close\r\ncontent-type: application/json\r\n";

#[test]
fn a_body_of_more_than_a_mebibyte_is_refused() {
    let api = Api::start();
    let body = |bytes: usize| format!("{{\"name\": \"{}\"}}", "x".repeat(bytes - 12));
    let refused = api.send("POST", "/v1/switches", &body((1 << 20) + 1));
    assert!(refused.problem(413, "too-large").contains("1048576 bytes"));
    // One of just that length is read.
    api.send("POST", "/v1/switches", &body(1 << 20)).problem(422, "invalid");
}

/// What is exported can be applied, of many ports with many rules too.
#[test]
fn a_desired_state_may_be_longer() {
    let api = Api::limited(|limits| limits.state_bytes = 3 << 20);
    let state = |bytes: usize| format!("{{\"version\": 1{}}}", " ".repeat(bytes - 14));
    assert_eq!(api.send("PUT", "/v1/state?dry_run=true", &state(3 << 20)).status, 200);
    api.send("PUT", "/v1/state?dry_run=true", &state((3 << 20) + 1)).problem(413, "too-large");
}

#[test]
fn a_body_without_end_is_refused() {
    let api = Api::limited(|limits| limits.body_bytes = 1024);
    let mut connection = api.connect();
    let chunk = format!("{:x}\r\n{}\r\n", 600, "x".repeat(600));
    connection.write(&format!("{POST}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}"));
    connection.answer().problem(413, "too-large");
}

#[test]
fn a_body_that_does_not_come_is_refused() {
    let api = Api::limited(|limits| limits.body_time = SHORT);
    let mut connection = api.connect();
    connection.write(&format!("{POST}content-length: 10\r\n\r\n{{"));
    assert!(connection.answer().problem(408, "too-slow").contains("200ms"));
}

#[test]
fn a_header_that_does_not_come_ends_the_connection() {
    let api = Api::limited(|limits| limits.header_time = SHORT);
    for text in ["", "GET /v1/switches HT"] {
        let (start, mut connection) = (Instant::now(), api.connect());
        connection.write_to_the_end(text);
        connection.rest_until_reset();
        assert!((SHORT..PATIENCE).contains(&start.elapsed()), "'{text}'");
    }
}

#[test]
fn a_header_that_is_too_long_is_refused() {
    let api = Api::start();
    let mut connection = api.connect();
    connection.write(&format!("GET /v1/switches HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200)));
    assert_eq!(connection.answer().status, 431);
}

#[test]
fn a_backend_that_hangs_does_not_hold_the_client() {
    let api = Api::limited(|limits| limits.request_time = SHORT);
    assert!(api.get("/v1/switches/slow").problem(504, "no-answer").contains("look before asking again"));
}

#[test]
fn more_connections_than_allowed_are_refused_until_one_ends() {
    let api = Api::limited(|limits| limits.connections = 2);
    let mut first = api.connect();
    first.write("GET /v1/events HTTP/1.1\r\nhost: vmswitch\r\n\r\n");
    first.until(": following\n\n");
    let mut second = api.connect();
    second.write("GET /v1/events HTTP/1.1\r\nhost: vmswitch\r\n\r\n");
    second.until(": following\n\n");
    assert!(api.get("/v1/switches").problem(503, "too-many").starts_with("2 connections"));
    drop(second);
    wait_for_a_place(&api);
}

#[test]
fn a_client_that_does_not_read_its_answers_is_dropped() {
    let api = Api::limited(|limits| (limits.connections, limits.write_time) = (2, SHORT));
    let ask = |then: &str| format!("GET /openapi.json HTTP/1.1\r\nhost: vmswitch\r\n{then}\r\n");
    let ask = ask("").repeat(199) + &ask("connection: close\r\n");
    let mut connections = [api.connect(), api.connect()];
    connections.iter_mut().for_each(|connection| connection.write(&ask));
    wait_for_a_place(&api);
    // One of them was dropped: what was on its way is still there, the rest never comes. The other may be read in time.
    let answers = connections.each_mut().map(|c| c.rest_until_reset().matches("HTTP/1.1 200").count());
    assert!(answers.iter().any(|n| (1..200).contains(n)), "{answers:?}");
}

fn wait_for_a_place(api: &Api) {
    let deadline = Instant::now() + PATIENCE;
    while api.get("/v1/switches").status == 503 {
        assert!(Instant::now() < deadline, "the place is not given back");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn sixty_four_connections_are_served_at_once() {
    let api = Api::start();
    let follow = "GET /v1/events HTTP/1.1\r\nhost: vmswitch\r\n\r\n";
    let mut streams: Vec<_> = (0..64).map(|_| api.connect()).collect();
    for stream in &mut streams {
        stream.write(follow);
        stream.until(": following\n\n");
    }
    api.get("/v1/switches").problem(503, "too-many");
}

#[test]
fn a_connection_serves_several_requests() {
    let api = Api::start();
    let mut connection = api.connect();
    for _ in 0..2 {
        connection.write("GET /v1/switches HTTP/1.1\r\nhost: vmswitch\r\n\r\n");
        assert!(connection.until("\r\n\r\n[]").starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn a_running_request_is_answered_before_the_daemon_stops() {
    let mut api = Api::start();
    let mut connection = api.connect();
    connection.write("GET /v1/switches/slow HTTP/1.1\r\nhost: vmswitch\r\n\r\n");
    api.backend.slow.reached();
    let mut events = api.connect();
    events.write("GET /v1/events HTTP/1.1\r\nhost: vmswitch\r\n\r\n");
    events.until(": following\n\n");
    api.begin_to_stop();
    // A stream of events ends when the daemon begins to stop.
    events.rest();
    api.backend.slow.release();
    api.stop();
    connection.answer().problem(404, "not-found");
    assert!(!api.socket().exists());
}
