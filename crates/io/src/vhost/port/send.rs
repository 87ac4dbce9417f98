//! Frames into a guest's receive queues.
//!
//! The fast way, for a frame whose header the guest takes and that fits into one chain of one piece: header and head with
//! two short copies, each piece of the rest with one long copy. What the guest did not negotiate is done to the frame first,
//! in a buffer of ours; a frame that is longer than a chain takes several, if the guest merges buffers.
//!
//! A queue that has no buffers has the rest dropped, and counted where they were to go. Buffers that turned out not to be
//! needed go back untouched.

use super::{Fault, Locked};
use crate::{
    BATCH_FRAMES, Batch, HEAD_BYTES, Sent,
    fetch::fetch_line,
    flow,
    offload::{self, Taken},
    parts::piece,
    piece::{Piece, copy},
    vhost::{
        chains::Chains,
        device::{Device, Queue},
        features::Features,
        header,
        ring::Ring,
    },
};
use std::ptr::NonNull;
use wire::{VNET_HDR_LEN, VnetHdr};

/// The header of a frame that is whole and finished, in one buffer.
const PLAIN: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// No more of a buffer is fetched ahead of the copy into it.
const FETCHED: usize = 2048;

/// What sending needs beside the queues; kept for its buffers.
#[derive(Debug, Default)]
pub(super) struct Sender {
    chains: Chains,
    /// Where a frame in pieces is put together to be worked on.
    gathered: Vec<u8>,
    /// Frames that go to the queue at hand.
    some: Vec<u16>,
}

impl Sender {
    /// Spreads the frames over the queues, all of a flow to the same one, and sends each queue's with one store.
    pub(super) fn send(
        &mut self,
        device: &Device,
        targets: &[usize],
        batch: &Batch,
        which: &[u16],
        sent: &mut Sent,
    ) -> Result<(), Fault> {
        let [first, others @ ..] = targets else {
            sent.not_taken(batch, which, Taken::Down);
            return Ok(());
        };
        if others.is_empty() {
            return self.send_to(&mut device.queues()[*first].lock_arc(), batch, which, sent);
        }
        let queue_of = |index: u16| flow::hash(batch.head(index)) as usize % targets.len();
        let mut outcome = Ok(());
        for (number, &target) in targets.iter().enumerate() {
            let mut some = std::mem::take(&mut self.some);
            some.clear();
            some.extend(which.iter().copied().filter(|&index| queue_of(index) == number));
            let done = match some.is_empty() {
                true => Ok(()),
                false => self.send_to(&mut device.queues()[target].lock_arc(), batch, &some, sent),
            };
            self.some = some;
            // Where one is broken, what is for the others is sent and counted all the same.
            outcome = outcome.and(done);
        }
        outcome
    }

