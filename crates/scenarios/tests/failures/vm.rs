//! What a VM's port is attached to fails: its namespace, its VMM, its interface, its socket.

use crate::stage::{PATIENCE, Stage, VM1, VM2, set_up_vm};
use anyhow::{Result, ensure};
use lab::frames::{EXPERIMENT, mac, of_length};
use lab::{Capture, Namespace, Process, text};
use std::process::Command;

const VMM_MAC: &str = "02:00:00:00:01:03";

#[test]
fn root_a_namespace_that_is_deleted_under_its_port_and_made_again() -> Result<()> {
    let stage = Stage::new()?;
    let third = Namespace::new("third")?;
    third.disable_ipv6()?;
    stage.daemon.cli_ok(&["port", "add", "lan", "third", "--netns", third.name(), "--mac", VMM_MAC])?;
    for _ in 0..2 {
        stage.undisturbed_by(|| {
            text(Command::new("ip").args(["netns", "del", third.name()]))?;
            stage.wait_down("third", "namespace")
        })?;
        // Not counted: the new namespace has IPv6 on at first, and may speak.
        stage.ping_through(|| {
            text(Command::new("ip").args(["netns", "add", third.name()]))?;
            third.disable_ipv6()?;
            stage.wait_up("third")
        })?;
        ensure!(third.mac("eth0")? == VMM_MAC, "the vNIC has another MAC");
        set_up_vm(&third, "10.9.0.53")?;
        third.wait_ping(VM1.0, PATIENCE)?;
    }
    stage.end()?;
    third.wait_empty()
}

#[test]
fn root_the_name_of_a_removed_vnic_is_free_at_once() -> Result<()> {
    let stage = Stage::new()?;
    let third = Namespace::new("third")?;
    third.disable_ipv6()?;
    for turn in 0..20 {
        stage.daemon.cli_ok(&["port", "add", "lan", "third", "--netns", third.name()])?;
        third.add_address("eth0", "10.9.0.53/24")?;
        stage.daemon.cli_ok(&["port", "remove", "lan/third"])?;
        // Somebody else's, or that of another port.
        if turn % 2 == 0 {
            ensure!(third.ip("route show")?.is_empty(), "packets are still sent into the removed vNIC");
            third.ip("link add eth0 type bridge")?;
            third.ip("link del eth0")?;
        }
    }
    third.wait_empty()?;
    stage.end()
}

/// Opens a TAP as a VMM does, sends a frame for each line of standard input, and does nothing else.
const VMM: &str = "import fcntl, os, struct, sys
tap = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tap, 0x400454ca, struct.pack('16sH22x', sys.argv[1].encode(), 0x2 | 0x1000 | 0x4000))
print('open', file=sys.stderr, flush=True)
for line in sys.stdin:
    os.write(tap, bytes(10) + bytes.fromhex(line))";

/// Connects to a port's socket as QEMU does, and sends a frame for each line of standard input.
const STREAM_PEER: &str = "import socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
print('open', file=sys.stderr, flush=True)
for line in sys.stdin:
    frame = bytes.fromhex(line)
    s.sendall(struct.pack('>I', len(frame)) + frame)";

/// A program that stands for a VMM, and the frames that it sends.
struct Vmm {
    stdin: std::process::ChildStdin,
    process: Process,
    _dir: tempfile::TempDir,
}

impl Vmm {
    fn start(stage: &Stage, script: &str, argument: &str) -> Result<Vmm> {
        let dir = lab::temp_dir()?;
        let mut command = stage.world.host.command("python3");
        command.args(["-c", script, argument]);
        let (mut process, stdin, _) = Process::spawn_piped(&mut command, &dir.path().join("log"))?;
        process.wait_for_log("open", PATIENCE)?;
        Ok(Vmm { stdin, process, _dir: dir })
    }

    /// A frame to the first VM; fails unless exactly that arrives there.
    fn send_to_vm1(&mut self, stage: &Stage) -> Result<()> {
        use std::io::Write;
        let frame = of_length(mac(VM1.1), mac(VMM_MAC), EXPERIMENT, 200);
        let capture = Capture::start(&stage.vm1, "eth0")?;
        let hex: String = frame.iter().map(|b| format!("{b:02x}")).collect();
        writeln!(self.stdin, "{hex}")?;
        let got = capture.wait_for(1, |f| f.bytes == frame)?;
        ensure!(got.len() == 1 && capture.stop()?.len() == 1, "other frames arrived");
        Ok(())
    }
}

/// A VMM goes and comes back, twice.
fn comes_and_goes(stage: &Stage, port: &str, reason: &str, start: impl Fn() -> Result<Vmm>) -> Result<()> {
    stage.wait_down(port, reason)?;
    for _ in 0..2 {
        let mut vmm = None;
        stage.undisturbed_by(|| {
            vmm = Some(start()?);
            stage.wait_up(port)
        })?;
        let mut vmm = vmm.expect("it was started");
        vmm.send_to_vm1(stage)?;
        stage.undisturbed_by(|| {
            vmm.process.kill()?;
            stage.wait_down(port, reason)
        })?;
    }
    Ok(())
}

#[test]
fn root_a_vmm_opens_its_tap_dies_and_comes_back() -> Result<()> {
    let stage = Stage::new()?;
    stage.daemon.cli_ok(&["port", "add", "lan", "guest", "--tap", "tap0", "--mac", VMM_MAC])?;
    comes_and_goes(&stage, "guest", "no VMM has its TAP open", || Vmm::start(&stage, VMM, "tap0"))?;
    stage.end()
}

#[test]
fn root_a_peer_of_a_unix_stream_connects_dies_and_comes_back() -> Result<()> {
    let stage = Stage::new()?;
    let path = stage.daemon.scratch().join("guest.sock").display().to_string();
    stage.daemon.cli_ok(&["port", "add", "lan", "guest", "--unix-stream", &path, "--mac", VMM_MAC])?;
    comes_and_goes(&stage, "guest", "", || Vmm::start(&stage, STREAM_PEER, &path))?;
    stage.end()
}

#[test]
fn root_the_interface_of_a_port_is_removed_and_comes_back() -> Result<()> {
    let (stage, other) = (Stage::new()?, Namespace::new("other")?);
    other.disable_ipv6()?;
    let make = || {
        let host = stage.world.host.name();
        text(
            Command::new("ip")
                .args(["link", "add", "ext0", "netns", host, "type", "veth", "peer", "name", "eth0"])
                .args(["address", VMM_MAC, "netns", other.name()]),
        )?;
        set_up_vm(&other, "10.9.0.53")
    };
    make()?;
    stage.daemon.cli_ok(&["port", "add", "lan", "ext", "--netdev", "ext0", "--mac", VMM_MAC])?;
    stage.wait_up("ext")?;
    for _ in 0..2 {
        other.wait_ping(VM2.0, PATIENCE)?;
        stage.undisturbed_by(|| {
            stage.world.host.ip("link del ext0")?;
            stage.wait_down("ext", "not there")?;
            make()?;
            stage.wait_up("ext")
        })?;
    }
    other.wait_ping(VM2.0, PATIENCE)?;
    stage.world.host.ip("link del ext0")?;
    stage.end()
}
