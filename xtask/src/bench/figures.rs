//! What all benchmarks do with what they measured: medians, targets, and what it was measured on.

use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::process::Command;

/// The median; `None` without numbers.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let (low, high) = (numbers.get(numbers.len().saturating_sub(1) / 2)?, numbers.get(numbers.len() / 2)?);
    Some((low + high) / 2.0)
}

/// What this ran on, and when: numbers without these mean nothing.
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model =
        info.lines().find_map(|l| l.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("unknown CPU");
    let cpus = info.lines().filter(|l| l.starts_with("processor")).count();
    let date = lab::text(Command::new("date").arg("+%F")).unwrap_or_default();
    format!("{cpus} x {model}, Linux {}, {}", read("/proc/sys/kernel/osrelease").trim(), date.trim())
}

/// One target, and how near it was come.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub what: String,
    pub measured: String,
    pub target: String,
    pub met: bool,
}

/// Met at `target` and above.
pub fn at_least(what: String, value: f64, target: f64, unit: &str) -> Verdict {
    judge(what, value, (">=", target), unit, value >= target)
}

/// Met at `target` and below.
pub fn at_most(what: String, value: f64, target: f64, unit: &str) -> Verdict {
    judge(what, value, ("<=", target), unit, value <= target)
}

/// Met below `target`.
pub fn below(what: String, value: f64, target: f64, unit: &str) -> Verdict {
    judge(what, value, ("<", target), unit, value < target)
}

fn judge(what: String, value: f64, (sign, target): (&str, f64), unit: &str, met: bool) -> Verdict {
    Verdict { what, measured: format!("{value:.2} {unit}"), target: format!("{sign} {target} {unit}"), met }
}

/// A table for people; nothing if there is nothing to judge.
pub fn verdict_table(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    if !verdicts.is_empty() {
        text += "\ntarget                                        measured          to reach           \n";
    }
    for v in verdicts {
        let met = if v.met { "met" } else { "missed" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:45} {:17} {:18} {met}", v.what, v.measured, v.target);
    }
    text
}

/// The same for programs.
pub fn verdict_json(verdicts: &[Verdict]) -> Value {
    let one = |v: &Verdict| json!({"what": v.what, "measured": v.measured, "target": v.target, "met": v.met});
    verdicts.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_target_is_met_at_its_edge_unless_it_has_to_be_below() {
        let met = |judge: fn(String, f64, f64, &str) -> Verdict| judge(String::new(), 1.5, 1.5, "x").met;
        assert_eq!([met(at_least), met(at_most), met(below)], [true, true, false]);
    }

    #[test]
    fn verdicts_are_a_table() {
        let table = verdict_table(&[at_most("round trip".to_owned(), 9.0, 8.0, "µs")]);
        assert!(
            table.contains("round trip                                    9.00 µs           <= 8 µs"),
            "{table}"
        );
        assert!(table.ends_with("missed\n"), "{table}");
        assert_eq!(verdict_table(&[]), "");
    }
}
