//! What this crate makes of GSO frames and partial checksums, byte for byte against what the kernel makes of them.
//!
//! Needs root, iproute2 and python3; fails without. The frames pass through a TAP device in a network namespace of
//! the test's own (`kernel_segmentation.py`).

mod common;

use common::{Ip, Spec, Transport, noise, segments, tcp_v4, tcp_v6, udp_v4, udp_v6};
use std::{
    io::Write,
    process::{Command, Stdio},
};
use wire::{VnetHdr, checksum};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel_segmentation.py");

/// A network namespace that is deleted at the end of the test.
struct Namespace(String);

impl Namespace {
    fn new(test: &str) -> Self {
        let name = format!("wire-{test}-{}", std::process::id());
        let added = Command::new("ip").args(["netns", "add", &name]).status().expect("iproute2 is installed");
        assert!(added.success(), "a network namespace can only be made by root");
        Self(name)
    }

    /// Hands the cases to the kernel; returns the frames that each became.
    fn finish(&self, cases: &[Case]) -> Vec<Vec<Vec<u8>>> {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.0, "python3", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("iproute2 is installed");
        let mut stdin = child.stdin.take().expect("a pipe");
        let lines: String =
            cases.iter().map(|case| hex(&case.hdr.to_bytes()) + &hex(&case.frame) + "\n").collect();
        let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
        let output = child.wait_with_output().expect("the script's output");
        assert!(output.status.success(), "the script failed; its message is above");
        writer.join().expect("no panic").expect("the script read all cases");
        let text = String::from_utf8(output.stdout).expect("hexadecimal");
        text.lines().map(|line| line.split(',').map(unhex).collect()).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

struct Case {
    name: String,
    frame: Vec<u8>,
    hdr: VnetHdr,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hexadecimal"))
        .collect()
}

/// The four kinds, each untagged and behind one and two tags.
fn kinds(payload: usize) -> Vec<(String, Spec)> {
    let plain = [
        ("tcp4", tcp_v4(payload)),
        ("tcp6", tcp_v6(payload)),
        ("udp4", udp_v4(payload)),
        ("udp6", udp_v6(payload)),
    ];
    let mut all = Vec::new();
    for (name, spec) in plain {
        all.push((format!("{name} {payload} bytes"), spec.clone()));
        let tagged = spec.tagged(0x8100, 0x6064);
        all.push((format!("{name} {payload} bytes, 802.1Q"), tagged.clone()));
        let mut outer = tagged;
        outer.tags.insert(0, (0x88a8, 0x0007));
        all.push((format!("{name} {payload} bytes, 802.1ad and 802.1Q"), outer));
    }
    all
}

fn compare(test: &str, cases: &[Case], ours: impl Fn(&Case) -> Vec<Vec<u8>>) {
    let kernel = Namespace::new(test).finish(cases);
    assert_eq!(kernel.len(), cases.len());
    for (case, kernel) in cases.iter().zip(kernel) {
        let ours = ours(case);
        assert_eq!(ours.len(), kernel.len(), "{}: number of frames", case.name);
        for (i, (ours, kernel)) in ours.iter().zip(&kernel).enumerate() {
            assert_eq!(hex(ours), hex(kernel), "{}: frame {i}, ours left, the kernel's right", case.name);
        }
    }
}

fn compare_segments(test: &str, cases: &[Case]) {
    compare(test, cases, |case| segments(&case.frame, &case.hdr));
}

fn compare_completed(test: &str, cases: &[Case]) {
    compare(test, cases, |case| {
        let mut frame = case.frame.clone();
        checksum::complete(&mut frame, case.hdr.csum_start, case.hdr.csum_offset).expect("a checksum field");
        vec![frame]
    });
}

fn gso(name: impl Into<String>, spec: &Spec, gso_size: u16) -> Case {
    Case { name: name.into(), frame: spec.frame(), hdr: spec.gso_hdr(gso_size) }
}

fn partial(name: impl Into<String>, spec: &Spec) -> Case {
    Case { name: name.into(), frame: spec.frame(), hdr: spec.checksum_hdr() }
}

#[test]
fn root_every_kind_is_cut_as_the_kernel_cuts_it() {
    let mut cases = Vec::new();
    for (payload, gso_size) in [(1449, 1448), (2896, 1448), (5001, 999), (64_000, 1400)] {
        cases.extend(kinds(payload).iter().map(|(name, spec)| gso(name, spec, gso_size)));
    }
    compare_segments("kinds", &cases);
}

#[test]
fn root_options_and_extensions_are_repeated_as_the_kernel_repeats_them() {
    let mut cases = Vec::new();
    for (name, spec) in kinds(4000) {
        let ip = match spec.ip {
            Ip::V4 { id, .. } => Ip::V4 { id, options: vec![1; 24] },
            Ip::V6 { .. } => Ip::V6 { extensions: vec![0, 60, 43, 60] },
        };
        cases.push(gso(name, &Spec { ip, ..spec }, 1300));
    }
    compare_segments("options", &cases);
}

#[test]
fn root_tcp_flags_fall_on_the_segments_the_kernel_puts_them_on() {
    let mut cases = Vec::new();
    for flags in [0x10, 0x11, 0x18, 0x19, 0x90, 0xd9, 0x38] {
        for base in [tcp_v4(4000), tcp_v6(4000)] {
            let transport = Transport::Tcp { seq: 0xffff_fc00, flags, options: vec![] };
            cases.push(gso(format!("flags {flags:#04x}"), &Spec { transport, ..base }, 1448));
        }
    }
    compare_segments("flags", &cases);
}

/// Sets the payload's first word so that the checksum at `field` of what the frame becomes is zero.
fn aim_at_zero(spec: &mut Spec, finish: impl Fn(&Spec) -> Vec<u8>) {
    spec.payload[..2].fill(0);
    let hdr = spec.checksum_hdr();
    let field = usize::from(hdr.csum_start + hdr.csum_offset);
    let checksum = [finish(spec)[field], finish(spec)[field + 1]];
    spec.payload[..2].copy_from_slice(&checksum);
    assert!(matches!(finish(spec)[field..field + 2], [0, 0] | [0xff, 0xff]), "the aim was missed");
}

#[test]
fn root_a_checksum_of_zero_is_written_as_the_kernel_writes_it() {
    let (mut cut, mut whole) = (Vec::new(), Vec::new());
    for (name, mut spec) in kinds(3000) {
        aim_at_zero(&mut spec, |spec| segments(&spec.frame(), &spec.gso_hdr(1400)).remove(0));
        cut.push(gso(name, &spec, 1400));
    }
    for (name, mut spec) in kinds(1000) {
        aim_at_zero(&mut spec, |spec| {
            let (mut frame, hdr) = (spec.frame(), spec.checksum_hdr());
            checksum::complete(&mut frame, hdr.csum_start, hdr.csum_offset).expect("a checksum field");
            frame
        });
        whole.push(partial(name, &spec));
    }
    compare_segments("zero-cut", &cut);
    compare_completed("zero-whole", &whole);
}

#[test]
fn root_partial_checksums_are_completed_as_the_kernel_completes_them() {
    let mut cases = Vec::new();
    for payload in [0, 1, 7, 300, 1447, 8000] {
        cases.extend(kinds(payload).iter().map(|(name, spec)| partial(name, spec)));
    }
    for (name, spec) in kinds(1) {
        for padding in [vec![0; 30], noise(31)] {
            let mut case = partial(format!("{name}, padded"), &spec);
            case.frame.extend(padding);
            cases.push(case);
        }
    }
    cases.push(inside_vxlan());
    compare_completed("partial", &cases);
}

/// A guest's own tunnel: the checksum inside is partial, the outer UDP has none.
fn inside_vxlan() -> Case {
    let inner = tcp_v6(700);
    let mut outer = udp_v4(0);
    outer.payload = [vec![8, 0, 0, 0, 0, 0, 42, 0], inner.frame()].concat();
    let mut frame = outer.frame();
    let udp_checksum = outer.csum_start() + 6;
    frame[udp_checksum..udp_checksum + 2].fill(0);
    let hdr = inner.checksum_hdr().moved_by(outer.header_len() as i16 + 8);
    Case { name: "inside VXLAN".into(), frame, hdr }
}
