//! Whether the switch had its CPU for itself.

use anyhow::Result;
use std::collections::HashMap;
use std::fs;

/// Above this share of time, something else ran on a CPU, and a sample says more of that than of the switch.
pub const TOLERATED: f64 = 0.05;

/// Nanoseconds that the threads of a process ran and waited for a CPU, until now.
#[derive(Debug, Default)]
pub struct Times(HashMap<String, (u64, u64)>);

impl Times {
    /// Of process `pid`.
    pub fn of(pid: u32) -> Result<Times> {
        let mut times = HashMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            // A thread may have ended meanwhile.
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            times.extend(parse(&text).map(|t| (task.file_name().to_string_lossy().into_owned(), t)));
        }
        Ok(Times(times))
    }

    /// The share of time that the thread that ran most since then had to wait.
    pub fn waited_since(&self, before: &Times) -> f64 {
        let grown = self.0.iter().map(|(thread, (ran, waited))| {
            let (ran_before, waited_before) = before.0.get(thread).copied().unwrap_or_default();
            (ran - ran_before, waited - waited_before)
        });
        let (ran, waited) = grown.max().unwrap_or_default();
        waited as f64 / (ran + waited).max(1) as f64
    }
}

fn parse(schedstat: &str) -> Option<(u64, u64)> {
    let mut numbers = schedstat.split_whitespace().map_while(|n| n.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_thread_counts() {
        let times = |all: &[(&str, u64, u64)]| {
            Times(all.iter().map(|(name, ran, waited)| ((*name).to_owned(), (*ran, *waited))).collect())
        };
        let before = times(&[("main", 1000, 1000), ("worker", 100, 0)]);
        let after = times(&[("main", 1001, 2000), ("worker", 1000, 100), ("new", 5, 5)]);
        assert!((after.waited_since(&before) - 0.1).abs() < 1e-9);
        assert_eq!(times(&[]).waited_since(&before), 0.0);
    }

    #[test]
    fn this_process_has_run() {
        assert!(Times::of(std::process::id()).unwrap().0.values().any(|(ran, _)| *ran > 0));
        assert_eq!(parse("12 34 5\n"), Some((12, 34)));
        assert_eq!(parse(""), None);
    }
}
