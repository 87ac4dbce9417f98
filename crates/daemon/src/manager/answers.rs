//! What `show` and `list` answer.

use super::{
    Core,
    live::LivePort,
    refuse::{no_port, no_switch},
    sharing,
};
use crate::{api::Refused, events::now_s};
use dataplane::{SwitchId, WorkerReport};
use engine::Meter;
use model::{
    AclStatus, MacEntry, MeterStatus, Name, PortConfig, PortCounters, PortStatus, SwitchConfig, SwitchStatus,
    WorkerStatus,
};
use std::collections::BTreeMap;

impl Core {
    pub fn switch_status(&self, name: &str) -> Result<SwitchStatus, Refused> {
        let config = self.config(name)?;
        let live = self.live.get(name).ok_or_else(|| no_switch(name))?;
        let report = self.dataplane.report(live.id)?;
        let confirm_within_s = self.pending.get(name).map(|p| p.confirm_by_s.saturating_sub(now_s()));
        Ok(SwitchStatus {
            name: config.name.clone(),
            kind: config.kind,
            uplinks: config.uplink().map(ToString::to_string).into_iter().collect(),
            io: live.uplink().and_then(LivePort::io_status),
            ports: config.ports.iter().map(|p| p.name.clone()).collect(),
            mac_table_size: config.mac_table_size,
            mac_entries: report.mac_entries as u32,
            ageing_s: config.ageing_s,
            multicast: config.multicast,
            sharing: sharing::status(config),
            confirm_within_s,
            stats: report.switch,
        })
    }

    pub fn port_statuses(&self, switch: &str) -> Result<Vec<PortStatus>, Refused> {
        self.statuses_of(switch, |_| true)
    }

    pub fn port_status(&self, switch: &str, port: &str) -> Result<PortStatus, Refused> {
        let found = self.statuses_of(switch, |config| config.name.as_str() == port)?.pop();
        found.ok_or_else(|| no_port(switch, port))
    }

    fn statuses_of(
        &self,
        switch: &str,
        wanted: impl Fn(&PortConfig) -> bool,
    ) -> Result<Vec<PortStatus>, Refused> {
        let config = self.config(switch)?;
        let live = self.live.get(switch).ok_or_else(|| no_switch(switch))?;
        let report = self.dataplane.report(live.id)?;
        let counters: BTreeMap<_, _> = report.ports.into_iter().collect();
        let mut leases = self.leased(live.id);
        let ports = config.ports.iter().filter(|port| wanted(port)).filter_map(|p| live.ports.get(&p.name));
        ports
            .map(|port| {
                let stats = counters.get(&port.index).copied().unwrap_or_default();
                let (acl, leases) =
                    (self.acl_status(live.id, port)?, leases.remove(&port.index).unwrap_or_default());
                Ok(PortStatus { acl, leases, ..self.status(&config.name, port, stats) })
            })
            .collect()
    }

    pub fn mac_entries(&self, switch: &str) -> Result<Vec<MacEntry>, Refused> {
        let live = self.live.get(switch).ok_or_else(|| no_switch(switch))?;
        let entries = self.dataplane.macs(live.id)?;
        let mut macs: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| {
                let port = live.name_of(entry.port)?;
                let (mac, vlan, kind, age_s) = (entry.mac, entry.vlan, entry.kind, entry.age_ms / 1000);
                Some(MacEntry { mac, vlan, port, kind, age_s })
            })
            .collect();
        macs.sort_by_key(|entry| (entry.vlan, entry.mac));
        Ok(macs)
    }

    pub fn worker_statuses(&self) -> Result<Vec<WorkerStatus>, Refused> {
        let status = |(worker, report): (u32, WorkerReport)| WorkerStatus {
            worker,
            cpu: report.cpu.map(|cpu| cpu as u32),
            uptime_ns: report.uptime.as_nanos() as u64,
            busy_ns: report.busy.as_nanos() as u64,
            frames: report.frames,
            batches: report.batches,
        };
        Ok((0..).zip(self.dataplane.loads()?).map(status).collect())
    }

    fn acl_status(&self, switch: SwitchId, port: &LivePort) -> Result<Option<AclStatus>, Refused> {
        if port.config.acl.rules.is_empty() {
            return Ok(None);
        }
        let (meters, flows) = self.dataplane.access_lists(switch, port.index)?;
        let meters = meters.into_iter().filter_map(|(rule, Meter { frames, bytes })| {
            Some(MeterStatus { rule: rule.name?, frames, bytes })
        });
        Ok(Some(AclStatus { meters: meters.collect(), flows: flows as u32 }))
    }

    fn status(&self, switch: &Name, port: &LivePort, stats: PortCounters) -> PortStatus {
        PortStatus {
            name: port.config.name.clone(),
            switch: switch.clone(),
            kind: port.config.attach.kind().into(),
            mac: port.mac,
            state: port.state,
            reason: port.reason.clone(),
            mtu: port.mtu,
            vhost: self.vhost_status(switch, port),
            io: port.io_status(),
            acl: None,
            leases: Vec::new(),
            mirror: self.mirror_status(switch, &port.config.name),
            config: PortConfig::clone(&port.config),
            stats,
        }
    }

    fn config(&self, switch: &str) -> Result<&SwitchConfig, Refused> {
        self.state.switch(switch).ok_or_else(|| no_switch(switch))
    }
}
