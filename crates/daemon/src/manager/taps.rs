//! Those who listen to the frames that pass.

use super::{
    Core,
    refuse::{no_port, no_switch},
};
use crate::{
    api::{Refused, RefusedKind},
    tap::{Tapped, Wanted},
};
use dataplane::tap::{Selection, Tap};
use std::sync::Arc;

/// Listeners at once, on all switches: what their queues may take of memory is bounded.
const MAX_LISTENERS: usize = 16;

impl Core {
    pub fn listen(&mut self, switch: &str, wanted: Wanted) -> Result<Tapped, Refused> {
        if self.live.values().map(|live| live.listeners()).sum::<usize>() >= MAX_LISTENERS {
            let detail =
                format!("{MAX_LISTENERS} captures and traces are running, the most at once: end one of them");
            return Err(Refused::new(RefusedKind::Conflict, detail));
        }
        let live = self.live.get_mut(switch).ok_or_else(|| no_switch(switch))?;
        let index = |port: &str| {
            let found = live.ports.iter().find(|(name, _)| name.as_str() == port);
            found.map(|(_, port)| port.index).ok_or_else(|| no_port(switch, port))
        };
        let port = wanted.port.as_ref().map(|port| index(port.as_str())).transpose()?;
        let (listener, woken) = wanted.listener(Selection { port, ..Selection::default() });
        let (tap, reader) = Tap::new(listener, wanted.filter);
        // Names first: whoever hears of a frame knows its ports.
        live.add_tap(Arc::clone(&tap));
        self.dataplane.listen(live.id, &tap)?;
        Ok(Tapped { reader, woken })
    }
}
