//! What a port's guard lets in besides.

use crate::{args::OnOff, place::several, switch::or_dash};
use clap::Args;
use model::{ChangePort, Name, PortConfig, policy::guard::ChangeGuardAlso};

/// Names of ports with commas between them; an empty text is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(Vec<Name>);

fn ports(text: &str) -> Result<Ports, String> {
    several(text, |name| name.parse::<Name>().map_err(|error| error.to_string())).map(Ports)
}

/// Its arguments.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// The guard lets virtual routers' MACs in (VRRP: 00:00:5e:00:01:xx, 00:00:5e:00:02:xx) [default: off]
    #[arg(long)]
    guard_vrrp: Option<OnOff>,
    /// The guard takes the first N further source MACs for the port's own [default: 0]
    #[arg(long, value_name = "N")]
    guard_learn: Option<u16>,
    /// The guard lets the MACs of these ports of the same VM in, for teams in the guest; replaces the list
    #[arg(long, value_name = "PORT[,PORT...]", value_parser = ports)]
    team_with: Option<Ports>,
}

impl GuardArgs {
    pub fn add_to(&self, port: &mut PortConfig) {
        port.guard_also.change(self.change());
    }

    pub fn add_to_change(&self, change: &mut ChangePort) {
        change.guard_also = self.change();
    }

    fn change(&self) -> ChangeGuardAlso {
        ChangeGuardAlso {
            vrrp: self.guard_vrrp.map(bool::from),
            learn: self.guard_learn,
            team_with: self.team_with.clone().map(|ports| ports.0),
        }
    }
}

/// What `port show` says of it, besides the allow list.
pub fn row(port: &PortConfig) -> (&'static str, String) {
    let also = &port.guard_also;
    let mut parts = Vec::new();
    if also.vrrp {
        parts.push("virtual routers (VRRP)".to_owned());
    }
    match also.learn {
        0 => {}
        1 => parts.push("the first further MAC".to_owned()),
        n => parts.push(format!("the first {n} further MACs")),
    }
    parts.extend(also.team_with.iter().map(|port| format!("the MAC of {port}")));
    ("Also let in", or_dash(&parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::samples;
    use clap::{CommandFactory, FromArgMatches};
    use model::policy::guard::GuardAlso;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        guard: GuardArgs,
    }

    fn parse(text: &str) -> Result<GuardArgs, clap::Error> {
        let line = Line::command().try_get_matches_from(["x"].into_iter().chain(text.split(' ')))?;
        Line::from_arg_matches(&line).map(|line| line.guard)
    }

    #[test]
    fn each_argument_sets_one_thing() {
        let args = parse("--guard-vrrp on --guard-learn 4 --team-with vm1,vm1b").unwrap();
        let team = ["vm1", "vm1b"].map(|name| name.parse().unwrap()).to_vec();
        let mut port = samples::vm1().config;
        args.add_to(&mut port);
        assert_eq!(port.guard_also, GuardAlso { vrrp: true, learn: 4, team_with: team });
        assert_eq!(parse("--team-with=").unwrap().change().team_with, Some(Vec::new()));
        assert_eq!(
            parse("--guard-learn 1").unwrap().change(),
            ChangeGuardAlso { learn: Some(1), ..ChangeGuardAlso::default() }
        );
        for bad in ["--guard-learn -1", "--guard-learn 70000", "--team-with a/b", "--guard-vrrp maybe"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_let_in_is_one_row() {
        let mut port = samples::vm1().config;
        assert_eq!(row(&port).1, "-");
        parse("--guard-vrrp on --guard-learn 4 --team-with vm1").unwrap().add_to(&mut port);
        assert_eq!(row(&port).1, "virtual routers (VRRP), the first 4 further MACs, the MAC of vm1");
    }
}
