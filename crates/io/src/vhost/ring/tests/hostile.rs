//! What a guest can do wrong to a ring, as a table: what it did, and the reason that is given for it.

use super::guest::{
    APART, DESCRIPTORS, DEVICE, DRIVER, Driver, Guest, HIGH, INDIRECT, LOW, NEXT, REGION, Shape, TABLES,
    WRITE,
};
use super::*;

const SIZE: u16 = 8;

fn shape(packed: bool, direction: Direction) -> Shape {
    Shape { packed, direction, size: SIZE, event_idx: false, in_order: false }
}

/// A descriptor as a hostile guest writes it: address, length, flags, and the next one or the buffer's id.
type Raw = (u64, u32, u16, u16);

/// Descriptors from the first slot on, made available as one chain.
struct Attack {
    guest: Arc<Guest>,
    shape: Shape,
}

impl Attack {
    fn new(packed: bool, direction: Direction) -> Self {
        Self { guest: Arc::new(Guest::default()), shape: shape(packed, direction) }
    }

    fn ring(&self) -> Ring {
        Ring::new(&self.shape.config(), &self.guest.memory()).unwrap()
    }

    fn table(&self, at: u64, descriptors: &[Raw]) {
        for (slot, (address, len, flags, link)) in (at..).step_by(16).zip(descriptors) {
            let last = if self.shape.packed { [*link, *flags] } else { [*flags, *link] };
            self.guest.descriptor(slot, *address, *len, last);
        }
    }

    /// What the device says to it.
    fn outcome(&self, descriptors: &[Raw]) -> RingError {
        if self.shape.packed {
            let available: Vec<Raw> =
                descriptors.iter().map(|raw| (raw.0, raw.1, raw.2 | 1 << 7, raw.3)).collect();
            self.table(DESCRIPTORS, &available);
        } else {
            self.table(DESCRIPTORS, descriptors);
            self.guest.store(DRIVER + 4, 0);
            self.guest.store(DRIVER + 2, 1);
        }
        self.refused()
    }

    fn refused(&self) -> RingError {
        let (mut ring, mut chains) = (self.ring(), Chains::default());
        let error = ring.take(64, &mut chains).unwrap_err();
        assert!(chains.is_empty(), "nothing of a broken chain is handed out");
        assert_eq!(ring.take(64, &mut chains), Err(error), "a broken ring stays broken");
        assert!(!ring.pending() && !ring.arm(), "and keeps nobody busy");
        error
    }
}

const OK: Raw = (HIGH, 64, 0, 0);

#[test]
fn what_is_wrong_with_a_chain_is_told_in_both_formats() {
    let last = APART + REGION;
    let table = |len| (TABLES, len, INDIRECT, 0);
    let cases: &[(&str, &[Raw], RingError)] = &[
        ("no bytes", &[(HIGH, 0, 0, 0)], RingError::Empty),
        (
            "all the bytes there are",
            &[(HIGH, u32::MAX, 0, 0)],
            RingError::OutsideMemory { address: HIGH, len: u32::MAX },
        ),
        ("no memory there", &[(0x1000, 1, 0, 0)], RingError::OutsideMemory { address: 0x1000, len: 1 }),
        (
            "one byte too many",
            &[(last - 63, 64, 0, 0)],
            RingError::OutsideMemory { address: last - 63, len: 64 },
        ),
        ("behind the last byte", &[(last, 1, 0, 0)], RingError::OutsideMemory { address: last, len: 1 }),
        (
            "before the first byte",
            &[(LOW - 1, 2, 0, 0)],
            RingError::OutsideMemory { address: LOW - 1, len: 2 },
        ),
        ("wraps", &[(u64::MAX, 2, 0, 0)], RingError::OutsideMemory { address: u64::MAX, len: 2 }),
        (
            "ends the address space",
            &[(u64::MAX, 1, 0, 0)],
            RingError::OutsideMemory { address: u64::MAX, len: 1 },
        ),
        ("to be written to", &[(HIGH, 64, WRITE, 0)], RingError::NotReadable),
        ("to be written to behind", &[(HIGH, 64, NEXT, 1), (HIGH, 64, WRITE, 0)], RingError::NotReadable),
        ("no bytes behind", &[(HIGH, 64, NEXT, 1), (HIGH, 0, 0, 0)], RingError::Empty),
        ("an empty table", &[table(0)], RingError::IndirectSize(0)),
        ("an odd table", &[table(24)], RingError::IndirectSize(24)),
        ("a huge table", &[table(65_552)], RingError::IndirectSize(65_552)),
        (
            "a table nowhere",
            &[(0x1000, 16, INDIRECT, 0)],
            RingError::IndirectOutsideMemory { address: 0x1000, len: 16 },
        ),
        (
            "a table across regions",
            &[(HIGH - 16, 32, INDIRECT, 0)],
            RingError::IndirectOutsideMemory { address: HIGH - 16, len: 32 },
        ),
    ];
    for (name, descriptors, expected) in cases {
        for packed in [false, true] {
            let attack = Attack::new(packed, Direction::Readable);
            assert_eq!(attack.outcome(descriptors), *expected, "{name}, packed: {packed}");
        }
    }
}

