//! Closes TAPs that were let go. The kernel takes 16 to 40 ms for each, nearly all of it waiting for other CPUs, and
//! waits for several at once: 128 of them took one thread 17 ms each, 2 threads 10, 4 threads 5.5, 8 threads 2.9, 16
//! threads 1.8 (Linux 6.18, 2 CPUs). A sequence of `port remove` brings one every 5 ms or so, which 8 threads keep up with.
//!
//! Nothing has to wait for it: the names of these TAPs are free already, and they end with the process if not before.

use io::Tap;
use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

const THREADS: usize = 8;

/// The threads that close.
#[derive(Debug)]
pub struct Reaper {
    jobs: Option<mpsc::Sender<Tap>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Reaper {
    /// Starts the threads.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn start() -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::channel();
        let inbox = Arc::new(Mutex::new(inbox));
        let start = |n| {
            let inbox = Arc::clone(&inbox);
            thread::Builder::new().name(format!("reaper-{n}")).spawn(move || reap(&inbox))
        };
        let threads = (0..THREADS).map(start).collect::<std::io::Result<_>>()?;
        Ok(Self { jobs: Some(jobs), threads })
    }

    /// Closes `tap` soon.
    pub fn close(&self, tap: Tap) {
        // Where no thread is left to take it, it is dropped here.
        drop(self.jobs.as_ref().map(|jobs| jobs.send(tap)));
    }
}

impl Drop for Reaper {
    /// Waits until all are closed.
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn reap(inbox: &Mutex<mpsc::Receiver<Tap>>) {
    let next = || inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(tap) = next() {
        drop(tap);
    }
}
