//! `vmswitch acl …`

use crate::{answer::Answer, client::Client, failure::Failure, place::PortPlace, style::Style, table::Table};
use clap::Subcommand;
use hyper::Method;
use model::{AclRule, AclRuleError, ChangeAcl, ChangePort, Name, PortStatus};
use serde_json::json;

/// Commands on access lists.
#[derive(Debug, Subcommand)]
pub enum AclCommand {
    /// Add a rule to the access lists of a port
    #[command(after_help = "\
Examples:
  vmswitch acl add lan/vm1 in deny from 10.0.0.0/8
  vmswitch acl add lan/vm1 name one in allow from 10.1.2.3    # the longest prefix decides
  vmswitch acl add lan/vm1 in deny from mac 02:00:00:00:00:09
  vmswitch acl add lan/vm1 both meter remote 192.0.2.0/24
  vmswitch acl add lan/vm1 in allow tcp from any to any port 22 weight 100 stateful idle 300
  vmswitch acl add lan/vm1 in deny ip weight 1

A rule: [name NAME] in|out|both allow|deny|meter [WHAT] [from|to|local|remote WHERE]... [weight N [stateful [idle SECONDS]]]
WHAT is any, ip, arp, tcp, udp, icmp [type N], icmpv6 [type N] or a protocol's number; WHERE is any, an address with or without \
length, or mac MAC, then port N or port N-M. 'in' is what goes to the vNIC, 'out' what comes from it; with 'both', 'local' is \
the vNIC's end. With a weight it is an extended rule: of those, the highest weight that matches decides. A frame has to \
pass both basic and extended rules, and what no rule matches passes.")]
    Add {
        /// The port
        #[arg(value_name = "SWITCH/PORT")]
        place: PortPlace,
        /// The rule, in one word or in several
        #[arg(value_name = "RULE", required = true, num_args = 1.., trailing_var_arg = true)]
        rule: Vec<String>,
    },
    /// Take rules away
    #[command(
        visible_alias = "rm",
        after_help = "\
Examples:
  vmswitch acl remove lan/vm1 r1 r2"
    )]
    Remove {
        /// The port
        #[arg(value_name = "SWITCH/PORT")]
        place: PortPlace,
        /// Names of the rules
        #[arg(value_name = "NAME", required = true)]
        names: Vec<Name>,
    },
    /// List the rules of a port, and what its meters counted
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  vmswitch acl list lan/vm1"
    )]
    List {
        /// The port
        #[arg(value_name = "SWITCH/PORT")]
        place: PortPlace,
    },
}

impl AclCommand {
    /// Why what is to be added is no rule.
    pub fn rule_error(&self) -> Option<AclRuleError> {
        match self {
            Self::Add { rule, .. } => parse(rule).err(),
            Self::Remove { .. } | Self::List { .. } => None,
        }
    }
}

fn parse(words: &[String]) -> Result<AclRule, AclRuleError> {
    words.join(" ").parse()
}

pub async fn run(command: AclCommand, client: &Client, style: Style) -> Result<Answer, Failure> {
    match command {
        AclCommand::Add { place, rule } => {
            let rule = parse(&rule).map_err(|error| Failure::Answer(error.to_string()))?;
            change(client, &place, ChangeAcl { add: vec![rule], ..ChangeAcl::default() }, style).await
        }
        AclCommand::Remove { place, names } => {
            change(client, &place, ChangeAcl { remove: names, ..ChangeAcl::default() }, style).await
        }
        AclCommand::List { place } => answer(&client.get(&place.path()).await?, style),
    }
}

async fn change(client: &Client, place: &PortPlace, acl: ChangeAcl, style: Style) -> Result<Answer, Failure> {
    let change = ChangePort { acl: Some(acl), ..ChangePort::default() };
    answer(&client.send(Method::PATCH, &place.path(), &change).await?, style)
}

fn answer(port: &PortStatus, style: Style) -> Result<Answer, Failure> {
    let rules: Vec<_> = port
        .config
        .acl
        .rules
        .iter()
        .map(|rule| {
            let (frames, bytes) = counted(port, rule).unzip();
            json!({ "name": rule.name, "rule": rule.body(), "frames": frames, "bytes": bytes })
        })
        .collect();
    Answer::new(&rules, list_text(port, style))
}

/// Frames and bytes, where the rule is a meter.
fn counted(port: &PortStatus, rule: &AclRule) -> Option<(u64, u64)> {
    let mut meters = port.acl.iter().flat_map(|acl| &acl.meters);
    let meter = meters.find(|meter| Some(&meter.rule) == rule.name.as_ref())?;
    Some((meter.frames, meter.bytes))
}

fn list_text(port: &PortStatus, style: Style) -> String {
    let mut table = Table::new(&["NAME", "RULE", ">FRAMES", ">BYTES"]);
    for rule in &port.config.acl.rules {
        let name = rule.name.as_ref().map(ToString::to_string).unwrap_or_default();
        let [frames, bytes] = counted(port, rule).map_or_else(
            || ["-".to_owned(), "-".to_owned()],
            |(frames, bytes)| [frames.to_string(), bytes.to_string()],
        );
        table.row([name.into(), rule.body().to_string().into(), frames.into(), bytes.into()]);
    }
    if table.is_empty() {
        return "There are no rules, so everything passes. Add one: vmswitch acl add --help".into();
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::samples;
    use model::{AclStatus, MeterStatus};

    #[test]
    fn rules_are_a_table() {
        let mut port = samples::vm1();
        assert!(list_text(&port, Style::PLAIN).starts_with("There are no rules"));
        port.config.acl.rules = ["name m in meter", "name ssh in allow tcp to any port 22 weight 9"]
            .map(|text| text.parse().unwrap())
            .into_iter()
            .collect();
        let meter = MeterStatus { rule: "m".parse().unwrap(), frames: 3, bytes: 180 };
        port.acl = Some(AclStatus { meters: vec![meter], flows: 0 });
        let expected = "\
NAME  RULE                                  FRAMES  BYTES
m     in meter                                   3    180
ssh   in allow tcp to any port 22 weight 9       -      -
";
        assert_eq!(list_text(&port, Style::PLAIN), expected);
    }
}
