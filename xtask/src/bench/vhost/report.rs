//! The results beside the targets.

use super::Setting;
use super::bed::Switch;
use super::changes::Change;
use super::distance::Distance;
use super::generator::Figures;
use super::rows::{Row, Suite};
use super::tools::{Flaw, Sample};
use crate::bench::figures::{Verdict, at_least, at_most, below, median, verdict_json, verdict_table};
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Until when a change of a rule has to be live.
const LIVE_MS: f64 = 5.0;

/// Everything that was measured.
#[derive(Debug)]
pub struct Report {
    suite: &'static Suite,
    setting: Setting,
    machine: String,
    /// By name of the row.
    samples: BTreeMap<(Distance, Switch, &'static str), Vec<Sample>>,
    /// Those that cannot be compared.
    left_out: Vec<(Switch, Flaw, Sample)>,
    changes: Vec<Change>,
    pub failures: Vec<String>,
}

/// Medians of samples, or sums where frames are wrong.
#[derive(Debug, Clone, Copy)]
struct Summary {
    mpps: f64,
    best: f64,
    gbps: f64,
    loss: f64,
    p50: f64,
    p99: f64,
    idle: f64,
    ceiling: f64,
    kernel: f64,
    wrong: u64,
    verified: u64,
}

impl Summary {
    fn of(samples: &[Sample]) -> Option<Summary> {
        let of = |pick: fn(&Figures) -> f64| median(samples.iter().map(|s| pick(&s.figures)).collect());
        Some(Summary {
            mpps: of(|f| f.rx_mpps)?,
            best: samples.iter().map(|s| s.figures.rx_mpps).fold(0.0, f64::max),
            gbps: of(|f| f.rx_gbps)?,
            loss: of(|f| f.loss)?,
            p50: of(|f| f.p50_us)?,
            p99: of(|f| f.p99_us)?,
            idle: of(|f| f.idle)?,
            ceiling: of(|f| f.ceiling_mpps)?,
            kernel: of(|f| f.kernel)?,
            wrong: samples.iter().map(|s| s.figures.wrong()).sum(),
            verified: samples.iter().map(|s| s.figures.verified).sum(),
        })
    }
}

/// A line of the table.
struct Line<'a> {
    row: &'a Row,
    distance: Distance,
    switch: Switch,
    samples: &'a [Sample],
    summary: Summary,
    /// vmswitch's rate, in this switch's.
    ours: Option<f64>,
}

impl Report {
    /// Without samples.
    pub fn new(suite: &'static Suite, setting: Setting, machine: String) -> Report {
        let (samples, left_out, changes, failures) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
        Report { suite, setting, machine, samples, left_out, changes, failures }
    }

    /// Keeps what changes of a rule took.
    pub fn keep_changes(&mut self, outcome: Result<Vec<Change>>) {
        match outcome {
            Ok(changes) => {
                eprintln!("change        {}", changes_text(&changes));
                self.changes.extend(changes);
            }
            Err(error) => {
                eprintln!("change        {error:#}");
                self.failures.push(format!("change: {}", error.root_cause()));
            }
        }
    }

    /// Keeps a sample, and says so; false if it is left out. A failure is kept for the end, so that the others are not
    /// lost.
    pub fn keep(&mut self, row: &'static Row, switch: Switch, outcome: Result<Sample>) -> bool {
        let what = format!("{:13} {:8}", row.name, switch.name());
        match outcome {
            Ok(sample) => {
                eprintln!("{what} {}", describe(&sample));
                let distance = sample.distance();
                match distance {
                    Ok(near) => self.samples.entry((near, switch, row.name)).or_default().push(sample),
                    Err(flaw) => self.left_out.push((switch, flaw, sample)),
                }
                distance.is_ok()
            }
            Err(error) => {
                eprintln!("{what} {error:#}");
                // What was printed meanwhile is not said twice.
                self.failures.push(format!("{} {}: {}", row.name, switch.name(), error.root_cause()));
                true
            }
        }
    }

