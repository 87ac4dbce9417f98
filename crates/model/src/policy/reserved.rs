//! Names of the reserved multicast addresses (IEEE 802.1Q, table 8-1) that VMs have a use for.

use wire::MacAddr;

/// A name, and the address whose frames it allows. LLDP is its nearest bridge: what a device at the other end of a cable
/// sends.
const NAMES: [(&str, u8); 4] = [("stp", 0x0), ("lacp", 0x2), ("eapol", 0x3), ("lldp", 0xe)];

/// The address of that name, in lower case.
#[must_use]
pub fn reserved_address(name: &str) -> Option<MacAddr> {
    let (_, last) = NAMES.iter().find(|(known, _)| *known == name)?;
    Some(MacAddr([0x01, 0x80, 0xc2, 0, 0, *last]))
}

/// The name of that address.
#[must_use]
pub fn reserved_name(address: MacAddr) -> Option<&'static str> {
    let named = NAMES.iter().find(|(name, _)| reserved_address(name) == Some(address));
    named.map(|(name, _)| *name)
}
