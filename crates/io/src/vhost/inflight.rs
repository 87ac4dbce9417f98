//! The buffer in which a back end notes what it has taken and not yet completed, so that it can do that after a crash
//! (vhost-user, "Inflight I/O tracking").
//!
//! This device completes chains in the order in which it took them, so the used index tells all: a split ring goes on
//! there whatever else is said (`split`), and nothing between taking and completing needs to be noted. What a front end
//! gets is a buffer of the specified layout that says just this: valid, and nothing in flight.
//!
//! Who asks: Cloud Hypervisor does, and knows split rings only. QEMU asks for block and SCSI devices, not for network ones.

use super::message::InflightArea;
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create},
    io::pwrite,
};
use std::{io, os::fd::OwnedFd};

/// Header of a queue's part and each descriptor's state: bytes of `QueueRegionSplit` and `DescStateSplit`.
const SPLIT: (u64, u64) = (16, 16);
/// Likewise `QueueRegionPacked` and `DescStatePacked`.
const PACKED: (u64, u64) = (32, 32);
/// Parts begin at multiples of this.
const ALIGN: u64 = 64;
/// The version that says that the buffer is valid.
const VERSION: u16 = 1;

/// Why there is no buffer.
#[derive(Debug, thiserror::Error)]
pub(super) enum InflightError {
    #[error("the front end asks for in-flight tracking of {queues} queues of {size} descriptors")]
    Sizes { queues: u16, size: u16 },
    #[error("the buffer for in-flight tracking cannot be made: {0}")]
    Create(#[from] io::Error),
    #[error("the front end's buffer for in-flight tracking is shorter than {0:#x} bytes")]
    TooShort(u64),
}

/// Makes the buffer that the front end is to keep.
pub(super) fn create(asked: InflightArea, packed: bool) -> Result<(InflightArea, OwnedFd), InflightError> {
    let InflightArea { queues, queue_size: size, .. } = asked;
    if queues == 0 || size == 0 || queues > 2 * super::device::QUEUE_PAIRS_MAX {
        return Err(InflightError::Sizes { queues, size });
    }
    let (header, state) = if packed { PACKED } else { SPLIT };
    let part = (header + state * u64::from(size)).next_multiple_of(ALIGN);
    let fd = buffer(part, queues, size).map_err(io::Error::from)?;
    Ok((asked.with_area(part * u64::from(queues)), fd))
}

fn buffer(part: u64, queues: u16, size: u16) -> rustix::io::Result<OwnedFd> {
    let fd = memfd_create("vhost-inflight", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&fd, part * u64::from(queues))?;
    for queue in 0..u64::from(queues) {
        // Behind the 64 bits of features, in both layouts.
        pwrite(&fd, [VERSION, size].map(u16::to_ne_bytes).as_flattened(), queue * part + 8)?;
    }
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// Looks at a buffer that the front end has kept. What it says is not needed.
pub(super) fn check(given: &InflightArea, fd: Option<OwnedFd>) -> Result<(), InflightError> {
    let Some(fd) = fd else { return Ok(()) };
    let has = u64::try_from(fstat(&fd).map_err(io::Error::from)?.st_size).unwrap_or_default();
    match given.area.offset.checked_add(given.area.size) {
        Some(needs) if needs <= has => Ok(()),
        needs => Err(InflightError::TooShort(needs.unwrap_or(u64::MAX))),
    }
}
