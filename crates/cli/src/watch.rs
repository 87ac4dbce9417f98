//! `vmswitch stats --watch`: rates, block after block, in place on a terminal.

use crate::{
    answer,
    client::Client,
    failure::Failure,
    rates::{Loss, PortRates, Rates, Sample, WorkerRates, short},
    stats::StatsArgs,
    style::{Colour, Style},
    table::{Cell, Table},
};
use ratatui::crossterm::terminal;
use std::io::IsTerminal;
use tokio::time::MissedTickBehavior;

/// To the top, without clearing the screen: it would flicker (ECMA-48: CUP, ED, EL).
const TOP: &str = "\x1b[H";
const CLEAR: &str = "\x1b[H\x1b[2J";
const END_OF_LINE: &str = "\x1b[K\n";
/// Columns of a screen on which sentences have room.
const WIDE: u16 = 132;
const END_OF_SCREEN: &str = "\x1b[J";

/// Looks again and again, until interrupted. A vmswitchd that is started anew meanwhile is waited for.
pub async fn watch(args: StatsArgs, client: &Client, style: Style, json: bool) -> Result<(), Failure> {
    let in_place = !json && std::io::stdout().is_terminal();
    let mut last = Sample::take(args.place.as_ref(), client).await?;
    let mut ticks = tokio::time::interval(args.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let (mut before, mut trouble) = (if in_place { CLEAR } else { "" }, None);
    loop {
        ticks.tick().await;
        match Sample::take(args.place.as_ref(), client).await {
            Ok(now) => {
                answer::print(&format!(
                    "{before}{}",
                    block(&Rates::between(&last, &now), style, json, in_place)?
                ))?;
                (last, trouble) = (now, None);
                before = if in_place { TOP } else { "" };
            }
            Err(failure) => tell_once(&mut trouble, failure.to_string()),
        }
    }
}

fn tell_once(told: &mut Option<String>, failure: String) {
    if told.as_ref() != Some(&failure) {
        eprintln!("vmswitch: {failure}");
        *told = Some(failure);
    }
}

fn block(rates: &Rates, style: Style, json: bool, in_place: bool) -> Result<String, Failure> {
    if json {
        return serde_json::to_string(rates).map_err(Failure::answer);
    }
    let text = text(rates, style, !in_place || is_wide());
    Ok(if in_place { text.replace('\n', END_OF_LINE) + END_OF_SCREEN } else { text + "\n" })
}

/// Whether sentences have room: lines that are wrapped cannot be read while they change.
fn is_wide() -> bool {
    terminal::size().is_ok_and(|(columns, _)| columns >= WIDE)
}

fn text(rates: &Rates, style: Style, meanings: bool) -> String {
    if rates.ports.is_empty() {
        return "There are no ports.\n".into();
    }
    let losses = losses_table(&rates.ports, meanings);
    let losses = if losses.is_empty() { String::new() } else { format!("\n{}", losses.render(style)) };
    format!(
        "{}{losses}\n{}",
        ports_table(&rates.ports).render(style),
        workers_table(&rates.workers).render(style)
    )
}

fn ports_table(ports: &[PortRates]) -> Table {
    let mut table = Table::new(&[
        "PORT",
        ">RX FRAMES/S",
        ">RX BIT/S",
        ">TX FRAMES/S",
        ">TX BIT/S",
        ">DROPPED/S",
        ">DROPPED",
    ]);
    for port in ports {
        let passed = [port.rx_frames_per_s, port.rx_bits_per_s, port.tx_frames_per_s, port.tx_bits_per_s];
        let passed = passed.map(|rate| Cell::from(short(rate)));
        let dropped = [highlighted(port.dropped_per_s), port.dropped.into()];
        table.row(std::iter::once(port.place().into()).chain(passed).chain(dropped));
    }
    table
}

/// A rate that ought to be 0.
fn highlighted(rate: f64) -> Cell {
    if rate > 0.0 { Cell::coloured(&short(rate), Colour::Red) } else { short(rate).into() }
}

fn losses_table(ports: &[PortRates], meanings: bool) -> Table {
    let names = ["DROPPED AT", ">FRAMES/S", ">FRAMES", "REASON", "WHAT IT MEANS"];
    let columns = if meanings { names.len() } else { names.len() - 1 };
    let mut table = Table::new(&names[..columns]);
    for port in ports {
        for Loss { reason, meaning, frames_per_s, frames } in &port.losses {
            let (reason, meaning) = ((*reason).into(), (*meaning).into());
            let row = [port.place().into(), highlighted(*frames_per_s), (*frames).into(), reason, meaning];
            table.row(row.into_iter().take(columns));
        }
    }
    table
}

fn workers_table(workers: &[WorkerRates]) -> Table {
    let mut table = Table::new(&["WORKER", ">CPU", ">BUSY %", ">FRAMES/S", ">BATCHES/S", ">FRAMES/BATCH"]);
    for worker in workers {
        let numbers = [worker.frames_per_s, worker.batches_per_s].map(|rate| Cell::from(short(rate)));
        let (busy, batch) =
            (format!("{:.0}", worker.busy_percent), format!("{:.1}", worker.frames_per_batch));
        let row = [worker.worker.into(), worker.cpu_text().into(), busy.into()];
        table.row(row.into_iter().chain(numbers).chain([batch.into()]));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::sampled;

    #[test]
    fn a_block_tells_of_ports_of_what_was_dropped_and_of_workers() {
        let expected = "\
PORT      RX FRAMES/S  RX BIT/S  TX FRAMES/S  TX BIT/S  DROPPED/S  DROPPED
lan/eth0         2.0M      2.0G            0         0          0        0
lan/host            0         0            0         0          0        0
lan/vm1             0         0           15         0         50      102

DROPPED AT  FRAMES/S  FRAMES  REASON       WHAT IT MEANS
lan/vm1           50     102  spoofed_mac  The port is guarded and the source MAC is not the port's.

WORKER  CPU  BUSY %  FRAMES/S  BATCHES/S  FRAMES/BATCH
0         2      25      3.2k        100          32.0
1       any       0         0          0           0.0
";
        assert_eq!(text(&sampled::rates(), Style::PLAIN, true), expected);
    }

    #[test]
    fn a_narrow_screen_has_no_room_for_sentences() {
        let narrow = text(&sampled::rates(), Style::PLAIN, false);
        assert!(narrow.contains("\nlan/vm1           50     102  spoofed_mac\n"), "{narrow}");
        assert!(narrow.lines().all(|line| line.len() <= 80), "{narrow}");
    }

    #[test]
    fn what_is_being_dropped_is_red() {
        let coloured = text(&sampled::rates(), Style::COLOURED, true);
        assert_eq!(coloured.matches("\x1b[31m50\x1b[0m").count(), 2, "{coloured}");
    }

    #[test]
    fn in_place_no_line_leaves_anything_of_what_stood_there() {
        let shown = block(&sampled::rates(), Style::PLAIN, false, true).unwrap();
        assert!(shown.ends_with(END_OF_SCREEN));
        assert_eq!(shown.matches('\n').count(), shown.matches(END_OF_LINE).count());
    }

    #[test]
    fn a_document_is_one_line() {
        let line = block(&sampled::rates(), Style::PLAIN, true, false).unwrap();
        assert!(!line.contains('\n'));
        let document: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(document["interval_s"], 2.0);
        assert_eq!(document["ports"][0]["rx_frames_per_s"], 2e6);
        let loss = serde_json::json!({"reason": "spoofed_mac", "frames_per_s": 50.0, "frames": 102});
        assert_eq!(document["ports"][2]["losses"], serde_json::json!([loss]));
        assert_eq!(document["workers"][0]["busy_percent"], 25.0);
    }
}
