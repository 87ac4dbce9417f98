//! Who may use the API. These run as root: only root can become somebody else.

use crate::Api;
use daemon::api::{Limits, Options};
use std::{os::unix::fs::PermissionsExt, path::Path, process::Command};

const GROUP: u32 = 61_234;
/// What somebody with these ids and groups is answered.
fn ask_as(api: &Api, who: &[&str]) -> String {
    let ask = ["curl", "-sSi", "http://vmswitch/v1/switches", "--unix-socket"];
    let output = Command::new("setpriv").args(who).args(ask).arg(api.socket()).output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// An API whose directory anybody may enter.
fn api(group: Option<u32>) -> Api {
    let api = Api::with(Options { group, limits: Limits::default() });
    mode(api.dir.path(), 0o755);
    api
}

const NOBODY: &[&str] = &["--reuid=65534", "--regid=65534", "--clear-groups"];

#[test]
fn the_socket_keeps_strangers_out() {
    let answer = ask_as(&api(Some(GROUP)), NOBODY);
    assert!(answer.starts_with("curl: (7)"), "{answer}");
}

#[test]
fn strangers_are_refused_and_told_what_to_do_where_the_socket_is_open() {
    let api = api(Some(GROUP));
    mode(&api.socket(), 0o666);
    let answer = ask_as(&api, NOBODY);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(
        answer.contains("application/problem+json") && answer.contains("/problems/forbidden"),
        "{answer}"
    );
    assert!(
        answer.contains("user 65534 may not use this API") && answer.contains("usermod -aG vmswitch"),
        "{answer}"
    );
}

#[test]
fn without_the_group_the_refusal_says_how_to_make_it() {
    let api = api(None);
    mode(&api.socket(), 0o666);
    let answer = ask_as(&api, NOBODY);
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("groupadd --system vmswitch"), "{answer}");
}

#[test]
fn members_of_the_group_may_use_it() {
    let api = api(Some(GROUP));
    let gid = format!("--regid={GROUP}");
    let primary = ask_as(&api, &["--reuid=65534", &gid, "--clear-groups"]);
    assert!(primary.starts_with("HTTP/1.1 200"), "{primary}");
    let groups = format!("--groups=4,{GROUP}");
    let supplementary = ask_as(&api, &["--reuid=65534", "--regid=65534", &groups]);
    assert!(supplementary.starts_with("HTTP/1.1 200"), "{supplementary}");
}
