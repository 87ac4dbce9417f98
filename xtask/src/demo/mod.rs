//! `cargo xtask demo`: the main job, to be watched.
//!
//! Everything happens in network namespaces, with real programs: what is shown as typed is what runs, and what is shown
//! as printed was printed.

mod acts;
mod connection;
mod frames;
mod narrator;

use crate::{interrupt, packages, steps};
use acts::Demo;
use anyhow::{Context, Result};
use clap::Args;
use lab::{Binaries, Daemon, DaemonOptions, World};
use narrator::Narrator;
use std::env;
use std::ffi::OsString;
use std::path::Path;

/// How to show it.
#[derive(Args)]
pub struct Options {
    /// Without pauses.
    #[arg(long)]
    hurry: bool,
}

/// Shows everything; an error if a check failed.
pub fn run(options: &Options) -> Result<()> {
    steps::demand_root("demo")?;
    packages::for_demo()?;
    steps::header("Programs");
    steps::run(&mut steps::cargo("build --package vmswitch-daemon --package vmswitch-cli"))?;
    let binaries = Binaries::in_folder(&steps::profile_folder("debug")?)?;
    interrupt::catch()?;
    let narrator = Narrator::new(options.hurry);
    let shown = show(narrator, &binaries);
    // What failed then failed because of that.
    interrupt::check().context("the namespaces, programs and files of the demo are removed")?;
    shown
}

fn show(mut narrator: Narrator, binaries: &Binaries) -> Result<()> {
    let world = World::new()?;
    let daemon = Daemon::prepare(
        &world.host,
        DaemonOptions { binaries: Some(binaries.clone()), ..Default::default() },
    )?;
    narrator.export("PATH", path_with(&binaries.daemon())?);
    narrator.export("VMSWITCH_SOCKET", daemon.socket());
    Demo { narrator, world, daemon }.run()
}

fn path_with(program: &Path) -> Result<OsString> {
    let folder = program.parent().context("a program is in a folder")?.to_path_buf();
    let others = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(std::iter::once(folder).chain(env::split_paths(&others)))?)
}
