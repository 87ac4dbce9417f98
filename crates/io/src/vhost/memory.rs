//! Guest memory: the regions that a VMM shares, and how an address of the guest becomes a piece of our memory.
//!
//! A memory is immutable: a new table of regions makes a new one, and regions that stay share their mapping. Everything
//! that holds an address into it holds an `Arc` of it, so nothing is unmapped under a reader.
//!
//! An address is translated by subtracting, two comparisons and an addition, as long as it falls into the region that
//! the one before fell into ([`Window`]): guests have two to eight regions and network buffers lie in one of them.

use super::fault;
use crate::piece::Piece;
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr::{NonNull, null_mut},
    sync::Arc,
};

/// The most regions that vhost-user front ends ask for (QEMU's limit of memory slots).
pub const MAX_REGIONS: usize = 509;

/// Where a region lies: for the guest, for the front end, and in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionInfo {
    /// Guest physical address of the first byte.
    pub guest: u64,
    /// Length in bytes.
    pub size: u64,
    /// The front end's own address of the first byte, which ring addresses refer to.
    pub user: u64,
    /// Where in the file the region begins.
    pub offset: u64,
}

impl RegionInfo {
    fn guest_end(&self) -> u64 {
        self.guest.saturating_add(self.size)
    }

    fn user_end(&self) -> u64 {
        self.user.saturating_add(self.size)
    }

    /// What names a region that is to be removed; the offset does not count.
    fn identified_as(&self, of: &Self) -> bool {
        (self.guest, self.size, self.user) == (of.guest, of.size, of.user)
    }

    /// They have an address in common, of either kind.
    fn overlaps(&self, of: &Self) -> bool {
        let guest = self.guest < of.guest_end() && of.guest < self.guest_end();
        let user = self.user < of.user_end() && of.user < self.user_end();
        guest || user
    }
}

/// Why a memory table is refused.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// More than a VMM ever has (509).
    #[error(
        "the memory table has {0} regions, but at most {MAX_REGIONS} are possible: give the guest fewer memory slots"
    )]
    TooMany(usize),
    /// A region without bytes.
    #[error("the memory region at guest address {0:#x} has no size")]
    Empty(u64),
    /// A region that wraps around the end of an address space.
    #[error(
        "the memory region at guest address {0:#x} is {1:#x} bytes long and reaches beyond the end of the address space"
    )]
    Wraps(u64, u64),
    /// Two regions cover the same address.
    #[error("the memory regions at guest addresses {0:#x} and {1:#x} overlap")]
    Overlap(u64, u64),
    /// The file ends before the region.
    #[error(
        "the memory region at guest address {guest:#x} needs {needs:#x} bytes of its file, which has {has:#x}"
    )]
    FileTooShort {
        /// Guest address of the region.
        guest: u64,
        /// Where in the file the region ends.
        needs: u64,
        /// Where the file ends.
        has: u64,
    },
    /// To be removed, but not there: others are.
    #[error(
        "there is no memory region at guest address {0:#x} with the size and address given, but one that overlaps it"
    )]
    Unknown(u64),
    /// The kernel refused.
    #[error(
        "cannot map the memory region at guest address {0:#x}: {1}: does the VMM share its memory (share=on)?"
    )]
    Map(u64, #[source] io::Error),
}

/// A shared mapping of a file; unmapped on drop.
#[derive(Debug)]
pub(super) struct Mapping {
    guard: Option<fault::Guard>,
    at: NonNull<u8>,
    len: usize,
    /// From the mapping's start to the byte asked for, which need not begin a page.
    skip: usize,
}

