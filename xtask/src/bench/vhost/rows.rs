//! What is measured: one row for each line of the table of targets.

use super::bed::Switch;
use super::policies::Policies;

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
    /// Source MACs of each sender.
    pub macs: u32,
    /// vNICs, in pairs.
    pub vnics: usize,
    /// Whether both of a pair send.
    pub both_ways: bool,
    /// Frames a second of each sender; `None` is as fast as it goes.
    pub rate: Option<u32>,
    /// Frames sent at a time.
    pub burst: u32,
    /// 5-tuples of each sender.
    pub flows: u32,
    /// Whether these are of TCP, or of UDP.
    pub tcp: bool,
    /// Whether each frame begins a flow, or belongs to one that is there.
    pub fresh: bool,
    /// Of each port.
    pub policies: Policies,
    /// Further ports of the switch, with the same policies and without traffic.
    pub bystanders: usize,
    /// Whether a rule of the first port is changed again and again.
    pub changes: bool,
}

/// Frames of 64 bytes in one direction, from one source, as fast as it goes.
pub const PLAIN: Row = Row {
    name: "",
    size: 64,
    packed: false,
    macs: 1,
    vnics: 2,
    both_ways: false,
    rate: None,
    burst: 32,
    flows: 1,
    tcp: false,
    fresh: false,
    policies: Policies::Default,
    bystanders: 0,
    changes: false,
};

/// Rows that are measured together, and what vmswitch has to reach in them.
#[derive(Debug)]
pub struct Suite {
    /// In the order in which they are measured and shown.
    pub rows: &'static [Row],
    /// Those that are measured unless others are asked for.
    pub switches: &'static [Switch],
    /// How many times the rate of a switch vmswitch has to reach in a row, in medians.
    pub against_peers: &'static [(&'static str, Switch, f64)],
    /// How many times its own rate of another row.
    pub against_itself: &'static [(&'static str, &'static str, f64)],
    /// Millions of frames a second.
    pub rates: &'static [(&'static str, f64)],
    /// A maximum bandwidth in Gbit/s, to be kept to within 2 %.
    pub maxima: &'static [(&'static str, f64)],
    /// The load beside which the time is measured that a change of one rule takes.
    pub change: Option<&'static Row>,
    /// Rows whose latency may be OVS's at most.
    pub latency: &'static [&'static str],
    /// Where loss may be VPP's at most, and what that was seen to be where VPP is not measured.
    pub loss: Option<(&'static str, f64)>,
}

/// `cargo xtask bench vhost`.
pub const VHOST: Suite = Suite {
    rows: ROWS,
    switches: &[Switch::Memcpy, Switch::Testpmd, Switch::Ovs, Switch::Vmswitch],
    against_peers: &[
        ("64-split", Switch::Ovs, 1.5),
        ("64-split", Switch::Testpmd, 1.0),
        ("64-packed", Switch::Ovs, 1.5),
        ("1518-split", Switch::Ovs, 1.6),
        ("1518-split", Switch::Testpmd, 1.2),
        ("1518-packed", Switch::Ovs, 1.6),
        ("1518-packed", Switch::Testpmd, 1.2),
        ("1024-macs", Switch::Ovs, 2.5),
        ("16384-macs", Switch::Ovs, 4.0),
        ("four-vnics", Switch::Ovs, 1.5),
        ("64k-split", Switch::Memcpy, 0.8),
        ("64k-packed", Switch::Memcpy, 0.8),
    ],
    against_itself: &[
        ("64-packed", "64-split", 1.0),
        ("1024-macs", "64-split", 0.85),
        ("16384-macs", "64-split", 0.6),
    ],
    rates: &[],
    maxima: &[],
    change: None,
    latency: &["latency", "latency-paced"],
    loss: Some(("four-vnics", 0.001)),
};

const ROWS: &[Row] = &[
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
    fn names_are_unique_and_targets_are_for_rows_that_there_are() {
        for suite in [&VHOST, &crate::bench::policies::SUITE] {
            let names: BTreeSet<_> = suite.rows.iter().map(|r| r.name).collect();
            assert_eq!(names.len(), suite.rows.len());
            assert!(!names.contains(""));
            let peers = suite.against_peers.iter().map(|(row, ..)| *row);
            let itself = suite.against_itself.iter().flat_map(|(row, other, _)| [*row, *other]);
            let rates = suite.rates.iter().chain(suite.maxima).map(|(row, _)| *row);
            let others = suite.latency.iter().copied().chain(suite.loss.map(|(row, _)| row));
            let unknown: Vec<_> =
                peers.chain(itself).chain(rates).chain(others).filter(|row| !names.contains(row)).collect();
            assert_eq!(unknown, Vec::<&str>::new());
        }
    }
}
