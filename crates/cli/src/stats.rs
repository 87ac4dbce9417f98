//! `vmswitch stats`

use crate::{
    answer::{self, Answer},
    client::Client,
    failure::Failure,
    place::{Place, PortPlace},
    port,
    style::Style,
    switch,
    table::{Cell, Table},
};
use clap::Args;
use model::{DropCounts, Name, PortCounters, PortStatus, SwitchCounters, SwitchStatus};
use serde::Serialize;
use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// Moves to the top and clears the screen (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Arguments of `stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Only this switch, or this port
    #[arg(value_name = "SWITCH[/PORT]")]
    place: Option<Place>,
    /// Look again every second, and show rates
    #[arg(long)]
    pub watch: bool,
}

/// Counters of a switch and its ports.
#[derive(Clone, Debug, Serialize)]
struct SwitchStats {
    switch: Name,
    stats: SwitchCounters,
    ports: Vec<PortStats>,
}

#[derive(Clone, Debug, Serialize)]
struct PortStats {
    name: Name,
    stats: PortCounters,
}

/// One look at the counters.
struct Look {
    at: Instant,
    switches: Vec<SwitchStats>,
}

pub async fn show(args: StatsArgs, client: &Client) -> Result<Answer, Failure> {
    let style = Style::of_stdout();
    match args.place {
        None => {
            let switches = all(client).await?;
            Answer::new(&switches, text(&switches, style))
        }
        Some(Place { switch, port: None }) => {
            let stats = of_switch(client.get(&switch::path(&switch)).await?, client).await?;
            Answer::new(&stats, text(std::slice::from_ref(&stats), style))
        }
        Some(Place { switch, port: Some(port) }) => {
            let port: PortStatus = client.get(&PortPlace { switch, port }.path()).await?;
            Answer::new(&port, text(&[of_port(&port)], style))
        }
    }
}

/// Looks again and again, until interrupted.
pub async fn watch(args: StatsArgs, client: &Client, style: Style) -> Result<(), Failure> {
    let clear = if std::io::stdout().is_terminal() { CLEAR } else { "" };
    let mut ticks = tokio::time::interval(PERIOD);
    let mut last = look(args.place.as_ref(), client).await?;
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = look(args.place.as_ref(), client).await?;
        answer::print(&format!("{clear}{}", rates_text(&last, &now, style)))?;
        last = now;
    }
}

async fn look(place: Option<&Place>, client: &Client) -> Result<Look, Failure> {
    let switches = match place {
        None => all(client).await?,
        Some(Place { switch, port: None }) => {
            vec![of_switch(client.get(&switch::path(switch)).await?, client).await?]
        }
        Some(Place { switch, port: Some(port) }) => {
            let place = PortPlace { switch: switch.clone(), port: port.clone() };
            vec![of_port(&client.get(&place.path()).await?)]
        }
    };
    Ok(Look { at: Instant::now(), switches })
}

async fn all(client: &Client) -> Result<Vec<SwitchStats>, Failure> {
    let mut all = Vec::new();
    for switch in client.get::<Vec<SwitchStatus>>("/v1/switches").await? {
        all.push(of_switch(switch, client).await?);
    }
    Ok(all)
}

async fn of_switch(switch: SwitchStatus, client: &Client) -> Result<SwitchStats, Failure> {
    let ports = port::of(&switch.name, client).await?;
    let ports = ports.into_iter().map(|port| PortStats { name: port.name, stats: port.stats }).collect();
    Ok(SwitchStats { switch: switch.name, stats: switch.stats, ports })
}

/// A port as if it were all of its switch.
fn of_port(port: &PortStatus) -> SwitchStats {
    let mut stats = SwitchCounters::default();
    stats.add_port(&port.stats);
    let ports = vec![PortStats { name: port.name.clone(), stats: port.stats }];
    SwitchStats { switch: port.switch.clone(), stats, ports }
}