#[test]
fn a_receive_queue_takes_nothing_that_is_not_to_be_written_to() {
    for packed in [false, true] {
        let attack = Attack::new(packed, Direction::Writable);
        assert_eq!(attack.outcome(&[OK]), RingError::NotWritable);
        assert_eq!(attack.outcome(&[(HIGH, 64, NEXT, 1), (HIGH, 64, WRITE, 0)]), RingError::NotWritable);
    }
}

#[test]
fn what_is_wrong_in_an_indirect_table_is_told() {
    let to_table = |len| [(TABLES, len, INDIRECT, 0)];
    for packed in [false, true] {
        let attack = Attack::new(packed, Direction::Readable);
        attack.table(TABLES, &[(TABLES, 16, INDIRECT, 0)]);
        assert_eq!(attack.outcome(&to_table(16)), RingError::IndirectNested);
        attack.table(TABLES, &[(HIGH, 64, WRITE, 0)]);
        assert_eq!(attack.outcome(&to_table(16)), RingError::NotReadable);
    }
    let split = Attack::new(false, Direction::Readable);
    split.table(TABLES, &[(HIGH, 64, NEXT, 0)]);
    assert_eq!(split.outcome(&to_table(16)), RingError::ChainTooLong(1), "a loop in the table");
    split.table(TABLES, &[(HIGH, 64, NEXT, 2), OK]);
    assert_eq!(split.outcome(&to_table(32)), RingError::NextOutside { next: 2, size: 2 });
    assert_eq!(split.outcome(&[(TABLES, 16, INDIRECT | NEXT, 1), OK]), RingError::IndirectInChain);
    let packed = Attack::new(true, Direction::Readable);
    assert_eq!(packed.outcome(&[(HIGH, 64, NEXT, 0), (TABLES, 16, INDIRECT, 0)]), RingError::IndirectInChain);
}

#[test]
fn a_table_behind_other_descriptors_is_allowed_in_a_split_ring() {
    let attack = Attack::new(false, Direction::Readable);
    attack.table(TABLES, &[(HIGH, 8, NEXT, 2), (APART, 9, 0, 0), (HIGH + 8, 16, NEXT, 1)]);
    attack.table(DESCRIPTORS, &[(HIGH - 1, 2, NEXT, 5)]);
    attack.table(DESCRIPTORS + 5 * 16, &[(TABLES, 48, INDIRECT | WRITE, 7)]);
    attack.guest.store(DRIVER + 2, 1);
    let (mut ring, mut chains) = (attack.ring(), Chains::default());
    ring.take(1, &mut chains).unwrap();
    let lens: Vec<usize> = chains.pieces(0).iter().map(|piece| piece.len).collect();
    assert_eq!(lens, [1, 1, 8, 16, 9], "the first crosses from one region to the next");
}

