//! The kernel and the initramfs of the guest, made once and kept in the build's `target/lab`.
//!
//! The kernel is Debian's cloud kernel, taken out of its package without installing it: installing would make an
//! initramfs for this machine and change what it boots.

use crate::binaries::cache_folder;
use crate::run::text;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const META_PACKAGE: &str = "linux-image-cloud-amd64";
const BUSYBOX: &str = "/bin/busybox";
/// Programs of this machine that the guest gets, with their libraries.
const PROGRAMS: [&str; 1] = ["/usr/bin/iperf3"];
/// What the guest needs; what these need in turn is found out.
const MODULES: [&str; 3] = ["virtio_pci", "virtio_net", "8021q"];

/// What QEMU boots.
#[derive(Debug, Clone)]
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
}

/// Makes the image unless it is there. Downloads the kernel package if this machine has no such kernel.
pub fn prepare() -> Result<Image> {
    let cache = cache_folder()?;
    // Tests in several processes may want it at once; the first one makes it.
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    let (kernel, modules) = kernel(&cache)?;
    let initramfs = initramfs(&cache, &modules)?;
    Ok(Image { kernel, initramfs })
}

/// The kernel and the folder of its modules: one that is installed, or else the package's content.
fn kernel(cache: &Path) -> Result<(PathBuf, PathBuf)> {
    if let Some(found) = kernel_under(Path::new("/"))? {
        return Ok(found);
    }
    let unpacked = cache.join("kernel");
    if let Some(found) = kernel_under(&unpacked)? {
        return Ok(found);
    }
    download(cache, &unpacked)?;
    kernel_under(&unpacked)?.with_context(|| format!("no kernel in what {META_PACKAGE} depends on"))
}

fn kernel_under(root: &Path) -> Result<Option<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("boot")).into_iter().flatten() {
        let name = entry?.file_name().into_string().unwrap_or_default();
        let version = name.strip_prefix("vmlinuz-").filter(|v| v.ends_with("-cloud-amd64"));
        let modules = version.map(|v| root.join("lib/modules").join(v)).filter(|m| m.is_dir());
        found.extend(modules.map(|m| (root.join("boot").join(&name), m)));
    }
    Ok(found.into_iter().max())
}

fn download(cache: &Path, unpacked: &Path) -> Result<()> {
    let depends = text(Command::new("apt-cache").args(["depends", "--important", META_PACKAGE]))?;
    let package = depends.lines().find_map(|l| l.trim().strip_prefix("Depends: "));
    let package =
        package.with_context(|| format!("apt knows no {META_PACKAGE}: run `apt-get update` first"))?;
    let work = tempfile::tempdir_in(cache)?;
    text(Command::new("apt-get").args(["-q", "download", package]).current_dir(work.path()))?;
    let Some(archive) = find(work.path(), &|name| name.ends_with(".deb"))? else {
        bail!("apt-get downloaded no {package}")
    };
    let whole = work.path().join("whole");
    text(Command::new("dpkg-deb").arg("--extract").args([&archive, &whole]))?;
    // Renamed when complete: a download that was cut off leaves nothing that looks like a kernel.
    fs::rename(&whole, unpacked).with_context(|| format!("cannot make {}", unpacked.display()))
}

fn initramfs(cache: &Path, modules: &Path) -> Result<PathBuf> {
    let version =
        modules.file_name().and_then(|v| v.to_str()).context("a module folder is named by its version")?;
    let made = cache.join(format!("initramfs-{version}"));
    if is_newer(&made, &std::env::current_exe()?) {
        return Ok(made);
    }
    let work = tempfile::tempdir_in(cache)?;
    let root = work.path().join("root");
    fill(&root, modules)?;
    let archive = work.path().join("archive");
    let pack = "find . | cpio --create --format=newc --owner=0:0 --quiet >\"$0\"";
    text(Command::new("sh").args(["-c", pack]).arg(&archive).current_dir(&root))?;
    fs::rename(&archive, &made)?;
    Ok(made)
}

/// The scripts in the initramfs are part of the program: one made by an older program may hold older ones.
fn is_newer(made: &Path, program: &Path) -> bool {
    let time = |path| fs::metadata(path).and_then(|m| m.modified());
    matches!((time(made), time(program)), (Ok(made), Ok(program)) if made > program)
}

fn fill(root: &Path, modules: &Path) -> Result<()> {
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
    for module in MODULES {
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
    if order.contains(&file) {
        return Ok(());
    }
    let stem = name.replace('-', "_");
    let is_it =
        |candidate: &str| candidate.split_once(".ko").is_some_and(|(n, _)| n.replace('-', "_") == stem);
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
fn find(folder: &Path, accept: &dyn Fn(&str) -> bool) -> Result<Option<PathBuf>> {
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
