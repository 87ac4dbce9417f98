//! A capture as pcapng: an interface for each port, a packet for each port that a frame came to.
//!
//! Wherever the stream is cut between two blocks it is a whole file, and the last statistics of an interface say what was lost
//! up to there.

use super::{form::in_form, pcapng, stream::Format};
use dataplane::tap::{Direction, Event, Fate, Frame, Selection, TapReader, View};
use engine::PortIndex;
use model::{CaptureRequest, Name};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use wire::vlan;

/// Who writes.
const APPLICATION: &str = concat!("vmswitch ", env!("CARGO_PKG_VERSION"));
/// What a snaplen of all bytes is in a file.
const ALL: u32 = 262_144;

/// The format of a capture.
#[derive(Debug)]
pub struct Capture {
    switch: Name,
    snaplen: u32,
    filter: Option<String>,
    selection: Selection,
    /// The name of the only port, where there is just one.
    only: Option<Arc<str>>,
    /// By the number of their block.
    interfaces: Vec<Interface>,
    /// Which interface a port is, by the number that the port has now.
    of_port: BTreeMap<u16, u32>,
}

#[derive(Debug)]
struct Interface {
    name: String,
    port: PortIndex,
    packets: u64,
    /// What was lost before it was the port of that number.
    lost_before: u64,
    lost: u64,
    /// Its last statistics say so much; none were written yet.
    told: Option<u64>,
}

impl Capture {
    /// Of the ports of a switch, or of one of them, as `selection` says.
    pub fn new(switch: Name, selection: Selection, asked: CaptureRequest) -> Self {
        Self {
            switch,
            snaplen: asked.snaplen.unwrap_or(ALL),
            filter: asked.filter,
            selection,
            only: None,
            interfaces: Vec::new(),
            of_port: BTreeMap::new(),
        }
    }

    /// False where the only port is gone, and another one has its number.
    fn name(&mut self, port: PortIndex, name: &Arc<str>, out: &mut Vec<u8>) -> bool {
        match self.selection.port {
            Some(only) if only != port => return true,
            Some(_) if self.only.get_or_insert_with(|| Arc::clone(name)) != name => return false,
            _ => {}
        }
        let lost_before = self.of_port.get(&port.0).and_then(|at| self.interfaces.get(*at as usize));
        let lost_before = lost_before.map_or(0, |former| former.lost_before + former.lost);
        let name = format!("{}/{name}", self.switch);
        pcapng::interface(out, &name, self.snaplen, self.filter.as_deref());
        self.of_port.insert(port.0, self.interfaces.len() as u32);
        self.interfaces.push(Interface { name, port, packets: 0, lost_before, lost: 0, told: None });
        true
    }

    fn packet(&mut self, frame: &Frame<'_>, view: &View, out: &mut Vec<u8>) {
        let Some(&interface) = self.of_port.get(&view.port.0) else { return };
        let Some(found) = self.interfaces.get_mut(interface as usize) else { return };
        found.packets += 1;
        let comment = comment(view.fate, &found.name);
        let mut tag = [0; vlan::TAG_LEN];
        let mut parts = in_form(frame.bytes, view.form, &mut tag);
        let captured: usize = parts.iter().map(|part| part.len()).sum();
        let len = frame.len + captured - frame.bytes.len();
        let too_long = captured.saturating_sub(self.snaplen as usize);
        parts[2] = &parts[2][..parts[2].len().saturating_sub(too_long)];
        let inbound = view.direction == Direction::Inbound;
        let (time_ns, comment) = (frame.time_ns(), comment.as_deref());
        pcapng::packet(out, &pcapng::Packet { interface, time_ns, parts, len, inbound, comment });
    }
}

impl Format for Capture {
    fn begin(&mut self, out: &mut Vec<u8>) {
        pcapng::section(out, APPLICATION);
    }

    fn tell(&mut self, event: &Event<'_>, out: &mut Vec<u8>) -> bool {
        match event {
            Event::Named(port, name) => return self.name(*port, name, out),
            Event::Frame(frame) => {
                let selection = self.selection;
                let shown = frame.views().filter(|view| selection.shows(view));
                shown.for_each(|view| self.packet(frame, &view, out));
            }
        }
        true
    }

    fn lost(&mut self, reader: &TapReader, out: &mut Vec<u8>) {
        let now = now_ns();
        let current =
            |interface: &(u32, &mut Interface)| self.of_port.get(&interface.1.port.0) == Some(&interface.0);
        for (number, interface) in (0..).zip(&mut self.interfaces).filter(current) {
            let lost = reader.lost_views().get(&interface.port.0).copied().unwrap_or_default();
            let lost = lost.saturating_sub(interface.lost_before);
            if interface.told != Some(lost) {
                interface.told = Some(lost);
                pcapng::statistics(out, number, now, interface.packets + lost, lost);
            }
        }
    }
}

fn comment(fate: Fate, place: &str) -> Option<String> {
    match fate {
        Fate::Passed => None,
        Fate::Dropped(reason) => Some(format!("dropped: {} at {place}", reason.as_str())),
        Fate::PartlyDropped(reason) => {
            Some(format!("dropped, some of its segments: {} at {place}", reason.as_str()))
        }
    }
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_is_told_with_its_reason_and_place() {
        let told = comment(Fate::Dropped(model::DropReason::SpoofedMac), "lan/vm1");
        assert_eq!(told.as_deref(), Some("dropped: spoofed_mac at lan/vm1"));
        let told = comment(Fate::PartlyDropped(model::DropReason::ReceiverFull), "lan/vm1");
        assert_eq!(told.as_deref(), Some("dropped, some of its segments: receiver_full at lan/vm1"));
        assert_eq!(comment(Fate::Passed, "lan/vm1"), None);
    }
}
