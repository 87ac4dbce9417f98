//! The REST API over a real socket, in front of a backend that keeps its switches in memory.

mod documents;
mod http;
mod limits;
mod memory;
mod observe;
mod peers;
mod socket;
mod things;

use daemon::api::{self, Limits, Listener, Options};
use http::Answer;
use memory::Memory;
use std::{path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// A limit that a test waits for.
const SHORT: Duration = Duration::from_millis(200);

/// An API that serves as long as this lives.
struct Api {
    dir: TempDir,
    backend: Arc<Memory>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Api {
    fn start() -> Self {
        Self::limited(|_| {})
    }

    /// With one limit that the test is about; no other can be reached, however slow the machine is.
    fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits {
            header_time: PATIENCE,
            body_time: PATIENCE,
            request_time: PATIENCE,
            write_time: PATIENCE,
            stop_time: PATIENCE,
            ..Limits::default()
        };
        change(&mut limits);
        Self::with(Options { limits, ..Options::default() })
    }

    fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, group) = (dir.path().join("api.sock"), options.group);
        let backend = Arc::new(Memory::default());
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let served = Arc::clone(&backend);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = Listener::bind(&path, group).unwrap();
                ready.send(()).unwrap();
                api::serve(listener, served, options, async { drop(stopped.await) }).await;
            });
        });
        is_ready.recv().unwrap();
        Self { dir, backend, stop: Some(stop), thread: Some(thread) }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    fn connect(&self) -> http::Connection {
        http::Connection::open(&self.socket())
    }

    fn get(&self, path: &str) -> Answer {
        self.connect().ask("GET", path, &[], "")
    }

    fn delete(&self, path: &str) -> Answer {
        self.connect().ask("DELETE", path, &[], "")
    }

    /// Sends a JSON body.
    fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.connect().ask(method, path, &[("content-type", "application/json")], body)
    }

    /// Tells it to stop.
    fn begin_to_stop(&mut self) {
        drop(self.stop.take());
    }

    fn stop(&mut self) {
        self.begin_to_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.begin_to_stop();
        self.backend.slow.release();
    }
}
