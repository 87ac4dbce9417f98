//! What frames are decided with: the MAC table and the events, to be written or only to be read.
//!
//! A method that would have to write and may not answers `None`. With [`Writable`] none ever does, and the compiler leaves
//! the question out. [`Explaining`] writes to a copy, and keeps what it is told.

use crate::{
    EngineEvent, Millis, PortIndex, Step,
    events::Events,
    key::Key,
    mac_table::{Learned, MacTable, Sought, Source},
    state::PortState,
};
use alloc::vec::Vec;

pub(super) trait Memory {
    fn table(&self) -> &MacTable;

    /// The port that frames to `address` go to.
    fn look_up(&self, address: Sought) -> Option<PortIndex>;

    /// What is known of a source.
    fn source(&mut self, address: Sought) -> Source;

    /// True where the entry of `key` is in `slot`, was learned on `port`, and need not be stamped anew: so that its frames change
    /// nothing. Never where the batch itself may change that, as then it is not yet known.
    #[inline(always)]
    fn is_settled(&self, _key: Key, _slot: u32, _port: PortIndex) -> bool {
        false
    }

    /// Learns that `address`, of which `source` is known, is on `port`, which may hold `limit` entries.
    fn learn(&mut self, address: Sought, source: Source, port: PortIndex, limit: u32) -> Option<Learned>;

    /// Binds an address that is unknown to `port`, which may have `limit` of them; says whether there was room.
    fn bind(&mut self, address: Sought, port: PortIndex, limit: u32) -> Option<bool>;

    /// Has the fixed entry of `address` say that it is on `port`.
    fn move_fixed(&mut self, address: Sought, port: PortIndex) -> Option<()>;

    fn tell(&mut self, event: EngineEvent) -> Option<()>;

    /// The moment of the batch.
    fn now(&self) -> Millis;

    /// What the policies of the port that the frames came from remember.
    fn state(&mut self) -> Option<&mut PortState>;

    /// Keeps what a stage found until it is its turn: frames are looked into before anything else.
    #[inline]
    fn hold(&mut self, _: Step) {}

    /// It is its turn.
    #[inline]
    fn note_held(&mut self) {}

    /// What a stage found. Nobody wants to know, as a rule, and the compiler leaves it out.
    #[inline]
    fn note(&mut self, _: Step) {}
}

/// All to oneself. The table's clock is that of the batch.
pub(super) struct Writable<'a> {
    pub(super) table: &'a mut MacTable,
    pub(super) events: &'a mut Events,
    pub(super) state: Option<&'a mut PortState>,
}

impl Memory for Writable<'_> {
    #[inline]
    fn table(&self) -> &MacTable {
        self.table
    }

    #[inline]
    fn look_up(&self, address: Sought) -> Option<PortIndex> {
        self.table.look_up(address, self.table.now())
    }

    #[inline]
    fn source(&mut self, address: Sought) -> Source {
        self.table.source(address)
    }

    #[inline]
    fn learn(&mut self, address: Sought, source: Source, port: PortIndex, limit: u32) -> Option<Learned> {
        Some(self.table.learn(address, source, port, limit))
    }

    fn bind(&mut self, address: Sought, port: PortIndex, limit: u32) -> Option<bool> {
        Some(self.table.bind(address, port, limit))
    }

    fn move_fixed(&mut self, address: Sought, port: PortIndex) -> Option<()> {
        self.table.move_fixed(address, port);
        Some(())
    }

    fn tell(&mut self, event: EngineEvent) -> Option<()> {
        self.events.tell(event, self.table.now());
        Some(())
    }

    fn now(&self) -> Millis {
        self.table.now()
    }

    fn state(&mut self) -> Option<&mut PortState> {
        self.state.as_deref_mut()
    }
}

/// Shared with others that read.
pub(super) struct ReadOnly<'a> {
    pub(super) table: &'a MacTable,
    pub(super) events: &'a Events,
    /// Not before the table's clock, which stands still meanwhile.
    pub(super) now: Millis,
}

impl Memory for ReadOnly<'_> {
    #[inline]
    fn table(&self) -> &MacTable {
        self.table
    }

    #[inline(always)]
    fn look_up(&self, address: Sought) -> Option<PortIndex> {
        self.table.look_up(address, self.now)
    }

    #[inline(always)]
    fn source(&mut self, address: Sought) -> Source {
        self.table.source_at(address, self.now)
    }

    #[inline(always)]
    fn is_settled(&self, key: Key, slot: u32, port: PortIndex) -> bool {
        self.table.is_settled(key, slot, port, self.now)
    }

    #[inline(always)]
    fn learn(&mut self, _: Sought, source: Source, port: PortIndex, limit: u32) -> Option<Learned> {
        self.table.learned_at(source, port, limit, self.now)
    }

    fn bind(&mut self, _: Sought, port: PortIndex, limit: u32) -> Option<bool> {
        (!self.table.may_bind(port, limit)).then_some(false)
    }

    fn move_fixed(&mut self, _: Sought, _: PortIndex) -> Option<()> {
        None
    }

    fn now(&self) -> Millis {
        self.now
    }

    fn tell(&mut self, event: EngineEvent) -> Option<()> {
        self.events.place_for(event, self.now).is_none().then_some(())
    }

    fn state(&mut self) -> Option<&mut PortState> {
        None
    }
}

/// For one frame that is only asked about: learning changes a copy of the table, which the look-up after it has to see.
pub(super) struct Explaining<'a> {
    pub(super) table: MacTable,
    pub(super) state: PortState,
    pub(super) steps: &'a mut Vec<Step>,
    pub(super) held: Option<Step>,
}

impl Memory for Explaining<'_> {
    fn table(&self) -> &MacTable {
        &self.table
    }

    fn look_up(&self, address: Sought) -> Option<PortIndex> {
        self.table.look_up(address, self.table.now())
    }

    fn source(&mut self, address: Sought) -> Source {
        self.table.source(address)
    }

    fn learn(&mut self, address: Sought, source: Source, port: PortIndex, limit: u32) -> Option<Learned> {
        Some(self.table.learn(address, source, port, limit))
    }

    fn bind(&mut self, address: Sought, port: PortIndex, limit: u32) -> Option<bool> {
        Some(self.table.bind(address, port, limit))
    }

    fn move_fixed(&mut self, address: Sought, port: PortIndex) -> Option<()> {
        self.table.move_fixed(address, port);
        Some(())
    }

    fn now(&self) -> Millis {
        self.table.now()
    }

    fn tell(&mut self, _: EngineEvent) -> Option<()> {
        Some(())
    }

    fn state(&mut self) -> Option<&mut PortState> {
        Some(&mut self.state)
    }

    fn hold(&mut self, step: Step) {
        self.held = Some(step);
    }

    fn note_held(&mut self) {
        self.steps.extend(self.held.take());
    }

    fn note(&mut self, step: Step) {
        self.steps.push(step);
    }
}
