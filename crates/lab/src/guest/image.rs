//! The initramfs of the guest, made once for each kernel and kept in the build's `target/lab`.

use super::kernel::Kernel;
use crate::binaries::cache_folder;
use crate::run::text;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const BUSYBOX: &str = "/bin/busybox";
/// Programs of this machine that the guest gets, with their libraries.
const PROGRAMS: [&str; 1] = ["/usr/bin/iperf3"];

/// What QEMU boots.
#[derive(Debug, Clone)]
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
}

/// Makes the image unless it is there. Downloads the kernel if it is not.
pub fn prepare(kernel: Kernel) -> Result<Image> {
    let cache = cache_folder()?;
    // Tests in several processes may want it at once; the first one makes it.
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    let (file, modules) = kernel.find(&cache)?;
    let initramfs = initramfs(&cache, &modules, kernel.modules())?;
    Ok(Image { kernel: file, initramfs })
}

impl Image {
    /// The image with further programs of this machine in `bin`, with their libraries; its initramfs is in `folder`.
    pub(super) fn with_programs(self, programs: &[PathBuf], folder: &Path) -> Result<Image> {
        if programs.is_empty() {
            return Ok(self);
        }
        let (root, further, initramfs) =
            (folder.join("root"), folder.join("further"), folder.join("initramfs"));
        fs::create_dir_all(root.join("bin"))?;
        for program in programs {
            add_program(program, &root)?;
        }
        pack(&root, &further)?;
        fs::remove_dir_all(&root)?;
        // The kernel unpacks archives that stand one behind the other (Documentation/driver-api/early-userspace).
        fs::copy(&self.initramfs, &initramfs)?;
        let mut whole = File::options().append(true).open(&initramfs)?;
        std::io::copy(&mut File::open(&further)?, &mut whole)?;
        fs::remove_file(further)?;
        Ok(Image { initramfs, ..self })
    }
}

fn initramfs(cache: &Path, modules: &Path, wanted: &[&str]) -> Result<PathBuf> {
    let version =
        modules.file_name().and_then(|v| v.to_str()).context("a module folder is named by its version")?;
    let made = cache.join(format!("initramfs-{version}"));
    if is_newer(&made, &std::env::current_exe()?) {
        return Ok(made);
    }
    let work = tempfile::tempdir_in(cache)?;
    let root = work.path().join("root");
    fill(&root, modules, wanted)?;
    let archive = work.path().join("archive");
    pack(&root, &archive)?;
    fs::rename(&archive, &made)?;
    Ok(made)
}

fn pack(root: &Path, archive: &Path) -> Result<()> {
    let pack = "find . | cpio --create --format=newc --owner=0:0 --quiet >\"$0\"";
    text(Command::new("sh").args(["-c", pack]).arg(archive).current_dir(root)).map(drop)
}

/// The scripts in the initramfs are part of the program: one made by an older program may hold older ones.
fn is_newer(made: &Path, program: &Path) -> bool {
    let time = |path| fs::metadata(path).and_then(|m| m.modified());
    matches!((time(made), time(program)), (Ok(made), Ok(program)) if made > program)
}

fn fill(root: &Path, modules: &Path, wanted: &[&str]) -> Result<()> {
    for folder in ["bin", "dev", "proc", "sys", "tmp", "lib/modules", "etc/udhcpc"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).context("no busybox: install busybox-static")?;
    symlink("busybox", root.join("bin/sh"))?;
    for program in PROGRAMS {
        add_program(Path::new(program), root)?;
    }
    script(&root.join("init"), include_str!("init.sh"))?;
    script(&root.join("etc/udhcpc/default.script"), include_str!("dhcp.sh"))?;
    let mut order = Vec::new();
    for module in wanted {
        add_module(module, modules, &root.join("lib/modules"), &mut order)?;
    }
    fs::write(root.join("lib/modules/order"), order.join("\n"))?;
    Ok(())
}

fn script(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// Copies a program, and each library to where the program looks for it.
fn add_program(program: &Path, root: &Path) -> Result<()> {
    let name = program.file_name().context("a program has a name")?;
    let installed = || format!("no {}: install {}", program.display(), name.display());
    fs::copy(program, root.join("bin").join(name)).with_context(installed)?;
    let libraries = text(Command::new("ldd").arg(program))?;
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("a library is in a folder")?)?;
        fs::copy(library, to)?;
    }
    Ok(())
}

/// Copies a module after all that it depends on, in the order in which they have to be loaded.
fn add_module(name: &str, from: &Path, to: &Path, order: &mut Vec<String>) -> Result<()> {
    let file = format!("{name}.ko");
    let stem = name.replace('-', "_");
    let is_it =
        |candidate: &str| candidate.split_once(".ko").is_some_and(|(n, _)| n.replace('-', "_") == stem);
    let built_in = fs::read_to_string(from.join("modules.builtin"))?;
    if order.contains(&file) || built_in.lines().any(|path| path.rsplit('/').next().is_some_and(is_it)) {
        return Ok(());
    }
    let path = find(from, &is_it)?.with_context(|| format!("no module {name} in {}", from.display()))?;
    let depends = text(Command::new("modinfo").args(["-F", "depends"]).arg(&path))?;
    for other in depends.trim().split(',').filter(|d| !d.is_empty()) {
        add_module(other, from, to, order)?;
    }
    copy_plain(&path, &to.join(&file))?;
    order.push(file);
    Ok(())
}

/// Copies a module, uncompressed: busybox's insmod takes no others.
fn copy_plain(from: &Path, to: &Path) -> Result<()> {
    if from.extension().is_some_and(|e| e == "xz") {
        text(Command::new("sh").args(["-c", "xz -dc \"$0\" >\"$1\""]).arg(from).arg(to))?;
    } else {
        fs::copy(from, to)?;
    }
    Ok(())
}

/// A file below `folder` whose name is accepted.
pub(super) fn find(folder: &Path, accept: &dyn Fn(&str) -> bool) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path(), accept)? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_str().is_some_and(accept) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
