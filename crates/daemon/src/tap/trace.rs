//! A trace as lines of JSON: one for each frame.

use super::{stream::Format, summary};
use dataplane::tap::{Direction, Event, Fate, Frame, Selection, TapReader, View};
use engine::PortIndex;
use model::{Name, TraceLine, TracedDrop, TracedFrame};
use std::{collections::BTreeMap, sync::Arc};

/// As much of a frame is looked at.
pub const BYTES: usize = 128;

/// The format of a trace.
#[derive(Debug, Default)]
pub struct Trace {
    /// The only port that is asked about, where there is just one.
    only: Option<PortIndex>,
    names: BTreeMap<u16, Name>,
    missed: u64,
}

impl Trace {
    /// Of what the reader is given.
    pub fn new(selection: &Selection) -> Self {
        Self { only: selection.port, ..Self::default() }
    }

    fn frame(&self, frame: &Frame<'_>) -> TracedFrame {
        let summary = summary::of(frame.bytes);
        let mut traced = TracedFrame {
            time_ns: frame.time_ns(),
            port: frame.ingress().and_then(|port| self.name(port)),
            source: summary.source,
            destination: summary.destination,
            vlans: summary.vlans,
            carries: summary.carries,
            length: frame.len as u32,
            leaves: Vec::new(),
            drops: Vec::new(),
        };
        frame.views().for_each(|view| self.add(&view, &mut traced));
        traced
    }

    fn add(&self, view: &View, traced: &mut TracedFrame) {
        let Some(port) = self.name(view.port) else { return };
        match view.fate {
            Fate::Passed if view.direction == Direction::Inbound => {}
            Fate::Passed => traced.leaves.push(port),
            Fate::Dropped(reason) => traced.drops.push(TracedDrop { port, reason, partly: false }),
            Fate::PartlyDropped(reason) => traced.drops.push(TracedDrop { port, reason, partly: true }),
        }
    }

    fn name(&self, port: PortIndex) -> Option<Name> {
        self.names.get(&port.0).cloned()
    }
}

impl Format for Trace {
    fn begin(&mut self, _: &mut Vec<u8>) {}

    fn tell(&mut self, event: &Event<'_>, out: &mut Vec<u8>) -> bool {
        match event {
            Event::Named(port, name) => return self.rename(*port, name),
            Event::Frame(frame) => line(out, &TraceLine::Frame(self.frame(frame))),
        }
        true
    }

    fn lost(&mut self, reader: &TapReader, out: &mut Vec<u8>) {
        let missed = reader.lost() - self.missed;
        if missed > 0 {
            self.missed = reader.lost();
            line(out, &TraceLine::Missed { missed });
        }
    }
}

impl Trace {
    /// False where the only port is gone, and another one has its number: that one's frames are somebody else's.
    fn rename(&mut self, port: PortIndex, name: &Arc<str>) -> bool {
        let Ok(name) = name.parse::<Name>() else { return true };
        let former = self.names.insert(port.0, name.clone());
        self.only != Some(port) || former.is_none_or(|former| former == name)
    }
}

fn line(out: &mut Vec<u8>, line: &TraceLine) {
    // A line holds names, numbers and addresses only: it always has a JSON form.
    let _ = serde_json::to_writer(&mut *out, line);
    out.push(b'\n');
}
