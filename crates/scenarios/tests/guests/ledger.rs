//! What passes each vNIC, captured there, to be held against the switch's counters.

use crate::checksums;
use anyhow::{Context, Result};
use lab::counters::SWITCH;
use lab::{Capture, Captured, Daemon, Namespace, Snapshot};

/// Captures at the vNICs of a switch, and its counters before.
pub struct Ledger {
    before: Snapshot,
    pages: Vec<Page>,
}

/// The capture of one port's vNIC. What leaves there is what the switch receives.
struct Page {
    port: &'static str,
    capture: Capture,
}

impl Ledger {
    /// Begins to capture at each (port, namespace, interface). For an uplink it is the interface at the cable's end.
    pub fn open(daemon: &Daemon, switch: &str, vnics: &[(&'static str, &Namespace, &str)]) -> Result<Ledger> {
        let page = |(port, namespace, interface): &(&'static str, &Namespace, &str)| {
            Ok(Page { port, capture: Capture::start(namespace, interface)? })
        };
        let pages = vnics.iter().map(page).collect::<Result<_>>()?;
        Ok(Ledger { before: Snapshot::take(daemon, switch)?, pages })
    }

    /// Frames that came in at a vNIC so far.
    pub fn received(&self, port: &str) -> Vec<Captured> {
        let pages = self.pages.iter().filter(|page| page.port == port);
        pages.flat_map(|page| page.capture.frames()).filter(|frame| !frame.outgoing).collect()
    }

    /// Frames that a vNIC sent so far.
    pub fn sent(&self, port: &str) -> Vec<Captured> {
        let pages = self.pages.iter().filter(|page| page.port == port);
        pages.flat_map(|page| page.capture.frames()).filter(|frame| frame.outgoing).collect()
    }

    /// Fails unless the counters moved by exactly what was captured, nothing dropped.
    pub fn balance(&self, daemon: &Daemon, switch: &str) -> Result<()> {
        // A kernel may ask whether its neighbours are still there, just between what is captured and what is counted.
        let mut compared = self.compare(daemon, switch);
        for _ in 0..5 {
            compared = compared.or_else(|_| self.compare(daemon, switch));
        }
        compared
    }

    fn compare(&self, daemon: &Daemon, switch: &str) -> Result<()> {
        // At rest first: only then has everything been captured, too.
        Snapshot::take(daemon, switch)?;
        let (mut rows, mut sums) = (Vec::new(), [0; 4]);
        for Page { port, .. } in &self.pages {
            let (sent, received) = (self.sent(port), self.received(port));
            let counts = [sent.len() as u64, bytes(&sent), received.len() as u64, bytes(&received)];
            rows.extend(NAMES.iter().zip(counts).map(|(name, count)| (*port, *name, count)));
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        rows.extend(NAMES.iter().zip(sums).map(|(name, sum)| (SWITCH, *name, sum)));
        rows.push((SWITCH, "copies", sums[2] - sums[0]));
        self.before.expect_delta(daemon, &rows).map(drop)
    }
}

const NAMES: [&str; 4] = ["rx_frames", "rx_bytes", "tx_frames", "tx_bytes"];

fn bytes(frames: &[Captured]) -> u64 {
    frames.iter().map(|frame| frame.bytes.len() as u64).sum()
}

/// Fails unless every frame is as a wire would carry it: its checksums are there and right.
pub fn assert_finished(frames: &[Captured]) -> Result<()> {
    for (number, frame) in frames.iter().enumerate() {
        assert!(
            !frame.checksum_missing,
            "frame {number} of {} lacks its checksum: {frame:02x?}",
            frames.len()
        );
        checksums::check(&frame.bytes).with_context(|| format!("frame {number}: {:02x?}", frame.bytes))?;
    }
    Ok(())
}
