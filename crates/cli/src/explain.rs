//! `vmswitch explain`

use crate::{
    answer::Answer,
    client::Client,
    failure::Failure,
    place::{self, PortPlace},
    style::Style,
    table::Table,
};
use clap::Args;
use hyper::Method;
use model::{ExplainFrame, Explanation, FrameBytes, MacAddr, PortStatus};

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
    #[arg(long, value_name = "HEX", required_unless_present = "to", conflicts_with_all = ["to", "from"])]
    frame: Option<FrameBytes>,
    /// A frame to this address
    #[arg(long, value_name = "MAC")]
    to: Option<MacAddr>,
    /// From this address [default: the port's own]
    #[arg(long, value_name = "MAC", requires = "to", value_parser = place::vnic_mac)]
    from: Option<MacAddr>,
    /// Its length in bytes [default: as many as --frame has, and no fewer than 60]
    #[arg(long, value_name = "BYTES")]
    length: Option<u32>,
}

pub async fn run(args: &ExplainArgs, client: &Client) -> Result<Answer, Failure> {
    let path = args.place.path();
    let frame = match (&args.frame, args.to) {
        (Some(frame), _) => frame.clone(),
        (None, to) => {
            let own = match args.from {
                Some(from) => Some(from),
                None => client.get::<PortStatus>(&path).await?.mac,
            };
            header(to.unwrap_or_default(), own.unwrap_or_default())
        }
    };
    let length = Some(args.length.unwrap_or((frame.0.len() as u32).max(SHORTEST)));
    let explanation: Explanation =
        client.send(Method::POST, &format!("{path}/explain"), &ExplainFrame { frame, length }).await?;
    Answer::new(&explanation, text(&args.place, &explanation, Style::of_stdout()))
}

fn header(to: MacAddr, from: MacAddr) -> FrameBytes {
    FrameBytes([&to.0[..], &from.0, &EXPERIMENTAL].concat())
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
