//! Network namespaces, an independent sender (a plain packet socket) and an independent observer (tcpdump).
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod guest;

use io::{Batch, Port};
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// How long anything may take that has to happen, on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// Runs a command that has to succeed.
pub fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let out = Command::new(words.next().unwrap()).args(words).output().expect("the command is installed");
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// A network namespace that nothing but the test speaks in; gone when dropped.
pub struct Namespace(pub String);

impl Default for Namespace {
    fn default() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vio-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run(&format!("ip netns add {name}"));
        let ns = Self(name);
        for which in ["all", "default"] {
            ns.exec(&format!("sysctl -q -w net.ipv6.conf.{which}.disable_ipv6=1"));
        }
        ns
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "del", &self.0]).status());
    }
}

impl Namespace {
    pub fn exec(&self, command: &str) -> String {
        run(&format!("ip netns exec {} {command}", self.0))
    }

    pub fn ip(&self, arguments: &str) -> String {
        run(&format!("ip -n {} {arguments}", self.0))
    }

    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        io::netns::in_namespace(&self.0, work).unwrap()
    }

    /// A cable with both ends in this namespace, both up.
    pub fn cable(&self, left: &str, right: &str, mtu: u32) {
        self.ip(&format!("link add {left} mtu {mtu} up type veth peer name {right} mtu {mtu}"));
        self.ip(&format!("link set {right} up"));
    }

    /// Starts a program and leaves it running.
    pub fn spawn(&self, command: &str) -> Running {
        let words = ["netns", "exec", &self.0].into_iter().chain(command.split_whitespace());
        let child = Command::new("ip").args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Running(child.unwrap())
    }
}

/// A program that is stopped when dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// tcpdump on an interface; it shows the frame with its VLAN tag, wherever the kernel keeps that.
pub struct Observer {
    tcpdump: Running,
}

impl Observer {
    pub fn new(ns: &Namespace, ifname: &str) -> Self {
        let mut tcpdump = ns.spawn(&format!("tcpdump -i {ifname} -Q in -U --immediate-mode -s 0 -w -"));
        let mut line = String::new();
        BufReader::new(tcpdump.0.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("listening on"), "{line}");
        tcpdump.0.stdout.as_mut().unwrap().read_exact(&mut [0; 24]).unwrap();
        Self { tcpdump }
    }

    /// The next frame that came in. A frame that never comes is met by the test's own time limit.
    pub fn next(&mut self) -> Vec<u8> {
        let out = self.tcpdump.0.stdout.as_mut().unwrap();
        let mut record = [0; 16];
        out.read_exact(&mut record).unwrap();
        let len = u32::from_le_bytes(*record[8..].first_chunk().unwrap());
        let mut frame = vec![0; len as usize];
        out.read_exact(&mut frame).unwrap();
        frame
    }
}

/// A packet socket without any options, to send with.
pub struct Sender {
    fd: i32,
}

impl Sender {
    pub fn new(ns: &Namespace, ifname: &str) -> Self {
        let name = std::ffi::CString::new(ifname).unwrap();
        ns.inside(move || {
            // SAFETY: plain calls with live arguments; all zeroes is a valid `sockaddr_ll`.
            let (fd, bound) = unsafe {
                let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
                let mut to: libc::sockaddr_ll = std::mem::zeroed();
                to.sll_family = libc::AF_PACKET as u16;
                to.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
                (fd, libc::bind(fd, (&raw const to).cast(), size_of_val(&to) as u32))
            };
            assert!(fd >= 0 && bound == 0, "{}", std::io::Error::last_os_error());
            Self { fd }
        })
    }

    pub fn send(&self, frame: &[u8]) {
        // SAFETY: the pointer and length are those of a live slice.
        let sent = unsafe { libc::send(self.fd, frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and not used any more.
        unsafe { libc::close(self.fd) };
    }
}

/// One frame of each form that has to pass unmodified. The first byte behind the addresses and the rest are told apart
/// by position, so that a shift or a swap shows.
pub fn frames_of_every_form(jumbo: bool) -> Vec<Vec<u8>> {
    let frame = |behind_macs: &[u8], len: usize| {
        let mut frame = b"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02".to_vec();
        frame.extend_from_slice(behind_macs);
        frame.extend((frame.len()..len).map(|at| (at * 7 + len) as u8));
        frame
    };
    let mut frames = vec![
        frame(b"\x08\x00", 60),
        frame(b"\x88\xb5", 1514),
        frame(b"\x81\x00\x60\x07\x88\xb5", 64),
        frame(b"\x81\x00\xe0\x00\x88\xb5", 1518),
        frame(b"\x88\xa8\x00\x05\x81\x00\x00\x06\x88\xb5", 200),
        frame(b"\x00\x26\x42\x42\x03", 60),
        frame(b"\x86\xdd", 90),
        frame(b"\x99\x99", 61),
    ];
    if jumbo {
        frames.push(frame(b"\x88\xb5", 9014));
    }
    frames
}

/// Receives `count` frames.
pub fn receive(port: &mut impl Port, count: usize) -> Vec<Vec<u8>> {
    let (mut batch, mut frames, started) = (Batch::default(), Vec::new(), Instant::now());
    while frames.len() < count {
        assert!(started.elapsed() < PATIENCE, "{} frames of {count} came", frames.len());
        batch.clear();
        port.receive(&mut batch).unwrap();
        frames.extend((0..batch.len()).map(|i| batch.frame(i as u16).to_vec()));
        std::thread::sleep(Duration::from_millis(if batch.is_empty() { 1 } else { 0 }));
    }
    frames
}

/// A batch of frames with nothing left to be done to them, and the numbers of all.
pub fn batch_of(frames: &[Vec<u8>]) -> (Batch, Vec<u16>) {
    batch_with(frames, u16::MAX, wire::VnetHdr::default())
}

/// The same, but for frame `index`, which has the vnet header given.
pub fn batch_with(frames: &[Vec<u8>], index: u16, vnet: wire::VnetHdr) -> (Batch, Vec<u16>) {
    let mut batch = Batch::default();
    for (frame, at) in frames.iter().zip(0..) {
        let vnet = if at == index { vnet } else { wire::VnetHdr::default() };
        let slot = batch.vacant().next().unwrap();
        slot[..wire::VNET_HDR_LEN].copy_from_slice(&vnet.to_bytes());
        slot[wire::VNET_HDR_LEN..][..frame.len()].copy_from_slice(frame);
        batch.push(wire::VNET_HDR_LEN + frame.len());
    }
    let which = (0..batch.len() as u16).collect();
    (batch, which)
}

/// Descriptors this process has open.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Tests of one file that count descriptors must not run beside others that open some.
pub fn alone() -> std::sync::MutexGuard<'static, ()> {
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