fn text(switches: &[SwitchStats], style: Style) -> String {
    let mut table = Table::new(&[
        "PORT",
        ">RX FRAMES",
        ">RX BYTES",
        ">TX FRAMES",
        ">TX BYTES",
        ">NOT LEARNED",
        ">DROPPED",
    ]);
    for (place, stats) in ports(switches) {
        let PortCounters { rx_frames, rx_bytes, tx_frames, tx_bytes, not_learned, drops, .. } = stats;
        let numbers = [rx_frames, rx_bytes, tx_frames, tx_bytes, not_learned, &drops.total()].map(Cell::from);
        table.row(std::iter::once(place.into()).chain(numbers));
    }
    if table.is_empty() {
        return "There are no ports.".into();
    }
    table.render(style) + &sums(switches) + &drops_table(switches, style)
}

/// Ports with their switch's name before theirs.
fn ports(switches: &[SwitchStats]) -> impl Iterator<Item = (String, &PortCounters)> {
    let of = |switch: &Name, port: &Name| format!("{switch}/{port}");
    switches.iter().flat_map(move |s| s.ports.iter().map(move |p| (of(&s.switch, &p.name), &p.stats)))
}

/// What holds for a whole switch; a single port has no copies to account for.
fn sums(switches: &[SwitchStats]) -> String {
    let mut text = String::new();
    for SwitchStats { switch, stats, ports } in switches {
        if ports.len() > 1 {
            let (rx, tx, dropped) = (stats.rx_frames, stats.tx_frames, stats.drops.total());
            let made = match stats.originated {
                0 => format!("copied {}", stats.copies),
                originated => format!("copied {} + originated {originated}", stats.copies),
            };
            text += &format!("\n{switch}: received {rx} + {made} = delivered {tx} + dropped {dropped}");
        }
    }
    if text.is_empty() { text } else { text + "\n" }
}

fn drops_table(switches: &[SwitchStats], style: Style) -> String {
    let mut table = Table::new(&["DROPPED AT", ">FRAMES", "REASON", "WHAT IT MEANS"]);
    for (place, stats) in ports(switches) {
        for (reason, frames) in stats.drops.iter() {
            let (word, meaning) = (reason.as_str().into(), reason.explanation().into());
            table.row([Cell::from(&place), frames.into(), word, meaning]);
        }
        if stats.rx_missed > 0 {
            let meaning = "The kernel lost the frames before the switch could receive them.".into();
            table.row([Cell::from(&place), stats.rx_missed.into(), "rx_missed".into(), meaning]);
        }
    }
    if table.is_empty() { String::new() } else { format!("\n{}", table.render(style)) }
}

/// The drops of one thing, a line a reason.
pub fn drop_lines(drops: &DropCounts) -> String {
    let line = |(reason, frames): (model::DropReason, u64)| {
        format!("  {frames} {}: {}\n", reason.as_str(), reason.explanation())
    };
    drops.iter().map(line).collect()
}

fn rates_text(last: &Look, now: &Look, style: Style) -> String {
    let mut table = Table::new(&[
        "PORT",
        ">RX FRAMES/S",
        ">RX BIT/S",
        ">TX FRAMES/S",
        ">TX BIT/S",
        ">DROPPED/S",
        ">DROPPED",
    ]);
    let seconds = now.at.duration_since(last.at).as_secs_f64();
    for (place, stats) in ports(&now.switches) {
        let before = ports(&last.switches).find(|(name, _)| *name == place).map(|(_, stats)| *stats);
        let before = before.unwrap_or_default();
        let rate = |of: fn(&PortCounters) -> u64, unit: u64| -> Cell {
            let more = of(stats).saturating_sub(of(&before)) * unit;
            short(more as f64 / seconds).into()
        };
        let dropped = Cell::from(stats.drops.total());
        table.row([
            place.into(),
            rate(|s| s.rx_frames, 1),
            rate(|s| s.rx_bytes, 8),
            rate(|s| s.tx_frames, 1),
            rate(|s| s.tx_bytes, 8),
            rate(|s| s.drops.total(), 1),
            dropped,
        ]);
    }
    table.render(style) + &drops_table(&now.switches, style)
}

/// A rate in at most five characters.
fn short(rate: f64) -> String {
    let steps = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    match steps.iter().find(|(step, _)| rate >= *step) {
        Some((step, unit)) if rate / step >= 100.0 => format!("{:.0}{unit}", rate / step),
        Some((step, unit)) => format!("{:.1}{unit}", rate / step),
        None => format!("{rate:.0}"),
    }
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
