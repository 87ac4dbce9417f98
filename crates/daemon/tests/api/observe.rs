//! Captures and traces: streams that go on.

use crate::Api;

fn api() -> Api {
    let api = Api::start();
    api.send("POST", "/v1/switches", r#"{"name": "lan", "kind": "private"}"#).json();
    for port in ["vm1", "vm2"] {
        let body = format!(r#"{{"name": "{port}", "attach": {{"tap": "{port}"}}}}"#);
        assert_eq!(api.send("POST", "/v1/switches/lan/ports", &body).status, 201);
    }
    api
}

fn request(path: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: vmswitch\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}"
    )
}

#[test]
fn a_trace_is_a_line_of_json_for_each_frame() {
    let api = api();
    let mut stream = api.connect();
    stream.write(&request("/v1/switches/lan/trace", r#"{"filter": "arp"}"#));
    let text = stream.until("}\n");
    assert!(text.contains("content-type: application/x-ndjson"), "{text}");
    let line = text.lines().find(|line| line.starts_with('{')).unwrap();
    let expected = serde_json::json!({
        "time_ns": 1_700_000_000_123_456_789_u64, "port": "vm1", "source": "02:02:02:02:02:02",
        "destination": "02:02:02:02:02:02", "carries": "ARP", "length": 60, "leaves": ["vm2"], "drops": [],
    });
    assert_eq!(serde_json::from_str::<serde_json::Value>(line).unwrap(), expected);
}

#[test]
fn a_stream_ends_with_the_daemon() {
    let mut api = api();
    let mut stream = api.connect();
    stream.write(&request("/v1/switches/lan/trace", "{}"));
    stream.until("}\n");
    api.stop();
    assert!(stream.rest().ends_with("0\r\n\r\n"));
}

#[test]
fn a_bad_filter_is_refused_before_anything_starts() {
    let api = api();
    for path in ["/v1/switches/lan/capture", "/v1/switches/lan/trace"] {
        let detail = api.send("POST", path, r#"{"filter": "tcp prot 80"}"#).problem(422, "invalid");
        assert!(detail.starts_with("'tcp prot 80' is no filter: can't parse filter expression"), "{detail}");
        api.send("POST", "/v1/switches/none/capture", "{}").problem(404, "not-found");
    }
}
