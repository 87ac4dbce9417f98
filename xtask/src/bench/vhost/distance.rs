//! How far apart the two CPUs are at this moment.

use std::fmt;

/// Two threads of a core are below this, two cores above, in nanoseconds one way.
const NEAR_BELOW_NS: f64 = 100.0;

/// What can be compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    Near,
    Far,
}

impl Distance {
    /// From the latencies before and after a sample; `None` if the CPUs moved meanwhile.
    pub fn of(before_ns: f64, after_ns: f64) -> Option<Distance> {
        match (before_ns < NEAR_BELOW_NS, after_ns < NEAR_BELOW_NS) {
            (true, true) => Some(Distance::Near),
            (false, false) => Some(Distance::Far),
            _ => None,
        }
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Distance::Near => "near",
            Distance::Far => "far",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_that_moved_are_neither() {
        let all = [(40.0, 99.9), (100.0, 120.0), (40.0, 120.0), (120.0, 40.0)];
        let expected = [Some(Distance::Near), Some(Distance::Far), None, None];
        assert_eq!(all.map(|(before, after)| Distance::of(before, after)), expected);
    }
}
