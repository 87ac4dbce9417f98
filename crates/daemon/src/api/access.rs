//! Who may use the API: root, the daemon's own user, and the members of one group.
//!
//! The socket's mode already keeps others out; this holds also where someone widened the mode or handed a connected
//! socket on.

use super::problem::Failure;
use axum::http::StatusCode;
use std::fs;
use tokio::net::{UnixStream, unix::UCred};

/// The group whose members may use the API.
pub const GROUP: &str = "vmswitch";

/// Id of the group of that name in /etc/group.
#[must_use]
pub fn group_id(name: &str) -> Option<u32> {
    fs::read_to_string("/etc/group").ok().and_then(|text| find_group(&text, name))
}

/// group(5): `name:password:gid:members`.
fn find_group(text: &str, name: &str) -> Option<u32> {
    let mut lines = text.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?)
}

/// Lets the peer in, or says why not.
pub(super) fn check(stream: &UnixStream, own_uid: u32, group: Option<u32>) -> Result<(), Failure> {
    let peer = stream
        .peer_cred()
        .map_err(|error| forbidden(format!("the kernel does not say who you are: {error}")))?;
    let allowed = peer.uid() == 0 || peer.uid() == own_uid || group.is_some_and(|gid| is_member(&peer, gid));
    if allowed { Ok(()) } else { Err(forbidden(advice(peer.uid(), group))) }
}

fn is_member(peer: &UCred, gid: u32) -> bool {
    peer.gid() == gid || supplementary(peer).is_some_and(|groups| groups.contains(&gid))
}

/// The peer's supplementary groups. Its pid can have been reused since it connected; the user id is compared, so that
/// at worst another process of the same user is looked at, and that one could have connected itself.
fn supplementary(peer: &UCred) -> Option<Vec<u32>> {
    let status = fs::read_to_string(format!("/proc/{}/status", peer.pid()?)).ok()?;
    let effective_uid = numbers(&status, "Uid:").nth(1)?;
    (effective_uid == peer.uid()).then(|| numbers(&status, "Groups:").collect())
}

/// The numbers of one line of /proc/PID/status (proc_pid_status(5)).
fn numbers<'a>(status: &'a str, label: &str) -> impl Iterator<Item = u32> + 'a {
    let line = status.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_default();
    line.split_whitespace().filter_map(|number| number.parse().ok())
}

fn forbidden(detail: String) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
}

fn advice(uid: u32, group: Option<u32>) -> String {
    let who = format!("user {uid} may not use this API: only root and members of the group '{GROUP}' may.");
    match group {
        Some(_) => {
            format!("{who} Add the user to the group (usermod -aG {GROUP} USER), log in anew, and try again.")
        }
        None => format!(
            "{who} This host has no such group: make it (groupadd --system {GROUP}), add the user \
             (usermod -aG {GROUP} USER), restart vmswitchd, and log in anew."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_their_whole_name() {
        let text = "root:x:0:\nvm:x:7:a\nvmswitch:x:998:alice,bob\nbroken\n";
        assert_eq!(find_group(text, "vmswitch"), Some(998));
        assert_eq!(find_group(text, "vms"), None);
        assert_eq!(find_group(text, "broken"), None);
    }

    #[test]
    fn the_lines_of_a_process_status_are_read() {
        let status = "Name:\tqemu\nUid:\t0\t1000\t0\t0\nGroups:\t4 24 998 \n";
        assert_eq!(numbers(status, "Uid:").nth(1), Some(1000));
        assert_eq!(numbers(status, "Groups:").collect::<Vec<_>>(), [4, 24, 998]);
        assert_eq!(numbers(status, "Missing:").count(), 0);
    }
}