    fn send_to(
        &mut self,
        queue: &mut Locked,
        batch: &Batch,
        which: &[u16],
        sent: &mut Sent,
    ) -> Result<(), Fault> {
        let Queue { ring: Some(ring), memory: Some(memory), log, call, features, enabled: true } =
            &mut **queue
        else {
            sent.not_taken(batch, which, Taken::Down);
            return Ok(());
        };
        self.chains.clear();
        let mut buffers = Buffers::new(ring, &mut self.chains, *features, which.len());
        let mut rest = which;
        loop {
            rest = buffers.put_plain(batch, rest, sent);
            let [index, others @ ..] = rest else { break };
            buffers.put_any(batch, *index, &mut self.gathered, sent);
            rest = others;
        }
        let (used, broken) = (buffers.used, buffers.broken);
        if let Some(log) = log {
            for chain in 0..used {
                self.chains
                    .pieces(chain)
                    .iter()
                    .for_each(|piece| log.mark_written(memory, piece.at, piece.len));
            }
        }
        ring.untake(self.chains.len() - used, &mut self.chains);
        if ring.put(&self.chains, 0..used) {
            call.iter().for_each(crate::vhost::device::PeerEvent::signal);
        }
        // First, as rings in memory that is gone read as zeros, which look broken.
        match broken {
            _ if memory.faulted() => Err(Fault::MemoryGone),
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

/// The guest's buffers, as they are filled.
struct Buffers<'a> {
    ring: &'a mut Ring,
    chains: &'a mut Chains,
    features: Features,
    /// Chains that frames were put into.
    used: usize,
    /// Frames that are still to come, at least one chain each.
    expected: usize,
    /// The ring has no more, or is broken.
    dry: bool,
    broken: Option<crate::vhost::ring::RingError>,
}

impl<'a> Buffers<'a> {
    fn new(ring: &'a mut Ring, chains: &'a mut Chains, features: Features, expected: usize) -> Self {
        Self { ring, chains, features, used: 0, expected, dry: false, broken: None }
    }

    /// True where chain `index` is there; takes more from the ring where it is not yet.
    #[inline]
    fn has(&mut self, index: usize) -> bool {
        index < self.chains.len() || self.take_more(index)
    }

    fn take_more(&mut self, index: usize) -> bool {
        if self.dry {
            return false;
        }
        let want = self.expected.clamp(1, BATCH_FRAMES);
        if let Err(error) = self.ring.take(want, self.chains) {
            self.broken = Some(error);
        }
        self.expected = BATCH_FRAMES / 2;
        self.dry = self.chains.len() <= index;
        !self.dry
    }

    /// The fast way, as far as it goes: frames that nothing is left to be done to, into chains of one piece that have room
    /// for them. The frames that are left.
    #[inline]
    fn put_plain<'f>(&mut self, batch: &Batch, which: &'f [u16], sent: &mut Sent) -> &'f [u16] {
        if which.is_empty() || self.features.header_len() != PLAIN.len() || !self.has(self.used) {
            return which;
        }
        let (mut done, mut bytes) = (0, 0);
        let (places, written) = self.chains.fill_singles(self.used);
        for (&index, (&to, written)) in which.iter().zip(places.iter().zip(written)) {
            let len = batch.frame_len(index);
            if !batch.is_plain(index) || to.len < PLAIN.len() + len {
                break;
            }
            let (head, tail) = (batch.head(index), batch.tail(index));
            if !tail.is_empty() {
                places.get(done + 1).iter().for_each(|next| fetch_rest(**next, len));
            }
            // SAFETY: the ring keeps the memory of its chains mapped; the chain has room for header and frame, which head and
            // tail are. They are a slice and pieces of the batch, which stay mapped too.
            unsafe {
                let header = to.at.cast::<[u8; PLAIN.len()]>();
                // Mostly a frame like this one was there before. A line that is not written stays in both sides' caches.
                if header.read() != PLAIN {
                    header.write(PLAIN);
                }
                let mut to = to.at.add(PLAIN.len());
                copy(head.as_ptr(), to.as_ptr(), head.len());
                to = to.add(head.len());
                for piece in tail {
                    copy(piece.at.as_ptr(), to.as_ptr(), piece.len);
                    to = to.add(piece.len);
                }
            }
            *written = (PLAIN.len() + len) as u32;
            (done, bytes) = (done + 1, bytes + len as u64);
        }
        self.used += done;
        sent.frames += done as u64;
        sent.bytes += bytes;
        &which[done..]
    }

    /// Whatever is to be done to a frame, and wherever there is room. Not inlined: that took the fast way four instructions a frame.
    #[inline(never)]
    fn put_any(&mut self, batch: &Batch, index: u16, gathered: &mut Vec<u8>, sent: &mut Sent) {
        if header::takes(self.features, batch.vnet(index), batch.head(index)) {
            let taken = self.put(batch.vnet(index), piece(batch.head(index)), batch.tail(index));
            return sent.count_of(batch, index, taken);
        }
        offload::finish(batch, index, gathered, sent, |[header, payload]| {
            self.put(VnetHdr::default(), piece(header), &[piece(payload)])
        });
    }

    /// Puts a frame of `head` and `tail` behind its header into the next chain, or the next few.
    #[inline]
    fn put(&mut self, vnet: VnetHdr, head: Piece, tail: &[Piece]) -> Taken {
        if !self.has(self.used) {
            return Taken::Full;
        }
        let mut header = [0; 12];
        header[..VNET_HDR_LEN].copy_from_slice(&vnet.to_bytes());
        header[VNET_HDR_LEN] = 1;
        let header_len = self.features.header_len();
        let need = tail.iter().fold(header_len + head.len, |sum, piece| sum + piece.len);
        match self.chains.single(self.used) {
            Some(whole) if whole.len >= need => {
                // SAFETY: the ring keeps the memory of its chains mapped; the chain is at least `need` bytes long, so all of
                // header, head and tail fit. Head and tail are slices or pieces of the batch, which stay mapped too.
                unsafe {
                    whole.write(&header[..header_len]);
                    let mut to = whole.split(header_len).1;
                    to.copy_from(head);
                    to = to.split(head.len).1;
                    for from in tail {
                        to.copy_from(*from);
                        to = to.split(from.len).1;
                    }
                }
            }
            _ if self.chains.bytes(self.used) < need => return self.put_merged(header, need, head, tail),
            _ => scatter(self.chains.pieces(self.used).iter().copied(), &header[..header_len], head, tail),
        }
        self.chains.set_written(self.used, need as u32);
        self.used += 1;
        Taken::Delivered
    }

