//! The unix socket ports against QEMU's own `-netdev stream` and `-netdev dgram`, joined by a hub inside it; no guest,
//! no root.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use io::{Batch, Port, UnixDgram, UnixStreamPort};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use support::{Running, batch_of, frames_of_every_form, receive};

fn qemu(stream: &Path, dgram: &Path, own: &Path) -> Running {
    let netdevs = [
        format!("stream,id=s,server=off,addr.type=unix,addr.path={}", stream.display()),
        format!(
            "dgram,id=d,local.type=unix,local.path={},remote.type=unix,remote.path={}",
            own.display(),
            dgram.display()
        ),
        "hubport,id=h0,hubid=0,netdev=s".to_owned(),
        "hubport,id=h1,hubid=0,netdev=d".to_owned(),
    ];
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", "none", "-nodefaults", "-display", "none"]).stdin(Stdio::null());
    for netdev in &netdevs {
        command.args(["-netdev", netdev]);
    }
    Running(command.spawn().unwrap())
}

#[test]
fn qemu_carries_frames_between_its_stream_and_its_dgram() {
    let dir = tempfile::tempdir().unwrap();
    let [stream_path, dgram_path, own] = ["stream", "dgram", "qemu"].map(|name| dir.path().join(name));
    let mut stream = UnixStreamPort::listen(&stream_path).unwrap();
    let mut dgram = UnixDgram::bind(&dgram_path).unwrap();
    let _qemu = qemu(&stream_path, &dgram_path, &own);
    let started = Instant::now();
    while !stream.connected() {
        assert!(started.elapsed() < support::PATIENCE, "QEMU did not connect");
        stream.receive(&mut Batch::default()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let frames = frames_of_every_form(false);
    let (batch, which) = batch_of(&frames);
    assert_eq!(stream.transmit(&batch, &which).unwrap().frames, which.len() as u64);
    assert_eq!(receive(&mut dgram, frames.len()), frames);
    assert_eq!(dgram.transmit(&batch, &which).unwrap().frames, which.len() as u64);
    assert_eq!(receive(&mut stream, frames.len()), frames);
}
