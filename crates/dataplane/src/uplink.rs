//! An uplink that its switch's ports share by their minimum bandwidths.

use crate::{limiter::nanos_since, sync::Mutex};
use engine::{Nanos, PortIndex, Role, Share, Snapshot, Uplink};
use io::Batch;
use std::{sync::Arc, time::Instant};
use wire::segment;

/// Preamble, start of frame, checksum and the gap between two frames (IEEE 802.3, 3.1.1 and 4.4.2).
const AROUND_A_FRAME: u64 = 24;

/// The uplink of a switch, for all workers.
#[derive(Debug)]
pub(crate) struct SharedUplink {
    begun: Instant,
    port: PortIndex,
    uplink: Mutex<Uplink>,
}

impl SharedUplink {
    /// Makes `former` what the snapshot says; nothing where no port has a minimum, or there is no uplink.
    pub(crate) fn follow(former: Option<Arc<Self>>, snapshot: &Snapshot) -> Option<Arc<Self>> {
        let shares = snapshot.sharing()?;
        let policies = || {
            let indices = (0..snapshot.port_slots() as u16).map(PortIndex);
            indices.filter_map(|index| Some((index, snapshot.policy(index)?)))
        };
        let (port, _) = policies().find(|(_, policy)| policy.role == Role::Uplink)?;
        let shared = former.filter(|former| former.port == port).unwrap_or_else(|| {
            let begun = Instant::now();
            Arc::new(Self { begun, port, uplink: Mutex::new(Uplink::new(shares, Nanos(0))) })
        });
        let vnics = policies().filter(|(_, policy)| policy.role == Role::Vnic);
        let weights = vnics.map(|(index, policy)| (index, policy.limits.minimum));
        shared.uplink.lock().follow(shares, weights, nanos_since(shared.begun, Instant::now()));
        Some(shared)
    }

    /// Its port.
    pub(crate) const fn port(&self) -> PortIndex {
        self.port
    }

    pub(crate) fn share(&self, port: PortIndex, now: Instant) -> Share {
        self.uplink.lock().share(port, nanos_since(self.begun, now))
    }

    pub(crate) fn was_read(&self, port: PortIndex, waits: bool) {
        self.uplink.lock().was_read(port, waits);
    }

    /// `port` had the uplink be given so many bytes in so many frames, of which it refused some.
    pub(crate) fn carried(&self, port: PortIndex, (bytes, frames): (u64, u64), refused: u64, now: Instant) {
        let refused = bytes / frames.max(1) * refused;
        self.uplink.lock().carried(port, bytes, refused, nanos_since(self.begun, now));
    }
}

/// The bytes that frames take on the cable, those of a segmented one with the headers of each segment.
pub(crate) fn cable_bytes(batch: &Batch, frames: &[u16]) -> u64 {
    frames.iter().map(|&frame| cable_bytes_of(batch, frame)).sum()
}

fn cable_bytes_of(batch: &Batch, frame: u16) -> u64 {
    let len = batch.frame_len(frame) as u64;
    let vnet = batch.vnet(frame);
    let largest = segment::largest_segment_len(batch.head(frame), batch.frame_len(frame), &vnet) as u64;
    if batch.is_plain(frame) || largest >= len {
        return len + AROUND_A_FRAME;
    }
    let payload = u64::from(vnet.gso_size).max(1);
    let headers = largest.saturating_sub(payload);
    let segments = len.saturating_sub(headers).div_ceil(payload);
    len + headers * segments.saturating_sub(1) + AROUND_A_FRAME * segments
}
