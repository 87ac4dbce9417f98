//! The split ring (virtio 1.2, 2.7): descriptor table, available ring (the driver's), used ring (ours).
//!
//! The cache lines of a batch of 64 frames, one descriptor each, and who wrote them last: the available index, 2 lines of
//! available entries, 16 of descriptors (the driver); 8 of used elements and the used index (ours, read by the driver).

use super::{
    cells::Cells,
    chains::{Builder, Chain, Chains},
    descriptor::{self, Cell, Descriptor, Table},
    memory::GuestMemory,
    places::{Left, Place},
    ring::{Common, MAX_SIZE, RingConfig, RingError, prefetch},
};
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU32, Ordering, fence},
    },
};

/// Flag of the used ring: the driver need not notify.
const NO_NOTIFY: u16 = 1;
/// Flag of the available ring: the device need not.
const NO_INTERRUPT: u16 = 1;
/// Where flags and index are, in both rings.
const FLAGS: usize = 0;
const INDEX: usize = 1;

/// The device's side of a split ring.
#[derive(Debug)]
pub struct Split {
    common: Common,
    descriptors: Cells<Cell>,
    available_head: Cells<AtomicU16>,
    available: Cells<AtomicU16>,
    /// The driver's wish: to be told when the used index passes this.
    used_event: Cells<AtomicU16>,
    used_head: Cells<AtomicU16>,
    elements: Cells<[AtomicU32; 2]>,
    /// Our wish: to be told when the available index passes this.
    available_event: Cells<AtomicU16>,
    /// The available index as it was read last: so far there is something to take.
    seen: u16,
    /// The next entry to take.
    next: u16,
    /// The used index.
    used: u16,
    /// The driver was never told anything, so that what it wished before the start is not known.
    fresh: bool,
}

impl Split {
    pub(super) fn new(config: &RingConfig, memory: &Arc<GuestMemory>) -> Result<Self, RingError> {
        let (size, wide) = (config.size, usize::from(config.size));
        if !size.is_power_of_two() || size > MAX_SIZE {
            return Err(RingError::Size(size));
        }
        let (driver, device) = (config.driver, config.device);
        let available_entry = |entry: usize| driver.wrapping_add(4 + 2 * entry as u64);
        let used_element = |element: usize| device.wrapping_add(4 + 8 * element as u64);
        let common = Common::new(config, memory);
        // Behind the last one, and only there where it was negotiated: else it is not touched.
        let event = if common.event_idx { wide } else { 0 };
        let mut ring = Self {
            common,
            descriptors: Cells::new(memory, config.descriptors, wide, "descriptor table")?,
            available_head: Cells::new(memory, driver, 2, "available ring")?,
            available: Cells::new(memory, available_entry(0), wide, "available ring")?,
            used_event: Cells::new(memory, available_entry(event), 1, "available ring")?,
            used_head: Cells::new(memory, device, 2, "used ring")?,
            elements: Cells::new(memory, used_element(0), wide, "used ring")?,
            available_event: Cells::new(memory, used_element(event), 1, "used ring")?,
            seen: 0,
            next: 0,
            used: 0,
            fresh: true,
        };
        // Where a back end died between taking and putting, the base is behind or ahead of what the driver saw. What it saw
        // counts: completion is in order, so all from there on was not done. A base of an orderly stop is the same number.
        let start = ring.used_head.get(INDEX).load(Ordering::Acquire);
        (ring.seen, ring.next, ring.used) = (start, start, start);
        if let Some(place) = &config.place {
            ring.go_on(config, place);
        }
        Ok(ring)
    }

    /// Gives back what was taken and may have been passed on, where it is noted that this was left. A ring that was set up
    /// anew, or that the front end has gone on with, has another used index; one of which the front end dropped some of what was
    /// taken has one in between.
    fn go_on(&mut self, config: &RingConfig, place: &Place) {
        let used = self.used;
        let is_of = |left: &Left| used.wrapping_sub(left.used) <= left.taken.wrapping_sub(left.used);
        let left = place.left(config).filter(|left| config.recalls && is_of(left));
        let end = left.filter(|_| !self.common.writable).map_or(used, |left| left.taken);
        let chains = self.chains(used, end).unwrap_or_default();
        self.next = used.wrapping_add(chains.len() as u16);
        self.seen = self.next;
        let (told, to) = (place.told, self.next);
        self.common.notes = Some(place.begin(config, Left { told, used, to, taken: to }));
        // Who starts a ring calls the guest.
        let _ = self.put_all(&chains);
    }

