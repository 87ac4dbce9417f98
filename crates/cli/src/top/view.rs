//! What `top` shows, out of rates and keys: nothing is asked and no clock is read here.

use crate::{
    rates::{Loss, PortRates, Rates, short},
    style::{self, Colour, Style as Colours},
};
use clap::ValueEnum;
use model::{Name, PortState};
use ratatui::{
    Frame,
    crossterm::event::{Event, KeyCode, KeyEventKind},
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table},
};
use std::{cmp::Ordering, time::Duration};

/// Lines of drops at most, and of workers, where there are many ports to show.
const MOST_LOSSES: usize = 5;
const MOST_WORKERS: usize = 8;
/// Columns of a screen on which sentences have room.
const WIDE: u16 = 132;
/// Cells of the bar that shows how busy a worker is.
const BAR: usize = 20;

/// The order of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// By switch and name
    Name,
    /// Those that send most to the switch first
    Rx,
    /// Those that get most from it first
    Tx,
    /// Those with most drops first
    Drops,
}

impl Sort {
    const fn text(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Rx => "rx",
            Self::Tx => "tx",
            Self::Drops => "drops",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Name => Self::Rx,
            Self::Rx => Self::Tx,
            Self::Tx => Self::Drops,
            Self::Drops => Self::Name,
        }
    }

    fn compare(self, one: &PortRates, other: &PortRates) -> Ordering {
        let by = |of: fn(&PortRates) -> (f64, f64)| {
            let (one, other) = (of(one), of(other));
            other.0.total_cmp(&one.0).then(other.1.total_cmp(&one.1))
        };
        let busiest = match self {
            Self::Name => Ordering::Equal,
            Self::Rx => by(|port| (port.rx_bits_per_s, port.rx_frames_per_s)),
            Self::Tx => by(|port| (port.tx_bits_per_s, port.tx_frames_per_s)),
            Self::Drops => by(|port| (port.dropped_per_s, port.dropped as f64)),
        };
        busiest.then_with(|| (&one.switch, &one.port).cmp(&(&other.switch, &other.port)))
    }
}

/// What the screen shows.
pub struct View {
    rates: Option<Rates>,
    sort: Sort,
    /// The only switch that is shown.
    switch: Option<Name>,
    interval: Duration,
    /// Ports above the first that is shown, and how many fit.
    scrolled: usize,
    page: usize,
    /// Why what is shown is old.
    trouble: Option<String>,
    colours: Colours,
}

impl View {
    pub const fn new(switch: Option<Name>, sort: Sort, interval: Duration, colours: Colours) -> Self {
        Self { rates: None, sort, switch, interval, scrolled: 0, page: 1, trouble: None, colours }
    }

    /// Takes new rates in.
    pub fn see(&mut self, rates: Rates) {
        self.rates = Some(rates);
        self.trouble = None;
    }

    /// There are none this time.
    pub fn miss(&mut self, why: &str) {
        self.trouble = why.lines().next().map(str::to_owned);
    }

    /// Does what a key asks for; false where it asks to end.
    pub fn obey(&mut self, event: &Event) -> bool {
        let Event::Key(key) = event else { return true };
        if key.kind == KeyEventKind::Release {
            return true;
        }
        match key.code {
            KeyCode::Char('q') => return false,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('n') => self.sort = Sort::Name,
            KeyCode::Char('r') => self.sort = Sort::Rx,
            KeyCode::Char('t') => self.sort = Sort::Tx,
            KeyCode::Char('d') => self.sort = Sort::Drops,
            KeyCode::Char('f') => self.show_next_switch(),
            KeyCode::Char('a') | KeyCode::Esc => self.show_only(None),
            KeyCode::Up | KeyCode::Char('k') => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scrolled += 1,
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(self.page),
            KeyCode::PageDown => self.scrolled += self.page,
            KeyCode::Home => self.scrolled = 0,
            KeyCode::End => self.scrolled = usize::MAX,
            _ => {}
        }
        true
    }

    fn show_only(&mut self, switch: Option<Name>) {
        (self.switch, self.scrolled) = (switch, 0);
    }

    /// One switch after the other, then all.
    fn show_next_switch(&mut self) {
        let mut switches: Vec<_> = self.all_ports().iter().map(|port| &port.switch).collect();
        switches.sort();
        let next = switches.into_iter().find(|name| self.switch.as_ref().is_none_or(|shown| *name > shown));
        self.show_only(next.cloned());
    }

    fn all_ports(&self) -> &[PortRates] {
        self.rates.as_ref().map_or(&[], |rates| &rates.ports)
    }

