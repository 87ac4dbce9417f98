pub(in crate::vhost) mod guest;
mod hostile;
mod killed;
mod threads;

use super::*;
use crate::vhost::places::Places;
use guest::{APART, Buffer, Driver, Guest, HIGH, REGION, Shape, Wish};
use proptest::{collection::vec, prelude::*};

/// A step of a test, in which everything is taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Post { chain: Vec<(u64, u32)>, indirect: bool },
    Take { max: usize },
    Untake { count: usize },
    Put { count: usize },
    Arm,
    Disarm,
    Collect,
    Wish(u16),
    Restart,
    Die,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let max = prop_oneof![Just(1usize), Just(2), Just(63), Just(64), 0usize..20];
    let post = (vec((any::<u64>(), 1u32..300), 1..6), any::<bool>());
    let post = post.prop_map(|(chain, indirect)| Step::Post { chain, indirect });
    let single =
        (any::<u64>(), 1u32..2000).prop_map(|buffer| Step::Post { chain: vec![buffer], indirect: false });
    let step = prop_oneof![
        6 => post,
        12 => single,
        8 => max.clone().prop_map(|max| Step::Take { max }),
        2 => (0usize..9).prop_map(|count| Step::Untake { count }),
        6 => max.prop_map(|count| Step::Put { count }),
        2 => Just(Step::Arm),
        1 => Just(Step::Disarm),
        5 => Just(Step::Collect),
        2 => (0u16..12).prop_map(Step::Wish),
        1 => Just(Step::Restart),
        1 => Just(Step::Die),
    ];
    vec(step, 1..160)
}

fn shapes() -> impl Strategy<Value = Shape> {
    let size = (any::<bool>(), prop_oneof![1u16..10, Just(16), Just(63), Just(64), Just(100), Just(256)]);
    let direction = prop_oneof![Just(Direction::Readable), Just(Direction::Writable)];
    (size, direction, any::<bool>(), any::<bool>()).prop_map(
        |((packed, size), direction, event_idx, in_order)| {
            let size = if packed { size } else { size.next_power_of_two() };
            Shape { packed, direction, size, event_idx, in_order }
        },
    )
}

/// The upper region and the one apart, the end of the lower one: so that some buffers cross from region to region.
fn buffer((at, len): (u64, u32)) -> Buffer {
    const TAIL: u64 = 256;
    let room = REGION + TAIL - u64::from(len);
    let at = at % room;
    if at < REGION / 2 { (HIGH - TAIL + at, len) } else { (APART + at.min(REGION - u64::from(len)), len) }
}

/// Driver and device, and what is known of both.
struct Bench {
    driver: Driver,
    config: RingConfig,
    ring: Ring,
    chains: Chains,
    /// Chains taken and not put: where they begin in `chains`, and how many were posted before.
    first: usize,
    /// Number of chains that the device took and has put, over the whole test.
    taken: usize,
    put: usize,
    /// Number of chains that it has noted as taken.
    noted: usize,
    places: Arc<Places>,
    posted: usize,
    collected: usize,
    /// Everything that was posted, and the length told for it.
    all: Vec<(guest::Posted, u32)>,
    wish: Wish,
    told_once: bool,
    /// Slots used and published since the wish was made.
    since_wish: u32,
    written: u8,
}

impl Bench {
    fn new(shape: Shape, start: u16) -> Self {
        let guest = Arc::new(Guest::default());
        let mut driver = Driver::new(&guest, shape);
        if !shape.packed {
            driver.start_at(start);
        }
        let directory = tempfile::tempdir().unwrap();
        let places = Places::open(&directory.path().join("notes"), 1).unwrap();
        let config = RingConfig { place: places.ring(0, shape.config().base as u16), ..shape.config() };
        let ring = Ring::new(&config, &guest.memory()).unwrap();
        let wish = if shape.event_idx && !shape.packed { Wish::After(0) } else { Wish::Always };
        driver.wish(wish);
        Self {
            driver,
            config,
            ring,
            chains: Chains::default(),
            first: 0,
            taken: 0,
            put: 0,
            noted: 0,
            places,
            posted: 0,
            collected: 0,
            all: vec![],
            wish,
            told_once: false,
            since_wish: 0,
            written: 1,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Post { chain, indirect } => self.post(&chain, indirect),
            Step::Take { max } => self.take(max),
            Step::Untake { count } => self.untake(count),
            Step::Put { count } => self.put(count),
            Step::Arm => self.arm(),
            Step::Disarm => {
                self.ring.disarm();
                let armed = self.driver.shape.event_idx && !self.driver.shape.packed;
                assert!(armed || self.driver.posted.is_empty() || !self.driver.kicks());
            }
            Step::Collect => self.collect(),
            Step::Wish(wish) => self.wish(wish),
            Step::Restart => self.restart(),
            Step::Die => self.die(),
        }
    }

