//! The C programs and the huge pages that samples are taken with.

use super::Setting;
use super::bed::{Bed, Switch, Vmswitches};
use super::changes::{self, Change, Changing};
use super::contention::{self, Times};
use super::distance::Distance;
use super::generator::{Figures, Generators, Load, Watcher};
use super::rows::Row;
use crate::steps;
use anyhow::{Context, ensure};
use lab::Namespace;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";
/// 2 GiB of pages of 2 MiB. VPP takes the most.
const HUGE_PAGES_NEEDED: u64 = 1024;

/// Rules that are added and removed in turns, each time that this is measured.
const CHANGES: u32 = 20;
/// More than these take.
const WATCH_SECONDS: f64 = 60.0;

/// One sample, and what the machine did meanwhile.
#[derive(Debug, Clone)]
pub struct Sample {
    pub figures: Figures,
    /// Nanoseconds from core to core, before and after.
    pub c2c_ns: [f64; 2],
    /// The share of time for which other work kept the switch or the generator from its CPU.
    pub disturbed: f64,
}

/// Why a sample cannot be compared with any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The CPUs moved.
    Moved,
    /// The CPUs had other work.
    Busy,
}

impl Sample {
    /// What it can be compared with.
    pub fn distance(&self) -> Result<Distance, Flaw> {
        let [before, after] = self.c2c_ns;
        match Distance::of(before, after) {
            _ if self.disturbed > contention::TOLERATED => Err(Flaw::Busy),
            Some(distance) => Ok(distance),
            None => Err(Flaw::Moved),
        }
    }
}

/// What samples are taken with, for the whole run.
#[derive(Debug)]
pub struct Tools {
    generators: Generators,
    c2c: PathBuf,
    setting: Setting,
    /// All programs run in there: what a killed run leaves is found by the next one.
    namespace: Namespace,
    _huge_pages: HugePages,
}

impl Tools {
    /// Compiles the programs and reserves huge pages.
    pub fn build(setting: &Setting) -> anyhow::Result<Tools> {
        steps::header("Generators: peers/ringgen.c, peers/vnicgen.c, peers/c2c.c");
        let dpdk = lab::text(Command::new("pkg-config").args(["--cflags", "--libs", "libdpdk"]))?;
        let generators = Generators {
            ringgen: compile("ringgen", &["-march=native"], "")?,
            vnicgen: compile("vnicgen", &["-march=native"], &dpdk)?,
        };
        let c2c = compile("c2c", &["-pthread"], "")?;
        let (namespace, pages) = (Namespace::new("vhost")?, HugePages::reserve()?);
        Ok(Tools { generators, c2c, setting: *setting, namespace, _huge_pages: pages })
    }

    /// Starts a switch, measures it, and takes it down.
    pub fn sample(&self, switch: Switch, row: &Row, builds: &Vmswitches) -> anyhow::Result<Sample> {
        let before = self.c2c()?;
        let bed = Bed::start(switch, row, &self.setting, &self.namespace, builds)?;
        let times = bed.pid()?.map(Times::of).transpose()?.unwrap_or_default();
        let changing = row.changes.then(|| Changing::start(&bed)).transpose()?;
        let mut figures = self
            .load(&bed, row, &self.setting)
            .run()
            .with_context(|| format!("failed; the switch printed:\n{}", bed.log()))?;
        if let Some(changing) = changing {
            let changes = changing.stop()?;
            eprintln!(
                "{changes} changes of a rule; the generator waited for {:.1} %",
                figures.waited * 100.0
            );
        }
        if row.bystanders > 0 {
            // Control takes its time from the generator, as the bed says: that is not the switch's.
            figures.rx_mpps /= 1.0 - figures.waited;
        }
        let work = bed.pid()?.map(Times::of).transpose()?.unwrap_or_default().since(&times);
        drop(bed);
        Ok(Sample { figures, c2c_ns: [before, self.c2c()?], disturbed: work.disturbed(figures.waited) })
    }

    /// What changes of one rule take to be live.
    pub fn changes(&self, row: &Row, builds: &Vmswitches) -> anyhow::Result<Vec<Change>> {
        let bed = Bed::start(Switch::Vmswitch, row, &self.setting, &self.namespace, builds)?;
        let setting = Setting { seconds: WATCH_SECONDS, ..self.setting };
        let mut watcher = Watcher::start(&self.load(&bed, row, &setting))?;
        changes::watch_changes(&bed, &mut watcher, CHANGES)
            .with_context(|| format!("failed; the switch printed:\n{}", bed.log()))
    }

    fn load<'a>(&'a self, bed: &'a Bed, row: &'a Row, setting: &'a Setting) -> Load<'a> {
        Load { generators: &self.generators, namespace: &self.namespace, bed, row, setting }
    }

    fn c2c(&self) -> anyhow::Result<f64> {
        let (one, other) = (self.setting.switch_cpu.to_string(), self.setting.generator_cpu.to_string());
        let printed = lab::text(Command::new(&self.c2c).args([one, other]))?;
        printed.trim().parse().with_context(|| format!("c2c printed {printed:?}"))
    }
}

/// Compiles `peers/NAME.c` into the target folder.
fn compile(name: &str, flags: &[&str], more: &str) -> anyhow::Result<PathBuf> {
    let folder = steps::profile_folder("bench")?;
    fs::create_dir_all(&folder)?;
    let (source, program) = (Path::new(SOURCES).join(name).with_extension("c"), folder.join(name));
    let mut command = Command::new("gcc");
    command.args(["-std=gnu11", "-Wall", "-Wextra", "-O3"]).args(flags).arg(source).arg("-o").arg(&program);
    steps::run(command.args(more.split_whitespace()))?;
    Ok(program)
}

/// Huge pages that are given back.
#[derive(Debug)]
pub struct HugePages {
    before: u64,
}

impl HugePages {
    /// As many as are needed.
    pub fn reserve() -> anyhow::Result<HugePages> {
        let before = Self::reserved()?;
        if before < HUGE_PAGES_NEEDED {
            fs::write(HUGE_PAGES, HUGE_PAGES_NEEDED.to_string())?;
        }
        // Where memory is in pieces, the kernel reserves fewer without a word.
        let pages = HugePages { before };
        let now = Self::reserved()?;
        ensure!(now >= HUGE_PAGES_NEEDED, "only {now} of {HUGE_PAGES_NEEDED} huge pages are to be had");
        Ok(pages)
    }

    fn reserved() -> anyhow::Result<u64> {
        Ok(fs::read_to_string(HUGE_PAGES)?.trim().parse()?)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if self.before < HUGE_PAGES_NEEDED {
            // Who runs this as root can do the same by hand, and the next start of the machine does it, too.
            let _ = fs::write(HUGE_PAGES, self.before.to_string());
        }
    }
}
