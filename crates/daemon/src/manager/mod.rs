//! The manager: holds the desired state, makes it so, and answers the API.
//!
//! Every change takes the same way ([`Core::adopt`]): the pure part turns the request into a new [`ValidState`] and the
//! way there into steps; the steps are run one by one; where one fails, the way back is run; what was reached is written
//! down. One lock guards all of it. The data path does not wait for it.

mod answers;
mod bind;
mod explain;
mod host_vnic;
mod interfaces;
mod leases;
mod live;
mod mirrors;
mod multicast;
mod pending;
mod ports;
mod refuse;
mod restore;
mod retry;
mod sharing;
mod taps;
mod vhost;
mod watch;

use crate::{
    api::{Backend, Refused},
    events::EventLog,
    host::Host,
    reaper::Reaper,
    store::Store,
    tap::{Tapped, Wanted},
};
use control::{
    diff::Change,
    edit::{EditError, Editor, used_macs},
    mac_pool,
    reconcile::{Step, reconcile},
};
use dataplane::Dataplane;
use engine::TableConfig;
use live::LiveSwitch;
use model::{
    ChangePort, ChangeSwitch, DesiredState, Event, EventKind, ExplainFrame, Explanation, FlushMacs, MacEntry,
    Name, NewSwitch, Plan, PortConfig, PortStatus, SwitchConfig, SwitchStatus, ValidState, WorkerStatus,
    policy::multicast::MulticastStatus,
};
use pending::Pending;
use refuse::{no_port, no_switch, refused};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::broadcast;

pub use watch::watch;

/// The manager, shared by the API and the watch.
#[derive(Debug)]
pub struct Manager {
    core: Mutex<Core>,
    events: Arc<EventLog>,
}

/// What the manager's lock guards.
#[derive(Debug)]
struct Core {
    /// What was asked for, and is written down.
    state: ValidState,
    /// What was reached on the way to it; equal to `state` between two changes.
    reached: DesiredState,
    live: BTreeMap<Name, LiveSwitch>,
    /// Switches of which the data path does not know the latest policies yet.
    unpublished: BTreeSet<Name>,
    pending: BTreeMap<Name, Pending>,
    dataplane: Dataplane,
    /// What was written down of what ports lease.
    leases: BTreeMap<Name, Vec<leases::Kept>>,
    store: Store,
    host: Host,
    reaper: Reaper,
    /// Where sockets of vhost-user ports are made that were given no path.
    vhost_dir: PathBuf,
    events: Arc<EventLog>,
    /// A port that cannot be opened is no error but waits: so at start, when others may not be there yet, and on a way back, when they
    /// may not be there any more.
    lenient: bool,
}

impl Manager {
    /// Restores what the store holds. Sockets are made in `run_dir`.
    ///
    /// # Errors
    /// The store cannot be read, or a NIC can be neither taken nor given back.
    pub fn start(store: Store, host: Host, dataplane: Dataplane, run_dir: &Path) -> anyhow::Result<Self> {
        let events = Arc::new(EventLog::default());
        let vhost_dir = std::path::absolute(run_dir)?.join("vhost");
        vhost::make_socket_dir(&vhost_dir)?;
        let mut core = Core {
            state: ValidState::default(),
            reached: DesiredState::default(),
            live: BTreeMap::new(),
            unpublished: BTreeSet::new(),
            pending: BTreeMap::new(),
            dataplane,
            leases: BTreeMap::new(),
            store,
            host,
            reaper: Reaper::start()?,
            vhost_dir,
            events: Arc::clone(&events),
            lenient: true,
        };
        core.restore()?;
        core.lenient = false;
        Ok(Self { core: Mutex::new(core), events })
    }

