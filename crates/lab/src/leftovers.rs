//! Names of the lab's resources, and the removal of those whose owner was killed before it could.
//!
//! A name is `vml-PID-…`. A process that finds such a name whose PID no longer runs may remove it: no guard is
//! left to do so.

use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

const MARK: &str = "vml-";

/// How every name that belongs to this process starts.
pub fn prefix() -> String {
    format!("{MARK}{}-", std::process::id())
}

/// A name nobody else on this machine uses, ending in `role`.
pub fn unique(role: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}{}-{role}", prefix(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Removes, once in each process, what labs of processes that are gone left behind.
pub fn sweep() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        for name in orphans("/run/netns") {
            kill_inside(&name);
            // Another process may be sweeping too: that the name is gone already is as good.
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
        for name in orphans("/tmp") {
            let _ = std::fs::remove_dir_all(Path::new("/tmp").join(name));
        }
    });
}

/// Kills every process that runs inside the namespace: a namespace lives on as long as one does.
pub fn kill_inside(namespace: &str) {
    let Ok(out) = Command::new("ip").args(["netns", "pids", namespace]).output() else { return };
    for pid in String::from_utf8_lossy(&out.stdout).lines().filter_map(|l| l.trim().parse().ok()) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn orphans(dir: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().into_string().ok()).filter(|n| is_orphan(n)).collect()
}

fn is_orphan(name: &str) -> bool {
    let pid =
        name.strip_prefix(MARK).and_then(|rest| rest.split('-').next()).and_then(|p| p.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_dead_processes_are_orphans() {
        assert!(is_orphan("vml-4194305-0-host"), "above the largest pid Linux gives out");
        assert!(!is_orphan(&unique("host")));
        assert!(!is_orphan("someone-elses"));
        assert!(!is_orphan("vml-x-0-host"));
    }

    #[test]
    fn names_differ() {
        assert_ne!(unique("a"), unique("a"));
    }
}