    /// Those to be shown, in their order.
    fn ports(&self) -> Vec<&PortRates> {
        let is_shown = |port: &&PortRates| self.switch.as_ref().is_none_or(|switch| *switch == port.switch);
        let mut ports: Vec<_> = self.all_ports().iter().filter(is_shown).collect();
        ports.sort_by(|one, other| self.sort.compare(one, other));
        ports
    }

    pub fn render(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let (losses, workers) = (self.losses(), self.workers(usize::from(area.height)));
        let with_gap = |lines: usize| lines as u16 + 2;
        let [head, ports, drops, load, foot] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Fill(1),
            Constraint::Length(with_gap(losses.len().max(1))),
            Constraint::Length(with_gap(workers.len())),
            Constraint::Length(1),
        ])
        .areas(area);
        frame.render_widget(self.head(), head);
        self.render_ports(frame, ports);
        frame.render_widget(self.losses_table(losses, area.width >= WIDE), drops);
        frame.render_widget(self.workers_table(workers), load);
        frame.render_widget(self.foot(), foot);
    }

    fn colour(&self, colour: Colour) -> Style {
        let style = match colour {
            Colour::Bold => return Style::new().add_modifier(Modifier::BOLD),
            Colour::Red => Style::new().fg(Color::Red),
            Colour::Green => Style::new().fg(Color::Green),
            Colour::Yellow => Style::new().fg(Color::Yellow),
        };
        if self.colours.has_colours() { style } else { Style::new() }
    }

    /// What ought not to be: also to be seen where there are no colours.
    fn alarm(&self) -> Style {
        self.colour(Colour::Red).add_modifier(Modifier::BOLD)
    }

    /// Two lines: what is shown, and its sum.
    fn head(&self) -> Paragraph<'static> {
        let bold = self.colour(Colour::Bold);
        let shown =
            self.switch.as_ref().map_or_else(|| "all switches".into(), |name| format!("switch {name}"));
        let order = format!(
            "  {shown}, by {}, every {}",
            self.sort.text(),
            humantime::format_duration(self.interval)
        );
        let title = Line::from(vec![Span::styled("vmswitch top", bold), Span::raw(order)]);
        let second = match &self.trouble {
            Some(why) => Line::styled(format!("Not now: {why}"), self.alarm()),
            None if self.rates.is_none() => Line::raw("Looking…"),
            None => self.sums(),
        };
        Paragraph::new(vec![title, second])
    }

    fn sums(&self) -> Line<'static> {
        let ports = self.ports();
        let sum = |of: fn(&PortRates) -> f64| short(ports.iter().map(|port| of(port)).sum());
        let down = ports.iter().filter(|port| port.state != PortState::Up).count();
        let plural = if ports.len() == 1 { "" } else { "s" };
        let text = format!(
            "{} port{plural}, {down} down   rx {} frames/s, {}bit/s   tx {} frames/s, {}bit/s",
            ports.len(),
            sum(|port| port.rx_frames_per_s),
            spaced(&sum(|port| port.rx_bits_per_s)),
            sum(|port| port.tx_frames_per_s),
            spaced(&sum(|port| port.tx_bits_per_s)),
        );
        Line::raw(text)
    }

    fn rate_that_ought_to_be_0(&self, rate: f64) -> Span<'static> {
        Span::styled(short(rate), if rate > 0.0 { self.alarm() } else { Style::new() })
    }

    fn render_ports(&mut self, frame: &mut Frame<'_>, area: Rect) {
        self.page = usize::from(area.height.saturating_sub(1)).max(1);
        let count = self.ports().len();
        self.scrolled = self.scrolled.min(count.saturating_sub(self.page));
        let ports = self.ports();
        let rows: Vec<_> =
            ports.iter().skip(self.scrolled).take(self.page).map(|port| self.port(port)).collect();
        let names = ["PORT", "STATE", ">RX FRAMES/S", ">RX BIT/S", ">TX FRAMES/S", ">TX BIT/S", ">DROPPED/S"];
        let widths = [16, 7, 11, 8, 11, 8, 9].map(Constraint::Length);
        let widths = [&[Constraint::Fill(1)], &widths[1..]].concat();
        frame.render_widget(Table::new(rows, widths).header(self.header(&names)), area);
    }

    /// A name that begins with '>' is that of a column of numbers.
    fn header(&self, names: &[&'static str]) -> Row<'static> {
        let cell = |name: &&'static str| match name.strip_prefix('>') {
            Some(name) => right(Span::raw(name)),
            None => Cell::from(*name),
        };
        Row::new(names.iter().map(cell)).style(self.colour(Colour::Bold))
    }

    fn port(&self, port: &PortRates) -> Row<'static> {
        let number = |rate: f64| right(Span::raw(short(rate)));
        Row::new([
            Cell::from(port.place()),
            Cell::from(Span::styled(port.state.as_str(), self.colour(style::of_state(port.state)))),
            number(port.rx_frames_per_s),
            number(port.rx_bits_per_s),
            number(port.tx_frames_per_s),
            number(port.tx_bits_per_s),
            right(self.rate_that_ought_to_be_0(port.dropped_per_s)),
        ])
    }

    /// What is dropped now first, then what was.
    fn losses(&self) -> Vec<(String, Loss)> {
        let of = |port: &&PortRates| {
            let place = port.place();
            port.losses.iter().map(move |loss| (place.clone(), loss.clone())).collect::<Vec<_>>()
        };
        let mut losses: Vec<_> = self.ports().iter().flat_map(of).collect();
        losses.sort_by(|(_, one), (_, other)| {
            let rates = other.frames_per_s.total_cmp(&one.frames_per_s);
            rates.then(other.frames.cmp(&one.frames))
        });
        losses.truncate(MOST_LOSSES);
        losses
    }

    /// What a reason means takes a wide screen.
    fn losses_table(&self, losses: Vec<(String, Loss)>, wide: bool) -> Table<'static> {
        let nothing = losses.is_empty().then(|| Row::new(["nothing"]));
        let row = |(place, loss): (String, Loss)| {
            let style = if loss.frames_per_s > 0.0 { self.alarm() } else { Style::new() };
            let numbers = [short(loss.frames_per_s), count(loss.frames)];
            let [rate, frames] = numbers.map(|number| right(Span::raw(number)));
            Row::new([place.into(), rate, frames, loss.reason.into(), loss.meaning.into()]).style(style)
        };
        let rows: Vec<_> = losses.into_iter().map(row).chain(nothing).collect();
        let [place, meaning] = if wide { [22, 74] } else { [34, 0] };
        let widths = [place, 9, 8, 20, meaning].map(Constraint::Length);
        let names = ["DROPPED AT", ">FRAMES/S", ">FRAMES", "REASON", "WHAT IT MEANS"];
        Table::new(rows, widths).header(self.header(&names))
    }

    /// As many as there is room for beside ports and drops.
    fn workers(&self, height: usize) -> Vec<Row<'static>> {
        let workers = self.rates.as_ref().map_or(&[][..], |rates| &rates.workers);
        let most = MOST_WORKERS.min(height / 6).max(1);
        let row = |worker: &crate::rates::WorkerRates| {
            let number = |text: String| right(Span::raw(text));
            Row::new([
                Cell::from(format!("{}", worker.worker)),
                number(worker.cpu_text()),
                number(format!("{:.0} %", worker.busy_percent)),
                Cell::from(bar(worker.busy_percent)),
                number(short(worker.frames_per_s)),
                number(short(worker.batches_per_s)),
                number(format!("{:.1}", worker.frames_per_batch)),
            ])
        };
        workers.iter().take(most).map(row).collect()
    }

    fn workers_table(&self, workers: Vec<Row<'static>>) -> Table<'static> {
        let widths = [6, 4, 6, BAR as u16, 9, 10, 13].map(Constraint::Length);
        let names = ["WORKER", ">CPU", ">BUSY", "", ">FRAMES/S", ">BATCHES/S", ">FRAMES/BATCH"];
        Table::new(workers, widths).header(self.header(&names))
    }

    fn foot(&self) -> Line<'static> {
        let below = self.ports().len().saturating_sub(self.scrolled + self.page);
        let more = match (self.scrolled, below) {
            (0, 0) => String::new(),
            (above, below) => format!("   ↑ {above} more, ↓ {below} more"),
        };
        Line::raw(format!("q quit  s sort (n r t d)  f next switch  a all{more}"))
    }
}

fn right(text: Span<'static>) -> Cell<'static> {
    Cell::from(Line::from(text).alignment(Alignment::Right))
}

/// A count in at most seven characters, exact as long as that goes.
fn count(frames: u64) -> String {
    if frames < 10_000_000 { frames.to_string() } else { short(frames as f64) }
}

/// A number and its unit, apart.
fn spaced(short: &str) -> String {
    match short.find(char::is_alphabetic) {
        Some(at) => format!("{} {}", &short[..at], &short[at..]),
        None => format!("{short} "),
    }
}

fn bar(percent: f64) -> String {
    let full = (percent / 100.0 * BAR as f64).round() as usize;
    "█".repeat(full.min(BAR)) + &"░".repeat(BAR - full.min(BAR))
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
