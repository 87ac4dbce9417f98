//! Requests become desired states: each function takes the state as it is and gives the state as it should be, or
//! says why not. Nothing is touched.

use crate::mac_pool;
use model::{
    Attachment, ChangePort, ChangeSwitch, DesiredState, IfName, Invalid, IoChoice, MacAddr, Name, NameError,
    NewSwitch, NoSuchRule, PortConfig, SwitchConfig, SwitchKind, ValidState, VhostRole,
};
use std::{collections::BTreeSet, sync::Arc};

/// The name of the host vNIC that a switch is made with.
pub const HOST_PORT: &str = "host";

/// Why a request cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message is the documentation")]
pub enum EditError {
    #[error("there is no switch '{0}'; `vmswitch switch list` shows those that are")]
    NoSwitch(String),
    #[error("switch '{switch}' has no port '{port}'; `vmswitch port list {switch}` shows those it has")]
    NoPort { switch: Name, port: String },
    #[error(
        "there is a switch '{0}' already: choose another name, or change it with `vmswitch switch set {0}`"
    )]
    SwitchExists(Name),
    #[error(
        "switch '{switch}' has a port '{port}' already: choose another name, or change it with `vmswitch port set {switch}/{port}`"
    )]
    PortExists { switch: Name, port: Name },
    #[error("an uplink is added and removed with its switch: use `vmswitch switch set {0}`")]
    UplinkIsTheSwitchs(Name),
    #[error(
        "the MAC of '{0}' is the NIC's: the host vNIC of an external switch takes it over and cannot be given another"
    )]
    MacIsTheNics(Name),
    #[error("{0}; name the host vNIC's interface with --host-ifname, or leave it out with --no-host")]
    HostName(NameError),
    #[error("port '{0}' is not attached to a vhost-user socket: it has no such socket and no role at it")]
    NotVhostUser(Name),
    #[error(
        "switch '{0}' has no uplink, and io is how frames pass the NIC of one: leave it out, or name a NIC with --external"
    )]
    NoUplinkForIo(Name),
    #[error("no MAC is left in the pool: give one with --mac")]
    PoolExhausted,
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    NoSuchRule(#[from] NoSuchRule),
}

/// A state to be edited, and where MAC addresses come from.
#[derive(Debug)]
pub struct Editor<'a> {
    former: &'a ValidState,
    state: DesiredState,
    seed: u64,
}

impl<'a> Editor<'a> {
    /// Edits `state`; MAC addresses that are handed out depend on `seed`.
    #[must_use]
    pub fn new(state: &'a ValidState, seed: u64) -> Self {
        Self { former: state, state: state.desired().clone(), seed }
    }

