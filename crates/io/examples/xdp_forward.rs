//! Measures ports without a switch between them: carries frames from one to the other, or sends as fast as it
//! can.
//!
//! ```text
//! xdp_forward forward SECONDS PORT PORT      both ways
//! xdp_forward send SECONDS PORT BYTES        UDP datagrams in frames of that size
//! ```
//!
//! A PORT is `packet:IFACE`, `xdp:IFACE` (the best mode), `generic:IFACE` or `tap:IFACE`. It prints what
//! passed and what CPU time each frame took.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use io::{Batch, Epoll, PacketSocket, Port, Tap, TapConfig, XdpMode, XdpPort};
use std::{
    env,
    time::{Duration, Instant},
};
use wire::VNET_HDR_LEN;

/// How long to look for frames before one waits to be told of them: a worker's patience with rings.
const PATIENCE: Duration = Duration::from_micros(200);

fn open(port: &str) -> Box<dyn Port> {
    let (kind, ifname) = port.split_once(':').expect("a port is KIND:IFACE");
    let xdp = |modes: &[XdpMode]| {
        let port = XdpPort::open(ifname, modes).unwrap_or_else(|error| panic!("{error}"));
        eprintln!("{ifname}: {}, {} queues, not {:?}", port.mode(), port.queues(), port.refused());
        Box::new(port)
    };
    match kind {
        "packet" => Box::new(PacketSocket::open(ifname).unwrap_or_else(|error| panic!("{error}"))),
        "tap" => Box::new(Tap::open(&TapConfig::new(ifname)).unwrap_or_else(|error| panic!("{error}"))),
        "xdp" => xdp(&XdpMode::ALL),
        "generic" => xdp(&[XdpMode::GenericCopy]),
        other => panic!("no port is of kind {other}"),
    }
}

#[derive(Default)]
struct Passed {
    frames: u64,
    bytes: u64,
    lost: u64,
}

impl Passed {
    fn add(&mut self, port: &mut dyn Port, batch: &Batch, which: &[u16]) {
        let sent = port.transmit(batch, which).unwrap_or_else(|error| panic!("{error}"));
        self.frames += sent.frames;
        self.bytes += sent.bytes;
        self.lost += sent.drops().iter().map(|(_, frames)| frames).sum::<u64>();
    }
}

fn carry(from: &mut dyn Port, to: &mut dyn Port, batch: &mut Batch, passed: &mut Passed) -> bool {
    batch.clear();
    from.receive(batch).unwrap_or_else(|error| panic!("{error}"));
    let which: Vec<u16> = (0..batch.len() as u16).collect();
    if which.is_empty() {
        return false;
    }
    passed.add(to, batch, &which);
    from.complete();
    true
}

fn forward(ports: &[String], until: Instant) -> Passed {
    let [mut one, mut two] = [open(&ports[0]), open(&ports[1])];
    let epoll = Epoll::new().unwrap();
    for fd in one.poll_fds().into_iter().chain(two.poll_fds()) {
        epoll.add(fd, 0).unwrap();
    }
    let (mut batch, mut passed, mut ready) = (Batch::default(), Passed::default(), Vec::new());
    let (mut now, mut busy) = (Instant::now(), Instant::now());
    while now < until {
        let one_way = carry(&mut *one, &mut *two, &mut batch, &mut passed);
        let other_way = carry(&mut *two, &mut *one, &mut batch, &mut passed);
        now = Instant::now();
        if one_way || other_way {
            busy = now;
        } else if now - busy > PATIENCE && one.arm() && two.arm() {
            epoll.wait(Some(Duration::from_millis(100)), &mut ready).unwrap();
        }
    }
    passed.lost += one.kernel_drops() + two.kernel_drops();
    passed
}

fn send(port: &str, size: usize, until: Instant) -> Passed {
    let (mut port, mut batch, mut passed) = (open(port), Batch::default(), Passed::default());
    while !batch.is_full() {
        let mut frame = b"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x45\x00".to_vec();
        frame.extend((size as u16 - 14).to_be_bytes());
        frame.extend(b"\0\0\0\0\x40\x11\0\0\x0a\0\0\x01\x0a\0\0\x02\x12\x34\0\x35");
        frame.extend((size as u16 - 34).to_be_bytes());
        frame.resize(size, 0);
        let slot = batch.vacant().next().unwrap();
        slot[..VNET_HDR_LEN].fill(0);
        slot[VNET_HDR_LEN..][..size].copy_from_slice(&frame);
        batch.push(VNET_HDR_LEN + size);
    }
    let which: Vec<u16> = (0..batch.len() as u16).collect();
    while Instant::now() < until {
        passed.add(&mut *port, &batch, &which);
    }
    passed
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let seconds: f64 = arguments[1].parse().expect("seconds");
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let passed = match arguments[0].as_str() {
        "forward" => forward(&arguments[2..4], until),
        "send" => send(&arguments[2], arguments[3].parse().expect("bytes"), until),
        other => panic!("{other} is not known"),
    };
    let cpu = cpu_time();
    println!(
        "{:.3} Mpps {:.2} Gbit/s lost {} cpu {:.0} ns a frame, {:.2} cores",
        passed.frames as f64 / seconds / 1e6,
        passed.bytes as f64 * 8.0 / seconds / 1e9,
        passed.lost,
        cpu.as_nanos() as f64 / passed.frames.max(1) as f64,
        cpu.as_secs_f64() / seconds,
    );
}