    /// The chains of these entries; `None` where not all of them are available.
    fn chains(&self, begin: u16, end: u16) -> Option<Vec<Chain>> {
        let (size, index) = (self.common.size, self.available_head.get(INDEX).load(Ordering::Acquire));
        let [count, available] = [end, index].map(|index| index.wrapping_sub(begin));
        if count > available || available > size {
            return None;
        }
        let head = |at| self.available.around(begin.wrapping_add(at)).load(Ordering::Relaxed);
        (0..count).map(|at| (head(at) < size).then(|| Chain::returned(head(at), 0, 1))).collect()
    }

    /// Notes how far the ring is, and that it is about to be at `to`.
    #[inline]
    fn note(&self, to: u16) {
        if let Some(notes) = &self.common.notes {
            notes.set(self.used, to, self.next);
        }
    }

    #[inline]
    pub(super) fn pending(&self) -> bool {
        let there = || self.next != self.available_head.get(INDEX).load(Ordering::Relaxed);
        self.common.broken.is_none() && (self.next != self.seen || there())
    }

    #[inline]
    pub(super) fn take(&mut self, max: usize, chains: &mut Chains) -> Result<(), RingError> {
        let mut left = self.available(max)?;
        while left > 0 && !chains.is_full() {
            left -= self.take_singles(left, chains)?;
            if left > 0 {
                self.take_chain(chains)?;
                left -= 1;
            }
        }
        self.note(self.used);
        Ok(())
    }

    /// How many entries there are to take, `max` at most.
    #[inline]
    fn available(&mut self, max: usize) -> Result<u16, RingError> {
        if let Some(error) = self.common.broken {
            return Err(error);
        }
        if self.seen == self.next {
            // Acquire: the entries and descriptors that the index tells of are read after it.
            self.seen = self.available_head.get(INDEX).load(Ordering::Acquire);
            let (available, size) = (self.seen.wrapping_sub(self.next), self.common.size);
            if available > size {
                return Err(self.fail(RingError::TooManyAvailable { available, size }));
            }
        }
        Ok(usize::from(self.seen.wrapping_sub(self.next)).min(max) as u16)
    }

    /// The chains of one direct descriptor up to the first that is not; how many. Everything is kept in locals, which stay
    /// in registers whatever is written to memory.
    #[inline]
    fn take_singles(&mut self, count: u16, chains: &mut Chains) -> Result<u16, RingError> {
        let Common { size, writable, .. } = self.common;
        let plain = if writable { descriptor::WRITE } else { 0 };
        let (mut window, mut next) = (self.common.window, self.next);
        for place in chains.room(usize::from(count)) {
            let head = self.available.around(next).load(Ordering::Relaxed);
            if head >= size {
                return Err(self.fail(RingError::Head { head, size }));
            }
            let first = Descriptor::read_split(self.descriptors.around(head));
            if first.flags != plain || first.len == 0 {
                break;
            }
            let seen = window.piece(first.address, first.len);
            let seen = seen.or_else(|| self.common.memory.move_window(&mut window, first.address, first.len));
            let Some(piece) = seen else { break };
            prefetch(piece, writable);
            place.fill(piece, head, 0);
            next = next.wrapping_add(1);
        }
        let taken = next.wrapping_sub(self.next);
        chains.grow(usize::from(taken));
        (self.common.window, self.next) = (window, next);
        Ok(taken)
    }

    #[cold]
    fn fail(&mut self, error: RingError) -> RingError {
        *self.common.broken.insert(error)
    }

