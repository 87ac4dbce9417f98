//! The packed ring (virtio 1.2, 2.8): one ring of descriptors that the driver makes available and we overwrite as used.
//!
//! A batch of 64 frames, one descriptor each, takes 16 cache lines, and those are all: flags say what is available. The
//! price is that both sides write the same lines, so used descriptors are written in one go, from the last to the first:
//! the driver polls the first, and its line would otherwise go back and forth while the others are written.
//!
//! Which lap of the ring a descriptor belongs to is told by comparing its flags with the wrap counter, which changes at
//! the ring's end. As completion is in order, a chain is used in the slot where it was made available.

mod left;

use super::{
    cells::Cells,
    chains::{Builder, Chain, Chains},
    descriptor::{Cell, Descriptor, INDIRECT, NEXT, Table, WRITE},
    memory::GuestMemory,
    ring::{Common, MAX_SIZE, RingConfig, RingError, prefetch},
};
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering, fence},
    },
};

const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// All flags that have a meaning in an available descriptor.
const MEANT: u16 = AVAILABLE | USED | NEXT | WRITE | INDIRECT;

/// Values of the flags of event suppression (2.8.10).
const ENABLE: u32 = 0;
const DISABLE: u32 = 1;
const AT_DESCRIPTOR: u32 = 2;
/// Beside ENABLE, where a position has no meaning (2.8.10): with it, our wish is never all zeros, as it is in a ring that the
/// driver has made anew.
const RUNS: u32 = 0xffff;

/// A slot of the ring, and the lap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    slot: u16,
    wrap: bool,
}

impl Position {
    /// As it is written: in the event structures and, twice, as the base.
    fn bits(self) -> u16 {
        self.slot | u16::from(self.wrap) << 15
    }

    fn from_bits(bits: u16) -> Self {
        Self { slot: bits & 0x7fff, wrap: bits >> 15 != 0 }
    }

    /// So many slots on; not more than the ring has.
    #[inline(always)]
    fn plus(self, slots: u16, size: u16) -> Self {
        let slot = self.slot + slots;
        if slot >= size { Self { slot: slot - size, wrap: !self.wrap } } else { Self { slot, ..self } }
    }

    fn minus(self, slots: u16, size: u16) -> Self {
        if slots > self.slot {
            Self { slot: self.slot + size - slots, wrap: !self.wrap }
        } else {
            Self { slot: self.slot - slots, ..self }
        }
    }

    /// Flags of a descriptor that is available in this lap.
    #[inline(always)]
    fn available(self) -> u16 {
        if self.wrap { AVAILABLE } else { USED }
    }

    /// Flags of a descriptor that was used in this lap.
    #[inline(always)]
    fn used(self) -> u16 {
        if self.wrap { AVAILABLE | USED } else { 0 }
    }
}

/// The device's side of a packed ring.
#[derive(Debug)]
pub struct Packed {
    common: Common,
    descriptors: Cells<Cell>,
    driver_event: Cells<AtomicU32>,
    device_event: Cells<AtomicU32>,
    /// The next slot to take.
    next: Position,
    /// The next slot to mark as used, which the driver looks at.
    used: Position,
    /// Slots that were taken and not put yet.
    taken: u16,
    /// Address of the ring for the guest, for the log.
    guest: u64,
}

impl Packed {
    pub(super) fn new(config: &RingConfig, memory: &Arc<GuestMemory>) -> Result<Self, RingError> {
        let (size, wide) = (config.size, usize::from(config.size));
        if size == 0 || size > MAX_SIZE {
            return Err(RingError::Size(size));
        }
        // The upper half of the base tells the same of the used side; front ends that know of one position only leave it 0.
        let start = Position::from_bits(config.base as u16);
        if start.slot >= size {
            return Err(RingError::Base { position: start.slot, size });
        }
        let descriptors = Cells::new(memory, config.descriptors, wide, "descriptor ring")?;
        let mut ring = Self {
            common: Common::new(config, memory),
            guest: memory.guest_address(descriptors.start()).unwrap_or_default(),
            descriptors,
            driver_event: Cells::new(memory, config.driver, 1, "driver event suppression")?,
            device_event: Cells::new(memory, config.device, 1, "device event suppression")?,
            next: start,
            used: start,
            taken: 0,
        };
        if let Some(place) = &config.place {
            ring.go_on(config, place);
        }
        Ok(ring)
    }

    /// Notes how far the ring is, and that it is about to be at `to`.
    #[inline]
    fn note(&self, to: Position) {
        if let Some(notes) = &self.common.notes {
            notes.set(self.used.bits(), to.bits(), self.next.bits());
        }
    }

    /// How many slots may be taken: not those that are in our hands.
    #[inline(always)]
    fn free(&self) -> u16 {
        self.common.size - self.taken
    }

