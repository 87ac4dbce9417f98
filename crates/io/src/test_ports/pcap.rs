//! Frames out of a capture file and into another: the classic pcap format (draft-ietf-opsawg-pcap), Ethernet.

use crate::{
    Batch, MAX_FRAME, Port, PortError, Sent, Waker,
    offload::{self, Taken},
    parts::Parts,
};
use std::{
    collections::VecDeque,
    fmt,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
};
use wire::VNET_HDR_LEN;

const MAGIC: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// Why a capture file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// It begins otherwise.
    #[error("this is no pcap file of Ethernet frames; write it with tcpdump -w")]
    Format,
    /// It was cut off.
    #[error("the capture file ends within frame {0}; capture it again")]
    Truncated(usize),
    /// No frame is so long.
    #[error("frame {0} of the capture file is longer than any Ethernet frame")]
    TooLong(usize),
    /// The writer or the kernel refused.
    #[error("the capture file cannot be written")]
    Write(#[from] io::Error),
}

/// Receives the frames of one file, and writes what it is given to another. The times of the frames are not kept: with
/// the same input the output is the same.
pub struct PcapPort<W> {
    frames: VecDeque<Vec<u8>>,
    out: W,
    left: Waker,
}

impl<W> fmt::Debug for PcapPort<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcapPort").field("frames", &self.frames.len()).finish_non_exhaustive()
    }
}

impl<W: Write + Send> PcapPort<W> {
    /// Takes the frames of a capture file, all of it, and begins another.
    ///
    /// # Errors
    /// See [`PcapError`].
    pub fn new(capture: &[u8], mut out: W) -> Result<Self, PcapError> {
        let (frames, left) = (frames_of(capture)?, Waker::new()?);
        let mut header = [0; FILE_HEADER];
        let fields = [MAGIC, 2 | 4 << 16, 0, 0, MAX_FRAME as u32, ETHERNET];
        for (to, field) in header.chunks_exact_mut(4).zip(fields) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        out.write_all(&header)?;
        if !frames.is_empty() {
            left.wake();
        }
        Ok(Self { frames, out, left })
    }

    /// What was written to.
    pub fn into_writer(self) -> W {
        self.out
    }

    fn write(&mut self, frame: Parts<'_>) -> io::Result<()> {
        let (mut record, len) = (Vec::with_capacity(RECORD_HEADER), (frame.len() as u32).to_le_bytes());
        [[0; 4], [0; 4], len, len].iter().for_each(|field| record.extend(field));
        frame.append_to(&mut record, 0);
        self.out.write_all(&record)
    }
}

impl<W: Write + Send> Port for PcapPort<W> {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortError> {
        while !batch.is_full() {
            let Some(frame) = self.frames.pop_front() else { break };
            batch.push_copy(&[&[0; VNET_HDR_LEN], &frame[..]].concat());
        }
        if self.frames.is_empty() {
            self.left.drain();
        }
        Ok(())
    }

    fn transmit(&mut self, batch: &Batch, which: &[u16]) -> Result<Sent, PortError> {
        let (mut sent, mut gathered) = (Sent::default(), Vec::new());
        for &index in which {
            offload::finish_of(batch, index, &mut gathered, &mut sent, |frame| {
                self.write(frame).map_or(Taken::Full, |()| Taken::Delivered)
            });
        }
        Ok(sent)
    }

    fn poll_fds(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.left.as_fd()]
    }
}

fn frames_of(capture: &[u8]) -> Result<VecDeque<Vec<u8>>, PcapError> {
    let (header, mut rest) = capture.split_at_checked(FILE_HEADER).ok_or(PcapError::Format)?;
    let little = |b: [u8; 4]| u32::from_le_bytes(b);
    let big = |b: [u8; 4]| u32::from_be_bytes(b);
    let known = |word: fn([u8; 4]) -> u32| {
        matches!(word_at(header, 0).map(word), Some(MAGIC | MAGIC_NANOSECONDS))
            && word_at(header, 20).map(word) == Some(ETHERNET)
    };
    let word = if known(little) { little } else { big };
    if !known(word) {
        return Err(PcapError::Format);
    }
    let mut frames = VecDeque::new();
    while !rest.is_empty() {
        let number = frames.len() + 1;
        let len = word_at(rest, 8).map(word).ok_or(PcapError::Truncated(number))? as usize;
        if len > MAX_FRAME {
            return Err(PcapError::TooLong(number));
        }
        let behind = rest.get(RECORD_HEADER..).unwrap_or_default();
        let (frame, next) = behind.split_at_checked(len).ok_or(PcapError::Truncated(number))?;
        frames.push_back(frame.to_vec());
        rest = next;
    }
    Ok(frames)
}

fn word_at(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..)?.first_chunk().copied()
}