    /// With a further switch, and with its uplink and host vNIC among its ports.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn add_switch(mut self, new: NewSwitch) -> Result<ValidState, EditError> {
        if self.state.switches.iter().any(|s| s.name == new.name) {
            return Err(EditError::SwitchExists(new.name));
        }
        let mut switch = SwitchConfig::new(new.name, new.kind);
        switch.mac_table_size = new.mac_table_size.unwrap_or(switch.mac_table_size);
        switch.ageing_s = new.ageing_s.unwrap_or(switch.ageing_s);
        switch.ports =
            new.uplinks.iter().map(|nic| Ok(uplink_port(nic)?.into())).collect::<Result<_, EditError>>()?;
        new.multicast.apply(&mut switch.multicast);
        switch.bandwidth.change(new.bandwidth_mode, new.uplink_bandwidth);
        choose_io(&mut switch, new.io)?;
        if new.host.unwrap_or(new.kind != SwitchKind::Private) {
            let host = self.host_port(&switch, new.host_ifname)?;
            switch.ports.push(host.into());
        }
        self.state.switches.push(switch);
        Ok(self.state.validate_after(self.former)?)
    }

    /// Without the switch.
    ///
    /// # Errors
    /// [`EditError::NoSwitch`].
    pub fn remove_switch(mut self, switch: &str) -> Result<ValidState, EditError> {
        let place = self.place(switch)?;
        self.state.switches.remove(place);
        Ok(self.state.validate_after(self.former)?)
    }

    /// With the switch changed; a conversion adds and removes uplink and host vNICs as the new kind asks for.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn change_switch(mut self, switch: &str, change: &ChangeSwitch) -> Result<ValidState, EditError> {
        let place = self.place(switch)?;
        let mut switch = self.state.switches[place].clone();
        switch.mac_table_size = change.mac_table_size.unwrap_or(switch.mac_table_size);
        switch.ageing_s = change.ageing_s.unwrap_or(switch.ageing_s);
        change.multicast.apply(&mut switch.multicast);
        switch.bandwidth.change(change.bandwidth_mode, change.uplink_bandwidth);
        let former = switch.kind;
        switch.kind =
            change.kind.unwrap_or(if change.uplinks.is_empty() { former } else { SwitchKind::External });
        let uplink = switch.ports.iter().find(|p| matches!(p.attach, Attachment::Uplink(_))).cloned();
        if switch.kind != SwitchKind::External || !change.uplinks.is_empty() {
            switch.ports.retain(|p| !matches!(p.attach, Attachment::Uplink(_)));
        }
        for nic in &change.uplinks {
            switch.ports.insert(0, moved_to(nic, uplink.as_ref())?);
        }
        choose_io(&mut switch, change.io)?;
        self.settle_host(&mut switch, former, change.host)?;
        self.state.switches[place] = switch;
        Ok(self.state.validate_after(self.former)?)
    }

    /// With a further port. A vNIC without MAC gets one.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn add_port(mut self, switch: &str, mut port: PortConfig) -> Result<ValidState, EditError> {
        let place = self.place(switch)?;
        let name = self.state.switches[place].name.clone();
        if matches!(port.attach, Attachment::Uplink(_)) {
            return Err(EditError::UplinkIsTheSwitchs(name));
        }
        if self.state.switches[place].port(port.name.as_str()).is_some() {
            return Err(EditError::PortExists { switch: name, port: port.name });
        }
        if !takes_nic_mac(&self.state.switches[place], &port) && port.mac.is_none() {
            port.mac = Some(self.hand_out()?);
        }
        port.acl.name_rules(&[]);
        self.state.switches[place].ports.push(port.into());
        Ok(self.state.validate_after(self.former)?)
    }

    /// With the port changed.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn change_port(
        mut self,
        switch: &str,
        port: &str,
        change: ChangePort,
    ) -> Result<ValidState, EditError> {
        let place = self.place(switch)?;
        let switch = &mut self.state.switches[place];
        let index = port_index(switch, port)?;
        if change.mac.is_some() && takes_nic_mac(switch, &switch.ports[index]) {
            return Err(EditError::MacIsTheNics(switch.ports[index].name.clone()));
        }
        let port = Arc::make_mut(&mut switch.ports[index]);
        move_socket(port, change.vhost_socket, change.vhost_role)?;
        port.mac = change.mac.or(port.mac);
        port.guard = change.guard.unwrap_or(port.guard);
        port.dhcp_guard = change.dhcp_guard.unwrap_or(port.dhcp_guard);
        port.router_guard = change.router_guard.unwrap_or(port.router_guard);
        port.vlan = change.vlan.or_else(|| port.vlan.take());
        port.mirror = change.mirror.unwrap_or_else(|| std::mem::take(&mut port.mirror));
        port.trust_priority = change.trust_priority.unwrap_or(port.trust_priority);
        port.mtu = change.mtu.or(port.mtu);
        if let Some(acl) = change.acl {
            port.acl = port.acl.changed(acl)?;
        }
        port.learn_limit = change.learn_limit.unwrap_or(port.learn_limit);
        port.io = change.io.unwrap_or(port.io);
        port.guard_also.change(change.guard_also);
        port.ip_guard.change(change.ip_guard);
        port.rate.change(&change.rate);
        if let Some(macs) = change.allow_macs {
            port.allow_macs = macs;
        }
        if let Some(macs) = change.allow_reserved {
            port.allow_reserved = macs;
        }
        Ok(self.state.validate_after(self.former)?)
    }

    /// Without the port.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn remove_port(mut self, switch: &str, port: &str) -> Result<ValidState, EditError> {
        let place = self.place(switch)?;
        let switch = &mut self.state.switches[place];
        let index = port_index(switch, port)?;
        if matches!(switch.ports[index].attach, Attachment::Uplink(_)) {
            return Err(EditError::UplinkIsTheSwitchs(switch.name.clone()));
        }
        switch.ports.remove(index);
        Ok(self.state.validate_after(self.former)?)
    }

    /// `desired`; a vNIC whose MAC is left open keeps the one it has, or is handed one out.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn replace(mut self, desired: DesiredState) -> Result<ValidState, EditError> {
        self.state = desired;
        let former = self.former.desired();
        name_rules(&mut self.state, former);
        for switch in 0..self.state.switches.len() {
            for port in 0..self.state.switches[switch].ports.len() {
                let (config, of) = (&self.state.switches[switch].ports[port], &self.state.switches[switch]);
                let own = !matches!(config.attach, Attachment::Uplink(_)) && !takes_nic_mac(of, config);
                if own && config.mac.is_none() {
                    let kept = mac_of(former, &of.name, &config.name);
                    let kept = kept.filter(|mac| !used_macs(&self.state).contains(mac));
                    let mac = kept.map_or_else(|| self.hand_out(), Ok)?;
                    Arc::make_mut(&mut self.state.switches[switch].ports[port]).mac = Some(mac);
                }
            }
        }
        Ok(self.state.validate_after(self.former)?)
    }

    fn place(&self, switch: &str) -> Result<usize, EditError> {
        let found = self.state.switches.iter().position(|s| s.name.as_str() == switch);
        found.ok_or_else(|| EditError::NoSwitch(switch.into()))
    }

    /// Host vNICs after a change. Host sharing is on when a switch becomes external or internal, unless told otherwise;
    /// without it every host vNIC goes (as Hyper-V's AllowManagementOS). One that stays takes the NIC's MAC when the
    /// switch becomes external and gets one of its own when it no longer is.
    fn settle_host(
        &self,
        switch: &mut SwitchConfig,
        former: SwitchKind,
        host: Option<bool>,
    ) -> Result<(), EditError> {
        let is_host = |p: &Arc<PortConfig>| matches!(p.attach, Attachment::Host(_));
        let had = switch.ports.iter().any(is_host);
        let converted = switch.kind != former;
        let default = if converted { switch.kind != SwitchKind::Private } else { had };
        if !host.unwrap_or(default) {
            switch.ports.retain(|p| !is_host(p));
            return Ok(());
        }
        let Some(index) = switch.ports.iter().position(|p| is_host(p) && p.name.as_str() == HOST_PORT) else {
            if !had || host == Some(true) {
                let port = self.host_port(switch, None)?;
                switch.ports.push(port.into());
            }
            return Ok(());
        };
        if converted {
            let own = switch.kind != SwitchKind::External;
            Arc::make_mut(&mut switch.ports[index]).mac = if own { Some(self.hand_out()?) } else { None };
        }
        Ok(())
    }

    fn host_port(&self, switch: &SwitchConfig, ifname: Option<IfName>) -> Result<PortConfig, EditError> {
        let ifname =
            ifname.map_or_else(|| IfName::try_from(&switch.name).map_err(EditError::HostName), Ok)?;
        let mut port = PortConfig::new(HOST_PORT.parse()?, Attachment::Host(ifname));
        if switch.kind != SwitchKind::External {
            port.mac = Some(self.hand_out()?);
        }
        Ok(port)
    }

    fn hand_out(&self) -> Result<MacAddr, EditError> {
        mac_pool::hand_out(self.seed, &used_macs(&self.state)).ok_or(EditError::PoolExhausted)
    }
}

