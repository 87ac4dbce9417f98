//! A process that dies in the midst of it, at any machine instruction, and one that goes on with what it left.

use super::{
    super::*,
    guest::{APART, AVAILABLE, DESCRIPTORS, DEVICE, DRIVER, Driver, Guest, LOW, Shape, USED, Wish},
};
use crate::vhost::places::Places;
use rustix::io::{pread, pwrite};
use std::{collections::BTreeSet, fs::File, path::PathBuf};

const SIZE: u16 = 8;
/// Chains that went through before, so that those that are at stake lie across the ring's end.
const BEFORE: usize = 5;
/// Slots of the chains that are at stake.
const STAKE: [usize; 3] = [1, 3, 1];

/// All that is left of a process: what it wrote to the guest's memory, and its notes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Remains {
    parts: [Vec<u8>; 3],
    notes: Vec<u8>,
}

/// A guest and the notes of its ring, from process to process.
struct Stage {
    guest: Arc<Guest>,
    memory: Arc<GuestMemory>,
    shape: Shape,
    notes: File,
    places: Arc<Places>,
    _directory: tempfile::TempDir,
}

impl Stage {
    fn new(shape: Shape) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().join("notes");
        let places = Places::open(&path, 1).unwrap();
        let notes = File::options().read(true).write(true).open(path).unwrap();
        let guest = Arc::new(Guest::default());
        Self { memory: guest.memory(), guest, shape, notes, places, _directory: directory }
    }

    /// The ring as a process finds it that is told to start at `base`.
    fn ring(&self, base: u32) -> Ring {
        let config = RingConfig {
            base,
            place: self.places.ring(0, base as u16),
            recalls: true,
            ..self.shape.config()
        };
        Ring::new(&config, &self.memory).unwrap()
    }

    fn start(&self) -> Ring {
        self.ring(self.shape.config().base)
    }

    fn remains(&self) -> Remains {
        let part = |at| {
            let mut part = vec![0; 16 * usize::from(SIZE)];
            pread(&self.guest.fd, &mut part, at - LOW).unwrap();
            part
        };
        let mut notes = vec![0; self.notes.metadata().unwrap().len() as usize];
        pread(&self.notes, &mut notes, 0).unwrap();
        Remains { parts: [DESCRIPTORS, DRIVER, DEVICE].map(part), notes }
    }

    fn restore(&self, remains: &Remains) {
        for (at, part) in [DESCRIPTORS, DRIVER, DEVICE].into_iter().zip(&remains.parts) {
            self.guest.write(at, part);
        }
        pwrite(&self.notes, &remains.notes, 0).unwrap();
    }

    /// Everything that is left when a process dies that does this, wherever that is.
    fn deaths(&self, deed: impl FnOnce()) -> BTreeSet<Remains> {
        let mut all = BTreeSet::from([self.remains()]);
        // SAFETY: the child does nothing but the deed, which takes no lock that another thread may hold: allocating is
        // possible after fork, as the C library sees to it. The parent only steps it.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                libc::raise(libc::SIGSTOP);
                deed();
                libc::_exit(0);
            }
            let mut status = 0;
            while libc::waitpid(child, &raw mut status, 0) == child && libc::WIFSTOPPED(status) {
                all.insert(self.remains());
                assert_eq!(libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0), 0);
            }
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
        }
        all
    }
}

fn post(driver: &mut Driver, slots: usize) {
    let buffers = vec![(APART, 100); slots];
    assert!(driver.post(&buffers, false));
}

/// Takes what is there and puts it back, with a length that tells nothing was lost.
fn round(driver: &mut Driver, ring: &mut Ring, count: usize) {
    let mut chains = Chains::default();
    ring.take(64, &mut chains).unwrap();
    assert_eq!(chains.len(), count);
    let _ = ring.put(&chains, 0..count);
    assert_eq!(driver.collect().len(), count);
}

fn shapes() -> impl Iterator<Item = Shape> {
    let directions = [Direction::Readable, Direction::Writable];
    let all =
        [false, true].into_iter().flat_map(move |packed| directions.map(|direction| (packed, direction)));
    all.flat_map(|(packed, direction)| {
        [false, true].map(|in_order| Shape { packed, direction, size: SIZE, event_idx: true, in_order })
    })
}

