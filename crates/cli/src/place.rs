//! Arguments that need a check of their own, so that a slip is told before anything is asked of the daemon.

use model::{MacAddr, Name, NameError};
use std::{fmt, str::FromStr, time::Duration};

/// `SWITCH/PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlace {
    pub switch: Name,
    pub port: Name,
}

/// `SWITCH` or `SWITCH/PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub switch: Name,
    pub port: Option<Name>,
}

/// Why a text names no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error("'{0}' names no port: write SWITCH/PORT, like lan/vm1")]
    NoPort(String),
    #[error(transparent)]
    Name(#[from] NameError),
}

impl FromStr for PortPlace {
    type Err = PlaceError;
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (switch, port) = text.split_once('/').ok_or_else(|| PlaceError::NoPort(text.into()))?;
        Ok(Self { switch: switch.parse()?, port: port.parse()? })
    }
}

impl FromStr for Place {
    type Err = PlaceError;
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if !text.contains('/') {
            return Ok(Self { switch: text.parse()?, port: None });
        }
        let PortPlace { switch, port } = text.parse()?;
        Ok(Self { switch, port: Some(port) })
    }
}

impl fmt::Display for PortPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.switch, self.port)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port.iter().map(|port| format!("/{port}")).collect::<String>();
        write!(f, "{}{port}", self.switch)
    }
}

impl PortPlace {
    /// Where the API has it.
    pub fn path(&self) -> String {
        format!("/v1/switches/{}/ports/{}", self.switch, self.port)
    }
}

/// The MAC of a vNIC.
pub fn vnic_mac(text: &str) -> Result<MacAddr, String> {
    let mac: MacAddr = text.parse().map_err(|error| format!("{error}"))?;
    let what = if mac.is_zero() { "zero" } else { "a multicast address" };
    mac.is_valid_source()
        .then_some(mac)
        .ok_or_else(|| format!("{mac} is {what}: a vNIC's MAC is a unicast address"))
}

/// One of the addresses that a bridge keeps to itself, or the name of what is sent to it.
pub fn reserved_mac(text: &str) -> Result<MacAddr, String> {
    if let Some(mac) = model::policy::reserved::reserved_address(text) {
        return Ok(mac);
    }
    let mac: MacAddr = text.parse().map_err(|error| format!("{error}, or one of lldp, lacp, eapol, stp"))?;
    let advice = "only 01:80:c2:00:00:00 to 01:80:c2:00:00:0f are";
    mac.is_bridge_reserved().then_some(mac).ok_or_else(|| format!("{mac} is not reserved: {advice}"))
}

/// Several addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Macs(pub Vec<MacAddr>);

/// Addresses of vNICs with commas between them; an empty text is none.
pub fn vnic_macs(text: &str) -> Result<Macs, String> {
    several(text, vnic_mac).map(Macs)
}

/// Reserved addresses with commas between them; an empty text is none.
pub fn reserved_macs(text: &str) -> Result<Macs, String> {
    several(text, reserved_mac).map(Macs)
}

/// Several with commas between them; an empty text is none.
pub fn several<T>(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').filter(|part| !part.is_empty()).map(one).collect()
}

/// Whole seconds, written like 90s or 5m.
pub fn seconds(text: &str) -> Result<u64, String> {
    let advice = "write whole seconds or more with a unit, like 90s or 5m";
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}: {advice}"))?;
    let whole = Duration::from_secs(duration.as_secs()) == duration && !duration.is_zero();
    if whole { Ok(duration.as_secs()) } else { Err(advice.into()) }
}

/// As [`seconds`], for an ageing time.
pub fn ageing(text: &str) -> Result<u32, String> {
    seconds(text)?.try_into().map_err(|_| "that is too long".into())
}

/// The path of a unix socket; `sockaddr_un` holds 108 bytes with the closing zero.
pub fn socket_path(text: &str) -> Result<String, String> {
    let fits = text.starts_with('/') && text.len() <= 107;
    if fits { Ok(text.into()) } else { Err("use an absolute path of at most 107 bytes".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_a_switch_or_a_switch_and_a_port() {
        let port: PortPlace = "lan/vm1".parse().unwrap();
        assert_eq!((port.to_string(), port.path()), ("lan/vm1".into(), "/v1/switches/lan/ports/vm1".into()));
        assert_eq!("lan".parse::<Place>().unwrap().port, None);
        assert_eq!("lan/vm1".parse::<Place>().unwrap().port, Some(port.port));
    }

    #[test]
    fn what_is_no_place_is_told_so() {
        let message = |text: &str| text.parse::<PortPlace>().unwrap_err().to_string();
        assert_eq!(message("lan"), "'lan' names no port: write SWITCH/PORT, like lan/vm1");
        assert!(message("lan/").starts_with("'' is no name"));
        assert!(message("lan/a/b").starts_with("'a/b' is no name"));
        assert!("-x".parse::<Place>().is_err());
    }

    #[test]
    fn a_vnic_has_a_unicast_mac() {
        assert!(vnic_mac("02-00-00-00-00-01").is_ok());
        assert!(vnic_mac("01:00:00:00:00:01").unwrap_err().contains("multicast"));
        assert!(vnic_mac("00:00:00:00:00:00").unwrap_err().contains("is zero"));
        assert!(vnic_mac("02:00").unwrap_err().contains("six bytes"));
        assert_eq!(vnic_macs("").unwrap().0, []);
        assert_eq!(vnic_macs("02:00:00:00:00:01,02:00:00:00:00:02").unwrap().0.len(), 2);
        assert!(reserved_mac("01:80:c2:00:00:0e").is_ok());
        assert!(reserved_mac("01:80:c2:00:00:10").unwrap_err().contains("not reserved"));
        let named = ["stp", "lacp", "eapol", "lldp"].map(|name| reserved_mac(name).unwrap().0[5]);
        assert_eq!(named, [0x00, 0x02, 0x03, 0x0e]);
        assert!(reserved_mac("cdp").unwrap_err().ends_with("or one of lldp, lacp, eapol, stp"));
    }

    #[test]
    fn durations_are_whole_seconds_with_a_unit() {
        assert_eq!(seconds("1m 30s"), Ok(90));
        for bad in ["60", "0s", "1500ms", "soon", "-1s"] {
            assert!(seconds(bad).unwrap_err().contains("like 90s or 5m"), "{bad}");
        }
        assert!(ageing("1000years").is_err());
    }
}
