//! The Debian packages that tasks need, each with its reason.

use crate::steps;
use anyhow::{Result, bail};
use lab::Kernel;
use std::collections::BTreeSet;
use std::process::Command;

/// A Debian package.
pub struct Package {
    name: &'static str,
    reason: &'static str,
}

const fn package(name: &'static str, reason: &'static str) -> Package {
    Package { name, reason }
}

/// What network labs are made with.
const LAB: &[Package] = &[
    package("iproute2", "namespaces, cables and the physical switch (ip, bridge)"),
    package("iputils-ping", "connectivity and round trips"),
    package("ethtool", "offloads of interfaces"),
    package("python3", "raw frames in and out, and known byte streams"),
];

/// What building takes besides Rust.
const BUILD: &[Package] = &[
    package("clang", "compiles the XDP program"),
    package("libelf-dev", "reads compiled BPF programs (libbpf)"),
    package("zlib1g-dev", "reads compiled BPF programs (libbpf)"),
    package("libpcap-dev", "filters of captures and traces"),
    package("make", "builds libbpf"),
    package("pkg-config", "builds libbpf"),
    package("linux-libc-dev", "what the kernel calls the parts of BPF (linux/bpf.h)"),
];

/// What tests need besides.
const TESTS: &[Package] = &[
    package("iperf3", "throughput between namespaces and between guests"),
    package("curl", "requests to the API, from a client that is not this project's"),
    package("procps", "kernel settings of namespaces (sysctl)"),
    package("tshark", "reads captures and ERSPAN, live and from files (capinfos comes with it)"),
    package("tcpdump", "an observer of frames that shares no code with this project"),
    package("netsniff-ng", "senders that do not wait (mausezahn)"),
    package("dnsmasq-base", "the DHCP server and the router (only the program; no service is started)"),
    package("python3-scapy", "frames that hide what they carry, and multicast hosts that lie"),
    package("nmap", "scans of ports behind access lists"),
    package("hping3", "blind resets and segments of connections that are another's"),
    package("strace", "kills vmswitchd at every system call of a kind"),
    package("qemu-system-x86", "real guests"),
    package("busybox-static", "what real guests run, and a DHCP client"),
    package("keepalived", "virtual routers (only the program; no service is started)"),
    package("arping", "ARP for another's address"),
    package("isc-dhcp-client", "another DHCP client (only the program)"),
    package("cpio", "packs the guest's initramfs"),
    package("kmod", "tells which modules the guest's kernel needs (modinfo)"),
];

/// What counting instructions needs besides.
const COUNT: &[Package] = &[package("valgrind", "counts the instructions of a frame")];

/// What fuzzing needs besides.
const FUZZ: &[Package] = &[package("g++", "compiles libFuzzer")];

/// What the demo needs besides.
const DEMO: &[Package] = &[
    package("qemu-system-x86", "a real guest"),
    package("busybox-static", "what the guest runs"),
    package("iperf3", "what the guest's image has besides"),
    package("cpio", "packs the guest's initramfs"),
    package("kmod", "tells which modules the guest's kernel needs (modinfo)"),
];

/// What the benchmark needs besides.
const BENCH: &[Package] = &[
    package("iperf3", "throughput between namespaces"),
    package("openvswitch-switch", "the peer to measure beside (its service is not used)"),
];

/// What the benchmark of vhost-user ports needs.
const BENCH_VHOST: &[Package] = &[
    package("iproute2", "a namespace (ip)"),
    package("gcc", "compiles the generator"),
    package("libc6-dev", "what C programs include"),
    package("pkg-config", "tells how to compile against DPDK"),
    package("libdpdk-dev", "DPDK, on whose virtio-user driver vNICs for segments are"),
    package("dpdk-dev", "testpmd, to measure beside"),
    package("openvswitch-switch", "tools of the peer to measure beside (its service is not used)"),
    package("openvswitch-switch-dpdk", "that peer itself"),
];

/// What the benchmark of AF_XDP needs besides.
const BENCH_XDP: &[Package] = &[
    package("iproute2", "namespaces and the wire (ip)"),
    package("dpdk-dev", "testpmd: what to measure beside, and the VM that sends"),
];

/// For `cargo xtask test`.
pub fn for_test() -> Result<()> {
    ensure(BUILD.iter().chain(LAB).chain(TESTS).chain(COUNT).chain(FUZZ), "test")?;
    guest_kernels(&Kernel::ALL)
}

