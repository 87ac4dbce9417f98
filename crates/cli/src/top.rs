//! `vmswitch top`: the screen, the keys, and the loop between them. What is on the screen is `view`'s.

mod view;

use crate::{
    client::Client,
    failure::Failure,
    place,
    rates::{Rates, Sample},
    style::Style,
};
use clap::Args;
use model::Name;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
};
use std::{future::Future, io::IsTerminal, pin::pin, thread, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{self, MissedTickBehavior},
};
use view::{Sort, View};

/// The first rates are shown after this: nobody wants to look at an empty screen for long.
const FIRST: Duration = Duration::from_millis(400);

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Only this switch at first
    #[arg(value_name = "SWITCH")]
    switch: Option<Name>,
    /// The order of ports at first
    #[arg(long, value_enum, default_value = "name")]
    sort: Sort,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = place::interval)]
    interval: Duration,
}

/// Shows the screen until somebody ends it. The terminal is as before then, whatever the reason.
pub async fn run(args: TopArgs, client: &Client, style: Style) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::NoTerminal);
    }
    // Before the screen is taken: what is wrong with the daemon is told in the ordinary way.
    let first = Sample::take(None, client).await?;
    if let Some(switch) = &args.switch {
        client.get::<model::SwitchStatus>(&crate::switch::path(switch)).await?;
    }
    let view = View::new(args.switch, args.sort, args.interval, style);
    // Signals first: one that comes while the screen is being taken must not leave it taken.
    let ends = Ends::new().map_err(Failure::Runtime)?;
    let terminal = ratatui::try_init().map_err(Failure::Terminal)?;
    let _restored = Restored;
    Screen { terminal, view, inputs: read_inputs(), ends }.show(first, args.interval, client).await
}

/// Gives the terminal back when it goes; a panic does so by the hook that comes with taking it.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Signals that end it. A Ctrl-C that is typed comes as a key.
struct Ends([Signal; 3]);

impl Ends {
    fn new() -> std::io::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn come(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => (), _ = hangup.recv() => () }
    }
}

/// Reads keys on a thread of its own, which ends with the program. The channel ends with the terminal.
fn read_inputs() -> mpsc::UnboundedReceiver<Event> {
    let (sender, inputs) = mpsc::unbounded_channel();
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                break;
            }
        }
    });
    inputs
}

struct Screen {
    terminal: DefaultTerminal,
    view: View,
    inputs: mpsc::UnboundedReceiver<Event>,
    ends: Ends,
}

/// It was ended.
struct Ended;

impl Screen {
    async fn show(&mut self, first: Sample, interval: Duration, client: &Client) -> Result<(), Failure> {
        self.draw()?;
        let mut last = first;
        let start = time::Instant::now() + interval.min(FIRST);
        let mut ticks = time::interval_at(start, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(Ended) = self.attend(ticks.tick()).await? {
                return Ok(());
            }
            match self.attend(Sample::take(None, client)).await? {
                Ok(Ok(now)) => {
                    self.view.see(Rates::between(&last, &now));
                    last = now;
                }
                Ok(Err(failure)) => self.view.miss(&failure.to_string()),
                Err(Ended) => return Ok(()),
            }
            self.draw()?;
        }
    }

    /// Waits for something, and obeys keys meanwhile.
    async fn attend<T>(&mut self, work: impl Future<Output = T>) -> Result<Result<T, Ended>, Failure> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(Ok(done)),
                () = self.ends.come() => return Ok(Err(Ended)),
                input = self.inputs.recv() => {
                    if input.is_none_or(|event| ends(&event) || !self.view.obey(&event)) {
                        return Ok(Err(Ended));
                    }
                    self.draw()?;
                }
            }
        }
    }

    fn draw(&mut self) -> Result<(), Failure> {
        self.terminal.draw(|frame| self.view.render(frame)).map(drop).map_err(Failure::Terminal)
    }
}

fn ends(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release && ctrl_c
}
