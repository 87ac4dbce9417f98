//! `vmswitch capture`

mod blocks;

use crate::{
    answer,
    client::Client,
    failure::Failure,
    listen::{Ended, Until},
    place::{self, Place},
    switch,
};
use blocks::Blocks;
use clap::Args;
use model::CaptureRequest;
use serde_json::json;
use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// The switch, or one of its ports
    #[arg(value_name = "SWITCH[/PORT]")]
    place: Place,
    /// Only frames that this lets pass, in the words of tcpdump (man pcap-filter)
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
    /// Write to this file; - is standard output, unix:PATH a socket on which somebody listens
    #[arg(short, long, value_name = "FILE")]
    write: String,
    /// End after so many
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Keep as many bytes of each frame [default: all]
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=262_144))]
    snaplen: Option<u32>,
    /// End after this time, like 90s
    #[arg(long, value_name = "DURATION", value_parser = place::seconds)]
    duration: Option<u64>,
    /// Only frames that are dropped, where they are
    #[arg(long)]
    dropped: bool,
}

impl CaptureArgs {
    /// True where what is captured goes to where the answer would.
    pub fn writes_to_stdout(&self) -> bool {
        self.write == "-"
    }

    fn request(&self) -> CaptureRequest {
        CaptureRequest {
            port: self.place.port.clone(),
            filter: filter(&self.filter),
            snaplen: self.snaplen,
            dropped: self.dropped,
        }
    }
}

/// The words of a filter, put together.
pub fn filter(words: &[String]) -> Option<String> {
    Some(words.join(" ")).filter(|filter| !filter.is_empty())
}

/// Captures until it is to end, and says how much that was.
pub async fn run(args: &CaptureArgs, client: &Client, json: bool) -> Result<(), Failure> {
    if args.writes_to_stdout() && io::stdout().is_terminal() {
        return Err(Failure::BinaryToTerminal);
    }
    let path = format!("{}/capture", switch::path(&args.place.switch));
    // Asked first: what is refused leaves a file as it was.
    let body = client.listen(&path, &args.request()).await?;
    let mut out = open(&args.write)?;
    eprintln!("vmswitch: capturing {} to {}; Ctrl-C ends it", args.place, args.write);
    let (mut blocks, most) = (Blocks::default(), args.count.unwrap_or(u64::MAX));
    let until = Until::new(args.duration.map(Duration::from_secs))?;
    let ended = until.read(body, |bytes| {
        blocks.feed(bytes);
        let whole = blocks.whole(most).map_err(Failure::answer)?;
        out.write_all(&whole).and_then(|()| out.flush()).map_err(|error| args.unwritten(error))?;
        Ok(blocks.packets < most)
    });
    let ended = ended.await?;
    tell(args, &blocks, json)?;
    if ended == Ended::ByDaemon { Err(Failure::CaptureEnded) } else { Ok(()) }
}

impl CaptureArgs {
    fn unwritten(&self, error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Unwritten { file: self.write.clone(), error },
        }
    }
}

fn open(file: &str) -> Result<Box<dyn Write>, Failure> {
    let opened: io::Result<Box<dyn Write>> = match (file, file.strip_prefix("unix:")) {
        ("-", _) => Ok(Box::new(io::stdout())),
        (_, Some(socket)) => UnixStream::connect(socket).map(|stream| Box::new(stream) as Box<dyn Write>),
        _ => File::create(file).map(|file| Box::new(file) as Box<dyn Write>),
    };
    opened.map_err(|error| Failure::Unwritten { file: file.into(), error })
}

fn tell(args: &CaptureArgs, blocks: &Blocks, json: bool) -> Result<(), Failure> {
    let (packets, lost) = (blocks.packets, blocks.lost());
    eprintln!("vmswitch: {packets} captured, {lost} lost");
    if lost > 0 {
        eprintln!(
            "vmswitch: what was lost was not written as fast as it came: narrow the filter, or cut frames with -s"
        );
    }
    if json && !args.writes_to_stdout() {
        answer::print(&json!({"captured": packets, "lost": lost}).to_string())?;
    }
    Ok(())
}