/// What dies: the chains at stake were taken, and may have been passed on; one more was posted.
fn stake(stage: &Stage) -> (Driver, Ring, Chains) {
    let (mut driver, mut ring) = (Driver::new(&stage.guest, stage.shape), stage.start());
    driver.wish(Wish::After(0));
    for _ in 0..BEFORE {
        post(&mut driver, 1);
        round(&mut driver, &mut ring, 1);
    }
    STAKE.iter().for_each(|slots| post(&mut driver, *slots));
    let mut chains = Chains::default();
    ring.take(STAKE.len(), &mut chains).unwrap();
    post(&mut driver, 1);
    if stage.shape.direction == Direction::Writable {
        (0..STAKE.len()).for_each(|chain| chains.set_written(chain, 60 + chain as u32));
    }
    (driver, ring, chains)
}

/// The guest gets everything back, once and in order; what was at stake is not taken again where it may have been passed on.
fn goes_on(stage: &Stage, mut driver: Driver, mut ring: Ring) {
    let shown = driver.collect();
    let all = shown.len() == STAKE.len();
    assert!(all || shown.is_empty(), "{} of the chains", shown.len());
    for (at, (_, len)) in shown.iter().enumerate() {
        assert!(len.is_none_or(|len| len == 0 || len == 60 + at as u32), "{len:?}");
    }
    let nothing = shown.iter().all(|(_, len)| len.is_none_or(|len| len == 0));
    let whole = shown.iter().all(|(_, len)| len.is_none_or(|len| len != 0));
    assert!(nothing || whole, "a part of the lengths");
    let again = if stage.shape.direction == Direction::Readable { all } else { true };
    assert!(again, "what was sent is sent again");
    round(&mut driver, &mut ring, 1 + if all { 0 } else { STAKE.len() });
    for slots in [1, 2, 3, 1, 4].repeat(10) {
        post(&mut driver, slots);
        post(&mut driver, 1);
        round(&mut driver, &mut ring, 2);
    }
}

#[test]
fn a_ring_goes_on_after_a_death_at_any_instruction_of_a_put() {
    for shape in shapes() {
        let stage = Stage::new(shape);
        let (driver, mut ring, chains) = stake(&stage);
        let deaths = stage.deaths(|| {
            let _ = ring.put(&chains, 0..chains.len());
        });
        assert!(deaths.len() >= 3, "{shape:?}: {}", deaths.len());
        for remains in &deaths {
            stage.restore(remains);
            goes_on(&stage, driver.clone(), stage.start());
        }
    }
}

#[test]
fn a_ring_goes_on_after_a_second_death_at_any_instruction_of_going_on() {
    for shape in shapes().filter(|shape| !shape.in_order) {
        let stage = Stage::new(shape);
        let (driver, mut ring, chains) = stake(&stage);
        let first = stage.deaths(|| {
            let _ = ring.put(&chains, 0..chains.len());
        });
        let mut second = BTreeSet::new();
        for remains in &first {
            stage.restore(remains);
            second.extend(stage.deaths(|| drop(stage.start())));
        }
        assert!(!shape.packed || second.len() > first.len(), "{shape:?}: nothing was left to be done");
        for remains in &second {
            stage.restore(remains);
            goes_on(&stage, driver.clone(), stage.start());
        }
    }
}

fn packed(direction: Direction) -> Shape {
    Shape { packed: true, direction, size: SIZE, event_idx: false, in_order: false }
}

/// What QEMU (7.2) does while no back end is there: frames that the guest sends are dropped from where it was last told that
/// the ring is, as far as they are available there.
#[test]
fn what_a_front_end_dropped_itself_is_not_waited_for() {
    let stage = Stage::new(packed(Direction::Readable));
    let (mut driver, mut ring) = (Driver::new(&stage.guest, stage.shape), stage.start());
    for _ in 0..8 + BEFORE {
        post(&mut driver, 1);
        round(&mut driver, &mut ring, 1);
    }
    (0..6).for_each(|_| post(&mut driver, 1));
    // The first two slots of the next lap.
    for slot in 0..2 {
        let flags = DESCRIPTORS + 16 * slot + 14;
        assert_eq!(stage.guest.load(flags) & (AVAILABLE | USED), AVAILABLE);
        stage.guest.store(flags, AVAILABLE | USED);
    }
    let mut ring = {
        drop(ring);
        stage.ring(0x8002)
    };
    assert_eq!(driver.collect().len(), 5);
    round(&mut driver, &mut ring, 1);
    assert_eq!(ring.base(), 0x8003_8003);
}

