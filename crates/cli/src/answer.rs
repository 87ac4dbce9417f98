//! What a command answers: for people and for programs.

use crate::failure::Failure;
use serde::Serialize;
use std::io::{self, Write};

/// One answer in both forms.
#[derive(Debug)]
pub struct Answer {
    json: String,
    text: String,
}

impl Answer {
    pub fn new(json: &impl Serialize, text: impl Into<String>) -> Result<Self, Failure> {
        Ok(Self { json: serde_json::to_string_pretty(json).map_err(Failure::answer)?, text: text.into() })
    }

    pub fn print(&self, json: bool) -> Result<(), Failure> {
        print(if json { &self.json } else { &self.text })
    }
}

/// Prints a text and the end of its last line.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    write!(out, "{text}{end}").and_then(|()| out.flush()).map_err(Failure::output)
}
