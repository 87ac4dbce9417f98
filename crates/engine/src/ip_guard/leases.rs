//! The addresses that a vNIC leases, learned from the answers of DHCP and DHCPv6 servers that the switch delivers to it.
//!
//! # Whose word counts
//!
//! An acknowledgement is believed where all of this is so:
//!
//! * it came from an uplink, or from a port that has neither DHCP guard nor IP guard ([`Snapshot::tells_leases`]). Such a port may
//!   claim any address for itself, so lying about another's gains it nothing. It was delivered: it had passed the policies of both
//!   ports;
//! * it is for the port's own MAC: the client's hardware address in DHCP, the frame's destination in DHCPv6, which has none;
//! * it answers a request that the port sent within the last two minutes: the transaction is the same;
//! * it can be read in one way only ([`wire::dhcp`]).
//!
//! A lease ends when the server said so, when the vNIC sends RELEASE or DECLINE, or when a reply of DHCPv6 says that the address
//! is valid no longer. Once a port has as many as it may, that goes which was confirmed longest ago.
//!
//! [`Snapshot::tells_leases`]: crate::Snapshot

use crate::{Millis, PortPolicy};
use alloc::vec::Vec;
use core::net::IpAddr;
use wire::{
    IpPrefix, MacAddr,
    dhcp::{Dhcp, Dhcp4, Dhcp6, Lease6, kind4, kind6},
};

/// A request is answered within this time: clients ask again after 64 s at most (RFC 2131 section 4.1), or 120 s
/// (SOL_MAX_RT apart, RFC 8415 section 7.6), and then with the same transaction.
const ANSWERED_WITHIN: Millis = Millis(120_000);
/// So many transactions are remembered of each port, the latest.
const TRANSACTIONS: usize = 8;
/// What stands for ever.
const INFINITE: u32 = u32::MAX;
/// What clients send in DHCPv6: SOLICIT to DECLINE, but for ADVERTISE and REPLY, and INFORMATION-REQUEST.
const CLIENT_KINDS: [u8; 8] = [1, 3, 4, 5, 6, 8, 9, 11];

/// An address, or a delegated prefix, that a vNIC leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which.
    pub address: IpPrefix,
    /// Until when; `None`: for ever.
    pub until: Option<Millis>,
}

impl Lease {
    fn lasts(&self, now: Millis) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// A transaction of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    V4(u32),
    V6(u32),
}

/// What is remembered of one port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    most: usize,
    /// The latest last.
    asked: Vec<(Transaction, Millis)>,
    /// The one that was confirmed last is last.
    held: Vec<Lease>,
}

impl Leases {
    /// Goes by a new policy of its port: leases are of one MAC, and as many as it says.
    pub(crate) fn follow(&mut self, former: Option<&PortPolicy>, policy: Option<&PortPolicy>) {
        let most = policy.map_or(0, PortPolicy::most_leases);
        let mac_of = |policy: Option<&PortPolicy>| policy.and_then(|policy| policy.mac);
        if most == 0 || mac_of(former) != mac_of(policy) {
            *self = Self::default();
        }
        if most != 0 {
            self.limit(most);
        }
    }

    /// Has at most `most` leases from now on. Memory is made here, and not for each frame.
    pub(crate) fn limit(&mut self, most: u16) {
        self.most = usize::from(most);
        while self.held.len() > self.most {
            self.held.remove(0);
        }
        self.held.reserve_exact(self.most - self.held.len());
        self.asked.reserve_exact(TRANSACTIONS - self.asked.len());
    }

    /// True where the vNIC leases the address.
    pub(crate) fn holds(&self, address: IpAddr, now: Millis) -> bool {
        self.held.iter().any(|lease| lease.address.contains(address) && lease.lasts(now))
    }