    /// A frame longer than the next chain: several take it, as the header says, where the guest merges buffers. Others never
    /// get a frame that is longer than what they provided (virtio 1.2, 5.1.6.3.1).
    #[cold]
    fn put_merged(&mut self, mut header: [u8; 12], need: usize, head: Piece, tail: &[Piece]) -> Taken {
        if !self.features.has(Features::MRG_RXBUF) {
            return Taken::Oversize;
        }
        let first = self.used;
        let (mut end, mut room) = (first, 0);
        while room < need {
            if !self.has(end) {
                return Taken::Full;
            }
            room += self.chains.bytes(end);
            end += 1;
        }
        header[VNET_HDR_LEN..].copy_from_slice(&((end - first) as u16).to_le_bytes());
        let chains = &*self.chains;
        let pieces = (first..end).flat_map(|chain| chains.pieces(chain).iter().copied());
        scatter(pieces, &header[..self.features.header_len()], head, tail);
        let mut left = need;
        for chain in first..end {
            let written = left.min(self.chains.bytes(chain));
            self.chains.set_written(chain, written as u32);
            left -= written;
        }
        self.used = end;
        Taken::Delivered
    }
}

/// Fetches, to be written, the lines of a buffer that a frame of `len` bytes takes beyond its head: while the frame before is
/// being copied. The ring has fetched those of the head.
#[inline]
fn fetch_rest(to: Piece, len: usize) {
    let end = (PLAIN.len() + len).min(to.len).min(FETCHED);
    for at in (PLAIN.len() + HEAD_BYTES..end).step_by(64) {
        fetch_line(to.at.as_ptr().wrapping_add(at), true);
    }
}

/// Copies header, head and tail one behind the other into pieces that are long enough for them together.
fn scatter(mut pieces: impl Iterator<Item = Piece>, header: &[u8], head: Piece, tail: &[Piece]) {
    let sources = [piece(header), head].into_iter().chain(tail.iter().copied());
    let mut to = Piece { at: NonNull::dangling(), len: 0 };
    for mut from in sources {
        while from.len != 0 {
            if to.len == 0 {
                let Some(next) = pieces.next() else { return };
                to = next;
            }
            // SAFETY: both sides are mapped: chains by their ring, which is locked, the batch's pieces until it is cleared.
            let done = unsafe { to.copy_from(from) };
            (to, from) = (to.split(done).1, from.split(done).1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vhost::ring::{
        Direction,
        tests::guest::{Buffer, Driver, Guest, HIGH, Shape},
    };
    use std::sync::Arc;

    /// What Linux provides for a frame of up to 64 KiB where it does not merge buffers: pages in a chain, shorter ones here.
    const CHAIN: u64 = 19;

    fn chain(number: u64) -> Vec<Buffer> {
        (0..CHAIN).map(|piece| (HIGH + (number * CHAIN + piece) * 128, 64)).collect()
    }

    #[test]
    fn a_whole_batch_goes_into_chains_of_as_many_pieces_as_the_longest_frame_takes() {
        let frame: Vec<u8> = (0..1000).map(|at| at as u8).collect();
        let mut batch = Batch::default();
        (0..BATCH_FRAMES).for_each(|_| batch.push_copy(&[&[0; VNET_HDR_LEN][..], &frame].concat()));
        let all: Vec<u16> = (0..BATCH_FRAMES as u16).collect();
        for packed in [false, true] {
            let shape = Shape {
                packed,
                direction: Direction::Writable,
                size: 256,
                event_idx: false,
                in_order: false,
            };
            let guest = Arc::new(Guest::default());
            let mut driver = Driver::new(&guest, shape);
            (0..all.len() as u64).for_each(|number| assert!(driver.post(&chain(number), true)));
            let ring = Ring::new(&shape.config(), &guest.memory()).unwrap();
            let queue = Queue {
                ring: Some(ring),
                memory: Some(guest.memory()),
                features: Features::default().with(Features::VERSION_1),
                enabled: true,
                ..Queue::default()
            };
            let mut sent = Sent::default();
            let mut queue = Arc::new(parking_lot::Mutex::new(queue)).lock_arc();
            Sender::default().send_to(&mut queue, &batch, &all, &mut sent).unwrap();
            assert_eq!((sent.frames, sent.full), (BATCH_FRAMES as u64, 0));
            let used = driver.collect();
            assert_eq!(used.len(), all.len());
            for (posted, len) in used {
                let bytes = posted.buffers.iter().flat_map(|(at, len)| guest.read(*at, *len as usize));
                let expected = [&PLAIN[..], &frame].concat();
                assert_eq!(
                    (len, bytes.take(expected.len()).collect()),
                    (Some(expected.len() as u32), expected)
                );
            }
        }
    }
}
