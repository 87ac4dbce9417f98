//! Measures what it costs to carry frames from a guest's memory to a port of the kernel, without a switch between them:
//!
//! ```text
//! guest_to_port SECONDS PORT BYTES PIECE
//! ```
//!
//! A PORT is `packet:IFACE` or `tap:IFACE`. Frames are TCP segments of BYTES, above the MTU to be cut by who takes them;
//! their payload lies in the guest's memory in pieces of PIECE bytes, 2 to 4 MiB of it in turn, so that it comes from beyond the
//! level 2 cache. It prints the CPU time of receiving, sending and giving back: what the guest does is left out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use io::{Batch, PacketSocket, Port, Tap, TapConfig};
use std::{
    env,
    time::{Duration, Instant},
};
use support::guest::{Guest, tcp_segment};
use wire::VnetHdr;

/// Headers of Ethernet, IPv4 and TCP.
const HEADERS: usize = 54;
const VNET: usize = 12;
const AT_ONCE: u16 = 32;

fn open(port: &str) -> Box<dyn Port> {
    let (kind, ifname) = port.split_once(':').expect("a port is KIND:IFACE");
    match kind {
        "packet" => Box::new(PacketSocket::open(ifname).unwrap_or_else(|error| panic!("{error}"))),
        "tap" => Box::new(Tap::open(&TapConfig::new(ifname)).unwrap_or_else(|error| panic!("{error}"))),
        other => panic!("no port is of kind {other}"),
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    let (bytes, piece) = (number(2), number(3));
    let mut port = open(&arguments[1]);
    let mut guest = Guest::new();
    let gso_type = u8::from(bytes > 1514);
    let vnet = VnetHdr { flags: 1, gso_type, hdr_len: 54, gso_size: 1448, csum_start: 34, csum_offset: 16 };
    let lengths: Vec<_> = if piece < bytes { [VNET + HEADERS].into() } else { vec![] };
    let lengths: Vec<_> = lengths.into_iter().chain(vec![piece; bytes / piece]).collect();
    let per_lap = guest.fill_ring(vnet, &tcp_segment(bytes - HEADERS), &lengths);
    let (mut batch, mut passed, mut lost, mut cpu) = (Batch::default(), 0, 0, Duration::ZERO);
    let until = Instant::now() + Duration::from_secs_f64(arguments[0].parse().expect("seconds"));
    while Instant::now() < until {
        let before = cpu_time();
        loop {
            batch.clear();
            guest.port.receive(&mut batch).unwrap();
            let all: Vec<_> = (0..batch.len() as u16).collect();
            if all.is_empty() {
                break;
            }
            let sent = port.transmit(&batch, &all).unwrap();
            guest.port.complete();
            passed += sent.frames;
            lost += sent.drops().iter().map(|(_, frames)| frames).sum::<u64>();
        }
        cpu += cpu_time() - before;
        guest.offer(AT_ONCE.min(per_lap));
    }
    let gigabytes = passed as f64 * bytes as f64 / 1e9;
    println!(
        "{:.3} CPU s/GB, {:.0} ns a frame, {passed} frames, {lost} lost",
        cpu.as_secs_f64() / gigabytes,
        cpu.as_nanos() as f64 / passed.max(1) as f64
    );
}
