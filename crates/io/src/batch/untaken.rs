//! Which frames of a batch a port did not take.
//!
//! Ports count them, and that is enough for counters. Names are noted only while somebody watches what becomes of each frame.

use super::Batch;
use model::DropReason;
use std::cell::RefCell;

/// A frame that a port did not take, or not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untaken {
    /// Its number in the batch.
    pub frame: u16,
    /// Why; the first reason, where segments that it was cut into were not taken for several.
    pub reason: DropReason,
    /// True where it was cut into segments, of which others were taken.
    pub partly: bool,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    wanted: bool,
    noted: RefCell<Vec<Untaken>>,
}

impl Batch {
    /// Has frames that ports do not take be noted from now on, or no more. What was noted before is forgotten: its numbers are
    /// those of other frames.
    pub fn watch(&mut self, on: bool) {
        self.untaken.wanted = on;
        self.untaken.noted.get_mut().clear();
    }

    /// True while frames that ports do not take are noted.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.untaken.wanted
    }

    /// The port does not take these frames.
    #[inline]
    pub(crate) fn note_untaken(&self, frames: &[u16], reason: DropReason, partly: bool) {
        if self.is_watched() {
            self.put_untaken(frames, reason, partly);
        }
    }

    #[cold]
    fn put_untaken(&self, frames: &[u16], reason: DropReason, partly: bool) {
        let untaken = frames.iter().map(|&frame| Untaken { frame, reason, partly });
        self.untaken.noted.borrow_mut().extend(untaken);
    }

    /// Moves what was noted since the last call to `to`, in place of what was there.
    pub fn take_untaken(&self, to: &mut Vec<Untaken>) {
        to.clear();
        to.append(&mut self.untaken.noted.borrow_mut());
    }
}
