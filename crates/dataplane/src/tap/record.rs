//! Frames as a listener gets them: what came in, and what became of it at each port.

use engine::PortIndex;
use model::DropReason;
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// What became of a frame at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It passed.
    Passed,
    /// It was dropped here.
    Dropped(DropReason),
    /// It was cut into segments here, some of which were dropped.
    PartlyDropped(DropReason),
}

impl Fate {
    /// Why it, or a part of it, was dropped.
    #[must_use]
    pub const fn reason(self) -> Option<DropReason> {
        match self {
            Self::Passed => None,
            Self::Dropped(reason) | Self::PartlyDropped(reason) => Some(reason),
        }
    }
}

/// How a frame left, beside how it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As it came.
    #[default]
    AsItCame,
    /// Without customer tag (IEEE 802.1Q).
    Untagged,
    /// With a customer tag of this control information, in place of the one that it came with, if any.
    Tagged(u16),
}

/// What became of a frame at one of its destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The destination.
    pub port: PortIndex,
    /// What became of it there.
    pub fate: Fate,
    /// As what it left.
    pub form: Form,
}

/// Which way a frame passed a port, as the switch sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the switch.
    Inbound,
    /// Out of it.
    Outbound,
}

/// A frame at one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The port.
    pub port: PortIndex,
    /// Which way it passed there.
    pub direction: Direction,
    /// What became of it there.
    pub fate: Fate,
    /// As what it passed there.
    pub form: Form,
}

/// Which views of frames a listener is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Only those at this port.
    pub port: Option<PortIndex>,
    /// Those of frames that come into the switch.
    pub inbound: bool,
    /// Those of frames that leave it.
    pub outbound: bool,
    /// Only those of frames that are dropped there.
    pub dropped_only: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self { port: None, inbound: true, outbound: true, dropped_only: false }
    }
}

impl Selection {
    /// True where a listener is shown this.
    #[must_use]
    pub fn shows(&self, view: &View) -> bool {
        let direction = match view.direction {
            Direction::Inbound => self.inbound,
            Direction::Outbound => self.outbound,
        };
        direction
            && self.port.is_none_or(|port| port == view.port)
            && (!self.dropped_only || view.fate.reason().is_some())
    }
}

/// What is noted of a frame before its bytes are copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note<'a> {
    /// When its batch passed, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Where it came from; `None` where the switch itself sent it.
    pub ingress: Option<PortIndex>,
    /// Why it did not get any further than that.
    pub refused: Option<DropReason>,
    /// What became of it at each destination.
    pub outcomes: &'a [Outcome],
}

impl<'a> Note<'a> {
    /// The frame at each port that it came to.
    pub fn views(self) -> impl Iterator<Item = View> + 'a {
        let fate = self.refused.map_or(Fate::Passed, Fate::Dropped);
        let inbound =
            self.ingress.map(|port| View { port, direction: Direction::Inbound, fate, form: Form::AsItCame });
        let outbound = self.outcomes.iter().map(|outcome| View {
            port: outcome.port,
            direction: Direction::Outbound,
            fate: outcome.fate,
            form: outcome.form,
        });
        inbound.into_iter().chain(outbound)
    }
}

/// One frame that a listener is shown.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    note: Note<'a>,
    /// How long it was when it came in.
    pub len: usize,
    /// Its first bytes as they came in: as many as the listener asked for.
    pub bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// When its batch passed, in nanoseconds since 1970.
    #[must_use]
    pub const fn time_ns(&self) -> u64 {
        self.note.time_ns
    }

    /// Where it came from; `None` where the switch itself sent it.
    #[must_use]
    pub const fn ingress(&self) -> Option<PortIndex> {
        self.note.ingress
    }

    /// The frame at each port that it came to.
    pub fn views(&self) -> impl Iterator<Item = View> + 'a {
        self.note.views()
    }
}

/// What a listener takes out of its queue.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// From here on, the port of that number has this name.
    Named(PortIndex, &'a Arc<str>),
    /// A frame passed.
    Frame(Frame<'a>),
}

#[derive(Clone, Debug)]
enum Item {
    Named(PortIndex, Arc<str>),
    Frame {
        time_ns: u64,
        ingress: Option<PortIndex>,
        refused: Option<DropReason>,
        len: u32,
        outcomes: Range<u32>,
        bytes: Range<u32>,
    },
}

/// Frames in the order in which they were put in, and what was lost.
#[derive(Clone, Debug, Default)]
pub struct Records {
    items: Vec<Item>,
    outcomes: Vec<Outcome>,
    bytes: Vec<u8>,
}

/// What was lost to one listener, from the beginning on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// Frames.
    pub frames: u64,
    /// Views of them, by port.
    pub views: BTreeMap<u16, u64>,
}

impl Records {
    /// How much memory it takes, about.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.items.len() * size_of::<Item>() + self.outcomes.len() * size_of::<Outcome>() + self.bytes.len()
    }

    /// True where nothing is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Number of things in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.outcomes.clear();
        self.bytes.clear();
    }

    pub(super) fn name(&mut self, port: PortIndex, name: Arc<str>) {
        self.items.push(Item::Named(port, name));
    }

    /// Where the bytes of the next frame go: behind what is there.
    pub(super) const fn room(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes in a frame whose bytes are those from `start` on.
    pub(super) fn push(&mut self, note: Note<'_>, len: usize, start: usize) {
        let first = self.outcomes.len() as u32;
        self.outcomes.extend_from_slice(note.outcomes);
        self.items.push(Item::Frame {
            time_ns: note.time_ns,
            ingress: note.ingress,
            refused: note.refused,
            len: len as u32,
            outcomes: first..self.outcomes.len() as u32,
            bytes: start as u32..self.bytes.len() as u32,
        });
    }

    /// The thing of that number.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<Event<'_>> {
        Some(match self.items.get(at)? {
            Item::Named(port, name) => Event::Named(*port, name),
            Item::Frame { time_ns, ingress, refused, len, outcomes, bytes } => {
                let outcomes = self.outcomes.get(outcomes.start as usize..outcomes.end as usize)?;
                let note = Note { time_ns: *time_ns, ingress: *ingress, refused: *refused, outcomes };
                let bytes = self.bytes.get(bytes.start as usize..bytes.end as usize)?;
                Event::Frame(Frame { note, len: *len as usize, bytes })
            }
        })
    }

    /// All of it, in order.
    pub fn iter(&self) -> impl Iterator<Item = Event<'_>> {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}