    /// Any chain.
    #[cold]
    #[inline(never)]
    fn take_chain(&mut self, chains: &mut Chains) -> Result<(), RingError> {
        self.follow(chains).map_err(|error| self.fail(error))?;
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    fn follow(&mut self, chains: &mut Chains) -> Result<(), RingError> {
        let Common { memory, window, size, writable, indirect, .. } = &mut self.common;
        let (size, mut builder) = (*size, chains.begin(memory, window, *writable));
        let head = self.available.around(self.next).load(Ordering::Relaxed);
        if head >= size {
            return Err(RingError::Head { head, size });
        }
        let mut at = head;
        for _ in 0..size {
            let descriptor = Descriptor::read_split(self.descriptors.around(at));
            if descriptor.has(descriptor::INDIRECT) {
                follow_table(&descriptor, *indirect, &mut builder)?;
                return builder.end(head, 0, 1);
            }
            builder.add(descriptor)?;
            if !descriptor.has(descriptor::NEXT) {
                return builder.end(head, 0, 1);
            }
            at = descriptor.link;
            if at >= size {
                return Err(RingError::NextOutside { next: at, size: u32::from(size) });
            }
        }
        Err(RingError::ChainTooLong(u32::from(size)))
    }

    pub(super) fn untake(&mut self, count: usize, chains: &mut Chains) {
        let count = count.min(chains.len());
        chains.pop(count);
        self.next = self.next.wrapping_sub(count as u16);
    }

    #[inline]
    pub(super) fn put(&mut self, chains: &Chains, range: Range<usize>) -> bool {
        self.put_all(chains.range(range))
    }

    #[inline]
    fn put_all(&mut self, done: &[Chain]) -> bool {
        let old = self.used;
        let new = old.wrapping_add(done.len() as u16);
        if new == old {
            return false;
        }
        self.note(new);
        match done {
            // One element where the first would be, with the id of the last (virtio 1.2, 2.7.9).
            [.., last] if self.common.skips => self.write(old, last),
            _ => (0..).zip(done).for_each(|(at, chain)| self.write(old.wrapping_add(at), chain)),
        }
        // Release: the driver that sees the index sees the used elements and the buffers' bytes.
        self.used_head.get(INDEX).store(new, Ordering::Release);
        self.used = new;
        if self.common.log.is_some() {
            self.log_used(old, new);
        }
        self.wants_notification(old, new)
    }

    #[inline(always)]
    fn write(&self, at: u16, chain: &Chain) {
        let element = self.elements.around(at);
        element[0].store(u32::from(chain.id), Ordering::Relaxed);
        element[1].store(chain.written, Ordering::Relaxed);
    }

    /// Whether the driver wants to be told that the used index went from `old` to `new`.
    #[inline]
    fn wants_notification(&mut self, old: u16, new: u16) -> bool {
        // Stops the wish below from being read before the index above is visible: the driver writes its wish, then looks at
        // the index, and without the fence each could miss the other's write, and the guest would wait for ever.
        fence(Ordering::SeqCst);
        if !self.common.event_idx {
            return self.available_head.get(FLAGS).load(Ordering::Relaxed) & NO_INTERRUPT == 0;
        }
        let event = self.used_event.get(0).load(Ordering::Relaxed);
        std::mem::take(&mut self.fresh) || new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
    }

    #[cold]
    fn log_used(&self, old: u16, new: u16) {
        let Some(to) = &self.common.log else { return };
        let (size, count) = (self.common.size, new.wrapping_sub(old));
        let first = old % size;
        let before_end = count.min(size - first);
        let element = |index: u16| to.device.wrapping_add(4 + 8 * u64::from(index));
        to.log.mark(element(first), 8 * u64::from(before_end));
        to.log.mark(element(0), 8 * u64::from(count - before_end));
        to.log.mark(to.device, 4);
    }

    pub(super) fn arm(&mut self) -> bool {
        if self.common.event_idx {
            self.available_event.get(0).store(self.next, Ordering::Relaxed);
        } else {
            self.used_head.get(FLAGS).store(0, Ordering::Relaxed);
        }
        self.log_wish();
        // Stops the index from being read before the wish is visible: the driver writes its index, then looks at the wish.
        fence(Ordering::SeqCst);
        self.pending()
    }

    /// With EVENT_IDX there is nothing to take back: the wish is over once the index has passed it.
    pub(super) fn disarm(&mut self) {
        if !self.common.event_idx {
            self.used_head.get(FLAGS).store(NO_NOTIFY, Ordering::Relaxed);
            self.log_wish();
        }
    }

    fn log_wish(&self) {
        let Some(to) = &self.common.log else { return };
        let event = 4 + 8 * u64::from(self.common.size);
        to.log.mark(if self.common.event_idx { to.device.wrapping_add(event) } else { to.device }, 2);
    }

    pub(super) fn base(&self) -> u32 {
        u32::from(self.used)
    }
}

/// Adds all descriptors of an indirect table, which are chained like those of the ring (2.7.5.3).
fn follow_table(to: &Descriptor, negotiated: bool, builder: &mut Builder<'_>) -> Result<(), RingError> {
    if !negotiated {
        return Err(RingError::IndirectNotNegotiated);
    }
    if to.has(descriptor::NEXT) {
        return Err(RingError::IndirectInChain);
    }
    let table = Table::of(to, builder.memory().translate(to.address, to.len))?;
    let mut at = 0;
    for _ in 0..table.len {
        let outside = RingError::NextOutside { next: at, size: table.len };
        let [address, rest] = table.read(u32::from(at)).ok_or(outside)?;
        let descriptor = Descriptor::split(address, rest);
        if descriptor.has(descriptor::INDIRECT) {
            return Err(RingError::IndirectNested);
        }
        builder.add(descriptor)?;
        if !descriptor.has(descriptor::NEXT) {
            return Ok(());
        }
        at = descriptor.link;
    }
    Err(RingError::ChainTooLong(table.len))
}
