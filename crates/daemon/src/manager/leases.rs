//! Leases that IP guards have learned: shown, and kept over a restart.
//!
//! A VM does not ask anew because its switch was started anew, so what was learned is written down: where it changed, with every
//! look of the watch. A lease that is learned in the last quarter of a second before a kill is lost; the VM gets it back
//! when it renews, or asks again.

use super::Core;
use crate::{events::now_s, store::Kind};
use dataplane::SwitchId;
use engine::PortIndex;
use model::{IpPrefix, MacAddr, Name, policy::ip_guard::LeasedAddress};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// A lease as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    port: Name,
    /// The port's MAC: the lease is of no other.
    mac: Option<MacAddr>,
    address: IpPrefix,
    /// Seconds since 1970; none: for ever.
    until_s: Option<u64>,
}

impl Kept {
    /// True for the same lease, whose end is worked out anew each time and may differ by what a clock is read late.
    fn is_like(&self, other: &Self) -> bool {
        let ends_alike = match (self.until_s, other.until_s) {
            (Some(one), Some(other)) => one.abs_diff(other) <= 2,
            (one, other) => one == other,
        };
        ends_alike && (&self.port, self.mac, self.address) == (&other.port, other.mac, other.address)
    }
}

impl Core {
    /// What the ports of a switch lease, for who asks.
    pub fn leased(&self, switch: SwitchId) -> BTreeMap<PortIndex, Vec<LeasedAddress>> {
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (port, address, left) in self.dataplane.leases(switch).unwrap_or_default() {
            let expires_in_s = left.map(|left| left.as_secs());
            all.entry(port).or_default().push(LeasedAddress { address, expires_in_s });
        }
        all
    }

    /// Writes down what changed.
    pub fn keep_leases(&mut self) {
        for switch in self.live.keys().cloned().collect::<Vec<_>>() {
            let now = self.leases_now(&switch);
            let kept = self.leases.entry(switch.clone()).or_default();
            if now.len() == kept.len() && now.iter().zip(&*kept).all(|(now, kept)| now.is_like(kept)) {
                continue;
            }
            kept.clone_from(&now);
            let written = match now.is_empty() {
                true => self.store.remove(Kind::Leases, switch.as_str()),
                false => self.store.save(Kind::Leases, switch.as_str(), &now),
            };
            if let Err(error) = written {
                tracing::error!(%switch, %error, "leases cannot be written down: they are lost with a restart");
            }
        }
    }

    fn leases_now(&self, switch: &Name) -> Vec<Kept> {
        let Some(live) = self.live.get(switch) else { return Vec::new() };
        let leases = self.dataplane.leases(live.id).unwrap_or_default().into_iter();
        let kept = leases.filter_map(|(index, address, left)| {
            let (name, port) = live.ports.iter().find(|(_, port)| port.index == index)?;
            let until_s = left.map(|left| now_s() + left.as_secs());
            Some(Kept { port: name.clone(), mac: port.mac, address, until_s })
        });
        kept.collect()
    }

    /// Takes up what was written down by a former run. What cannot be read is no reason not to start.
    pub fn restore_leases(&mut self) -> anyhow::Result<()> {
        for name in self.store.names(Kind::Leases)? {
            match self.store.load::<Vec<Kept>>(Kind::Leases, &name) {
                Ok(kept) => self.take_up(&name.parse()?, &kept.unwrap_or_default()),
                Err(error) => tracing::error!(switch = name, %error, "leases are lost"),
            }
            self.store.remove(Kind::Leases, &name)?;
        }
        self.keep_leases();
        Ok(())
    }

    fn take_up(&self, switch: &Name, kept: &[Kept]) {
        let Some(live) = self.live.get(switch) else { return };
        for lease in kept {
            let Some(port) = live.ports.get(&lease.port).filter(|port| port.mac == lease.mac) else {
                continue;
            };
            let left = lease.until_s.map(|until| Duration::from_secs(until.saturating_sub(now_s())));
            if left != Some(Duration::ZERO) {
                self.dataplane.remember_lease(live.id, port.index, lease.address, left);
            }
        }
    }
}
