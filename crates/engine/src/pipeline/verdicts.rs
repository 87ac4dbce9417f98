//! The verdicts on a batch, by frame and by run.

use super::{Lately, READ_AHEAD, Run, RunBuffer, Unheard, Verdict, lists::Together};
use crate::{Passage, PortIndex};
use alloc::vec::Vec;
use core::{iter, ops::Deref};

/// The verdicts on a batch, and room to work them out. Who decides has one for itself.
#[derive(Debug)]
pub struct Verdicts {
    pub(super) verdicts: Vec<Verdict>,
    /// How many frames that follow each other have the same one. To find that out from the verdicts took 15 instructions a
    /// frame.
    pub(super) lens: Vec<u32>,
    pub(super) runs: RunBuffer,
    pub(super) lately: Lately,
    pub(super) lists: Vec<PortIndex>,
    pub(super) together: Together,
    pub(super) unheard: Vec<Unheard>,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self {
            verdicts: Vec::with_capacity(READ_AHEAD),
            lens: Vec::with_capacity(READ_AHEAD),
            runs: [Run::EMPTY; _],
            lately: Lately::default(),
            lists: Vec::new(),
            together: Together::default(),
            unheard: Vec::new(),
        }
    }
}

impl Verdicts {
    /// The verdicts in order, each with how many frames that follow each other get it. The next may be the same.
    pub fn by_run(&self) -> impl Iterator<Item = (Verdict, u32)> + '_ {
        let mut rest = &self.verdicts[..];
        self.lens.iter().filter_map(move |len| {
            let verdict = *rest.first()?;
            rest = rest.get(*len as usize..).unwrap_or_default();
            Some((verdict, *len))
        })
    }

    /// By which flow each frame passed the lists of the port it came in on; fewer, or none, where no flows were asked.
    #[must_use]
    pub fn passages(&self) -> &[Passage] {
        &self.together.passages
    }

    pub(super) fn clear(&mut self) {
        self.together.passages.clear();
        self.verdicts.clear();
        self.lens.clear();
        self.unheard.clear();
    }

    #[inline]
    pub(super) fn push(&mut self, verdict: Verdict, frames: u32) {
        match (self.verdicts.last(), self.lens.last_mut()) {
            (Some(last), Some(len)) if *last == verdict => *len += frames,
            _ => self.lens.push(frames),
        }
        self.verdicts.extend(iter::repeat_n(verdict, frames as usize));
    }
}

impl Deref for Verdicts {
    type Target = [Verdict];

    fn deref(&self) -> &[Verdict] {
        &self.verdicts
    }
}
