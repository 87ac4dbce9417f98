//! The program as it is called: what it asks over the socket, what it prints, and its exit status. The other end
//! answers by a script; the daemon itself is on the other end in the scenarios of `lab`.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    process::{Command, Output},
    thread::{self, JoinHandle},
};

/// One answer of the script: the request line it is for, a status, a media type and a body.
type Step = (&'static str, u16, &'static str, String);

struct Daemon {
    dir: tempfile::TempDir,
    script: JoinHandle<Vec<String>>,
}

impl Daemon {
    fn new(steps: Vec<Step>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("api.sock")).unwrap();
        let script = thread::spawn(move || {
            let answer = |step: &Step| answer(&listener.accept().unwrap().0, step);
            steps.iter().map(answer).collect()
        });
        Self { dir, script }
    }

    fn ok(request: &'static str, body: &Value) -> Self {
        Self::new(vec![step(request, body)])
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmswitch"));
        command.args(arguments).env("VMSWITCH_SOCKET", self.dir.path().join("api.sock")).output().unwrap()
    }

    /// The bodies that were sent, once the whole script was asked for.
    fn bodies(self) -> Vec<String> {
        self.script.join().unwrap()
    }
}

fn step(request: &'static str, body: &Value) -> Step {
    (request, 200, "application/json", body.to_string())
}

fn refusal(request: &'static str, status: u16, detail: &str) -> Step {
    let body = json!({"type": "/problems/x", "title": "X", "status": status, "detail": detail});
    (request, status, "application/problem+json", body.to_string())
}

fn answer(stream: &UnixStream, (expected, status, kind, body): &Step) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    let mut lines = reader.by_ref().lines().map(Result::unwrap);
    head.extend(lines.by_ref().take_while(|line| !line.is_empty()));
    let length =
        head.iter().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut request = vec![0; length];
    reader.read_exact(&mut request).unwrap();
    assert_eq!(head[0], format!("{expected} HTTP/1.1"));
    let text = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    (&*stream).write_all(text.as_bytes()).unwrap();
    String::from_utf8(request).unwrap()
}

