//! The messages of the vhost-user protocol, to and from bytes; pure.
//!
//! Reading list: QEMU, docs/interop/vhost-user.rst. Numbers are in the machine's byte order. A message is a header of
//! three 32-bit words (request, flags, size of the payload) and the payload; descriptors come beside it.
//!
//! What is parsed here is complete: a request has the size and as many descriptors as the protocol gives it, so whoever
//! handles it has to check only what its numbers mean. A request that is not known is not an error: the answer, where
//! one is asked for, is that it was not done.

use super::memory::RegionInfo;
use std::ops::RangeInclusive;
use wire::MacAddr;

#[cfg(test)]
mod tests;

/// Bytes of a header.
pub(super) const HEADER: usize = 12;
/// The longest payload that is taken. The longest known message, a memory table of [`MAX_FDS`] regions, has 1032 bytes.
pub(super) const MAX_PAYLOAD: usize = 4096;
/// The most descriptors that come with a message. The protocol knows 8; front ends built on the `vhost` crate send 32.
pub(super) const MAX_FDS: usize = 32;

const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;
/// In the payload of SET_VRING_KICK, CALL and ERR: there is no descriptor.
const NO_FD: u64 = 1 << 8;

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    /// Another protocol, or out of step.
    #[error("the front end sent a message of protocol version {0}; only version 1 is spoken here")]
    Version(u32),
    /// Nothing was asked.
    #[error("the front end sent a reply to request {0}, but nothing was asked")]
    Reply(u32),
    /// Longer than any message.
    #[error("the front end sent a message with {0} bytes of payload; {MAX_PAYLOAD} is the most")]
    TooLong(u32),
    /// Too short or too long for its request.
    #[error("the front end sent {request} with {size} bytes of payload, which is not what it takes")]
    Size {
        /// Its name.
        request: &'static str,
        /// As it came.
        size: usize,
    },
    /// Too many or too few.
    #[error("the front end sent {request} with {count} descriptors, which is not what it takes")]
    Descriptors {
        /// Its name.
        request: &'static str,
        /// As they came.
        count: usize,
    },
    /// A value outside what the field can mean.
    #[error("the front end sent {request} with the value {value:#x}, which is out of range")]
    Value {
        /// Its name.
        request: &'static str,
        /// As it came.
        value: u64,
    },
}

/// The header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Number of the request.
    pub(super) request: u32,
    /// The front end waits for an answer, also where the request has none of its own.
    pub(super) need_reply: bool,
    /// Bytes of payload, at most [`MAX_PAYLOAD`].
    pub(super) size: usize,
}

impl Header {
    /// Parses a header. After an error the connection is out of step.
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Result<Self, MessageError> {
        let (request, flags, size) = (u32_at(bytes, 0), u32_at(bytes, 4), u32_at(bytes, 8));
        if flags & VERSION_MASK != VERSION {
            return Err(MessageError::Version(flags & VERSION_MASK));
        }
        if flags & REPLY != 0 {
            return Err(MessageError::Reply(request));
        }
        let len = size as usize;
        if len > MAX_PAYLOAD { Err(MessageError::TooLong(size)) } else { Ok(Self::new(request, flags, len)) }
    }

    const fn new(request: u32, flags: u32, size: usize) -> Self {
        Self { request, need_reply: flags & NEED_REPLY != 0, size }
    }
}

/// A number for a ring: its size, or where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vring {
    pub(super) index: u32,
    pub(super) num: u32,
}

/// Where the parts of a ring lie, as addresses of the front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VringAddresses {
    pub(super) index: u32,
    /// Writes to the used ring are to be logged, at `log`.
    pub(super) logged: bool,
    pub(super) descriptor: u64,
    pub(super) used: u64,
    pub(super) available: u64,
    /// Guest address that the used ring is logged at.
    pub(super) log: u64,
}

/// An event of a ring; whether a descriptor for it comes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VringEvent {
    pub(super) index: u32,
    pub(super) with_fd: bool,
}

/// A piece of a file: the dirty log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) size: u64,
    pub(super) offset: u64,
}

/// A buffer for the state of what is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InflightArea {
    pub(super) area: Area,
    pub(super) queues: u16,
    pub(super) queue_size: u16,
    /// QEMU's structure ends with four bytes of padding, that of others does not: answered as it came.
    padded: bool,
}

impl InflightArea {
    /// The same queues, in a file of `size` bytes.
    pub(super) const fn with_area(self, size: u64) -> Self {
        Self { area: Area { size, offset: 0 }, ..self }
    }
}

