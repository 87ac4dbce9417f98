//! Basic rules that look at MAC addresses: a class of their own, which a frame has to pass as well as the others.

use super::{
    classifier::End,
    field::{Field, Rows, Takes},
    rules::{Done, Entry, specific},
};
use alloc::vec::Vec;
use core::cmp::Reverse;
use model::AclAddress;
use wire::MacAddr;

/// The rules, in the order in which they count: those that name the other end's address first.
#[derive(Clone, Debug)]
pub(super) struct Macs {
    local: Field<u64>,
    remote: Field<u64>,
    done: Vec<Done>,
}

impl Macs {
    pub(super) fn new(entries: &[Entry]) -> Self {
        let mut entries: Vec<_> = entries.iter().collect();
        entries
            .sort_by_key(|entry| [End::Remote, End::Local].map(|end| Reverse(specific(entry.address(end)))));
        let field = |end| {
            let takes = |entry: &&Entry| match entry.address(end) {
                AclAddress::Mac(mac) => Takes::Range(mac.to_u64(), mac.to_u64()),
                _ => Takes::All,
            };
            Field::new(&entries.iter().map(takes).collect::<Vec<_>>(), entries.len().div_ceil(64))
        };
        Self {
            local: field(End::Local),
            remote: field(End::Remote),
            done: entries.iter().map(|entry| entry.done()).collect(),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// What the most specific rule does that matches.
    #[inline]
    pub(super) fn decide(&self, local: MacAddr, remote: MacAddr) -> Option<Done> {
        let rows = Rows::new([self.local.row(local.to_u64()), self.remote.row(remote.to_u64())]);
        self.done.get(rows.first(u64::MAX)?).copied()
    }
}