    #[inline]
    pub(super) fn pending(&self) -> bool {
        let cell = self.descriptors.get(usize::from(self.next.slot));
        let flags = (cell[1].load(Ordering::Relaxed) >> 48) as u16;
        self.common.broken.is_none() && self.free() > 0 && flags & (AVAILABLE | USED) == self.next.available()
    }

    #[inline]
    pub(super) fn take(&mut self, max: usize, chains: &mut Chains) -> Result<(), RingError> {
        if let Some(error) = self.common.broken {
            return Err(error);
        }
        let upto = chains.len().saturating_add(max);
        loop {
            let room = (upto - chains.len()).min(usize::from(self.free()));
            if !self.take_singles(room as u16, chains) || chains.is_full() {
                self.note(self.used);
                return Ok(());
            }
            self.take_chain(chains)?;
        }
    }

    /// The chains of one direct descriptor up to the first that is not; true where there is one that is not. Everything is
    /// kept in locals, which stay in registers whatever is written to memory.
    #[inline]
    fn take_singles(&mut self, count: u16, chains: &mut Chains) -> bool {
        let Common { size, writable, .. } = self.common;
        let plain = if writable { WRITE } else { 0 };
        let (mut window, mut next, mut taken, mut other) = (self.common.window, self.next, 0, false);
        let mut wanted = next.available() | plain;
        for place in chains.room(usize::from(count)) {
            let cell = self.descriptors.get(usize::from(next.slot));
            // Acquire: the address, and the other descriptors of the chain, are read after the flags that tell of them.
            let rest = cell[1].load(Ordering::Acquire);
            let first = Descriptor::packed(cell[0].load(Ordering::Relaxed), rest);
            if first.flags & MEANT != wanted || first.len == 0 {
                other = first.flags & (AVAILABLE | USED) == next.available();
                break;
            }
            let seen = window.piece(first.address, first.len);
            let seen = seen.or_else(|| self.common.memory.move_window(&mut window, first.address, first.len));
            let Some(piece) = seen else {
                other = true;
                break;
            };
            prefetch(piece, writable);
            place.fill(piece, first.link, next.slot);
            taken += 1;
            next.slot += 1;
            if next.slot == size {
                next = Position { slot: 0, wrap: !next.wrap };
                wanted = next.available() | plain;
            }
        }
        chains.grow(usize::from(taken));
        (self.common.window, self.next, self.taken) = (window, next, self.taken + taken);
        other
    }

    /// Any chain.
    #[cold]
    #[inline(never)]
    fn take_chain(&mut self, chains: &mut Chains) -> Result<(), RingError> {
        let slots = self.follow(chains).inspect_err(|error| self.common.broken = Some(*error))?;
        self.next = self.next.plus(slots, self.common.size);
        self.taken += slots;
        Ok(())
    }

    /// Takes the chain in; how many slots it has.
    fn follow(&mut self, chains: &mut Chains) -> Result<u16, RingError> {
        let (size, free, begin) = (self.common.size, self.free(), self.next);
        let Common { memory, window, writable, indirect, .. } = &mut self.common;
        let mut builder = chains.begin(memory, window, *writable);
        let mut at = begin;
        for slots in 1..=free {
            let cell = self.descriptors.get(usize::from(at.slot));
            let rest = cell[1].load(Ordering::Acquire);
            let descriptor = Descriptor::packed(cell[0].load(Ordering::Relaxed), rest);
            if descriptor.flags & (AVAILABLE | USED) != at.available() {
                return Err(RingError::ChainIncomplete);
            }
            match descriptor.has(INDIRECT) {
                true if slots > 1 => return Err(RingError::IndirectInChain),
                true => follow_table(&descriptor, *indirect, &mut builder)?,
                false => builder.add(descriptor)?,
            }
            if !descriptor.has(NEXT) {
                return builder.end(descriptor.link, begin.slot, slots).map(|()| slots);
            }
            at = at.plus(1, size);
        }
        Err(RingError::ChainTooLong(u32::from(size)))
    }

    pub(super) fn untake(&mut self, count: usize, chains: &mut Chains) {
        let slots = chains.pop(count).min(self.taken);
        self.next = self.next.minus(slots, self.common.size);
        self.taken -= slots;
    }

    #[inline]
    pub(super) fn put(&mut self, chains: &Chains, range: Range<usize>) -> bool {
        self.put_all(chains.range(range))
    }

