//! The counters of a switch, all of them: what a test did not expect to move must not have moved.

use crate::daemon::Daemon;
use crate::run::wait_until;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Stands for the switch itself where a port's name would be.
pub const SWITCH: &str = "*";

/// Whoever answers `vmswitch --json`, wherever vmswitchd runs.
pub trait Answers {
    /// What `vmswitch --json ARGS` prints, parsed; it has to succeed.
    fn cli_json(&self, args: &[&str]) -> Result<Value>;
}

impl Answers for Daemon {
    fn cli_json(&self, args: &[&str]) -> Result<Value> {
        Daemon::cli_json(self, args)
    }
}

/// (port or [`SWITCH`], counter) → count; drops are named `drops.REASON`.
type Counts = BTreeMap<(String, String), u64>;

/// All counters of a switch and its ports at one moment of rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    switch: String,
    counts: Counts,
}

impl Snapshot {
    /// Waits until no counter moves for a while and frames are conserved, then takes the counters.
    pub fn take(daemon: &impl Answers, switch: &str) -> Result<Snapshot> {
        let mut last = Self::read(daemon, switch)?;
        wait_until("rest of all counters", Duration::from_secs(10), || {
            std::thread::sleep(Duration::from_millis(100));
            let now = Self::read(daemon, switch)?;
            let resting = now == last && now.is_conserved();
            last = now;
            Ok(resting)
        })
        .with_context(|| last.describe_conservation())?;
        Ok(last)
    }

    /// Takes the counters as they are, moving or not.
    pub fn read(daemon: &impl Answers, switch: &str) -> Result<Snapshot> {
        let shown = daemon.cli_json(&["stats", switch])?;
        let mut counts = Counts::new();
        add(&mut counts, SWITCH, &shown["stats"])?;
        for port in shown["ports"].as_array().with_context(|| format!("no ports in {shown}"))? {
            let name = port["name"].as_str().with_context(|| format!("{port} names no port"))?;
            add(&mut counts, name, &port["stats"])?;
        }
        Ok(Snapshot { switch: switch.to_owned(), counts })
    }

    /// One counter; 0 if there is none by that name.
    pub fn get(&self, port: &str, counter: &str) -> u64 {
        self.counts.get(&(port.to_owned(), counter.to_owned())).copied().unwrap_or(0)
    }

    /// Fails unless exactly these counters have moved by exactly this much since this snapshot was taken, and
    /// frames were conserved. Returns the snapshot afterwards.
    pub fn expect_delta(&self, daemon: &impl Answers, expected: &[(&str, &str, u64)]) -> Result<Snapshot> {
        let after = Self::take(daemon, &self.switch)?;
        compare(&self.moved_until(&after), expected)?;
        Ok(after)
    }

    /// The counters that have moved since this snapshot was taken, as (port or [`SWITCH`], counter, by how much).
    pub fn moved(&self, daemon: &impl Answers) -> Result<Vec<(String, String, u64)>> {
        let moved = self.moved_until(&Self::take(daemon, &self.switch)?).into_iter();
        moved.map(|((port, name), by)| Ok((port, name, u64::try_from(by)?))).collect()
    }

    /// By how much counters differ in `after`; those that do not are left out.
    fn moved_until(&self, after: &Snapshot) -> BTreeMap<(String, String), i128> {
        let keys = self.counts.keys().chain(after.counts.keys());
        let moved = keys.map(|key| (key.clone(), i128::from(after.of(key)) - i128::from(self.of(key))));
        moved.filter(|(_, by)| *by != 0).collect()
    }

    fn of(&self, key: &(String, String)) -> u64 {
        self.counts.get(key).copied().unwrap_or(0)
    }

    /// Frames in + copies + originated = frames out + Σ drops: over the ports, and in the switch's own sums.
    fn is_conserved(&self) -> bool {
        [true, false].into_iter().all(|ports| {
            let sum = |wanted: &str| self.sum(ports, wanted);
            sum("rx_frames") + self.get(SWITCH, "copies") + self.get(SWITCH, "originated")
                == sum("tx_frames") + sum("drops.")
        })
    }

    /// Sum of a counter (of a group of them, if the name ends in a dot) over the ports, or as the switch has it.
    fn sum(&self, ports: bool, wanted: &str) -> u64 {
        let counted = |name: &str| name == wanted || (wanted.ends_with('.') && name.starts_with(wanted));
        let chosen =
            self.counts.iter().filter(|((port, name), _)| (port != SWITCH) == ports && counted(name));
        chosen.map(|(_, count)| count).sum()
    }

