//! Which frame of the batch is another one with another VLAN tag.

use crate::tap::Form;
use engine::Retag;
use io::{BATCH_FRAMES, Batch};

/// As many forms as a frame may have beside the one that it came in.
const MOST: usize = 4;

/// The forms of the batch's frames that were made, so that each is made once, however many destinations get it.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    /// By frame, each with its number; empty while no frame of the batch has any.
    made: Vec<[Option<(Retag, u16)>; MOST]>,
}

impl Forms {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.made.clear();
    }

    /// The number of `frame` in that form. `None` where it cannot have it, which no frame that has addresses is short of.
    pub fn of(&mut self, batch: &mut Batch, frame: u16, form: Retag) -> Option<u16> {
        let tci = match form {
            Retag::Keep => return Some(frame),
            Retag::Untagged => None,
            Retag::Tagged(tci) => Some(tci),
        };
        if self.made.is_empty() {
            self.made.resize(BATCH_FRAMES, [None; MOST]);
        }
        let forms = &mut self.made[usize::from(frame)];
        if let Some((_, made)) = forms.iter().flatten().find(|(made, _)| *made == form) {
            return Some(*made);
        }
        let made = batch.retag(frame, tci)?;
        let free = forms.iter_mut().find(|form| form.is_none());
        if let Some(place) = free {
            *place = Some((form, made));
        }
        Some(made)
    }

    /// Which frame that is a form of, and which form.
    pub fn origin(&self, batch: &Batch, index: u16) -> (u16, Form) {
        if usize::from(index) < batch.len() {
            return (index, Form::AsItCame);
        }
        let made = |frame: u16, forms: &[Option<(Retag, u16)>; MOST]| {
            let found = forms.iter().flatten().find(|(_, made)| *made == index)?;
            Some((frame, form_of(found.0)))
        };
        let found = (0..).zip(&self.made).find_map(|(frame, forms)| made(frame, forms));
        found.unwrap_or((index, Form::AsItCame))
    }
}

const fn form_of(form: Retag) -> Form {
    match form {
        Retag::Keep => Form::AsItCame,
        Retag::Untagged => Form::Untagged,
        Retag::Tagged(tci) => Form::Tagged(tci),
    }
}