    fn summary(&self, distance: Distance, switch: Switch, row: &'static str) -> Option<Summary> {
        Summary::of(self.samples.get(&(distance, switch, row))?)
    }

    /// In the order of the rows.
    fn lines(&self) -> Vec<Line<'_>> {
        let of_row = |row: &'static Row| {
            self.samples.iter().filter(|((_, _, name), _)| *name == row.name).filter_map(
                move |((distance, switch, _), samples)| {
                    let (distance, switch, summary) = (*distance, *switch, Summary::of(samples)?);
                    let ours = self.summary(distance, Switch::Vmswitch, row.name);
                    let ours = ours.map(|ours| ours.mpps / summary.mpps);
                    Some(Line { row, distance, switch, samples, summary, ours })
                },
            )
        };
        self.suite.rows.iter().flat_map(of_row).collect()
    }

    /// Tables for people.
    pub fn tables(&self) -> String {
        let Setting { switch_cpu, generator_cpu, seconds, .. } = self.setting;
        let mut text = format!(
            "{}\nswitch on CPU {switch_cpu}, generator on CPU {generator_cpu}, samples of {seconds} s, medians\n",
            self.machine
        );
        text += "\nrow            CPUs  switch    rounds     Mpps     best  Gbit/s  vmswitch is     loss   p50 µs   \
                 p99 µs  gen idle  kicks  ceiling  wrong\n";
        let lines = self.lines();
        let mut last = None;
        for line in &lines {
            // A row and a distance are a block.
            let block = Some((line.row.name, line.distance));
            text += if last.is_some() && last != block { "\n" } else { "" };
            last = block;
            text += &line.text();
        }
        for (flaw, reason) in [(Flaw::Moved, "the CPUs moved"), (Flaw::Busy, "the CPUs had other work")] {
            let samples = self.left_out.iter().filter(|(_, f, _)| *f == flaw).count();
            if samples > 0 {
                let _ = writeln!(text, "\nsamples left out: {samples}, for {reason}");
            }
        }
        if !self.changes.is_empty() {
            let _ = writeln!(text, "\nchanges of one rule: {}", changes_text(&self.changes));
        }
        text + &verdict_table(&self.verdicts())
    }

    /// One JSON document for programs.
    pub fn json(&self) -> Value {
        let Setting { switch_cpu, generator_cpu, seconds, verify, .. } = self.setting;
        let rows: Vec<_> = self.lines().iter().map(Line::json).collect();
        json!({
            "machine": self.machine, "switch_cpu": switch_cpu, "generator_cpu": generator_cpu, "seconds": seconds,
            "verify_seconds": verify, "rows": rows, "left_out": self.left_out.len(),
            "changes_live_ms": self.changes.iter().map(|c| c.live).collect::<Vec<_>>(),
            "changes_held_ms": self.changes.iter().map(|c| c.held).collect::<Vec<_>>(),
            "changes_answered_ms": self.changes.iter().map(|c| c.answered).collect::<Vec<_>>(),
            "targets": verdict_json(&self.verdicts()), "failures": self.failures,
        })
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let of_distance = |d| {
            let speed = self.suite.against_peers.iter().filter_map(move |t| self.against_peer(d, t));
            let own = self.suite.against_itself.iter().filter_map(move |t| self.against_itself(d, t));
            let rates = self.suite.rates.iter().filter_map(move |t| self.rate(d, t));
            let latency = self.suite.latency.iter().filter_map(move |row| self.latency(d, row)).flatten();
            let maxima = self.suite.maxima.iter().filter_map(move |t| self.maximum(d, t));
            speed.chain(own).chain(rates).chain(maxima).chain(latency).chain(self.loss(d)).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = [Distance::Near, Distance::Far].into_iter().flat_map(of_distance).collect();
        all.extend(self.change().into_iter().flatten());
        all.extend(self.wrong());
        all
    }

    fn against_peer(
        &self,
        d: Distance,
        &(row, peer, target): &(&'static str, Switch, f64),
    ) -> Option<Verdict> {
        let (ours, theirs) = (self.summary(d, Switch::Vmswitch, row)?, self.summary(d, peer, row)?);
        Some(at_least(format!("{row}, {d}"), ours.mpps / theirs.mpps, target, &format!("x {}", peer.name())))
    }

    fn against_itself(
        &self,
        d: Distance,
        &(row, other, target): &(&'static str, &'static str, f64),
    ) -> Option<Verdict> {
        let of = |row| self.summary(d, Switch::Vmswitch, row);
        Some(at_least(format!("{row}, {d}"), of(row)?.mpps / of(other)?.mpps, target, &format!("x {other}")))
    }

    fn rate(&self, d: Distance, &(row, target): &(&'static str, f64)) -> Option<Verdict> {
        let ours = self.summary(d, Switch::Vmswitch, row)?;
        Some(at_least(format!("{row}, {d}"), ours.mpps, target, "Mpps"))
    }

    fn maximum(&self, d: Distance, &(row, maximum): &(&'static str, f64)) -> Option<Verdict> {
        let off = (self.summary(d, Switch::Vmswitch, row)?.gbps / maximum - 1.0).abs();
        Some(at_most(format!("{row} off {maximum} Gbit/s, {d}"), off * 100.0, 2.0, "%"))
    }

    fn change(&self) -> Option<[Verdict; 2]> {
        let live: Vec<_> = self.changes.iter().map(|change| change.live).collect();
        let unhindered = self.changes.iter().map(|change| change.live - change.held);
        let slowest = unhindered.max_by(f64::total_cmp)?;
        let judge =
            |which: &str, ms| below(format!("a rule among 1,000 ports is live, {which}"), ms, LIVE_MS, "ms");
        Some([judge("median", median(live)?), judge("slowest, CPU not held up", slowest)])
    }

    fn latency(&self, d: Distance, row: &'static str) -> Option<[Verdict; 2]> {
        let (ours, ovs) = (self.summary(d, Switch::Vmswitch, row)?, self.summary(d, Switch::Ovs, row)?);
        let judge = |what: &str, ratio| at_most(format!("{row} {what}, {d}"), ratio, 1.0, "x ovs");
        Some([judge("p50", ours.p50 / ovs.p50), judge("p99", ours.p99 / ovs.p99)])
    }

    fn loss(&self, d: Distance) -> Option<Verdict> {
        let (row, seen) = self.suite.loss?;
        let ours = self.summary(d, Switch::Vmswitch, row)?;
        let target = self.summary(d, Switch::Vpp, row).map_or(seen, |vpp| vpp.loss);
        Some(at_most(format!("{row} loss, {d}"), ours.loss * 100.0, target * 100.0, "%"))
    }

    /// In all samples of vmswitch, those that were left out, too.
    fn wrong(&self) -> Option<Verdict> {
        let kept = self.samples.iter().filter(|((_, s, _), _)| *s == Switch::Vmswitch).flat_map(|(_, s)| s);
        let others = self.left_out.iter().filter(|(s, ..)| *s == Switch::Vmswitch).map(|(.., sample)| sample);
        let all = Summary::of(&kept.chain(others).cloned().collect::<Vec<_>>())?;
        Some(Verdict {
            what: "wrong frames, all bytes checked".to_owned(),
            measured: format!("{} of {:.1} M", all.wrong, all.verified as f64 / 1e6),
            target: "0".to_owned(),
            met: all.wrong == 0,
        })
    }
}

impl Line<'_> {
    fn text(&self) -> String {
        let (row, s) = (self.row, &self.summary);
        let ours = match self.ours {
            Some(ratio) if self.switch != Switch::Vmswitch => format!("{ratio:.2} x"),
            _ => String::new(),
        };
        // Without a rate to keep, latency is that of full rings and says nothing.
        let us = |value: f64| if row.is_paced() { format!("{value:.1}") } else { String::new() };
        let (p50, p99, loss) = (us(s.p50), us(s.p99), format!("{:.3} %", s.loss * 100.0));
        let ceiling = if s.ceiling > 0.0 { format!("{:.2}", s.ceiling) } else { String::new() };
        let (name, switch, rounds) = (row.name, self.switch.name(), self.samples.len());
        format!(
            "{name:14} {:5} {switch:9} {rounds:>6} {:>8.3} {:>8.3} {:>7.1} {ours:>12} {loss:>8} {p50:>8} {p99:>8} \
             {:>7.0} % {:>4.0} % {ceiling:>8} {:>6}\n",
            self.distance,
            s.mpps,
            s.best,
            s.gbps,
            s.idle * 100.0,
            s.kernel * 100.0,
            s.wrong
        )
    }

    fn json(&self) -> Value {
        let s = &self.summary;
        let all = |pick: fn(&Sample) -> f64| self.samples.iter().map(pick).collect::<Vec<_>>();
        let sum = |pick: fn(&Figures) -> u64| self.samples.iter().map(|s| pick(&s.figures)).sum::<u64>();
        json!({
            "row": self.row.name, "cpus": self.distance.to_string(), "switch": self.switch.name(),
            "rounds": self.samples.len(), "median_mpps": s.mpps, "best_mpps": s.best, "median_gbps": s.gbps,
            "vmswitch_ratio": self.ours, "loss": s.loss, "p50_us": s.p50, "p99_us": s.p99,
            "generator_idle": s.idle, "generator_ceiling_mpps": s.ceiling, "generator_kicks": s.kernel,
            "verified": s.verified,
            "corrupt": sum(|f| f.corrupt), "misdelivered": sum(|f| f.misdelivered),
            "reordered": sum(|f| f.reordered), "duplicated": sum(|f| f.duplicated), "foreign": sum(|f| f.foreign),
            "mpps": all(|s| s.figures.rx_mpps), "c2c_ns": all(|s| s.c2c_ns.iter().sum::<f64>() / 2.0),
        })
    }
}

fn changes_text(changes: &[Change]) -> String {
    let of = |pick: fn(&Change) -> f64| {
        let all: Vec<_> = changes.iter().map(pick).collect();
        let slowest = all.iter().copied().fold(0.0, f64::max);
        format!("{:.2} ms, the slowest {slowest:.2}", median(all).unwrap_or_default())
    };
    let (live, answered) = (of(|change| change.live), of(|change| change.answered));
    let slowest = changes.iter().max_by(|a, b| f64::total_cmp(&a.live, &b.live));
    let held = slowest.map_or(0.0, |change| change.held);
    let count = changes.len();
    format!(
        "live after {live} (CPU held up for {held:.2} of it); answered after {answered} (median of {count})"
    )
}

fn describe(sample: &Sample) -> String {
    let f = &sample.figures;
    let [before, after] = sample.c2c_ns;
    let note = match sample.distance() {
        Ok(_) => "",
        Err(Flaw::Moved) => ", left out: the CPUs moved",
        Err(Flaw::Busy) => ", left out: the CPUs had other work",
    };
    let kinds = [
        (f.corrupt, "CORRUPT"),
        (f.misdelivered, "MISDELIVERED"),
        (f.reordered, "REORDERED"),
        (f.duplicated, "DUPLICATED"),
        (f.foreign, "FOREIGN"),
    ];
    let found = kinds.into_iter().filter(|(frames, _)| *frames > 0);
    let wrong: String = found.map(|(frames, kind)| format!(", {frames} {kind}")).collect();
    format!(
        "{:7.3} Mpps, {:6.1} Gbit/s, {:.3} % lost, {:6.1} and {:6.1} µs, generator {:3.0} % idle, \
         {:3.0} % kicks, c2c {before:.0} and {after:.0} ns{note}{wrong}",
        f.rx_mpps,
        f.rx_gbps,
        f.loss * 100.0,
        f.p50_us,
        f.p99_us,
        f.idle * 100.0,
        f.kernel * 100.0
    )
}

#[cfg(test)]
mod tests;
