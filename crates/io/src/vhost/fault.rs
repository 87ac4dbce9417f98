//! A page that goes away under us: SIGBUS in memory that a VMM shares.
//!
//! Guest memory is a file of the VMM, and who has its descriptor can cut it short. The next access to a page behind the
//! new end raises SIGBUS, which would end the whole daemon: one guest would take all others down. So mappings are
//! registered here, and the handler puts anonymous zero pages over the rest of the mapping that was hit and marks it
//! as faulted. The access is then repeated by the CPU, reads zeros, and the worker finds out between two batches.
//!
//! The handler may interrupt anything, so it only loads atomics and calls mmap(2). Any other SIGBUS goes to the handler
//! that was there before, or to the default one.
//!
//! What the kernel does with guest memory on our behalf (`writev` out of it) fails with EFAULT instead: no signal. Then we
//! copy ourselves, and get the signal (`parts.rs`).

use parking_lot::{Mutex, Once};
use std::{
    cell::UnsafeCell,
    io,
    mem::MaybeUninit,
    ptr::{null, null_mut},
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering},
};

/// A registered mapping. Its contents change only while `version` is odd.
#[derive(Default)]
struct Slot {
    version: AtomicU32,
    start: AtomicUsize,
    len: AtomicUsize,
    page: AtomicUsize,
    faulted: AtomicBool,
}

/// Slots are never freed, so that the handler may walk them at any time, and come in blocks, since a table has several mappings.
#[derive(Default)]
struct Block {
    slots: [Slot; 16],
    next: AtomicPtr<Block>,
}

static BLOCKS: AtomicPtr<Block> = AtomicPtr::new(null_mut());
/// Serialises registration and removal; never taken by the handler.
static REGISTRY: Mutex<()> = Mutex::new(());
/// How many mappings have ever faulted: as long as it is zero, nobody needs to look further.
static FAULTS: AtomicUsize = AtomicUsize::new(0);

/// A mapping that may lose pages without ending the process. It is forgotten on drop, which has to come before munmap.
#[derive(Debug)]
pub(super) struct Guard {
    slot: &'static Slot,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot")
            .field("start", &self.start)
            .field("faulted", &self.faulted)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Watches over `len` bytes mapped at `start`, with pages of `page` bytes (a power of two).
    pub fn register(start: usize, len: usize, page: usize) -> io::Result<Self> {
        install()?;
        let _held = REGISTRY.lock();
        let slot = free_slot();
        slot.change(start, len, page);
        Ok(Self { slot })
    }

    /// True once a page of the mapping was missing.
    pub fn faulted(&self) -> bool {
        FAULTS.load(Ordering::Relaxed) != 0 && self.slot.faulted.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _held = REGISTRY.lock();
        self.slot.change(0, 0, 1);
    }
}

impl Slot {
    fn change(&self, start: usize, len: usize, page: usize) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.start.store(start, Ordering::SeqCst);
        self.len.store(len, Ordering::SeqCst);
        self.page.store(page, Ordering::SeqCst);
        self.faulted.store(false, Ordering::SeqCst);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// Where `address` lies in the mapping: what to cover with zeros, as (start, length). A slot that is being changed
    /// is not the one: the mapping that was hit is in use, so nobody registers or removes it now.
    fn rest_of(&self, address: usize) -> Option<(usize, usize)> {
        let version = self.version.load(Ordering::SeqCst);
        let (start, len) = (self.start.load(Ordering::SeqCst), self.len.load(Ordering::SeqCst));
        let page = self.page.load(Ordering::SeqCst);
        let stable = version.is_multiple_of(2) && version == self.version.load(Ordering::SeqCst);
        (stable && address.wrapping_sub(start) < len).then(|| rest_of(start, len, page, address))
    }
}

/// From the page of `address` to the end of the mapping, as (start, length). Pages are counted from the mapping's start:
/// what a file system calls a block may be longer than what mappings of its files are aligned to, and what lies in front
/// is not ours.
const fn rest_of(start: usize, len: usize, page: usize, address: usize) -> (usize, usize) {
    let skipped = (address - start) & !(page - 1);
    (start + skipped, len - skipped)
}

