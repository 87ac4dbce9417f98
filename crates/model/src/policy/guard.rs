//! What a port's guard lets in beside the port's own MAC and its allow list.

use crate::{Attachment, MacAddr, Name, PortConfig, SwitchConfig};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The most addresses that a guard takes from its vNIC, and as many as virtual routers of VRRP have: 256 of each IP version.
pub const MAX_GUARD_LEARN: u16 = 512;

/// What a guard lets in besides. Nothing, unless told otherwise; of no effect while the guard is off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct GuardAlso {
    /// The addresses of virtual routers (VRRP, RFC 9568: 00-00-5e-00-01-xx and 00-00-5e-00-02-xx). They are learned, and
    /// move to the port that sent from them last.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub vrrp: bool,
    /// So many further addresses, the first that the vNIC sends from; they are the port's until it goes down or is flushed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub learn: u16,
    /// The MACs of these ports, which belong to the same VM: they move to the port of the team that sent from them last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub team_with: Vec<Name>,
}

/// What to change of it; what is unset stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ChangeGuardAlso {
    /// Whether the addresses of virtual routers pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrrp: Option<bool>,
    /// How many further addresses are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learn: Option<u16>,
    /// Whose MACs pass; replaces the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<Vec<String>>))]
    pub team_with: Option<Vec<Name>>,
}

const fn is_zero(number: &u16) -> bool {
    *number == 0
}

impl GuardAlso {
    /// True where nothing passes besides.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Makes a change.
    pub fn change(&mut self, change: ChangeGuardAlso) {
        self.vrrp = change.vrrp.unwrap_or(self.vrrp);
        self.learn = change.learn.unwrap_or(self.learn);
        if let Some(team_with) = change.team_with {
            self.team_with = team_with;
        }
    }
}

impl ChangeGuardAlso {
    /// True where all stays.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// True for the MAC of a virtual router (RFC 9568 section 7.3).
#[must_use]
pub const fn is_vrrp(mac: MacAddr) -> bool {
    matches!(mac.to_u64() >> 8, 0x5e_0001 | 0x5e_0002)
}

/// Why a guard cannot do that
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the message is the documentation")]
pub enum GuardError {
    #[error("port '{0}' is an uplink and has no guard that could let more in: set this on the ports of VMs")]
    Uplink(Name),
    #[error("the guard of port '{port}' is to take {learn} addresses: it takes {MAX_GUARD_LEARN} at most")]
    TooMany { port: Name, learn: u16 },
    #[error("port '{0}' cannot be in a team with itself: name another port of the same VM")]
    WithItself(Name),
    #[error(
        "port '{port}' is in a team with '{other}', and switch '{switch}' has no such port: change the team first, as with `vmswitch port set {switch}/{port} --team-with ''`"
    )]
    NoPartner { switch: Name, port: Name, other: Name },
    #[error(
        "port '{port}' is to be in a team with '{other}', which is an uplink: name another port of the same VM"
    )]
    WithUplink { port: Name, other: Name },
    #[error(
        "port '{port}' is in a team with '{other}', whose guard is off: its MAC is not pinned, so it is anybody's; switch that guard on, or end the team"
    )]
    WithUnguarded { port: Name, other: Name },
    #[error(
        "ports '{port}' and '{other}' are in a team and have to be in the same VLANs: set --vlan of both alike"
    )]
    OtherVlans { port: Name, other: Name },
}

/// Checks what the guard of a port lets in besides.
pub(crate) fn check(switch: &SwitchConfig, port: &PortConfig) -> Result<(), GuardError> {
    let GuardAlso { learn, ref team_with, .. } = port.guard_also;
    if matches!(port.attach, Attachment::Uplink(_)) && !port.guard_also.is_nothing() {
        return Err(GuardError::Uplink(port.name.clone()));
    }
    if learn > MAX_GUARD_LEARN {
        return Err(GuardError::TooMany { port: port.name.clone(), learn });
    }
    team_with.iter().try_for_each(|other| check_partner(switch, port, other))
}

