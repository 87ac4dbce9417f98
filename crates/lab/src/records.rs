//! The stream of frames that `scripts/capture.py` writes.

use std::io::{ErrorKind, Read, Result};

const OUTGOING: u8 = 1;
const CHECKSUM_MISSING: u8 = 2;
const END: u8 = 4;

/// One frame as it passed an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The whole frame, VLAN tags included, without the frame check sequence.
    pub bytes: Vec<u8>,
    /// Whether it left through the interface, rather than came in.
    pub outgoing: bool,
    /// Whether its sender left the transport checksum to somebody further on (a partial checksum).
    pub checksum_missing: bool,
}

/// One record of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Record {
    /// A frame.
    Frame(Captured),
    /// The capture ended as asked, having lost so many frames.
    End {
        /// Frames that found the buffer full.
        lost: u32,
    },
}

/// Reads the next record; `None` where the stream ends between two.
pub fn read(stream: &mut impl Read) -> Result<Option<Record>> {
    let mut head = [0; 5];
    match stream.read_exact(&mut head) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let [a, b, c, d, flags] = head;
    let mut bytes = vec![0; u32::from_le_bytes([a, b, c, d]) as usize];
    stream.read_exact(&mut bytes)?;
    if flags & END != 0 {
        let lost = <[u8; 4]>::try_from(bytes).map_err(|_| ErrorKind::InvalidData)?;
        return Ok(Some(Record::End { lost: u32::from_le_bytes(lost) }));
    }
    let (outgoing, checksum_missing) = (flags & OUTGOING != 0, flags & CHECKSUM_MISSING != 0);
    Ok(Some(Record::Frame(Captured { bytes, outgoing, checksum_missing })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_follow_each_other() {
        let stream = [&[3, 0, 0, 0, 3, 7, 8, 9][..], &[4, 0, 0, 0, 4, 2, 0, 0, 0]].concat();
        let mut stream = &stream[..];
        let frame = Captured { bytes: vec![7, 8, 9], outgoing: true, checksum_missing: true };
        assert_eq!(read(&mut stream).unwrap(), Some(Record::Frame(frame)));
        assert_eq!(read(&mut stream).unwrap(), Some(Record::End { lost: 2 }));
        assert_eq!(read(&mut stream).unwrap(), None);
    }
}
