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

    /// What the process did since then.
    pub fn since(&self, before: &Times) -> Work {
        let grown = self.0.iter().map(|(thread, (ran, waited))| {
            let (ran_before, waited_before) = before.0.get(thread).copied().unwrap_or_default();
            (ran.saturating_sub(ran_before), waited.saturating_sub(waited_before))
        });
        let all: Vec<_> = grown.collect();
        let (ran, waited) = all.iter().copied().max().unwrap_or_default();
        let others = all.iter().map(|(ran, _)| ran).sum::<u64>() - ran;
        let whole = (ran + waited).max(1) as f64;
        Work { waited: waited as f64 / whole, others: others as f64 / whole }
    }
}

/// Shares of the time in which the thread that ran most could have run: that is the one that switches.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// In which it had to wait for its CPU.
    pub waited: f64,
    /// In which other threads of the switch ran.
    pub others: f64,
}

impl Work {
    /// The share of time for which what is not measured kept the switch or the generator from its CPU.
    /// What the switch's other threads take, on either CPU, is a property of the switch.
    pub fn disturbed(self, generator_waited: f64) -> f64 {
        (self.waited + generator_waited - self.others).max(0.0)
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
        let after = times(&[("main", 1050, 2000), ("worker", 1000, 100), ("new", 50, 5)]);
        assert_eq!(after.since(&before), Work { waited: 0.1, others: 0.1 });
        assert_eq!(times(&[]).since(&before), Work::default());
    }

    #[test]
    fn a_switch_does_not_disturb_itself() {
        let work = Work { waited: 0.25, others: 0.5 };
        assert_eq!(work.disturbed(0.125), 0.0);
        assert_eq!(work.disturbed(0.5), 0.25);
    }

    #[test]
    fn this_process_has_run() {
        assert!(Times::of(std::process::id()).unwrap().0.values().any(|(ran, _)| *ran > 0));
        assert_eq!(parse("12 34 5\n"), Some((12, 34)));
        assert_eq!(parse(""), None);
    }
}
