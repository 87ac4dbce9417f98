//! Entries of ports whose guard lets more in than the port's own addresses.
//!
//! A *bound* entry is one that the guard accepted from its port, up to a number: it does not age, no full table takes its place, and
//! no other port is let in with its address. It goes when its port is flushed or when the policies give the address to a port.
//!
//! A *pinned* entry moves among the ports of a team, whose guards let its address in: to where it was last seen. It is in
//! the list of fixed entries wherever it points to, so nothing else moves.

use super::{MacTable, Node, Sought, Source, Stamp};
use crate::{PortIndex, key::Key};
use model::MacKind;

impl MacTable {
    /// Binds an unknown address to `port`, which may have `limit` of them; false where there is no room.
    pub(crate) fn bind(&mut self, address: Sought, port: PortIndex, limit: u32) -> bool {
        self.may_bind(port, limit)
            && self.has_place()
            && self.insert(self.hash_of(address), Node::new(address.key, MacKind::Bound, port, Stamp(0)))
    }

    /// True where [`MacTable::has_place`] would be.
    pub(crate) fn could_place(&self) -> bool {
        self.len() < self.config.capacity as usize || self.fullest.port().is_some()
    }

    /// True where [`MacTable::learn`] would not say no.
    pub(crate) fn could_learn(&self, source: Source, port: PortIndex, limit: u32) -> bool {
        let has_quota = || self.may_learn(port, limit, self.now);
        match source {
            Source::Fixed(_) => true,
            Source::Learned { port: at, .. } => at == port || has_quota(),
            Source::Unknown => has_quota() && self.could_place(),
        }
    }

    /// True where `port` has fewer than `limit` bound addresses.
    #[inline]
    pub(crate) fn may_bind(&self, port: PortIndex, limit: u32) -> bool {
        self.bound[usize::from(port.0)].len() < limit
    }

    /// Lets go of the oldest addresses that are bound to `port` above `limit`; says how many.
    pub(crate) fn unbind(&mut self, port: PortIndex, limit: u32) -> usize {
        let mut unbound = 0;
        while let Some(list) = self.bound.get(usize::from(port.0)).filter(|list| list.len() > limit) {
            let Some(oldest) = list.head() else { break };
            self.remove(oldest);
            unbound += 1;
        }
        unbound
    }

    /// The addresses that are bound to some port.
    pub(super) fn bound_len(&self) -> usize {
        self.bound.iter().map(|list| list.len() as usize).sum()
    }

    /// Has the pinned or static entry of an address say that it is on `port`. One that is bound to another port, which it was in
    /// a VLAN before the address was given to a trunk, goes.
    pub(crate) fn move_fixed(&mut self, address: Sought, port: PortIndex) {
        match self.find(address).map(|slot| (slot, self.slab.node(slot).kind())) {
            Some((slot, MacKind::Pinned | MacKind::Static)) => self.slab.point_to(slot, port),
            Some((slot, MacKind::Bound)) => self.remove(slot),
            Some((_, MacKind::Learned)) | None => {}
        }
    }