/// For `cargo xtask instructions`.
pub fn for_instructions() -> Result<()> {
    ensure(BUILD.iter().chain(COUNT), "instructions")
}

/// For `cargo xtask fuzz`.
pub fn for_fuzz() -> Result<()> {
    ensure(BUILD.iter().chain(FUZZ), "fuzz")
}

/// For `cargo xtask demo`.
pub fn for_demo() -> Result<()> {
    ensure(BUILD.iter().chain(LAB).chain(DEMO), "demo")?;
    guest_kernels(&[Kernel::Release])
}

/// For `cargo xtask bench kernel`.
pub fn for_bench() -> Result<()> {
    ensure(BUILD.iter().chain(LAB).chain(BENCH), "bench kernel")
}

/// For `cargo xtask bench vhost`.
pub fn for_bench_vhost() -> Result<()> {
    ensure(BENCH_VHOST.iter(), "bench vhost")
}

/// For `cargo xtask bench xdp`.
pub fn for_bench_xdp() -> Result<()> {
    ensure(BUILD.iter().chain(BENCH_XDP), "bench xdp")
}

/// For `cargo xtask bench hostile` and `bench waking`.
pub fn for_hostile() -> Result<()> {
    ensure(BUILD.iter().chain(LAB), "bench")
}

fn ensure<'a>(packages: impl Iterator<Item = &'a Package>, task: &str) -> Result<()> {
    steps::header("Debian packages");
    let packages: Vec<_> = packages.collect();
    let installed = installed(&packages);
    let missing: Vec<_> = packages.into_iter().filter(|p| !installed.contains(p.name)).collect();
    if missing.is_empty() {
        eprintln!("all that are needed are installed");
        return Ok(());
    }
    eprintln!("{}", plan(&missing, task));
    if !lab::is_root() || !has("apt-get") {
        bail!("cannot install packages here (not root, or no apt-get). Run:\n{}", commands(&missing));
    }
    steps::run(Command::new("apt-get").args(["-q", "update"]))?;
    let install = ["-q", "install", "--yes", "--no-install-recommends"];
    let names = missing.iter().map(|p| p.name);
    steps::run(Command::new("apt-get").args(install).args(names).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Names of those that are installed.
fn installed(packages: &[&Package]) -> BTreeSet<String> {
    // Its exit status is 1 where it does not know one of them, which is no error here.
    let format = ["-W", "-f", "${db:Status-Abbrev} ${Package}\\n"];
    let listed = Command::new("dpkg-query").args(format).args(packages.iter().map(|p| p.name)).output();
    let text = listed.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(|l| l.strip_prefix("ii")).map(|name| name.trim().to_owned()).collect()
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success())
}

fn plan(missing: &[&Package], task: &str) -> String {
    let lines = missing.iter().map(|p| format!("\n  {:20} {}", p.name, p.reason));
    format!("`cargo xtask {task}` needs, and this machine lacks:{}", lines.collect::<String>())
}

fn commands(missing: &[&Package]) -> String {
    let names: Vec<_> = missing.iter().map(|p| p.name).collect();
    format!("  sudo apt-get update\n  sudo apt-get install --no-install-recommends {}", names.join(" "))
}

/// Debian's cloud kernels for guests: their packages are downloaded and unpacked into the target folder, not installed.
fn guest_kernels(kernels: &[Kernel]) -> Result<()> {
    steps::header("Guest kernels: linux-image-cloud-amd64, unpacked into target/lab, not installed");
    for &kernel in kernels {
        let first = lab::guest::prepare(kernel);
        if first.is_err() {
            // Most likely apt has no lists yet, or old ones that name a kernel the mirror has no more.
            steps::run(Command::new("apt-get").args(["-q", "update"]))?;
        }
        let image = first.or_else(|_| lab::guest::prepare(kernel))?;
        eprintln!("{}", image.kernel.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpkg_knows_is_told_from_what_it_does_not() {
        let (known, unknown) = (package("dpkg", ""), package("no-such-package-at-all", ""));
        assert_eq!(installed(&[&known, &unknown]), BTreeSet::from(["dpkg".to_owned()]));
    }

    #[test]
    fn the_plan_gives_reasons_and_the_commands_give_names() {
        let missing = [&package("aaa", "for this"), &package("bbb", "for that")];
        assert!(plan(&missing, "test").contains("aaa                  for this"));
        assert!(commands(&missing).ends_with("install --no-install-recommends aaa bbb"));
    }
}
