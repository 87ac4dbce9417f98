//! `vmswitch trace`

use crate::{
    answer, capture,
    client::Client,
    failure::Failure,
    listen::{Ended, Until},
    place::{self, Place},
    switch,
};
use clap::Args;
use model::{Name, TraceLine, TraceRequest, TracedFrame};
use std::time::{Duration, UNIX_EPOCH};

/// As many ports are named.
const NAMED: usize = 6;
/// Where the time of day begins in a time as of RFC 3339.
const TIME_OF_DAY: usize = 11;

#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The switch, or one of its ports
    #[arg(value_name = "SWITCH[/PORT]")]
    place: Place,
    /// Only frames that this lets pass, in the words of tcpdump (man pcap-filter)
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// Only one of so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// End after so many
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time, like 90s
    #[arg(long, value_name = "DURATION", value_parser = place::seconds)]
    duration: Option<u64>,
    /// Only frames that are dropped somewhere
    #[arg(long)]
    dropped: bool,
}

impl TraceArgs {
    fn request(&self) -> TraceRequest {
        TraceRequest {
            port: self.place.port.clone(),
            filter: capture::filter(&self.filter),
            sample: self.sample,
            dropped: self.dropped,
        }
    }
}

/// Prints a line for each frame until it is to end.
pub async fn run(args: &TraceArgs, client: &Client, json: bool) -> Result<(), Failure> {
    let path = format!("{}/trace", switch::path(&args.place.switch));
    let body = client.listen(&path, &args.request()).await?;
    eprintln!("vmswitch: tracing {}; Ctrl-C ends it", args.place);
    let (mut lines, mut left) = (Lines::default(), args.count.unwrap_or(u64::MAX));
    let until = Until::new(args.duration.map(Duration::from_secs))?;
    let ended = until.read(body, |bytes| {
        let printed = lines.feed(bytes, &mut left, json)?;
        answer::print(&printed)?;
        Ok(left > 0)
    });
    if ended.await? == Ended::ByDaemon { Err(Failure::CaptureEnded) } else { Ok(()) }
}

/// Puts lines together from whatever pieces they arrive in.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// What is to be printed, and counts the frames among it.
    fn feed(&mut self, bytes: &[u8], left: &mut u64, json: bool) -> Result<String, Failure> {
        self.rest.extend_from_slice(bytes);
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = self.rest.split_off(end);
        let whole = std::mem::replace(&mut self.rest, rest);
        let mut text = String::new();
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if *left == 0 {
                break;
            }
            match serde_json::from_slice(line).map_err(Failure::answer)? {
                TraceLine::Frame(_) if json => {
                    *left -= 1;
                    text += &String::from_utf8_lossy(line);
                    text.push('\n');
                }
                TraceLine::Frame(frame) => {
                    *left -= 1;
                    text += &(line_of(&frame) + "\n");
                }
                TraceLine::Missed { missed } => {
                    eprintln!("vmswitch: {missed} frames were missed, since they were not read fast enough");
                }
            }
        }
        Ok(text)
    }
}

fn line_of(frame: &TracedFrame) -> String {
    let time = humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_nanos(frame.time_ns)).to_string();
    let time = &time[TIME_OF_DAY..];
    let addresses = frame.source.zip(frame.destination);
    let addresses = addresses.map(|(from, to)| format!("{from} > {to}, ")).unwrap_or_default();
    let vlans: String = frame.vlans.iter().map(|vlan| format!("VLAN {vlan}, ")).collect();
    let port = frame.port.as_ref().map_or("the switch itself", Name::as_str);
    let TracedFrame { carries, length, .. } = frame;
    format!("{time} {port}: {addresses}{vlans}{carries}, {length} bytes: {}", became(frame))
}

fn became(frame: &TracedFrame) -> String {
    let mut parts = Vec::new();
    if !frame.leaves.is_empty() {
        parts.push(format!("to {}", named(&frame.leaves)));
    }
    for drop in frame.drops.iter().take(NAMED) {
        let partly = if drop.partly { "partly " } else { "" };
        parts.push(format!("{partly}dropped at {}: {}", drop.port, drop.reason.as_str()));
    }
    if frame.drops.len() > NAMED {
        parts.push(format!("dropped at {} more", frame.drops.len() - NAMED));
    }
    parts.join("; ")
}

fn named(ports: &[Name]) -> String {
    let named: Vec<_> = ports.iter().take(NAMED).map(Name::as_str).collect();
    let more = ports.len().saturating_sub(NAMED);
    named.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{DropReason, TracedDrop};

    fn frame() -> TracedFrame {
        TracedFrame {
            time_ns: 1_700_000_000_123_456_789,
            port: Some("vm1".parse().unwrap()),
            source: Some("02:00:00:00:00:01".parse().unwrap()),
            destination: Some("ff:ff:ff:ff:ff:ff".parse().unwrap()),
            vlans: vec![7],
            carries: "ARP who has 10.0.0.2 tell 10.0.0.1".into(),
            length: 60,
            leaves: vec!["vm2".parse().unwrap(), "eth0".parse().unwrap()],
            drops: vec![],
        }
    }

    #[test]
    fn a_line_tells_what_passed_and_what_became_of_it() {
        let expected = "22:13:20.123456Z vm1: 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, VLAN 7, \
                        ARP who has 10.0.0.2 tell 10.0.0.1, 60 bytes: to vm2, eth0";
        assert_eq!(line_of(&frame()), expected);
        let drop =
            |partly| TracedDrop { port: "vm3".parse().unwrap(), reason: DropReason::ReceiverFull, partly };
        let dropped = TracedFrame { leaves: vec![], drops: vec![drop(false), drop(true)], ..frame() };
        assert_eq!(became(&dropped), "dropped at vm3: receiver_full; partly dropped at vm3: receiver_full");
        let many = TracedFrame { leaves: vec!["a".parse().unwrap(); 9], ..frame() };
        assert_eq!(became(&many), "to a, a, a, a, a, a and 3 more");
    }

    #[test]
    fn lines_are_put_together_from_pieces_and_counted() {
        let line = serde_json::to_string(&TraceLine::Frame(frame())).unwrap() + "\n";
        let three = line.repeat(3);
        for size in 1..three.len() {
            let (mut lines, mut left, mut text) = (Lines::default(), 2, String::new());
            for piece in three.as_bytes().chunks(size) {
                text += &lines.feed(piece, &mut left, true).unwrap();
            }
            assert_eq!((text, left), (line.repeat(2), 0), "in pieces of {size}");
        }
    }
}
