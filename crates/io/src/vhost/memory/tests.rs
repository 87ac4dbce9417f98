use super::*;
use crate::vhost::log::DirtyLog;
use std::os::fd::FromRawFd;

const PAGE: u64 = 4096;

fn memfd(len: u64) -> OwnedFd {
    // SAFETY: the name is a C string, and a descriptor that is not negative is a new one of ours.
    let fd = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"memory".as_ptr(), 0)) };
    resize(&fd, len);
    fd
}

fn resize(fd: &OwnedFd, len: u64) {
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), len.cast_signed()) }, 0);
}

fn region(guest: u64, size: u64, user: u64, offset: u64) -> RegionInfo {
    RegionInfo { guest, size, user, offset }
}

fn map(regions: &[RegionInfo]) -> Result<GuestMemory, MemoryError> {
    GuestMemory::map(regions.iter().map(|info| (*info, memfd(16 * PAGE))).collect())
}

fn refused(regions: &[RegionInfo]) -> String {
    map(regions).unwrap_err().to_string()
}

fn read(piece: Piece) -> [u8; 8] {
    let mut bytes = [1; 8];
    // SAFETY: the tests use pieces of memories that live on.
    assert_eq!(unsafe { piece.read(&mut bytes) }, 8);
    bytes
}

fn write(piece: Piece, bytes: &[u8; 8]) {
    // SAFETY: as above.
    assert_eq!(unsafe { piece.write(bytes) }, 8);
}

#[test]
fn a_buffer_may_end_with_its_region_and_not_a_byte_later() {
    let memory = map(&[region(0x10_000, 2 * PAGE, 0x7000_0000, PAGE)]).unwrap();
    let at = |guest, len| memory.translate(guest, len).map(|piece| piece.len);
    assert_eq!(at(0x10_000, 8192), Some(8192));
    assert_eq!(at(0x11_fff, 1), Some(1));
    for (guest, len) in
        [(0x11_fff, 2), (0x12_000, 1), (0xf_fff, 1), (0x10_000, 0), (0x10_000, 8193), (u64::MAX, 2)]
    {
        assert_eq!(at(guest, len), None, "{guest:#x} {len}");
    }
}

#[test]
fn a_buffer_across_regions_that_adjoin_is_cut_into_pieces() {
    let memory = map(&[
        region(0x2000, PAGE, 0x9000, 0),
        region(0x1000, PAGE, 0x5000, PAGE),
        region(0x4000, PAGE, 0xb000, 2 * PAGE),
    ]);
    let memory = memory.unwrap();
    let pieces = |guest, len| {
        let mut lens = vec![];
        memory.pieces(guest, len, &mut |piece| lens.push(piece.len)).then_some(lens)
    };
    assert_eq!(pieces(0x1ff0, 0x20), Some(vec![0x10, 0x10]));
    assert_eq!(pieces(0x1000, 0x2000), Some(vec![0x1000, 0x1000]));
    assert_eq!(pieces(0x1000, 0x2001), None, "a gap follows");
    assert_eq!(pieces(0x3fff, 2), None);
    assert_eq!(pieces(u64::MAX, 2), None);
}

#[test]
fn a_region_that_ends_the_address_space_or_wraps_is_refused() {
    let last = u64::MAX - PAGE + 1;
    assert!(refused(&[region(last, PAGE, 0, 0)]).contains("beyond the end of the address space"));
    assert!(refused(&[region(0, PAGE, last, 0)]).contains("beyond the end of the address space"));
    assert!(refused(&[region(0, PAGE, 0, last)]).contains("beyond the end of the address space"));
    assert!(refused(&[region(0, u64::MAX, 0, 1)]).contains("beyond the end of the address space"));
    assert!(map(&[region(last - PAGE, PAGE, last - PAGE, 0)]).is_ok());
}

