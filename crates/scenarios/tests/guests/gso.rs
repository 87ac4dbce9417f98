//! Frames that are to be segmented and whose checksum is partial, made byte by byte, and the way to send them.

use crate::checksums::{TCP, Transport, UDP};
use anyhow::{Context, Result, ensure};
use lab::frames::{self, IPV4, IPV6, Mac, checksum};
use lab::{Namespace, Process};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::time::Duration;

/// Payload of each segment.
pub const SEGMENT: u16 = 1400;
/// Where the payload of a segmented stream begins.
const FIRST: u32 = 0x0102_0304;
const VLAN: u16 = 100;

/// Which kind of frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub ethertype: u16,
    pub protocol: u8,
    pub tagged: bool,
}

/// Every kind.
pub fn kinds() -> impl Iterator<Item = Kind> {
    let of = |ethertype, protocol| [false, true].map(|tagged| Kind { ethertype, protocol, tagged });
    [(IPV4, TCP), (IPV4, UDP), (IPV6, TCP), (IPV6, UDP)].into_iter().flat_map(move |(e, p)| of(e, p))
}

/// A frame with what its vnet header says of it.
pub struct Whole {
    pub kind: Kind,
    pub vnet: [u8; 10],
    pub frame: Vec<u8>,
    payload: Vec<u8>,
}

impl Whole {
    /// A frame of `segments` segments, the last of them shorter.
    pub fn new(kind: Kind, to: Mac, from: Mac, segments: usize) -> Whole {
        let length = usize::from(SEGMENT) * segments - 333;
        let payload: Vec<u8> = (0..length).map(|at| (at ^ (at >> 8)) as u8).collect();
        let (ip, transport) = headers(kind, length);
        let untagged =
            frames::ethernet(to, from, kind.ethertype, &[&ip[..], &transport[..], &payload].concat());
        let frame = if kind.tagged { frames::tagged(&untagged, 3, VLAN) } else { untagged };
        let start = frame.len() - payload.len() - transport.len();
        let vnet = vnet(kind, start, transport.len());
        Whole { kind, vnet, frame, payload }
    }

    /// How many frames it becomes where it has to be segmented.
    pub fn segments(&self) -> u64 {
        self.payload.len().div_ceil(usize::from(SEGMENT)) as u64
    }

    /// Fails unless these are its segments, in order, as a wire would carry them.
    pub fn assert_cut_into(&self, segments: &[Vec<u8>]) -> Result<()> {
        ensure!(segments.len() as u64 == self.segments(), "{} segments", segments.len());
        let mut joined = Vec::new();
        for segment in segments {
            let transport = Transport::of(segment).context("neither TCP nor UDP")?;
            crate::checksums::check(segment)?;
            let payload = transport.payload();
            ensure!(payload.len() <= usize::from(SEGMENT), "a segment of {} bytes", payload.len());
            if transport.protocol == TCP {
                let expected = FIRST + joined.len() as u32;
                ensure!(transport.sequence() == expected, "segment {:x}", transport.sequence());
            }
            let addresses = if self.kind.tagged { 16 } else { 12 };
            ensure!(segment[..addresses] == self.frame[..addresses], "addresses or tag differ");
            joined.extend_from_slice(payload);
        }
        ensure!(joined == self.payload, "the payload differs");
        Ok(())
    }
}

/// The vnet header (virtio 1.2, 5.1.6): checksum needed, segmentation of TCP over IPv4, over IPv6, or of UDP.
fn vnet(kind: Kind, start: usize, transport: usize) -> [u8; 10] {
    let (gso_type, offset) = match (kind.protocol, kind.ethertype) {
        (UDP, _) => (5, 6u16),
        (_, IPV4) => (1, 16),
        _ => (4, 16),
    };
    let mut vnet = [0; 10];
    vnet[0] = 1;
    vnet[1] = gso_type;
    let fields = [(start + transport) as u16, SEGMENT, start as u16, offset];
    vnet[2..].copy_from_slice(&fields.map(u16::to_le_bytes).concat());
    vnet
}

/// IP header and transport header; the sum of the pseudo header stands where the checksum will.
fn headers(kind: Kind, payload: usize) -> (Vec<u8>, Vec<u8>) {
    let mut transport = match kind.protocol {
        UDP => [40_000u16, 9, (8 + payload) as u16, 0].map(u16::to_be_bytes).concat(),
        _ => {
            let ports = [0x9c, 0x40, 0, 9];
            [&ports[..], &FIRST.to_be_bytes(), &[0, 0, 0, 7, 0x50, 0x10, 0x40, 0, 0, 0, 0, 0]].concat()
        }
    };
    let length = ((transport.len() + payload) as u16).to_be_bytes();
    let (ip, addresses) = if kind.ethertype == IPV4 { ipv4(kind, length) } else { ipv6(kind, length) };
    let partial = !checksum(&[&addresses, &[0, kind.protocol], &length]);
    let at = if kind.protocol == UDP { 6 } else { 16 };
    transport[at..at + 2].copy_from_slice(&partial.to_be_bytes());
    (ip, transport)
}

fn ipv4(kind: Kind, length: [u8; 2]) -> (Vec<u8>, Vec<u8>) {
    let addresses = vec![10, 9, 0, 61, 10, 9, 0, 62];
    let total = (u16::from_be_bytes(length) + 20).to_be_bytes();
    let fixed = [0x45, 0, total[0], total[1], 0x12, 0x34, 0x40, 0, 64, kind.protocol, 0, 0];
    let mut header = [&fixed[..], &addresses].concat();
    let sum = checksum(&[&header]).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    (header, addresses)
}

fn ipv6(kind: Kind, length: [u8; 2]) -> (Vec<u8>, Vec<u8>) {
    let address = |last| [&[0xfd, 0, 0, 9][..], &[0; 11], &[last]].concat();
    let addresses = [address(0x61), address(0x62)].concat();
    let header = [&[0x60, 0, 0, 0, length[0], length[1], kind.protocol, 64][..], &addresses].concat();
    (header, addresses)
}

/// Sends frames with their vnet header out of an interface, so that its kernel takes them as its own stack's.
pub struct VnetSender {
    stdin: ChildStdin,
    answers: BufReader<ChildStdout>,
    _process: Process,
    _dir: tempfile::TempDir,
}

impl VnetSender {
    pub fn open(namespace: &Namespace, interface: &str) -> Result<VnetSender> {
        let dir = lab::temp_dir()?;
        let mut command = namespace.command("python3");
        command.args(["-c", include_str!("send_vnet.py"), interface]);
        let (mut process, stdin, stdout) = Process::spawn_piped(&mut command, &dir.path().join("log"))?;
        process.wait_for_log("sending", Duration::from_secs(20))?;
        Ok(VnetSender { stdin, answers: BufReader::new(stdout), _process: process, _dir: dir })
    }

    /// Returns when the kernel has the frame.
    pub fn send(&mut self, whole: &Whole) -> Result<()> {
        let hex: String = whole.vnet.iter().chain(&whole.frame).map(|b| format!("{b:02x}")).collect();
        writeln!(self.stdin, "{hex}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        ensure!(answer == "ok\n", "{:?} was not sent: {answer}", whole.kind);
        Ok(())
    }
}
