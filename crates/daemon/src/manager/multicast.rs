//! What `multicast list` answers.

use super::{Core, live::LiveSwitch, refuse::no_switch};
use crate::api::Refused;
use engine::{Asker, MulticastMember, MulticastReport, MulticastSegment};
use model::policy::multicast::{
    MulticastGroup, MulticastRouter, MulticastStatus, MulticastVlan, UnknownWants,
};

impl Core {
    pub fn multicast_status(&self, switch: &str) -> Result<MulticastStatus, Refused> {
        let live = self.live.get(switch).ok_or_else(|| no_switch(switch))?;
        let report = self.dataplane.multicast(live.id)?;
        Ok(report.map_or_else(
            || MulticastStatus { config: live.multicast, ..MulticastStatus::default() },
            |report| status(live, &report),
        ))
    }
}

/// A port that has gone meanwhile has no name, and is left out.
fn status(live: &LiveSwitch, report: &MulticastReport) -> MulticastStatus {
    let behind_uplink = live.uplink().filter(|_| live.multicast.uplink_router).map(|uplink| {
        MulticastRouter { vlan: None, protocol: None, port: uplink.config.name.clone(), left_s: None }
    });
    let heard = report.members.iter().filter(|member| member.group.is_none());
    MulticastStatus {
        config: live.multicast,
        vlans: report.segments.iter().map(|segment| vlan(live, segment)).collect(),
        groups: report.members.iter().filter_map(|member| group(live, member)).collect(),
        routers: behind_uplink.into_iter().chain(heard.filter_map(|member| router(live, member))).collect(),
        unknown: report
            .gets_all
            .iter()
            .filter_map(|(port, left_ms)| {
                Some(UnknownWants { port: live.name_of(*port)?, left_s: left_ms / 1000 })
            })
            .collect(),
    }
}

fn vlan(live: &LiveSwitch, segment: &MulticastSegment) -> MulticastVlan {
    let (querier, querier_port) = match segment.asker {
        Some(Asker::Own(address)) => (Some(address), None),
        Some(Asker::Other { address, port, .. }) => (Some(address), live.name_of(port)),
        None => (None, None),
    };
    let (protocol, filters) = (segment.protocol, segment.filters);
    MulticastVlan { vlan: segment.vlan, protocol, querier, querier_port, filters }
}

fn group(live: &LiveSwitch, member: &MulticastMember) -> Option<MulticastGroup> {
    Some(MulticastGroup {
        vlan: member.vlan,
        group: member.group?,
        port: live.name_of(member.port)?,
        age_s: member.age_ms / 1000,
        left_s: member.left_ms / 1000,
    })
}

fn router(live: &LiveSwitch, member: &MulticastMember) -> Option<MulticastRouter> {
    Some(MulticastRouter {
        vlan: Some(member.vlan),
        protocol: Some(member.protocol),
        port: live.name_of(member.port)?,
        left_s: Some(member.left_ms / 1000),
    })
}
