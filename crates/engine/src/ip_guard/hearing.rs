//! How the leases of ports are learned: by hearing what passes between clients and servers.
//!
//! A message of DHCP is longer than the copy of a frame's header that all is decided on. So the data path hands over whole
//! frames that may be one ([`wire::dhcp::is_likely`]), once it is decided that they pass, and before they are delivered: the answer to
//! a request is known before the vNIC can act on it. For ports that [learn](Snapshot::learns_leases_of), and no others.

use super::Lease;
use crate::{Millis, PortIndex, Snapshot, Switch};
use wire::{MacAddr, dhcp};

impl Switch {
    /// This frame came from `port` and passes.
    pub fn hear_sent(&mut self, port: PortIndex, frame: &[u8], now: Millis) {
        let Some((mac, message)) = mac_of(&self.snapshot, port).zip(dhcp::parse(frame)) else { return };
        self.table.advance(now);
        let now = self.table.now();
        if let Some(state) = self.states.get_mut(usize::from(port.0)) {
            state.leases.hear_client(mac, message, now);
        }
    }

    /// This frame came from `from` and is about to be delivered to `port`.
    pub fn hear_delivered(&mut self, from: PortIndex, port: PortIndex, frame: &[u8], now: Millis) {
        if from == port || !self.snapshot.tells_leases(from) {
            return;
        }
        let Some((mac, message)) = mac_of(&self.snapshot, port).zip(dhcp::parse(frame)) else { return };
        let Some(destination) = MacAddr::from_prefix(frame) else { return };
        self.table.advance(now);
        let now = self.table.now();
        if let Some(state) = self.states.get_mut(usize::from(port.0)) {
            state.leases.hear_server(mac, destination, message, now);
        }
    }

    /// The addresses that a vNIC leases at `now`, as far as the port's IP guard has learned them.
    pub fn leases(&self, port: PortIndex, now: Millis) -> impl Iterator<Item = Lease> + '_ {
        let now = self.moment(now);
        let state = self.states.get(usize::from(port.0));
        state.into_iter().flat_map(move |state| state.leases.lasting(now))
    }

    /// Enters a lease that was known before the switch was made.
    pub fn remember_lease(&mut self, port: PortIndex, lease: Lease, now: Millis) {
        self.table.advance(now);
        let now = self.table.now();
        if let Some(state) =
            self.states.get_mut(usize::from(port.0)).filter(|_| self.snapshot.learns_leases_of(port))
        {
            state.leases.hold(lease, now);
        }
    }
}

/// The MAC of a port whose IP guard learns from leases.
fn mac_of(snapshot: &Snapshot, port: PortIndex) -> Option<MacAddr> {
    snapshot.policy(port).filter(|policy| policy.most_leases() != 0)?.mac
}
