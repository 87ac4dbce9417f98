//! Who wants which group: (VLAN, group, port), with the moment until which it is believed.
//!
//! A port that leads to a router wants every group of its VLAN; that is a membership in the unspecified address. One sorted list
//! holds all of them: looked up by halving, listed in order, and never longer than [`MAX_MEMBERSHIPS`], for which there is room
//! from the beginning. Ports can put no more into it than [`MAX_OF_PORT`] each, and places come free only every
//! [`SWEEP_INTERVAL`], so moving the list's end at an insertion cannot be had often by who only wants to make work.

use crate::{Millis, PortIndex};
use alloc::vec::Vec;
use core::net::IpAddr;
use wire::{IpVersion, multicast::version_of};

/// The most memberships of a switch.
pub(crate) const MAX_MEMBERSHIPS: usize = 8192;
/// The most memberships of a port.
pub(crate) const MAX_OF_PORT: usize = 512;
/// Memberships that ran out keep their places no longer than so.
const SWEEP_INTERVAL: Millis = Millis(1000);

/// A port that wants a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub vlan: u16,
    pub group: IpAddr,
    pub port: PortIndex,
    /// Since when without a break.
    pub since: Millis,
    /// From this moment on it counts no more.
    pub until: Millis,
}

impl Membership {
    const fn key(&self) -> (u16, IpAddr, PortIndex) {
        (self.vlan, self.group, self.port)
    }
}

/// All memberships of a switch, by VLAN, group and port.
#[derive(Clone, Debug)]
pub(crate) struct Memberships {
    list: Vec<Membership>,
    /// How many of them each port has.
    held: Vec<usize>,
    swept: Millis,
}

impl Memberships {
    pub(crate) fn new(now: Millis) -> Self {
        Self { list: Vec::with_capacity(MAX_MEMBERSHIPS), held: Vec::new(), swept: now }
    }

    /// Notes that `port` wants `group` until that moment at least. False where there is no place left for it.
    pub(crate) fn join(
        &mut self,
        vlan: u16,
        group: IpAddr,
        port: PortIndex,
        until: Millis,
        now: Millis,
    ) -> bool {
        self.sweep(now);
        match self.list.binary_search_by_key(&(vlan, group, port), Membership::key) {
            Ok(at) => self.list[at].renew(until, now),
            Err(at) => {
                let held = self.held.get(usize::from(port.0)).copied().unwrap_or(0);
                if self.list.len() == MAX_MEMBERSHIPS || held >= MAX_OF_PORT {
                    return false;
                }
                self.list.insert(at, Membership { vlan, group, port, since: now, until });
                self.count(port);
            }
        }
        true
    }

    fn count(&mut self, port: PortIndex) {
        let at = usize::from(port.0);
        if self.held.len() <= at {
            self.held.resize(at + 1, 0);
        }
        self.held[at] += 1;
    }

    /// Believes that `port` wants `group` until that moment at most. False where it does not now.
    pub(crate) fn shorten(
        &mut self,
        vlan: u16,
        group: IpAddr,
        port: PortIndex,
        until: Millis,
        now: Millis,
    ) -> bool {
        let Ok(at) = self.list.binary_search_by_key(&(vlan, group, port), Membership::key) else {
            return false;
        };
        let lasts = self.list[at].until > now;
        self.list[at].until = self.list[at].until.min(until);
        lasts
    }

    /// The same for all ports that want `group`.
    pub(crate) fn shorten_all(&mut self, vlan: u16, group: IpAddr, until: Millis) {
        let range = self.range(vlan, group);
        self.list[range].iter_mut().for_each(|membership| membership.until = membership.until.min(until));
    }

    /// Believes for so many milliseconds longer what counts now, in that VLAN and by that version.
    pub(crate) fn prolong(&mut self, vlan: u16, version: IpVersion, by: u64, now: Millis) {
        let lasting = self.list.iter_mut().filter(|m| (m.vlan, version_of(&m.group)) == (vlan, version));
        lasting.filter(|m| m.until > now).for_each(|m| m.until.0 += by);
    }

    /// True where `port` wants `group`.
    pub(crate) fn has(&self, vlan: u16, group: IpAddr, port: PortIndex, now: Millis) -> bool {
        let found = self.list.binary_search_by_key(&(vlan, group, port), Membership::key);
        found.is_ok_and(|at| self.list[at].until > now)
    }

    /// The ports that want `group`, in the order of their numbers.
    pub(crate) fn ports(
        &self,
        vlan: u16,
        group: IpAddr,
        now: Millis,
    ) -> impl Iterator<Item = PortIndex> + '_ {
        let lasting =
            self.list[self.range(vlan, group)].iter().filter(move |membership| membership.until > now);
        lasting.map(|membership| membership.port)
    }

    fn range(&self, vlan: u16, group: IpAddr) -> core::ops::Range<usize> {
        let begin = self.list.partition_point(|m| (m.vlan, m.group) < (vlan, group));
        let len = self.list[begin..].partition_point(|m| (m.vlan, m.group) == (vlan, group));
        begin..begin + len
    }

    /// All that count now.
    pub(crate) fn iter(&self, now: Millis) -> impl Iterator<Item = &Membership> {
        self.list.iter().filter(move |membership| membership.until > now)
    }

    /// Keeps the memberships of those ports only.
    pub(crate) fn keep(&mut self, stays: impl Fn(PortIndex) -> bool) {
        self.retain(|membership| stays(membership.port));
    }

    /// Sets the places free of what ran out.
    fn sweep(&mut self, now: Millis) {
        if now.0 >= self.swept.0 + SWEEP_INTERVAL.0 {
            self.swept = now;
            self.retain(|membership| membership.until > now);
        }
    }

    fn retain(&mut self, stays: impl Fn(&Membership) -> bool) {
        self.list.retain(stays);
        self.held.fill(0);
        for at in 0..self.list.len() {
            self.count(self.list[at].port);
        }
    }
}

impl Membership {
    fn renew(&mut self, until: Millis, now: Millis) {
        if self.until <= now {
            self.since = now;
        }
        self.until = self.until.max(until);
    }
}

#[cfg(test)]
#[path = "memberships_tests.rs"]
mod tests;