#[test]
fn tables_that_cannot_be_are_refused_with_a_reason() {
    assert!(refused(&[region(0x5000, 0, 0, 0)]).contains("at guest address 0x5000 has no size"));
    let overlap = refused(&[region(0, 2 * PAGE, 0x10_000, 0), region(PAGE, PAGE, 0x20_000, 0)]);
    assert_eq!(overlap, "the memory regions at guest addresses 0x0 and 0x1000 overlap");
    let of_user = refused(&[region(0, 2 * PAGE, 0x10_000, 0), region(0x80_000, PAGE, 0x11_000, 0)]);
    assert_eq!(of_user, "the memory regions at guest addresses 0x0 and 0x80000 overlap");
    let short = refused(&[region(0, 16 * PAGE, 0, PAGE)]);
    assert_eq!(
        short,
        "the memory region at guest address 0x0 needs 0x11000 bytes of its file, which has 0x10000"
    );
    let many: Vec<_> = (0..510).map(|at| region(at * PAGE, PAGE, at * PAGE, 0)).collect();
    assert!(refused(&many).contains("510 regions, but at most 509"));
    assert_eq!(map(&many[..509]).unwrap().regions().count(), 509);
}

#[test]
fn a_file_that_may_not_be_written_or_is_none_is_refused() {
    let (pipe, _other) = rustix::pipe::pipe().unwrap();
    let error = GuestMemory::map(vec![(region(0, PAGE, 0, 0), pipe)]).unwrap_err();
    assert!(matches!(error, MemoryError::Map(0, _)), "{error}");
}

/// What the memory with the region is, where that is another one.
fn with(memory: &GuestMemory, info: RegionInfo) -> Result<Option<GuestMemory>, MemoryError> {
    memory.with_region(info, &memfd(16 * PAGE))
}

#[test]
fn regions_come_and_go_and_the_others_stay_where_they_are() {
    let (first, second) = (region(0, PAGE, 0x1000, 0), region(0x8000, PAGE, 0x9000, 0));
    let one = map(&[first]).unwrap();
    let two = with(&one, second).unwrap().unwrap();
    assert_eq!(one.translate(0, 1), two.translate(0, 1));
    assert!(one.translate(0x8000, 1).is_none() && two.translate(0x8000, 1).is_some());
    assert!(with(&two, region(0x8fff, PAGE, 0xf000, 0)).is_err(), "overlaps");
    let again = two.without_region(&RegionInfo { offset: PAGE, ..first }).unwrap().unwrap();
    assert!(again.translate(0, 1).is_none() && again.translate(0x8000, 1) == two.translate(0x8000, 1));
}

#[test]
fn a_region_that_is_added_again_is_there_already() {
    let (info, file) = (region(0, PAGE, 0x1000, PAGE), memfd(4 * PAGE));
    let memory = GuestMemory::default().with_region(info, &file).unwrap().unwrap();
    assert!(memory.with_region(info, &file.try_clone().unwrap()).unwrap().is_none());
    let elsewhere = memory.with_region(RegionInfo { offset: 2 * PAGE, ..info }, &file);
    assert!(matches!(elsewhere, Err(MemoryError::Overlap(0, 0))), "{elsewhere:?}");
    let other_file = with(&memory, info);
    assert!(matches!(other_file, Err(MemoryError::Overlap(0, 0))), "{other_file:?}");
    let longer = memory.with_region(RegionInfo { size: 2 * PAGE, ..info }, &file);
    assert!(matches!(longer, Err(MemoryError::Overlap(0, 0))), "{longer:?}");
}

#[test]
fn a_region_that_is_removed_again_is_gone_already_but_a_part_of_one_is_refused() {
    let info = region(0x4000, 2 * PAGE, 0x10_000, 0);
    let memory = map(&[info]).unwrap();
    assert_eq!(memory.without_region(&info).unwrap().unwrap().regions().count(), 0);
    assert!(GuestMemory::default().without_region(&info).unwrap().is_none());
    assert!(memory.without_region(&region(0x6000, PAGE, 0x12_000, 0)).unwrap().is_none(), "adjoins");
    for part in [
        RegionInfo { size: PAGE, ..info },
        RegionInfo { guest: 0x5000, ..info },
        RegionInfo { user: 0x11_000, ..info },
        RegionInfo { guest: 0x80_000, ..info },
    ] {
        let refused = memory.without_region(&part);
        assert!(matches!(refused, Err(MemoryError::Unknown(_))), "{part:?}: {refused:?}");
    }
    for none in [RegionInfo { size: 0, ..info }, RegionInfo { size: u64::MAX, ..info }] {
        assert!(memory.without_region(&none).is_err(), "{none:?}");
    }
}

