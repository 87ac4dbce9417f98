//! A backend that keeps its switches in memory and has no host.

use daemon::{
    api::{Backend, Refused, RefusedKind},
    tap::{Tapped, Wanted},
};
use dataplane::tap::{Fate, Form, Outcome, Selection, Tap};
use engine::PortIndex;
use model::{
    Attachment, ChangePort, ChangeSwitch, DesiredState, Event, ExplainFrame, ExplainedStep, Explanation,
    FlushMacs, MacEntry, MacKind, NewSwitch, Plan, PortConfig, PortState, PortStatus, SwitchConfig,
    SwitchCounters, SwitchStatus, WorkerStatus, policy::multicast::MulticastStatus,
};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// Where a request waits until it is released.
#[derive(Default)]
pub struct Gate {
    state: Mutex<Passage>,
    changed: Condvar,
}

#[derive(Default)]
struct Passage {
    waits: bool,
    is_open: bool,
}

impl Gate {
    fn wait(&self) {
        self.lock().waits = true;
        self.changed.notify_all();
        self.until(|state| state.is_open);
    }

    /// Returns when a request waits.
    pub fn reached(&self) {
        self.until(|state| state.waits);
    }

    /// Lets it go on, and all that come.
    pub fn release(&self) {
        self.lock().is_open = true;
        self.changed.notify_all();
    }

    fn until(&self, so: impl Fn(&Passage) -> bool) {
        let state = self.changed.wait_while(self.lock(), |state| !so(state));
        drop(state.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, Passage> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Memory {
    state: Mutex<DesiredState>,
    /// What holds requests for the switch `slow`.
    pub slow: Gate,
    pub events: broadcast::Sender<Event>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { state: Mutex::default(), slow: Gate::default(), events: broadcast::Sender::new(4) }
    }
}

fn not_found(what: &str) -> Refused {
    Refused::new(RefusedKind::NotFound, format!("there is no '{what}'"))
}

impl Memory {
    /// Changes a copy, and keeps it if it is valid.
    fn edit<T>(&self, change: impl FnOnce(&mut DesiredState) -> Result<T, Refused>) -> Result<T, Refused> {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let mut new = state.clone();
        let answer = change(&mut new)?;
        let valid = new.validate().map_err(|e| Refused::new(RefusedKind::Invalid, e.to_string()))?;
        *state = valid.desired().clone();
        Ok(answer)
    }

    fn config(&self, name: &str) -> Result<SwitchConfig, Refused> {
        self.export().switches.into_iter().find(|s| s.name.as_str() == name).ok_or_else(|| not_found(name))
    }
}

fn find<'a>(state: &'a mut DesiredState, name: &str) -> Result<&'a mut SwitchConfig, Refused> {
    state.switches.iter_mut().find(|s| s.name.as_str() == name).ok_or_else(|| not_found(name))
}

fn status(switch: SwitchConfig) -> SwitchStatus {
    SwitchStatus {
        uplinks: switch.uplink().map(ToString::to_string).into_iter().collect(),
        io: None,
        ports: switch.ports.iter().map(|p| p.name.clone()).collect(),
        name: switch.name,
        kind: switch.kind,
        mac_table_size: switch.mac_table_size,
        mac_entries: 0,
        ageing_s: switch.ageing_s,
        multicast: switch.multicast,
        sharing: None,
        confirm_within_s: None,
        stats: SwitchCounters::default(),
    }
}

fn port_status(switch: &SwitchConfig, port: &PortConfig) -> PortStatus {
    PortStatus {
        name: port.name.clone(),
        switch: switch.name.clone(),
        kind: port.attach.kind().into(),
        mac: port.mac,
        state: PortState::Up,
        reason: None,
        mtu: port.mtu.unwrap_or(1500),
        vhost: None,
        io: None,
        acl: None,
        leases: Vec::new(),
        mirror: None,
        config: port.clone(),
        stats: Default::default(),
    }
}

impl Backend for Memory {
    fn switches(&self) -> Vec<SwitchStatus> {
        self.export().switches.into_iter().map(status).collect()
    }

    /// Some names misbehave.
    fn switch(&self, name: &str) -> Result<SwitchStatus, Refused> {
        match name {
            "panics" => panic!("a defect"),
            "slow" => self.slow.wait(),
            "secret" => return Err(Refused::new(RefusedKind::Forbidden, "not yours")),
            _ => {}
        }
        self.config(name).map(status)
    }

    fn add_switch(&self, new: NewSwitch) -> Result<SwitchStatus, Refused> {
        if let Some(nic) = new.uplinks.iter().find(|nic| nic.as_str() == "missing0") {
            return Err(Refused::new(RefusedKind::HostRefused, format!("this host has no NIC '{nic}'")));
        }
        let ports = new.uplinks.iter().map(|nic| {
            let name = nic.as_str().parse().unwrap();
            PortConfig::new(name, Attachment::Uplink(nic.clone())).into()
        });
        let switch = SwitchConfig { ports: ports.collect(), ..SwitchConfig::new(new.name, new.kind) };
        self.edit(|state| {
            if state.switches.iter().any(|s| s.name == switch.name) {
                return Err(Refused::new(
                    RefusedKind::Conflict,
                    format!("'{}' is there already", switch.name),
                ));
            }
            state.switches.push(switch.clone());
            Ok(status(switch))
        })
    }

