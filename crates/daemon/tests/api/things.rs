//! Switches, ports, MAC tables, the state and events.

use crate::Api;
use model::{Event, EventKind};

const LAN: &str = r#"{"name": "lan", "kind": "external", "uplinks": ["eth0"]}"#;
const VM1: &str = r#"{"name": "vm1", "attach": {"tap": "tap1"}, "mac": "02:00:00:00:00:01"}"#;

fn with_lan() -> Api {
    let api = Api::start();
    assert_eq!(api.send("POST", "/v1/switches", LAN).status, 201);
    api
}

#[test]
fn a_switch_is_added_shown_changed_and_removed() {
    let api = Api::start();
    assert_eq!(api.get("/v1/switches").json(), serde_json::json!([]));
    let added = api.send("POST", "/v1/switches", LAN);
    assert_eq!(added.status, 201);
    assert!(added.head.contains("location: /v1/switches/lan"), "{}", added.head);
    assert_eq!(added.json()["uplinks"], serde_json::json!(["eth0"]));
    assert_eq!(api.get("/v1/switches/lan").json(), added.json());
    assert_eq!(api.send("PATCH", "/v1/switches/lan", r#"{"ageing_s": 60}"#).json()["ageing_s"], 60);
    assert_eq!(api.connect().ask("POST", "/v1/switches/lan/confirm", &[], "").json()["name"], "lan");
    assert_eq!(api.delete("/v1/switches/lan").status, 204);
    api.get("/v1/switches/lan").problem(404, "not-found");
}

#[test]
fn a_port_is_added_shown_changed_and_removed() {
    let api = with_lan();
    let added = api.send("POST", "/v1/switches/lan/ports", VM1);
    assert_eq!(added.status, 201);
    assert!(added.head.contains("location: /v1/switches/lan/ports/vm1"), "{}", added.head);
    assert_eq!(api.get("/v1/switches/lan/ports/vm1").json(), added.json());
    assert_eq!(api.get("/v1/switches/lan/ports").json()[1], added.json());
    let changed = api.send("PATCH", "/v1/switches/lan/ports/vm1", r#"{"guard": false}"#);
    assert_eq!(changed.json()["config"]["guard"], false);
    assert_eq!(api.delete("/v1/switches/lan/ports/vm1").status, 204);
    api.delete("/v1/switches/lan/ports/vm1").problem(404, "not-found");
}

#[test]
fn the_mac_table_is_listed_and_flushed() {
    let api = with_lan();
    api.send("POST", "/v1/switches/lan/ports", VM1).json();
    let entry = serde_json::json!({"mac": "02:00:00:00:00:01", "vlan": 0, "port": "vm1", "kind": "pinned", "age_s": 0});
    assert_eq!(api.get("/v1/switches/lan/macs").json(), serde_json::json!([entry]));
    let flush = |body| api.send("POST", "/v1/switches/lan/macs/flush", body).json();
    assert_eq!(flush("{}"), serde_json::json!({"flushed": 7}));
    assert_eq!(flush(r#"{"port": "vm1"}"#), serde_json::json!({"flushed": 1}));
}

#[test]
fn what_a_switch_does_with_multicast_is_set_and_shown() {
    let api = with_lan();
    let change = r#"{"multicast": {"snooping": true, "querier": "on"}}"#;
    assert_eq!(api.send("PATCH", "/v1/switches/lan", change).json()["multicast"]["snooping"], true);
    let known = api.get("/v1/switches/lan/multicast").json();
    assert_eq!((&known["config"]["querier"], &known["groups"]), (&"on".into(), &serde_json::json!([])));
}

#[test]
fn a_frame_is_explained_and_what_is_no_frame_is_refused() {
    let api = with_lan();
    api.send("POST", "/v1/switches/lan/ports", VM1).json();
    let explain = |body| api.send("POST", "/v1/switches/lan/ports/vm1/explain", body);
    let explained = explain(r#"{"frame": "02:00 0a", "length": 60}"#).json();
    assert_eq!(explained["steps"][0]["finding"], "02000a of 60 bytes");
    assert_eq!(explained["leaves"], serde_json::json!(["eth0"]));
    let refused = explain(r#"{"frame": "02 zz"}"#).problem(422, "invalid");
    assert!(refused.to_string().contains("'z' is no hexadecimal digit"), "{refused:?}");
}

#[test]
fn the_state_goes_out_and_in_as_json_and_as_toml() {
    let api = with_lan();
    let json = api.get("/v1/state");
    assert_eq!(json.json()["switch"][0]["name"], "lan");
    let toml = api.connect().ask("GET", "/v1/state", &[("accept", "application/toml, */*")], "");
    assert!(toml.head.contains("content-type: application/toml"), "{}", toml.head);
    assert!(toml.body.contains("[[switch]]\nname = \"lan\""), "{}", toml.body);

    let other = Api::start();
    let put = |path: &str, kind: &str, body: &str| {
        other.connect().ask("PUT", path, &[("content-type", kind)], body)
    };
    let plan = serde_json::json!({"steps": ["make switch 'lan'"]});
    assert_eq!(put("/v1/state?dry_run=true", "application/toml", &toml.body).json(), plan);
    assert_eq!(other.get("/v1/switches").json(), serde_json::json!([]));
    assert_eq!(put("/v1/state", "application/toml; charset=utf-8", &toml.body).json(), plan);
    assert_eq!(other.get("/v1/state").json(), json.json());
    assert_eq!(put("/v1/state", "application/json", &json.body).json(), plan);
}

fn removed(id: u64) -> Event {
    Event { id, time_ms: 1000 + id, kind: EventKind::SwitchRemoved { switch: "lan".parse().unwrap() } }
}

const FOLLOW: &str = "GET /v1/events HTTP/1.1\r\nhost: vmswitch\r\n\r\n";

#[test]
fn events_are_streamed_as_they_happen() {
    let api = Api::start();
    let mut stream = api.connect();
    stream.write(FOLLOW);
    let head = stream.until(": following\n\n");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    api.backend.events.send(removed(7)).unwrap();
    let event = stream.until("\n\n");
    let expected =
        "id: 7\ndata: {\"id\":7,\"time_ms\":1007,\"event\":\"switch-removed\",\"switch\":\"lan\"}\n\n";
    assert!(event.ends_with(expected), "{event}");
}

#[test]
fn the_stream_of_events_ends_with_the_daemon() {
    let mut api = Api::start();
    let mut stream = api.connect();
    stream.write(FOLLOW);
    stream.until(": following\n\n");
    api.stop();
    assert!(stream.rest().ends_with("0\r\n\r\n"));
}

#[test]
fn a_slow_reader_is_told_how_many_events_it_missed() {
    let api = Api::start();
    let mut stream = api.connect();
    stream.write(FOLLOW);
    stream.until(": following\n\n");
    for id in 1..=1000 {
        api.backend.events.send(removed(id)).unwrap();
    }
    let text = stream.until("id: 1000\n");
    let lines: Vec<_> = text.lines().collect();
    let got = lines.iter().filter(|line| line.starts_with("id: ")).count();
    let told = lines.windows(2).filter(|pair| pair[0] == "event: missed");
    let missed: usize =
        told.map(|pair| pair[1].strip_prefix("data: ").unwrap().parse::<usize>().unwrap()).sum();
    assert!(missed > 0, "the channel holds four events only");
    assert_eq!(got + missed, 1000);
}
