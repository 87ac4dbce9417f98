//! Colours, on a terminal only.

use model::PortState;
use std::io::IsTerminal;

/// Whether colours are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    colours: bool,
}

/// SGR codes (ECMA-48).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Bold = 1,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

impl Style {
    #[cfg(test)]
    pub const PLAIN: Self = Self { colours: false };
    #[cfg(test)]
    pub const COLOURED: Self = Self { colours: true };

    /// Colours only on a terminal that has them, and never where NO_COLOR is set (no-color.org).
    pub fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colours: std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb }
    }

    pub const fn has_colours(self) -> bool {
        self.colours
    }

    pub fn paint(self, text: &str, colour: Option<Colour>) -> String {
        match colour {
            Some(colour) if self.colours => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
            _ => text.into(),
        }
    }
}

/// The colour of a port's state.
pub const fn of_state(state: PortState) -> Colour {
    match state {
        PortState::Up => Colour::Green,
        PortState::Down => Colour::Yellow,
        PortState::Faulted => Colour::Red,
    }
}