fn check_partner(switch: &SwitchConfig, port: &PortConfig, other: &Name) -> Result<(), GuardError> {
    let (name, other) = (port.name.clone(), other.clone());
    match switch.port(other.as_str()) {
        _ if name == other => Err(GuardError::WithItself(name)),
        None => Err(GuardError::NoPartner { switch: switch.name.clone(), port: name, other }),
        Some(partner) if matches!(partner.attach, Attachment::Uplink(_)) => {
            Err(GuardError::WithUplink { port: name, other })
        }
        Some(partner) if partner.vlan() != port.vlan() => Err(GuardError::OtherVlans { port: name, other }),
        Some(partner) if !partner.guard => Err(GuardError::WithUnguarded { port: name, other }),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IfName;
    use alloc::string::ToString;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn port(text: &str, guard_also: GuardAlso) -> PortConfig {
        let attach = Attachment::Tap(IfName::try_from(&name(text)).unwrap());
        PortConfig { guard_also, ..PortConfig::new(name(text), attach) }
    }

    fn refusal(ports: &[PortConfig]) -> Option<GuardError> {
        let switch = SwitchConfig::new(name("lan"), crate::SwitchKind::Private);
        let switch = SwitchConfig { ports: ports.iter().cloned().map(Into::into).collect(), ..switch };
        switch.ports.iter().find_map(|port| check(&switch, port).err())
    }

    fn team(other: &str) -> GuardAlso {
        GuardAlso { team_with: [name(other)].into(), ..GuardAlso::default() }
    }

    #[test]
    fn a_team_is_of_guarded_ports_of_one_switch() {
        let partner = port("b", GuardAlso::default());
        assert_eq!(refusal(&[port("a", team("b")), partner.clone()]), None);
        let message = refusal(&[port("a", team("b"))]).unwrap().to_string();
        assert!(message.contains(
            "no such port: change the team first, as with `vmswitch port set lan/a --team-with ''`"
        ));
        assert_eq!(refusal(&[port("a", team("a"))]), Some(GuardError::WithItself(name("a"))));
        let (a, b) = (name("a"), name("b"));
        let open = PortConfig { guard: false, ..partner };
        let expected = GuardError::WithUnguarded { port: a.clone(), other: b.clone() };
        assert_eq!(refusal(&[port("a", team("b")), open]), Some(expected));
        let elsewhere =
            PortConfig { vlan: Some("access=10".parse().unwrap()), ..port("b", GuardAlso::default()) };
        let expected = GuardError::OtherVlans { port: a.clone(), other: b.clone() };
        assert_eq!(refusal(&[port("a", team("b")), elsewhere]), Some(expected));
        let nic = PortConfig::new(b.clone(), Attachment::Uplink(IfName::try_from(&b).unwrap()));
        assert_eq!(refusal(&[port("a", team("b")), nic]), Some(GuardError::WithUplink { port: a, other: b }));
    }

    #[test]
    fn an_uplink_has_no_guard_and_a_guard_takes_so_many_addresses() {
        let learn = |learn| GuardAlso { learn, ..GuardAlso::default() };
        assert_eq!(refusal(&[port("a", learn(512))]), None);
        assert_eq!(
            refusal(&[port("a", learn(513))]),
            Some(GuardError::TooMany { port: name("a"), learn: 513 })
        );
        let mut nic = port("a", GuardAlso { vrrp: true, ..GuardAlso::default() });
        nic.attach = Attachment::Uplink(IfName::try_from(&name("a")).unwrap());
        assert_eq!(refusal(&[nic]), Some(GuardError::Uplink(name("a"))));
    }

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name() {
        let mut also = GuardAlso { vrrp: true, ..team("b") };
        also.change(ChangeGuardAlso::default());
        assert_eq!(also, GuardAlso { vrrp: true, ..team("b") });
        also.change(ChangeGuardAlso { vrrp: Some(false), learn: Some(3), team_with: Some(Vec::new()) });
        assert_eq!(also, GuardAlso { learn: 3, ..GuardAlso::default() });
    }

    #[test]
    fn virtual_routers_have_two_prefixes() {
        for (text, is) in [
            ("00:00:5e:00:01:00", true),
            ("00:00:5e:00:02:ff", true),
            ("00:00:5e:00:03:01", false),
            ("00:00:5e:00:00:01", false),
            ("02:00:5e:00:01:01", false),
        ] {
            assert_eq!(is_vrrp(text.parse().unwrap()), is, "{text}");
        }
    }
}