// SAFETY: a mapping is a range of addresses. What lies there is shared with another process anyway and is only reached
// through raw pointers and atomics, whose users answer for it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `size` bytes of the file from `offset` on, to be read and written.
    pub fn new(fd: BorrowedFd<'_>, offset: u64, size: u64) -> io::Result<Self> {
        let page = page_size(fd)?;
        let skip = offset % page;
        let too_large = || io::Error::from_raw_os_error(libc::ENOMEM);
        let end = (skip + size).checked_next_multiple_of(page).ok_or_else(too_large)?;
        let len = usize::try_from(end).map_err(|_| too_large())?;
        let from = libc::off_t::try_from(offset - skip).map_err(|_| too_large())?;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_NORESERVE);
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let at = unsafe { libc::mmap(null_mut(), len, protection, flags, fd.as_raw_fd(), from) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast::<u8>()).ok_or_else(too_large)?;
        let mut mapping = Self { guard: None, at, len, skip: skip as usize };
        // SAFETY: the range was mapped above. Guest memory does not belong into a core dump of ours; where the kernel
        // cannot leave it out, nothing else changes.
        unsafe { libc::madvise(at.as_ptr().cast(), len, libc::MADV_DONTDUMP) };
        mapping.guard = Some(fault::Guard::register(at.as_ptr() as usize, len, page as usize)?);
        Ok(mapping)
    }

    /// The byte at the offset asked for.
    pub fn start(&self) -> NonNull<u8> {
        // SAFETY: `skip` is less than a page and the mapping is a page long at least.
        unsafe { self.at.add(self.skip) }
    }

    /// True once a page was missing.
    pub fn faulted(&self) -> bool {
        self.guard.as_ref().is_some_and(fault::Guard::faulted)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard = None;
        // SAFETY: the range was mapped by `new`, and whoever holds an address into it holds the mapping.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

fn stat(fd: BorrowedFd<'_>) -> io::Result<libc::stat> {
    // SAFETY: `stat` is plain data for which zeros are a valid value, and the pointer is valid for the call.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(fd.as_raw_fd(), &raw mut stat) == 0 {
            Ok(stat)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// The file's page size: hugetlbfs tells it as the block size, and offsets have to be multiples of it.
fn page_size(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let block = u64::try_from(stat(fd)?.st_blksize).unwrap_or_default();
    Ok(if block.is_power_of_two() { block.max(4096) } else { 4096 })
}

/// One region, mapped.
#[derive(Clone, Debug)]
struct Region {
    info: RegionInfo,
    file: File,
    mapping: Arc<Mapping>,
}

/// Which file it is: its device and inode.
type File = (libc::dev_t, libc::ino_t);

impl Region {
    fn map(info: RegionInfo, fd: &OwnedFd) -> Result<Self, MemoryError> {
        check(&info)?;
        let failed = |error| MemoryError::Map(info.guest, error);
        let stat = stat(fd.as_fd()).map_err(failed)?;
        let (needs, has) = (info.offset + info.size, u64::try_from(stat.st_size).unwrap_or_default());
        // A device's size is not known this way.
        if stat.st_mode & libc::S_IFMT == libc::S_IFREG && has < needs {
            return Err(MemoryError::FileTooShort { guest: info.guest, needs, has });
        }
        let mapping = Mapping::new(fd.as_fd(), info.offset, info.size).map_err(failed)?;
        Ok(Self { info, file: (stat.st_dev, stat.st_ino), mapping: Arc::new(mapping) })
    }

    /// The same bytes of the same file at the same addresses.
    fn is(&self, info: &RegionInfo, fd: &OwnedFd) -> bool {
        self.info == *info && stat(fd.as_fd()).is_ok_and(|stat| self.file == (stat.st_dev, stat.st_ino))
    }

    fn window(&self) -> Window {
        Window { guest: self.info.guest, size: self.info.size, at: self.mapping.start() }
    }
}

fn check(info: &RegionInfo) -> Result<(), MemoryError> {
    if info.size == 0 {
        return Err(MemoryError::Empty(info.guest));
    }
    // The file offset is bounded like an address, so that rounding up to a page cannot overflow either.
    let ends = [info.guest, info.user, info.offset].map(|start| start.checked_add(info.size));
    let fits = ends.iter().all(Option::is_some) && info.offset + info.size <= i64::MAX as u64;
    if fits { Ok(()) } else { Err(MemoryError::Wraps(info.guest, info.size)) }
}

/// One region as the translation needs it; made by [`GuestMemory::window`], and good while that memory lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    guest: u64,
    size: u64,
    at: NonNull<u8>,
}

// SAFETY: numbers and an address, which only who answers for it follows.
unsafe impl Send for Window {}

impl Window {
    /// A window that nothing falls into.
    pub const EMPTY: Self = Self { guest: 0, size: 0, at: NonNull::dangling() };

    /// The piece of our memory, if the whole range lies in this region. `len` is not 0.
    #[inline(always)]
    pub fn piece(&self, guest: u64, len: u32) -> Option<Piece> {
        let offset = guest.wrapping_sub(self.guest);
        let inside = offset < self.size && u64::from(len) <= self.size - offset;
        // SAFETY: `offset` is less than the size of the mapping that begins at `at`.
        inside.then(|| Piece { at: unsafe { self.at.add(offset as usize) }, len: len as usize })
    }
}

/// The memory of a guest.
#[derive(Debug, Default)]
pub struct GuestMemory {
    /// By guest address, not overlapping.
    regions: Vec<Region>,
}

impl GuestMemory {
    /// Maps all regions of a table.
    pub fn map(regions: Vec<(RegionInfo, OwnedFd)>) -> Result<Self, MemoryError> {
        if regions.len() > MAX_REGIONS {
            return Err(MemoryError::TooMany(regions.len()));
        }
        let mapped: Result<Vec<_>, _> = regions.iter().map(|(info, fd)| Region::map(*info, fd)).collect();
        Self::of(mapped?)
    }

    fn of(mut regions: Vec<Region>) -> Result<Self, MemoryError> {
        if regions.len() > MAX_REGIONS {
            return Err(MemoryError::TooMany(regions.len()));
        }
        regions.sort_by_key(|region| region.info.user);
        refuse_overlap(&regions, |before, after| before.user_end() > after.user)?;
        regions.sort_by_key(|region| region.info.guest);
        refuse_overlap(&regions, |before, after| before.guest_end() > after.guest)?;
        Ok(Self { regions })
    }

    /// This memory and one region more; the mappings are shared. `None` where it has the region already: QEMU 7.2 adds
    /// each one again for each queue pair. Other bytes for addresses that are taken are refused.
    pub fn with_region(&self, info: RegionInfo, fd: &OwnedFd) -> Result<Option<Self>, MemoryError> {
        if self.regions.iter().any(|region| region.is(&info, fd)) {
            return Ok(None);
        }
        let mut regions = self.regions.clone();
        regions.push(Region::map(info, fd)?);
        Self::of(regions).map(Some)
    }

    /// This memory without the region that has guest address, size and user address of `info`. `None` where there is
    /// nothing at these addresses, as after a removal that is repeated like an addition. A part of a region cannot be
    /// removed: the front end would take it for gone.
    pub fn without_region(&self, info: &RegionInfo) -> Result<Option<Self>, MemoryError> {
        check(info)?;
        let mut regions = self.regions.clone();
        regions.retain(|region| !region.info.identified_as(info));
        match self.regions.iter().any(|region| region.info.overlaps(info)) {
            false => Ok(None),
            true if regions.len() == self.regions.len() => Err(MemoryError::Unknown(info.guest)),
            true => Ok(Some(Self { regions })),
        }
    }

    /// The regions, by guest address.
    pub fn regions(&self) -> impl Iterator<Item = &RegionInfo> {
        self.regions.iter().map(|region| &region.info)
    }

    fn region(&self, guest: u64) -> Option<&Region> {
        let after = self.regions.partition_point(|region| region.info.guest <= guest);
        let region = self.regions.get(after.checked_sub(1)?)?;
        (guest < region.info.guest_end()).then_some(region)
    }

    /// The region that the address lies in.
    pub(super) fn window(&self, guest: u64) -> Option<Window> {
        self.region(guest).map(Region::window)
    }

    /// The piece of our memory for a range in one region, which then becomes the window.
    #[cold]
    #[inline(never)]
    pub(super) fn move_window(&self, window: &mut Window, guest: u64, len: u32) -> Option<Piece> {
        *window = self.window(guest)?;
        window.piece(guest, len)
    }

    /// Our memory for a range of guest memory; `None` where it is empty or not in one region as a whole.
    pub fn translate(&self, guest: u64, len: u32) -> Option<Piece> {
        self.window(guest)?.piece(guest, len).filter(|piece| piece.len > 0)
    }

    /// Our memory for a range that may cross from one region into the next. False where a byte of it is in none; then
    /// `out` was given what lies before that byte.
    #[must_use]
    pub fn pieces(&self, guest: u64, len: u32, out: &mut impl FnMut(Piece)) -> bool {
        let (mut guest, mut left) = (guest, u64::from(len));
        while left > 0 {
            let Some(region) = self.region(guest) else { return false };
            let part = left.min(region.info.guest_end() - guest);
            // A part is never longer than `len`, which is 32 bits.
            let Some(piece) = region.window().piece(guest, part as u32) else { return false };
            out(piece);
            // A region ends within the address space, so the sum does not overflow.
            (guest, left) = (guest + part, left - part);
        }
        true
    }

    /// Our memory for a range of the front end's addresses, which ring addresses are.
    pub fn user(&self, address: u64, len: u64) -> Option<Piece> {
        let region = self.regions.iter().find(|region| region.user_range(address, len))?;
        let offset = usize::try_from(address - region.info.user).ok()?;
        // SAFETY: `offset` lies in the region's mapping, since the range does.
        Some(Piece { at: unsafe { region.mapping.start().add(offset) }, len: usize::try_from(len).ok()? })
    }

    /// The guest's address of a byte that a piece of this memory begins with.
    pub fn guest_address(&self, at: NonNull<u8>) -> Option<u64> {
        let at = at.as_ptr() as u64;
        self.regions.iter().find_map(|region| {
            let offset = at.checked_sub(region.mapping.start().as_ptr() as u64)?;
            (offset < region.info.size).then_some(region.info.guest + offset)
        })
    }

    /// True once a page went away under us: what is read since is zeros, what is written is lost.
    #[must_use]
    pub fn faulted(&self) -> bool {
        self.regions.iter().any(|region| region.mapping.faulted())
    }
}

impl Region {
    fn user_range(&self, address: u64, len: u64) -> bool {
        let Some(offset) = address.checked_sub(self.info.user) else { return false };
        len > 0 && offset < self.info.size && len <= self.info.size - offset
    }
}

fn refuse_overlap(
    sorted: &[Region],
    overlap: impl Fn(&RegionInfo, &RegionInfo) -> bool,
) -> Result<(), MemoryError> {
    let found = sorted.windows(2).find(|pair| overlap(&pair[0].info, &pair[1].info));
    found.map_or(Ok(()), |pair| Err(MemoryError::Overlap(pair[0].info.guest, pair[1].info.guest)))
}

#[cfg(test)]
mod tests;
