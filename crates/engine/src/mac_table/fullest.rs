//! Which port holds most learned entries: a tournament over the ports' counts.
//!
//! The winner is asked for at each learn of a full table, which a guest can cause with each frame; scanning up to 4096
//! counts would make that its lever. Here a change of one count replays the matches on the way to the root, and stops where the
//! outcome stays the same.

use crate::PortIndex;
use alloc::{vec, vec::Vec};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Contender {
    count: u32,
    port: PortIndex,
}

impl Contender {
    /// More entries win; of equals, the lower number.
    fn against(self, other: Self) -> Self {
        let wins = (self.count, other.port) >= (other.count, self.port);
        if wins { self } else { other }
    }
}

/// The tournament: node 1 is the root, node i plays out nodes 2i and 2i + 1, the second half are the ports.
#[derive(Clone, Debug)]
pub(super) struct Fullest(Vec<Contender>);

impl Fullest {
    /// A tournament of ports 0 to `ports` - 1, which hold nothing.
    pub(super) fn new(ports: usize) -> Self {
        let leaves = ports.max(1).next_power_of_two();
        let mut nodes = vec![Contender { count: 0, port: PortIndex(0) }; 2 * leaves];
        (0..=u16::MAX).zip(&mut nodes[leaves..]).for_each(|(port, node)| node.port = PortIndex(port));
        (1..leaves).rev().for_each(|i| nodes[i] = nodes[2 * i].against(nodes[2 * i + 1]));
        Self(nodes)
    }

    /// Notes that `port` now holds `count` entries.
    pub(super) fn set(&mut self, port: PortIndex, count: u32) {
        let nodes = &mut self.0;
        let mut node = nodes.len() / 2 + usize::from(port.0);
        nodes[node].count = count;
        while node > 1 {
            let winner = nodes[node].against(nodes[node ^ 1]);
            node /= 2;
            if nodes[node] == winner {
                break;
            }
            nodes[node] = winner;
        }
    }

    /// The port that holds most entries, if any port holds one.
    pub(super) fn port(&self) -> Option<PortIndex> {
        Some(self.0[1]).filter(|winner| winner.count > 0).map(|winner| winner.port)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::{collection::vec, prelude::*};

    proptest! {
        #[test]
        fn the_winner_is_who_a_scan_would_find(ports in 1..20usize, sets in vec((0..20u16, 0..4u32), 0..100)) {
            let mut fullest = Fullest::new(ports);
            let mut counts = vec![0; ports];
            for (port, count) in sets.into_iter().filter(|(port, _)| usize::from(*port) < ports) {
                fullest.set(PortIndex(port), count);
                counts[usize::from(port)] = count;
                let most = counts.iter().max().filter(|most| **most > 0);
                let first = most.and_then(|most| counts.iter().position(|count| count == most));
                prop_assert_eq!(fullest.port().map(|port| usize::from(port.0)), first);
            }
        }
    }
}
