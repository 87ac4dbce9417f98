//! What would become of a frame, in words.

use super::{
    Core,
    live::LiveSwitch,
    refuse::{no_port, no_switch},
};
use crate::api::Refused;
use engine::{AclFinding, AclWay, Audience, Learned, PortIndex, Roamed, Step};
use model::{DropReason, ExplainFrame, ExplainedDrop, ExplainedStep, Explanation, Name};

impl Core {
    pub fn explain(&self, switch: &str, port: &str, asked: &ExplainFrame) -> Result<Explanation, Refused> {
        let live = self.live.get(switch).ok_or_else(|| no_switch(switch))?;
        let found = live.ports.iter().find(|(name, _)| name.as_str() == port);
        let (name, found) = found.ok_or_else(|| no_port(switch, port))?;
        let bytes = &asked.frame.0;
        let len = asked.length.unwrap_or(bytes.len() as u32);
        let explained = self.dataplane.explain(live.id, found.index, bytes, len)?;
        let steps = explained.steps.iter().map(|step| sentence(live, name, step)).collect();
        let mut explanation = Explanation { steps, ..Explanation::default() };
        for outcome in explained.outcomes {
            match outcome.map_err(|(port, reason)| (live.name_of(port), reason)) {
                Ok(port) => explanation.leaves.extend(live.name_of(port)),
                Err((port, reason)) => {
                    explanation.drops.extend(port.map(|port| ExplainedDrop { port, reason }))
                }
            }
        }
        Ok(explanation)
    }
}

fn sentence(live: &LiveSwitch, port: &Name, step: &Step) -> ExplainedStep {
    let name_of = |index: PortIndex| live.name_of(index).map_or_else(|| "?".into(), |name| name.to_string());
    let (stage, finding) = match step {
        Step::Addresses { destination, source } => ("addresses", format!("from {source} to {destination}")),
        Step::Guard { passes: true } => ("guard", format!("{port} may send from this address")),
        Step::Guard { passes: false } => ("guard", format!("{port} may not send from this address")),
        Step::Vlan(Ok(0)) => ("vlan", "the frame is in no VLAN".into()),
        Step::Vlan(Ok(vlan)) => ("vlan", format!("the frame is in VLAN {vlan}")),
        Step::Vlan(Err(DropReason::DoubleTag)) => {
            ("vlan", "behind a tag without VLAN comes one that has one".into())
        }
        Step::Vlan(Err(_)) => ("vlan", format!("{port} may not send with this tag")),
        Step::AccessLists { port: at, way, finding } => ("access lists", by_lists(live, *at, *way, finding)),
        Step::Policies { refused: None } => ("policies", format!("{port} may send what the frame carries")),
        Step::Policies { refused: Some(_) } => {
            ("policies", format!("{port} may not send what the frame carries or hides"))
        }
        Step::Roamed(Roamed::From(at)) => {
            ("guard", format!("the address moves from {} to {port}, as they are a team", name_of(*at)))
        }
        Step::Roamed(Roamed::Bound) => ("guard", format!("the address is bound to {port}")),
        Step::Roamed(Roamed::NoPlace) => ("guard", "the address is not bound: the MAC table is full".into()),
        Step::IpGuard { passes: true } => {
            ("ip guard", format!("{port} may speak for the addresses that the frame claims"))
        }
        Step::IpGuard { passes: false } => {
            ("ip guard", format!("{port} may not speak for an address that the frame claims, or hides"))
        }
        Step::Source(None) => ("source", format!("{port} has no guard, and the source is not known yet")),
        Step::Source(Some(at)) => {
            ("source", format!("{port} has no guard; the source is known on {}", name_of(*at)))
        }
        Step::Learned(Learned::Yes) => ("learn", format!("the source is on {port}")),
        Step::Learned(Learned::MovedFrom(from)) => {
            ("learn", format!("the source moves from {} to {port}", name_of(*from)))
        }
        Step::Learned(Learned::No) => {
            ("learn", "the source is not learned: the port or the table is at its limit".into())
        }
        Step::Group => ("destination", "a group: every other port of the VLAN gets it".into()),
        Step::Audience(Audience::Everybody) => (
            "multicast",
            "nothing is filtered: it is for everybody, or nobody asks hosts for their groups".into(),
        ),
        Step::Audience(Audience::Members(group)) => {
            ("multicast", format!("ports that have joined {group} and those of routers get it"))
        }
        Step::Audience(Audience::Routers(_)) => {
            ("multicast", "it tells which groups a host wants: ports of routers get it".into())
        }
        Step::Destination(Some(at)) => ("destination", format!("is known on {}", name_of(*at))),
        Step::Destination(None) => {
            ("destination", "is not known: uplinks and ports without guard of the VLAN get it".into())
        }
        Step::Mirrored(to) => ("mirror", format!("a copy goes to {}", name_of(*to))),
        Step::Storm { passes: true } => ("storm limit", format!("{port} may have this frame flooded")),
        Step::Storm { passes: false } => {
            ("storm limit", format!("{port} has had as many frames flooded in this second as it may"))
        }
        Step::NotInVlan(at) => ("destination", format!("{} does not get frames of this VLAN", name_of(*at))),
    };
    ExplainedStep { stage: stage.into(), finding }
}

fn by_lists(live: &LiveSwitch, at: PortIndex, way: AclWay, finding: &AclFinding) -> String {
    let found = live.ports.iter().find(|(_, port)| port.index == at);
    let rules = found.map_or(&[][..], |(_, port)| &port.config.acl.rules);
    let rule = finding.rule.and_then(|number| rules.get(usize::from(number)));
    let by = match rule {
        Some(rule) => format!("by '{rule}'"),
        None if finding.of_flow => "as part of a flow that a stateful rule let begin".into(),
        None => "as no rule matches".into(),
    };
    let name = found.map_or("?", |(name, _)| name.as_str());
    let what = if way == AclWay::In { "get" } else { "send" };
    match finding.refused {
        None => format!("{name} may {what} the frame, {by}"),
        Some(reason) => format!("{name} may not {what} the frame, {by}: {}", reason.as_str()),
    }
}
