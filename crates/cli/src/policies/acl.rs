//! Access lists of a port.

use clap::Args;
use model::{AclConfig, AclRule, AclRuleError, ChangeAcl, ChangePort, PortConfig, PortStatus};

/// Access lists of a port.
#[derive(Debug, Args)]
pub struct AclArgs {
    /// A rule of its access lists, like 'in allow tcp to any port 22 weight 100 stateful'; once for each, and in place of all that are
    /// there ('' for none)
    #[arg(long, value_name = "RULE", value_parser = rule)]
    acl: Vec<GivenRule>,
    /// Flows that stateful rules may remember at once [default: 65536]
    #[arg(long, value_name = "N")]
    acl_flows: Option<u32>,
}

/// A rule, or an empty text: none.
#[derive(Clone, Debug)]
struct GivenRule(Option<AclRule>);

fn rule(text: &str) -> Result<GivenRule, AclRuleError> {
    if text.trim().is_empty() { Ok(GivenRule(None)) } else { text.parse().map(|rule| GivenRule(Some(rule))) }
}

impl AclArgs {
    fn rules(&self) -> Vec<AclRule> {
        self.acl.iter().filter_map(|given| given.0.clone()).collect()
    }

    pub fn add_to(&self, port: &mut PortConfig) {
        port.acl = AclConfig { rules: self.rules().into(), flows: self.acl_flows.unwrap_or(port.acl.flows) };
    }

    pub fn add_to_change(&self, change: &mut ChangePort) {
        let rules = (!self.acl.is_empty()).then(|| self.rules());
        if rules.is_some() || self.acl_flows.is_some() {
            change.acl = Some(ChangeAcl { rules, flows: self.acl_flows, ..ChangeAcl::default() });
        }
    }
}

/// The rules, and what is counted and remembered by them.
pub fn rows(port: &PortStatus) -> Vec<(&'static str, String)> {
    let rules = &port.config.acl.rules;
    let mut rows: Vec<_> = rules.iter().map(|rule| ("", rule_text(port, rule))).collect();
    match rows.first_mut() {
        Some((label, _)) => *label = "Access lists",
        None => rows.push(("Access lists", "-".into())),
    }
    if let Some(acl) = port.acl.as_ref().filter(|acl| acl.flows != 0) {
        rows.push(("Flows", format!("{} remembered, of {}", acl.flows, port.config.acl.flows)));
    }
    rows
}

/// A rule, and what it has counted where it is a meter.
fn rule_text(port: &PortStatus, rule: &AclRule) -> String {
    let mut meters = port.acl.iter().flat_map(|acl| &acl.meters);
    match meters.find(|meter| Some(&meter.rule) == rule.name.as_ref()) {
        Some(meter) => format!("{rule}: {} frames, {} bytes", meter.frames, meter.bytes),
        None => rule.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::samples;
    use model::{AclStatus, MeterStatus};

    fn args(rules: &[&str]) -> AclArgs {
        AclArgs { acl: rules.iter().map(|text| rule(text).unwrap()).collect(), acl_flows: None }
    }

    #[test]
    fn rules_are_set_replaced_and_taken_away() {
        let mut port = samples::vm1().config;
        args(&["in deny", "out deny"]).add_to(&mut port);
        assert_eq!(port.acl.rules.len(), 2);
        let change = |args: AclArgs| {
            let mut change = ChangePort::default();
            args.add_to_change(&mut change);
            change.acl
        };
        assert_eq!(change(args(&[])), None);
        assert_eq!(change(args(&[""])).unwrap().rules, Some(vec![]));
        assert_eq!(change(args(&["in deny"])).unwrap().rules.unwrap().len(), 1);
        let flows = AclArgs { acl_flows: Some(9), ..args(&[]) };
        assert_eq!(change(flows), Some(ChangeAcl { flows: Some(9), ..ChangeAcl::default() }));
    }

    #[test]
    fn rules_are_shown_with_what_they_count() {
        let mut port = samples::vm1();
        assert_eq!(rows(&port), [("Access lists", "-".to_owned())]);
        args(&["name m in meter from 10.0.0.0/8", "name d in deny"]).add_to(&mut port.config);
        let meter = MeterStatus { rule: "m".parse().unwrap(), frames: 3, bytes: 180 };
        port.acl = Some(AclStatus { meters: vec![meter], flows: 2 });
        let expected = [
            ("Access lists", "name m in meter from 10.0.0.0/8: 3 frames, 180 bytes".to_owned()),
            ("", "name d in deny".to_owned()),
            ("Flows", "2 remembered, of 65536".to_owned()),
        ];
        assert_eq!(rows(&port), expected);
    }
}
