//! vmswitchd: the shell around the pure parts. It keeps the switches, takes NICs over and gives them back, and serves
//! the API.

pub mod api;
mod args;
mod events;
mod host;
mod log;
mod manager;
mod mirror;
mod reaper;
mod store;
pub mod tap;

pub use args::{Args, CpuList, LogForm};

use anyhow::Context;
use api::{Listener, Options};
use dataplane::Dataplane;
use host::Host;
use manager::Manager;
use std::sync::{Arc, mpsc};
use store::Store;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the daemon until SIGTERM or SIGINT.
///
/// Host vNICs and vNICs in namespaces outlive it, with their addresses; a NIC that was taken over stays so. The next run
/// takes all of it up.
///
/// # Errors
/// What made starting impossible; nothing was changed then, and the state on disk is as it was.
pub fn run(args: &Args) -> anyhow::Result<()> {
    log::start(args.log);
    let store = Store::open(&args.state_dir)?;
    std::fs::create_dir_all(&args.run_dir).with_context(|| {
        format!("{} cannot be made: name another directory with --run-dir", args.run_dir.display())
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let group = api::group_id(api::GROUP);
    // Before the host is touched: a daemon whose socket is another's must leave the NICs alone.
    let listener = runtime.block_on(async { Listener::bind(&args.socket, group) })?;
    let (notices, inbox) = mpsc::channel();
    let dataplane = Dataplane::start(&args.workers.0, &notices)?;
    let manager = Arc::new(Manager::start(store, Host::open()?, dataplane, &args.run_dir)?);
    manager::watch(&manager, inbox)?;
    tracing::info!(socket = %args.socket.display(), "serving");
    runtime.block_on(serve(listener, group, manager))?;
    runtime.shutdown_background();
    tracing::info!("stopped");
    Ok(())
}

async fn serve(listener: Listener, group: Option<u32>, manager: Arc<Manager>) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    api::serve(listener, manager, Options { group, ..Options::default() }, stop).await;
    Ok(())
}
