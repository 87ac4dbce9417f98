//! Ports other than the uplink and what stands in for it: opened, changed, closed.

use super::{
    Core,
    live::LivePort,
    refuse::{chain, no_port, refused},
    retry::Retry,
};
use crate::{
    api::{GROUP, Refused, RefusedKind, group_id},
    store::Kind,
};
use control::{
    Refusal,
    action::Action,
    attach::{plan_attach, plan_detach},
    edit::EditError,
};
use io::{Link, Port, Tap, TapConfig, UnixDgram, UnixStreamPort, netns};
use model::{Attachment, EventKind, IfName, Invalid, MacAddr, Name, PortConfig, PortState};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    sync::Arc,
};

/// Who may connect to a socket: its owner, and the group that may use the API.
pub const SOCKET_MODE: u32 = 0o660;

/// The MTU of a vNIC where nothing says otherwise.
pub const DEFAULT_MTU: u32 = 1500;

/// What was done to an interface to make it a port, kept on disk until it is undone.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Attached {
    /// The interface was made for the port and goes with it.
    made: bool,
    actions: Vec<Action>,
}

impl Core {
    pub fn add_port(&mut self, switch: &Name, config: &Arc<PortConfig>) -> Result<(), Refused> {
        self.check_mtu(switch, config)?;
        self.check_macs(switch, config)?;
        self.check_reservations(switch)?;
        let mtu = self.mtu(switch, config)?;
        self.live(switch)?.place(config, config.mac, mtu);
        self.publish(switch);
        match self.open(switch, &config.name) {
            Err(error) if self.lenient => {
                self.detach(switch, &config.name, &error.detail);
                Ok(())
            }
            Err(error) => {
                self.displace(switch, &config.name);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    pub fn remove_port(&mut self, switch: &Name, port: &Name) -> Result<(), Refused> {
        match self.displace(switch, port) {
            Some(gone) => self.clean_up(switch, &gone.config),
            None => Ok(()),
        }
    }

    /// Closes a port and frees its place.
    pub fn displace(&mut self, switch: &Name, port: &Name) -> Option<LivePort> {
        let live = self.live.get_mut(switch)?;
        let gone = live.ports.remove(port)?;
        drop(self.dataplane.detach(live.id, gone.index));
        gone.xdp_interface().into_iter().for_each(|ifname| self.forget_vlan_tags(ifname));
        self.publish(switch);
        Some(gone)
    }

    pub fn change_port(&mut self, switch: &Name, config: &Arc<PortConfig>) -> Result<(), Refused> {
        if self.port(switch, &config.name)?.config.mtu != config.mtu {
            self.check_mtu(switch, config)?;
        }
        self.check_macs(switch, config)?;
        self.check_reservations(switch)?;
        let mtu = self.mtu(switch, config)?;
        let port = self.port(switch, &config.name)?;
        let former = (port.config.clone(), port.mac, port.mtu);
        port.configure(config.clone());
        if !port.is_uplink() {
            (port.mac, port.mtu) = (config.mac.or(port.mac), mtu);
        }
        port.limit_vhost_mtu();
        if is_opened_anew(&former, port) {
            self.detach(switch, &config.name, "being changed");
            if let Err(error) = self.open(switch, &config.name) {
                self.change_back(switch, former);
                return Err(error);
            }
        } else if let Err(error) = self.change_open(switch, &former.0, former.2) {
            let port = self.port(switch, &config.name)?;
            port.configure(former.0);
            (port.mac, port.mtu) = (former.1, former.2);
            return Err(error);
        }
        // What was changed may be what kept it from being opened.
        self.port(switch, &config.name)?.retry = Retry::default();
        self.unpublished.insert(switch.clone());
        Ok(())
    }

    /// Changes what can be changed while a port is open. One that is not is opened as it should be.
    fn change_open(&mut self, switch: &Name, former: &PortConfig, was: u32) -> Result<(), Refused> {
        let port = self.port(switch, &former.name)?;
        let (io, mtu) = (port.config.io, port.mtu);
        if let (true, Attachment::Tap(dev)) = (port.attached && mtu != was, &former.attach) {
            self.host.apply(&Action::SetMtu { dev: dev.clone(), mtu, was })?;
        }
        if io == former.io { Ok(()) } else { self.choose_io(switch, &former.name) }
    }

    /// Opens a port again as it was, since it cannot be opened as it should be.
    fn change_back(&mut self, switch: &Name, former: (Arc<PortConfig>, Option<MacAddr>, u32)) {
        let name = former.0.name.clone();
        if let Ok(port) = self.port(switch, &name) {
            port.configure(former.0);
            (port.mac, port.mtu) = (former.1, former.2);
        }
        if let Err(error) = self.open(switch, &name) {
            self.detach(switch, &name, &error.detail);
        }
    }

    pub fn port(&mut self, switch: &Name, port: &Name) -> Result<&mut LivePort, Refused> {
        let found = self.live(switch)?.ports.get_mut(port);
        found.ok_or_else(|| no_port(switch.as_str(), port.as_str()))
    }

    /// Opens what a port is attached to and lets frames pass.
    pub fn open(&mut self, switch: &Name, port: &Name) -> Result<(), Refused> {
        let found = self.port(switch, port)?;
        if found.attached {
            return Ok(());
        }
        let (config, mac, mtu) = (found.config.clone(), found.mac, found.mtu);
        if let Some(binding) = self.binding_of(switch, port) {
            return self.rejoin(switch, &binding);
        }
        let io: Box<dyn Port> = match &config.attach {
            Attachment::Uplink(nic) => return Err(refused(Refusal::NoInterface(nic.clone()))),
            Attachment::Host(ifname) => self.make_host_vnic(ifname, &vnic(ifname, &config, mac, mtu))?,
            Attachment::Netns { netns, ifname } => {
                let tap = vnic(ifname, &config, mac, mtu);
                let io = netns::in_namespace(netns.as_str(), || Tap::open(&tap))??;
                let id = netns::namespace_id(netns.as_str());
                self.live(switch)?.ports.entry(port.clone()).and_modify(|p| p.namespace = id);
                Box::new(io)
            }
            Attachment::Tap(ifname) => {
                self.take_interface(switch, port, ifname, Some(&vnic(ifname, &config, None, mtu)))?
            }
            Attachment::Netdev(ifname) => self.take_interface(switch, port, ifname, None)?,
            Attachment::UnixStream(path) => {
                let io = UnixStreamPort::listen(Path::new(path))?;
                open_to_group(path, SOCKET_MODE)?;
                Box::new(io)
            }
            Attachment::UnixDgram(path) => {
                let io = UnixDgram::bind(Path::new(path))?;
                open_to_group(path, SOCKET_MODE)?;
                Box::new(io)
            }
            Attachment::VhostUser(vhost) => self.open_vhost(switch, &config, vhost, mtu)?,
        };
        self.attach(switch, port, io)
    }

    /// Makes a host vNIC that stands in for no NIC, or takes one up that outlived the daemon. That it is made is written
    /// down before: one that a crash leaves behind must not stand in the way of another of its name.
    fn make_host_vnic(&mut self, ifname: &IfName, tap: &TapConfig) -> Result<Box<dyn Port>, Refused> {
        let known = self.store.load::<Attached>(Kind::Attachment, ifname.as_str())?.is_some();
        if !known && self.host.facts(&[])?.link(ifname).is_some() {
            return Err(refused(Refusal::NameInUse(ifname.clone())));
        }
        let made = Attached { made: true, actions: vec![] };
        self.store.save(Kind::Attachment, ifname.as_str(), &made)?;
        match Tap::open(tap) {
            Ok(io) => Ok(Box::new(io)),
            Err(error) => {
                if !known {
                    self.store.remove(Kind::Attachment, ifname.as_str())?;
                }
                Err(error.into())
            }
        }
    }

    /// Keeps the host's stack off an interface and opens it; one that is not there is made as `make` says. A VMM is told the
    /// port's MTU, so its TAP has that too, also one that was there before.
    fn take_interface(
        &mut self,
        switch: &Name,
        port: &Name,
        ifname: &IfName,
        make: Option<&TapConfig>,
    ) -> Result<Box<dyn Port>, Refused> {
        let mut facts = self.host.facts(&[ifname])?;
        let kept = self.store.load::<Attached>(Kind::Attachment, ifname.as_str())?;
        let mut attached = kept.unwrap_or_default();
        if let (None, Some(tap)) = (facts.link(ifname), make) {
            attached.made = true;
            self.store.save(Kind::Attachment, ifname.as_str(), &attached)?;
            drop(Tap::open(tap)?);
            facts = self.host.facts(&[ifname])?;
        }
        let actions = plan_attach(ifname, None, make.and_then(|tap| tap.mtu), &facts)?;
        if attached.actions.is_empty() {
            attached.actions = actions.clone();
        }
        self.store.save(Kind::Attachment, ifname.as_str(), &attached)?;
        let opened = actions.iter().try_for_each(|action| self.host.apply(action).map(drop).map_err(refused));
        let link = facts.link(ifname).ok_or_else(|| refused(Refusal::NoInterface(ifname.clone())))?;
        match opened.and_then(|()| self.open_interface(switch, port, link)) {
            Ok(io) => Ok(io),
            Err(error) => {
                self.release_interface(ifname)?;
                Err(error)
            }
        }
    }

    /// Gives an interface back to the host's stack as it was.
    pub fn release_interface(&mut self, ifname: &IfName) -> Result<(), Refused> {
        let Some(attached) = self.store.load::<Attached>(Kind::Attachment, ifname.as_str())? else {
            return Ok(());
        };
        if attached.made {
            self.host.delete_link(ifname)?;
        } else if self.host.facts(&[])?.link(ifname).is_some() {
            for action in plan_detach(&attached.actions) {
                if let Err(error) = self.host.apply(&action) {
                    tracing::error!(%ifname, %error, "a step back failed; the rest is done all the same");
                }
            }
        }
        Ok(self.store.remove(Kind::Attachment, ifname.as_str())?)
    }

    /// Removes what a port had made.
    fn clean_up(&mut self, switch: &Name, config: &PortConfig) -> Result<(), Refused> {
        match &config.attach {
            Attachment::Host(ifname) | Attachment::Tap(ifname) | Attachment::Netdev(ifname) => {
                self.release_interface(ifname)
            }
            Attachment::Netns { netns, ifname } => {
                let left =
                    TapConfig { up: false, queues: config.queues(), ..TapConfig::new(ifname.as_str()) };
                let let_go = || Tap::open(&left).map(|tap| (tap.retire(), tap));
                match netns::in_namespace(netns.as_str(), let_go) {
                    // A namespace that is gone took the vNIC with it.
                    Err(netns::NamespaceError::NotFound(_)) => Ok(()),
                    Err(error) => Err(error.into()),
                    Ok(let_go) => {
                        self.end(let_go?);
                        Ok(())
                    }
                }
            }
            Attachment::VhostUser(vhost) => {
                self.forget_vhost(switch, &config.name, vhost);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends a TAP that was let go, in the background: its name is free. One that could not be renamed keeps its name until
    /// it has ended, so that is waited for.
    fn end(&self, (retired, tap): (std::io::Result<()>, Tap)) {
        match retired {
            Ok(()) => self.reaper.close(tap),
            Err(error) => {
                tracing::warn!(ifname = tap.ifname(), %error, "cannot be renamed; it is removed under its name")
            }
        }
    }

    /// Hands an open port to the data path: from here frames pass.
    pub fn attach(&mut self, switch: &Name, port: &Name, io: Box<dyn Port>) -> Result<(), Refused> {
        let live = self.live(switch)?;
        let id = live.id;
        let found = live.ports.get_mut(port).ok_or_else(|| no_port(switch.as_str(), port.as_str()))?;
        let index = found.index;
        found.attached = true;
        let (state, reason) = state_of(&io.link());
        self.set_state(switch, port, state, reason);
        self.dataplane.attach(id, index, io).map_err(|error| {
            let detail = format!("port {switch}/{port} cannot be polled: {}", chain(&error));
            self.detach(switch, port, &detail);
            Refused::new(RefusedKind::Internal, detail)
        })
    }

    /// Takes a port out of the data path and closes it; its place stays.
    pub fn detach(&mut self, switch: &Name, port: &Name, reason: &str) {
        let Some(live) = self.live.get_mut(switch) else { return };
        let Some(found) = live.ports.get_mut(port) else { return };
        found.attached = false;
        found.vhost = None;
        let by_xdp = found.xdp_interface().cloned();
        drop(self.dataplane.detach(live.id, found.index));
        by_xdp.iter().for_each(|ifname| self.forget_vlan_tags(ifname));
        self.set_state(switch, port, PortState::Down, Some(reason.to_owned()));
    }

    /// Sets a port's state, lets the data path know, and tells it where it changed.
    pub fn set_state(&mut self, switch: &Name, port: &Name, state: PortState, reason: Option<String>) {
        let Some(found) = self.live.get_mut(switch).and_then(|live| live.ports.get_mut(port)) else { return };
        if (found.state, &found.reason) == (state, &reason) {
            return;
        }
        found.state = state;
        found.reason.clone_from(&reason);
        self.publish(switch);
        self.events.tell(EventKind::PortState { switch: switch.clone(), port: port.clone(), state, reason });
    }

    pub fn set_hardware(
        &mut self,
        switch: &Name,
        port: &Name,
        mac: Option<MacAddr>,
        mtu: u32,
    ) -> Result<(), Refused> {
        let found = self.port(switch, port)?;
        (found.mac, found.mtu) = (mac, mtu);
        self.publish(switch);
        Ok(())
    }

    pub fn find(&self, switch: &Name, is_it: impl Fn(&LivePort) -> bool) -> Option<Name> {
        let ports = &self.live.get(switch)?.ports;
        ports.iter().find(|(_, port)| is_it(port)).map(|(name, _)| name.clone())
    }

    /// The host vNIC has the NIC's MAC, which the desired state does not know: so no other port may have it. At start a
    /// NIC that was exchanged is no reason to leave the host without its switches.
    fn check_macs(&mut self, switch: &Name, config: &PortConfig) -> Result<(), Refused> {
        if self.lenient {
            return Ok(());
        }
        let ports = self.live(switch)?.ports.iter();
        let mut stand_ins = ports.filter(|(_, port)| !port.is_uplink() && port.config.mac.is_none());
        let Some((first, stand_in)) = stand_ins.find(|(name, _)| **name != config.name) else {
            return Ok(());
        };
        let mut macs = config.mac.iter().chain(&config.allow_macs);
        let Some(mac) = macs.find(|mac| stand_in.mac == Some(**mac)).copied() else { return Ok(()) };
        let (switch, first, second) = (switch.clone(), first.clone(), config.name.clone());
        Err(refused(EditError::from(Invalid::DuplicateMac { switch, mac, first, second })))
    }

    /// A port's MTU is not above the uplink's, as far as that is known. At start a NIC that was exchanged, or is not there yet, is no
    /// reason to leave the host without its switches: what is too long for it is dropped there.
    fn check_mtu(&mut self, switch: &Name, config: &PortConfig) -> Result<(), Refused> {
        let nic =
            self.state.switch(switch.as_str()).and_then(|s| s.uplink()).filter(|_| !self.lenient).cloned();
        let limit = self.live(switch)?.uplink().filter(|port| port.link.is_some()).map(|port| port.mtu);
        match nic.zip(limit) {
            Some((nic, limit)) => fits(config, &nic, limit).map_err(refused),
            None => Ok(()),
        }
    }

    /// The MTU of a port: its own, else the uplink's.
    fn mtu(&mut self, switch: &Name, config: &PortConfig) -> Result<u32, Refused> {
        let is_external = self.state.switch(switch.as_str()).is_some_and(|s| s.uplink().is_some());
        let uplink = if is_external { self.live(switch)?.uplink_mtu() } else { None };
        Ok(config.mtu.or(uplink).unwrap_or(DEFAULT_MTU))
    }
}

/// The state of an open port.
pub fn state_of(link: &Link) -> (PortState, Option<String>) {
    match link {
        Link::Up => (PortState::Up, None),
        Link::Waits(reason) => (PortState::Down, Some((*reason).to_owned())),
        Link::Faulted(reason) => (PortState::Faulted, Some(reason.to_string())),
    }
}

/// Refuses a port whose MTU is above that of the NIC.
pub fn fits(port: &PortConfig, nic: &IfName, limit: u32) -> Result<(), Refusal> {
    match port.mtu {
        Some(mtu) if mtu > limit => Err(Refusal::MtuAboveNic { nic: nic.clone(), mtu, limit }),
        _ => Ok(()),
    }
}

/// Gives a socket or directory to the group that may use the API: to VMMs that are not root's.
pub fn open_to_group(path: impl AsRef<Path>, mode: u32) -> Result<(), Refused> {
    let (path, Some(group)) = (path.as_ref(), group_id(GROUP)) else { return Ok(()) };
    let opened =
        chown(path, None, Some(group)).and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)));
    opened.or_else(|error| {
        // A daemon that is not root's serves its own user, and may not be in the group.
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            return Ok(());
        }
        let detail = format!("{} cannot be given to the group {GROUP}: {error}", path.display());
        Err(Refused::new(RefusedKind::HostRefused, detail))
    })
}

/// A vNIC that vmswitch makes stays when the daemon ends, with the addresses that were put on it; a TAP also because
/// its VMM opens it by its name.
fn vnic(ifname: &IfName, config: &PortConfig, mac: Option<MacAddr>, mtu: u32) -> TapConfig {
    TapConfig {
        mac,
        mtu: Some(mtu),
        persist: true,
        queues: config.queues(),
        ..TapConfig::new(ifname.as_str())
    }
}

/// A change of what cannot be changed while a port is open.
fn is_opened_anew((config, mac, mtu): &(Arc<PortConfig>, Option<MacAddr>, u32), port: &LivePort) -> bool {
    let queues = config.queues() != port.config.queues();
    match &port.config.attach {
        Attachment::Host(_) | Attachment::Netns { .. } => queues || (*mac, *mtu) != (port.mac, port.mtu),
        Attachment::VhostUser(_) => queues || config.attach != port.config.attach,
        _ => false,
    }
}