    /// Those that last.
    pub(crate) fn lasting(&self, now: Millis) -> impl Iterator<Item = Lease> + '_ {
        self.held.iter().copied().filter(move |lease| lease.lasts(now))
    }

    /// The vNIC, whose MAC is `mac`, sent this message.
    pub(crate) fn hear_client(&mut self, mac: MacAddr, message: Dhcp<'_>, now: Millis) {
        match message {
            Dhcp::V4(message) if !message.is_reply && message.client == mac => {
                self.ask(Transaction::V4(message.xid), now);
                given_up(&message).into_iter().for_each(|address| self.forget(address.into()));
            }
            Dhcp::V6(message) if !message.is_reply && CLIENT_KINDS.contains(&message.kind) => {
                self.ask(Transaction::V6(message.xid), now);
                if matches!(message.kind, kind6::RELEASE | kind6::DECLINE) {
                    message.leases().filter_map(prefix).for_each(|prefix| self.forget(prefix));
                }
            }
            Dhcp::V4(_) | Dhcp::V6(_) => {}
        }
    }

    /// The vNIC, whose MAC is `mac`, gets this message in a frame to `destination`, from somebody whose word counts.
    pub(crate) fn hear_server(&mut self, mac: MacAddr, destination: MacAddr, message: Dhcp<'_>, now: Millis) {
        match message {
            Dhcp::V4(message)
                if message.client == mac && self.has_asked(Transaction::V4(message.xid), now) =>
            {
                self.acknowledge(&message, now);
            }
            Dhcp::V6(message) if destination == mac && self.has_asked(Transaction::V6(message.xid), now) => {
                self.take_reply(message, now);
            }
            Dhcp::V4(_) | Dhcp::V6(_) => {}
        }
    }

    /// Enters a lease that was known before; its address is not a group's.
    pub(crate) fn hold(&mut self, lease: Lease, now: Millis) {
        self.forget(lease.address);
        if self.held.len() >= self.most {
            self.held.retain(|held| held.lasts(now));
        }
        if self.held.len() >= self.most && !self.held.is_empty() {
            self.held.remove(0);
        }
        if self.held.len() < self.most {
            self.held.push(lease);
        }
    }

    fn acknowledge(&mut self, message: &Dhcp4, now: Millis) {
        let Some(seconds) = message.lease_s.filter(|_| message.is_reply && message.kind == kind4::ACK) else {
            return;
        };
        let is_usable = message.yours != [0; 4] && !super::is_group_v4(u32::from_be_bytes(message.yours));
        if is_usable && seconds != 0 {
            self.hold(lease(message.yours.into(), seconds, now), now);
        }
    }

    fn take_reply(&mut self, message: Dhcp6<'_>, now: Millis) {
        if !message.is_reply || message.kind != kind6::REPLY {
            return;
        }
        for (named, prefix) in message.leases().filter_map(|named| Some((named, prefix(named)?))) {
            match named.valid_s {
                0 => self.forget(prefix),
                seconds => self.hold(lease(prefix, seconds, now), now),
            }
        }
    }

    fn ask(&mut self, transaction: Transaction, now: Millis) {
        self.asked.retain(|(asked, _)| *asked != transaction);
        if self.asked.len() >= TRANSACTIONS {
            self.asked.remove(0);
        }
        self.asked.push((transaction, now));
    }

    fn has_asked(&self, transaction: Transaction, now: Millis) -> bool {
        let is_recent = |at: Millis| now.0.saturating_sub(at.0) <= ANSWERED_WITHIN.0;
        self.asked.iter().any(|(asked, at)| *asked == transaction && is_recent(*at))
    }

    fn forget(&mut self, address: IpPrefix) {
        self.held.retain(|lease| lease.address != address);
    }
}

/// The address that a client gives up by this message.
fn given_up(message: &Dhcp4) -> Option<[u8; 4]> {
    match message.kind {
        kind4::RELEASE => Some(message.has),
        kind4::DECLINE => message.requested,
        _ => None,
    }
}

fn lease(address: IpPrefix, seconds: u32, now: Millis) -> Lease {
    let until = now.0.saturating_add(u64::from(seconds) * 1000);
    Lease { address, until: (seconds != INFINITE).then_some(Millis(until)) }
}

/// What can be leased: no group, not everything, and no prefix that says more than its length.
fn prefix(named: Lease6) -> Option<IpPrefix> {
    let is_usable = named.address != [0; 16] && named.address[0] != 0xff && named.prefix_len != 0;
    IpPrefix::new(IpAddr::from(named.address), named.prefix_len).filter(|_| is_usable)
}

#[cfg(test)]
#[path = "leases_tests.rs"]
mod tests;