    fn describe_conservation(&self) -> String {
        let line = |ports: bool, who: &str| {
            let (rx, tx, drops) =
                (self.sum(ports, "rx_frames"), self.sum(ports, "tx_frames"), self.sum(ports, "drops."));
            format!("{who}: {rx} in + {} copies, {tx} out + {drops} dropped", self.get(SWITCH, "copies"))
        };
        format!("{}\n{}\n{:#?}", line(true, "ports"), line(false, "switch"), self.counts)
    }
}

fn add(counts: &mut Counts, port: &str, stats: &Value) -> Result<()> {
    for (name, value) in stats.as_object().with_context(|| format!("{port} has no stats: {stats}"))? {
        let Some(group) = value.as_object() else {
            insert(counts, port, name.clone(), value)?;
            continue;
        };
        for (reason, value) in group {
            insert(counts, port, format!("{name}.{reason}"), value)?;
        }
    }
    Ok(())
}

fn insert(counts: &mut Counts, port: &str, name: String, value: &Value) -> Result<()> {
    let count = value.as_u64().with_context(|| format!("counter {port} {name} is {value}"))?;
    counts.insert((port.to_owned(), name), count);
    Ok(())
}

fn compare(moved: &BTreeMap<(String, String), i128>, expected: &[(&str, &str, u64)]) -> Result<()> {
    let expected: BTreeMap<_, _> = expected
        .iter()
        .filter(|(_, _, by)| *by != 0)
        .map(|(port, name, by)| (((*port).to_owned(), (*name).to_owned()), i128::from(*by)))
        .collect();
    if *moved == expected {
        return Ok(());
    }
    bail!("counters moved otherwise than expected\nmoved:\n{}expected:\n{}", table(moved), table(&expected));
}

fn table(rows: &BTreeMap<(String, String), i128>) -> String {
    rows.iter().fold(String::new(), |mut text, ((port, name), by)| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {port:12} {name:32} {by:+}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn snapshot(switch: Value, vm1: Value, vm2: Value) -> Snapshot {
        let mut counts = Counts::new();
        for (port, stats) in [(SWITCH, switch), ("vm1", vm1), ("vm2", vm2)] {
            add(&mut counts, port, &stats).unwrap();
        }
        Snapshot { switch: "lan".to_owned(), counts }
    }

    fn port(rx: u64, tx: u64, spoofed: u64) -> Value {
        json!({"rx_frames": rx, "tx_frames": tx, "drops": {"spoofed_mac": spoofed}})
    }

    fn switch(rx: u64, tx: u64, spoofed: u64, copies: u64) -> Value {
        json!({"rx_frames": rx, "tx_frames": tx, "copies": copies, "drops": {"spoofed_mac": spoofed}})
    }

    #[test]
    fn conservation_is_asked_of_ports_and_of_the_switch() {
        assert!(snapshot(switch(5, 4, 2, 1), port(5, 0, 2), port(0, 4, 0)).is_conserved());
        assert!(!snapshot(switch(5, 4, 2, 1), port(5, 0, 1), port(0, 4, 0)).is_conserved());
        assert!(!snapshot(switch(5, 4, 1, 1), port(5, 0, 2), port(0, 4, 0)).is_conserved());
    }

    #[test]
    fn a_counter_nobody_expected_fails_the_comparison() {
        let before = snapshot(switch(0, 0, 0, 0), port(0, 0, 0), port(0, 0, 0));
        let after = snapshot(switch(0, 0, 0, 0), port(2, 0, 1), port(0, 1, 0));
        let moved = before.moved_until(&after);
        let exact = [("vm1", "rx_frames", 2), ("vm1", "drops.spoofed_mac", 1), ("vm2", "tx_frames", 1)];
        compare(&moved, &exact).unwrap();
        let error = compare(&moved, &exact[..2]).unwrap_err().to_string();
        assert!(error.contains("vm2          tx_frames"), "{error}");
        let error =
            compare(&moved, &[&exact[..], &[("vm2", "rx_frames", 1)]].concat()).unwrap_err().to_string();
        assert!(error.contains("vm2          rx_frames"), "{error}");
    }
}
