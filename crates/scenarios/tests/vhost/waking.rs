//! The first frame after silence: what it waits for is the kernel, which wakes the worker, and little else.

use anyhow::{Result, bail};
use lab::{DaemonOptions, waking};
use std::time::Duration;

const TURNS: usize = 60;
/// What the switch may add. A build without optimisation is another program, which took 200 to 330 µs where the other took 40:
/// here it is to be seen that nothing waits for a timer, and `cargo xtask bench waking` measures the other.
const ADDED: Duration = Duration::from_micros(if cfg!(debug_assertions) { 900 } else { 50 });

#[test]
fn root_the_first_frame_after_silence_comes_soon_after_what_waking_a_thread_takes() -> Result<()> {
    let _alone = crate::alone();
    let mut looks = Vec::new();
    for _ in 0..3 {
        // Other tests run meanwhile.
        let [thread, frame] = waking::measure(DaemonOptions::default(), 0, 1, TURNS)?.quantile(25)?;
        if frame <= thread + ADDED {
            return Ok(());
        }
        looks.push(format!("a thread wakes up in {thread:?}, but a frame takes {frame:?}"));
    }
    bail!("at none of three looks: {looks:?}")
}