/// The same, but of what it drops some was taken, and sent, by who died: it finds few frames there, or as many as were taken.
#[test]
fn what_was_sent_is_not_sent_again_though_the_front_end_dropped_some_of_it() {
    for (is_packed, dropped) in
        [true, false].into_iter().flat_map(|packed| [0, 1, 3].map(|some| (packed, some)))
    {
        let shape = Shape { packed: is_packed, ..packed(Direction::Readable) };
        let stage = Stage::new(shape);
        let (mut driver, mut ring) = (Driver::new(&stage.guest, shape), stage.start());
        for _ in 0..8 + BEFORE {
            post(&mut driver, 1);
            round(&mut driver, &mut ring, 1);
        }
        // The last three are at the beginning of a packed ring's next lap, where the front end believes it to be.
        [1, 1, 1, 2, 1, 1].iter().for_each(|slots| post(&mut driver, *slots));
        let mut chains = Chains::default();
        ring.take(6, &mut chains).unwrap();
        drop(ring);
        let base = drop_some(&stage, dropped);
        let mut ring = stage.ring(base);
        assert!(!ring.pending(), "{shape:?}, {dropped} dropped: sent again");
        assert_eq!(driver.collect().len(), 6, "{shape:?}, {dropped} dropped");
        post(&mut driver, 1);
        round(&mut driver, &mut ring, 1);
    }
}

/// As a front end that keeps no notes does; where it believes the ring to be afterwards.
fn drop_some(stage: &Stage, count: usize) -> u32 {
    let (mut ring, mut chains) =
        (Ring::new(&stage.shape.config(), &stage.memory).unwrap(), Chains::default());
    ring.take(count, &mut chains).unwrap();
    assert_eq!(chains.len(), count);
    let _ = ring.put(&chains, 0..count);
    ring.base()
}

#[test]
fn a_note_is_not_believed_of_a_ring_that_is_another() {
    for direction in [Direction::Readable, Direction::Writable] {
        let stage = Stage::new(packed(direction));
        let (mut driver, mut ring) = (Driver::new(&stage.guest, stage.shape), stage.start());
        for _ in 0..3 {
            post(&mut driver, 1);
            round(&mut driver, &mut ring, 1);
        }
        let left = stage.remains();
        assert_eq!(stage.start().base(), 0x8003_8003, "its own note");
        let base = |stage: &Stage, ring: Ring| {
            stage.restore(&left);
            ring.base()
        };
        let config =
            RingConfig { place: stage.places.ring(0, 0x8000), recalls: true, ..stage.shape.config() };
        let start = |config: &RingConfig| base(&stage, Ring::new(config, &stage.memory).unwrap());
        assert_eq!(start(&config), 0x8003_8003);
        assert_eq!(start(&RingConfig { recalls: false, ..config.clone() }), 0x8000_8000, "it knows better");
        assert_eq!(start(&RingConfig { size: 7, ..config.clone() }), 0x8000_8000, "of another size");
        let elsewhere = config.descriptors + 0x1000;
        assert_eq!(start(&RingConfig { descriptors: elsewhere, ..config.clone() }), 0x8000_8000);
        let other = RingConfig { base: 0x8004_8004, place: stage.places.ring(0, 0x8004), ..config.clone() };
        assert_eq!(start(&other), 0x8004_8004, "the front end says another base, and no chain leads there");
        // As a driver makes a ring: all zeros.
        let anew =
            Remains { parts: left.parts.clone().map(|part| vec![0; part.len()]), notes: left.notes.clone() };
        stage.restore(&anew);
        assert_eq!(stage.start().base(), 0x8000_8000, "a ring that is new");
    }
}

#[test]
fn a_file_that_holds_anything_else_is_none_of_ours() {
    let stage = Stage::new(packed(Direction::Readable));
    for filled in [0x00, 0x5a, 0xff] {
        let notes = vec![filled; stage.remains().notes.len()];
        stage.restore(&Remains { notes, ..stage.remains() });
        let (mut driver, mut ring) = (Driver::new(&stage.guest, stage.shape), stage.start());
        assert_eq!(ring.base(), 0x8000_8000);
        post(&mut driver, 2);
        round(&mut driver, &mut ring, 1);
        let parts = stage.remains().parts.map(|part| vec![0; part.len()]);
        stage.restore(&Remains { parts, ..stage.remains() });
    }
    assert!(stage.places.ring(1, 0).is_none());
}
