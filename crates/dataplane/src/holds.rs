//! The ports that are not looked at for a while, since they have sent as much as they may.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::Instant,
};

/// Their tokens, and until when.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    until: HashMap<u64, Instant>,
    /// The same in the order of time, and what was forgotten since.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Holds {
    pub fn add(&mut self, token: u64, until: Instant) {
        self.until.insert(token, until);
        self.due.push(Reverse((until, token)));
    }

    /// The port is another one by now, or none.
    pub fn forget(&mut self, token: u64) {
        self.until.remove(&token);
    }

    /// When the next one is due, at the earliest.
    pub fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((until, _))| *until)
    }

    /// Takes out one that is due.
    pub fn take_due(&mut self, now: Instant) -> Option<u64> {
        while self.next().is_some_and(|until| until <= now) {
            let Reverse((until, token)) = self.due.pop()?;
            if self.until.get(&token) == Some(&until) {
                self.until.remove(&token);
                return Some(token);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ports_are_due_in_the_order_of_time_and_those_forgotten_never() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut holds = Holds::default();
        for (token, seconds) in [(1, 3), (2, 1), (3, 2)] {
            holds.add(token, start + second * seconds);
        }
        assert_eq!((holds.next(), holds.take_due(start)), (Some(start + second), None));
        holds.forget(3);
        let due: Vec<_> = std::iter::from_fn(|| holds.take_due(start + second * 5)).collect();
        assert_eq!((due, holds.next()), (vec![2, 1], None));
    }

    #[test]
    fn a_port_that_is_held_anew_is_due_once() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut holds = Holds::default();
        holds.add(1, start + second);
        holds.forget(1);
        holds.add(1, start + second * 2);
        assert_eq!(holds.take_due(start + second), None);
        assert_eq!(holds.take_due(start + second * 2), Some(1));
        assert_eq!(holds.take_due(start + second * 3), None);
    }
}