    fn post(&mut self, chain: &[(u64, u32)], indirect: bool) {
        let mut buffers: Vec<Buffer> = chain.iter().copied().map(buffer).collect();
        if !indirect {
            buffers.truncate(usize::from(self.driver.shape.size));
        }
        for (at, (address, len)) in buffers.iter().enumerate() {
            self.driver.guest.write(*address, &pattern(self.posted, at, *len));
        }
        if self.driver.post(&buffers, indirect) {
            self.posted += 1;
            self.all.push((self.driver.posted.back().unwrap().clone(), u32::MAX));
        }
    }

    /// Takes, and compares what was taken with what was posted.
    fn take(&mut self, max: usize) {
        let before = self.chains.len();
        assert!(self.ring.pending() == (self.taken < self.posted));
        self.ring.take(max, &mut self.chains).unwrap();
        let took = self.chains.len() - before;
        let there = self.posted - self.taken;
        // A split ring looks for more only when all that it knows of was taken.
        assert!(
            took <= max.min(there) && (took > 0 || max.min(there) == 0),
            "{took} of {there}, {max} at most"
        );
        for at in before..self.chains.len() {
            self.compare(at, self.taken + at - before);
        }
        self.taken += took;
        self.noted = self.taken;
    }

    fn compare(&self, at: usize, number: usize) {
        let expected: u32 = self.all[number].0.buffers.iter().map(|buffer| buffer.1).sum();
        let pieces: usize = self.chains.pieces(at).iter().map(|piece| piece.len).sum();
        assert_eq!((self.chains.bytes(at), pieces), (expected as usize, expected as usize));
        if self.driver.shape.direction == Direction::Readable {
            let posted = &self.all[number].0.buffers;
            let content: Vec<u8> =
                posted.iter().flat_map(|(at, len)| self.driver.guest.read(*at, *len as usize)).collect();
            let mut read = vec![];
            for piece in self.chains.pieces(at) {
                let mut bytes = vec![0; piece.len];
                // SAFETY: the piece is in mapped guest memory.
                unsafe { piece.read(&mut bytes) };
                read.extend(bytes);
            }
            assert_eq!(read, content);
        }
    }

    fn untake(&mut self, count: usize) {
        let count = count.min(self.taken - self.put);
        self.ring.untake(count, &mut self.chains);
        self.taken -= count;
    }

    /// Writes into what is put, where that is what the ring is for.
    fn put(&mut self, count: usize) {
        let count = count.min(self.taken - self.put);
        for at in self.first..self.first + count {
            let number = self.put + at - self.first;
            let mut len = 0;
            if self.driver.shape.direction == Direction::Writable {
                len = self.fill(at, number);
            }
            self.chains.set_written(at, len);
            self.all[number].1 = len;
        }
        let (old, new) = (self.put, self.put + count);
        let notify = self.ring.put(&self.chains, self.first..self.first + count);
        assert_eq!(notify, self.is_to_be_told(old, new), "{:?} {old}..{new}", self.wish);
        self.told_once |= new > old;
        self.noted = if new > old { self.taken } else { self.noted };
        self.first += count;
        self.put = new;
        if self.first == self.chains.len() {
            self.chains.clear();
            self.first = 0;
        }
    }

    fn fill(&mut self, at: usize, number: usize) -> u32 {
        self.written = self.written.wrapping_mul(5).wrapping_add(3);
        let bytes = self.chains.bytes(at);
        let mut left = bytes - usize::from(self.written) % bytes;
        let written = left;
        for piece in self.chains.pieces(at) {
            let content = vec![self.written; left.min(piece.len)];
            // SAFETY: the piece is in mapped guest memory.
            unsafe { piece.write(&content) };
            left -= content.len();
        }
        let buffers = &self.all[number].0.buffers;
        let whole: Vec<u8> = buffers
            .iter()
            .flat_map(|(at, len)| self.driver.guest.read(*at, *len as usize))
            .take(written)
            .collect();
        assert!(overlap(buffers) || whole.iter().all(|byte| *byte == self.written));
        written as u32
    }

    /// By the specification: some chain of those from `old` to `new` is the one that was asked for.
    fn is_to_be_told(&mut self, old: usize, new: usize) -> bool {
        let advanced = self.slots(old, new);
        let from = self.since_wish;
        // Where a position comes again.
        let period = if self.driver.shape.packed { 2 * u32::from(self.driver.shape.size) } else { 1 << 16 };
        self.since_wish += advanced;
        let first = !self.told_once && !self.driver.shape.packed && self.driver.shape.event_idx;
        new > old
            && (first
                || match self.wish {
                    Wish::Always => true,
                    Wish::Never => false,
                    Wish::After(after) => {
                        (from..from + advanced).any(|slot| slot % period == u32::from(after))
                    }
                })
    }

    /// By how much what is used advances when these chains are put.
    fn slots(&self, old: usize, new: usize) -> u32 {
        let slots = |chain: &(guest::Posted, u32)| {
            u32::from(if self.driver.shape.packed { chain.0.slots() } else { 1 })
        };
        self.all[old..new].iter().map(slots).sum()
    }

    fn wish(&mut self, wish: u16) {
        // A wish counts from what the driver has seen; see to it that this is all there is.
        self.collect();
        let shape = self.driver.shape;
        let (event_idx, split) = (shape.event_idx, !shape.packed);
        self.wish = match wish {
            _ if split && event_idx => Wish::After(wish),
            0 => Wish::Always,
            1 => Wish::Never,
            _ if event_idx => Wish::After(wish % shape.size),
            _ => Wish::Always,
        };
        self.since_wish = 0;
        self.driver.wish(self.wish);
    }