fn stdout(output: &Output) -> String {
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// The message of a command that failed with that status and printed nothing else.
fn stderr(output: &Output, status: i32) -> String {
    assert_eq!((output.status.code(), output.stdout.len()), (Some(status), 0), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn counters() -> Value {
    json!({"rx_frames": 5, "rx_bytes": 500, "tx_frames": 4, "tx_bytes": 400, "drops": {"spoofed_mac": 1}})
}

fn lan() -> Value {
    let mut stats = counters();
    stats["copies"] = 0.into();
    stats["originated"] = 0.into();
    json!({"name": "lan", "kind": "private", "uplinks": [], "ports": ["vm1"], "mac_table_size": 1024,
        "mac_entries": 1, "ageing_s": 300, "stats": stats})
}

fn vm1() -> Value {
    let mut stats = counters();
    stats["not_learned"] = 0.into();
    stats["rx_missed"] = 0.into();
    let config = json!({"name": "vm1", "attach": {"tap": "tap1"}, "mac": "02:00:00:00:00:01", "guard": true,
        "dhcp_guard": false, "router_guard": false, "learn_limit": 4096});
    json!({"name": "vm1", "switch": "lan", "kind": "tap", "mac": "02:00:00:00:00:01", "state": "up", "mtu": 1500,
        "config": config, "stats": stats})
}

#[test]
fn lists_and_shows_are_the_apis_own_documents() {
    let cases: [(&[&str], &str, Value); 5] = [
        (&["switch", "list"], "GET /v1/switches", json!([lan()])),
        (&["switch", "show", "lan"], "GET /v1/switches/lan", lan()),
        (&["port", "list", "lan"], "GET /v1/switches/lan/ports", json!([vm1()])),
        (&["port", "show", "lan/vm1"], "GET /v1/switches/lan/ports/vm1", vm1()),
        (
            &["mac", "list", "lan"],
            "GET /v1/switches/lan/macs",
            json!([{"mac": "02:00:00:00:00:01", "vlan": 0, "port": "vm1", "kind": "pinned", "age_s": 0}]),
        ),
    ];
    for (arguments, request, body) in cases {
        let daemon = Daemon::ok(request, &body);
        assert_eq!(document(&daemon.run(&[arguments, &["--json"]].concat())), body, "{arguments:?}");
    }
}

#[test]
fn a_switch_is_asked_for_as_it_was_typed() {
    let daemon =
        Daemon::new(vec![step("POST /v1/switches", &lan()), step("GET /v1/switches/lan/ports", &json!([]))]);
    let arguments = ["switch", "add", "lan", "--external", "eth0", "--no-host", "--confirm", "1m", "--json"];
    assert_eq!(document(&daemon.run(&arguments)), lan());
    let sent: Value = serde_json::from_str(&daemon.bodies()[0]).unwrap();
    let expected =
        json!({"name": "lan", "kind": "external", "uplinks": ["eth0"], "host": false, "confirm_s": 60});
    assert_eq!(sent, expected);
}

#[test]
fn a_port_is_asked_for_as_it_was_typed() {
    let daemon = Daemon::ok("POST /v1/switches/lan/ports", &vm1());
    let arguments = [
        "port",
        "add",
        "lan",
        "web",
        "--netns",
        "blue",
        "--guard",
        "off",
        "--allow-mac",
        "02-00-00-00-00-AA",
        "--dhcp-guard",
        "on",
    ];
    let text = stdout(&daemon.run(&arguments));
    assert!(text.contains("MAC: 02:00:00:00:00:01") && text.contains("-netdev tap,"), "{text}");
    let sent: Value = serde_json::from_str(&daemon.bodies()[0]).unwrap();
    let expected = json!({"name": "web", "attach": {"netns": {"netns": "blue", "ifname": "eth0"}}, "guard": false,
        "allow_macs": ["02:00:00:00:00:aa"], "dhcp_guard": true, "router_guard": false, "learn_limit": 4096});
    assert_eq!(sent, expected);
}

#[test]
fn a_vhost_user_port_is_asked_for_with_its_role_and_the_socket_if_given() {
    let ask = |arguments: &[&str]| -> Value {
        let daemon = Daemon::ok("POST /v1/switches/lan/ports", &vm1());
        assert!(daemon.run(&[&["port", "add", "lan", "vm3"], arguments].concat()).status.success());
        serde_json::from_str::<Value>(&daemon.bodies()[0]).unwrap()["attach"]["vhost-user"].take()
    };
    assert_eq!(ask(&["--vhost-user"]), json!({"role": "server"}));
    let client = ask(&["--vhost-user", "/run/vm3.sock", "--vhost-role", "client"]);
    assert_eq!(client, json!({"socket": "/run/vm3.sock", "role": "client"}));
}

#[test]
fn changes_send_only_what_changes() {
    let daemon = Daemon::ok("PATCH /v1/switches/lan/ports/vm1", &vm1());
    assert_eq!(document(&daemon.run(&["port", "set", "lan/vm1", "--allow-mac", "", "--json"])), vm1());
    assert_eq!(daemon.bodies(), [r#"{"allow_macs":[]}"#]);
    let daemon = Daemon::ok("PATCH /v1/switches/lan", &lan());
    assert_eq!(stdout(&daemon.run(&["switch", "set", "lan", "--host", "off"])), "Switch 'lan' is changed.\n");
    assert_eq!(daemon.bodies(), [r#"{"host":false}"#]);
}

#[test]
fn commands_without_a_thing_to_show_print_a_document_too() {
    let removed = |request, arguments: &[&str]| {
        let daemon = Daemon::new(vec![(request, 204, "text/plain", String::new())]);
        document(&daemon.run(arguments))
    };
    let switch = removed("DELETE /v1/switches/lan", &["switch", "remove", "lan", "--json"]);
    assert_eq!(switch, json!({"removed": "lan"}));
    let port = removed("DELETE /v1/switches/lan/ports/vm1", &["port", "remove", "lan/vm1", "--json"]);
    assert_eq!(port, json!({"removed": "lan/vm1"}));
    let daemon = Daemon::ok("POST /v1/switches/lan/macs/flush", &json!({"flushed": 3}));
    assert_eq!(
        document(&daemon.run(&["mac", "flush", "lan", "--port", "vm1", "--json"])),
        json!({"flushed": 3})
    );
    assert_eq!(daemon.bodies(), [r#"{"port":"vm1"}"#]);
}

#[test]
fn stats_gather_a_switch_and_its_ports() {
    let daemon = Daemon::new(vec![
        step("GET /v1/switches/lan", &lan()),
        step("GET /v1/switches/lan/ports", &json!([vm1()])),
    ]);
    let stats = document(&daemon.run(&["stats", "lan", "--json"]));
    let ports = json!([{"name": "vm1", "stats": vm1()["stats"]}]);
    assert_eq!(stats, json!({"switch": "lan", "stats": lan()["stats"], "ports": ports}));
    let daemon = Daemon::ok("GET /v1/switches/lan/ports/vm1", &vm1());
    assert_eq!(document(&daemon.run(&["stats", "lan/vm1", "--json"])), vm1());
}

#[test]
fn a_file_is_applied_as_it_is() {
    let daemon = Daemon::ok("PUT /v1/state?dry_run=true", &json!({"steps": ["make switch 'lan'"]}));
    let file = daemon.dir.path().join("switches.toml");
    std::fs::write(&file, "version = 1 # as it is\n").unwrap();
    let text = stdout(&daemon.run(&["apply", file.to_str().unwrap(), "--dry-run"]));
    assert_eq!(text, "This would be done:\n  1. make switch 'lan'\n");
    assert_eq!(daemon.bodies(), ["version = 1 # as it is\n"]);
}

#[test]
fn errors_in_a_file_have_its_name_before_line_and_column() {
    let daemon =
        Daemon::new(vec![refusal("PUT /v1/state?dry_run=false", 422, "line 2, column 1: unknown field `x`")]);
    let file = daemon.dir.path().join("a.toml");
    std::fs::write(&file, "version = 1\nx = 2\n").unwrap();
    let message = stderr(&daemon.run(&["apply", file.to_str().unwrap()]), 1);
    assert_eq!(message, format!("vmswitch: {}: line 2, column 1: unknown field `x`\n", file.display()));
    let missing = stderr(&daemon.run(&["apply", "/nonexistent.toml"]), 1);
    assert!(missing.contains("cannot read /nonexistent.toml: No such file"), "{missing}");
}

#[test]
fn the_state_is_exported_in_both_formats() {
    let daemon = Daemon::new(vec![("GET /v1/state", 200, "application/toml", "version = 1\n".into())]);
    assert_eq!(stdout(&daemon.run(&["export"])), "version = 1\n");
    let daemon = Daemon::ok("GET /v1/state", &json!({"version": 1}));
    assert_eq!(document(&daemon.run(&["export", "--json"])), json!({"version": 1}));
}

#[test]
fn events_are_printed_until_the_daemon_stops() {
    let event = |data: Value| format!(": following\n\nid: 1\ndata: {data}\n\n");
    let data = json!({"id": 1, "time_ms": 1000, "event": "switch-added", "switch": "lan"});
    for (arguments, expected) in [
        (&["events"][..], "1970-01-01T00:00:01.000Z  switch lan was added\n".to_owned()),
        (&["events", "--json"], format!("{data}\n")),
    ] {
        let daemon = Daemon::new(vec![("GET /v1/events", 200, "text/event-stream", event(data.clone()))]);
        let output = daemon.run(arguments);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("vmswitchd stopped"));
    }
}

#[test]
fn refusals_are_told_on_stderr() {
    let daemon = Daemon::new(vec![refusal("GET /v1/switches/none", 404, "there is no switch 'none'")]);
    assert_eq!(stderr(&daemon.run(&["switch", "show", "none"]), 1), "vmswitch: there is no switch 'none'\n");
    let daemon = Daemon::new(vec![("GET /v1/switches", 500, "text/plain", "oops".into())]);
    let message = stderr(&daemon.run(&["switch", "list", "--json"]), 1);
    assert!(message.contains("HTTP status 500") && message.contains("vmswitch version"), "{message}");
}

#[test]
fn a_daemon_that_does_not_run_is_told_with_how_to_start_it() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmswitch"));
        command.args(arguments).args(["--socket", "/nonexistent/api.sock"]).output().unwrap()
    };
    let message = stderr(&run(&["switch", "list"]), 1);
    assert!(message.contains("/nonexistent/api.sock: No such file"), "{message}");
    assert!(message.contains("systemctl start vmswitchd"), "{message}");
    let version = document(&run(&["version", "--json"]));
    assert_eq!(version, json!({"vmswitch": env!("CARGO_PKG_VERSION"), "vmswitchd": null}));
}

#[test]
fn bad_usage_is_told_without_asking_the_daemon() {
    let daemon = Daemon::new(vec![]);
    let message = stderr(&daemon.run(&["port", "show", "lan"]), 2);
    assert!(message.contains("write SWITCH/PORT, like lan/vm1"), "{message}");
}

#[test]
fn completions_are_made_for_each_shell() {
    let daemon = Daemon::new(vec![]);
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&daemon.run(&["completions", shell]));
        assert!(script.contains("vmswitch") && script.contains("unix-stream"), "{shell}");
        assert_eq!(document(&daemon.run(&["completions", shell, "--json"]))["script"], script);
    }
}
