//! Problem documents, and the description of the API.

use crate::Api;
use serde_json::Value;

fn detail(api: &Api, method: &str, path: &str, body: &str, status: u16, kind: &str) -> String {
    api.send(method, path, body).problem(status, kind)
}

#[test]
fn refusals_have_the_status_of_their_kind() {
    let api = Api::start();
    let add = |body, status, kind| detail(&api, "POST", "/v1/switches", body, status, kind);
    api.send("POST", "/v1/switches", r#"{"name": "lan", "kind": "private"}"#).json();
    assert_eq!(add(r#"{"name": "lan", "kind": "private"}"#, 409, "conflict"), "'lan' is there already");
    assert!(add(r#"{"name": "wan", "kind": "external"}"#, 422, "invalid").contains("has no uplink"));
    let missing = add(r#"{"name": "wan", "kind": "external", "uplinks": ["missing0"]}"#, 422, "host-refused");
    assert_eq!(missing, "this host has no NIC 'missing0'");
    api.get("/v1/switches/none").problem(404, "not-found");
    api.get("/v1/switches/secret").problem(403, "forbidden");
    api.get("/v1/switches/panics").problem(500, "internal");
    assert_eq!(api.get("/v1/switches").json().as_array().unwrap().len(), 1);
}

#[test]
fn malformed_json_is_refused_with_its_place() {
    let api = Api::start();
    let add = |body, status, kind| detail(&api, "POST", "/v1/switches", body, status, kind);
    assert_eq!(add("{\"name\":\n  lan}", 400, "malformed"), "line 2, column 3: expected value");
    assert!(add("{\"name\": \"lan\"", 400, "malformed").starts_with("line 1, column 14: EOF"));
    let unknown = add("{\"name\": \"lan\",\n\"colour\": 1}", 422, "invalid");
    assert!(unknown.starts_with("line 2, column 8: unknown field `colour`"), "{unknown}");
    let bad_name = add(r#"{"name": "a/b", "kind": "private"}"#, 422, "invalid");
    assert!(bad_name.starts_with("line 1, column 14: 'a/b' is no name"), "{bad_name}");
}

#[test]
fn malformed_toml_is_refused_with_its_place() {
    let api = Api::start();
    let put =
        |body: &str| api.connect().ask("PUT", "/v1/state", &[("content-type", "application/toml")], body);
    let cut = put("version = 1\n[[switch]]\nname = \"la").problem(400, "malformed");
    assert!(cut.starts_with("line 3, column "), "{cut}");
    let unknown = put("version = 1\n[[switch]]\nname = \"lan\"\nkind = \"private\"\ncolour = 1\n");
    let unknown = unknown.problem(422, "invalid");
    assert!(unknown.starts_with("line 5, column 1: unknown field `colour`"), "{unknown}");
    let mac = "version = 1\n[[switch]]\nname = \"lan\"\nkind = \"private\"\n\
               [[switch.port]]\nname = \"a\"\nattach.tap = \"a\"\nmac = \"02:00\"\n";
    let mac = put(mac).problem(422, "invalid");
    assert!(mac.starts_with("line 8, column 7: a MAC address is six bytes"), "{mac}");
    assert_eq!(api.get("/v1/switches").json(), serde_json::json!([]));
}

#[test]
fn what_is_not_there_is_said_as_a_problem() {
    let api = Api::start();
    assert!(api.get("/v2/nothing").problem(404, "no-such-path").contains("'/v2/nothing'"));
    let wrong = api.send("PUT", "/v1/switches", "{}");
    assert!(wrong.problem(405, "wrong-method").starts_with("PUT is not for '/v1/switches'"));
    assert!(wrong.head.contains("allow: get,head,post"), "{}", wrong.head);
    let kind = api.connect().ask("POST", "/v1/switches", &[("content-type", "text/plain")], "{}");
    assert!(kind.problem(415, "unsupported-media-type").contains("application/json"));
    assert!(api.get("/v1/switches/a%2Fb").problem(400, "bad-request").contains("'a/b' is no name"));
    let query =
        api.connect().ask("PUT", "/v1/state?dryrun=true", &[("content-type", "application/json")], "{}");
    assert!(query.problem(400, "bad-request").contains("dryrun"));
}

const ROUTES: &[(&str, &[&str])] = &[
    ("/v1/events", &["get"]),
    ("/v1/state", &["get", "put"]),
    ("/v1/switches", &["get", "post"]),
    ("/v1/switches/{switch}", &["delete", "get", "patch"]),
    ("/v1/switches/{switch}/capture", &["post"]),
    ("/v1/switches/{switch}/confirm", &["post"]),
    ("/v1/switches/{switch}/macs", &["get"]),
    ("/v1/switches/{switch}/macs/flush", &["post"]),
    ("/v1/switches/{switch}/ports", &["get", "post"]),
    ("/v1/switches/{switch}/ports/{port}", &["delete", "get", "patch"]),
    ("/v1/switches/{switch}/ports/{port}/explain", &["post"]),
    ("/v1/switches/{switch}/trace", &["post"]),
    ("/v1/version", &["get"]),
];

#[test]
fn the_description_lists_every_route() {
    let document = Api::start().get("/openapi.json").json();
    let mut described: Vec<(String, Vec<String>)> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut methods: Vec<_> = item.as_object().unwrap().keys().cloned().collect();
        methods.sort();
        described.push((path.clone(), methods));
    }
    described.sort();
    let expected: Vec<_> =
        ROUTES.iter().map(|(p, m)| (p.to_string(), m.iter().map(ToString::to_string).collect())).collect();
    assert_eq!(described, expected);
}

/// What OpenAPI 3.1 asks for: version, info, operations with ids and responses, references that lead somewhere.
#[test]
fn the_description_is_openapi_3_1() {
    let document = Api::start().get("/openapi.json").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["title"], "vmswitch");
    assert!(document["info"]["version"].is_string());
    let mut ids = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            check_operation(path, operation);
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "operation ids are unique: {ids:?}");
    check_references(&document, &document);
}

fn check_operation(path: &str, operation: &Value) {
    assert!(operation["summary"].is_string(), "{path}: {operation}");
    let responses = operation["responses"].as_object().unwrap();
    assert!(responses.keys().any(|status| status.starts_with('2')), "{path}: {operation}");
    assert!(responses["default"]["content"]["application/problem+json"].is_object(), "{path}: {operation}");
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let in_path = parameters.iter().filter(|p| p["in"] == "path");
    for parameter in in_path.clone() {
        assert!(
            path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap())),
            "{path}: {parameter}"
        );
        assert_eq!(parameter["required"], true);
    }
    assert_eq!(in_path.count(), path.matches('{').count(), "{path}");
}

fn check_references(document: &Value, at: &Value) {
    match at {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            fields.values().for_each(|value| check_references(document, value));
        }
        Value::Array(values) => values.iter().for_each(|value| check_references(document, value)),
        _ => {}
    }
}

#[test]
fn the_version_is_told() {
    let version = Api::start().get("/v1/version").json();
    assert_eq!(version, serde_json::json!({"version": env!("CARGO_PKG_VERSION"), "state_version": 1}));
}