/// True for the host vNIC that stands in for the NIC.
#[must_use]
pub fn takes_nic_mac(switch: &SwitchConfig, port: &PortConfig) -> bool {
    switch.kind == SwitchKind::External
        && port.name.as_str() == HOST_PORT
        && matches!(port.attach, Attachment::Host(_))
        && port.mac.is_none()
}

fn uplink_port(nic: &IfName) -> Result<PortConfig, EditError> {
    Ok(PortConfig::new(nic.as_str().parse()?, Attachment::Uplink(nic.clone())))
}

/// The uplink on a NIC. The one that there was keeps its policies; how frames pass the NIC was chosen for that NIC.
fn moved_to(nic: &IfName, uplink: Option<&Arc<PortConfig>>) -> Result<Arc<PortConfig>, EditError> {
    let fresh = uplink_port(nic)?;
    Ok(match uplink {
        Some(uplink) if uplink.attach == fresh.attach => uplink.clone(),
        Some(uplink) => {
            PortConfig { name: fresh.name, attach: fresh.attach, io: fresh.io, ..(**uplink).clone() }.into()
        }
        None => fresh.into(),
    })
}

/// Gives names to rules of access lists that have none: those that the same rules had.
fn name_rules(state: &mut DesiredState, former: &DesiredState) {
    for switch in &mut state.switches {
        let had = former.switches.iter().find(|s| s.name == switch.name);
        for port in switch.ports.iter_mut().map(Arc::make_mut) {
            let had = had.and_then(|s| s.port(port.name.as_str()));
            port.acl.name_rules(had.map_or(&[][..], |port| &port.acl.rules));
        }
    }
}

