//! Peers of unix socket ports, as a VMM without offloads is one.

use anyhow::{Context, Result, ensure};
use lab::Daemon;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// Both ends of a port: frames go in and come out.
pub trait Peer {
    fn send(&mut self, frame: &[u8]) -> Result<()>;
    /// The next frame; waits for it.
    fn receive(&mut self) -> Result<Vec<u8>>;
}

/// A datagram is a frame.
pub struct Datagrams {
    socket: UnixDatagram,
}

impl Datagrams {
    /// Binds beside the port's socket, which answers there from the first frame on.
    pub fn connect(port: &Path) -> Result<Datagrams> {
        let own = port.with_extension("peer");
        let socket = UnixDatagram::bind(&own)?;
        // A daemon that is another user's has to be able to answer.
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o777))?;
        socket.connect(port)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Datagrams { socket })
    }
}

impl Peer for Datagrams {
    fn send(&mut self, frame: &[u8]) -> Result<()> {
        let sent = self.socket.send(frame)?;
        ensure!(sent == frame.len(), "{sent} of {} bytes were sent", frame.len());
        Ok(())
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut frame = vec![0; 70_000];
        let length = self.socket.recv(&mut frame).context("no frame came")?;
        frame.truncate(length);
        Ok(frame)
    }
}

/// Each frame behind its length.
pub struct Stream {
    socket: UnixStream,
}

impl Stream {
    pub fn connect(port: &Path) -> Result<Stream> {
        let socket = UnixStream::connect(port)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Stream { socket })
    }
}

impl Peer for Stream {
    fn send(&mut self, frame: &[u8]) -> Result<()> {
        Ok(self.socket.write_all(&[&(frame.len() as u32).to_be_bytes()[..], frame].concat())?)
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).context("no frame came")?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.socket.read_exact(&mut frame)?;
        Ok(frame)
    }
}

/// Waits until a port has its peer.
pub fn wait_until_up(daemon: &Daemon, port: &str) -> Result<()> {
    lab::wait_until("port up", PATIENCE, || Ok(daemon.cli_json(&["port", "show", port])?["state"] == "up"))
}
