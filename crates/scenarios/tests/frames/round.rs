//! Frames to send, and everything that has to come of them.

use lab::counters::SWITCH;
use std::collections::BTreeMap;

/// One round: frames that are sent one after another, the frames that arrive then, and nothing else.
#[derive(Debug, Default)]
pub struct Round {
    /// From which port's far end each frame is sent.
    pub sent: Vec<(String, Vec<u8>)>,
    /// What arrives at the far end of each port, in order.
    pub arrives: BTreeMap<String, Vec<Vec<u8>>>,
    counters: BTreeMap<(String, String), u64>,
}

impl Round {
    /// `from` sends this frame, which the switch receives.
    pub fn sends(mut self, from: &str, frame: &[u8]) -> Round {
        self.count(from, "rx_frames", 1);
        self.count(from, "rx_bytes", frame.len());
        self.sent.push((from.to_owned(), frame.to_owned()));
        self
    }

    /// The frame sent last arrives at these ports, byte for byte.
    pub fn reaches(self, ports: &[&str]) -> Round {
        let frame = self.sent.last().expect("a frame was sent").1.clone();
        self.reaches_as(&frame, ports)
    }

    /// The frame sent last arrives at these ports like this.
    pub fn reaches_as(mut self, frame: &[u8], ports: &[&str]) -> Round {
        for port in ports {
            self.count(port, "tx_frames", 1);
            self.count(port, "tx_bytes", frame.len());
            self.arrives.entry((*port).to_owned()).or_default().push(frame.to_owned());
        }
        self
    }

    /// The frame sent last, or the copy of it that was for `port`, is dropped.
    pub fn drops(mut self, port: &str, reason: &str) -> Round {
        self.count(port, &format!("drops.{reason}"), 1);
        self
    }

    /// The source of the frame sent last is not learned for want of room.
    pub fn not_learned(mut self, port: &str) -> Round {
        self.count(port, "not_learned", 1);
        self
    }

    fn count(&mut self, port: &str, counter: &str, by: usize) {
        *self.counters.entry((port.to_owned(), counter.to_owned())).or_default() += by as u64;
    }

    /// By how much each counter moves: those of the ports, and the switch's, which are their sums.
    pub fn counters(&self) -> Vec<(String, String, u64)> {
        let ports = self.counters.iter().map(|((port, name), by)| (port.clone(), name.clone(), *by));
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for ((_, name), by) in &self.counters {
            *sums.entry(name).or_default() += by;
        }
        // Frames in + copies = frames out + Σ drops.
        let sum = |wanted: &str| -> u64 {
            sums.iter().filter(|(name, _)| name.starts_with(wanted)).map(|(_, by)| by).sum()
        };
        let copies = sum("tx_frames") + sum("drops.") - sum("rx_frames");
        // What was not learned is told of ports only.
        let sums = sums.iter().filter(|(name, _)| **name != "not_learned");
        let switch = sums.map(|(name, by)| (SWITCH.to_owned(), (*name).to_owned(), *by));
        ports.chain(switch).chain([(SWITCH.to_owned(), "copies".to_owned(), copies)]).collect()
    }
}
