//! The queue between workers and one listener.

use super::record::{Lost, Note, Records, Selection};
use crate::sync::Mutex;
use engine::PortIndex;
use io::Batch;
use model::DropReason;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Says whether a frame is wanted; it is given all of its bytes, and is called by one worker at a time.
pub type Filter = Box<dyn Fn(&[u8]) -> bool + Send>;

/// What a listener wants.
pub struct Listener {
    /// Which ports and directions.
    pub selection: Selection,
    /// Of the frames that it wants, one of so many.
    pub sample: u64,
    /// As many bytes of each.
    pub snaplen: usize,
    /// The queue holds no more bytes.
    pub capacity: usize,
    /// Called by a worker when something is in the queue that was empty: has to be quick.
    pub wake: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("selection", &self.selection).finish_non_exhaustive()
    }
}

/// The workers' end of a listener's queue, and control's.
#[derive(Debug)]
pub struct Tap {
    listener: Listener,
    queue: Mutex<Queue>,
    closed: AtomicBool,
    ended: AtomicBool,
}

#[derive(Default)]
struct Queue {
    records: Records,
    lost: Lost,
    /// Which frames are wanted; `None` is all.
    filter: Option<Filter>,
    /// Frames that were wanted so far.
    wanted: u64,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// The listener's end; dropping it ends the listening.
#[derive(Debug)]
pub struct TapReader {
    tap: Arc<Tap>,
    records: Records,
    lost: Lost,
}

impl Tap {
    /// A queue for that listener, of the frames that pass `filter`: both ends of it.
    #[must_use]
    pub fn new(listener: Listener, filter: Option<Filter>) -> (Arc<Self>, TapReader) {
        let queue = Mutex::new(Queue { filter, ..Queue::default() });
        let tap =
            Arc::new(Self { listener, queue, closed: AtomicBool::default(), ended: AtomicBool::default() });
        let reader = TapReader { tap: Arc::clone(&tap), records: Records::default(), lost: Lost::default() };
        (tap, reader)
    }

    /// True once nobody listens any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Nothing comes any more: the switch is removed.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        (self.listener.wake)();
    }

    /// Tells the listener that the port of that number has this name from now on. Never lost: control says it when a port is
    /// made, before frames pass it.
    pub fn name(&self, port: PortIndex, name: Arc<str>) {
        self.put(|queue| queue.records.name(port, name));
    }

    /// Puts in what the listener wants of a batch: `notes` has one entry for each frame.
    pub(crate) fn put_batch<'n>(&self, batch: &Batch, notes: impl Iterator<Item = Note<'n>>) {
        self.put(|queue| {
            for (index, note) in (0..).zip(notes) {
                self.put_frame(queue, batch, index, note);
            }
        });
    }

    /// Puts in one frame, as a worker would.
    #[doc(hidden)]
    pub fn put_frame_of(
        &self,
        time_ns: u64,
        ingress: PortIndex,
        refused: Option<DropReason>,
        outcomes: &[super::Outcome],
        frame: &[u8],
    ) {
        let mut batch = Batch::default();
        batch.push_bytes(frame);
        let note = Note { time_ns, ingress, refused, outcomes };
        self.put_batch(&batch, std::iter::once(note));
    }

    fn put(&self, work: impl FnOnce(&mut Queue)) {
        let mut queue = self.queue.lock();
        let was_empty = queue.records.is_empty();
        work(&mut queue);
        let wakes = was_empty && !queue.records.is_empty();
        drop(queue);
        if wakes {
            (self.listener.wake)();
        }
    }

    fn put_frame(&self, queue: &mut Queue, batch: &Batch, index: u16, note: Note<'_>) {
        let Listener { selection, sample, snaplen, capacity, .. } = &self.listener;
        if !note.views().any(|view| selection.shows(&view)) || !queue.wants(batch, index) {
            return;
        }
        queue.wanted += 1;
        if *sample > 1 && !(queue.wanted - 1).is_multiple_of(*sample) {
            return;
        }
        let (len, start) = (batch.frame_len(index), queue.records.room().len());
        if queue.records.size() + len.min(*snaplen) > *capacity {
            return queue.lost.count(note, selection);
        }
        batch.copy_out(index, *snaplen, queue.records.room());
        queue.records.push(note, len, start);
    }
}

impl Queue {
    fn wants(&mut self, batch: &Batch, index: u16) -> bool {
        let Self { records, filter: Some(filter), .. } = self else { return true };
        if batch.is_whole(index) {
            return filter(batch.frame(index));
        }
        let room = records.room();
        let start = room.len();
        batch.copy_out(index, usize::MAX, room);
        let wants = filter(room.get(start..).unwrap_or_default());
        room.truncate(start);
        wants
    }
}

impl Lost {
    fn count(&mut self, note: Note<'_>, selection: &Selection) {
        self.frames += 1;
        for view in note.views().filter(|view| selection.shows(view)) {
            *self.views.entry(view.port.0).or_default() += 1;
        }
    }
}

impl TapReader {
    /// What came since the last call.
    pub fn take(&mut self) -> &Records {
        self.records.clear();
        let mut queue = self.tap.queue.lock();
        std::mem::swap(&mut queue.records, &mut self.records);
        if queue.lost.frames != self.lost.frames {
            self.lost.clone_from(&queue.lost);
        }
        drop(queue);
        &self.records
    }

    /// True where nothing comes any more. To be asked before the last [`take`](Self::take).
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.tap.ended.load(Ordering::Acquire)
    }

    /// What was taken last.
    #[must_use]
    pub const fn taken(&self) -> &Records {
        &self.records
    }

    /// Frames that were lost up to the last call of [`take`](Self::take), as nobody took them out of the queue in time.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost.frames
    }

    /// The same for each port that the listener would have seen them at, by its number.
    #[must_use]
    pub const fn lost_views(&self) -> &BTreeMap<u16, u64> {
        &self.lost.views
    }

    /// What is shown.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.tap.listener.selection
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        self.tap.closed.store(true, Ordering::Relaxed);
        // Workers let go of the rest when they have the next batch.
        self.tap.queue.lock().records = Records::default();
    }
}
