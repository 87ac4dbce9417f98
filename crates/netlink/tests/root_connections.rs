//! Connections through a bind and a give-back: over IPv4 and IPv6, with frames carried by a small data path.

mod host;

use control::action::Action;
use control::takeover::{BindRequest, plan_bind, plan_give_back};
use host::{Host, in_namespace, name};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that said "ready"; killed when dropped.
struct Running(Child, BufReader<ChildStdout>);

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("python3 is installed");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), "ready");
        Self(child, out)
    }

    fn last_line(mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host").join(script));
    command
}

/// The other end of the cable, in a namespace of its own.
struct Far(String);

impl Far {
    fn new(host: &Host) -> Self {
        let far = Self(format!("{}-far", host.name()));
        host.ip(&format!("netns add {}", far.0));
        host.ip(&format!("link add nic0 type veth peer name far0 netns {}", far.0));
        host.sysctl("nic0", "ipv6/conf/IF/accept_dad", "0");
        for args in
            ["addr add 192.0.2.1/24 dev far0", "addr add 2001:db8::1/64 dev far0 nodad", "link set far0 up"]
        {
            host.ip(&format!("-n {} {args}", far.0));
        }
        for args in
            ["addr add 192.0.2.10/24 dev nic0", "addr add 2001:db8::10/64 dev nic0 nodad", "link set nic0 up"]
        {
            host.ip(args);
        }
        far
    }

    fn listen(&self, address: &str) -> Running {
        let mut command = Command::new("ip");
        let script = python("stream.py");
        command.args(["netns", "exec", &self.0, "python3"]).args(script.get_args());
        Running::start(command.args(["listen", address]))
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "del", &self.0]).status());
    }
}

/// Runs steps with the small data path in place of the daemon's.
fn run(host: &mut Host, actions: &[Action], path: &mut Option<Running>) {
    for action in actions {
        host.apply(std::slice::from_ref(action));
        match action {
            Action::ConnectUplink { .. } => {
                *path = Some(Running::start(python("pump.py").args(["nic0", "lan"])))
            }
            Action::DisconnectUplink { .. } => *path = None,
            _ => {}
        }
    }
}

fn request() -> BindRequest {
    BindRequest {
        switch: "lan".parse().expect("a good name"),
        nic: name("nic0"),
        host_vnic: Some(name("lan")),
        mtu: None,
        taken: Default::default(),
    }
}

#[test]
fn root_streams_through_bind_and_give_back_lose_no_byte() {
    in_namespace(|host| {
        let far = Far::new(host);
        let stop = format!("/tmp/{}-stop", host.name());
        let _servers = ["192.0.2.1", "2001:db8::1"].map(|ip| far.listen(ip));
        let senders = ["192.0.2.1", "2001:db8::1"]
            .map(|ip| Running::start(python("stream.py").args(["send", ip, &stop])));
        let request = request();
        let mut path = None;
        for _ in 0..3 {
            let original = host.facts(&["nic0"]);
            let plan = plan_bind(&request, &original).expect("the NIC can be bound");
            let begun = Instant::now();
            run(host, &plan.actions, &mut path);
            println!("bound in {:?}", begun.elapsed());
            let sent = || host.json("-s link show dev lan")[0]["stats64"]["tx"]["packets"].as_u64();
            wait_until("the host vNIC carries the streams", || sent() > Some(100));
            let now = host.facts(&["nic0", "lan"]);
            run(host, &plan_give_back(&request, &now, &original), &mut path);
            std::thread::sleep(Duration::from_millis(300));
        }
        std::fs::write(&stop, "").expect("written");
        let results = senders.map(Running::last_line);
        drop(std::fs::remove_file(&stop));
        for result in results {
            assert!(result.parse::<u64>().is_ok_and(|bytes| bytes > 1_000_000), "{result}");
        }
    });
}

/// Sends router advertisements every few seconds until dropped.
struct Router(Child);

impl Drop for Router {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn router(far: &Far) -> Router {
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        &far.0,
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
    ]);
    command.args([
        "--interface=far0",
        "--bind-interfaces",
        "--enable-ra",
        "--ra-param=far0,4,600",
        "--leasefile-ro",
    ]);
    command.args([
        "--dhcp-range=2001:db8:5::,ra-only,64,600",
        "--user=root",
        "--pid-file",
        "--log-facility=-",
    ]);
    Router(command.stderr(Stdio::null()).spawn().expect("dnsmasq is installed"))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(200), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// True where the kernel took a router advertisement in: its default route is there, and the address has the whole of
/// the 600 seconds of an advertisement but a few.
fn advertised(host: &Host, dev: &str, at_least: u64) -> bool {
    let by_router = |route: &serde_json::Value| route["protocol"] == "ra" && route["dst"] == "default";
    let fresh = |address: &serde_json::Value| {
        let left = address["valid_life_time"].as_u64().unwrap_or_default();
        address["local"].as_str().is_some_and(|ip| ip.starts_with("2001:db8:5:"))
            && (at_least..=600).contains(&left)
    };
    host.json(&format!("-6 route show dev {dev}")).iter().any(by_router)
        && host.json(&format!("addr show dev {dev}"))[0]["addr_info"]
            .as_array()
            .expect("addresses")
            .iter()
            .any(fresh)
}

#[test]
fn root_router_advertisements_go_on_being_heard() {
    in_namespace(|host| {
        let far = Far::new(host);
        host.ip(&format!("-n {} addr add 2001:db8:5::1/64 dev far0 nodad", far.0));
        let _router = router(&far);
        wait_until("the NIC has heard the router", || advertised(host, "nic0", 500));
        let request = request();
        let original = host.facts(&["nic0"]);
        let plan = plan_bind(&request, &original).expect("the NIC can be bound");
        let mut path = None;
        run(host, &plan.actions, &mut path);
        let default = host.json("-6 route show default");
        assert!(default.iter().any(|r| r["dev"] == "lan" && r["metric"] == 1025), "{default:?}");
        std::thread::sleep(Duration::from_secs(5));
        wait_until("the host vNIC has heard the router", || advertised(host, "lan", 595));
        let now = host.facts(&["nic0", "lan"]);
        run(host, &plan_give_back(&request, &now, &original), &mut path);
        std::thread::sleep(Duration::from_secs(5));
        wait_until("the NIC has heard the router again", || advertised(host, "nic0", 595));
    });
}
