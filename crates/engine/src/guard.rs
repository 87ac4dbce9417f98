//! Guards that let more in than the port's own addresses.
//!
//! Hyper-V has spoofing on or off, and *AllowTeaming*: the MAC that another port of the same VM uses at the moment. Here:
//!
//! * **Virtual routers** (VRRP): sources 00-00-5e-00-01-xx and -02-xx pass, are learned like those of a port without guard, and
//!   move to whoever sent last, which is what a failover is. There are 512 of them, and no port holds more.
//! * **Learning N**: the first N sources beside the port's own pass and are *bound* to it: they do not age, and are nobody else's,
//!   until the port goes down or is flushed. What is known on another port is not taken, however it got there. It is
//!   what switches call port security, with dynamic addresses.
//! * **Teams**: a port may use the MACs of ports that it names. The pinned entry of such a MAC moves between its owner and those
//!   ports, to whoever of them that is up sent from it last, and stays there until it does again, or that port goes down. It remains pinned
//!   to everybody else.
//!
//! Own addresses come first, then a team's, then virtual routers, then those to be bound. What does not pass is `spoofed_mac`,
//! whoever has the address.

use crate::{PortIndex, PortPolicy, key::Key};
use alloc::vec::Vec;
use model::policy::guard::{MAX_GUARD_LEARN, is_vrrp};

/// What a guard lets in besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardAlso {
    /// MACs of virtual routers.
    pub vrrp: bool,
    /// The first so many sources.
    pub learn: u32,
    /// The MACs of these ports.
    pub team_with: Vec<PortIndex>,
}

/// The most addresses of virtual routers that a port holds.
pub(crate) const VRRP_LIMIT: u32 = MAX_GUARD_LEARN as u32;

/// The same, prepared: there where a guard needs the MAC table to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roaming {
    pub(crate) vrrp: bool,
    /// The MACs of the team's other ports that this one may use, sorted.
    pub(crate) team: Vec<Key>,
}

/// What is known of a source.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) source: Key,
    /// It is one of the port's own.
    pub(crate) own: bool,
    /// The port that it is pinned, static or bound to.
    pub(crate) fixed_at: Option<PortIndex>,
    /// No port has it.
    pub(crate) unknown: bool,
    /// The port may bind one more.
    pub(crate) has_room: bool,
    /// The port is up. To one that is not no entry moves: the next change of policies would bring it back, or not, by whether it
    /// is about that address.
    pub(crate) up: bool,
}

/// How a source passes a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// As it is.
    Known,
    /// Its entry moves here, from there.
    Move(PortIndex),
    /// It is learned.
    Learn,
    /// It is bound to the port.
    Bind,
}

impl Roaming {
    /// Of a port with these MACs in its team; `None` where its guard decides alone. The port's own MAC may be elsewhere
    /// where others have it in their teams.
    pub(crate) fn new(policy: &PortPolicy, mut team: Vec<Key>, is_named: bool) -> Option<Self> {
        let GuardAlso { vrrp, learn, .. } = policy.guard_also;
        team.sort_unstable();
        let roams = vrrp || learn != 0 || is_named || !team.is_empty();
        (policy.is_guarded() && roams).then_some(Self { vrrp, team })
    }

    /// True where the team lets the port use an address, whatever its VLAN.
    pub(crate) fn may_use(&self, source: Key) -> bool {
        self.team.binary_search(&source.in_vlan(0)).is_ok()
    }

    /// How a source passes on `ingress`; `None`: it does not.
    pub(crate) fn admit(&self, ingress: PortIndex, asked: Asked) -> Option<Admission> {
        let Asked { source, own, fixed_at, unknown, has_room, up } = asked;
        let elsewhere = fixed_at.filter(|at| *at != ingress);
        match (own || self.may_use(source), fixed_at) {
            (true, _) => Some(elsewhere.filter(|_| up).map_or(Admission::Known, Admission::Move)),
            (false, Some(_)) => elsewhere.is_none().then_some(Admission::Known),
            (false, None) if self.vrrp && is_vrrp(source.mac()) => Some(Admission::Learn),
            (false, None) => (unknown && has_room).then_some(Admission::Bind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::MacAddr;

    const HERE: PortIndex = PortIndex(1);
    const THERE: PortIndex = PortIndex(2);
    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const MATE: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);
    const ROUTER: MacAddr = MacAddr([0, 0, 0x5e, 0, 1, 7]);

    /// A guard with all of it.
    fn all() -> Roaming {
        Roaming { vrrp: true, team: [Key::of(MATE)].into() }
    }

    fn admit(guard: &Roaming, mac: MacAddr, fixed_at: Option<PortIndex>, unknown: bool) -> Option<Admission> {
        guard.admit(HERE, asked(mac, fixed_at, unknown))
    }

    fn asked(mac: MacAddr, fixed_at: Option<PortIndex>, unknown: bool) -> Asked {
        Asked { source: Key::of(mac), own: mac == OWN, fixed_at, unknown, has_room: true, up: true }
    }

    #[test]
    fn own_and_team_addresses_pass_and_come_here_from_where_they_are() {
        for mac in [OWN, MATE] {
            assert_eq!(admit(&all(), mac, Some(HERE), false), Some(Admission::Known));
            assert_eq!(admit(&all(), mac, Some(THERE), false), Some(Admission::Move(THERE)));
            assert_eq!(admit(&all(), mac, None, true), Some(Admission::Known));
        }
    }

    #[test]
    fn virtual_routers_are_learned_wherever_they_were_learned_unless_they_belong_to_a_port() {
        assert_eq!(admit(&all(), ROUTER, None, true), Some(Admission::Learn));
        assert_eq!(admit(&all(), ROUTER, None, false), Some(Admission::Learn));
        assert_eq!(admit(&all(), ROUTER, Some(THERE), false), None);
        assert_eq!(admit(&Roaming { vrrp: false, ..all() }, ROUTER, None, false), None);
    }

    #[test]
    fn what_no_port_has_is_bound_while_there_is_room_and_nothing_else() {
        assert_eq!(admit(&all(), OTHER, None, true), Some(Admission::Bind));
        assert_eq!(admit(&all(), OTHER, Some(HERE), false), Some(Admission::Known), "it is bound here");
        assert_eq!(admit(&all(), OTHER, Some(THERE), false), None);
        assert_eq!(admit(&all(), OTHER, None, false), None, "it was learned elsewhere");
        assert_eq!(all().admit(HERE, Asked { has_room: false, ..asked(OTHER, None, true) }), None);
    }

    #[test]
    fn what_a_port_sends_that_is_down_passes_and_moves_nothing() {
        for mac in [OWN, MATE] {
            let down = Asked { up: false, ..asked(mac, Some(THERE), false) };
            assert_eq!(all().admit(HERE, down), Some(Admission::Known));
        }
    }
}
