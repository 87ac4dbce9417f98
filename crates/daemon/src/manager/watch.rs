//! The watch: ports whose NIC, namespace, interface or VMM goes away go down with the reason, and come back by
//! themselves; changes that were not confirmed in time are rolled back.

use super::{Core, Manager, live::LivePort, ports::state_of, refuse::chain};
use control::facts::{Facts, Link};
use dataplane::{Notice, SwitchId};
use engine::{EngineEvent, PortIndex};
use io::{PortError, netns};
use model::{Attachment, EventKind, Name, PortState};
use netlink::LinkMonitor;
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// How long something may be back before its port is.
const TICK: Duration = Duration::from_millis(250);

/// Starts the threads that watch, until the manager is dropped.
///
/// # Errors
/// The kernel does not tell of link changes.
pub fn watch(manager: &Arc<Manager>, notices: mpsc::Receiver<Notice>) -> anyhow::Result<()> {
    let links_changed = Arc::new(AtomicBool::new(true));
    let (monitor, flag) = (LinkMonitor::open()?, Arc::clone(&links_changed));
    thread::Builder::new()
        .name("links".into())
        .spawn(move || monitor.for_each(|_| flag.store(true, Ordering::Release)))?;
    let manager = Arc::downgrade(manager);
    thread::Builder::new().name("watch".into()).spawn(move || run(&manager, &notices, &links_changed))?;
    Ok(())
}