#[test]
fn an_offset_that_begins_no_page_leads_to_the_right_byte() {
    let fd = memfd(4 * PAGE);
    rustix::io::pwrite(&fd, b"here", PAGE + 100).unwrap();
    let memory = GuestMemory::map(vec![(region(0x1000, 2 * PAGE, 0x7000, PAGE + 100), fd)]).unwrap();
    assert_eq!(&read(memory.translate(0x1000, 8).unwrap())[..4], b"here");
    assert_eq!(memory.user(0x7000, 2 * PAGE).map(|piece| piece.len), Some(8192));
    assert_eq!(memory.user(0x7000, 2 * PAGE + 1), None);
    assert_eq!(memory.guest_address(memory.user(0x7003, 1).unwrap().at), Some(0x1003));
}

#[test]
fn a_file_cut_short_under_us_reads_as_zeros_and_is_told() {
    let (cut, whole) = (memfd(4 * PAGE), memfd(4 * PAGE));
    let both = vec![
        (region(0, 4 * PAGE, 0, 0), cut.try_clone().unwrap()),
        (region(0x10_000, 4 * PAGE, 0x10_000, 0), whole),
    ];
    let memory = GuestMemory::map(both).unwrap();
    let piece = |guest| memory.translate(guest, 8).unwrap();
    write(piece(0), b"the head");
    write(piece(2 * PAGE), b"the tail");
    resize(&cut, PAGE);
    assert!(!memory.faulted());
    assert_eq!((read(piece(2 * PAGE)), memory.faulted()), ([0; 8], true));
    write(piece(3 * PAGE), b"anything");
    assert_eq!(&read(piece(0)), b"the head", "what the file still has is still there");
    drop(memory);
    let memory = map(&[region(0, PAGE, 0, 0)]).unwrap();
    assert!(!memory.faulted(), "a new mapping is whole again");
}

/// The handler takes no signal away from others: an access outside of what is registered ends the process as ever.
#[test]
fn an_access_that_is_not_ours_ends_the_process_as_before() {
    let _memory = map(&[region(0, PAGE, 0, 0)]).unwrap();
    let fd = memfd(PAGE);
    // SAFETY: the child does nothing but an access that raises SIGBUS; it was forked from a process with threads, and
    // calls nothing that takes locks.
    let child = unsafe {
        let at = libc::mmap(null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, fd.as_raw_fd(), 0);
        assert_ne!(at, libc::MAP_FAILED);
        resize(&fd, 0);
        let child = libc::fork();
        if child == 0 {
            libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 });
            at.cast::<u8>().read_volatile();
            libc::_exit(0);
        }
        libc::munmap(at, 4096);
        child
    };
    let mut status = 0;
    // SAFETY: the pointer is valid for the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS, "{status:#x}");
}

fn marked(fd: &OwnedFd, len: usize) -> Vec<u64> {
    let mut bytes = vec![0; len];
    rustix::io::pread(fd, &mut bytes, 0).unwrap();
    (0..len as u64 * 8).filter(|bit| bytes[(bit / 8) as usize] & (1 << (bit % 8)) != 0).collect()
}

#[test]
fn every_page_that_was_touched_is_marked_and_no_other() {
    let fd = memfd(64);
    let log = DirtyLog::map(fd.as_fd(), 0, 64).unwrap();
    log.mark(5 * PAGE + 4095, 2);
    log.mark(9 * PAGE, PAGE);
    log.mark(20 * PAGE, 0);
    log.mark(511 * PAGE, u64::MAX);
    log.mark(u64::MAX - 1, 7);
    assert_eq!(marked(&fd, 64), [5, 6, 9, 511]);
    let memory = map(&[region(0x10_000, 2 * PAGE, 0, 0)]).unwrap();
    log.mark_written(&memory, memory.translate(0x11_ffe, 2).unwrap().at, 2);
    assert_eq!(marked(&fd, 64), [5, 6, 9, 17, 511]);
    assert!(log.covers(&memory));
    assert!(!log.covers(&map(&[region(511 * PAGE, 2 * PAGE, 0, 0)]).unwrap()));
    assert!(DirtyLog::map(fd.as_fd(), 0, 0).is_err() && DirtyLog::map(fd.as_fd(), u64::MAX, 2).is_err());
}