    /// A thread that panicked left the state as of its last completed step, which is what the others go on from.
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Makes `next` so and writes it down, or leaves everything as it was.
    fn adopt(&mut self, next: ValidState) -> Result<(), Refused> {
        let former = std::mem::replace(&mut self.state, next);
        let realized = self.realize();
        let saving = realized.is_ok();
        let done = realized.and_then(|()| self.store.save_state(&self.state).map_err(refused));
        if let Err(error) = done {
            self.state = former;
            // What cannot be opened any more waits, and keeps no other port from coming back.
            if let Err(worse) = self.leniently(Self::realize) {
                tracing::error!(%worse, "a change could not be undone");
            }
            // What could not be saved may be on the disk all the same, if only the last sync failed.
            if saving && let Err(worse) = self.store.save_state(&self.state) {
                tracing::error!(%worse, "the former state could not be saved again");
            }
            return Err(error);
        }
        self.forget_pending_of_removed()
    }

    /// Does something in which a port that cannot be opened is no error but waits.
    fn leniently<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let was = std::mem::replace(&mut self.lenient, true);
        let done = act(self);
        self.lenient = was;
        done
    }

    /// Runs the steps from what was reached to what was asked for. Policies go to the data path last, those of all ports of a
    /// switch at once: no frame is judged by half of what was asked for. That is logged when it is done, as the log may be where
    /// writing to it waits for a disk.
    fn realize(&mut self) -> Result<(), Refused> {
        let mut unpublished = Vec::new();
        for step in reconcile(&self.reached, self.state.desired()) {
            let waits = matches!(step, Step::Change(Change::ChangePort { .. }));
            if !waits {
                tracing::info!(%step, "step");
            }
            self.run(&step)?;
            step.apply(&mut self.reached);
            match waits {
                true => unpublished.push(step),
                false => self.tell(&step),
            }
        }
        std::mem::take(&mut self.unpublished).iter().for_each(|switch| self.publish(switch));
        for step in &unpublished {
            tracing::info!(%step, "step");
            self.tell(step);
        }
        self.reached = self.state.desired().clone();
        Ok(())
    }

    fn run(&mut self, step: &Step) -> Result<(), Refused> {
        match step {
            Step::GiveBack { switch, binding } => self.give_back(switch, binding),
            Step::Bind { switch, binding } => self.bind(switch, binding),
            Step::RemoveHost { switch, binding } => self.remove_host(switch, binding),
            Step::AddHost { switch, binding } => self.add_host(switch, binding),
            Step::Change(Change::AddSwitch(config)) => self.add_switch(config),
            Step::Change(Change::RemoveSwitch { switch }) => self.remove_switch(switch),
            Step::Change(Change::ChangeSwitch { switch, mac_table_size, ageing_s }) => {
                let id = self.live(switch)?.id;
                self.dataplane.set_table(id, table(*mac_table_size, *ageing_s));
                Ok(())
            }
            Step::Change(Change::ChangeMulticast { switch, multicast }) => {
                self.live(switch)?.multicast = *multicast;
                self.unpublished.insert(switch.clone());
                Ok(())
            }
            Step::Change(Change::ShareUplink { switch, .. }) => {
                self.check_reservations(switch)?;
                self.unpublished.insert(switch.clone());
                Ok(())
            }
            // What a kind allows was checked when the state was validated; the ports follow by steps of their own.
            Step::Change(Change::ConvertSwitch { .. }) => Ok(()),
            Step::Change(Change::AddPort { switch, port }) => self.add_port(switch, port),
            Step::Change(Change::RemovePort { switch, port }) => self.remove_port(switch, port),
            Step::Change(Change::ChangePort { switch, port }) => self.change_port(switch, port),
        }
    }

    fn add_switch(&mut self, config: &SwitchConfig) -> Result<(), Refused> {
        let seed = [self.host.random()?, self.host.random()?];
        let id = self.dataplane.add_switch(table(config.mac_table_size, config.ageing_s), seed);
        let mac = mac_pool::hand_out(self.host.random()?, &used_macs(self.state.desired()));
        let mac = mac.ok_or_else(|| refused(EditError::PoolExhausted))?;
        self.live.insert(config.name.clone(), LiveSwitch::new(id, config.multicast, mac));
        Ok(())
    }

    fn remove_switch(&mut self, switch: &Name) -> Result<(), Refused> {
        let live = self.live(switch)?;
        live.end_taps();
        let id = live.id;
        self.dataplane.remove_switch(id);
        self.live.remove(switch);
        Ok(())
    }

    fn live(&mut self, switch: &Name) -> Result<&mut LiveSwitch, Refused> {
        self.live.get_mut(switch).ok_or_else(|| no_switch(switch.as_str()))
    }

    /// Lets the data path go by the ports as they are now.
    fn publish(&mut self, switch: &Name) {
        if let Some(live) = self.live.get_mut(switch) {
            let snapshot = live.next_snapshot(self.state.switch(switch.as_str()));
            self.dataplane.install(live.id, snapshot);
        }
        self.follow_mirrors(switch);
    }

    fn tell(&self, step: &Step) {
        self.events.tell(match step.clone() {
            Step::GiveBack { switch, .. }
            | Step::Bind { switch, .. }
            | Step::RemoveHost { switch, .. }
            | Step::AddHost { switch, .. } => EventKind::SwitchChanged { switch },
            Step::Change(change) => match change {
                Change::AddSwitch(config) => EventKind::SwitchAdded { switch: config.name },
                Change::RemoveSwitch { switch } => EventKind::SwitchRemoved { switch },
                Change::ConvertSwitch { switch, .. }
                | Change::ChangeSwitch { switch, .. }
                | Change::ChangeMulticast { switch, .. }
                | Change::ShareUplink { switch, .. } => EventKind::SwitchChanged { switch },
                Change::AddPort { switch, port } => EventKind::PortAdded { switch, port: port.name.clone() },
                Change::RemovePort { switch, port } => EventKind::PortRemoved { switch, port },
                Change::ChangePort { switch, port } => {
                    EventKind::PortChanged { switch, port: port.name.clone() }
                }
            },
        });
    }

    fn edit(
        &mut self,
        edit: impl FnOnce(Editor<'_>) -> Result<ValidState, EditError>,
    ) -> Result<ValidState, Refused> {
        let seed = self.host.random()?;
        let next = edit(Editor::new(&self.state, seed)).map_err(refused)?;
        self.check_pending(&next)?;
        Ok(next)
    }

    /// The plan for `next`, the steps of each take-over under its own.
    fn plan(&mut self, next: &ValidState) -> Result<Plan, Refused> {
        let old = self.state.desired();
        let steps = reconcile(old, next.desired());
        let freed: Vec<_> = steps.iter().filter_map(|step| step.freed(old)).cloned().collect();
        let config = |switch: &Name| next.switch(switch.as_str()).ok_or_else(|| no_switch(switch.as_str()));
        let mut sentences = Vec::new();
        for step in steps {
            sentences.push(step.to_string());
            sentences.extend(match &step {
                Step::Bind { switch, binding } => self.bind_sentences(config(switch)?, binding, &freed)?,
                Step::AddHost { switch, binding } => {
                    self.host_sentences(switch, Some((binding, config(switch)?)))?
                }
                Step::RemoveHost { switch, .. } => self.host_sentences(switch, None)?,
                Step::GiveBack { .. } | Step::Change(_) => vec![],
            });
        }
        Ok(Plan { steps: sentences })
    }
}