#[test]
fn an_indirect_descriptor_that_was_not_negotiated_is_refused() {
    for packed in [false, true] {
        let attack = Attack::new(packed, Direction::Readable);
        attack.table(TABLES, &[OK]);
        let mut config = attack.shape.config();
        config.features = config.features.without(Features::INDIRECT_DESC);
        if packed {
            attack.table(DESCRIPTORS, &[(TABLES, 16, INDIRECT | 1 << 7, 0)]);
        } else {
            attack.table(DESCRIPTORS, &[(TABLES, 16, INDIRECT, 0)]);
            attack.guest.store(DRIVER + 2, 1);
        }
        let mut ring = Ring::new(&config, &attack.guest.memory()).unwrap();
        assert_eq!(ring.take(1, &mut Chains::default()), Err(RingError::IndirectNotNegotiated));
    }
}

#[test]
fn what_is_wrong_with_the_available_ring_is_told() {
    let attack = Attack::new(false, Direction::Readable);
    for available in [SIZE + 1, 4097, 0xffff] {
        attack.guest.store(DRIVER + 2, available);
        assert_eq!(attack.refused(), RingError::TooManyAvailable { available, size: SIZE });
    }
    attack.guest.store(DRIVER + 2, 1);
    for head in [SIZE, 0x8000, 0xffff] {
        attack.guest.store(DRIVER + 4, head);
        assert_eq!(attack.refused(), RingError::Head { head, size: SIZE });
    }
}

#[test]
fn loops_and_chains_that_lead_nowhere_end() {
    let split = Attack::new(false, Direction::Readable);
    assert_eq!(split.outcome(&[(HIGH, 64, NEXT, 0)]), RingError::ChainTooLong(SIZE.into()), "its own next");
    let ring: Vec<Raw> = (0..SIZE).map(|at| (HIGH, 64, NEXT, (at + 1) % SIZE)).collect();
    assert_eq!(split.outcome(&ring), RingError::ChainTooLong(SIZE.into()));
    assert_eq!(
        split.outcome(&[(HIGH, 64, NEXT, SIZE)]),
        RingError::NextOutside { next: SIZE, size: SIZE.into() }
    );

    let packed = Attack::new(true, Direction::Readable);
    assert_eq!(packed.outcome(&ring), RingError::ChainTooLong(SIZE.into()), "around the ring");
    assert_eq!(Attack::new(true, Direction::Readable).outcome(&ring[..3]), RingError::ChainIncomplete);
}

#[test]
fn a_chain_of_four_gigabytes_is_refused() {
    // Descriptors may refer to the same memory again and again.
    const WHOLE: u32 = 2 * REGION as u32;
    let many: Vec<Raw> =
        (1..=513).map(|next| (LOW, WHOLE, if next < 513 { NEXT } else { 0 }, next)).collect();
    for packed in [false, true] {
        let attack = Attack::new(packed, Direction::Readable);
        attack.table(APART, &many);
        assert_eq!(attack.outcome(&[(APART, 513 * 16, INDIRECT, 0)]), RingError::TooLong);
    }
}

#[test]
fn a_batch_of_many_pieces_is_cut_short() {
    let guest = Arc::new(Guest::default());
    let shape = Shape { size: 256, ..shape(false, Direction::Readable) };
    let mut driver = Driver::new(&guest, shape);
    let pieces = [(HIGH, 1u32); 100];
    (0..2).for_each(|_| assert!(driver.post(&pieces, false)));
    let mut ring = Ring::new(&shape.config(), &guest.memory()).unwrap();
    let mut chains = Chains::default();
    ring.take(64, &mut chains).unwrap();
    assert_eq!(chains.len(), 2);
    let config = Shape { size: 32, ..shape };
    let guest = Arc::new(Guest::default());
    let table: Vec<u8> = (0..300u16)
        .flat_map(|at| {
            [&HIGH.to_le_bytes()[..], &1u32.to_le_bytes(), &NEXT.to_le_bytes(), &(at + 1).to_le_bytes()]
                .concat()
        })
        .collect();
    guest.write(APART, &table);
    guest.write(APART + 299 * 16 + 12, &[0; 4]);
    for slot in 0..32u16 {
        guest.descriptor(DESCRIPTORS + 16 * u64::from(slot), APART, 300 * 16, [INDIRECT, 0]);
        guest.store(DRIVER + 4 + 2 * u64::from(slot), slot);
    }
    guest.store(DRIVER + 2, 32);
    let mut ring = Ring::new(&config.config(), &guest.memory()).unwrap();
    chains.clear();
    ring.take(32, &mut chains).unwrap();
    assert_eq!(chains.len(), 7, "no more than it takes to have 2048 pieces");
    assert!(!ring.put(&chains, 0..0));
}

