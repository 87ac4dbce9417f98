//! How the uplink of a switch is shared: what it carries, and what of that ports can count on.

use super::{Core, refuse::refused};
use crate::api::Refused;
use engine::Shares;
use model::{IfName, Invalid, Name, SharingStatus, SwitchConfig};
use std::fs;

/// Bits a second that a NIC carries, as long as it has a link and its driver knows.
pub fn nic_speed(nic: &IfName) -> Option<u64> {
    let megabits = fs::read_to_string(format!("/sys/class/net/{nic}/speed")).ok()?;
    // -1 where it is not known.
    megabits.trim().parse::<u64>().ok()?.checked_mul(1_000_000).filter(|bits| *bits != 0)
}

/// What the uplink of a switch is taken to carry, and where that is from.
pub fn status(switch: &SwitchConfig) -> Option<SharingStatus> {
    let nic = switch.uplink()?;
    let (capacity, source) = match (switch.bandwidth.uplink, nic_speed(nic)) {
        (Some(set), _) => (Some(set), "as it was set".into()),
        (None, Some(speed)) => (Some(speed), format!("the speed of {nic}")),
        (None, None) => (None, format!("{nic} does not tell its speed")),
    };
    Some(SharingStatus { mode: switch.bandwidth.mode, capacity, source })
}

/// What the ports of a switch share, where one of them is to have a minimum.
pub fn shares(switch: &SwitchConfig) -> Option<Shares> {
    let capacity = status(switch)?.capacity;
    let minimums = switch.ports.iter().filter_map(|port| port.rate.minimum(switch.bandwidth.mode));
    let sum = minimums.reduce(u64::saturating_add)?;
    // As long as nothing is known of the uplink, what is reserved is taken for nine tenths of it.
    let others = switch.bandwidth.default_share(capacity.unwrap_or(sum / 9 * 10));
    Some(Shares { capacity, others: others.max(1) })
}

impl Core {
    /// What ports are to count on has to be there: as far as the NIC tells its speed, and nothing was set. At start a NIC that
    /// was exchanged is no reason to leave the host without its switches.
    pub fn check_reservations(&self, switch: &Name) -> Result<(), Refused> {
        let config = self.state.switch(switch.as_str()).filter(|_| !self.lenient);
        config.map_or(Ok(()), check_reservations)
    }
}

/// The same for a switch that is to be so.
pub fn check_reservations(config: &SwitchConfig) -> Result<(), Refused> {
    let capacity = status(config).and_then(|status| status.capacity);
    let checked = capacity.map_or(Ok(()), |capacity| config.check_reservations(capacity));
    checked.map_err(|error| refused(control::edit::EditError::from(Invalid::from(error))))
}
