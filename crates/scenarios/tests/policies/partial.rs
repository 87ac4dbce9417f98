//! Checksums left partial: where a VM says that one is to be put, nothing may come to stand that the frame was not judged by.

use crate::lan::{Lan, NOBODY, TRUNK, VM1};
use crate::round::Round;
use anyhow::Result;
use lab::frames::{self, Endpoint, IPV6};
use lab::{NIC, Namespace};
use std::net::Ipv4Addr;

/// Sends a frame whose checksum, from `start` on, the NIC is asked to put `offset` bytes behind that (PACKET_VNET_HDR).
const SEND: &str = "
import socket, struct, sys
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
sock.setsockopt(263, 15, 1)
sock.bind(('eth0', 0))
start, offset = map(int, sys.argv[2:])
sock.send(struct.pack('=BBHHHH', 1, 0, 0, 0, start, offset) + bytes.fromhex(sys.argv[1]))
";

fn send(vm: &Namespace, frame: &[u8], start: usize, offset: usize) -> Result<()> {
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    vm.exec(&["python3", "-c", SEND, &hex, &start.to_string(), &offset.to_string()]).map(drop)
}

/// An echo over IPv6 to nobody, padded.
fn echo() -> Vec<u8> {
    let packet = [&[0x60, 0, 0, 0, 0, 16, 58, 255][..], &[0xfe; 32], &[128], &[0; 15]].concat();
    frames::ethernet(frames::mac(NOBODY), frames::mac(VM1), IPV6, &packet)
}

/// An echo in LLC/SNAP behind a tag of VLAN 0.
fn hidden_echo() -> Vec<u8> {
    let frame = echo();
    [&frame[..12], &[0x81, 0, 0, 0, 0, 64, 0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd], &frame[14..]].concat()
}

/// A neighbour's advertisement to nobody.
fn advertisement() -> Vec<u8> {
    let message = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &[0xfe; 16]].concat();
    let packet = [&[0x60, 0, 0, 0, 0, 24, 58, 255][..], &[0xfe; 32], &message].concat();
    frames::ethernet(frames::mac(NOBODY), frames::mac(VM1), IPV6, &packet)
}

fn datagram_between(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let at = |mac, n, port| Endpoint { mac: frames::mac(mac), ip: Ipv4Addr::new(10, 9, 0, n), port };
    frames::udp4(at(NOBODY, 98, ports[1]), at(VM1, 99, ports[0]), payload)
}

fn datagram() -> Vec<u8> {
    datagram_between([1000, 1000], b"a datagram")
}

/// A DHCP client's BOOTREQUEST, whose checksum begins with the two that makes it a BOOTREPLY.
fn request() -> Vec<u8> {
    datagram_between([68, 67], &[&[1, 1, 6, 0, 0xf6, 0xfd][..], &[0; 294]].concat())
}

/// The frame as it has to leave: untouched.
fn leaves_untouched(lan: &mut Lan, frame: &[u8], start: usize, offset: usize) -> Result<()> {
    let round = Round::default().sends("vm1", frame).reaches(&[NIC]);
    let before = lan.counters()?;
    send(lan.namespace("vm1"), frame, start, offset)?;
    lan.expect_counters(before, &round.counters())?;
    lan.settle(NIC, &round.arrives[NIC])
}

#[test]
fn root_a_checksum_left_partial_cannot_rewrite_what_a_frame_was_judged_by() -> Result<()> {
    let mut lan = Lan::external(&["--no-host"])?;
    // The NIC's kernel does it then, where it is told to.
    lan.world.host.exec(&["ethtool", "-K", NIC, "tx", "off"])?;
    lan.vm("vm1", VM1, &[&["--dhcp-guard", "on", "--router-guard", "on"], TRUNK].concat())?;
    // What a VM's kernel takes from its programs; it refuses what lies further in front.
    for (frame, start, offset) in [
        // The type of an ICMPv6 message: an echo becomes an advertisement.
        (echo(), 54, 0),
        (echo(), 34, 20),
        (hidden_echo(), 66, 0),
        // The port that a datagram is for.
        (datagram(), 34, 2),
        // Whom a neighbour's advertisement is about.
        (advertisement(), 58, 4),
        // The kind of a DHCP message.
        (request(), 42, 0),
    ] {
        leaves_untouched(&mut lan, &frame, start, offset)?;
    }
    lan.finish()
}