const fn table(size: u32, ageing_s: u32) -> TableConfig {
    TableConfig { capacity: size, ageing_ms: ageing_s as u64 * 1000 }
}

impl Backend for Manager {
    fn switches(&self) -> Vec<SwitchStatus> {
        let core = self.core();
        core.state
            .desired()
            .switches
            .iter()
            .filter_map(|s| core.switch_status(s.name.as_str()).ok())
            .collect()
    }

    fn switch(&self, name: &str) -> Result<SwitchStatus, Refused> {
        self.core().switch_status(name)
    }

    fn add_switch(&self, new: NewSwitch) -> Result<SwitchStatus, Refused> {
        let mut core = self.core();
        let (name, confirm_s) = (new.name.clone(), new.confirm_s);
        let next = core.edit(|editor| editor.add_switch(new))?;
        core.adopt_unless_unconfirmed(next, &name, confirm_s)?;
        core.switch_status(name.as_str())
    }

    fn change_switch(&self, name: &str, change: ChangeSwitch) -> Result<SwitchStatus, Refused> {
        let mut core = self.core();
        let switch = core.state.switch(name).ok_or_else(|| no_switch(name))?.name.clone();
        let next = core.edit(|editor| editor.change_switch(name, &change))?;
        // What a NIC stands in the way of is refused before the one at hand is given back.
        core.plan(&next)?;
        core.adopt_unless_unconfirmed(next, &switch, change.confirm_s)?;
        core.switch_status(name)
    }