    /// Where the pinned or static entry of an address says that it is.
    pub(crate) fn fixed_at(&self, key: Key) -> Option<PortIndex> {
        let node = self.slab.node(self.find(self.sought(key))?);
        node.follows_from_policy().then(|| node.port())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::super::{Entry, Learned, Source, TableConfig};
    use super::*;
    use crate::Millis;
    use alloc::vec::Vec;
    use wire::MacAddr;

    const A: PortIndex = PortIndex(0);
    const B: PortIndex = PortIndex(1);

    fn key(n: u8) -> Key {
        Key::of(MacAddr([2, 0, 0, 0, 0, n]))
    }

    fn table(capacity: u32, fixed: &[(u8, PortIndex)]) -> MacTable {
        let mut table = MacTable::new(TableConfig { capacity, ageing_ms: 1000 }, [1, 2]);
        install(&mut table, fixed);
        table
    }

    fn install(table: &mut MacTable, fixed: &[(u8, PortIndex)]) {
        let fixed: Vec<_> = fixed.iter().map(|(n, port)| (key(*n), *port, MacKind::Pinned)).collect();
        table.install(2, &fixed);
    }

    fn bind(table: &mut MacTable, n: u8, port: PortIndex, limit: u32) -> bool {
        let address = table.sought(key(n));
        table.bind(address, port, limit)
    }

    fn known(table: &MacTable, n: u8) -> Source {
        table.source_at(table.sought(key(n)), table.now())
    }

    fn kinds(table: &MacTable) -> Vec<(u8, PortIndex, MacKind)> {
        let row = |entry: Entry| (entry.mac.0[5], entry.port, entry.kind);
        let mut rows: Vec<_> = table.entries(table.now()).map(row).collect();
        rows.sort();
        rows
    }

    #[test]
    fn so_many_addresses_are_bound_to_a_port_and_do_not_age() {
        let mut table = table(16, &[]);
        assert!(bind(&mut table, 1, A, 2) && bind(&mut table, 2, A, 2) && !bind(&mut table, 3, A, 2));
        assert!(bind(&mut table, 3, B, 2));
        table.advance(Millis(1_000_000));
        assert!(!table.reclaim_one());
        assert_eq!(
            (known(&table, 1), known(&table, 3), known(&table, 4)),
            (Source::Fixed(A), Source::Fixed(B), Source::Unknown)
        );
        assert_eq!(kinds(&table), [(1, A, MacKind::Bound), (2, A, MacKind::Bound), (3, B, MacKind::Bound)]);
    }

    #[test]
    fn bound_addresses_go_when_their_port_is_flushed_or_may_have_fewer() {
        let mut table = table(16, &[]);
        (1..5).for_each(|n| assert!(bind(&mut table, n, A, 9)));
        assert!(bind(&mut table, 5, B, 9));
        assert_eq!((table.unbind(A, 4), table.unbind(A, 3)), (0, 1));
        assert_eq!(known(&table, 1), Source::Unknown, "the oldest");
        assert_eq!(table.flush(A), 3);
        assert_eq!((kinds(&table), table.unbind(PortIndex(7), 0)), ([(5, B, MacKind::Bound)].into(), 0));
    }

    #[test]
    fn a_full_table_takes_from_what_was_learned_and_never_from_what_is_bound() {
        let mut table = table(2, &[]);
        assert!(bind(&mut table, 1, A, 9));
        let (learned, other) = (table.sought(key(2)), table.sought(key(3)));
        assert_eq!(table.learn(learned, Source::Unknown, B, 9), Learned::Yes);
        assert!(bind(&mut table, 4, A, 9), "in place of what was learned");
        assert!(!bind(&mut table, 5, A, 9));
        assert_eq!(table.learn(other, Source::Unknown, B, 9), Learned::No);
        assert_eq!(kinds(&table), [(1, A, MacKind::Bound), (4, A, MacKind::Bound)]);
    }

    #[test]
    fn a_policy_gives_a_bound_address_to_whom_it_names_and_others_stay_whatever_the_size() {
        let mut table = table(4, &[]);
        assert!(bind(&mut table, 1, A, 9) && bind(&mut table, 2, A, 9));
        install(&mut table, &[(1, B), (7, B), (8, B), (9, B)]);
        let pinned = |n| (n, B, MacKind::Pinned);
        assert_eq!(kinds(&table), [pinned(1), (2, A, MacKind::Bound), pinned(7), pinned(8), pinned(9)]);
        table.configure(TableConfig { capacity: 16, ageing_ms: 1000 });
        table.configure(TableConfig { capacity: 1, ageing_ms: 1000 });
        assert_eq!(table.len(), 5);
    }

    #[test]
    fn a_pinned_entry_moves_a_bound_one_goes_and_a_learned_one_stays() {
        let mut table = table(16, &[(1, A)]);
        let (pinned, learned, bound) = (table.sought(key(1)), table.sought(key(2)), table.sought(key(3)));
        table.learn(learned, Source::Unknown, A, 9);
        assert!(table.bind(bound, A, 9));
        [pinned, learned, bound].into_iter().for_each(|address| table.move_fixed(address, B));
        assert_eq!(
            (
                table.look_up(pinned, Millis(0)),
                table.look_up(learned, Millis(0)),
                table.look_up(bound, Millis(0))
            ),
            (Some(B), Some(A), None)
        );
        assert_eq!(
            (table.fixed_at(key(1)), table.fixed_at(key(2)), table.fixed_at(key(3))),
            (Some(B), None, None)
        );
        install(&mut table, &[]);
        assert_eq!(table.fixed_at(key(1)), None);
    }
}