fn run(manager: &Weak<Manager>, notices: &mpsc::Receiver<Notice>, links_changed: &AtomicBool) {
    let mut due = Instant::now() + TICK;
    loop {
        let notice = notices.recv_timeout(due.saturating_duration_since(Instant::now()));
        let Some(manager) = manager.upgrade() else { return };
        let mut core = manager.core();
        match notice {
            Ok(notice) => core.hear(notice),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
        // Also while there is something to hear all the time: a guest can see to that.
        if Instant::now() >= due {
            core.look(links_changed.swap(false, Ordering::AcqRel));
            due = Instant::now() + TICK;
        }
    }
}

impl Core {
    /// What a worker tells.
    fn hear(&mut self, notice: Notice) {
        match notice {
            Notice::Stopped(id, index, error) => {
                let Some((switch, port)) = self.names(id, index) else { return };
                let (state, reason) = match error {
                    PortError::Down(reason) => (PortState::Down, reason),
                    PortError::Faulted(reason) => (PortState::Faulted, reason),
                };
                if let Some(found) = self.port_mut(&switch, &port) {
                    found.attached = false;
                }
                // Other workers may have shares of it.
                drop(self.dataplane.detach(id, index));
                self.set_state(&switch, &port, state, Some(reason));
            }
            Notice::Link(id, index, link) => {
                let Some((switch, port)) = self.names(id, index) else { return };
                let (state, reason) = state_of(&link);
                self.set_state(&switch, &port, state, reason);
            }
            Notice::Seen(id, event) => self.tell_seen(id, event),
        }
    }

    fn tell_seen(&self, id: SwitchId, event: EngineEvent) {
        let Some((switch, live)) = self.live.iter().find(|(_, live)| live.id == id) else { return };
        let names = |a, b| live.name_of(a).zip(live.name_of(b));
        match event {
            EngineEvent::PinConflict { mac, pinned_to, claimed_by } => {
                let Some((pinned_to, claimed_by)) = names(pinned_to, claimed_by) else { return };
                self.events.tell(EventKind::MacConflict {
                    switch: switch.clone(),
                    mac,
                    pinned_to,
                    claimed_by,
                });
            }
            EngineEvent::Moved { mac, from, to } => {
                let Some((from, to)) = names(from, to) else { return };
                self.events.tell(EventKind::MacMoved { switch: switch.clone(), mac, from, to });
            }
        }
    }

    /// Looks at what ports are attached to. Interfaces are only looked at when some have changed or a port waits for one:
    /// asking the kernel for all of them takes time that grows with their number.
    fn look(&mut self, links_changed: bool) {
        self.roll_back_overdue();
        self.keep_leases();
        for place in self.ports_where(namespace_is_another) {
            self.detach(&place.switch, &place.port, "its network namespace was deleted");
        }
        let waiting = self.ports_where(|port| !port.attached && port.state == PortState::Down);
        let mut facts = Facts::default();
        if links_changed || waiting.iter().any(|place| place.attach.host_interface().is_some()) {
            match self.host.facts(&[]) {
                Ok(found) => facts = found,
                Err(error) => {
                    return tracing::error!(error = chain(&error), "interfaces cannot be looked at");
                }
            }
            self.look_at_links(&facts);
        }
        for place in waiting {
            if let Some(reason) = place.why_away(&facts) {
                self.note_away(&place.switch, &place.port);
                self.set_state(&place.switch, &place.port, PortState::Down, Some(reason.into()));
            } else if self.is_due(&place.switch, &place.port, Instant::now()) {
                self.try_again(&place.switch, &place.port);
            }
        }
    }

    fn try_again(&mut self, switch: &Name, port: &Name) {
        let opened = self.open(switch, port);
        self.note_opened(switch, port, &opened);
        if let Err(error) = opened {
            self.detach(switch, port, &error.detail);
        }
    }

    fn look_at_links(&mut self, facts: &Facts) {
        for place in self.ports_where(|port| port.attached && is_on_interface(&port.config.attach)) {
            let Some(ifname) = place.attach.host_interface() else { continue };
            let link = facts.link(ifname).filter(|link| place.link.is_none_or(|index| index == link.index));
            let Some(link) = link else {
                self.detach(&place.switch, &place.port, NOT_THERE);
                continue;
            };
            let reason = why_down(link, &place.attach);
            let state = if reason.is_some() { PortState::Down } else { PortState::Up };
            if let Some(port) = self.port_mut(&place.switch, &place.port) {
                let changed = port.is_uplink() && port.mtu != link.mtu;
                if changed {
                    port.mtu = link.mtu;
                    self.publish(&place.switch);
                }
            }
            self.set_state(&place.switch, &place.port, state, reason.map(Into::into));
        }
    }

    fn ports_where(&self, is_it: impl Fn(&LivePort) -> bool) -> Vec<Place> {
        let ports = self
            .live
            .iter()
            .flat_map(|(switch, live)| live.ports.iter().map(move |(name, p)| (switch, name, p)));
        let found = ports.filter(|(_, _, port)| is_it(port));
        found.map(|(switch, name, port)| Place::of(switch, name, port)).collect()
    }

    fn names(&self, id: SwitchId, index: PortIndex) -> Option<(Name, Name)> {
        let (switch, live) = self.live.iter().find(|(_, live)| live.id == id)?;
        Some((switch.clone(), live.name_of(index)?))
    }

    fn port_mut(&mut self, switch: &Name, port: &Name) -> Option<&mut LivePort> {
        self.live.get_mut(switch)?.ports.get_mut(port)
    }
}

/// Where a port is and what it is attached to.
struct Place {
    switch: Name,
    port: Name,
    attach: Attachment,
    link: Option<u32>,
}

impl Place {
    fn of(switch: &Name, name: &Name, port: &LivePort) -> Self {
        Self {
            switch: switch.clone(),
            port: name.clone(),
            attach: port.config.attach.clone(),
            link: port.link,
        }
    }

    /// Why opening the port has no chance yet. An interface that somebody set down is waited for; one that came back as a
    /// new one is set up by opening it.
    fn why_away(&self, facts: &Facts) -> Option<&'static str> {
        match &self.attach {
            Attachment::Uplink(ifname) | Attachment::Netdev(ifname) => match facts.link(ifname) {
                None => Some(NOT_THERE),
                Some(link) => (!link.up && self.link.is_none_or(|index| index == link.index)).then_some(OFF),
            },
            Attachment::Tap(ifname) => facts.link(ifname).filter(|link| !link.up).map(|_| OFF),
            Attachment::Netns { netns, .. } => {
                netns::namespace_id(netns.as_str()).is_none().then_some("its network namespace is not there")
            }
            Attachment::Host(_)
            | Attachment::UnixStream(_)
            | Attachment::UnixDgram(_)
            | Attachment::VhostUser(_) => None,
        }
    }
}

const NOT_THERE: &str = "its interface is not there";
const OFF: &str = "its interface is switched off";

/// True where the port is on an interface whose state is the port's: by AF_PACKET or AF_XDP.
const fn is_on_interface(attach: &Attachment) -> bool {
    matches!(attach, Attachment::Uplink(_) | Attachment::Netdev(_) | Attachment::Tap(_))
}

const fn why_down(link: &Link, attach: &Attachment) -> Option<&'static str> {
    match (link.up, link.carrier, attach) {
        (false, ..) => Some(OFF),
        (_, false, Attachment::Tap(_)) => Some("no VMM has its TAP open"),
        (_, false, _) => Some("its interface has no carrier"),
        _ => None,
    }
}

/// True where a vNIC's namespace was deleted, or another one has its name.
fn namespace_is_another(port: &LivePort) -> bool {
    let Attachment::Netns { netns, .. } = &port.config.attach else { return false };
    port.attached && netns::namespace_id(netns.as_str()) != port.namespace
}
