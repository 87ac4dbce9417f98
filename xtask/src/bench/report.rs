//! The results beside the targets.

use super::figures::{Verdict, at_least, at_most, below, machine, verdict_json, verdict_table};
use super::peers::Peer;
use super::ports::{Churn, Held, Idle};
use super::traffic::{Sample, Topology};
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Resident memory may differ by this much between two rounds without anything having leaked, in MB.
const MEMORY_NOISE_MB: f64 = 2.0;

/// Everything that was measured.
#[derive(Debug, Default)]
pub struct Report {
    pub samples: BTreeMap<(Topology, Peer), Vec<Sample>>,
    pub idle: Option<Idle>,
    pub churn: Option<Churn>,
    pub failures: Vec<String>,
}

impl Report {
    /// The value of a measurement; a failure is kept for the end, so that the others are not lost.
    pub fn keep<T>(&mut self, what: &str, outcome: Result<T>) -> Option<T> {
        outcome
            .inspect_err(|error| {
                eprintln!("{what}: {error:#}");
                self.failures.push(format!("{what}: {error:#}"));
            })
            .ok()
    }

    fn median(&self, topology: Topology, peer: Peer) -> Option<Sample> {
        Sample::median(self.samples.get(&(topology, peer))?)
    }

    /// Tables for people.
    pub fn tables(&self) -> String {
        let mut text = machine() + "\n\n";
        text += "path     switch    rounds  TCP Gbit/s    back  CPU s/GB  round trip µs\n";
        for ((topology, peer), samples) in &self.samples {
            if let Some(m) = Sample::median(samples) {
                let (path, name, rounds) = (topology.name(), peer.name(), samples.len());
                let numbers = format!("{:>10.2} {:>7.2} {:>9.2} {:>14.1}", m.tcp, m.tcp_back, m.cpu, m.rtt);
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{path:8} {name:9} {rounds:>6}  {numbers}");
            }
        }
        text += &verdict_table(&self.verdicts());
        text
    }

    /// One JSON document for programs.
    pub fn json(&self, seconds: u32) -> Value {
        let rows: Vec<_> = self.samples.iter().filter_map(|((t, p), s)| row(*t, *p, s)).collect();
        json!({
            "machine": machine(), "seconds": seconds, "rows": rows,
            "targets": verdict_json(&self.verdicts()),
            "idle": self.idle.map(|i| json!({"cpu_percent": i.cpu_percent, "resident_mb": i.resident_mb})),
            "churn": self.churn.map(|c| json!({
                "seconds": c.seconds, "before": held(&c.before), "first": held(&c.first), "second": held(&c.second),
            })),
            "failures": self.failures,
        })
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let mut all = Vec::new();
        for topology in [Topology::VmVm, Topology::VmWire] {
            let Some(ours) = self.median(topology, Peer::Vmswitch) else { continue };
            let against = |peer, judge: fn(&str, &Sample, &Sample) -> Vec<Verdict>| {
                self.median(topology, peer)
                    .map(|theirs| judge(topology.name(), &ours, &theirs))
                    .unwrap_or_default()
            };
            all.extend(against(Peer::Bridge, against_bridge));
            all.extend(against(Peer::Ovs, against_ovs));
        }
        all.extend(self.idle.iter().flat_map(judge_idle));
        all.extend(self.churn.iter().flat_map(judge_churn));
        all
    }
}

fn against_bridge(path: &str, ours: &Sample, bridge: &Sample) -> Vec<Verdict> {
    vec![
        at_least(format!("TCP {path}"), ours.tcp / bridge.tcp, 0.8, "x bridge"),
        at_least(format!("TCP {path}, back"), ours.tcp_back / bridge.tcp_back, 0.8, "x bridge"),
        at_most(format!("round trip {path}, above bridge"), ours.rtt - bridge.rtt, 45.0, "µs"),
        at_most(format!("CPU seconds per GB {path}"), ours.cpu / bridge.cpu, 1.5, "x bridge"),
    ]
}

fn against_ovs(path: &str, ours: &Sample, ovs: &Sample) -> Vec<Verdict> {
    vec![
        at_least(format!("TCP {path}"), ours.tcp / ovs.tcp, 8.0, "x OVS"),
        at_least(format!("TCP {path}, back"), ours.tcp_back / ovs.tcp_back, 8.0, "x OVS"),
        at_most(format!("round trip {path}"), ours.rtt / ovs.rtt, 0.6, "x OVS"),
    ]
}