    /// After arming, either there is something to take or the next chain kicks.
    fn arm(&mut self) {
        let pending = self.ring.arm();
        assert_eq!(pending, self.taken < self.posted);
        let before = self.posted;
        self.post(&[(7, 60)], false);
        assert!(pending || self.posted == before || self.driver.kicks());
    }

    fn collect(&mut self) {
        for (posted, len) in self.driver.collect() {
            let (expected, told) = &self.all[self.collected];
            assert_eq!((posted.id, &posted.buffers), (expected.id, &expected.buffers));
            assert!(len.is_none_or(|len| len == *told));
            assert!(len.is_some() || self.driver.shape.direction == Direction::Readable, "a length got lost");
            self.collected += 1;
        }
        assert_eq!(self.collected, self.put, "exactly what was put is seen");
    }

    /// Stops the ring in the midst of it, and starts it where it says: what was not put is taken again.
    fn restart(&mut self) {
        self.config.base = self.ring.base();
        self.config.place = self.places.ring(0, self.config.base as u16);
        self.ring = Ring::new(&self.config, &self.driver.guest.memory()).unwrap();
        (self.taken, self.noted, self.first, self.told_once) = (self.put, self.put, 0, false);
        self.chains.clear();
    }

    /// Nobody is told where the ring is. What was noted as taken, and may have been sent on, is given back; buffers are
    /// taken again.
    fn die(&mut self) {
        let config = RingConfig { recalls: true, ..self.config.clone() };
        self.ring = Ring::new(&config, &self.driver.guest.memory()).unwrap();
        let end = if self.driver.shape.direction == Direction::Readable { self.noted } else { self.put };
        self.all[self.put..end].iter_mut().for_each(|(_, told)| *told = 0);
        self.since_wish += self.slots(self.put, end);
        self.told_once = end > self.put;
        (self.put, self.taken, self.noted, self.first) = (end, end, end, 0);
        self.chains.clear();
    }
}

fn overlap(buffers: &[Buffer]) -> bool {
    let mut sorted = buffers.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0].0 + u64::from(pair[0].1) > pair[1].0)
}

fn pattern(number: usize, buffer: usize, len: u32) -> Vec<u8> {
    (0..len as usize).map(|at| (number * 31 + buffer * 7 + at) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    #[test]
    fn a_naive_driver_agrees_on_every_chain_byte_and_notification(
        shape in shapes(), start in prop_oneof![Just(0u16), 65_500u16..65_535, any::<u16>()], steps in steps()
    ) {
        let mut bench = Bench::new(shape, start);
        for step in steps {
            bench.step(step);
        }
    }
}

/// Pages of the guest that the log has marked.
fn marked(log: &std::os::fd::OwnedFd) -> Vec<u64> {
    let mut bytes = vec![0; 4096];
    rustix::io::pread(log, &mut bytes, 0).unwrap();
    (0..8 * 4096u64).filter(|page| bytes[(page / 8) as usize] & (1 << (page % 8)) != 0).collect()
}

#[test]
fn what_is_written_to_a_ring_is_marked_in_the_log() {
    use std::os::fd::AsFd;
    for packed in [false, true] {
        let shape =
            Shape { packed, direction: Direction::Readable, size: 1024, event_idx: true, in_order: false };
        let (guest, fd) = (Arc::new(Guest::default()), guest::memfd(4096));
        let log = Arc::new(DirtyLog::map(fd.as_fd(), 0, 4096).unwrap());
        let config = RingConfig { log: Some(RingLog { log, device: guest::DEVICE }), ..shape.config() };
        let mut driver = Driver::new(&guest, shape);
        let mut ring = Ring::new(&config, &guest.memory()).unwrap();
        let mut chains = Chains::default();
        let mut round = |driver: &mut Driver, ring: &mut Ring, count: usize| {
            (0..count).for_each(|_| assert!(driver.post(&[(APART, 60)], false)));
            chains.clear();
            ring.take(count, &mut chains).unwrap();
            let _ = ring.put(&chains, 0..count);
            assert_eq!(driver.collect().len(), count);
        };
        let page = |address: u64| address / 4096;
        let written = page(if packed { guest::DESCRIPTORS } else { guest::DEVICE });
        assert!(marked(&fd).is_empty());
        round(&mut driver, &mut ring, 200);
        assert_eq!(marked(&fd), [written], "the first page of it");
        (0..2).for_each(|_| round(&mut driver, &mut ring, 400));
        let all: Vec<u64> = if packed { (0..4).collect() } else { vec![0, 1] };
        assert_eq!(marked(&fd), all.iter().map(|more| written + more).collect::<Vec<_>>());
        let _ = ring.arm();
        let event = page(if packed { guest::DEVICE } else { guest::DEVICE + 4 + 8 * 1024 });
        assert!(marked(&fd).contains(&event), "what it wishes is written, too");
    }
}