/// Has frames pass the uplink's NIC so.
fn choose_io(switch: &mut SwitchConfig, io: Option<IoChoice>) -> Result<(), EditError> {
    let Some(io) = io else { return Ok(()) };
    let uplink = switch.ports.iter_mut().find(|p| matches!(p.attach, Attachment::Uplink(_)));
    let uplink = uplink.ok_or_else(|| EditError::NoUplinkForIo(switch.name.clone()))?;
    Arc::make_mut(uplink).io = io;
    Ok(())
}

fn port_index(switch: &SwitchConfig, port: &str) -> Result<usize, EditError> {
    let found = switch.ports.iter().position(|p| p.name.as_str() == port);
    found.ok_or_else(|| EditError::NoPort { switch: switch.name.clone(), port: port.into() })
}

/// Has a vhost-user port use another socket, or be the other side of it.
fn move_socket(
    port: &mut PortConfig,
    socket: Option<String>,
    role: Option<VhostRole>,
) -> Result<(), EditError> {
    match &mut port.attach {
        Attachment::VhostUser(vhost) => {
            vhost.socket = socket.or_else(|| vhost.socket.take());
            vhost.role = role.unwrap_or(vhost.role);
            Ok(())
        }
        _ if socket.is_some() || role.is_some() => Err(EditError::NotVhostUser(port.name.clone())),
        _ => Ok(()),
    }
}

fn mac_of(state: &DesiredState, switch: &Name, port: &Name) -> Option<MacAddr> {
    state.switches.iter().find(|s| &s.name == switch)?.port(port.as_str())?.mac
}

/// Every MAC that some port of some switch has.
#[must_use]
pub fn used_macs(state: &DesiredState) -> BTreeSet<MacAddr> {
    let ports = state.switches.iter().flat_map(|s| &s.ports);
    ports.flat_map(|p| p.mac.iter().chain(&p.allow_macs)).copied().collect()
}

#[cfg(test)]
mod tests;
