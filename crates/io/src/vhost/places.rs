//! Where the rings of a port stand, noted in a file that outlives us: after a SIGKILL the next process goes on there.
//!
//! A VMM whose back end died cannot tell where a packed ring was left, and no VMM knows which frames were passed on already
//! that its guest was not given back yet. So each ring notes, with one store each: how far it has taken, that it is about
//! to show chains as used, and that it has. The file is mapped; what was stored before the end is in it.
//!
//! A note is of one ring only: same place, same size. Whether its guest has set the ring up anew since, with all parts
//! zeroed as the specification wants, is to be seen in the ring itself, and is its format's to tell (`packed`, `split`).
//!
//! Each ring has two notes and a number that says which of them counts, so that a ring that is started anew has its old
//! note until the new one is complete.

use super::{
    memory::Mapping,
    ring::{Direction, RingConfig},
};
use rustix::fs::{Mode, OFlags, ftruncate, open};
use std::{
    io,
    os::fd::AsFd,
    path::Path,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Numbers of a note: four of the ring, and how far it is. A cache line.
const NOTE: usize = 8;
const LEFT: usize = 4;
/// Numbers of a ring: which note counts, in a line of its own, and two notes.
const RING: usize = 3 * NOTE;
/// Of the notes' layout.
const VERSION: u64 = 1;

/// The file, mapped.
#[derive(Debug)]
pub(super) struct Places {
    mapping: Mapping,
    rings: usize,
}

/// The place of one ring.
#[derive(Clone, Debug)]
pub struct Place {
    places: Arc<Places>,
    ring: usize,
    /// Where the front end believes it to be.
    pub(super) told: u16,
}

/// How far a ring is, in the numbers of its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Where the front end believes it to be: what it told at the start, or was told at the end.
    pub told: u16,
    /// What is shown as used.
    pub used: u16,
    /// What is about to be; the same where nothing is.
    pub to: u16,
    /// What was taken.
    pub taken: u16,
}

impl Left {
    fn bits(self) -> u64 {
        [self.told, self.used, self.to, self.taken]
            .into_iter()
            .fold(0, |bits, part| bits << 16 | u64::from(part))
    }

    fn from_bits(bits: u64) -> Self {
        let [told, used, to, taken] = [48, 32, 16, 0].map(|shift| (bits >> shift) as u16);
        Self { told, used, to, taken }
    }
}

impl Places {
    /// Opens the file, which is made where it is not there.
    pub fn open(path: &Path, rings: usize) -> io::Result<Arc<Self>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = open(path, flags, Mode::RUSR | Mode::WUSR)?;
        let size = (rings * RING * size_of::<u64>()) as u64;
        ftruncate(&file, size)?;
        Ok(Arc::new(Self { mapping: Mapping::new(file.as_fd(), 0, size)?, rings }))
    }

    /// The place of ring `ring`, where there is one.
    pub fn ring(self: &Arc<Self>, ring: usize, told: u16) -> Option<Place> {
        (ring < self.rings).then(|| Place { places: Arc::clone(self), ring, told })
    }
}

impl Place {
    fn number(&self, at: usize) -> NonNull<u64> {
        // SAFETY: the mapping has `RING` numbers for each ring, and `ring` and `at` are less than there are.
        unsafe { self.places.mapping.start().cast::<u64>().add(self.ring * RING + at) }
    }

    fn cell(&self, at: usize) -> &AtomicU64 {
        // SAFETY: the number is mapped as long as `places` is, and aligned, as the mapping begins a page.
        unsafe { AtomicU64::from_ptr(self.number(at).as_ptr()) }
    }

    /// Where the note begins that counts, or the other one.
    fn note(&self, counts: bool) -> usize {
        let current = self.cell(0).load(Ordering::Acquire).is_multiple_of(2);
        if current == counts { NOTE } else { 2 * NOTE }
    }

    /// What was noted last, where it was of this ring.
    pub(super) fn left(&self, config: &RingConfig) -> Option<Left> {
        let note = self.note(true);
        let is_it =
            (note..).zip(identity(config)).all(|(at, word)| self.cell(at).load(Ordering::Relaxed) == word);
        is_it.then(|| Left::from_bits(self.cell(note + LEFT).load(Ordering::Relaxed)))
    }

    /// Begins to note of this ring.
    pub(super) fn begin(&self, config: &RingConfig, left: Left) -> Notes {
        let note = self.note(false);
        for (at, word) in (note..).zip(identity(config)) {
            self.cell(at).store(word, Ordering::Relaxed);
        }
        self.cell(note + LEFT).store(left.bits(), Ordering::Relaxed);
        // Release: the note is complete before it counts.
        self.cell(0).fetch_add(1, Ordering::Release);
        Notes { at: self.number(note + LEFT), told: left.told, _places: Arc::clone(&self.places) }
    }
}

/// What has to be the same for a note to be of the ring.
fn identity(config: &RingConfig) -> [u64; 4] {
    let writable = u64::from(config.direction == Direction::Writable);
    let kind = VERSION << 32 | u64::from(config.is_packed()) << 17 | writable << 16 | u64::from(config.size);
    [config.descriptors, config.driver, config.device, kind]
}

/// Where a running ring notes how far it is.
#[derive(Debug)]
pub(super) struct Notes {
    at: NonNull<u64>,
    told: u16,
    _places: Arc<Places>,
}

// SAFETY: an address in a mapping that is kept, which is reached by atomics.
unsafe impl Send for Notes {}

impl Notes {
    /// Notes it: after what was written to memory before, and before what is written with release ordering afterwards.
    #[inline]
    pub fn set(&self, used: u16, to: u16, taken: u16) {
        // SAFETY: `Place::begin` gave the address of an aligned number in the mapping, which is kept.
        let cell = unsafe { AtomicU64::from_ptr(self.at.as_ptr()) };
        cell.store(Left { told: self.told, used, to, taken }.bits(), Ordering::Release);
    }
}