/// What a front end asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    GetFeatures,
    SetFeatures(u64),
    SetOwner,
    ResetOwner,
    /// One descriptor for each region.
    SetMemTable(Vec<RegionInfo>),
    /// One descriptor.
    SetLogBase(Area),
    /// One descriptor.
    SetLogFd,
    SetVringNum(Vring),
    SetVringAddr(VringAddresses),
    SetVringBase(Vring),
    /// `num` has no meaning.
    GetVringBase(Vring),
    SetVringKick(VringEvent),
    SetVringCall(VringEvent),
    SetVringErr(VringEvent),
    GetProtocolFeatures,
    SetProtocolFeatures(u64),
    GetQueueNum,
    /// `num` is 1 for enable, 0 for disable.
    SetVringEnable(Vring),
    SendRarp(MacAddr),
    NetSetMtu(u64),
    GetInflightFd(InflightArea),
    /// One descriptor.
    SetInflightFd(InflightArea),
    ResetDevice,
    GetMaxMemSlots,
    /// One descriptor.
    AddMemReg(RegionInfo),
    /// A descriptor that comes along is of no use.
    RemMemReg(RegionInfo),
    SetStatus(u8),
    GetStatus,
    /// Not supported, or not known. Some have an answer of their own, which says that it was not done.
    Unsupported(Option<Answer>),
}

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Empty,
    Number(u64),
    Vring(Vring),
    Area(Area),
    Inflight(InflightArea),
}

impl Answer {
    /// To a request without an answer of its own: whether it was done.
    pub(super) const fn done(done: bool) -> Self {
        Self::Number(!done as u64)
    }

    /// The reply to `request` as bytes.
    pub(super) fn to_bytes(self, request: u32) -> Vec<u8> {
        let payload = self.payload();
        let header = [request, VERSION | REPLY, payload.len() as u32].map(u32::to_ne_bytes);
        [header.as_flattened(), &payload].concat()
    }

    fn payload(self) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Number(number) => number.to_ne_bytes().to_vec(),
            Self::Vring(Vring { index, num }) => [index, num].map(u32::to_ne_bytes).concat(),
            Self::Area(Area { size, offset }) => [size, offset].map(u64::to_ne_bytes).concat(),
            Self::Inflight(InflightArea { area, queues, queue_size, padded }) => {
                let mut payload = Self::Area(area).payload();
                payload.extend([queues, queue_size].map(u16::to_ne_bytes).as_flattened());
                payload.resize(if padded { 24 } else { 20 }, 0);
                payload
            }
        }
    }
}

impl Request {
    /// Parses the payload of a message that came with `fds` descriptors.
    pub(super) fn parse(header: &Header, payload: &[u8], fds: usize) -> Result<Self, MessageError> {
        let Some(shape) = Shape::of(header.request) else { return Ok(Self::Unsupported(None)) };
        shape.check(payload, fds)?;
        let vring = || Vring { index: u32_at(payload, 0), num: u32_at(payload, 4) };
        let number = u64_at(payload, 0);
        Ok(match header.request {
            1 => Self::GetFeatures,
            2 => Self::SetFeatures(number),
            3 => Self::SetOwner,
            4 => Self::ResetOwner,
            5 => Self::SetMemTable(regions(payload).collect()),
            6 => Self::SetLogBase(area(payload)),
            7 => Self::SetLogFd,
            8 => Self::SetVringNum(vring()),
            9 => Self::SetVringAddr(addresses(payload)),
            10 => Self::SetVringBase(vring()),
            11 => Self::GetVringBase(vring()),
            12 => Self::SetVringKick(shape.event(number, fds)?),
            13 => Self::SetVringCall(shape.event(number, fds)?),
            14 => Self::SetVringErr(shape.event(number, fds)?),
            15 => Self::GetProtocolFeatures,
            16 => Self::SetProtocolFeatures(number),
            17 => Self::GetQueueNum,
            18 => Self::SetVringEnable(shape.switch(vring())?),
            19 => Self::SendRarp(payload.first_chunk().copied().map(MacAddr).unwrap_or_default()),
            20 => Self::NetSetMtu(number),
            31 => Self::GetInflightFd(inflight(payload)),
            32 => Self::SetInflightFd(inflight(payload)),
            34 => Self::ResetDevice,
            36 => Self::GetMaxMemSlots,
            37 => Self::AddMemReg(region(payload, 8)),
            38 => Self::RemMemReg(region(payload, 8)),
            39 => Self::SetStatus(shape.byte(number)?),
            40 => Self::GetStatus,
            // GET_CONFIG and POSTCOPY_ADVISE: without payload, and without a descriptor, means no.
            24 | 28 => Self::Unsupported(Some(Answer::Empty)),
            // IOTLB_MSG and POSTCOPY_END.
            22 | 30 => Self::Unsupported(Some(Answer::done(false))),
            _ => Self::Unsupported(None),
        })
    }
}

/// What a request looks like.
struct Shape {
    name: &'static str,
    sizes: RangeInclusive<usize>,
    fds: RangeInclusive<usize>,
}