fn judge_idle(idle: &Idle) -> Vec<Verdict> {
    vec![
        below("idle, 100 ports: CPU of one core".to_owned(), idle.cpu_percent, 1.0, "%"),
        below("idle, 100 ports: resident".to_owned(), idle.resident_mb, 60.0, "MB"),
    ]
}

fn judge_churn(churn: &Churn) -> Vec<Verdict> {
    let stays = |what: &str, from: usize, to: usize| Verdict {
        what: format!("500 ports: {what}"),
        measured: format!("{from} -> {to}"),
        target: "the same".to_owned(),
        met: from == to,
    };
    let (first, second) = (churn.first.resident_mb, churn.second.resident_mb);
    vec![
        below("500 ports added and removed".to_owned(), churn.seconds, 10.0, "s"),
        stays("descriptors", churn.before.descriptors, churn.second.descriptors),
        stays("interfaces", churn.before.interfaces, churn.second.interfaces),
        at_most(
            "500 ports: memory added by a second round".to_owned(),
            second - first,
            MEMORY_NOISE_MB,
            "MB",
        ),
    ]
}

fn held(held: &Held) -> Value {
    json!({"descriptors": held.descriptors, "interfaces": held.interfaces, "resident_mb": held.resident_mb})
}

fn row(topology: Topology, peer: Peer, samples: &[Sample]) -> Option<Value> {
    let m = Sample::median(samples)?;
    Some(json!({
        "topology": topology.name(), "switch": peer.name(), "rounds": samples.len(), "tcp_gbps": m.tcp,
        "tcp_back_gbps": m.tcp_back, "cpu_s_per_gb": m.cpu, "rtt_us": m.rtt,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let sample = |tcp, rtt| vec![Sample { tcp, tcp_back: tcp, cpu: 1.0, rtt }];
        let samples = BTreeMap::from([
            ((Topology::VmVm, Peer::Bridge), sample(10.0, 20.0)),
            ((Topology::VmVm, Peer::Ovs), sample(1.0, 100.0)),
            ((Topology::VmVm, Peer::Vmswitch), sample(7.9, 65.0)),
        ]);
        Report { samples, ..Report::default() }
    }

    fn met(report: &Report) -> Vec<(String, String, bool)> {
        report.verdicts().into_iter().map(|v| (v.what, v.measured, v.met)).collect()
    }

    #[test]
    fn speeds_are_judged_against_both_peers() {
        let row = |what: &str, measured: &str, met| (what.to_owned(), measured.to_owned(), met);
        let expected = [
            row("TCP vm-vm", "0.79 x bridge", false),
            row("TCP vm-vm, back", "0.79 x bridge", false),
            row("round trip vm-vm, above bridge", "45.00 µs", true),
            row("CPU seconds per GB vm-vm", "1.00 x bridge", true),
            row("TCP vm-vm", "7.90 x OVS", false),
            row("TCP vm-vm, back", "7.90 x OVS", false),
            row("round trip vm-vm", "0.65 x OVS", false),
        ];
        assert_eq!(met(&report()), expected);
    }

    #[test]
    fn a_leak_is_missed_and_what_the_allocator_keeps_is_not() {
        let held = |descriptors, resident_mb| Held { descriptors, interfaces: 3, resident_mb };
        let mut churn =
            Churn { seconds: 9.0, before: held(9, 10.0), first: held(9, 30.0), second: held(9, 31.0) };
        assert!(judge_churn(&churn).iter().all(|v| v.met));
        churn.second = held(10, 50.0);
        let missed: Vec<_> = judge_churn(&churn).into_iter().filter(|v| !v.met).map(|v| v.measured).collect();
        assert_eq!(missed, ["9 -> 10", "20.00 MB"]);
    }

    #[test]
    fn a_failed_measurement_is_kept_for_the_end() {
        let mut report = report();
        assert_eq!(report.keep::<u8>("idle", Err(anyhow::anyhow!("no daemon"))), None);
        assert_eq!(report.json(3)["failures"], json!(["idle: no daemon"]));
        assert!(report.tables().contains("vm-vm    vmswitch       1        7.90"), "{}", report.tables());
    }
}
