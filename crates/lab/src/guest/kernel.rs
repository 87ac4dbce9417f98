//! The kernels that guests boot: Debian's cloud kernels, taken out of their packages without installing them, which would
//! make an initramfs for this machine and change what it boots. They are kept in the build's `target/lab`.

use super::image::find;
use crate::run::text;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// Packages that make up a kernel; behind each stands its version. Debian 12 has all in the first.
const PARTS: [&str; 4] = ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"];
/// Where newer kernels are, in the form of sources.list(5). The keys are in Debian 12 too.
const BACKPORTS: &str = "\
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
";

/// Which kernel a guest boots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kernel {
    /// That of this machine's release of Debian.
    #[default]
    Release,
    /// A newer one, whose `virtio_net` receives and sends by AF_XDP without copying (since Linux 6.14).
    Backports,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Kernel; 2] = [Kernel::Release, Kernel::Backports];

    /// Modules that a guest needs; what these need in turn is found out.
    pub(super) const fn modules(self) -> &'static [&'static str] {
        match self {
            Kernel::Release => &["virtio_pci", "virtio_net", "8021q"],
            // What vmswitchd needs besides: guests with this kernel run it.
            Kernel::Backports => &["virtio_pci", "virtio_net", "tun", "veth", "sch_ingress", "cls_bpf"],
        }
    }

    /// The kernel and the folder of its modules. Downloads its packages if they are not there.
    pub(super) fn find(self, cache: &Path) -> Result<(PathBuf, PathBuf)> {
        let unpacked = cache.join(match self {
            Kernel::Release => "kernel",
            Kernel::Backports => "kernel-backports",
        });
        let installed = if self == Kernel::Release { kernel_under(Path::new("/"))? } else { None };
        if let Some(found) = installed.map_or_else(|| kernel_under(&unpacked), |found| Ok(Some(found)))? {
            return Ok(found);
        }
        let work = tempfile::tempdir_in(cache)?;
        let whole = work.path().join("whole");
        match self {
            Kernel::Release => Apt::of_this_machine(),
            Kernel::Backports => Apt::apart(&work.path().join("apt"), BACKPORTS)?,
        }
        .unpack_kernel(work.path(), &whole)?;
        // Renamed when complete: a download that was cut off leaves nothing that looks like a kernel.
        fs::rename(&whole, &unpacked).with_context(|| format!("cannot make {}", unpacked.display()))?;
        kernel_under(&unpacked)?.with_context(|| format!("no kernel in what {META_PACKAGE} depends on"))
    }
}

/// Debian's newer packages have the kernel beside its modules, and everything below `/usr`.
fn kernel_under(root: &Path) -> Result<Option<(PathBuf, PathBuf)>> {
    let mut found = Vec::new();
    for folder in ["lib/modules", "usr/lib/modules"].map(|folder| root.join(folder)) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let modules = entry?.path();
            let version = modules.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let places = [root.join(format!("boot/vmlinuz-{version}")), modules.join("vmlinuz")];
            let kernel = places.into_iter().find(|place| place.is_file());
            found
                .extend(kernel.filter(|_| version.ends_with("-cloud-amd64")).map(|kernel| (kernel, modules)));
        }
    }
    Ok(found.into_iter().max())
}

/// apt, and which packages it knows.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn of_this_machine() -> Apt {
        Apt { options: Vec::new() }
    }

    /// One that knows packages of these sources only, and keeps its lists in a folder of its own: nothing that the machine's
    /// knows, has or trusts is changed. Signatures are checked as ever.
    fn apart(folder: &Path, sources: &str) -> Result<Apt> {
        for name in ["sources", "lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::write(folder.join("sources/lab.sources"), sources)?;
        let at = |name: &str| folder.join(name).display().to_string();
        let options = [
            ("Dir::Etc::sourcelist", "/dev/null".to_owned()),
            ("Dir::Etc::sourceparts", at("sources")),
            ("Dir::State::lists", at("lists")),
            ("Dir::State::status", "/dev/null".to_owned()),
            ("Dir::Cache", at("cache")),
            // Without it what could not be had is only warned of.
            ("APT::Update::Error-Mode", "any".to_owned()),
        ];
        let apt = Apt { options: options.map(|(name, value)| format!("--option={name}={value}")).to_vec() };
        text(apt.command("apt-get").args(["-q", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }

    /// Downloads into `work` and unpacks what makes up the kernel that the meta package stands for.
    fn unpack_kernel(&self, work: &Path, to: &Path) -> Result<()> {
        let depends = ["depends", "--important", "--recurse", META_PACKAGE];
        let known = text(self.command("apt-cache").args(depends));
        let known =
            known.with_context(|| format!("apt knows no {META_PACKAGE}: run `apt-get update` first"))?;
        let parts: Vec<_> = known.lines().filter(|name| is_part_of_a_kernel(name)).collect();
        ensure!(!parts.is_empty(), "{META_PACKAGE} depends on no kernel:\n{known}");
        text(self.command("apt-get").args(["-q", "download"]).args(&parts).current_dir(work))?;
        for part in parts {
            let archive =
                find(work, &|name| name.ends_with(".deb") && name.starts_with(&format!("{part}_")))?;
            let archive = archive.with_context(|| format!("apt-get downloaded no {part}"))?;
            text(Command::new("dpkg-deb").arg("--extract").args([&archive, to]))?;
        }
        Ok(())
    }
}

/// Whether a line of `apt-cache depends` is a package with a part of one kernel: `linux-image-6.1.0-56-cloud-amd64`.
fn is_part_of_a_kernel(line: &str) -> bool {
    let version = PARTS.iter().find_map(|part| line.strip_prefix(part));
    version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_up_a_kernel_is_told_from_what_it_depends_on() {
        let lines = "linux-image-cloud-amd64\n  Depends: linux-image-7.3.4+deb13-cloud-amd64\nlinux-base\n\
                     linux-image-7.3.4+deb13-cloud-amd64\nlinux-modules-cloud-amd64\n\
                     linux-binary-7.3.4+deb13-cloud-amd64\n<linux-initramfs-tool>";
        let parts: Vec<_> = lines.lines().filter(|line| is_part_of_a_kernel(line)).collect();
        assert_eq!(parts, ["linux-image-7.3.4+deb13-cloud-amd64", "linux-binary-7.3.4+deb13-cloud-amd64"]);
    }
}
