//! `vmswitch explain`

use crate::{
    answer::Answer,
    client::Client,
    failure::Failure,
    packet::{BadPacket, Packet},
    place::{self, PortPlace},
    style::Style,
    table::Table,
};
use clap::Args;
use hyper::Method;
use model::{ExplainFrame, Explanation, FrameBytes, MacAddr, Name, PortStatus};
use std::str::FromStr;
use wire::vlan::TPID_8021Q;

/// The shortest frame on a wire, without FCS.
const SHORTEST: u32 = 60;
/// An EtherType for experiments (IEEE 802, 9.2.3), which no stage knows.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The port that it would come from
    #[arg(value_name = "SWITCH/PORT")]
    place: PortPlace,
    /// Its bytes in hexadecimal, from the destination MAC on
    #[arg(long, value_name = "HEX", conflicts_with_all = ["to", "from", "packet", "vlan"])]
    frame: Option<FrameBytes>,
    #[command(flatten)]
    carries: Carries,
    /// A frame to this address, or to that of this port
    #[arg(long, alias = "dst-mac", value_name = "MAC|PORT")]
    to: Option<Receiver>,
    /// From this address [default: the port's own]
    #[arg(long, value_name = "MAC", value_parser = place::vnic_mac)]
    from: Option<MacAddr>,
    /// With the tag of this VLAN
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(0..=4095))]
    vlan: Option<u16>,
    /// Its length in bytes [default: as many as --frame has, and no fewer than 60]
    #[arg(long, value_name = "BYTES")]
    length: Option<u32>,
}

/// What the frame carries: one of these, or nothing that a stage knows.
#[derive(Debug, Args)]
#[group(id = "packet", multiple = false)]
struct Carries {
    /// The first segment of a TCP connection
    #[arg(long, num_args = 2, value_names = ["IP:PORT", "IP:PORT"])]
    tcp: Option<Vec<String>>,
    /// A UDP datagram
    #[arg(long, num_args = 2, value_names = ["IP:PORT", "IP:PORT"])]
    udp: Option<Vec<String>>,
    /// An echo request (ping)
    #[arg(long, num_args = 2, value_names = ["IP", "IP"])]
    icmp: Option<Vec<String>>,
    /// An ARP request: the asker's address, and the one asked for
    #[arg(long, num_args = 2, value_names = ["IP", "IP"])]
    arp: Option<Vec<String>>,
}

impl Carries {
    fn packet(&self) -> Result<Option<Packet>, BadPacket> {
        type Make = fn(&str, &str) -> Result<Packet, BadPacket>;
        let given = [
            (&self.tcp, Packet::tcp as Make),
            (&self.udp, Packet::udp),
            (&self.icmp, Packet::icmp),
            (&self.arp, Packet::arp),
        ];
        let mut given = given.into_iter().filter_map(|(ends, make)| Some((ends.as_deref()?, make)));
        match given.next() {
            Some(([from, to], make)) => make(from, to).map(Some),
            _ => Ok(None),
        }
    }
}

impl ExplainArgs {
    /// What no frame can be made of.
    pub fn check(&self) -> Result<(), String> {
        let packet = self.carries.packet().map_err(|bad| bad.to_string())?;
        let has_receiver = packet.is_some_and(|packet| packet.destination().is_some());
        match (&self.frame, &self.to, packet) {
            (None, None, None) => Err("say which frame: --frame HEX, or to whom it goes: --to MAC".into()),
            (None, None, Some(_)) if !has_receiver => {
                Err("who has an address is not known here: say to which MAC or port it goes, with --to"
                    .into())
            }
            _ => Ok(()),
        }
    }
}

/// Whom a frame is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Receiver {
    Mac(MacAddr),
    Port(Name),
}

impl FromStr for Receiver {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mac = text.parse().map(Self::Mac);
        mac.or_else(|_| text.parse().map(Self::Port))
            .map_err(|_| format!("'{text}' is neither a MAC nor a port's name"))
    }
}

pub async fn run(args: &ExplainArgs, client: &Client) -> Result<Answer, Failure> {
    let path = args.place.path();
    let frame = match &args.frame {
        Some(frame) => frame.clone(),
        None => made(args, client).await?,
    };
    let length = Some(args.length.unwrap_or((frame.0.len() as u32).max(SHORTEST)));
    let explanation: Explanation =
        client.send(Method::POST, &format!("{path}/explain"), &ExplainFrame { frame, length }).await?;
    Answer::new(&explanation, text(&args.place, &explanation, Style::of_stdout()))
}

async fn made(args: &ExplainArgs, client: &Client) -> Result<FrameBytes, Failure> {
    let packet = args.carries.packet().map_err(Failure::answer)?;
    let from = match args.from {
        Some(from) => from,
        None => mac_of(&args.place, client).await?,
    };
    let to = match &args.to {
        Some(Receiver::Mac(mac)) => *mac,
        Some(Receiver::Port(port)) => {
            mac_of(&PortPlace { switch: args.place.switch.clone(), port: port.clone() }, client).await?
        }
        None => packet.and_then(|packet| packet.destination()).unwrap_or_default(),
    };
    Ok(FrameBytes(
        packet.map_or_else(|| bare(to, from, args.vlan), |packet| packet.frame(to, from, args.vlan)),
    ))
}

/// The MAC of a port, which an uplink has as its NIC's.
async fn mac_of(place: &PortPlace, client: &Client) -> Result<MacAddr, Failure> {
    Ok(client.get::<PortStatus>(&place.path()).await?.mac.unwrap_or_default())
}

fn bare(to: MacAddr, from: MacAddr, vlan: Option<u16>) -> Vec<u8> {
    let tag = vlan.map(|id| [TPID_8021Q.to_be_bytes(), id.to_be_bytes()].concat()).unwrap_or_default();
    [&to.0[..], &from.0, &tag, &EXPERIMENTAL].concat()
}

fn text(place: &PortPlace, explanation: &Explanation, style: Style) -> String {
    let mut table = Table::new(&["STAGE", "FINDS"]);
    for step in &explanation.steps {
        table.row([(&step.stage).into(), (&step.finding).into()]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.render(style) + "\n" };
    let port = |name| PortPlace { switch: place.switch.clone(), port: name };
    for leaves in &explanation.leaves {
        text += &format!("It would leave on {}.\n", port(leaves.clone()));
    }
    for drop in &explanation.drops {
        let (at, reason) = (port(drop.port.clone()), drop.reason);
        text += &format!("It would be dropped at {at}: {}. {}\n", reason.as_str(), reason.explanation());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{DropReason, ExplainedDrop, ExplainedStep};

    #[test]
    fn an_explanation_reads_from_stage_to_outcome() {
        let step =
            |stage: &str, finding: &str| ExplainedStep { stage: stage.into(), finding: finding.into() };
        let drop = ExplainedDrop { port: "vm2".parse().unwrap(), reason: DropReason::PortDown };
        let explanation = Explanation {
            steps: vec![
                step("guard", "vm1 may send from this address"),
                step("destination", "is known on vm2"),
            ],
            leaves: vec!["vm3".parse().unwrap()],
            drops: vec![drop],
        };
        let expected = "\
STAGE        FINDS
guard        vm1 may send from this address
destination  is known on vm2

It would leave on lan/vm3.
It would be dropped at lan/vm2: port_down. The destination's port is down.
";
        assert_eq!(text(&"lan/vm1".parse().unwrap(), &explanation, Style::PLAIN), expected);
    }
}
