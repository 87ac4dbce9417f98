//! A host in a network namespace: set up and looked at with iproute2, so that nothing checks itself.

#![allow(dead_code, reason = "each test binary uses its part")]

use control::action::{Action, HostVnic};
use control::facts::Facts;
use model::IfName;
use netlink::{Applied, Netlink, apply};
use serde_json::Value;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A namespace that the calling test's thread is in; deleted when dropped.
pub struct Host {
    name: String,
    pub netlink: Netlink,
}

impl Drop for Host {
    fn drop(&mut self) {
        let deleted = Command::new("ip").args(["netns", "del", &self.name]).status();
        assert!(deleted.is_ok_and(|s| s.success()) || std::thread::panicking(), "{} stays", self.name);
    }
}

pub fn name(text: &str) -> IfName {
    text.parse().expect("a good name")
}

/// Runs a test in a new namespace, on a thread of its own: a thread that entered a namespace stays there.
pub fn in_namespace(test: impl FnOnce(&mut Host) + Send + 'static) {
    let ns = format!("vsnl-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    ok(Command::new("ip").args(["netns", "add", &ns]));
    let thread = std::thread::spawn(move || {
        let file = File::open(format!("/run/netns/{ns}")).expect("the namespace was just made");
        rustix::thread::move_into_link_name_space(
            file.as_fd(),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .expect("these tests need root");
        let mut host = Host { name: ns, netlink: Netlink::open().expect("a netlink socket") };
        host.ip("link set lo up");
        test(&mut host);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ok(command: &mut Command) -> String {
    let output = command.output().expect("iproute2 is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

impl Host {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `ip …`; the thread's namespace is inherited.
    pub fn ip(&self, args: &str) -> String {
        ok(Command::new("ip").args(args.split_whitespace()))
    }

    pub fn run(&self, program: &str, args: &[&str]) -> String {
        ok(Command::new(program).args(args))
    }

    pub fn json(&self, args: &str) -> Vec<Value> {
        let text = self.ip(&format!("-d -j {args}"));
        if text.trim().is_empty() {
            return vec![];
        }
        let value: Value = serde_json::from_str(&text).expect("JSON");
        value
            .as_array()
            .expect("a list")
            .iter()
            .filter(|v| v.as_object().is_some_and(|o| !o.is_empty()))
            .cloned()
            .collect()
    }

    pub fn sysctl(&self, dev: &str, key: &str, value: &str) {
        std::fs::write(format!("/proc/sys/net/{}", key.replace("IF", dev)), value).expect(key);
    }

    /// Everything of an interface that a take-over moves, as sorted lines in which the interface is called `DEV`.
    pub fn state(&self, dev: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for link in self.json(&format!("addr show dev {dev}")) {
            for address in link["addr_info"].as_array().expect("addresses") {
                lines.push(format!("addr {}", normal(address)));
            }
        }
        for family in ["-4", "-6"] {
            for route in self.json(&format!("{family} route show table all")) {
                lines.push(format!("route {family} {}", normal(&route)));
            }
            for args in ["nud permanent", "proxy"] {
                for neighbour in self.json(&format!("{family} neigh show {args} dev {dev}")) {
                    lines.push(format!("neigh {}", normal(&neighbour)));
                }
            }
        }
        lines.retain(|l| !l.starts_with("route") || l.contains(&format!("\"{dev}\"")));
        let mut lines: Vec<_> = lines.iter().map(|l| l.replace(&format!("\"{dev}"), "\"DEV")).collect();
        lines.sort();
        lines
    }

    pub fn flags(&self, dev: &str) -> String {
        self.json(&format!("link show dev {dev}"))[0]["flags"].to_string()
    }

    pub fn facts(&mut self, names: &[&str]) -> Facts {
        let names: Vec<_> = names.iter().map(|n| name(n)).collect();
        self.netlink.facts(&names.iter().collect::<Vec<_>>()).expect("facts")
    }

    /// Runs steps as the daemon does; a TAP without a data path stands for the host vNIC.
    pub fn apply(&mut self, actions: &[Action]) {
        for action in actions {
            let applied = apply(&mut self.netlink, action).unwrap_or_else(|e| panic!("{e}"));
            match action {
                Action::CreateHostVnic(vnic) => self.create(vnic),
                Action::RemoveHostVnic(vnic) => self.netlink.delete_link(&vnic.ifname).expect("removed"),
                Action::ConnectUplink { .. } | Action::DisconnectUplink { .. } => {}
                _ => assert_eq!(applied, Applied::Done, "{action}"),
            }
        }
    }

    fn create(&self, vnic: &HostVnic) {
        let dev = vnic.ifname.as_str();
        if self.json("link show").iter().all(|l| l["ifname"] != dev) {
            self.ip(&format!("tuntap add dev {dev} mode tap"));
            self.ip(&format!("link set dev {dev} address {} mtu {}", vnic.mac, vnic.mtu));
        }
    }
}

/// Without what a clock or a missing cable changes: lifetimes in hundreds of seconds, no `linkdown`.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept =
                map.iter().map(|(k, v)| (k.clone(), if is_lifetime(k) { coarse(v) } else { normal(v) }));
            Value::Object(kept.collect())
        }
        Value::Array(list) => {
            Value::Array(list.iter().filter(|v| *v != "linkdown" && *v != "dead").map(normal).collect())
        }
        other => other.clone(),
    }
}

fn is_lifetime(key: &str) -> bool {
    matches!(key, "valid_life_time" | "preferred_life_time" | "expires")
}

fn coarse(value: &Value) -> Value {
    match value.as_u64() {
        Some(forever) if forever == u64::from(u32::MAX) => value.clone(),
        Some(seconds) => ((seconds + 60) / 100).into(),
        None => value.clone(),
    }
}