fn blocks() -> impl Iterator<Item = &'static Block> {
    // SAFETY: the pointers in the list come from `Box::leak` and are never freed or changed once they are set.
    let follow = |at: &AtomicPtr<Block>| unsafe { at.load(Ordering::Acquire).as_ref() };
    std::iter::successors(follow(&BLOCKS), move |block| follow(&block.next))
}

/// A slot that nobody uses; the registry's lock is held.
fn free_slot() -> &'static Slot {
    let used = |slot: &&Slot| slot.len.load(Ordering::Relaxed) == 0;
    blocks().flat_map(|block| &block.slots).find(used).unwrap_or_else(|| {
        let block = Box::leak(Box::<Block>::default());
        block.next = AtomicPtr::new(BLOCKS.load(Ordering::Acquire));
        BLOCKS.store(block, Ordering::Release);
        &block.slots[0]
    })
}

/// The handler that was there before ours.
struct Previous(UnsafeCell<MaybeUninit<libc::sigaction>>);
// SAFETY: written once, before the handler that reads it is installed.
unsafe impl Sync for Previous {}
static PREVIOUS: Previous = Previous(UnsafeCell::new(MaybeUninit::zeroed()));
static INSTALLED: Once = Once::new();

/// Installs the handler, once in the life of the process.
fn install() -> io::Result<()> {
    let mut outcome = Ok(());
    INSTALLED.call_once(|| outcome = install_once());
    outcome
}

fn install_once() -> io::Result<()> {
    // SAFETY: `sigaction` is plain data for which zeros are a valid value; both pointers are valid for the calls; the
    // handler has the signature that SA_SIGINFO asks for and calls only what is async-signal-safe.
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_sigbus as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, null(), PREVIOUS.0.get().cast()) == 0
            && libc::sigaction(libc::SIGBUS, &raw const action, null_mut()) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands in a valid siginfo; `si_addr` is set for every SIGBUS that an access raises.
    let address = unsafe { (*info).si_addr() } as usize;
    if !cover(address) {
        // SAFETY: the arguments are those that the kernel handed in.
        unsafe { hand_on(signal, info, context) };
    }
}

/// Covers what is missing with zeros. False when the address is not in a registered mapping.
fn cover(address: usize) -> bool {
    let hit = blocks().flat_map(|block| &block.slots).find_map(|slot| Some((slot, slot.rest_of(address)?)));
    let Some((slot, (from, len))) = hit else { return false };
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
    );
    // SAFETY: the range lies in a mapping of ours, which is reached through raw pointers only and makes no promise
    // about its contents. `errno` is of the interrupted code and is put back.
    let covered = unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let at = libc::mmap(from as *mut libc::c_void, len, protection, flags, -1, 0);
        *errno = before;
        at != libc::MAP_FAILED
    };
    slot.faulted.store(true, Ordering::SeqCst);
    FAULTS.fetch_add(1, Ordering::SeqCst);
    covered
}

/// Gives the signal to whom it would have gone without us.
///
/// # Safety
/// To be called from a signal handler, with the handler's own arguments.
unsafe fn hand_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: `PREVIOUS` was written before the handler was installed. Its handler has the signature its flags tell.
    unsafe {
        let previous = (*PREVIOUS.0.get()).assume_init_ref();
        match previous.sa_sigaction {
            // The access is repeated as we return, and then the default action ends the process.
            libc::SIG_DFL | libc::SIG_IGN => {
                libc::signal(signal, libc::SIG_DFL);
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
                std::mem::transmute::<usize, Handler>(handler)(signal, info, context);
            }
            handler => std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler)(signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_lies_in_the_mapping_also_where_that_begins_no_block() {
        const BLOCK: usize = 0x2_0000;
        for start in [0x7f00_0000_0000, 0x7f00_0000_1000, 0x7f00_0001_f000] {
            let end = start + 3 * BLOCK;
            let covered = |at| rest_of(start, 3 * BLOCK, BLOCK, start + at);
            for (at, from) in [(0, 0), (1, 0), (BLOCK - 1, 0), (BLOCK, BLOCK), (3 * BLOCK - 1, 2 * BLOCK)] {
                assert_eq!(covered(at), (start + from, end - start - from), "{start:x} {at:x}");
            }
        }
    }
}
