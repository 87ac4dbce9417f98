//! `vmswitch stats`

use crate::{
    answer::Answer,
    client::Client,
    failure::Failure,
    place::{self, Place, PortPlace},
    port,
    rates::MISSED,
    style::Style,
    switch,
    table::{Cell, Table},
};
use clap::Args;
use model::{DropCounts, Name, PortCounters, PortStatus, SwitchCounters, SwitchStatus};
use serde::Serialize;
use std::time::Duration;

/// Arguments of `stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Only this switch, or this port
    #[arg(value_name = "SWITCH[/PORT]")]
    pub place: Option<Place>,
    /// Look again and again, and show rates; with --json one document a line
    #[arg(long)]
    pub watch: bool,
    /// With --watch: time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "watch", value_parser = place::interval)]
    pub interval: Duration,
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
            let (word, meaning) = MISSED;
            table.row([Cell::from(&place), stats.rx_missed.into(), word.into(), meaning.into()]);
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

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
