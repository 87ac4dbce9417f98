//! `cargo xtask demo`: the main job, to be watched.
//!
//! Everything happens in network namespaces, with real programs: what is shown as typed is what runs, and what is shown
//! as printed was printed.

mod acts;
mod connection;
mod frames;
mod narrator;

use crate::{packages, steps};
use acts::Demo;
use anyhow::{Context, Result, ensure};
use clap::Args;
use lab::{Binaries, Daemon, DaemonOptions, World};
use narrator::{INTERRUPTED, Narrator};
use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::Ordering;
use tokio::signal::unix::{SignalKind, signal};

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
    catch_interrupts()?;
    let narrator = Narrator::new(options.hurry);
    let shown = show(narrator, &binaries);
    // What failed then failed because of that.
    ensure!(
        !INTERRUPTED.load(Ordering::Relaxed),
        "interrupted; the namespaces, programs and files of the demo are removed"
    );
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

/// From now on an interrupt ends the demo as an error would, so that every guard is dropped. The programs that it runs
/// get the terminal's interrupt too, so nothing waits for them.
fn catch_interrupts() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut int, mut term) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async move {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                }
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}