    fn remove_switch(&self, name: &str) -> Result<(), Refused> {
        let mut core = self.core();
        let next = core.edit(|editor| editor.remove_switch(name))?;
        core.adopt(next)
    }

    fn confirm_switch(&self, name: &str) -> Result<SwitchStatus, Refused> {
        let mut core = self.core();
        core.confirm(name)?;
        core.switch_status(name)
    }

    fn ports(&self, switch: &str) -> Result<Vec<PortStatus>, Refused> {
        self.core().port_statuses(switch)
    }

    fn port(&self, switch: &str, port: &str) -> Result<PortStatus, Refused> {
        self.core().port_status(switch, port)
    }

    fn add_port(&self, switch: &str, port: PortConfig) -> Result<PortStatus, Refused> {
        let mut core = self.core();
        let name = port.name.clone();
        let next = core.edit(|editor| editor.add_port(switch, port))?;
        core.adopt(next)?;
        core.port_status(switch, name.as_str())
    }

    fn change_port(&self, switch: &str, port: &str, change: ChangePort) -> Result<PortStatus, Refused> {
        let mut core = self.core();
        let next = core.edit(|editor| editor.change_port(switch, port, change))?;
        core.adopt(next)?;
        core.port_status(switch, port)
    }

    fn remove_port(&self, switch: &str, port: &str) -> Result<(), Refused> {
        let mut core = self.core();
        let next = core.edit(|editor| editor.remove_port(switch, port))?;
        core.adopt(next)
    }

    fn macs(&self, switch: &str) -> Result<Vec<MacEntry>, Refused> {
        self.core().mac_entries(switch)
    }

    fn flush_macs(&self, switch: &str, which: FlushMacs) -> Result<u64, Refused> {
        let core = self.core();
        let live = core.live.get(switch).ok_or_else(|| no_switch(switch))?;
        let index =
            |port: &Name| live.ports.get(port).map(|p| p.index).ok_or_else(|| no_port(switch, port.as_str()));
        let port = which.port.as_ref().map(index).transpose()?;
        core.dataplane.flush(live.id, port).map(|n| n as u64).map_err(refused)
    }

    fn multicast(&self, switch: &str) -> Result<MulticastStatus, Refused> {
        self.core().multicast_status(switch)
    }

    fn explain(&self, switch: &str, port: &str, asked: &ExplainFrame) -> Result<Explanation, Refused> {
        self.core().explain(switch, port, asked)
    }

    fn listen(&self, switch: &str, wanted: Wanted) -> Result<Tapped, Refused> {
        self.core().listen(switch, wanted)
    }

    fn workers(&self) -> Result<Vec<WorkerStatus>, Refused> {
        self.core().worker_statuses()
    }

    fn export(&self) -> DesiredState {
        self.core().state.desired().clone()
    }

    fn apply(&self, desired: DesiredState, dry_run: bool) -> Result<Plan, Refused> {
        let mut core = self.core();
        let next = core.edit(|editor| editor.replace(desired))?;
        let plan = core.plan(&next)?;
        if !dry_run {
            core.adopt(next)?;
        }
        Ok(plan)
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.events.listen()
    }
}
