//! Huge pages for a guest's memory: the kernel may make them when they are asked for, and gives them back afterwards.

use crate::binaries::cache_folder;
use anyhow::{Context, Result};
use std::fs::{self, File};

/// How many huge pages there may be beyond those that are reserved.
const OVERCOMMIT: &str = "/proc/sys/vm/nr_overcommit_hugepages";
const MIB_A_PAGE: u32 = 2;

/// Leave to make huge pages; taken back when it is dropped. One at a time on this machine.
#[derive(Debug)]
pub struct HugePages {
    before: String,
    _lock: File,
}

impl HugePages {
    /// Leave for `mib` MiB in pages of 2 MiB.
    pub fn allow(mib: u32) -> Result<HugePages> {
        let lock = File::create(cache_folder()?.join("huge-pages.lock"))?;
        lock.lock()?;
        let before = fs::read_to_string(OVERCOMMIT).context("this kernel has no huge pages")?;
        let allowed: u32 = before.trim().parse().context("not a number of pages")?;
        // It makes none where there is no room in one piece. That it cannot make some, who asks for them is told.
        let _ = fs::write("/proc/sys/vm/compact_memory", "1");
        fs::write(OVERCOMMIT, (allowed + mib.div_ceil(MIB_A_PAGE)).to_string())?;
        Ok(HugePages { before, _lock: lock })
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = fs::write(OVERCOMMIT, &self.before);
    }
}
