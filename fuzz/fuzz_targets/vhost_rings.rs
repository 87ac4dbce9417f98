//! Virtqueues of both formats in memory that the input wrote: whatever is in it, what is taken lies in guest memory.
//!
//! The input: a head of 12 bytes (see `Head`), a count of operations, the operations (two bytes each), and the memory.

#![no_main]

use io::vhost_rings::{Chains, Direction, GuestMemory, Piece, RegionInfo, Ring, RingConfig, RingError};
use libfuzzer_sys::fuzz_target;
use std::{fs::File, os::fd::OwnedFd, os::unix::fs::FileExt, sync::Arc};

/// Two regions of one file: neighbours for the guest, so that buffers can cross from one into the other.
const REGION: u64 = 0x4000;
const GUEST: u64 = 0x1_0000;
const USER: u64 = 0x7000_0000;

thread_local! {
    static FILE: File = File::from(rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC).expect("a file"));
    static MEMORY: Arc<GuestMemory> = FILE.with(|file| {
        file.set_len(2 * REGION).expect("a size");
        let region = |number: u64| {
            let at = number * REGION;
            let info = RegionInfo { guest: GUEST + at, size: REGION, user: USER + 0x10 * at, offset: at };
            (info, OwnedFd::from(file.try_clone().expect("a descriptor")))
        };
        Arc::new(GuestMemory::map(vec![region(0), region(1)]).expect("memory"))
    });
}

/// How the ring is set up. Bits of the first byte: the direction, then packed, EVENT_IDX, IN_ORDER, INDIRECT_DESC.
struct Head([u8; 12]);

impl Head {
    fn config(&self) -> RingConfig {
        let Self([bits, _, size, more_size, base, more_base, places @ ..]) = self;
        let bit = |number: u8, feature: u32| u64::from(bits >> number & 1) << feature;
        let features = 1 << 32 | bit(1, 34) | bit(2, 29) | bit(3, 35) | bit(4, 28);
        let direction = if bits & 1 == 0 { Direction::Readable } else { Direction::Writable };
        let place =
            |at: usize| USER + 8 * u64::from(u16::from_le_bytes([places[at], places[at + 1]]) & 0x0fff);
        let size = u16::from_le_bytes([*size, *more_size]);
        let mut config = RingConfig::new(direction, size, [place(0), place(2), place(4)], features);
        if *base != 0 {
            config.base = u32::from(u16::from_le_bytes([*base, *more_base]));
        }
        config
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((head, [count, rest @ ..])) = input.split_first_chunk() else { return };
    let (operations, image) = rest.split_at(rest.len().min(2 * usize::from(*count)));
    let mut bytes = vec![0; 2 * REGION as usize];
    let len = image.len().min(bytes.len());
    bytes[..len].copy_from_slice(&image[..len]);
    FILE.with(|file| file.write_all_at(&bytes, 0).expect("memory is written"));
    let (config, memory) = (Head(*head).config(), MEMORY.with(Arc::clone));
    let Ok(ring) = Ring::new(&config, &memory) else { return };
    let mut device = Device { ring, config, memory, chains: Chains::default(), broken: None };
    operations.chunks_exact(2).for_each(|operation| device.does(operation[0], operation[1]));
});

struct Device {
    ring: Ring,
    config: RingConfig,
    memory: Arc<GuestMemory>,
    /// Taken and not put yet.
    chains: Chains,
    broken: Option<RingError>,
}

impl Device {
    fn does(&mut self, what: u8, value: u8) {
        match what % 7 {
            0 | 1 => self.take(usize::from(value % 65)),
            2 => self.put(),
            3 => self.untake(usize::from(value)),
            4 => drop(self.ring.arm()),
            5 => self.ring.disarm(),
            _ => self.guest_writes(what, value),
        }
    }

    fn take(&mut self, max: usize) {
        let before = self.chains.len();
        let outcome = self.ring.take(max, &mut self.chains);
        assert!(self.chains.len() - before <= max);
        assert!(self.chains.len() <= usize::from(self.config.size), "more chains than descriptors");
        (before..self.chains.len()).for_each(|chain| self.check(chain));
        match (self.broken, outcome) {
            (Some(_), Ok(())) => panic!("a broken ring works again"),
            (_, outcome) => self.broken = outcome.err(),
        }
        assert!(self.broken.is_none() || !self.ring.pending(), "a broken ring keeps its worker busy");
    }

    fn check(&self, chain: usize) {
        let pieces = self.chains.pieces(chain);
        assert!(!pieces.is_empty() && pieces.iter().all(|piece| self.is_inside(*piece)));
        assert!(u32::try_from(self.chains.bytes(chain)).is_ok());
    }

    fn is_inside(&self, piece: Piece) -> bool {
        let Some(more) = piece.len.checked_sub(1) else { return false };
        let last = piece.at.addr().checked_add(more).map(|address| piece.at.with_addr(address));
        let (first, last) =
            (self.memory.guest_address(piece.at), last.and_then(|at| self.memory.guest_address(at)));
        matches!((first, last), (Some(first), Some(last)) if last - first == more as u64)
    }

    fn put(&mut self) {
        (0..self.chains.len()).for_each(|chain| self.chains.set_written(chain, 60));
        let _ = self.ring.put(&self.chains, 0..self.chains.len());
        self.chains.clear();
        self.go_on_from_base();
    }

    fn untake(&mut self, count: usize) {
        let count = count.min(self.chains.len());
        let left = self.chains.len() - count;
        self.ring.untake(count, &mut self.chains);
        assert_eq!(self.chains.len(), left);
    }

    /// A ring that is stopped between batches can go on where it was.
    fn go_on_from_base(&self) {
        let mut config = self.config.clone();
        config.base = self.ring.base();
        assert!(Ring::new(&config, &self.memory).is_ok());
    }

    /// The next bytes that are looked at change while the ring runs.
    fn guest_writes(&self, what: u8, value: u8) {
        let at = 8 * u64::from(what) + u64::from(value & 7);
        FILE.with(|file| file.write_all_at(&[value], at).expect("memory is written"));
    }
}