#[test]
fn parts_of_a_ring_that_are_not_all_in_the_memory_are_refused() {
    let (guest, at) = (Guest::default(), |part: u64| part + 0x7f00_0000_0000);
    let end = at(APART + REGION);
    let cases: [(bool, [u64; 3], &str); 8] = [
        (false, [end - 8 * 16 + 16, at(DRIVER), at(DEVICE)], "descriptor table"),
        (false, [0, at(DRIVER), at(DEVICE)], "descriptor table"),
        (false, [at(DESCRIPTORS), end - 4 - 14, at(DEVICE)], "available ring"),
        (false, [at(DESCRIPTORS), at(DRIVER), end - 4 - 60], "used ring"),
        (false, [at(DESCRIPTORS), u64::MAX - 1, at(DEVICE)], "available ring"),
        (true, [end - 8 * 16 + 16, at(DRIVER), at(DEVICE)], "descriptor ring"),
        (true, [at(DESCRIPTORS), end, at(DEVICE)], "driver event suppression"),
        (true, [at(DESCRIPTORS), at(DRIVER), u64::MAX - 3], "device event suppression"),
    ];
    for (packed, parts, name) in cases {
        let features = shape(packed, Direction::Readable).config().features.bits();
        let config = RingConfig::new(Direction::Readable, SIZE, parts, features);
        let error = Ring::new(&config, &guest.memory()).unwrap_err();
        assert!(
            matches!(error, RingError::PartOutsideMemory { part, .. } if part == name),
            "{parts:x?}: {error}"
        );
    }
    // Up to the last byte is fine; the event index behind it counts only where it was negotiated.
    let fits = RingConfig { driver: end - 4 - 16, ..shape(false, Direction::Readable).config() };
    assert!(Ring::new(&fits, &guest.memory()).is_ok());
    let with_event = RingConfig { features: fits.features.with(Features::EVENT_IDX), ..fits.clone() };
    assert!(Ring::new(&with_event, &guest.memory()).is_err());
    assert!(Ring::new(&RingConfig { driver: end - 4 - 16 - 2, ..with_event }, &guest.memory()).is_ok());
}

#[test]
fn sizes_positions_and_alignments_that_cannot_be_are_refused() {
    let guest = Guest::default();
    let refused = |packed: bool, change: &dyn Fn(&mut RingConfig)| {
        let mut config = shape(packed, Direction::Readable).config();
        change(&mut config);
        Ring::new(&config, &guest.memory()).unwrap_err()
    };
    for size in [0, 3, 100, 0x8001, 0xffff] {
        assert_eq!(refused(false, &|config| config.size = size), RingError::Size(size));
    }
    for size in [0, 0x8001, 0xffff] {
        assert_eq!(refused(true, &|config| config.size = size), RingError::Size(size));
    }
    let odd = refused(false, &|config| config.descriptors += 4);
    assert!(matches!(odd, RingError::Unaligned { part: "descriptor table", align: 8, .. }), "{odd}");
    let odd = refused(true, &|config| config.driver += 2);
    assert!(matches!(odd, RingError::Unaligned { part: "driver event suppression", align: 4, .. }), "{odd}");
    assert_eq!(refused(true, &|config| config.base = 8), RingError::Base { position: 8, size: 8 });
}

#[test]
fn every_reason_is_a_sentence_about_the_guest_or_its_ring() {
    let reasons = [
        RingError::TooManyAvailable { available: 4097, size: 256 }.to_string(),
        RingError::OutsideMemory { address: 4096, len: 7 }.to_string(),
    ];
    assert_eq!(reasons[0], "the guest made 4097 descriptors available in a ring of 256");
    assert_eq!(
        reasons[1],
        "the guest made a buffer of 7 bytes at 0x1000 available, which is not all in its memory"
    );
}