impl Shape {
    fn of(request: u32) -> Option<Self> {
        /// Of requests that are declined whatever they hold.
        const ANY: RangeInclusive<usize> = 0..=usize::MAX;
        let (name, sizes, fds) = match request {
            1 => ("GET_FEATURES", 0..=0, 0..=0),
            2 => ("SET_FEATURES", 8..=8, 0..=0),
            3 => ("SET_OWNER", 0..=0, 0..=0),
            4 => ("RESET_OWNER", 0..=0, 0..=0),
            5 => ("SET_MEM_TABLE", 8..=8 + 32 * MAX_FDS, 0..=MAX_FDS),
            6 => ("SET_LOG_BASE", 16..=16, 1..=1),
            7 => ("SET_LOG_FD", 0..=8, 1..=1),
            8 => ("SET_VRING_NUM", 8..=8, 0..=0),
            9 => ("SET_VRING_ADDR", 40..=40, 0..=0),
            10 => ("SET_VRING_BASE", 8..=8, 0..=0),
            11 => ("GET_VRING_BASE", 8..=8, 0..=0),
            12 => ("SET_VRING_KICK", 8..=8, 0..=1),
            13 => ("SET_VRING_CALL", 8..=8, 0..=1),
            14 => ("SET_VRING_ERR", 8..=8, 0..=1),
            15 => ("GET_PROTOCOL_FEATURES", 0..=0, 0..=0),
            16 => ("SET_PROTOCOL_FEATURES", 8..=8, 0..=0),
            17 => ("GET_QUEUE_NUM", 0..=0, 0..=0),
            18 => ("SET_VRING_ENABLE", 8..=8, 0..=0),
            19 => ("SEND_RARP", 8..=8, 0..=0),
            20 => ("NET_SET_MTU", 8..=8, 0..=0),
            22 => ("IOTLB_MSG", ANY, ANY),
            24 => ("GET_CONFIG", ANY, ANY),
            28 => ("POSTCOPY_ADVISE", ANY, ANY),
            30 => ("POSTCOPY_END", ANY, ANY),
            31 => ("GET_INFLIGHT_FD", 20..=24, 0..=0),
            32 => ("SET_INFLIGHT_FD", 20..=24, 1..=1),
            34 => ("RESET_DEVICE", 0..=0, 0..=0),
            36 => ("GET_MAX_MEM_SLOTS", 0..=0, 0..=0),
            37 => ("ADD_MEM_REG", 40..=40, 1..=1),
            38 => ("REM_MEM_REG", 40..=40, 0..=1),
            39 => ("SET_STATUS", 8..=8, 0..=0),
            40 => ("GET_STATUS", 0..=0, 0..=0),
            _ => return None,
        };
        Some(Self { name, sizes, fds })
    }

    fn check(&self, payload: &[u8], fds: usize) -> Result<(), MessageError> {
        let (size, table) = (payload.len(), self.name == "SET_MEM_TABLE");
        let regions = u32_at(payload, 0) as usize;
        if !self.sizes.contains(&size) || (table && regions.checked_mul(32) != size.checked_sub(8)) {
            return Err(MessageError::Size { request: self.name, size });
        }
        if !self.fds.contains(&fds) || (table && regions != fds) {
            return Err(MessageError::Descriptors { request: self.name, count: fds });
        }
        Ok(())
    }

    fn event(&self, number: u64, fds: usize) -> Result<VringEvent, MessageError> {
        let with_fd = number & NO_FD == 0;
        if with_fd != (fds == 1) {
            return Err(MessageError::Descriptors { request: self.name, count: fds });
        }
        Ok(VringEvent { index: (number & 0xff) as u32, with_fd })
    }

    const fn switch(&self, vring: Vring) -> Result<Vring, MessageError> {
        match vring.num {
            0 | 1 => Ok(vring),
            value => Err(MessageError::Value { request: self.name, value: value as u64 }),
        }
    }

    fn byte(&self, value: u64) -> Result<u8, MessageError> {
        u8::try_from(value).map_err(|_| MessageError::Value { request: self.name, value })
    }
}

/// The number at `at`; 0 where there is none, which checked sizes leave no room for.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u64::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map_or(0, u16::from_ne_bytes)
}

fn region(payload: &[u8], at: usize) -> RegionInfo {
    let field = |number: usize| u64_at(payload, at + 8 * number);
    RegionInfo { guest: field(0), size: field(1), user: field(2), offset: field(3) }
}

fn regions(payload: &[u8]) -> impl Iterator<Item = RegionInfo> {
    (8..payload.len()).step_by(32).map(|at| region(payload, at))
}

fn area(payload: &[u8]) -> Area {
    Area { size: u64_at(payload, 0), offset: u64_at(payload, 8) }
}

fn inflight(payload: &[u8]) -> InflightArea {
    let (queues, queue_size) = (u16_at(payload, 16), u16_at(payload, 18));
    InflightArea { area: area(payload), queues, queue_size, padded: payload.len() == 24 }
}

fn addresses(payload: &[u8]) -> VringAddresses {
    VringAddresses {
        index: u32_at(payload, 0),
        logged: u32_at(payload, 4) & 1 != 0,
        descriptor: u64_at(payload, 8),
        used: u64_at(payload, 16),
        available: u64_at(payload, 24),
        log: u64_at(payload, 32),
    }
}
