//! When a port that could not be opened is tried again: at once where what it is attached to comes back, else after pauses that
//! grow.
//!
//! Only ports on interfaces that were there before have them. Opening one of these disturbs others: the NIC's driver, and the
//! host, whose addresses move.

use super::{Core, live::LivePort};
use crate::api::Refused;
use control::reconcile::Binding;
use model::{Attachment, Name};
use std::time::{Duration, Instant};

/// The pause after the first failure.
const FIRST: Duration = Duration::from_millis(250);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(30);

/// How opening a port went lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    failures: u32,
    not_before: Option<Instant>,
    /// What the port is attached to was not there when it was looked for last.
    away: bool,
}

impl Retry {
    pub const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Says how long the port is left alone.
    fn failed(&mut self, now: Instant) -> Duration {
        let pause = LONGEST.min(FIRST * 2_u32.saturating_pow(self.failures.min(16)));
        self.failures += 1;
        self.not_before = Some(now + pause);
        pause
    }

    fn is_due(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.away) {
            *self = Self::default();
        }
        self.not_before.is_none_or(|then| now >= then)
    }
}

impl Core {
    /// Opening the port has no chance until what it is attached to is back.
    pub fn note_away(&mut self, switch: &Name, port: &Name) {
        self.port(switch, port).into_iter().for_each(|port| port.retry.away = true);
    }

    /// True where the port may be tried now.
    pub fn is_due(&mut self, switch: &Name, port: &Name, now: Instant) -> bool {
        self.port(switch, port).is_ok_and(|port| port.retry.is_due(now))
    }

    /// Notes how opening a port went. Uplink and host vNIC are opened together.
    pub fn note_opened(&mut self, switch: &Name, port: &Name, opened: &Result<(), Refused>) {
        let binding = self.binding_of(switch, port);
        let Ok(live) = self.live(switch) else { return };
        let host = binding.as_ref().and_then(Binding::host_port).map(|host| &host.name);
        let uplink = binding.as_ref().map(|binding| &binding.uplink.name);
        let concerned = |name: &Name| name == port || Some(name) == host || Some(name) == uplink;
        for (_, found) in live.ports.iter_mut().filter(|(name, _)| concerned(name)) {
            match opened {
                Ok(()) => found.retry = Retry::default(),
                Err(error) if binding.is_some() || disturbs(found) => {
                    let pause = found.retry.failed(Instant::now());
                    if found.config.name == *port {
                        tracing::warn!(%switch, %port, %error, "the port cannot be opened; it is tried again in {pause:?}");
                    }
                }
                Err(_) => {}
            }
        }
    }
}

fn disturbs(port: &LivePort) -> bool {
    matches!(port.config.attach, Attachment::Uplink(_) | Attachment::Netdev(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (start, mut retry) = (Instant::now(), Retry::default());
        assert!(retry.is_due(start) && !retry.has_failed());
        let mut pauses = Vec::new();
        for _ in 0..10 {
            pauses.push(retry.failed(start).as_millis());
            assert!(!retry.is_due(start) && retry.is_due(start + LONGEST));
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn what_comes_back_is_tried_at_once() {
        let (start, mut retry) = (Instant::now(), Retry::default());
        assert_eq!((0..9).map(|_| retry.failed(start)).last(), Some(LONGEST));
        retry.away = true;
        assert!(retry.is_due(start));
        assert_eq!(retry, Retry::default());
    }
}
