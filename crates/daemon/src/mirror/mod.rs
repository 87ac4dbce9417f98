//! Mirrors to collectors elsewhere: a thread for each port that is mirrored so, which sends what its queue holds.

mod erspan;
mod sender;

use crate::tap::CAPACITY;
use dataplane::tap::{Filter, Listener, Selection, Tap, TapReader};
use engine::PortIndex;
use model::{
    MirrorStatus,
    policy::mirror::{Erspan, MirrorConfig},
};
use sender::Sender;
use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};
use wire::{IpVersion, Ipv4View, Ipv6View, transport};

/// As much of a frame is kept for a collector: a path with a larger MTU was not seen.
const SNAPLEN: usize = 9216;
/// Protocol number of GRE (RFC 2784).
const GRE: u8 = 47;

/// A port that is mirrored to a collector, as long as this lives.
#[derive(Debug)]
pub struct Session {
    port: PortIndex,
    config: MirrorConfig,
    tap: Arc<Tap>,
    status: Arc<Status>,
}

/// What became of the copies.
#[derive(Debug, Default)]
struct Status(Mutex<MirrorStatus>);

impl Status {
    fn lock(&self) -> MutexGuard<'_, MirrorStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Starts to send copies of the frames of `port`, whose place is named for the log. Nothing comes before the data path was told
    /// of [`tap`](Self::tap).
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(place: String, port: PortIndex, config: &MirrorConfig, erspan: Erspan) -> io::Result<Self> {
        let (wake, woken) = mpsc::sync_channel(1);
        let direction = config.direction;
        let selection = Selection {
            port: Some(port),
            inbound: direction.has_in(),
            outbound: direction.has_out(),
            dropped_only: false,
        };
        let wake = Box::new(move || {
            // One that waits already is enough.
            let _ = wake.try_send(());
        });
        let listener = Listener { selection, sample: 1, snaplen: SNAPLEN, capacity: CAPACITY, wake };
        let (tap, reader) = Tap::new(listener, Some(all_but_copies(erspan.collector)));
        let status = Arc::new(Status::default());
        let sender = Sender::new(place, erspan, Arc::clone(&status));
        thread::Builder::new().name("mirror".into()).spawn(move || run(sender, reader, &woken))?;
        Ok(Self { port, config: config.clone(), tap, status })
    }

    /// What the data path is to show the frames.
    pub const fn tap(&self) -> &Arc<Tap> {
        &self.tap
    }

    /// True where it does what is asked for.
    pub fn is_for(&self, port: PortIndex, config: &MirrorConfig) -> bool {
        (self.port, &self.config) == (port, config)
    }

    /// What became of the copies so far.
    pub fn status(&self) -> MirrorStatus {
        self.status.lock().clone()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tap.end();
    }
}

fn run(mut sender: Sender, mut reader: TapReader, woken: &mpsc::Receiver<()>) {
    while woken.recv().is_ok() {
        let ended = reader.is_ended();
        let selection = *reader.selection();
        sender.send(reader.take(), selection);
        sender.tell_lost(reader.lost());
        if ended {
            return;
        }
    }
}

/// Copies may pass the port that is mirrored on their way to the collector: copies of copies would follow, without end.
fn all_but_copies(collector: IpAddr) -> Filter {
    Box::new(move |frame| {
        let Ok(layers) = transport::locate(frame) else { return true };
        let packet = frame.get(layers.network..).unwrap_or_default();
        let destination = match layers.version {
            IpVersion::V4 => Ipv4View::parse(packet).ok().map(|ip| IpAddr::from(ip.dst())),
            IpVersion::V6 => Ipv6View::parse(packet).ok().map(|ip| IpAddr::from(ip.dst())),
        };
        layers.protocol != GRE || destination != Some(collector)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_on_their_way_to_the_collector_are_not_copied() {
        let packet = |protocol: u8, to: [u8; 4]| {
            let ip = [&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1][..], &to].concat();
            [&[2; 12][..], &[8, 0], &ip, &[0; 26]].concat()
        };
        let passes = all_but_copies("10.0.0.9".parse().unwrap());
        assert!(!passes(&packet(GRE, [10, 0, 0, 9])));
        assert!(passes(&packet(GRE, [10, 0, 0, 8])));
        assert!(passes(&packet(17, [10, 0, 0, 9])));
        assert!(passes(&[0; 60]));
    }
}