    #[inline]
    fn put_all(&mut self, done: &[Chain]) -> bool {
        let [first, others @ ..] = done else { return false };
        let begin = self.used;
        let slots = self.slots_to(others.last().unwrap_or(first));
        let end = begin.plus(slots, self.common.size);
        self.note(end);
        let (this_lap, next_lap) = (begin.used(), Position { wrap: !begin.wrap, ..begin }.used());
        // The first one makes the others visible, as the driver looks at them in order.
        match others {
            // One descriptor in the first slot, with the id of the last (virtio 1.2, 2.8.9).
            [.., last] if self.common.skips => self.write(begin.slot, last, this_lap),
            _ => {
                for chain in others.iter().rev() {
                    self.write(chain.slot, chain, if chain.slot > begin.slot { this_lap } else { next_lap });
                }
                self.write(begin.slot, first, this_lap);
            }
        }
        if self.common.log.is_some() {
            self.log_used(slots);
        }
        self.used = end;
        self.taken -= slots;
        self.wants_notification(slots)
    }

    /// How many slots there are from the first that is not put back to the end of the chain.
    #[inline]
    fn slots_to(&self, chain: &Chain) -> u16 {
        let size = self.common.size;
        let before = if chain.slot >= self.used.slot { 0 } else { size };
        (chain.slot + before - self.used.slot).saturating_add(chain.slots).min(self.taken)
    }

    /// Writes the chain's used descriptor.
    #[inline(always)]
    fn write(&self, slot: u16, chain: &Chain, lap: u16) {
        let flags = lap | if chain.written > 0 { WRITE } else { 0 };
        let rest = u64::from(chain.written) | u64::from(chain.id) << 32 | u64::from(flags) << 48;
        // Release: the driver that sees the flags sees the bytes of the buffers, and what was written before.
        self.descriptors.get(usize::from(slot))[1].store(rest, Ordering::Release);
    }

    /// Whether the driver wants to be told of the last `count` slots.
    #[inline]
    fn wants_notification(&self, count: u16) -> bool {
        // Stops the wish below from being read before the flags above are visible: the driver writes its wish, then looks
        // at the flags, and without the fence each could miss the other's write, and the guest would wait for ever.
        fence(Ordering::SeqCst);
        let event = self.driver_event.get(0).load(Ordering::Relaxed);
        match event >> 16 & 3 {
            DISABLE => false,
            AT_DESCRIPTOR if self.common.event_idx => self.passed(Position::from_bits(event as u16), count),
            _ => true,
        }
    }

    /// Whether one of the last `count` slots is the one asked for.
    fn passed(&self, event: Position, count: u16) -> bool {
        let (size, end) = (i32::from(self.common.size), i32::from(self.used.slot));
        let lap = if event.wrap == self.used.wrap { 0 } else { size };
        (end - i32::from(count)..end).contains(&(i32::from(event.slot) - lap))
    }

    #[cold]
    fn log_used(&self, count: u16) {
        let Some(to) = &self.common.log else { return };
        let first = self.used.slot;
        let before_end = count.min(self.common.size - first);
        let (slot, len) = (|slot: u16| 16 * u64::from(slot), |slots: u16| 16 * u64::from(slots));
        to.log.mark(self.guest.wrapping_add(slot(first)), len(before_end));
        to.log.mark(self.guest, len(count - before_end));
    }

    pub(super) fn arm(&mut self) -> bool {
        let at_next = AT_DESCRIPTOR << 16 | u32::from(self.next.bits());
        self.wish(if self.common.event_idx { at_next } else { ENABLE << 16 | RUNS });
        // Stops the flags from being read before the wish is visible: the driver writes its flags, then looks at the wish.
        fence(Ordering::SeqCst);
        self.pending()
    }

    pub(super) fn disarm(&mut self) {
        self.wish(DISABLE << 16);
    }

    fn wish(&self, event: u32) {
        self.device_event.get(0).store(event, Ordering::Relaxed);
        if let Some(to) = &self.common.log {
            to.log.mark(to.device, 4);
        }
    }

    pub(super) fn base(&self) -> u32 {
        let bits = u32::from(self.used.bits());
        bits << 16 | bits
    }
}

/// Adds all descriptors of an indirect table, which come one behind the other (2.8.8). Of their flags, only WRITE counts.
fn follow_table(to: &Descriptor, negotiated: bool, builder: &mut Builder<'_>) -> Result<(), RingError> {
    if !negotiated {
        return Err(RingError::IndirectNotNegotiated);
    }
    if to.has(NEXT) {
        return Err(RingError::IndirectInChain);
    }
    let table = Table::of(to, builder.memory().translate(to.address, to.len))?;
    for [address, rest] in (0..table.len).map_while(|at| table.read(at)) {
        let descriptor = Descriptor::packed(address, rest);
        if descriptor.has(INDIRECT) {
            return Err(RingError::IndirectNested);
        }
        builder.add(descriptor)?;
    }
    Ok(())
}
