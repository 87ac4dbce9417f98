//! Finding the two programs under test.

use anyhow::{Context, Result, bail};
use std::env;
use std::path::{Path, PathBuf};

/// The folder with `vmswitchd` and `vmswitch`.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// From `VMSWITCH_BIN` where that is set, otherwise from the folder this test was built into.
    pub fn find() -> Result<Binaries> {
        match env::var_os("VMSWITCH_BIN") {
            Some(folder) => Self::in_folder(Path::new(&folder)),
            None => Self::in_folder(&profile_folder()?),
        }
    }

    /// From this folder.
    pub fn in_folder(folder: &Path) -> Result<Binaries> {
        for program in ["vmswitchd", "vmswitch"] {
            if !folder.join(program).is_file() {
                bail!(
                    "{program} is not in {}: run `cargo build --workspace --bins` (for a release build with \
                     --release) first, or set VMSWITCH_BIN to the folder that holds it",
                    folder.display()
                );
            }
        }
        // Absolute, for the programs may be started from another directory.
        Ok(Binaries { folder: folder.canonicalize()? })
    }

    /// The daemon.
    pub fn daemon(&self) -> PathBuf {
        self.folder.join("vmswitchd")
    }

    /// The command line tool.
    pub fn cli(&self) -> PathBuf {
        self.folder.join("vmswitch")
    }
}

/// `target/PROFILE`: a test runs from its `deps`, a program from there.
fn profile_folder() -> Result<PathBuf> {
    let exe = env::current_exe().context("cannot tell where this program is")?;
    let folder = exe.parent().context("a program is in a folder")?;
    let above = folder.parent().filter(|_| folder.ends_with("deps") || folder.ends_with("examples"));
    Ok(above.unwrap_or(folder).to_path_buf())
}

/// The build's `target/lab` folder: what is costly to make and good for every run.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let profile = profile_folder()?;
    let target = profile.parent().context("a build profile is in a target folder")?;
    let cache = target.join("lab");
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_are_an_error_that_says_how_to_build_them() {
        let error = Binaries::in_folder(Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(error.contains("vmswitchd is not in /nonexistent"), "{error}");
        assert!(error.contains("cargo build --workspace --bins"), "{error}");
    }
}
