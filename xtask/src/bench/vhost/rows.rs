//! What is measured: one row for each line of the table of targets.

/// Frames that are as large as TCP gives them to a vNIC with TSO.
const SEGMENT: u32 = 65_536;

/// One kind of load.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// As in `--only`.
    pub name: &'static str,
    /// Bytes of a frame with FCS; of a segment without.
    pub size: u32,
    /// Packed rings, or split ones.
    pub packed: bool,
    /// Source MACs of each sender. With one, the guard is on; with more, it has to be off.
    pub macs: u32,
    /// vNICs, in pairs.
    pub vnics: usize,
    /// Whether both of a pair send.
    pub both_ways: bool,
    /// Frames a second of each sender; `None` is as fast as it goes.
    pub rate: Option<u32>,
    /// Frames sent at a time.
    pub burst: u32,
}

const PLAIN: Row =
    Row { name: "", size: 64, packed: false, macs: 1, vnics: 2, both_ways: false, rate: None, burst: 32 };

/// All rows, in the order in which they are measured and shown.
pub const ROWS: &[Row] = &[
    Row { name: "64-split", ..PLAIN },
    Row { name: "64-packed", packed: true, ..PLAIN },
    Row { name: "1518-split", size: 1518, ..PLAIN },
    Row { name: "1518-packed", size: 1518, packed: true, ..PLAIN },
    Row { name: "1024-macs", macs: 1024, ..PLAIN },
    Row { name: "16384-macs", macs: 16_384, ..PLAIN },
    Row { name: "four-vnics", vnics: 4, both_ways: true, ..PLAIN },
    Row { name: "latency", rate: Some(1_000_000), ..PLAIN },
    // One by one, as traffic that nobody gathered comes; above, the last of a burst waits for the others.
    Row { name: "latency-paced", rate: Some(1_000_000), burst: 1, ..PLAIN },
    Row { name: "64k-split", size: SEGMENT, burst: 8, ..PLAIN },
    Row { name: "64k-packed", size: SEGMENT, packed: true, burst: 8, ..PLAIN },
];

impl Row {
    /// Whether its frames are TCP segments.
    pub fn is_segments(&self) -> bool {
        self.size == SEGMENT
    }

    /// Whether its rate is given and its latency is what is measured.
    pub fn is_paced(&self) -> bool {
        self.rate.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = ROWS.iter().map(|r| r.name).collect();
        assert_eq!(names.len(), ROWS.len());
        assert!(!names.contains(""));
    }
}