    fn change_switch(&self, name: &str, change: ChangeSwitch) -> Result<SwitchStatus, Refused> {
        self.edit(|state| {
            let switch = find(state, name)?;
            switch.ageing_s = change.ageing_s.unwrap_or(switch.ageing_s);
            change.multicast.apply(&mut switch.multicast);
            Ok(status(switch.clone()))
        })
    }

    fn remove_switch(&self, name: &str) -> Result<(), Refused> {
        self.edit(|state| {
            find(state, name)?;
            state.switches.retain(|s| s.name.as_str() != name);
            Ok(())
        })
    }

    fn confirm_switch(&self, name: &str) -> Result<SwitchStatus, Refused> {
        self.switch(name)
    }

    fn ports(&self, switch: &str) -> Result<Vec<PortStatus>, Refused> {
        let switch = self.config(switch)?;
        Ok(switch.ports.iter().map(|p| port_status(&switch, p)).collect())
    }

    fn port(&self, switch: &str, port: &str) -> Result<PortStatus, Refused> {
        let switch = self.config(switch)?;
        switch.port(port).map(|p| port_status(&switch, p)).ok_or_else(|| not_found(port))
    }

    fn add_port(&self, switch: &str, port: PortConfig) -> Result<PortStatus, Refused> {
        let name = port.name.clone();
        self.edit(|state| {
            find(state, switch)?.ports.push(port.into());
            Ok(())
        })?;
        self.port(switch, name.as_str())
    }

    fn change_port(&self, switch: &str, port: &str, change: ChangePort) -> Result<PortStatus, Refused> {
        self.edit(|state| {
            let found = find(state, switch)?.ports.iter_mut().find(|p| p.name.as_str() == port);
            let found = found.ok_or_else(|| not_found(port))?;
            let found = Arc::make_mut(found);
            found.guard = change.guard.unwrap_or(found.guard);
            Ok(())
        })?;
        self.port(switch, port)
    }

    fn remove_port(&self, switch: &str, port: &str) -> Result<(), Refused> {
        self.port(switch, port)?;
        self.edit(|state| {
            find(state, switch)?.ports.retain(|p| p.name.as_str() != port);
            Ok(())
        })
    }

    fn macs(&self, switch: &str) -> Result<Vec<MacEntry>, Refused> {
        let ports = self.config(switch)?.ports;
        let entry = |p: &Arc<PortConfig>| {
            let (port, kind) = (p.name.clone(), MacKind::Pinned);
            p.mac.map(|mac| MacEntry { mac, vlan: Some(0), port, kind, age_s: 0 })
        };
        Ok(ports.iter().filter_map(entry).collect())
    }

    fn flush_macs(&self, switch: &str, which: FlushMacs) -> Result<u64, Refused> {
        self.config(switch)?;
        Ok(if which.port.is_some() { 1 } else { 7 })
    }

    fn multicast(&self, switch: &str) -> Result<MulticastStatus, Refused> {
        let config = self.config(switch)?.multicast;
        Ok(MulticastStatus { config, ..MulticastStatus::default() })
    }

    fn explain(&self, switch: &str, port: &str, asked: &ExplainFrame) -> Result<Explanation, Refused> {
        let leaves = self.ports(switch)?.into_iter().map(|p| p.name).filter(|name| name.as_str() != port);
        let finding = format!("{} of {} bytes", asked.frame, asked.length.unwrap_or_default());
        let steps = vec![ExplainedStep { stage: "addresses".into(), finding }];
        Ok(Explanation { steps, leaves: leaves.collect(), drops: Vec::new() })
    }

    /// A switch on which nothing passes but one frame, at once.
    fn listen(&self, switch: &str, wanted: Wanted) -> Result<Tapped, Refused> {
        let ports = self.config(switch)?.ports;
        let (listener, woken) = wanted.listener(Selection::default());
        let (tap, reader) = Tap::new(listener, wanted.filter);
        (0..).zip(&ports).for_each(|(at, port)| tap.name(PortIndex(at), port.name.as_str().into()));
        let outcome = Outcome { port: PortIndex(1), fate: Fate::Passed, form: Form::AsItCame };
        tap.put_frame_of(
            1_700_000_000_123_456_789,
            Some(PortIndex(0)),
            None,
            &[outcome],
            &[&[2; 12][..], b"\x08\x06", &[0; 46]].concat(),
        );
        Ok(Tapped { reader, woken })
    }

    fn workers(&self) -> Result<Vec<WorkerStatus>, Refused> {
        Ok(vec![WorkerStatus { worker: 0, cpu: Some(2), uptime_ns: 9, busy_ns: 4, frames: 66, batches: 2 }])
    }

    fn export(&self) -> DesiredState {
        self.state.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn apply(&self, desired: DesiredState, dry_run: bool) -> Result<Plan, Refused> {
        let steps = desired.switches.iter().map(|s| format!("make switch '{}'", s.name)).collect();
        if !dry_run {
            self.edit(|state| {
                *state = desired;
                Ok(())
            })?;
        }
        Ok(Plan { steps })
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}
