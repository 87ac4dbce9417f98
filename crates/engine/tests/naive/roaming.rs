//! Guards that let more in than the port's own addresses: VRRP, learning N, teams.

use super::{NaiveSwitch, is_guarded, vlans};
use engine::{EngineEvent, PortIndex, PortPolicy};
use model::DropReason;
use wire::MacAddr;

/// What a guard lets a source do.
#[derive(Clone, Copy)]
pub enum Passes {
    AsItIs,
    Moving(PortIndex),
    Learned,
    Bound,
}

fn is_virtual_router(mac: MacAddr) -> bool {
    mac.0[..4] == [0, 0, 0x5e, 0] && (mac.0[4] == 1 || mac.0[4] == 2)
}

fn is_own(policy: &PortPolicy, mac: MacAddr) -> bool {
    policy.mac == Some(mac) || policy.allow_macs.contains(&mac)
}

/// True where what was learned on the port is of no use any more, as only virtual routers may be learned there now.
pub fn starts_with_vrrp(new: &PortPolicy, former: &PortPolicy) -> bool {
    let vrrp = |policy: &PortPolicy| is_guarded(policy) && policy.guard_also.vrrp;
    vrrp(new) && !vrrp(former)
}

impl NaiveSwitch {
    pub fn bind_limit(&self, port: PortIndex) -> usize {
        let policy = self.ports.get(&port).filter(|policy| is_guarded(policy) && policy.up);
        policy.map_or(0, |policy| policy.guard_also.learn as usize)
    }

    pub fn bound_to(&self, port: PortIndex) -> usize {
        self.bound.iter().filter(|(_, at)| *at == port).count()
    }

    pub fn unbind_above(&mut self, port: PortIndex, limit: usize) {
        while self.bound_to(port) > limit {
            let oldest = self.bound.iter().position(|(_, at)| *at == port).unwrap();
            self.bound.remove(oldest);
        }
    }

    fn mates(&self, port: PortIndex) -> impl Iterator<Item = MacAddr> + '_ {
        let guarded = |port: &PortIndex| self.ports.get(port).filter(|policy| is_guarded(policy));
        let named = guarded(&port).map_or(&[][..], |policy| &policy.guard_also.team_with);
        named.iter().filter_map(move |mate| guarded(mate)?.mac)
    }

    /// True where an address of another port may be on the port, in a VLAN or as one of a trunk.
    pub fn may_have(&self, port: PortIndex, vlan: Option<u16>, mac: MacAddr) -> bool {
        let Some(policy) = self.ports.get(&port).filter(|policy| is_guarded(policy)) else { return false };
        let is_in = |vlan| (0..4095).any(|id| self.learns_in(id) == vlan && vlans::has(policy, id));
        let takes_over = policy.up && self.roams(port, policy) && self.uses(port, policy, mac);
        takes_over && vlan.is_none_or(is_in)
    }

    fn uses(&self, port: PortIndex, policy: &PortPolicy, mac: MacAddr) -> bool {
        is_own(policy, mac) || self.mates(port).any(|mate| mate == mac)
    }

    fn roams(&self, ingress: PortIndex, policy: &PortPolicy) -> bool {
        let names = |other: &PortPolicy| is_guarded(other) && other.guard_also.team_with.contains(&ingress);
        policy.guard_also.vrrp
            || policy.guard_also.learn > 0
            || self.mates(ingress).next().is_some()
            || self.ports.values().any(names)
    }

    /// How a source passes the guard of a port; `None`: it does not.
    pub fn guard_lets(
        &self,
        ingress: PortIndex,
        policy: &PortPolicy,
        mac: MacAddr,
        vlan: u16,
    ) -> Option<Passes> {
        if !self.roams(ingress, policy) {
            return is_own(policy, mac).then_some(Passes::AsItIs);
        }
        let at = self.fixed_at(mac, vlan, false);
        let elsewhere = at.filter(|at| *at != ingress);
        if self.uses(ingress, policy, mac) {
            return Some(elsewhere.filter(|_| policy.up).map_or(Passes::AsItIs, Passes::Moving));
        }
        if at.is_some() {
            return elsewhere.is_none().then_some(Passes::AsItIs);
        }
        if policy.guard_also.vrrp && is_virtual_router(mac) {
            return Some(Passes::Learned);
        }
        let learned_in = self.learns_in(vlan);
        let unknown = !self.learned.iter().any(|seen| (seen.vlan, seen.mac) == (learned_in, mac));
        let room = self.bound_to(ingress) < self.bind_limit(ingress);
        (unknown && room).then_some(Passes::Bound)
    }

    /// What comes of it.
    pub fn take_in(
        &mut self,
        passes: Passes,
        ingress: PortIndex,
        mac: MacAddr,
        vlan: u16,
    ) -> Result<(), DropReason> {
        let learned_in = self.learns_in(vlan);
        let done = match passes {
            Passes::AsItIs => true,
            Passes::Learned => self.learn(mac, learned_in, ingress),
            Passes::Bound => {
                let room = !self.is_full() || self.evict();
                if room {
                    self.bound.push(((learned_in, mac), ingress));
                }
                room
            }
            Passes::Moving(from) => {
                self.move_to(ingress, mac, learned_in);
                self.tell(EngineEvent::Moved { mac, from, to: ingress });
                let policy = self.ports[&ingress].clone();
                if let Some(again @ Passes::Moving(_)) = self.guard_lets(ingress, &policy, mac, vlan) {
                    return self.take_in(again, ingress, mac, vlan);
                }
                true
            }
        };
        if done { Ok(()) } else { Err(DropReason::SpoofedMac) }
    }

    fn move_to(&mut self, port: PortIndex, mac: MacAddr, vlan: u16) {
        if let Some(at) = self.bound.iter().position(|(address, _)| *address == (vlan, mac)) {
            self.bound.remove(at);
            return;
        }
        let here = self.fixed.iter().position(|(address, ..)| *address == (Some(vlan), mac));
        let entry = here.or_else(|| self.fixed.iter().position(|(address, ..)| *address == (None, mac)));
        self.fixed[entry.unwrap()].1 = port;
    }
}
