//! A port without its threads: a front end's messages and the worker's rounds in turn, for fuzz targets.

use super::VhostPort;
use crate::{
    Batch, Port,
    vhost::{
        device::{Device, Session},
        link::{ControlThread, serve_one},
        socket::{Channel, SocketError},
    },
};
use std::{io, os::fd::OwnedFd, sync::Arc};

/// A front end that is connected.
#[derive(Debug)]
pub struct Conversation {
    session: Session,
    channel: Channel,
    port: VhostPort,
    batch: Batch,
}

impl Conversation {
    /// With the front end at the other end of `socket`, which does not block.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let device = Arc::new(Device::new(2, 9000, 1)?);
        let session = Session::new(Arc::clone(&device), None);
        let port = VhostPort::new(Arc::new(ControlThread::without_thread(device)), "a fuzz target", 0);
        Ok(Self { session, channel: Channel::new(socket), port, batch: Batch::default() })
    }

    /// Serves what was said so far, then takes a batch from the guest and gives it back to it. False once the connection
    /// is over.
    pub fn step(&mut self) -> bool {
        let device = Arc::clone(&self.port.device);
        loop {
            match serve_one(&device, &mut self.session, &mut self.channel) {
                Ok(true) if !device.take_fault() => {}
                Ok(false) => break,
                Ok(true) | Err(SocketError::Closed) => return false,
                Err(error) => {
                    device.fault(&error);
                    return false;
                }
            }
        }
        self.round();
        !device.take_fault()
    }

    fn round(&mut self) {
        let Self { port, batch, .. } = self;
        batch.clear();
        let received = port.receive(batch);
        let all: Vec<_> = (0..batch.len() as u16).collect();
        let sent = port.transmit(batch, &all);
        port.complete();
        debug_assert!(received.is_ok() && sent.is_ok(), "a fault is the link's to tell");
        let _ = port.arm();
    }
}
