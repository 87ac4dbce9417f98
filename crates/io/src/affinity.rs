//! Which CPUs a thread runs on.

use rustix::thread::{CpuSet, sched_setaffinity};
use std::io;

/// Keeps the calling thread on one CPU.
///
/// # Errors
/// There is no such CPU, or this process may not use it.
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::sched_getaffinity;

    #[test]
    fn a_pinned_thread_stays_on_its_cpu() {
        let allowed = sched_getaffinity(None).unwrap();
        let cpu = (0..CpuSet::MAX_CPU).rfind(|&cpu| allowed.is_set(cpu)).unwrap();
        pin_current_thread(cpu).unwrap();
        let now = sched_getaffinity(None).unwrap();
        assert!(now.count() == 1 && now.is_set(cpu));
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused() {
        assert!(pin_current_thread(CpuSet::MAX_CPU).is_err());
        assert!(pin_current_thread(CpuSet::MAX_CPU - 1).is_err());
    }
}
